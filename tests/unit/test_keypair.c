// SPDX-License-Identifier: MIT
/*
 * Keypairs. This thread is a QSBR reader: between two of its quiescent states no grace
 * period ends, so a dropped keypair must stay intact.
 */
#include "testutil.h"

#include <malloc.h>
#include <sodium.h>
#include <stdlib.h>

#include "keypair.h"

#define MANY 4096

struct fixture {
	struct keypairs sessions;
	struct peer *peer; /* only its address is used */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(keypairs_init(&f->sessions), 0);
	f->peer = (struct peer *)f;
	*state = f;
	return 0;
}

/* A test must drop the keypairs that it makes, because the table must be empty here. */
static int teardown(void **state)
{
	struct fixture *f = *state;

	urcu_qsbr_barrier();
	keypairs_destroy(&f->sessions);
	assert_null(f->sessions.table);
	free(f);
	return 0;
}

static struct keypair *make(struct fixture *f)
{
	struct keypair *kp = keypair_new(&f->sessions, f->peer);

	assert_non_null(kp);
	return kp;
}

static void drop_all(struct fixture *f, struct keypair **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		keypair_drop(&f->sessions, list[i]);
}

static struct noise_keys keys_for(const struct keypair *kp, bool initiator)
{
	struct noise_keys keys = {
		.local_index = kp->local_index,
		.remote_index = 0x12345678,
		.initiator = initiator,
	};

	fill_sequence(keys.send, sizeof(keys.send), 1);
	fill_sequence(keys.receive, sizeof(keys.receive), 101);
	return keys;
}

static void test_new(void **state)
{
	struct fixture *f = *state;
	struct keypair *kp = make(f);

	assert_ptr_equal(kp->peer, f->peer);
	assert_false(atomic_load(&kp->ready));
	assert_false(atomic_load(&kp->received));
	assert_false(atomic_load(&kp->aging));
	assert_int_equal(atomic_load(&kp->send_counter), 0);
	assert_true(is_zero(kp->send_key, WG_KEY_LEN));
	assert_true(is_zero(kp->receive_key, WG_KEY_LEN));
	keypair_drop(&f->sessions, kp);
}

static void test_find(void **state)
{
	struct fixture *f = *state;
	struct keypair *one = make(f), *two = make(f);

	assert_ptr_equal(keypairs_find(&f->sessions, one->local_index), one);
	assert_ptr_equal(keypairs_find(&f->sessions, two->local_index), two);
	for (int bit = 0; bit < 32; bit++) {
		uint32_t other = one->local_index ^ 1U << bit;

		if (other != two->local_index)
			assert_null(keypairs_find(&f->sessions, other));
	}
	keypair_drop(&f->sessions, one);
	keypair_drop(&f->sessions, two);
}

/* More than the initial size of the table. Each is found, so no two share an index. */
static void test_many(void **state)
{
	struct fixture *f = *state;
	struct keypair **list = calloc(MANY, sizeof(*list));

	assert_non_null(list);
	for (size_t i = 0; i < MANY; i++)
		list[i] = make(f);
	for (size_t i = 0; i < MANY; i++)
		assert_ptr_equal(keypairs_find(&f->sessions, list[i]->local_index),
				 list[i]);
	for (size_t i = 0; i < MANY; i += 2)
		keypair_drop(&f->sessions, list[i]);
	for (size_t i = 1; i < MANY; i += 2)
		assert_ptr_equal(keypairs_find(&f->sessions, list[i]->local_index),
				 list[i]);
	for (size_t i = 1; i < MANY; i += 2)
		keypair_drop(&f->sessions, list[i]);
	free(list);
}

/* An observer must not be able to guess them, so each bit is set in half of them. Between
 * 40 and 60 of 100 is twelve standard deviations each way. */
static void test_indices_are_random(void **state)
{
	struct keypair **list = calloc(MANY, sizeof(*list));
	struct fixture *f = *state;
	unsigned ones[32] = {0};

	assert_non_null(list);
	for (size_t i = 0; i < MANY; i++) {
		list[i] = make(f);
		for (int bit = 0; bit < 32; bit++)
			ones[bit] += list[i]->local_index >> bit & 1;
	}
	for (int bit = 0; bit < 32; bit++)
		assert_in_range(ones[bit], MANY * 4 / 10, MANY * 6 / 10);
	drop_all(f, list, MANY);
	free(list);
}

/* --- numbers to order, in libsodium's stead --- */

static const uint32_t *scripted;

static const char *scripted_name(void)
{
	return "scripted";
}

static uint32_t scripted_random(void)
{
	return *scripted++;
}

static void with_script(const uint32_t *numbers)
{
	static randombytes_implementation script = {
		.implementation_name = scripted_name,
		.random = scripted_random,
	};

	scripted = numbers;
	randombytes_set_implementation(&script);
}

