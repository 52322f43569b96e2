// SPDX-License-Identifier: MIT
#include "handshake_queue.h"

#include "thread.h"
#include "wakeup.h"

int handshake_queue_init(struct handshake_queue *q)
{
	assert_control_thread();
	q->head = q->count = 0;
	pthread_mutex_init(&q->lock, NULL);
	q->fd = wakeup_open();
	return q->fd < 0 ? q->fd : 0;
}

void handshake_queue_destroy(struct handshake_queue *q)
{
	assert_control_thread();
	wakeup_close(&q->fd);
	pthread_mutex_destroy(&q->lock);
}

bool handshake_queue_put(struct handshake_queue *q, const struct endpoint *from,
			 uint32_t ifindex, const void *data, size_t len)
{
	bool room, was_empty;

	pthread_mutex_lock(&q->lock);
	room = q->count < HANDSHAKE_QUEUE_LEN;
	was_empty = !q->count;
	if (room) {
		struct handshake_message *m =
			&q->messages[(q->head + q->count++) % HANDSHAKE_QUEUE_LEN];

		m->from = *from;
		m->ifindex = ifindex;
		m->len = (uint32_t)len;
		memcpy(m->data, data, len);
	}
	pthread_mutex_unlock(&q->lock);
	if (was_empty)
		wakeup_raise(q->fd);
	return room;
}

bool handshake_queue_get(struct handshake_queue *q, struct handshake_message *out)
{
	bool any;

	assert_control_thread();
	pthread_mutex_lock(&q->lock);
	any = q->count > 0;
	if (any) {
		*out = q->messages[q->head];
		q->head = (q->head + 1) % HANDSHAKE_QUEUE_LEN;
		q->count--;
	}
	pthread_mutex_unlock(&q->lock);
	return any;
}

unsigned handshake_queue_backlog(struct handshake_queue *q)
{
	unsigned n;

	pthread_mutex_lock(&q->lock);
	n = q->count;
	pthread_mutex_unlock(&q->lock);
	return n;
}

void handshake_queue_quiet(struct handshake_queue *q)
{
	assert_control_thread();
	wakeup_quiet(q->fd);
}
