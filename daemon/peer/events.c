// SPDX-License-Identifier: MIT
#include "events.h"

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "peer.h"

static int queue_init(struct event_queue *q)
{
	cds_wfcq_init(&q->head, &q->tail);
	q->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return q->fd < 0 ? -errno : 0;
}

static void queue_destroy(struct event_queue *q)
{
	if (q->fd >= 0)
		close(q->fd);
	q->fd = -1;
}

int events_init(struct events *ev)
{
	int err;

	ev->lazy.fd = -1;
	ev->lazy_due = 0;
	err = queue_init(&ev->urgent);
	if (!err)
		err = queue_init(&ev->lazy);
	return err;
}

void events_destroy(struct events *ev)
{
	queue_destroy(&ev->urgent);
	queue_destroy(&ev->lazy);
}

static void queue_put(struct event_queue *q, struct cds_wfcq_node *node)
{
	uint64_t one = 1;

	cds_wfcq_node_init(node);
	if (!cds_wfcq_enqueue(&q->head, &q->tail, node) &&
	    write(q->fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: readable anyway */
}

void events_raise(struct events *ev, struct peer *peer, enum peer_event what)
{
	/* What the event is about was written before; seen together, or queued again. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&peer->events_urgent, memory_order_relaxed) & what)
		return;
	if (!atomic_fetch_or(&peer->events_urgent, what))
		queue_put(&ev->urgent, &peer->urgent_node);
}

void events_active(struct events *ev, struct peer *peer)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&peer->events_lazy, memory_order_relaxed))
		return;
	if (!atomic_exchange(&peer->events_lazy, 1))
		queue_put(&ev->lazy, &peer->lazy_node);
}

static void queue_quiet(struct event_queue *q)
{
	uint64_t count;

	if (read(q->fd, &count, sizeof(count)) < 0)
		return; /* EAGAIN: nothing had been written */
}

/* What is queued now goes to `taken`: what workers add meanwhile is for the next
 * round, so that a round ends. */
static void queue_take(struct event_queue *q, struct event_queue *taken)
{
	queue_quiet(q);
	cds_wfcq_init(&taken->head, &taken->tail);
	__cds_wfcq_splice_blocking(&taken->head, &taken->tail, &q->head, &q->tail);
}

static struct cds_wfcq_node *queue_get(struct event_queue *q)
{
	return __cds_wfcq_dequeue_blocking(&q->head, &q->tail);
}

/* The flag word is cleared before the peer is looked at, so that whatever happens
 * from then on queues it anew. */
void events_serve_urgent(struct events *ev, event_handler handle, uint64_t now,
			 unsigned most)
{
	struct cds_wfcq_node *node;

	queue_quiet(&ev->urgent);
	while (most-- && (node = queue_get(&ev->urgent))) {
		struct peer *peer = caa_container_of(node, struct peer, urgent_node);
		unsigned flags = atomic_exchange(&peer->events_urgent, 0);

		if (!peer->dead)
			handle(peer, flags, now);
	}
}

bool events_urgent_left(struct events *ev)
{
	return !cds_wfcq_empty(&ev->urgent.head, &ev->urgent.tail);
}

/* `offset`: of the queue's node in a peer. */
static void forget_dead(struct event_queue *q, size_t offset)
{
	struct cds_wfcq_node *node;
	struct event_queue taken;

	queue_take(q, &taken);
	while ((node = queue_get(&taken))) {
		struct peer *peer = (struct peer *)((char *)node - offset);

		if (!peer->dead)
			queue_put(q, node);
	}
}

void events_forget_dead(struct events *ev)
{
	forget_dead(&ev->urgent, offsetof(struct peer, urgent_node));
	forget_dead(&ev->lazy, offsetof(struct peer, lazy_node));
}

void events_drain_lazy(struct events *ev, event_handler handle, uint64_t now)
{
	struct cds_wfcq_node *node;
	struct event_queue taken;

	ev->lazy_due = now + EVENTS_LAZY_NS;
	queue_take(&ev->lazy, &taken);
	while ((node = queue_get(&taken))) {
		struct peer *peer = caa_container_of(node, struct peer, lazy_node);

		atomic_store(&peer->events_lazy, 0);
		if (!peer->dead)
			handle(peer, 0, now);
	}
}