static void test_index_in_use_is_passed_over(void **state)
{
	static const uint32_t numbers[] = {7, 7, 7, 9, 9, 7, 0};
	struct fixture *f = *state;
	struct keypair *list[3];

	with_script(numbers);
	for (int i = 0; i < 3; i++)
		list[i] = make(f);
	randombytes_set_implementation(&randombytes_sysrandom_implementation);
	assert_int_equal(list[0]->local_index, 7);
	assert_int_equal(list[1]->local_index, 9);
	assert_int_equal(list[2]->local_index, 0);
	drop_all(f, list, 3);
}

/* The index of a dropped keypair is free at once. */
static void test_index_comes_free(void **state)
{
	static const uint32_t numbers[] = {7, 7};
	struct fixture *f = *state;
	struct keypair *first, *second;

	with_script(numbers);
	first = make(f);
	keypair_drop(&f->sessions, first);
	second = make(f);
	randombytes_set_implementation(&randombytes_sysrandom_implementation);
	assert_ptr_not_equal(second, first);
	assert_int_equal(second->local_index, 7);
	assert_ptr_equal(keypairs_find(&f->sessions, 7), second);
	keypair_drop(&f->sessions, second);
}

/* --- life --- */

static void check_activation(struct fixture *f, bool initiator)
{
	struct keypair *kp = make(f);
	struct noise_keys keys = keys_for(kp, initiator);
	uint32_t index = kp->local_index;

	keypair_activate(kp, &keys, 77 * SEC_NS);
	assert_true(atomic_load(&kp->ready));
	assert_memory_equal(kp->send_key, keys.send, WG_KEY_LEN);
	assert_memory_equal(kp->receive_key, keys.receive, WG_KEY_LEN);
	assert_int_equal(kp->local_index, index);
	assert_int_equal(kp->remote_index, 0x12345678);
	assert_int_equal(kp->initiator, initiator);
	assert_int_equal(kp->born, 77 * SEC_NS);
	assert_int_equal(atomic_load(&kp->send_counter), 0);
	assert_false(atomic_load(&kp->received));
	assert_ptr_equal(keypairs_find(&f->sessions, index), kp);
	keypair_drop(&f->sessions, kp);
}

static void test_activate(void **state)
{
	check_activation(*state, true);
	check_activation(*state, false);
}

/* The first counter of a session is 0, and it is accepted once. */
static void test_replay_window_is_fresh(void **state)
{
	struct fixture *f = *state;
	struct keypair *kp = make(f);

	assert_true(replay_check_and_update(&kp->replay, 0));
	assert_false(replay_check_and_update(&kp->replay, 0));
	assert_true(replay_check_and_update(&kp->replay, 1));
	keypair_drop(&f->sessions, kp);
}

#define BORN (1000 * SEC_NS)

static void test_older_than(void **state)
{
	struct keypair kp = {.born = BORN};

	assert_false(keypair_older_than(&kp, BORN, 120));
	assert_false(keypair_older_than(&kp, BORN + 120 * SEC_NS - 1, 120));
	assert_true(keypair_older_than(&kp, BORN + 120 * SEC_NS, 120));
	assert_true(keypair_older_than(&kp, 100 * BORN, 120));
}

/* A worker's time may be from before this keypair was made. */
static void test_born_in_the_future(void **state)
{
	struct keypair kp = {.born = BORN, .initiator = true};

	assert_int_equal(keypair_age(&kp, BORN - 1), 0);
	assert_false(keypair_older_than(&kp, BORN - 1, 120));
	assert_true(keypair_may_send(&kp, BORN - 1));
	assert_false(keypair_wants_rekey(&kp, BORN - 1));
}

static void test_may_send(void **state)
{
	struct keypair kp = {.born = BORN};

	assert_true(keypair_may_send(&kp, BORN + 180 * SEC_NS - 1));
	assert_false(keypair_may_send(&kp, BORN + 180 * SEC_NS));
	atomic_store(&kp.send_counter, UINT64_MAX - 8192 - 1);
	assert_true(keypair_may_send(&kp, BORN));
	atomic_store(&kp.send_counter, UINT64_MAX - 8192);
	assert_false(keypair_may_send(&kp, BORN));
	atomic_store(&kp.send_counter, UINT64_MAX);
	assert_false(keypair_may_send(&kp, BORN));
}

static void test_take_counters(void **state)
{
	const uint64_t limit = UINT64_MAX - 8192; /* REJECT_AFTER_MESSAGES */
	struct keypair kp = {.born = BORN};
	uint64_t first = 1;

	assert_int_equal(keypair_take_counters(&kp, 3, &first), 3);
	assert_int_equal(first, 0);
	assert_int_equal(keypair_take_counters(&kp, 1, &first), 1);
	assert_int_equal(first, 3);
	atomic_store(&kp.send_counter, limit - 5);
	assert_int_equal(keypair_take_counters(&kp, 2, &first), 2);
	assert_int_equal(first, limit - 5);
	assert_int_equal(keypair_take_counters(&kp, 64, &first), 3);
	assert_int_equal(first, limit - 3);
	for (int i = 0; i < 10000; i++) /* more than there are up to UINT64_MAX */
		assert_int_equal(keypair_take_counters(&kp, 64, &first), 0);
	assert_int_equal(atomic_load(&kp.send_counter), limit);
}

