/* SPDX-License-Identifier: MIT */
/*
 * Batches of packets under way, in order.
 *
 * Theory of operation: a worker fills one batch at a time. What ends is en- or decrypted
 * by it, or by helpers (crew.h) while it fills the next one. Batches are delivered in the
 * order in which they were filled, one at a time: by the worker, or by the helper that
 * finds the first of them done. So reading, the AEAD and delivery of one worker's packets
 * can be on three cores or more, and nothing has to be sorted.
 */
#ifndef BATCH_H
#define BATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "aead.h"
#include "helpers.h"

#define BATCH_SIZE 64 /* packets */
#define BATCHES	   8  /* under way at a time, with the one that is being filled */

struct batches;

/* Its packets are in what it is the first member of. */
struct batch {
	struct aead_op ops[BATCH_SIZE]; /* set by whoever fills it */
	unsigned count;
	struct crew_job job;
	struct batches *of;
};

struct batches {
	struct batch *ring[BATCHES];
	enum crew_what what;
	struct crew *crew;
	struct aead *aead;	   /* of the worker */
	struct crew_advice advice; /* likewise */
	uint64_t posted, own;	   /* operations since it was drained; likewise */
	/* Empties it: sets count to 0. In the worker's thread or a helper's, while no other
	 * thread does it for this worker. */
	void (*deliver)(void *arg, struct batch *b);
	void *arg;

	atomic_uint ended;     /* so many batches were posted: free running */
	atomic_uint delivered; /* of these; by the holder of the lock */
	pthread_mutex_t delivering;
};

/* what, crew, aead, deliver and arg are set, the rest is zeroed. `list`: BATCHES structs of
 * that size, which begin with their batch; the caller's, as long as this is used. */
void batches_init(struct batches *bs, void *list, size_t size);
void batches_destroy(struct batches *bs);

/* All of these: the worker's thread. */

/* The one that is being filled, by up to BATCH_SIZE. Another one after batches_end(). */
static inline struct batch *batches_filling(const struct batches *bs)
{
	return bs->ring[bs->ended % BATCHES];
}

/* The batch that is being filled is full, or nothing more is there to fill it; its
 * operations are set. `help`: not alone, if that is any use. It may be delivered now or
 * later; what its operations name must stay until then. */
void batches_end(struct batches *bs, bool help);
/* Returns when all that ended is delivered. */
void batches_drain(struct batches *bs);

#endif
