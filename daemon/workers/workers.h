/* SPDX-License-Identifier: MIT */
/*
 * All workers of a tunnel: starts, wakes, tells and ends them. All by the control thread.
 *
 * Theory of operation: the first worker starts with the tunnel; more start once a NIC with more
 * queues is attached, and none ends before the tunnel does. A peer belongs to one worker, which
 * runs the commands for it.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include "wg_maps.h"
#include "worker.h"

struct dataplane;
struct peer;

struct workers {
	struct dataplane *dp;
	struct worker *list[WG_MAX_WORKERS];
	unsigned count;
	unsigned max;
};

/* Starts the helpers and the first worker, on the TAP's first queue, which is the worker's from
 * then on, also if this fails. At most `max` workers. 0 or -errno. */
int workers_start(struct workers *ws, struct dataplane *dp, unsigned max, int tap_fd);
/* Starts workers until there are n or the maximum, each on what `new_queue` returns: a TAP queue,
 * which is the worker's from then on, or -errno. Returns the number of workers. */
unsigned workers_grow(struct workers *ws, unsigned n, int (*new_queue)(void *ctx),
		      void *ctx);
/* Makes the workers look again at sockets and NICs. */
void workers_wake(struct workers *ws);
/* Waits until no worker uses, not even asleep in poll(), a socket or NIC that was unpublished
 * before the call. */
void workers_settle(struct workers *ws);
/* Ends and frees all workers and helpers. Also for a zeroed struct. */
void workers_stop(struct workers *ws);
/* Makes the peer's worker run the command for the peer; see worker_add_command(). */
void worker_command(struct workers *ws, const struct peer *peer,
		    enum worker_command command);

#endif
