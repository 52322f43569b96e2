// SPDX-License-Identifier: MIT
/*
 * How much helpers speed up the encryption of one peer's packets: elapsed ns per packet
 * of 1420 bytes with 1 thread up to one per CPU. Prints lines "threads_N NANOSECONDS".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "batch.h"
#include "clock.h"
#include "pick.h"
#include "thread.h"

#define LEN	    1420
#define ROUNDS	    9
#define MAX_THREADS 64
#define ROUND_NS    (50 * NS_PER_MS)

static uint8_t key[WG_KEY_LEN];

struct filled {
	struct batch batch;
	uint8_t packets[BATCH_SIZE][LEN + WG_TAG_LEN];
};

static void deliver(void *arg, struct batch *b)
{
	*(uint64_t *)arg += b->count;
	b->count = 0;
}

static void fill(struct filled *f)
{
	f->batch.count = BATCH_SIZE;
	for (unsigned i = 0; i < BATCH_SIZE; i++)
		f->batch.ops[i] = (struct aead_op){.key = key,
						   .counter = i,
						   .src = f->packets[i],
						   .dst = f->packets[i],
						   .len = LEN};
}

/* Returns the elapsed ns per packet. */
static double round_ns(struct batch_ring *ring, uint64_t *delivered)
{
	uint64_t began = clock_now(), took;

	thread_become(THREAD_WORKER);
	*delivered = 0;
	do {
		fill((struct filled *)batch_ring_filling(ring));
		batch_ring_end_batch(ring, true);
		took = clock_now() - began;
	} while (took < ROUND_NS);
	batch_ring_drain(ring);
	thread_become(THREAD_CONTROL);
	return (double)(clock_now() - began) / (double)*delivered;
}

static double bench(const struct aead_engine *engine, unsigned threads)
{
	static struct filled list[BATCH_RING_LEN];
	uint64_t delivered;
	struct helpers helpers;
	struct aead aead;
	struct batch_ring ring = {.work = WORK_SEAL,
				  .helpers = &helpers,
				  .aead = &aead,
				  .deliver = deliver,
				  .arg = &delivered};
	double ns;

	batch_ring_init(&ring, list, sizeof(list[0]));
	if (helpers_start(&helpers, engine, threads - 1) || aead_begin(&aead, engine))
		abort();
	ns = round_ns(&ring, &delivered);
	aead_end(&aead);
	helpers_stop(&helpers);
	batch_ring_destroy(&ring);
	return ns;
}

/* Interleaves the thread counts: a virtual machine's CPUs are not always available. */
int main(void)
{
	const struct aead_engine *engine;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	double best[MAX_THREADS + 1];

	if (sodium_init() < 0)
		return 1;
	if (cpus > MAX_THREADS)
		cpus = MAX_THREADS;
	engine = aead_pick();
	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned n = 1; n <= cpus; n++) {
			double ns = bench(engine, n);

			if (!round || ns < best[n])
				best[n] = ns;
		}
	for (unsigned n = 1; n <= cpus; n++)
		printf("threads_%u %.1f\n", n, best[n]);
	return 0;
}
