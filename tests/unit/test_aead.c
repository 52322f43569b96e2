// SPDX-License-Identifier: MIT
/* Every engine that can run here must give the same bytes. */
#include "testutil.h"

#ifdef HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif
#include <sodium.h>

#include "engines.h"
#include "pick.h"

/* Printed by noise_transcript.py aead. */
static const uint8_t sealed_0[16] = {
	0x3a, 0xe5, 0xd3, 0xf2, 0xa3, 0x76, 0xd3, 0x17,
	0xea, 0xea, 0x5a, 0xef, 0x02, 0x15, 0xba, 0x54,
};

static const uint8_t sealed_1[17] = {
	0xe2, 0x4d, 0xf6, 0xc7, 0x1b, 0xc8, 0xdf, 0x0f, 0x57,
	0x03, 0x3a, 0x1a, 0x72, 0x89, 0xe5, 0x27, 0x47,
};

static const uint8_t sealed_64[80] = {
	0xab, 0xad, 0x87, 0x5a, 0xb4, 0x4e, 0x4d, 0xe1, 0xe3, 0xda, 0xf2, 0x11,
	0xe3, 0xe8, 0x79, 0x31, 0x72, 0x89, 0xf4, 0xb9, 0x49, 0x65, 0xe6, 0x82,
	0xa6, 0x79, 0xce, 0x95, 0x76, 0x5c, 0x14, 0x58, 0x35, 0xe5, 0x8c, 0xa4,
	0xca, 0x0d, 0x96, 0x0b, 0x5e, 0xb7, 0xcf, 0x16, 0x85, 0x3e, 0xbc, 0x41,
	0x55, 0x76, 0xd3, 0x37, 0x5b, 0x97, 0xf1, 0x1e, 0x24, 0x0c, 0xf1, 0x6d,
	0xb4, 0x47, 0x7c, 0xe3, 0x21, 0x4e, 0xe8, 0x1f, 0x50, 0x69, 0x71, 0x0f,
	0x9c, 0x6b, 0xed, 0x33, 0xbc, 0x69, 0x79, 0x87,
};

static const uint8_t sealed_131[147] = {
	0xf5, 0xb9, 0xe1, 0xad, 0x4d, 0xfe, 0x70, 0xef, 0x1a, 0xf1, 0x36, 0xc5, 0x5b,
	0x2b, 0x06, 0xb5, 0x82, 0x0b, 0x2b, 0x6d, 0xbf, 0xbe, 0x08, 0x0c, 0xa2, 0x80,
	0xcf, 0x20, 0xa0, 0x87, 0x5a, 0xb8, 0x65, 0x8e, 0xdb, 0x43, 0x40, 0xfa, 0x7f,
	0x7e, 0x65, 0xbf, 0x26, 0xe4, 0x0f, 0x58, 0xb7, 0x15, 0x83, 0x8b, 0xc4, 0x97,
	0x9f, 0x0e, 0xf1, 0x77, 0x47, 0x5a, 0x3f, 0xfe, 0xe0, 0x06, 0x37, 0xcf, 0xbf,
	0x4a, 0xfd, 0x4f, 0xe4, 0x78, 0x35, 0x6c, 0xff, 0xfd, 0xc4, 0x11, 0x22, 0x4e,
	0xef, 0xe1, 0xec, 0x32, 0x83, 0xa4, 0xd3, 0xed, 0x37, 0xdf, 0x91, 0x84, 0x2a,
	0xe0, 0x4a, 0x66, 0x06, 0xf8, 0xa8, 0x99, 0x49, 0x27, 0x47, 0xec, 0x5c, 0xe8,
	0x01, 0x10, 0x26, 0x34, 0xe2, 0x45, 0xe8, 0x06, 0xdc, 0x79, 0x1d, 0x8b, 0xb1,
	0xc8, 0xed, 0xd5, 0x71, 0x45, 0xc8, 0x0c, 0xcc, 0xe6, 0x60, 0xc0, 0x8a, 0x2c,
	0xc8, 0x54, 0xdf, 0xe6, 0x7d, 0x1f, 0x08, 0x17, 0x5d, 0x6a, 0xd1, 0x67, 0xbc,
	0xda, 0xc4, 0x2b, 0xcd,
};

#define TAG	  16
#define BATCH	  5
#define MANY	  75
#define MAX_PLAIN 1500

static const struct vector {
	uint32_t len;
	uint64_t counter;
	const uint8_t *sealed;
} vectors[] = {
	{0, 0, sealed_0},
	{1, 1, sealed_1},
	{64, UINT64_MAX - 8193, sealed_64},
	{131, 0x0102030405060708, sealed_131},
};

