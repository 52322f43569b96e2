// SPDX-License-Identifier: MIT
#include "testutil.h"

#include <sodium.h>

#include "ratelimit.h"

#define START (1000 * SEC_NS)

static struct ratelimit rl;

static struct ip_addr v4(uint32_t host)
{
	return (struct ip_addr){.family = IP_V4,
				.bytes = {host >> 24, host >> 16, host >> 8, host}};
}

static struct ip_addr v6(uint8_t network, uint8_t host)
{
	return (struct ip_addr){
		.family = IP_V6,
		.bytes = {0x20, 0x01, 0x0d, 0xb8, [7] = network, [8] = host, [15] = host},
	};
}

static unsigned allowed(struct ip_addr src, unsigned tries, uint64_t now)
{
	unsigned n = 0;

	while (tries--)
		n += ratelimit_allow(&rl, &src, now);
	return n;
}

static int reset(void **state)
{
	ratelimit_init(&rl, 20, 5, 64);
	return 0;
}

static void test_burst(void **state)
{
	assert_int_equal(allowed(v4(1), 20, START), 5);
	assert_int_equal(allowed(v4(1), 1, START), 0);
}

static void test_refill(void **state)
{
	assert_int_equal(allowed(v4(1), 20, START), 5);
	assert_int_equal(allowed(v4(1), 20, START + 50 * MSEC_NS - 1), 0);
	assert_int_equal(allowed(v4(1), 20, START + 50 * MSEC_NS), 1);
	assert_int_equal(allowed(v4(1), 20, START + 150 * MSEC_NS), 2);
	assert_int_equal(allowed(v4(1), 20, START + 10 * SEC_NS), 5); /* never more */
}

static void test_long_run(void **state)
{
	unsigned ms, n = 0;

	for (ms = 0; ms < 10000; ms++)
		n += allowed(v4(1), 1, START + ms * MSEC_NS);
	/* 20 per second for ten seconds, and four more because of the burst. */
	assert_int_equal(n, 204);
}

static void test_steady_rate_passes(void **state)
{
	unsigned i;

	for (i = 0; i < 100; i++)
		assert_int_equal(allowed(v4(1), 1, START + i * 50 * MSEC_NS), 1);
}

static void test_exceeded(void **state)
{
	struct ip_addr a = v4(1), none = {.family = IP_NONE};

	for (unsigned i = 0; i < 5; i++) {
		assert_false(ratelimit_exceeded(&rl, &a, START));
		assert_int_equal(allowed(a, 1, START), 1);
	}
	assert_true(ratelimit_exceeded(&rl, &a, START));
	/* To ask takes no token. */
	assert_false(ratelimit_exceeded(&rl, &a, START + 50 * MSEC_NS));
	assert_int_equal(allowed(a, 2, START + 50 * MSEC_NS), 1);
	assert_true(ratelimit_exceeded(&rl, &none, START));
}

static void test_sources_are_apart(void **state)
{
	assert_int_equal(allowed(v4(0x0a000001), 20, START), 5);
	assert_int_equal(allowed(v4(0x0a000002), 20, START), 5);
	assert_int_equal(allowed(v6(1, 1), 20, START), 5);
	assert_int_equal(allowed(v6(2, 1), 20, START), 5);
}

/* With equal first bytes, and so many that some are in the same set of the table. */
static void test_families_are_apart(void **state)
{
	unsigned i;

	for (i = 0; i < 20000; i++) {
		struct ip_addr four = v4(i), six = four;

		six.family = IP_V6;
		assert_int_equal(allowed(four, 6, START + i * SEC_NS), 5);
		assert_int_equal(allowed(six, 6, START + i * SEC_NS), 5);
	}
}

static void test_ipv6_by_64(void **state)
{
	assert_int_equal(allowed(v6(1, 1), 3, START), 3);
	assert_int_equal(allowed(v6(1, 2), 20, START), 2);
	assert_int_equal(allowed(v6(1, 3), 20, START), 0);
}

static void test_no_family(void **state)
{
	assert_int_equal(allowed((struct ip_addr){.family = IP_NONE}, 1, START), 0);
}

/* A flood of sources fills the table and no more memory; after it, all works again. */
static void test_full_table(void **state)
{
	const unsigned capacity = 8192;
	unsigned i, n = 0;

	assert_int_equal(allowed(v4(0xffffffff), 5, START), 5);
	for (i = 0; i < 20 * capacity; i++)
		n += allowed(v4(i), 1, START);
	assert_int_equal(n, capacity - 1);
	assert_int_equal(allowed(v4(0xffffffff), 1, START), 0); /* not forgotten */
	assert_int_equal(allowed(v4(0xffffffff), 1, START + 50 * MSEC_NS), 1);
	assert_int_equal(allowed(v4(0xfffffffe), 20, START + 50 * MSEC_NS), 5);
}

static void test_secret_key(void **state)
{
	static struct ratelimit other;

	ratelimit_init(&other, 20, 5, 64);
	assert_memory_not_equal(other.hash_key, rl.hash_key, sizeof(rl.hash_key));
}

static int setup(void **state)
{
	return sodium_init() < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_burst, reset),
		cmocka_unit_test_setup(test_refill, reset),
		cmocka_unit_test_setup(test_long_run, reset),
		cmocka_unit_test_setup(test_steady_rate_passes, reset),
		cmocka_unit_test_setup(test_exceeded, reset),
		cmocka_unit_test_setup(test_sources_are_apart, reset),
		cmocka_unit_test_setup(test_families_are_apart, reset),
		cmocka_unit_test_setup(test_ipv6_by_64, reset),
		cmocka_unit_test_setup(test_no_family, reset),
		cmocka_unit_test_setup(test_full_table, reset),
		cmocka_unit_test_setup(test_secret_key, reset),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
