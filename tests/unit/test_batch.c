// SPDX-License-Identifier: MIT
/* Batches that helpers encrypt and decrypt: complete, correct and in order. */
#include "testutil.h"

#include <pthread.h>
#include <time.h>

#include <sodium.h>

#include "batch.h"
#include "engines.h"
#include "thread.h"

#define PACKET	 200
#define ROUNDS	 3000
#define A_SECOND 100 /* naps of 10 ms */

static uint8_t key[WG_KEY_LEN];

/* An owner of numbered batches: what it filled, and the number to be delivered next. */
struct owner {
	struct batch_ring ring;
	struct aead aead;
	struct filled {
		struct batch batch;
		uint8_t packets[BATCH_SIZE][PACKET + WG_TAG_LEN];
	} list[BATCH_RING_LEN];
	uint64_t filled, delivered;
	uint64_t random;
	unsigned wrong;
};

static void check_sealed(struct owner *o, const uint8_t *sealed, uint64_t number)
{
	uint8_t plain[PACKET], nonce[12] = {0}, expected[PACKET];

	memcpy(nonce + 4, &number, sizeof(number));
	memset(expected, (int)number, sizeof(expected));
	if (crypto_aead_chacha20poly1305_ietf_decrypt(plain, NULL, NULL, sealed,
						      PACKET + WG_TAG_LEN, NULL, 0, nonce,
						      key) ||
	    memcmp(plain, expected, PACKET) != 0)
		o->wrong++;
}

static void deliver(void *arg, struct batch *b)
{
	struct owner *o = arg;

	for (unsigned i = 0; i < b->count; i++)
		check_sealed(o, b->ops[i].dst, o->delivered++);
	b->count = 0;
}

static void owner_begin(struct owner *o, struct helpers *helpers, uint64_t seed)
{
	memset(o, 0, sizeof(*o));
	o->random = seed;
	o->ring.helpers = helpers;
	o->ring.aead = &o->aead;
	o->ring.work = WORK_SEAL;
	o->ring.deliver = deliver;
	o->ring.arg = o;
	batch_ring_init(&o->ring, o->list, sizeof(o->list[0]));
	assert_int_equal(aead_begin(&o->aead, &aead_sodium), 0);
}

static void owner_end(struct owner *o)
{
	aead_end(&o->aead);
	batch_ring_destroy(&o->ring);
}

static void fill(struct owner *o, unsigned count)
{
	struct filled *f = (struct filled *)batch_ring_filling(&o->ring);

	f->batch.count = count;
	for (unsigned i = 0; i < count; i++) {
		memset(f->packets[i], (int)o->filled, PACKET);
		f->batch.ops[i] = (struct aead_op){
			.key = key,
			.counter = o->filled++,
			.src = f->packets[i],
			.dst = f->packets[i],
			.len = PACKET,
		};
	}
}

static void *own(void *arg)
{
	struct owner *o = arg;

	thread_become(THREAD_WORKER);
	for (unsigned i = 0; i < ROUNDS; i++) {
		fill(o, 1 + (unsigned)(next_random(&o->random) % BATCH_SIZE));
		batch_ring_end_batch(&o->ring, next_random(&o->random) % 4);
		if (next_random(&o->random) % 16 == 0)
			batch_ring_drain(&o->ring);
	}
	batch_ring_drain(&o->ring);
	thread_become(THREAD_CONTROL);
	return NULL;
}

static void check_all(const struct owner *o)
{
	assert_int_equal(o->delivered, o->filled);
	assert_int_equal(o->wrong, 0);
}

static void test_alone(void **state)
{
	static struct owner o;
	struct helpers nobody = {0};

	owner_begin(&o, &nobody, 1);
	own(&o);
	check_all(&o);
	assert_int_equal(o.ring.advice.helped, 0);
	owner_end(&o);
	helpers_stop(&nobody);
}

