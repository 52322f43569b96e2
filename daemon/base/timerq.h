/* SPDX-License-Identifier: MIT */
/*
 * A queue of deadlines: which of many is next, in logarithmic time. A binary heap
 * of nodes that live inside their owners. For one thread.
 */
#ifndef TIMERQ_H
#define TIMERQ_H

#include <stddef.h>
#include <stdint.h>

/* In its owner's struct; a zeroed node is in no queue. Read only, but by timerq. */
struct timerq_node {
	uint64_t deadline;
	size_t index; /* place in the heap, counted from 1; 0: in none */
};

struct timerq {
	struct timerq_node **heap;
	size_t count;
	size_t capacity;
};

void timerq_init(struct timerq *q);

/* Take all nodes out and free what the queue allocated. */
void timerq_destroy(struct timerq *q);

/*
 * Insert a node with a deadline, or move it to a new one; UINT64_MAX takes it out.
 * Returns 0, or -ENOMEM: then a node that was not in the queue still is not. Moving
 * and taking out cannot fail. The node stays its owner's, who must take it out
 * before it goes away.
 */
int timerq_set(struct timerq *q, struct timerq_node *node, uint64_t deadline);

/* Take a node out; nothing happens if it is in no queue. */
void timerq_remove(struct timerq *q, struct timerq_node *node);

/* A node with the earliest deadline, which stays in the queue; NULL if it is empty. */
struct timerq_node *timerq_first(const struct timerq *q);

#endif
