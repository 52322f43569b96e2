// SPDX-License-Identifier: MIT
#include "testutil.h"

#include <blake2.h> /* libb2 */

#define MAX_LEN 600

/* Must come before wgxdp's header, which defines the same names as libb2. */
static void reference(uint8_t *out, size_t outlen, const uint8_t *in, size_t len,
		      const uint8_t *key, size_t keylen)
{
	assert_int_equal(blake2s(out, in, key, outlen, len, keylen), 0);
}

#define blake2s_state	 our_blake2s_state
#define blake2s_init	 our_blake2s_init
#define blake2s_init_key our_blake2s_init_key
#define blake2s_update	 our_blake2s_update
#define blake2s_final	 our_blake2s_final
#define blake2s		 our_blake2s
#include "blake2s.h"

/* RFC 7693 appendix B. */
static void test_abc(void **state)
{
	static const uint8_t expected[32] = {
		0x50, 0x8c, 0x5e, 0x8c, 0x32, 0x7c, 0x14, 0xe2, 0xe1, 0xa7, 0x2b,
		0xa3, 0x4e, 0xeb, 0x45, 0x2f, 0x37, 0x45, 0x8b, 0x20, 0x9e, 0xd6,
		0x3a, 0x29, 0x4d, 0x99, 0x9b, 0x4c, 0x86, 0x67, 0x59, 0x82,
	};
	uint8_t out[32];

	blake2s(out, sizeof(out), "abc", 3, NULL, 0);
	assert_memory_equal(out, expected, sizeof(out));
}

/* The deterministic sequence of appendix E. */
static void selftest_sequence(uint8_t *out, size_t len, uint32_t seed)
{
	uint32_t a = 0xdead4bad * seed, b = 1, t;
	size_t i;

	for (i = 0; i < len; i++) {
		t = a + b;
		a = b;
		b = t;
		out[i] = t >> 24;
	}
}

/* RFC 7693 appendix E: a hash over the hashes of many lengths, with and without key. */
static void test_rfc_selftest(void **state)
{
	static const uint8_t expected[32] = {
		0x6a, 0x41, 0x1f, 0x08, 0xce, 0x25, 0xad, 0xcd, 0xfb, 0x02, 0xab,
		0xa6, 0x41, 0x45, 0x1c, 0xec, 0x53, 0xc5, 0x98, 0xb2, 0x4f, 0x4f,
		0xc7, 0x87, 0xfb, 0xdc, 0x88, 0x79, 0x7f, 0x4c, 0x1d, 0xfe,
	};
	static const size_t outlens[] = {16, 20, 28, 32};
	static const size_t lens[] = {0, 3, 64, 65, 255, 1024};
	uint8_t in[1024], md[32], key[32];
	struct blake2s_state s;
	size_t i, j;

	blake2s_init(&s, 32);
	for (i = 0; i < 4; i++) {
		for (j = 0; j < 6; j++) {
			selftest_sequence(in, lens[j], lens[j]);
			blake2s(md, outlens[i], in, lens[j], NULL, 0);
			blake2s_update(&s, md, outlens[i]);
			selftest_sequence(key, outlens[i], outlens[i]);
			blake2s(md, outlens[i], in, lens[j], key, outlens[i]);
			blake2s_update(&s, md, outlens[i]);
		}
	}
	blake2s_final(&s, md);
	assert_memory_equal(md, expected, sizeof(md));
}

static void fill_random(uint64_t *seed, uint8_t *out, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		out[i] = next_random(seed) >> 32;
}

static void hash_in_pieces(uint64_t *seed, uint8_t *out, size_t outlen, const uint8_t *in,
			   size_t len, const uint8_t *key, size_t keylen)
{
	struct blake2s_state s;
	size_t done, n;

	blake2s_init_key(&s, outlen, key, keylen);
	for (done = 0; done < len; done += n) {
		n = next_random(seed) % 150;
		if (n > len - done)
			n = len - done;
		blake2s_update(&s, in + done, n);
	}
	blake2s_final(&s, out);
	assert_true(is_zero(&s, sizeof(s)));
}

static void test_against_libb2(void **state)
{
	uint8_t in[MAX_LEN + 1], key[32], expected[33], out[33];
	uint64_t seed = 7693;
	unsigned round;

	for (round = 0; round < 3000; round++) {
		size_t len = round <= MAX_LEN ? round : next_random(&seed) % MAX_LEN;
		size_t outlen = 1 + next_random(&seed) % 32;
		size_t keylen = round % 2 ? next_random(&seed) % 33 : 0;
		const uint8_t *data = in + round % 2; /* also unaligned */

		fill_random(&seed, in, sizeof(in));
		fill_random(&seed, key, sizeof(key));
		reference(expected, outlen, data, len, key, keylen);
		out[outlen] = 0xa5;
		blake2s(out, outlen, data, len, key, keylen);
		assert_memory_equal(out, expected, outlen);
		memset(out, 0, outlen);
		hash_in_pieces(&seed, out, outlen, data, len, key, keylen);
		assert_memory_equal(out, expected, outlen);
		assert_int_equal(out[outlen], 0xa5);
	}
}

static void test_output_over_input(void **state)
{
	uint8_t buf[32] = {'a', 'b', 'c'}, expected[32];

	blake2s(expected, sizeof(expected), "abc", 3, NULL, 0);
	blake2s(buf, sizeof(buf), buf, 3, NULL, 0);
	assert_memory_equal(buf, expected, sizeof(buf));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_abc),
		cmocka_unit_test(test_rfc_selftest),
		cmocka_unit_test(test_against_libb2),
		cmocka_unit_test(test_output_over_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
