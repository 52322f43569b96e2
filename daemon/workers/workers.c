// SPDX-License-Identifier: MIT
#include "workers.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sodium.h>
#include <urcu-qsbr.h>

#include "clock.h"
#include "dataplane.h"
#include "log.h"
#include "peer.h"
#include "receive.h"
#include "send.h"
#include "worker.h"

/* How soon to offer the kernel again what it did not take. */
#define PENDING_MS 1
#define SETTLE_US  50
/* What a sleep and a wake-up cost, about, with another CPU's part of it. */
#define SPIN_NS 10000

struct command {
	struct cds_wfcq_node node;
	uint32_t slot;
	enum worker_command what;
};

enum { FD_WAKE, FD_TAP, FD_UDP4, FD_UDP6, FD_NICS };

/* What to wait for, built anew each round: NICs and sockets come and go. */
struct poll_set {
	struct pollfd fds[FD_NICS + WG_MAX_XSKS];
	unsigned count;
};

static void poll_add(struct poll_set *set, int fd)
{
	set->fds[set->count++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

typedef void (*queue_fn)(struct worker *w, struct nic_queue *q, void *arg);

/* Calls fn for each queue that this worker reads. */
static void each_queue(struct worker *w, queue_fn fn, void *arg)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		struct nic *nic = rcu_dereference(w->dp->nics[i]);

		for (unsigned j = 0; nic && j < nic->queue_count; j++)
			if (nic->queues[j]->reader == w->index)
				fn(w, nic->queues[j], arg);
	}
}

static void poll_add_queue(struct worker *w, struct nic_queue *q, void *set)
{
	poll_add(set, xsk_socket__fd(q->data));
}

/* The sockets, if they are this worker's to read. */
static struct udp *udp_of(struct worker *w)
{
	return w->index ? NULL : rcu_dereference(w->dp->udp);
}

static void poll_build(struct worker *w, struct poll_set *set)
{
	struct udp *udp = udp_of(w);

	set->count = 0;
	poll_add(set, w->wake_fd);
	poll_add(set, w->tap_gone ? -1 : w->tap_fd);
	poll_add(set, udp ? udp->fd4 : -1);
	poll_add(set, udp ? udp->fd6 : -1);
	each_queue(w, poll_add_queue, set);
}

static void run_command(struct worker *w, const struct command *c)
{
	struct peer *peer = peer_at(w->dp->peers, c->slot);

	if (!peer)
		return;
	if (c->what == WORKER_SEND_KEEPALIVE ||
	    (c->what == WORKER_CONFIRM && staged_empty(&peer->staged)))
		send_keepalive(w, peer);
	else
		send_staged(w, peer);
}

