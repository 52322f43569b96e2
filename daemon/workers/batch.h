/* SPDX-License-Identifier: MIT */
/*
 * A ring of packet batches under way, delivered in order.
 *
 * Theory of operation: a worker fills one batch at a time. A batch that it ends is encrypted or
 * decrypted by the worker, or by helpers (helpers.h) while the worker fills the next batch.
 * Batches are delivered one at a time and in the order in which they were filled, by the worker
 * or by the helper that finds the first of them done. So reading, the AEAD and delivery of one
 * worker's packets can use three cores or more, and nothing has to be sorted.
 */
#ifndef BATCH_H
#define BATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "aead.h"
#include "helpers.h"

#define BATCH_SIZE     64 /* packets */
#define BATCH_RING_LEN 8  /* batches, including the one that is being filled */

struct batch_ring;

/* The first member of a struct that holds the batch's packets. */
struct batch {
	struct aead_op ops[BATCH_SIZE]; /* set by the worker that fills the batch */
	unsigned count;
	struct helper_job job;
	struct batch_ring *ring;
};

struct batch_ring {
	struct batch *list[BATCH_RING_LEN];
	enum helper_work work;
	struct helpers *helpers;
	/* Empties the batch: sets count to 0. Called in the worker's thread or a helper's, never
	 * in two threads at a time. */
	void (*deliver)(void *arg, struct batch *batch);
	void *arg;

	/* Touched by the worker's thread only. */
	struct aead *aead;
	struct helper_advice advice;
	uint64_t posted_ops; /* AEAD operations posted since the ring was drained */
	uint64_t own_ops;    /* of these, those that the worker did itself */

	/* Free-running counts of batches; the batch being filled is number `ended`. */
	atomic_uint ended;     /* posted to the helpers; written by the worker */
	atomic_uint delivered; /* written under the lock */
	pthread_mutex_t delivering;
};

/* The caller has set work, helpers, aead, deliver and arg, and zeroed the rest. `list`:
 * BATCH_RING_LEN structs of `size` bytes that begin with their batch; the caller's, and in use
 * until batch_ring_destroy(). */
void batch_ring_init(struct batch_ring *ring, void *list, size_t size);
void batch_ring_destroy(struct batch_ring *ring);

/* All of these: the worker's thread. */

/* The batch that is being filled, with up to BATCH_SIZE packets. Another one after
 * batch_ring_end_batch(). */
static inline struct batch *batch_ring_filling(const struct batch_ring *ring)
{
	return ring->list[ring->ended % BATCH_RING_LEN];
}

/* Ends the batch that is being filled, whose operations are set. `help`: let helpers share the
 * work if that has paid off recently. The batch is delivered now or later; the memory that its
 * operations name must stay until then. */
void batch_ring_end_batch(struct batch_ring *ring, bool help);
/* Returns when all ended batches are delivered. */
void batch_ring_drain(struct batch_ring *ring);

#endif