static uint8_t key[32];

static void fill_plain(uint8_t *out, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		out[i] = 7 * i + 1;
}

static bool open_one(struct aead *e, const uint8_t *src, uint8_t *dst, uint32_t len,
		     const uint8_t *with_key, uint64_t counter)
{
	struct aead_op op = {
		.key = with_key,
		.counter = counter,
		.dst = dst,
		.src = src,
		.len = len,
		.ok = false,
	};

	aead_open(e, &op, 1);
	return op.ok;
}

static void check_vectors(struct aead *e)
{
	uint8_t plain[256], out[256 + TAG + 1], back[256];
	const struct vector *v;

	fill_plain(plain, sizeof(plain));
	for (v = vectors; v < vectors + sizeof(vectors) / sizeof(*vectors); v++) {
		struct aead_op op = {
			.key = key,
			.counter = v->counter,
			.dst = out,
			.src = plain,
			.len = v->len,
		};

		out[v->len + TAG] = 0xa5;
		aead_seal(e, &op, 1);
		assert_memory_equal(out, v->sealed, v->len + TAG);
		assert_int_equal(out[v->len + TAG], 0xa5);

		back[v->len] = 0xa5;
		assert_true(open_one(e, v->sealed, back, v->len, key, v->counter));
		assert_memory_equal(back, plain, v->len);
		assert_int_equal(back[v->len], 0xa5);
	}
}

static void check_in_place(struct aead *e)
{
	uint8_t plain[131], buf[131 + TAG];
	struct aead_op op = {
		.key = key,
		.counter = 0x0102030405060708,
		.dst = buf,
		.src = buf,
		.len = 131,
	};

	fill_plain(plain, sizeof(plain));
	fill_plain(buf, sizeof(plain));
	aead_seal(e, &op, 1);
	assert_memory_equal(buf, sealed_131, sizeof(buf));
	assert_true(open_one(e, buf, buf, 131, key, op.counter));
	assert_memory_equal(buf, plain, sizeof(plain));
}

static void expect_refused(struct aead *e, const uint8_t *sealed, const uint8_t *with_key,
			   uint64_t counter)
{
	uint8_t out[64], in_place[80];

	memset(out, 0xa5, sizeof(out));
	assert_false(open_one(e, sealed, out, 64, with_key, counter));
	assert_true(is_zero(out, sizeof(out)));

	memcpy(in_place, sealed, sizeof(in_place));
	assert_false(open_one(e, in_place, in_place, 64, with_key, counter));
	assert_true(is_zero(in_place, 64));
}

/* Changes ciphertext, tag, counter and key. */
static void check_tampering(struct aead *e)
{
	const uint64_t counter = UINT64_MAX - 8193;
	uint8_t sealed[80], other_key[32];
	unsigned i;

	memcpy(sealed, sealed_64, sizeof(sealed));
	memcpy(other_key, key, sizeof(key));
	for (i = 0; i < sizeof(sealed); i++) {
		sealed[i] ^= 1 << i % 8;
		expect_refused(e, sealed, key, counter);
		sealed[i] ^= 1 << i % 8;
	}
	for (i = 0; i < 64; i++)
		expect_refused(e, sealed, key, counter ^ 1ULL << i);
	for (i = 0; i < sizeof(other_key); i++) {
		other_key[i] ^= 1 << i % 8;
		expect_refused(e, sealed, other_key, counter);
		other_key[i] ^= 1 << i % 8;
	}
	memcpy(sealed, sealed_0, TAG);
	sealed[TAG - 1] ^= 0x80;
	assert_false(open_one(e, sealed, sealed, 0, key, 0));
}

/* Packets of several keys and lengths; one of them forged. */
static void check_batch(struct aead *e)
{
	static const uint32_t lens[BATCH] = {0, 16, 1420, 63, 1500};
	static uint8_t bufs[BATCH][MAX_PLAIN + TAG], keys[BATCH][32], plain[MAX_PLAIN];
	struct aead_op ops[BATCH];
	unsigned i;

	fill_plain(plain, sizeof(plain));
	for (i = 0; i < BATCH; i++) {
		fill_sequence(keys[i], 32, 10 * i);
		fill_plain(bufs[i], lens[i]);
		ops[i] = (struct aead_op){.key = keys[i],
					  .counter = i,
					  .dst = bufs[i],
					  .src = bufs[i],
					  .len = lens[i]};
	}
	aead_seal(e, ops, BATCH);
	bufs[2][700] ^= 4;
	for (i = 0; i < BATCH; i++)
		ops[i].ok = i == 2; /* the wrong value, which open must overwrite */
	aead_open(e, ops, BATCH);
	for (i = 0; i < BATCH; i++) {
		assert_int_equal(ops[i].ok, i != 2);
		if (i == 2)
			assert_true(is_zero(bufs[i], lens[i]));
		else
			assert_memory_equal(bufs[i], plain, lens[i]);
	}
	aead_seal(e, NULL, 0);
	aead_open(e, NULL, 0);
}

