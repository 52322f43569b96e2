/* SPDX-License-Identifier: MIT */
/*
 * Batches of packets under way, in order.
 *
 * Theory of operation: a worker fills one batch at a time. What ends is en- or decrypted
 * by it, or by helpers (crew.h) while it fills the next one, and is delivered in the
 * order in which it was filled, in either case by the worker. All of one worker's thread.
 */
#ifndef BATCH_H
#define BATCH_H

#include <stdbool.h>

#include "aead.h"
#include "crew.h"

#define BATCH_SIZE 64 /* packets */
#define BATCHES	   8  /* under way at a time, with the one that is being filled */

/* Its packets are in what it is the first member of. */
struct batch {
	struct aead_op ops[BATCH_SIZE]; /* set by whoever fills it */
	unsigned count;
	struct crew_job job;
};

struct batches {
	struct batch *ring[BATCHES];
	unsigned first, posted; /* the one after these is being filled */
	enum crew_what what;
	struct crew *crew;
	struct aead *aead;	   /* of the worker */
	struct crew_advice advice; /* likewise */
	/* Empties it: sets count to 0. */
	void (*deliver)(void *arg, struct batch *b);
	void *arg;
};

/* The one that is being filled, by up to BATCH_SIZE. Another one after batches_end(). */
static inline struct batch *batches_filling(const struct batches *bs)
{
	return bs->ring[(bs->first + bs->posted) % BATCHES];
}

/* The batch that is being filled is full, or nothing more is there to fill it; its
 * operations are set. `help`: not alone, if that is any use. It may be delivered now or
 * later; what its operations name must stay until then. */
void batches_end(struct batches *bs, bool help);
/* Delivers all that ended. */
void batches_drain(struct batches *bs);

#endif
