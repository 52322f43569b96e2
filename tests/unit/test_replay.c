// SPDX-License-Identifier: MIT
#include "testutil.h"

#include "replay.h"

#define WINDOW 8192

static void accept(struct replay *r, uint64_t counter)
{
	assert_true(replay_check_and_update(r, counter));
}

static void refuse(struct replay *r, uint64_t counter)
{
	assert_false(replay_check_and_update(r, counter));
}

static void test_in_order(void **state)
{
	struct replay r = {0};
	uint64_t i;

	for (i = 0; i < 3 * WINDOW; i++) {
		accept(&r, i);
		refuse(&r, i);
	}
	for (i = 0; i < 3 * WINDOW; i++)
		refuse(&r, i);
}

static void test_backwards(void **state)
{
	struct replay r = {0};
	uint64_t i;

	for (i = WINDOW; i-- > 0;)
		accept(&r, i);
	for (i = WINDOW; i-- > 0;)
		refuse(&r, i);
}

/* greatest - 8191 is in, greatest - 8192 is out, at every place within a word. */
static void test_edge(void **state)
{
	uint64_t greatest;

	for (greatest = 20000; greatest < 20000 + 130; greatest++) {
		struct replay r = {0};

		accept(&r, greatest);
		refuse(&r, greatest - 8192);
		refuse(&r, greatest - 8193);
		refuse(&r, 0);
		accept(&r, greatest - 8191);
		refuse(&r, greatest - 8191);
		accept(&r, greatest + 1);
		refuse(&r, greatest - 8191);
		accept(&r, greatest - 8190);
	}
}

/* The oldest counter must not share a bit with the newest, one lap ahead. */
static void test_ring(void **state)
{
	struct replay r = {0};

	accept(&r, 1);
	accept(&r, 8256); /* = 129 words later: the same place as 0 */
	accept(&r, 8255);
	refuse(&r, 1);
	accept(&r, 8257); /* the place of 1 */
	refuse(&r, 8257);
	accept(&r, 66); /* greatest - 8191 */
	refuse(&r, 65);
	refuse(&r, 66);
}

static void test_jumps(void **state)
{
	static const uint64_t jumps[] = {63,	64,    65,    8127,    8128,	  8191,
					 8192,	8193,  8255,  8256,    8257,	  16384,
					 16511, 16512, 16513, 1 << 20, 1ULL << 40};
	unsigned i;

	for (i = 0; i < sizeof(jumps) / sizeof(*jumps); i++) {
		struct replay r = {0};
		uint64_t c, start = 100000, top = start + jumps[i];

		for (c = start - 8191; c <= start; c++)
			accept(&r, c);
		accept(&r, top);
		for (c = top - 8191; c < top; c++) {
			if (c <= start)
				refuse(&r, c);
			else
				accept(&r, c);
		}
	}
}

static void test_limit(void **state)
{
	const uint64_t limit = UINT64_MAX - 8192; /* REJECT_AFTER_MESSAGES */
	struct replay r = {0};

	refuse(&r, UINT64_MAX);
	refuse(&r, limit);
	accept(&r, 0); /* a refused counter does not move the window */
	accept(&r, limit - 1);
	refuse(&r, limit - 1);
	refuse(&r, limit);
	accept(&r, limit - 8192); /* greatest - 8191 */
	refuse(&r, limit - 8193);
}

/* Returns a counter mostly near the greatest, often within the window, seldom far
 * ahead. */
static uint64_t random_counter(uint64_t *seed, uint64_t greatest)
{
	const uint64_t dice = next_random(seed) % 1000;
	uint64_t span, c;

	if (dice < 2)
		return greatest + next_random(seed) % 20000;
	span = dice < 500 ? 40 : 9000;
	c = greatest + next_random(seed) % span;
	return c > span - 10 ? c - (span - 10) : 0;
}

/* The model has one flag for each counter. */
static void test_random_against_model(void **state)
{
	static bool seen[1 << 24];
	uint64_t seed = 6479, greatest = 0, accepted = 0, c;
	struct replay r = {0};
	bool any = false;
	unsigned i;

	for (i = 0; i < 400000; i++) {
		bool expected;

		c = random_counter(&seed, greatest);
		assert_true(c < sizeof(seen));
		expected = !seen[c] && (!any || c + WINDOW > greatest);
		assert_int_equal(replay_check_and_update(&r, c), expected);
		if (!expected)
			continue;
		seen[c] = true;
		any = true;
		accepted++;
		if (c > greatest)
			greatest = c;
	}
	/* The test must have seen many laps of the ring, and both answers often. */
	assert_true(greatest > 20 * WINDOW);
	assert_in_range(accepted, i / 10, i - i / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order),
		cmocka_unit_test(test_backwards),
		cmocka_unit_test(test_edge),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_jumps),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_random_against_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