#define TAKERS 4
#define TAKEN  100000

struct taker {
	struct keypair *kp;
	uint64_t got, sum, last;
};

static void *take_all(void *arg)
{
	struct taker *t = arg;
	uint64_t first;
	unsigned n;

	while ((n = keypair_take_counters(t->kp, 7, &first))) {
		for (unsigned i = 0; i < n; i++)
			t->sum += first + i;
		t->got += n;
		t->last = first + n - 1;
	}
	return NULL;
}

/* All threads together take each counter once. */
static void test_take_counters_at_once(void **state)
{
	const uint64_t limit = UINT64_MAX - 8192;
	struct keypair kp = {.born = BORN, .send_counter = limit - TAKEN};
	struct taker takers[TAKERS] = {0};
	pthread_t threads[TAKERS];
	uint64_t got = 0, sum = 0, want = 0;

	for (int i = 0; i < TAKERS; i++) {
		takers[i].kp = &kp;
		assert_int_equal(pthread_create(&threads[i], NULL, take_all, &takers[i]),
				 0);
	}
	for (int i = 0; i < TAKERS; i++) {
		pthread_join(threads[i], NULL);
		got += takers[i].got;
		sum += takers[i].sum;
		assert_true(takers[i].last < limit);
	}
	for (uint64_t c = limit - TAKEN; c < limit; c++)
		want += c;
	assert_int_equal(got, TAKEN);
	assert_int_equal(sum, want);
	assert_int_equal(atomic_load(&kp.send_counter), limit);
}

/* Because of age only the initiator rekeys; otherwise both would at the same time. */
static void test_wants_rekey(void **state)
{
	struct keypair kp = {.born = BORN, .initiator = true};

	assert_false(keypair_wants_rekey(&kp, BORN + 120 * SEC_NS - 1));
	assert_true(keypair_wants_rekey(&kp, BORN + 120 * SEC_NS));
	kp.initiator = false;
	assert_false(keypair_wants_rekey(&kp, BORN + 120 * SEC_NS));
	atomic_store(&kp.send_counter, (1ULL << 60) - 1);
	assert_false(keypair_wants_rekey(&kp, BORN));
	atomic_store(&kp.send_counter, 1ULL << 60);
	assert_true(keypair_wants_rekey(&kp, BORN));
}

static void test_drop_of_nothing(void **state)
{
	struct fixture *f = *state;

	keypair_drop(&f->sessions, NULL);
}

/* It is not found any more, but stays intact for readers that have it. */
static void test_dropped_lives_through_the_grace_period(void **state)
{
	struct fixture *f = *state;
	struct keypair *kp = make(f);
	struct noise_keys keys = keys_for(kp, true);
	uint32_t index = kp->local_index;

	keypair_activate(kp, &keys, 0);
	keypair_drop(&f->sessions, kp);
	assert_null(keypairs_find(&f->sessions, index));
	assert_memory_equal(kp->send_key, keys.send, WG_KEY_LEN);
	assert_memory_equal(kp->receive_key, keys.receive, WG_KEY_LEN);
	assert_int_equal(kp->local_index, index);
}

/* Returns 0 with the address sanitizer, which finds leaks itself. */
static size_t bytes_in_use(void)
{
	return mallinfo2().uordblks;
}

static void test_dropped_is_freed_after_it(void **state)
{
	const size_t all = MANY * sizeof(struct keypair);
	struct keypair **list = calloc(MANY, sizeof(*list));
	struct fixture *f = *state;
	size_t before = bytes_in_use();

	assert_non_null(list);
	for (size_t i = 0; i < MANY; i++)
		list[i] = make(f);
	if (!bytes_in_use()) {
		drop_all(f, list, MANY);
		free(list);
		print_message("needs the C library's own malloc\n");
		skip();
	}
	assert_true(bytes_in_use() >= before + all);
	drop_all(f, list, MANY);
	assert_true(bytes_in_use() >= before + all);
	urcu_qsbr_barrier();
	/* The table may have grown. */
	assert_true(bytes_in_use() < before + all / 2);
	free(list);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static int begin(void **state)
{
	urcu_qsbr_register_thread();
	return sodium_init() < 0;
}

static int end(void **state)
{
	urcu_qsbr_unregister_thread();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_new),
		T(test_find),
		T(test_many),
		T(test_indices_are_random),
		T(test_index_in_use_is_passed_over),
		T(test_index_comes_free),
		T(test_activate),
		T(test_replay_window_is_fresh),
		cmocka_unit_test(test_older_than),
		cmocka_unit_test(test_born_in_the_future),
		cmocka_unit_test(test_may_send),
		cmocka_unit_test(test_take_counters),
		cmocka_unit_test(test_take_counters_at_once),
		cmocka_unit_test(test_wants_rekey),
		T(test_drop_of_nothing),
		T(test_dropped_lives_through_the_grace_period),
		T(test_dropped_is_freed_after_it),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
