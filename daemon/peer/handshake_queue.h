/* SPDX-License-Identifier: MIT */
/*
 * Handshake messages on their way to the control thread, from the AF_XDP rings and from the UDP
 * sockets, which a worker reads.
 *
 * Theory of operation: a bounded ring of copies under a lock. A message that finds it full is
 * dropped; its sender tries again. The first message in an empty ring raises `fd`.
 */
#ifndef HANDSHAKE_QUEUE_H
#define HANDSHAKE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"
#include "wg_proto.h"

/* The control thread answers this many messages in about two seconds, before their senders try
 * again after five. */
#define HANDSHAKE_QUEUE_LEN 4096

struct handshake_message {
	struct endpoint from; /* its source is our address */
	uint32_t ifindex;     /* of the device; 0: it came by AF_XDP */
	uint32_t len;
	uint8_t data[WG_HANDSHAKE_MAX] __attribute__((aligned(8)));
};

struct handshake_queue {
	pthread_mutex_t lock;
	unsigned head, count;
	int fd; /* wakeup.h: raised if a message is added to the empty queue */
	struct handshake_message messages[HANDSHAKE_QUEUE_LEN];
};

/* 0 or -errno. */
int handshake_queue_init(struct handshake_queue *q);
void handshake_queue_destroy(struct handshake_queue *q);
/* Copies the message, of at most WG_HANDSHAKE_MAX bytes. Returns false if the queue is full. Any
 * thread. */
bool handshake_queue_put(struct handshake_queue *q, const struct endpoint *from,
			 uint32_t ifindex, const void *data, size_t len);
/* Takes the oldest message. Returns false if there is none. Control thread. */
bool handshake_queue_get(struct handshake_queue *q, struct handshake_message *out);
/* The number of messages. Any thread. */
unsigned handshake_queue_backlog(struct handshake_queue *q);
/* Quiets fd; before the queue is emptied. Control thread. */
void handshake_queue_quiet(struct handshake_queue *q);

#endif
