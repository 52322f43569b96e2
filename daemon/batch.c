// SPDX-License-Identifier: MIT
#include "batch.h"

static void deliver_first(struct batches *bs)
{
	struct batch *b = bs->ring[bs->first];

	crew_finish(&b->job, bs->aead, &bs->advice);
	bs->deliver(bs->arg, b);
	bs->posted--;
	/* The memory used last is the one in the cache. */
	bs->first = bs->posted ? (bs->first + 1) % BATCHES : 0;
}

void batches_drain(struct batches *bs)
{
	while (bs->posted)
		deliver_first(bs);
}

static void post(struct batches *bs, struct batch *b)
{
	b->job.ops = b->ops;
	b->job.count = b->count;
	b->job.what = bs->what;
	crew_post(bs->crew, &b->job);
	bs->posted++;
	while (bs->posted == BATCHES ||
	       (bs->posted && crew_done(&bs->ring[bs->first]->job)))
		deliver_first(bs);
}

void batches_end(struct batches *bs, bool help)
{
	struct batch *b = batches_filling(bs);

	if (help && b->count > CREW_CHUNK && crew_helps(bs->crew, &bs->advice)) {
		post(bs, b);
		return;
	}
	crew_do(bs->aead, bs->what, b->ops, b->count);
	batches_drain(bs);
	bs->deliver(bs->arg, b);
}
