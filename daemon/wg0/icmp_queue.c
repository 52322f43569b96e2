// SPDX-License-Identifier: MIT
#include "icmp_queue.h"

#include "thread.h"
#include "wakeup.h"

int icmp_queue_init(struct icmp_queue *q)
{
	assert_control_thread();
	q->head = q->count = 0;
	pthread_mutex_init(&q->lock, NULL);
	q->fd = wakeup_open();
	return q->fd < 0 ? q->fd : 0;
}

void icmp_queue_destroy(struct icmp_queue *q)
{
	assert_control_thread();
	wakeup_close(&q->fd);
	pthread_mutex_destroy(&q->lock);
}

void icmp_queue_put(struct icmp_queue *q, const struct icmp_error *e)
{
	bool was_empty;

	pthread_mutex_lock(&q->lock);
	was_empty = !q->count;
	if (q->count < ICMP_QUEUE_LEN)
		q->errors[(q->head + q->count++) % ICMP_QUEUE_LEN] = *e;
	pthread_mutex_unlock(&q->lock);
	if (was_empty)
		wakeup_raise(q->fd);
}

bool icmp_queue_get(struct icmp_queue *q, struct icmp_error *out)
{
	bool any;

	assert_control_thread();
	pthread_mutex_lock(&q->lock);
	any = q->count > 0;
	if (any) {
		*out = q->errors[q->head];
		q->head = (q->head + 1) % ICMP_QUEUE_LEN;
		q->count--;
	}
	pthread_mutex_unlock(&q->lock);
	return any;
}
