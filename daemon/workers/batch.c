// SPDX-License-Identifier: MIT
#include "batch.h"

#include <urcu/compiler.h>

void batches_init(struct batches *bs, void *list, size_t size)
{
	pthread_mutex_init(&bs->delivering, NULL);
	for (unsigned i = 0; i < BATCHES; i++) {
		bs->ring[i] = (struct batch *)((char *)list + i * size);
		bs->ring[i]->of = bs;
	}
}

void batches_destroy(struct batches *bs)
{
	pthread_mutex_destroy(&bs->delivering);
}

/* The first one that is not delivered, or NULL. The lock is held. */
static struct batch *first_of(const struct batches *bs)
{
	if (bs->delivered == bs->ended)
		return NULL;
	return bs->ring[bs->delivered % BATCHES];
}

static void deliver_first(struct batches *bs, struct batch *b)
{
	bs->deliver(bs->arg, b);
	bs->delivered++;
}

/* A helper's thread. Where somebody else is at it, he or the worker will find this one
 * done, too. */
static void on_finished(struct crew_job *job)
{
	struct batches *bs = caa_container_of(job, struct batch, job)->of;
	struct batch *b;

	if (pthread_mutex_trylock(&bs->delivering))
		return;
	while ((b = first_of(bs)) && crew_done(&b->job))
		deliver_first(bs, b);
	pthread_mutex_unlock(&bs->delivering);
}

void batches_drain(struct batches *bs)
{
	struct batch *b;
	bool in_time = true;

	if (!bs->posted)
		return;
	for (unsigned i = bs->delivered; i != bs->ended; i++)
		bs->own += crew_work(&bs->ring[i % BATCHES]->job, bs->aead);
	pthread_mutex_lock(&bs->delivering);
	while ((b = first_of(bs))) {
		in_time &= crew_wait(&b->job);
		deliver_first(bs, b);
	}
	pthread_mutex_unlock(&bs->delivering);
	crew_learn(&bs->advice, bs->posted - bs->own, in_time);
	bs->posted = bs->own = 0;
}

static void post(struct batches *bs, struct batch *b)
{
	b->job.ops = b->ops;
	b->job.count = b->count;
	b->job.what = bs->what;
	b->job.finished = on_finished;
	bs->posted += b->count;
	/* Not ended before it is posted: it would look done. */
	crew_post(bs->crew, &b->job);
	bs->ended++;
	if (bs->ended - bs->delivered == BATCHES)
		batches_drain(bs);
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
