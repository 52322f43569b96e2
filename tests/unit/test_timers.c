// SPDX-License-Identifier: MIT
/* The rules of whitepaper section 6, each on a clock that is a plain number. */
#include "testutil.h"

#include "timers.h"

#define START  (1000 * SEC_NS)
#define S(n)   (START + (n)*SEC_NS)
#define NEVER  UINT64_MAX
#define JITTER (100 * MSEC_NS) /* from the fake random number */
#define STEP   (5 * SEC_NS + JITTER)

static struct timers t;
static uint32_t random_value, random_upper;

static uint32_t fake_random(uint32_t upper)
{
	random_upper = upper;
	return random_value;
}

static int reset(void **state)
{
	random_value = 100;
	random_upper = 0;
	timers_init(&t, fake_random);
	return 0;
}

/* Nothing must happen before the deadline, and exactly these actions at it. */
static void expect(unsigned actions, uint64_t deadline)
{
	assert_int_equal(timers_next(&t), deadline);
	assert_int_equal(timers_expire(&t, deadline - 1), 0);
	assert_int_equal(timers_next(&t), deadline);
	assert_int_equal(timers_expire(&t, deadline), actions);
}

static void expect_quiet(void)
{
	assert_int_equal(timers_next(&t), NEVER);
	assert_int_equal(timers_expire(&t, NEVER - 1), 0);
}

/* What a caller does when it sends an initiation. */
static void initiate(uint64_t now)
{
	timers_authenticated_sent(&t, now);
	timers_handshake_initiated(&t, now);
}

static void test_idle(void **state)
{
	expect_quiet();
	assert_int_equal(timers_expire(&t, NEVER), 0);
	assert_true(timers_may_initiate(&t, 0));
}

static void test_may_initiate(void **state)
{
	timers_handshake_initiated(&t, S(0));
	assert_false(timers_may_initiate(&t, S(0)));
	assert_false(timers_may_initiate(&t, S(5) - 1));
	assert_true(timers_may_initiate(&t, S(5)));
	/* A response does not allow it sooner; a restart of the interface does. */
	timers_handshake_complete(&t, S(1));
	assert_false(timers_may_initiate(&t, S(5) - 1));
	timers_stop(&t);
	assert_true(timers_may_initiate(&t, S(1)));
}

static void test_retransmit(void **state)
{
	initiate(S(0));
	assert_int_equal(random_upper, 334);
	expect(TIMER_SEND_INITIATION, S(5) + JITTER);
	initiate(S(5) + JITTER);
	random_value = 333;
	expect(TIMER_SEND_INITIATION, S(10) + 2 * JITTER);
	initiate(S(11));
	expect(TIMER_SEND_INITIATION, S(16) + 333 * MSEC_NS);
}

static void test_complete_ends_retransmission(void **state)
{
	initiate(S(0));
	timers_handshake_complete(&t, S(5));
	expect_quiet();
}

/* After 18 retries it gives up: staged packets are dropped, and later the keys. */
static void test_give_up(void **state)
{
	unsigned i;

	initiate(START);
	for (i = 1; i <= 18; i++) {
		expect(TIMER_SEND_INITIATION, START + i * STEP);
		initiate(START + i * STEP);
	}
	expect(TIMER_DROP_STAGED, START + 19 * STEP);
	expect(TIMER_ZERO_KEYS, START + 19 * STEP + 540 * SEC_NS);
	expect_quiet();
}

/* It also gives up if nothing can be sent, because there is no route. */
static void test_give_up_when_nothing_is_sent(void **state)
{
	unsigned i;

	timers_handshake_initiated(&t, START);
	for (i = 1; i <= 18; i++)
		expect(TIMER_SEND_INITIATION, START + i * STEP);
	expect(TIMER_DROP_STAGED, START + 19 * STEP);
}

static void retry(unsigned n)
{
	while (n--) {
		uint64_t now = timers_next(&t);

		assert_int_equal(timers_expire(&t, now), TIMER_SEND_INITIATION);
		initiate(now);
	}
}

static void expect_give_up(void)
{
	assert_int_equal(timers_expire(&t, timers_next(&t)), TIMER_DROP_STAGED);
}

static void test_user_initiation_restarts_retries(void **state)
{
	initiate(START);
	retry(18);
	/* Not because of a timer, but of a user's packet. */
	initiate(timers_next(&t) - 1);
	retry(18);
	expect_give_up();
}

static void test_user_packet_restarts_retries(void **state)
{
	initiate(START);
	retry(17);
	timers_session_wanted(&t);
	retry(18);
	expect_give_up();
}

static void test_retries_start_anew_after_giving_up(void **state)
{
	initiate(START);
	retry(18);
	expect_give_up();
	initiate(S(200));
	retry(18);
	expect_give_up();
}