/* All lengths, in batches longer than an engine takes at once, against libsodium. */
static void check_lengths(struct aead *e)
{
	static uint8_t bufs[MANY][MAX_PLAIN + TAG], plain[MAX_PLAIN];
	uint8_t want[MAX_PLAIN + TAG], nonce[12] = {0};
	struct aead_op ops[MANY];

	fill_plain(plain, sizeof(plain));
	for (uint32_t len = 0; len + MANY <= MAX_PLAIN; len += MANY) {
		for (unsigned i = 0; i < MANY; i++) {
			memcpy(bufs[i], plain, len + i);
			ops[i] = (struct aead_op){.key = key,
						  .counter = len + i,
						  .dst = bufs[i],
						  .src = bufs[i],
						  .len = len + i};
		}
		aead_seal(e, ops, MANY);
		for (unsigned i = 0; i < MANY; i++) {
			nonce[4] = (uint8_t)(len + i);
			nonce[5] = (uint8_t)((len + i) >> 8);
			crypto_aead_chacha20poly1305_ietf_encrypt(
				want, NULL, plain, len + i, NULL, 0, NULL, nonce, key);
			assert_memory_equal(bufs[i], want, len + i + TAG);
		}
		aead_open(e, ops, MANY);
		for (unsigned i = 0; i < MANY; i++) {
			assert_true(ops[i].ok);
			assert_memory_equal(bufs[i], plain, len + i);
		}
	}
}

static void for_each_engine(void (*check)(struct aead *))
{
	const struct aead_engine *const *e;
	struct aead aead;
	unsigned n = 0;

	for (e = aead_engines; *e; e++) {
		if (!(*e)->usable())
			continue;
		print_message("engine %s\n", (*e)->name);
		assert_int_equal(aead_begin(&aead, *e), 0);
		check(&aead);
		aead_end(&aead);
		n++;
	}
	assert_int_not_equal(n, 0);
}

static void test_vectors(void **state)
{
	for_each_engine(check_vectors);
}

static void test_in_place(void **state)
{
	for_each_engine(check_in_place);
}

static void test_tampering(void **state)
{
	for_each_engine(check_tampering);
}

static void test_batch(void **state)
{
	for_each_engine(check_batch);
}

static void test_lengths(void **state)
{
	for_each_engine(check_lengths);
}

#ifdef HAVE_IPSEC_MB
static IMB_JOB *(*real_submit)(IMB_MGR *mgr);

static IMB_JOB *submit_and_fail(IMB_MGR *mgr)
{
	IMB_JOB *job = real_submit(mgr);

	if (job)
		job->status = IMB_STATUS_INTERNAL_ERROR;
	return job;
}
#endif

/* A job that fails must leave neither plaintext nor an unauthenticated message. */
static void test_failed_job(void **state)
{
#ifdef HAVE_IPSEC_MB
	uint8_t buf[100 + TAG];
	struct aead_op op = {.key = key, .dst = buf, .src = buf, .len = 100};
	struct aead aead;
	IMB_MGR *mgr;

	if (!aead_ipsec_mb.usable())
		skip();
	assert_int_equal(aead_begin(&aead, &aead_ipsec_mb), 0);
	mgr = aead.state;
	real_submit = mgr->submit_job_nocheck;
	fill_plain(buf, 100);
	aead_seal(&aead, &op, 1);
	mgr->submit_job_nocheck = submit_and_fail;
	op.ok = true;
	aead_open(&aead, &op, 1);
	assert_false(op.ok);
	assert_true(is_zero(buf, 100));
	fill_plain(buf, 100);
	aead_seal(&aead, &op, 1);
	assert_true(is_zero(buf, sizeof(buf)));
	aead_end(&aead);
#else
	skip();
#endif
}

/* The fastest engine may be another one each time. */
static void test_pick(void **state)
{
	const struct aead_engine *picked = aead_pick(), *const *e = aead_engines;

	while (*e && *e != picked)
		e++;
	assert_ptr_equal(*e, picked);
	assert_true(picked->usable());
}

static int setup(void **state)
{
	fill_sequence(key, sizeof(key), 0x80);
	return sodium_init() < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),	  cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_tampering), cmocka_unit_test(test_batch),
		cmocka_unit_test(test_lengths),	  cmocka_unit_test(test_failed_job),
		cmocka_unit_test(test_pick),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
