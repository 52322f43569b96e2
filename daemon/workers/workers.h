/* SPDX-License-Identifier: MIT */
/*
 * The threads that move packets: starting, waking, asking and ending them. All by the control
 * thread.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include "wg_maps.h"

struct dataplane;
struct peer;
struct worker;

struct workers {
	struct dataplane *dp;
	struct worker *list[WG_MAX_WORKERS];
	unsigned count;
	unsigned max;
};

enum worker_command {
	WORKER_CONFIRM,	    /* what waits for a session; a keepalive if nothing does */
	WORKER_SEND_STAGED, /* the same, but it may have been sent meanwhile */
	WORKER_SEND_KEEPALIVE,
};

/* Starts the first worker, on the TAP's first queue, which it closes in any case. */
int workers_start(struct workers *ws, struct dataplane *dp, unsigned max, int tap_fd);
/* Starts more, up to n or the maximum, each on what `new_queue` returns: a TAP queue that is
 * the worker's from then on, or -errno. Returns how many there are. */
unsigned workers_grow(struct workers *ws, unsigned n, int (*new_queue)(void *ctx),
		      void *ctx);
/* They look again at sockets and NICs. */
void workers_wake(struct workers *ws);
/* Waits until none of them uses, not even asleep in poll(), what it saw before now. */
void workers_settle(struct workers *ws);
/* Ends and frees all. */
void workers_stop(struct workers *ws);
/* Has the peer's worker do this for it; lost without memory (a timer asks again). */
void worker_command(struct workers *ws, const struct peer *peer,
		    enum worker_command what);

#endif