static void run_commands(struct worker *w)
{
	struct cds_wfcq_node *node;
	uint64_t count;

	if (read(w->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	while ((node = __cds_wfcq_dequeue_blocking(&w->commands, &w->commands_tail))) {
		struct command *c = caa_container_of(node, struct command, node);

		run_command(w, c);
		free(c);
	}
}

static void serve_queue(struct worker *w, struct nic_queue *q, void *arg)
{
	receive_from_nic(w, q);
}

/* Nothing that poll_build() saw is used here but the answers: while poll() slept, a
 * NIC may have gone. An empty ring costs a look into memory. A wg0 that is gone
 * leaves its fd in error for ever: the control thread hears of it by netlink, and
 * until it ends us we look elsewhere. */
static void serve(struct worker *w, const struct poll_set *set)
{
	struct udp *udp = udp_of(w);

	if (set->fds[FD_WAKE].revents)
		run_commands(w);
	each_queue(w, serve_queue, NULL);
	if (udp && set->fds[FD_UDP4].revents)
		receive_from_udp(w, udp->fd4);
	if (udp && set->fds[FD_UDP6].revents)
		receive_from_udp(w, udp->fd6);
	if (set->fds[FD_TAP].revents & POLLIN)
		send_from_wg0(w);
	else if (set->fds[FD_TAP].revents & POLLERR)
		w->tap_gone = true;
}

/* A full driver queue leaves packets in a TX ring: whether to come back for some. */
static bool push_pending(struct worker *w)
{
	bool pending = false;

	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		struct nic *nic = rcu_dereference(w->dp->nics[i]);
		struct nic_queue *q = nic ? nic_tx_queue(nic, w->index) : NULL;

		if (q && nic_tx_pending(q))
			pending |= nic_push(q);
	}
	return pending;
}

static bool is_ready(struct worker *w)
{
	urcu_qsbr_quiescent_state();
	return poll(w->poll_set->fds, w->poll_set->count, 0) > 0;
}

/* Looks for work without sleep, while it is likely to come soon and nobody else has a use
 * for this CPU. */
static bool spin(struct worker *w)
{
	uint64_t end;

	if (!w->spins)
		return false;
	end = clock_now() + SPIN_NS;
	do {
		sched_yield();
		if (is_ready(w))
			return true;
	} while (clock_now() < end);
	return false;
}

/* A sleep that was shorter than what one may spin was not worth it: the next time it is
 * tried without. */
static void sleep_for_work(struct worker *w, int timeout)
{
	uint64_t before = clock_now();

	urcu_qsbr_thread_offline();
	poll(w->poll_set->fds, w->poll_set->count, timeout);
	urcu_qsbr_thread_online();
	w->spins = clock_now() - before < SPIN_NS;
}

static void note_help(struct worker *w)
{
	uint64_t helped = w->tx.batches.advice.helped + w->rx.batches.advice.helped;

	worker_count(w, helped, helped - w->stats->helped);
}

static void wait_for_work(struct worker *w, int timeout)
{
	if (is_ready(w)) {
		w->busy++;
	} else {
		w->busy = 0;
		if (!spin(w))
			sleep_for_work(w, timeout);
	}
	w->now = clock_now();
	note_help(w);
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	urcu_qsbr_register_thread();
	while (!atomic_load(&w->stop)) {
		int timeout = push_pending(w) ? PENDING_MS : -1;

		atomic_fetch_add(&w->rounds, 1);
		poll_build(w, w->poll_set);
		wait_for_work(w, timeout);
		serve(w, w->poll_set);
	}
	urcu_qsbr_unregister_thread();
	return NULL;
}

static int alloc_arenas(struct worker_tx *tx)
{
	for (unsigned i = 0; i < BATCHES; i++) {
		tx->list[i].arena = calloc(1, WORKER_ARENA);
		if (!tx->list[i].arena)
			return -ENOMEM;
	}
	return 0;
}

/* What was never used has no memory yet, and gets none. */
static void free_arenas(struct worker_tx *tx)
{
	for (unsigned i = 0; i < BATCHES; i++) {
		uint8_t *arena = tx->list[i].arena;

		if (arena && tx->list[i].used)
			sodium_memzero(arena, WORKER_ARENA);
		free(arena);
	}
}

static void worker_free(struct worker *w)
{
	struct cds_wfcq_node *node;

	if (!w)
		return;
	while ((node = __cds_wfcq_dequeue_blocking(&w->commands, &w->commands_tail)))
		free(caa_container_of(node, struct command, node));
	tap_reader_destroy(&w->reader);
	tap_writer_destroy(&w->writer);
	if (w->tap_fd >= 0)
		close(w->tap_fd);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	free_arenas(&w->tx);
	free(w->poll_set);
	batches_destroy(&w->tx.batches);
	batches_destroy(&w->rx.batches);
	udp_reader_destroy(&w->udp_reader);
	aead_end(&w->aead);
	free(w);
}

static int worker_init(struct worker *w)
{
	int err;

	cds_wfcq_init(&w->commands, &w->commands_tail);
	send_init(w);
	receive_init(w);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->poll_set = calloc(1, sizeof(*w->poll_set));
	if (w->wake_fd < 0)
		return -errno;
	if (!w->poll_set || alloc_arenas(&w->tx))
		return -ENOMEM;
	gro_init(&w->gro, receive_emit, w);
	w->gro.udp_gso = w->dp->uso;
	tap_writer_init(&w->writer, w->tap_fd);
	err = tap_reader_init(&w->reader, w->tap_fd);
	if (err)
		return err;
	err = aead_begin(&w->aead, w->dp->aead);
	return err ? err : udp_reader_init(&w->udp_reader);
}

static int worker_start(struct workers *ws, int tap_fd)
{
	struct worker *w = calloc(1, sizeof(*w));
	char name[16];
	int err;

	if (!w) {
		close(tap_fd);
		return -ENOMEM;
	}
	w->dp = ws->dp;
	w->index = ws->count;
	w->tap_fd = tap_fd;
	w->stats = &ws->dp->stats[w->index];
	err = worker_init(w);
	if (!err)
		err = -pthread_create(&w->thread, NULL, worker_run, w);
	if (err) {
		worker_free(w);
		return err;
	}
	snprintf(name, sizeof(name), "worker/%u", w->index);
	pthread_setname_np(w->thread, name);
	ws->list[ws->count++] = w;
	return 0;
}

int workers_start(struct workers *ws, struct dataplane *dp, unsigned max, int tap_fd)
{
	int err;

	ws->dp = dp;
	icmp_limit_init(&dp->icmp);
	ws->max = max < WG_MAX_WORKERS ? max : WG_MAX_WORKERS;
	err = crew_start(&dp->crew, dp->aead, ws->max - 1);
	if (err)
		log_error("only %u helpers of workers: %s", dp->crew.count,
			  strerror(-err));
	return worker_start(ws, tap_fd);
}

unsigned workers_grow(struct workers *ws, unsigned n, int (*new_queue)(void *ctx),
		      void *ctx)
{
	while (ws->count < n && ws->count < ws->max) {
		int fd = new_queue(ctx);
		int err = fd < 0 ? fd : worker_start(ws, fd);

		if (err) {
			log_error("cannot start worker %u: %s", ws->count,
				  strerror(-err));
			break;
		}
	}
	return ws->count;
}

static void wake(struct worker *w)
{
	uint64_t one = 1;

	if (write(w->wake_fd, &one, sizeof(one)) < 0)
		return; /* full counter: it is awake */
}

void workers_wake(struct workers *ws)
{
	for (unsigned i = 0; i < ws->count; i++)
		wake(ws->list[i]);
}

/* A worker counts a round before it reads the pointers that it polls by: after the
 * next count it has seen what the caller published. It always comes, for it was woken
 * and waits for nothing else. */
void workers_settle(struct workers *ws)
{
	for (unsigned i = 0; i < ws->count; i++) {
		struct worker *w = ws->list[i];
		unsigned before = atomic_load(&w->rounds);

		wake(w);
		urcu_qsbr_thread_offline();
		while (atomic_load(&w->rounds) == before)
			usleep(SETTLE_US);
		urcu_qsbr_thread_online();
	}
}

void workers_stop(struct workers *ws)
{
	if (!ws->dp)
		return;
	for (unsigned i = 0; i < ws->count; i++)
		atomic_store(&ws->list[i]->stop, true);
	workers_wake(ws);
	for (unsigned i = 0; i < ws->count; i++)
		pthread_join(ws->list[i]->thread, NULL);
	crew_stop(&ws->dp->crew);
	for (unsigned i = 0; i < ws->count; i++)
		worker_free(ws->list[i]);
	icmp_limit_destroy(&ws->dp->icmp);
	ws->count = 0;
}

static unsigned worker_of(const struct workers *ws, const struct peer *peer)
{
	return peer->slot % ws->count;
}

void worker_command(struct workers *ws, const struct peer *peer, enum worker_command what)
{
	struct worker *w = ws->list[worker_of(ws, peer)];
	struct command *c = malloc(sizeof(*c));

	if (!c)
		return;
	c->slot = peer->slot;
	c->what = what;
	cds_wfcq_node_init(&c->node);
	cds_wfcq_enqueue(&w->commands, &w->commands_tail, &c->node);
	wake(w);
}