static void test_retries_start_anew_after_completion(void **state)
{
	initiate(START);
	retry(10);
	timers_handshake_complete(&t, S(60));
	initiate(S(200));
	retry(18);
	expect_give_up();
}

static void test_give_up_keeps_earlier_zero(void **state)
{
	timers_session_derived(&t, S(0));
	initiate(S(400));
	retry(18);
	expect_give_up();
	expect(TIMER_ZERO_KEYS, S(540));
	expect_quiet();
}

static void test_give_up_cancels_keepalive(void **state)
{
	initiate(START);
	retry(18);
	timers_data_received(&t, timers_next(&t) - 1);
	expect_give_up();
	assert_int_equal(timers_expire(&t, START + 500 * SEC_NS), 0);
}

static void test_keepalive(void **state)
{
	timers_data_received(&t, S(0));
	expect(TIMER_SEND_KEEPALIVE, S(10));
	timers_authenticated_sent(&t, S(10));
	expect_quiet();
}

static void test_keepalive_not_needed(void **state)
{
	timers_data_received(&t, S(0));
	timers_data_received(&t, S(1));
	timers_authenticated_sent(&t, S(9));
	expect_quiet();
	/* Nor does the earlier second packet count any more. */
	timers_data_received(&t, S(20));
	expect(TIMER_SEND_KEEPALIVE, S(30));
	expect_quiet();
}

static void test_keepalive_counts_from_first_packet(void **state)
{
	timers_data_received(&t, S(0));
	timers_data_received(&t, S(9));
	assert_int_equal(timers_next(&t), S(10));
}

/* More data arrived while the timer ran: two keepalives, in case one is lost. */
static void test_need_another_keepalive(void **state)
{
	timers_data_received(&t, S(0));
	timers_data_received(&t, S(4));
	timers_data_received(&t, S(5));
	expect(TIMER_SEND_KEEPALIVE, S(10));
	timers_authenticated_sent(&t, S(10)); /* that keepalive */
	expect(TIMER_SEND_KEEPALIVE, S(20));
	timers_authenticated_sent(&t, S(20));
	expect_quiet();
}

static void test_other_keepalive_not_needed(void **state)
{
	timers_data_received(&t, S(0));
	timers_data_received(&t, S(4));
	expect(TIMER_SEND_KEEPALIVE, S(10));
	timers_authenticated_sent(&t, S(10)); /* that keepalive */
	timers_authenticated_sent(&t, S(11)); /* a data packet */
	expect_quiet();
}

/* Keepalives answer data only: two idle peers do not keep each other awake. */
static void test_keepalive_does_not_answer_keepalive(void **state)
{
	timers_authenticated_received(&t, S(0));
	expect_quiet();
	timers_authenticated_sent(&t, S(0));
	expect_quiet();
}

static void test_silence(void **state)
{
	timers_data_sent(&t, S(0));
	assert_int_equal(random_upper, 334);
	timers_data_sent(&t, S(7)); /* counts from the first */
	expect(TIMER_NEW_INITIATION, S(15) + JITTER);
	expect_quiet();
}

static void test_silence_ends_by_anything_heard(void **state)
{
	timers_data_sent(&t, S(0));
	timers_authenticated_received(&t, S(14));
	expect_quiet();
	timers_data_sent(&t, S(15));
	expect(TIMER_NEW_INITIATION, S(30) + JITTER);
}

static void test_silence_starts_by_data_only(void **state)
{
	timers_authenticated_sent(&t, S(0));
	expect_quiet();
}

/* If data of the old session gets no answer, all retries are made again. */
static void test_silence_restarts_retries(void **state)
{
	initiate(START);
	retry(14);
	timers_data_sent(&t, S(57)); /* due at S(72) + JITTER, after the 14th retry */
	expect(TIMER_NEW_INITIATION, S(72) + JITTER);
	retry(18);
	expect_give_up();
}

static void test_zero_keys(void **state)
{
	timers_session_derived(&t, S(0));
	assert_int_equal(timers_next(&t), S(540));
	timers_session_derived(&t, S(120));
	expect(TIMER_ZERO_KEYS, S(660));
	expect_quiet();
}

static void test_persistent_keepalive(void **state)
{
	timers_set_persistent_keepalive(&t, 25, S(0));
	expect(TIMER_SEND_PERSISTENT_KEEPALIVE, S(0)); /* the first at once */
	timers_authenticated_sent(&t, S(1));
	timers_authenticated_received(&t, S(2)); /* does not postpone it */
	expect(TIMER_SEND_PERSISTENT_KEEPALIVE, S(26));
	expect(TIMER_SEND_PERSISTENT_KEEPALIVE, S(51)); /* though nothing was sent */
	timers_set_persistent_keepalive(&t, 0, S(60));
	expect_quiet();
	timers_authenticated_sent(&t, S(61));
	expect_quiet();
}

