/* SPDX-License-Identifier: MIT */
/*
 * Handshake messages, on their way from AF_XDP and from the UDP sockets, which a worker
 * reads, to the control thread: a bounded ring of copies. Full means dropped: a sender
 * tries again.
 */
#ifndef HANDSHAKE_QUEUE_H
#define HANDSHAKE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"
#include "wg_proto.h"

/* Answered in some two seconds, before those who sent them try again, which they do in
 * five. */
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
	int fd; /* eventfd: readable once the queue went from empty to not */
	struct handshake_message messages[HANDSHAKE_QUEUE_LEN];
};

/* 0 or -errno. */
int handshake_queue_init(struct handshake_queue *q);
void handshake_queue_destroy(struct handshake_queue *q);
/* False: full. len is at most WG_HANDSHAKE_MAX. Any thread. */
bool handshake_queue_put(struct handshake_queue *q, const struct endpoint *from,
			 uint32_t ifindex, const void *data, size_t len);
/* False: empty. Control thread. */
bool handshake_queue_get(struct handshake_queue *q, struct handshake_message *out);
unsigned handshake_queue_backlog(struct handshake_queue *q);
/* Control thread, before it empties the queue: quiets fd. */
void handshake_queue_quiet(struct handshake_queue *q);

#endif
