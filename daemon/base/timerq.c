// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * heap[0] is the node with the earliest deadline. Places are counted from 1. The
 * children of place i are places 2i and 2i + 1, and no child is earlier than its parent.
 * Each node stores its place, so it can be moved or taken out without a search. The array
 * never shrinks; it has room for the greatest number of nodes there ever was.
 */
#include "timerq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIN_CAPACITY 16

static void place(struct timerq *q, struct timerq_node *node, size_t index)
{
	q->heap[index - 1] = node;
	node->index = index;
}

static void sift_up(struct timerq *q, struct timerq_node *node)
{
	size_t i;

	for (i = node->index; i > 1; i /= 2) {
		struct timerq_node *parent = q->heap[i / 2 - 1];

		if (parent->deadline <= node->deadline)
			break;
		place(q, parent, i);
	}
	place(q, node, i);
}

static void sift_down(struct timerq *q, struct timerq_node *node)
{
	size_t i = node->index, child;

	for (; (child = 2 * i) <= q->count; i = child) {
		if (child < q->count &&
		    q->heap[child]->deadline < q->heap[child - 1]->deadline)
			child++;
		if (node->deadline <= q->heap[child - 1]->deadline)
			break;
		place(q, q->heap[child - 1], i);
	}
	place(q, node, i);
}

int timerq_reserve(struct timerq *q, size_t n)
{
	size_t capacity = q->capacity ? q->capacity : MIN_CAPACITY;
	struct timerq_node **heap;

	if (n <= q->capacity)
		return 0;
	while (capacity < n)
		capacity *= 2;
	heap = reallocarray(q->heap, capacity, sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	q->heap = heap;
	q->capacity = capacity;
	return 0;
}

void timerq_init(struct timerq *q)
{
	memset(q, 0, sizeof(*q));
}

void timerq_destroy(struct timerq *q)
{
	size_t i;

	for (i = 0; i < q->count; i++)
		q->heap[i]->index = 0;
	free(q->heap);
	timerq_init(q);
}

int timerq_set(struct timerq *q, struct timerq_node *node, uint64_t deadline)
{
	int err;

	if (deadline == UINT64_MAX) {
		timerq_remove(q, node);
		return 0;
	}
	if (!node->index) {
		err = timerq_reserve(q, q->count + 1);
		if (err)
			return err;
		place(q, node, ++q->count);
	}
	node->deadline = deadline;
	sift_up(q, node);
	sift_down(q, node);
	return 0;
}

void timerq_remove(struct timerq *q, struct timerq_node *node)
{
	const size_t index = node->index;
	struct timerq_node *last;

	if (!index)
		return;
	last = q->heap[--q->count];
	node->index = 0;
	if (last == node)
		return;
	place(q, last, index);
	sift_up(q, last);
	sift_down(q, last);
}

struct timerq_node *timerq_first(const struct timerq *q)
{
	return q->count ? q->heap[0] : NULL;
}