static void test_persistent_keepalive_longest(void **state)
{
	timers_set_persistent_keepalive(&t, 65535, S(0));
	timers_authenticated_sent(&t, S(0));
	expect(TIMER_SEND_PERSISTENT_KEEPALIVE, S(65535));
}

static void test_persistent_keepalive_changes(void **state)
{
	timers_set_persistent_keepalive(&t, 25, S(0));
	timers_authenticated_sent(&t, S(0));
	timers_set_persistent_keepalive(&t, 25, S(10)); /* the same: no change */
	assert_int_equal(timers_next(&t), S(25));
	timers_set_persistent_keepalive(&t, 60, S(10)); /* from the next on */
	assert_int_equal(timers_next(&t), S(25));
	timers_set_persistent_keepalive(&t, 5, S(10));
	assert_int_equal(timers_next(&t), S(15));
}

/* An event that is reported late counts from its own time, even if it is due already. */
static void test_late_event(void **state)
{
	timers_data_received(&t, S(0) - 100 * MSEC_NS);
	assert_int_equal(timers_next(&t), S(10) - 100 * MSEC_NS);
	timers_stop(&t);
	timers_set_persistent_keepalive(&t, 1, S(0));
	timers_authenticated_sent(&t, S(0));
	assert_int_equal(timers_expire(&t, S(5)), TIMER_SEND_PERSISTENT_KEEPALIVE);
	timers_authenticated_sent(&t, S(3));
	assert_int_equal(timers_next(&t), S(4));
	assert_int_equal(timers_expire(&t, S(5)), TIMER_SEND_PERSISTENT_KEEPALIVE);
	assert_int_equal(timers_next(&t), S(6));
}

static void test_all_at_once(void **state)
{
	timers_set_persistent_keepalive(&t, 25, S(0));
	timers_session_derived(&t, S(0));
	timers_data_sent(&t, S(0));
	timers_data_received(&t, S(0));
	timers_handshake_initiated(&t, S(0));
	assert_int_equal(timers_expire(&t, S(1000)), 1 | 2 | 4 | 8 | 32);
	assert_int_equal(timers_expire(&t, S(1000)), 0);
}

static void test_stop(void **state)
{
	timers_set_persistent_keepalive(&t, 25, S(0));
	timers_session_derived(&t, S(0));
	timers_data_sent(&t, S(0));
	timers_data_received(&t, S(0));
	timers_data_received(&t, S(1));
	timers_handshake_initiated(&t, S(1));
	timers_stop(&t);
	expect_quiet();
	timers_authenticated_sent(&t, S(2));
	expect_quiet();
	timers_set_persistent_keepalive(&t, 25, S(3));
	expect(TIMER_SEND_PERSISTENT_KEEPALIVE, S(3));
}

/* --- an hour --- */

#define HOUR (3600 * SEC_NS)

/* The actions seen: initiations, the longest pause between two, the time of the last; and
 * counts of the other actions. */
static struct {
	unsigned initiations, keepalives, drops, zeroed;
	uint64_t last, pause;
} seen;

static void sent_initiation(uint64_t now)
{
	assert_true(timers_may_initiate(&t, now));
	initiate(now);
	if (seen.initiations++ && now - seen.last > seen.pause)
		seen.pause = now - seen.last;
	seen.last = now;
}

/* Does what the control thread does. A persistent keepalive without a session wants
 * one. */
static void act(unsigned actions, uint64_t now)
{
	const unsigned wanted = TIMER_NEW_INITIATION | TIMER_SEND_INITIATION |
				TIMER_SEND_PERSISTENT_KEEPALIVE;

	seen.drops += !!(actions & TIMER_DROP_STAGED);
	seen.zeroed += !!(actions & TIMER_ZERO_KEYS);
	seen.keepalives += !!(actions & TIMER_SEND_PERSISTENT_KEEPALIVE);
	if (actions & TIMER_SEND_PERSISTENT_KEEPALIVE)
		timers_session_wanted(&t);
	if (actions & wanted && timers_may_initiate(&t, now))
		sent_initiation(now);
}

/* Simulates the time with a packet for the peer per interval (0: none), and no answer. */
static void unanswered(uint64_t from, uint64_t to, uint64_t interval)
{
	uint64_t now, packet = interval ? from : NEVER;

	while ((now = timers_next(&t) < packet ? timers_next(&t) : packet) < to) {
		act(timers_expire(&t, now), now);
		if (now != packet)
			continue;
		packet += interval;
		timers_session_wanted(&t);
		if (timers_may_initiate(&t, now))
			sent_initiation(now);
	}
}

