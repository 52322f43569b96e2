// SPDX-License-Identifier: MIT
#include "testutil.h"

#include "timerq.h"

#define NODES 300

static void test_empty(void **state)
{
	struct timerq_node node = {0};
	struct timerq q;

	timerq_init(&q);
	assert_null(timerq_first(&q));
	timerq_remove(&q, &node);
	assert_int_equal(timerq_set(&q, &node, UINT64_MAX), 0);
	assert_null(timerq_first(&q));
	timerq_destroy(&q);
}

static void test_move(void **state)
{
	struct timerq_node a = {0}, b = {0}, c = {0};
	struct timerq q;

	timerq_init(&q);
	assert_int_equal(timerq_set(&q, &a, 10), 0);
	assert_int_equal(timerq_set(&q, &b, 20), 0);
	assert_int_equal(timerq_set(&q, &c, 30), 0);
	assert_ptr_equal(timerq_first(&q), &a);
	assert_int_equal(timerq_first(&q)->deadline, 10);
	timerq_set(&q, &a, 25); /* later */
	assert_ptr_equal(timerq_first(&q), &b);
	timerq_set(&q, &c, 5); /* earlier */
	assert_ptr_equal(timerq_first(&q), &c);
	timerq_set(&q, &c, UINT64_MAX); /* out */
	assert_ptr_equal(timerq_first(&q), &b);
	timerq_remove(&q, &b);
	timerq_remove(&q, &b);
	assert_ptr_equal(timerq_first(&q), &a);
	timerq_remove(&q, &a);
	assert_null(timerq_first(&q));
	assert_int_equal(timerq_set(&q, &b, 0), 0); /* and in again */
	assert_ptr_equal(timerq_first(&q), &b);
	timerq_destroy(&q);
	assert_int_equal(b.index, 0);
}

/* Removes all, which must come in order; returns how many there were. */
static unsigned drain(struct timerq *q)
{
	uint64_t last = 0;
	unsigned n;

	for (n = 0; timerq_first(q); n++) {
		struct timerq_node *first = timerq_first(q);

		assert_true(first->deadline >= last);
		last = first->deadline;
		timerq_remove(q, first);
		assert_int_equal(first->index, 0);
	}
	return n;
}

/* Returns the earliest deadline, or UINT64_MAX. */
static uint64_t earliest(const uint64_t *deadlines)
{
	uint64_t best = UINT64_MAX;
	unsigned i;

	for (i = 0; i < NODES; i++)
		if (deadlines[i] < best)
			best = deadlines[i];
	return best;
}

/* The model is a plain array of deadlines. Few values, so that many are equal. */
static void test_random_against_model(void **state)
{
	static struct timerq_node nodes[NODES];
	uint64_t deadlines[NODES], seed = 99;
	const struct timerq_node *first;
	struct timerq q;
	unsigned i, step;

	timerq_init(&q);
	for (i = 0; i < NODES; i++)
		deadlines[i] = UINT64_MAX;
	for (step = 0; step < 20000; step++) {
		i = next_random(&seed) % NODES;
		deadlines[i] =
			next_random(&seed) % 5 ? next_random(&seed) % 1000 : UINT64_MAX;
		if (deadlines[i] == UINT64_MAX && step % 2)
			timerq_remove(&q, &nodes[i]);
		else
			assert_int_equal(timerq_set(&q, &nodes[i], deadlines[i]), 0);

		first = timerq_first(&q);
		assert_int_equal(first ? first->deadline : UINT64_MAX,
				 earliest(deadlines));
		if (first)
			assert_int_equal(deadlines[first - nodes], first->deadline);
	}
	timerq_destroy(&q);
}

static void test_sorts(void **state)
{
	static struct timerq_node nodes[NODES];
	uint64_t seed = 5;
	struct timerq q;
	unsigned i;

	timerq_init(&q);
	for (i = 0; i < NODES; i++)
		assert_int_equal(timerq_set(&q, &nodes[i], next_random(&seed) >> 1), 0);
	assert_int_equal(drain(&q), NODES);
	timerq_destroy(&q);
}

/* Removes any one node of any heap of seven: its replacement may have to move up or
 * down. */
static void test_sorts_after_removal(void **state)
{
	struct timerq_node nodes[7];
	uint64_t seed = 11;
	struct timerq q;
	unsigned round, i;

	timerq_init(&q);
	for (round = 0; round < 2000; round++) {
		memset(nodes, 0, sizeof(nodes));
		for (i = 0; i < 7; i++)
			timerq_set(&q, &nodes[i], next_random(&seed) % 100);
		timerq_remove(&q, &nodes[round % 7]);
		assert_int_equal(drain(&q), 6);
	}
	timerq_destroy(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_random_against_model),
		cmocka_unit_test(test_sorts),
		cmocka_unit_test(test_sorts_after_removal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
