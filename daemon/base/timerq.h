/* SPDX-License-Identifier: MIT */
/*
 * A queue of deadlines that finds the earliest one. It is a binary heap of nodes that are
 * embedded in their owners, so inserting, moving and removing take logarithmic time. For
 * one thread.
 */
#ifndef TIMERQ_H
#define TIMERQ_H

#include <stddef.h>
#include <stdint.h>

/* Embedded in its owner. A zeroed node is in no queue. Only timerq.c writes it. */
struct timerq_node {
	uint64_t deadline;
	size_t index; /* place in the heap, counted from 1; 0: in no heap */
};

struct timerq {
	struct timerq_node **heap;
	size_t count;
	size_t capacity;
};

void timerq_init(struct timerq *q);

/* Takes all nodes out and frees what the queue allocated. */
void timerq_destroy(struct timerq *q);

/* Makes room for n nodes in all, so that they can be inserted. Returns 0 or -ENOMEM. */
int timerq_reserve(struct timerq *q, size_t n);

/*
 * Inserts a node with a deadline, or moves it to a new deadline. UINT64_MAX takes the
 * node out. Returns 0, or -ENOMEM if the node was not in the queue and could not be
 * inserted. Moving and taking out cannot fail. The owner keeps the node's memory, and
 * must take the node out before freeing it.
 */
int timerq_set(struct timerq *q, struct timerq_node *node, uint64_t deadline);

/* Takes a node out of the queue. Does nothing if the node is in no queue. */
void timerq_remove(struct timerq *q, struct timerq_node *node);

/* Returns a node with the earliest deadline, or NULL if the queue is empty. The node
 * stays in the queue. */
struct timerq_node *timerq_first(const struct timerq *q);

#endif