static int reset_hour(void **state)
{
	memset(&seen, 0, sizeof(seen));
	return reset(state);
}

/* One packet causes 19 initiations in 90 s and jitter, then nothing. */
static void test_hour_after_a_packet(void **state)
{
	timers_session_wanted(&t);
	sent_initiation(START);
	unanswered(START, START + HOUR, 0);
	assert_int_equal(seen.initiations, 19);
	assert_int_equal(seen.pause, STEP);
	assert_int_equal(seen.last, START + 18 * STEP);
	assert_int_equal(seen.drops, 1);
	assert_int_equal(seen.zeroed, 1);
	expect_quiet();
	/* Another packet causes one at once. */
	unanswered(START + HOUR, START + HOUR + 1, SEC_NS);
	assert_int_equal(seen.initiations, 20);
	assert_int_equal(seen.last, START + HOUR);
}

/* With a packet per second it never stops, and never gets faster. */
static void test_hour_of_traffic(void **state)
{
	random_value = 333;
	unanswered(START, START + HOUR, SEC_NS);
	assert_true(seen.pause <= 5 * SEC_NS + 333 * MSEC_NS);
	assert_in_range(seen.initiations, HOUR / (5 * SEC_NS + 333 * MSEC_NS),
			HOUR / (5 * SEC_NS) + 1);
	assert_int_equal(seen.drops, 0);
	/* The last one is answered, after which nothing more happens. */
	timers_session_derived(&t, START + HOUR);
	timers_handshake_complete(&t, START + HOUR);
	expect(TIMER_ZERO_KEYS, START + HOUR + 540 * SEC_NS);
	expect_quiet();
}

/* A packet every ten minutes: 90 s of retries each, after which the packet is dropped. */
static void test_hour_of_few_packets(void **state)
{
	unanswered(START, START + HOUR, 600 * SEC_NS);
	assert_int_equal(seen.initiations, 6 * 19);
	assert_int_equal(seen.drops, 6);
	assert_int_equal(seen.pause, 600 * SEC_NS - 18 * STEP);
}

/* An unused session: only its keys are wiped. */
static void test_hour_idle(void **state)
{
	timers_session_derived(&t, START);
	timers_handshake_complete(&t, START);
	unanswered(START, START + HOUR, 0);
	assert_int_equal(seen.initiations, 0);
	assert_int_equal(seen.keepalives, 0);
	assert_int_equal(seen.zeroed, 1);
	expect_quiet();
}

static void test_hour_of_persistent_keepalive(void **state)
{
	timers_set_persistent_keepalive(&t, 120, START);
	unanswered(START, START + HOUR, 0);
	/* An initiation is also a sent packet, so the next keepalive counts from the
	 * last. */
	assert_int_equal(seen.keepalives, (HOUR - 1) / (120 * SEC_NS + 18 * STEP) + 1);
	assert_int_equal(seen.initiations, 19 * seen.keepalives);
	assert_int_equal(seen.pause, 120 * SEC_NS);
}

#define TEST(name)	cmocka_unit_test_setup(name, reset)
#define HOUR_TEST(name) cmocka_unit_test_setup(name, reset_hour)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_idle),
		TEST(test_may_initiate),
		TEST(test_retransmit),
		TEST(test_complete_ends_retransmission),
		TEST(test_give_up),
		TEST(test_give_up_when_nothing_is_sent),
		TEST(test_user_initiation_restarts_retries),
		TEST(test_user_packet_restarts_retries),
		TEST(test_retries_start_anew_after_giving_up),
		TEST(test_retries_start_anew_after_completion),
		TEST(test_give_up_keeps_earlier_zero),
		TEST(test_give_up_cancels_keepalive),
		TEST(test_keepalive),
		TEST(test_keepalive_not_needed),
		TEST(test_keepalive_counts_from_first_packet),
		TEST(test_need_another_keepalive),
		TEST(test_other_keepalive_not_needed),
		TEST(test_keepalive_does_not_answer_keepalive),
		TEST(test_silence),
		TEST(test_silence_ends_by_anything_heard),
		TEST(test_silence_starts_by_data_only),
		TEST(test_silence_restarts_retries),
		TEST(test_zero_keys),
		TEST(test_persistent_keepalive),
		TEST(test_persistent_keepalive_longest),
		TEST(test_persistent_keepalive_changes),
		TEST(test_late_event),
		TEST(test_all_at_once),
		TEST(test_stop),
		HOUR_TEST(test_hour_after_a_packet),
		HOUR_TEST(test_hour_of_traffic),
		HOUR_TEST(test_hour_of_few_packets),
		HOUR_TEST(test_hour_idle),
		HOUR_TEST(test_hour_of_persistent_keepalive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
