// SPDX-License-Identifier: MIT
#include "staged.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

void staged_init(struct staged *q)
{
	memset(q, 0, sizeof(*q));
	pthread_mutex_init(&q->lock, NULL);
	q->tail = &q->head;
}

void staged_destroy(struct staged *q)
{
	staged_clear(q);
	pthread_mutex_destroy(&q->lock);
}

void staged_free(struct staged_packet *p)
{
	sodium_memzero(p->data, p->packet.len);
	free(p);
}

static struct staged_packet *pop_locked(struct staged *q)
{
	struct staged_packet *p = q->head;

	q->head = p->next;
	if (!q->head)
		q->tail = &q->head;
	q->count--;
	q->bytes -= p->packet.len;
	return p;
}

static unsigned make_room_locked(struct staged *q, size_t len)
{
	unsigned lost = 0;

	while (q->count >= STAGED_MAX_PACKETS ||
	       (q->count && q->bytes + len > STAGED_MAX_BYTES)) {
		staged_free(pop_locked(q));
		lost++;
	}
	return lost;
}

unsigned staged_push(struct staged *q, const struct inner_packet *packet)
{
	struct staged_packet *p = malloc(sizeof(*p) + packet->len);
	unsigned lost;

	if (!p)
		return 1;
	p->next = NULL;
	p->packet = *packet;
	p->packet.data = memcpy(p->data, packet->data, packet->len);
	pthread_mutex_lock(&q->lock);
	lost = make_room_locked(q, packet->len);
	*q->tail = p;
	q->tail = &p->next;
	q->count++;
	q->bytes += packet->len;
	pthread_mutex_unlock(&q->lock);
	return lost;
}

struct staged_packet *staged_take(struct staged *q)
{
	struct staged_packet *all;

	pthread_mutex_lock(&q->lock);
	all = q->head;
	q->head = NULL;
	q->tail = &q->head;
	q->count = 0;
	q->bytes = 0;
	pthread_mutex_unlock(&q->lock);
	return all;
}

unsigned staged_clear(struct staged *q)
{
	struct staged_packet *p = staged_take(q), *next;
	unsigned n = 0;

	for (; p; p = next, n++) {
		next = p->next;
		staged_free(p);
	}
	return n;
}

bool staged_empty(struct staged *q)
{
	return !atomic_load(&q->count);
}
