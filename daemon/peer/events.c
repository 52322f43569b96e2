// SPDX-License-Identifier: MIT
#include "events.h"

#include <stddef.h>

#include "peer.h"
#include "thread.h"
#include "wakeup.h"

static int queue_init(struct event_queue *q)
{
	cds_wfcq_init(&q->head, &q->tail);
	q->fd = wakeup_open();
	return q->fd < 0 ? q->fd : 0;
}

int events_init(struct events *ev)
{
	int err;

	assert_control_thread();
	ev->lazy.fd = -1;
	ev->lazy_due = 0;
	err = queue_init(&ev->urgent);
	if (!err)
		err = queue_init(&ev->lazy);
	return err;
}

void events_destroy(struct events *ev)
{
	assert_control_thread();
	wakeup_close(&ev->urgent.fd);
	wakeup_close(&ev->lazy.fd);
}

static void queue_put(struct event_queue *q, struct cds_wfcq_node *node)
{
	cds_wfcq_node_init(node);
	if (!cds_wfcq_enqueue(&q->head, &q->tail, node))
		wakeup_raise(q->fd);
}

void events_raise(struct events *ev, struct peer *peer, enum peer_event what)
{
	/* The caller has written what the event is about. Either the control thread sees it
	 * when it handles a flag that is set already, or the peer is queued again. */
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

/* Moves what is queued now to `taken`. What workers add meanwhile is left for the next round, so
 * that a round ends. */
static void queue_take_all(struct event_queue *q, struct event_queue *taken)
{
	wakeup_quiet(q->fd);
	cds_wfcq_init(&taken->head, &taken->tail);
	__cds_wfcq_splice_blocking(&taken->head, &taken->tail, &q->head, &q->tail);
}

static struct cds_wfcq_node *queue_get(struct event_queue *q)
{
	return __cds_wfcq_dequeue_blocking(&q->head, &q->tail);
}

/* Clears the flag word before the peer is handled, so that an event from then on queues the peer
 * again. */
void events_serve_urgent(struct events *ev, event_handler handle, uint64_t now,
			 unsigned max)
{
	struct cds_wfcq_node *node;

	assert_control_thread();
	wakeup_quiet(ev->urgent.fd);
	while (max-- && (node = queue_get(&ev->urgent))) {
		struct peer *peer = caa_container_of(node, struct peer, urgent_node);
		unsigned flags = atomic_exchange(&peer->events_urgent, 0);

		if (!peer->dead)
			handle(peer, flags, now);
	}
}

bool events_urgent_left(struct events *ev)
{
	assert_control_thread();
	return !cds_wfcq_empty(&ev->urgent.head, &ev->urgent.tail);
}

/* Removes dead peers from the queue. `offset`: of the queue's node in struct peer. */
static void forget_dead(struct event_queue *q, size_t offset)
{
	struct cds_wfcq_node *node;
	struct event_queue taken;

	queue_take_all(q, &taken);
	while ((node = queue_get(&taken))) {
		struct peer *peer = (struct peer *)((char *)node - offset);

		if (!peer->dead)
			queue_put(q, node);
	}
}

void events_forget_dead(struct events *ev)
{
	assert_control_thread();
	forget_dead(&ev->urgent, offsetof(struct peer, urgent_node));
	forget_dead(&ev->lazy, offsetof(struct peer, lazy_node));
}

void events_drain_lazy(struct events *ev, event_handler handle, uint64_t now)
{
	struct cds_wfcq_node *node;
	struct event_queue taken;

	assert_control_thread();
	ev->lazy_due = now + EVENTS_LAZY_NS;
	queue_take_all(&ev->lazy, &taken);
	while ((node = queue_get(&taken))) {
		struct peer *peer = caa_container_of(node, struct peer, lazy_node);

		atomic_store(&peer->events_lazy, 0);
		if (!peer->dead)
			handle(peer, 0, now);
	}
}
