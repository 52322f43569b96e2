// SPDX-License-Identifier: MIT
#include "workers.h"

#include <string.h>
#include <unistd.h>

#include <urcu-qsbr.h>

#include "dataplane.h"
#include "log.h"
#include "peer.h"
#include "thread.h"

#define SETTLE_US 50

static int add_worker(struct workers *ws, int tap_fd)
{
	struct worker *w;
	int err = worker_new(ws->dp, ws->count, tap_fd, &w);

	if (err)
		return err;
	err = worker_start(w);
	if (err) {
		worker_free(w);
		return err;
	}
	ws->list[ws->count++] = w;
	return 0;
}

int workers_start(struct workers *ws, struct dataplane *dp, unsigned max, int tap_fd)
{
	int err;

	assert_control_thread();
	ws->dp = dp;
	icmp_limit_init(&dp->icmp);
	ws->max = max < WG_MAX_WORKERS ? max : WG_MAX_WORKERS;
	err = helpers_start(&dp->helpers, dp->aead, ws->max - 1);
	if (err)
		log_error("only %u helpers of workers: %s", dp->helpers.count,
			  strerror(-err));
	return add_worker(ws, tap_fd);
}

unsigned workers_grow(struct workers *ws, unsigned n, int (*new_queue)(void *ctx),
		      void *ctx)
{
	assert_control_thread();
	while (ws->count < n && ws->count < ws->max) {
		int fd = new_queue(ctx);
		int err = fd < 0 ? fd : add_worker(ws, fd);

		if (err) {
			log_error("cannot start worker %u: %s", ws->count,
				  strerror(-err));
			break;
		}
	}
	return ws->count;
}

void workers_wake(struct workers *ws)
{
	assert_control_thread();
	for (unsigned i = 0; i < ws->count; i++)
		worker_wake(ws->list[i]);
}

/* A worker counts a round before it reads the pointers that it polls by, so after the next count
 * it has seen what the caller published. It always counts again, because it was woken and waits
 * for nothing else. */
void workers_settle(struct workers *ws)
{
	assert_control_thread();
	for (unsigned i = 0; i < ws->count; i++) {
		struct worker *w = ws->list[i];
		unsigned before = atomic_load(&w->rounds);

		urcu_qsbr_thread_offline();
		do {
			worker_wake(w); /* again, because a call may fail */
			usleep(SETTLE_US);
		} while (atomic_load(&w->rounds) == before);
		urcu_qsbr_thread_online();
	}
}

void workers_stop(struct workers *ws)
{
	assert_control_thread();
	if (!ws->dp)
		return;
	for (unsigned i = 0; i < ws->count; i++)
		worker_stop(ws->list[i]);
	workers_wake(ws);
	for (unsigned i = 0; i < ws->count; i++)
		pthread_join(ws->list[i]->thread, NULL);
	helpers_stop(&ws->dp->helpers);
	for (unsigned i = 0; i < ws->count; i++)
		worker_free(ws->list[i]);
	icmp_limit_destroy(&ws->dp->icmp);
	ws->count = 0;
}

void worker_command(struct workers *ws, const struct peer *peer,
		    enum worker_command command)
{
	assert_control_thread();
	worker_add_command(ws->list[peer->slot % ws->count], peer->slot, command);
}
