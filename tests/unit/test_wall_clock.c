// SPDX-License-Identifier: MIT
/* Timestamps from a wall clock that is set: how far ahead of it they may be, and which
 * steps are logged. */
#include "testutil.h"

#include "wall_clock.h"

#define SEC  1000000000ULL
#define HOUR (3600 * SEC)
#define DAY  (24 * HOUR)
#define YEAR (365 * DAY)
#define T0   (1800000000 * SEC) /* 2027 */
#define BOOT (1000 * SEC)

/* The clock is right if it shows T0 at BOOT; each look is told how far it is off. */
struct world {
	struct wall_clock clock;
	uint64_t now;
	int64_t off;
};

static struct world world_at_start(void)
{
	return (struct world){.now = BOOT};
}

static struct wall_look look(struct world *w, uint64_t passed, int64_t off)
{
	w->now += passed;
	w->off = off;
	return wall_clock_look(&w->clock, T0 - BOOT + w->now + (uint64_t)off, w->now);
}

/* Returns what the clock shows if it has not been set. */
static uint64_t right(const struct world *w)
{
	return T0 - BOOT + w->now;
}

/* Evaluates the look first, because `want` depends on clocks that it moves. */
#define assert_look(l, want, want_step, want_lead)     \
	do {                                           \
		struct wall_look got = (l);            \
                                                       \
		assert_int_equal(got.timestamp, want); \
		assert_int_equal(got.step, want_step); \
		assert_int_equal(got.lead, want_lead); \
	} while (0)

static void test_a_clock_that_nobody_sets(void **state)
{
	struct world w = world_at_start();

	for (int i = 0; i < 100; i++)
		assert_look(look(&w, i * HOUR, 0), right(&w), WALL_NO_STEP, 0);
}

static void test_set_back(void **state)
{
	struct world w = world_at_start();
	struct wall_look l;

	look(&w, 0, 0);
	l = look(&w, 5 * SEC, -(int64_t)HOUR);
	assert_look(l, right(&w), WALL_BACKWARD, HOUR);
	assert_int_equal(l.by, HOUR);
	/* Reported once. */
	assert_look(look(&w, 5 * SEC, -(int64_t)HOUR), right(&w), WALL_NO_STEP, HOUR);
	/* Another step. */
	l = look(&w, 5 * SEC, -(int64_t)(3 * HOUR));
	assert_look(l, right(&w), WALL_BACKWARD, 3 * HOUR);
	assert_int_equal(l.by, 2 * HOUR);
	/* The clock is right again. */
	assert_look(look(&w, 5 * SEC, 0), right(&w), WALL_NO_STEP, 0);
}

static void test_small_steps_back_are_not_told(void **state)
{
	struct world w = world_at_start();

	look(&w, 0, 0);
	assert_look(look(&w, SEC, -(int64_t)SEC), right(&w), WALL_NO_STEP, SEC);
	assert_look(look(&w, SEC, -(int64_t)(10 * SEC)), right(&w), WALL_NO_STEP,
		    10 * SEC);
	assert_look(look(&w, SEC, -(int64_t)(20 * SEC)), right(&w), WALL_BACKWARD,
		    20 * SEC);
}

static void test_lead_has_a_limit(void **state)
{
	struct world w = world_at_start();

	look(&w, 0, 0);
	assert_look(look(&w, SEC, -(int64_t)DAY), right(&w), WALL_BACKWARD, DAY);
	assert_look(look(&w, SEC, -(int64_t)(DAY + 20 * SEC)), right(&w) - 20 * SEC,
		    WALL_BACKWARD, DAY);
	assert_look(look(&w, SEC, -(int64_t)(20 * YEAR)), right(&w) - 20 * YEAR + DAY,
		    WALL_BACKWARD, DAY);
	assert_look(look(&w, HOUR, -(int64_t)(20 * YEAR)), right(&w) - 20 * YEAR + DAY,
		    WALL_NO_STEP, DAY);
	/* Back to the right time is not reported, and leaves no lead. */
	assert_look(look(&w, SEC, 0), right(&w), WALL_NO_STEP, 0);
}

static void test_set_forward(void **state)
{
	struct world w = world_at_start();
	struct wall_look l;

	look(&w, 0, 0);
	assert_look(look(&w, SEC, DAY), right(&w) + DAY, WALL_NO_STEP, 0);
	l = look(&w, SEC, 10 * YEAR);
	assert_look(l, right(&w) + 10 * YEAR, WALL_FORWARD, 0);
	assert_int_equal(l.by, 10 * YEAR - DAY);
	assert_look(look(&w, SEC, 10 * YEAR), right(&w) + 10 * YEAR, WALL_NO_STEP, 0);
	/* The error is corrected, so others must not get it. */
	l = look(&w, SEC, 0);
	assert_look(l, right(&w) + DAY, WALL_BACKWARD, DAY);
	assert_int_equal(l.by, 10 * YEAR);
}

/* 1970, or when the machine was made, until NTP sets it. */
static void test_first_setting_is_not_told(void **state)
{
	struct world w = world_at_start();

	look(&w, 0, -(int64_t)(T0 - 5 * SEC));
	assert_look(look(&w, HOUR, 0), right(&w), WALL_NO_STEP, 0);
	assert_look(look(&w, HOUR, 2 * YEAR), right(&w) + 2 * YEAR, WALL_FORWARD, 0);
}

/* The wall clock shows an earlier time than the other one, which counts from boot. */
static void test_before_1970_at_boot(void **state)
{
	struct world w = world_at_start();

	look(&w, 0, 0);
	w.now += YEAR;
	assert_look(look(&w, 0, -(int64_t)(T0 + YEAR - 5 * SEC)), DAY + 5 * SEC,
		    WALL_BACKWARD, DAY);
}

static void test_each_peer_sees_later_times(void **state)
{
	uint64_t one = 0, other = 0;

	assert_int_equal(wall_clock_after(&one, T0 + YEAR), T0 + YEAR);
	assert_int_equal(wall_clock_after(&one, T0), T0 + YEAR + TIMESTAMP_STEP);
	assert_int_equal(wall_clock_after(&one, T0 + 5), T0 + YEAR + 2 * TIMESTAMP_STEP);
	/* A peer that has not seen it does not get it. */
	assert_int_equal(wall_clock_after(&other, T0 + 5), T0 + 5);
	assert_int_equal(wall_clock_after(&one, T0 + 2 * YEAR), T0 + 2 * YEAR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_clock_that_nobody_sets),
		cmocka_unit_test(test_set_back),
		cmocka_unit_test(test_small_steps_back_are_not_told),
		cmocka_unit_test(test_lead_has_a_limit),
		cmocka_unit_test(test_set_forward),
		cmocka_unit_test(test_first_setting_is_not_told),
		cmocka_unit_test(test_before_1970_at_boot),
		cmocka_unit_test(test_each_peer_sees_later_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
