// SPDX-License-Identifier: MIT
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <urcu-qsbr.h>

#include "clock.h"
#include "dataplane.h"
#include "peer.h"
#include "privileges.h"
#include "receive.h"
#include "send.h"
#include "thread.h"
#include "wakeup.h"

/* How soon to offer the kernel again what it did not take. */
#define PENDING_MS 1
/* About what a sleep and a wake-up cost, including another CPU's share of it. */
#define SPIN_NS 10000

struct command {
	struct cds_wfcq_node node;
	uint32_t slot;
	enum worker_command command;
};

/* poll() looks at them in this order: at FD_NEWS after what brings packets to send. */
enum { FD_WAKE, FD_TAP, FD_NEWS, FD_UDP4, FD_UDP6, FD_NICS };

/* What to wait for, built again in each round because NICs and sockets come and go. */
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

/* The UDP sockets, if this worker reads them. */
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
	poll_add(set, w->dp->news.fd);
	poll_add(set, udp ? udp->fd4 : -1);
	poll_add(set, udp ? udp->fd6 : -1);
	each_queue(w, poll_add_queue, set);
}

static void run_command(struct worker *w, const struct command *c)
{
	struct peer *peer = peer_at(w->dp->peers, c->slot);

	if (!peer)
		return;
	if (c->command == WORKER_SEND_KEEPALIVE ||
	    (c->command == WORKER_CONFIRM && staged_empty(&peer->staged)))
		send_keepalive(w, peer);
	else
		send_staged(w, peer);
}

static void run_commands(struct worker *w)
{
	struct cds_wfcq_node *node;

	wakeup_quiet(w->wake_fd);
	while ((node = __cds_wfcq_dequeue_blocking(&w->commands, &w->commands_tail))) {
		struct command *c = caa_container_of(node, struct command, node);

		run_command(w, c);
		free(c);
	}
}

static void read_queue(struct worker *w, struct nic_queue *q, void *arg)
{
	receive_from_nic(w, q);
}

/* Uses only poll()'s answers of what poll_build() found, because a NIC may have gone while poll()
 * slept. All rings are looked at: an empty ring costs a look into memory. The fd of a deleted wg0
 * stays in error, so it is left out until the control thread, which netlink tells, ends this
 * worker. */
static void serve(struct worker *w, const struct poll_set *set)
{
	struct udp *udp = udp_of(w);

	if (set->fds[FD_WAKE].revents)
		run_commands(w);
	each_queue(w, read_queue, NULL);
	if (udp && set->fds[FD_UDP4].revents)
		receive_from_udp(w, udp->fd4);
	if (udp && set->fds[FD_UDP6].revents)
		receive_from_udp(w, udp->fd6);
	if (set->fds[FD_TAP].revents & POLLIN)
		send_from_wg0(w);
	else if (set->fds[FD_TAP].revents & POLLERR)
		w->tap_gone = true;
}

/* carrier_push() for all NICs. */
static bool push_pending(struct worker *w)
{
	bool pending = false;

	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		struct nic *nic = rcu_dereference(w->dp->nics[i]);

		if (nic && !nic_is_filter(nic) && carrier_push(nic, w->index))
			pending = true;
	}
	return pending;
}

/* News of routes are no work: the control thread reads them. */
static bool is_ready(struct worker *w)
{
	const struct pollfd *news = &w->poll_set->fds[FD_NEWS];
	int ready;

	urcu_qsbr_quiescent_state();
	ready = poll(w->poll_set->fds, w->poll_set->count, 0);
	w->stale = news->revents || routing_news_unsettled(&w->dp->news);
	return ready > (news->revents != 0);
}

/* Looks for work for a moment without sleeping, if work is likely to come soon; lets other
 * threads run meanwhile. Returns true if there is work. */
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

/* A sleep that was shorter than SPIN_NS did not pay: the next time the worker spins first. */
static void sleep_for_work(struct worker *w, int timeout)
{
	struct pollfd *fds = w->poll_set->fds;
	uint64_t before = clock_now();

	fds[FD_NEWS].fd = -1; /* they wake nobody */
	urcu_qsbr_thread_offline();
	if (poll(w->poll_set->fds, w->poll_set->count, timeout) < 0)
		wakeup_stumble();
	urcu_qsbr_thread_online();
	w->spins = clock_now() - before < SPIN_NS;
	w->stale = (fds[FD_TAP].revents || fds[FD_WAKE].revents) &&
		   routing_news_pending(&w->dp->news);
}

static void note_help(struct worker *w)
{
	uint64_t helped = w->tx.ring.advice.helped + w->rx.ring.advice.helped;

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

	thread_become(THREAD_WORKER);
	thread_name("worker", w->index);
	privileges_drop(THREAD_WORKER);
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

void worker_free(struct worker *w)
{
	struct cds_wfcq_node *node;

	assert_control_thread();
	if (!w)
		return;
	while ((node = __cds_wfcq_dequeue_blocking(&w->commands, &w->commands_tail)))
		free(caa_container_of(node, struct command, node));
	tap_reader_destroy(&w->reader);
	tap_writer_destroy(&w->writer);
	if (w->tap_fd >= 0)
		close(w->tap_fd);
	wakeup_close(&w->wake_fd);
	free(w->poll_set);
	send_destroy(w);
	receive_destroy(w);
	udp_reader_destroy(&w->udp_reader);
	aead_end(&w->aead);
	free(w);
}

static int worker_init(struct worker *w)
{
	int err;

	cds_wfcq_init(&w->commands, &w->commands_tail);
	receive_init(w);
	err = send_init(w);
	w->wake_fd = wakeup_open();
	w->poll_set = calloc(1, sizeof(*w->poll_set));
	if (w->wake_fd < 0)
		return w->wake_fd;
	if (err || !w->poll_set)
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

int worker_new(struct dataplane *dp, unsigned index, int tap_fd, struct worker **out)
{
	assert_control_thread();
	struct worker *w = calloc(1, sizeof(*w));
	int err;

	if (!w) {
		close(tap_fd);
		return -ENOMEM;
	}
	w->dp = dp;
	w->index = index;
	w->tap_fd = tap_fd;
	w->stats = &dp->stats[index];
	err = worker_init(w);
	if (err) {
		worker_free(w);
		return err;
	}
	*out = w;
	return 0;
}

int worker_start(struct worker *w)
{
	assert_control_thread();
	return -pthread_create(&w->thread, NULL, worker_run, w);
}

void worker_stop(struct worker *w)
{
	assert_control_thread();
	atomic_store(&w->stop, true);
}

void worker_wake(struct worker *w)
{
	assert_control_thread();
	wakeup_raise(w->wake_fd);
}

void worker_add_command(struct worker *w, uint32_t slot, enum worker_command command)
{
	assert_control_thread();
	struct command *c = malloc(sizeof(*c));

	if (!c)
		return;
	c->slot = slot;
	c->command = command;
	cds_wfcq_node_init(&c->node);
	cds_wfcq_enqueue(&w->commands, &w->commands_tail, &c->node);
	worker_wake(w);
}
