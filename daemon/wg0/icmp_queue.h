/* SPDX-License-Identifier: MIT */
/*
 * ICMP errors on their way from workers to the control thread, which sends them: that takes
 * capabilities, and workers have none.
 *
 * Theory of operation: a bounded ring of copies under a lock. An error that finds it full is lost,
 * as one above the limit (unreachable.h), whose burst fits in. The first error in an empty ring
 * raises `fd`.
 */
#ifndef ICMP_QUEUE_H
#define ICMP_QUEUE_H

#include <pthread.h>
#include <stdbool.h>

#include "icmp.h"

#define ICMP_QUEUE_LEN 64

struct icmp_queue {
	pthread_mutex_t lock;
	unsigned head, count;
	int fd; /* wakeup.h: raised if an error is added to the empty queue */
	struct icmp_error errors[ICMP_QUEUE_LEN];
};

/* 0 or -errno. Control thread. */
int icmp_queue_init(struct icmp_queue *q);
void icmp_queue_destroy(struct icmp_queue *q);
/* Copies the error. Any thread. */
void icmp_queue_put(struct icmp_queue *q, const struct icmp_error *e);
/* Takes the oldest error. Returns false if there is none. Quiet `fd` (wakeup.h) first. Control
 * thread. */
bool icmp_queue_get(struct icmp_queue *q, struct icmp_error *out);

#endif