static void test_owners_and_helpers(void **state)
{
	static struct owner owners[3];
	pthread_t threads[3];
	struct helpers helpers;

	assert_int_equal(helpers_start(&helpers, &aead_sodium, 3), 0);
	for (unsigned i = 0; i < 3; i++) {
		owner_begin(&owners[i], &helpers, i + 1);
		assert_int_equal(pthread_create(&threads[i], NULL, own, &owners[i]), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	helpers_stop(&helpers);
	for (unsigned i = 0; i < 3; i++) {
		check_all(&owners[i]);
		owner_end(&owners[i]);
	}
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 10 * MSEC_NS}, NULL);
}

/* Helpers do and deliver all batches of an owner that does nothing. */
static void test_helper_helps(void **state)
{
	static struct owner o;
	struct helpers helpers;

	assert_int_equal(helpers_start(&helpers, &aead_sodium, 1), 0);
	owner_begin(&o, &helpers, 1);
	thread_become(THREAD_WORKER);
	for (unsigned i = 0; i < BATCH_RING_LEN - 1; i++) {
		fill(&o, BATCH_SIZE);
		batch_ring_end_batch(&o.ring, true);
	}
	/* The last one may have been finished before it was marked as ended. */
	for (unsigned i = 0; i < 30 * A_SECOND && o.ring.delivered < BATCH_RING_LEN - 2;
	     i++)
		nap();
	assert_in_range(o.ring.delivered, BATCH_RING_LEN - 2, BATCH_RING_LEN - 1);
	batch_ring_drain(&o.ring);
	check_all(&o);
	assert_in_range(o.ring.advice.helped, 1, (BATCH_RING_LEN - 1) * BATCH_SIZE);
	assert_int_equal(o.ring.advice.back_off, 0);
	thread_become(THREAD_CONTROL);
	helpers_stop(&helpers);
	owner_end(&o);
}

/* If no helper comes, the owner asks ever more seldom, but does not stop asking. */
static void test_back_off(void **state)
{
	static struct owner o;
	struct helpers helpers = {.count = 1};
	unsigned asked = 0;

	pthread_mutex_init(&helpers.lock, NULL);
	pthread_cond_init(&helpers.posted, NULL);
	owner_begin(&o, &helpers, 1);
	thread_become(THREAD_WORKER);
	for (unsigned i = 0; i < 10 * HELPER_BACK_OFF_MAX; i++) {
		bool posts = !o.ring.advice.skip;

		fill(&o, BATCH_SIZE);
		batch_ring_end_batch(&o.ring, true);
		assert_int_equal(o.ring.posted_ops, posts ? BATCH_SIZE : 0);
		asked += posts;
		batch_ring_drain(&o.ring);
	}
	check_all(&o);
	assert_in_range(asked, 10, 30);
	thread_become(THREAD_CONTROL);
	owner_end(&o);
}

/* With more jobs than may wait, the owner does the rest alone. */
static void test_many_jobs(void **state)
{
	static struct helper_job jobs[HELPER_JOBS + 10];
	static struct owner o;
	struct helpers helpers = {0};
	struct aead_op op = {.key = key};
	uint8_t tag[WG_TAG_LEN];

	pthread_mutex_init(&helpers.lock, NULL);
	pthread_cond_init(&helpers.posted, NULL);
	owner_begin(&o, &helpers, 1);
	op.src = op.dst = tag;
	for (unsigned i = 0; i < HELPER_JOBS + 10; i++) {
		jobs[i] = (struct helper_job){.ops = &op, .count = 1, .work = WORK_SEAL};
		helpers_post(&helpers, &jobs[i]);
	}
	for (unsigned i = 0; i < HELPER_JOBS + 10; i++) {
		assert_int_equal(helper_job_work(&jobs[i], &o.aead), 1);
		assert_true(helper_job_done(&jobs[i]));
	}
	assert_int_equal(helpers.tail, HELPER_JOBS);
	owner_end(&o);
}

static int setup(void **state)
{
	fill_sequence(key, sizeof(key), 0x80);
	return sodium_init() < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_owners_and_helpers),
		cmocka_unit_test(test_helper_helps),
		cmocka_unit_test(test_back_off),
		cmocka_unit_test(test_many_jobs),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
