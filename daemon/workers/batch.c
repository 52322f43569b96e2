// SPDX-License-Identifier: MIT
#include "batch.h"

#include <urcu/compiler.h>

#include "thread.h"

void batch_ring_init(struct batch_ring *ring, void *list, size_t size)
{
	pthread_mutex_init(&ring->delivering, NULL);
	for (unsigned i = 0; i < BATCH_RING_LEN; i++) {
		ring->list[i] = (struct batch *)((char *)list + i * size);
		ring->list[i]->ring = ring;
	}
}

void batch_ring_destroy(struct batch_ring *ring)
{
	pthread_mutex_destroy(&ring->delivering);
}

/* The first batch that is not delivered, or NULL. The lock is held. */
static struct batch *first_undelivered(const struct batch_ring *ring)
{
	if (ring->delivered == ring->ended)
		return NULL;
	return ring->list[ring->delivered % BATCH_RING_LEN];
}

static void deliver_first(struct batch_ring *ring, struct batch *batch)
{
	ring->deliver(ring->arg, batch);
	ring->delivered++;
}

/* Called by a helper. If another thread is delivering, the worker or that thread finds this
 * batch done, too. */
static void on_finished(struct helper_job *job)
{
	struct batch_ring *ring = caa_container_of(job, struct batch, job)->ring;
	struct batch *batch;

	if (pthread_mutex_trylock(&ring->delivering))
		return;
	while ((batch = first_undelivered(ring)) && helper_job_done(&batch->job))
		deliver_first(ring, batch);
	pthread_mutex_unlock(&ring->delivering);
}

void batch_ring_drain(struct batch_ring *ring)
{
	struct batch *batch;
	bool in_time = true;

	assert_worker_thread();
	if (!ring->posted_ops)
		return;
	for (unsigned i = ring->delivered; i != ring->ended; i++)
		ring->own_ops +=
			helper_job_work(&ring->list[i % BATCH_RING_LEN]->job, ring->aead);
	pthread_mutex_lock(&ring->delivering);
	while ((batch = first_undelivered(ring))) {
		in_time &= helper_job_wait(&batch->job);
		deliver_first(ring, batch);
	}
	pthread_mutex_unlock(&ring->delivering);
	helper_advice_learn(&ring->advice, ring->posted_ops - ring->own_ops, in_time);
	ring->posted_ops = ring->own_ops = 0;
}

static void post(struct batch_ring *ring, struct batch *batch)
{
	batch->job.ops = batch->ops;
	batch->job.count = batch->count;
	batch->job.work = ring->work;
	batch->job.finished = on_finished;
	ring->posted_ops += batch->count;
	/* Counted as ended only after it is posted: before, its job would look done. */
	helpers_post(ring->helpers, &batch->job);
	ring->ended++;
	if (ring->ended - ring->delivered == BATCH_RING_LEN)
		batch_ring_drain(ring);
}

void batch_ring_end_batch(struct batch_ring *ring, bool help)
{
	assert_worker_thread();
	struct batch *batch = batch_ring_filling(ring);

	if (help && batch->count > HELPER_CHUNK &&
	    helpers_pay_off(ring->helpers, &ring->advice)) {
		post(ring, batch);
		return;
	}
	helper_work_do(ring->aead, ring->work, batch->ops, batch->count);
	batch_ring_drain(ring);
	ring->deliver(ring->arg, batch);
}
