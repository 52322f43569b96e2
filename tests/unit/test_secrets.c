// SPDX-License-Identifier: MIT
/*
 * Code that handles keys takes the same time for each key: no branch and no address depends on a
 * secret.
 *
 * Theory of operation: the program runs itself in valgrind. Secrets are marked as undefined memory.
 * Memcheck follows them through each computation, and reports a branch or an address that depends
 * on them. Data that is no secret is marked as defined again, so that each report is a fault:
 *   - the outcome of a whole comparison or verification, which decides what happens next,
 *   - what is sent,
 *   - the static public key and the timestamp in an authentic initiation.
 * The wrappers of library functions below do this. They are called in place of the libraries'
 * functions, also by libsodium and BoringSSL themselves, and call these. tests/valgrind.supp has
 * the two other questions about a secret that a branch may answer.
 */
#include "testutil.h"

#include <dlfcn.h>
#include <errno.h>
#include <sodium.h>
#include <valgrind/memcheck.h>

#include "cookie.h"
#include "engines.h"
#include "noise.h"
#include "pick.h"
#include "uapi_proto.h"

#define PACKET_LEN 200

static void poison(const void *secret, size_t len)
{
	(void)VALGRIND_MAKE_MEM_UNDEFINED(secret, len);
}

static void publish(const void *data, size_t len)
{
	(void)VALGRIND_MAKE_MEM_DEFINED(data, len);
}

/* Returns true if any bit of the data depends on a secret. */
static bool is_poisoned(const void *data, size_t len)
{
	uint8_t bits[4096] = {0};
	bool any = false;

	assert_true(len <= sizeof(bits));
	assert_int_equal(VALGRIND_GET_VBITS(data, bits, len), 1);
	for (size_t i = 0; i < len; i++)
		any |= bits[i] != 0;
	return any;
}

static unsigned reports(void)
{
	return (unsigned)VALGRIND_COUNT_ERRORS;
}

#define NEXT(function) ((__typeof__(&(function)))dlsym(RTLD_NEXT, #function))

/* A function of BoringSSL, whose headers are not on the path. */
int CRYPTO_memcmp(const void *a, const void *b, size_t len);

#define PUBLISH_RESULT(type, function, ...)                \
	do {                                               \
		type result = NEXT(function)(__VA_ARGS__); \
		publish(&result, sizeof(result));          \
		return result;                             \
	} while (0)

int CRYPTO_memcmp(const void *a, const void *b, size_t len)
{
	PUBLISH_RESULT(int, CRYPTO_memcmp, a, b, len);
}

int sodium_memcmp(const void *a, const void *b, size_t len)
{
	PUBLISH_RESULT(int, sodium_memcmp, a, b, len);
}

int sodium_is_zero(const unsigned char *n, const size_t len)
{
	PUBLISH_RESULT(int, sodium_is_zero, n, len);
}

int crypto_verify_16(const unsigned char *x, const unsigned char *y)
{
	PUBLISH_RESULT(int, crypto_verify_16, x, y);
}

/* Fails if the peer's public key is of low order. */
int crypto_scalarmult(unsigned char *q, const unsigned char *n, const unsigned char *p)
{
	PUBLISH_RESULT(int, crypto_scalarmult, q, n, p);
}

int crypto_aead_chacha20poly1305_ietf_decrypt(
	unsigned char *m, unsigned long long *mlen, unsigned char *nsec,
	const unsigned char *c, unsigned long long clen, const unsigned char *ad,
	unsigned long long adlen, const unsigned char *npub, const unsigned char *k)
{
	int result = NEXT(crypto_aead_chacha20poly1305_ietf_decrypt)(
		m, mlen, nsec, c, clen, ad, adlen, npub, k);

	publish(m, clen - WG_TAG_LEN);
	return result;
}

/* Skips a test outside of valgrind. */
static void needs_valgrind(void)
{
	if (RUNNING_ON_VALGRIND)
		return;
#ifdef __SANITIZE_ADDRESS__
	print_message("AddressSanitizer and valgrind exclude each other\n");
#else
	print_message("valgrind is not installed, or cannot run this build\n");
#endif
	skip();
}

static __attribute__((noinline)) bool leaking_equal(const volatile uint8_t *a,
						    const volatile uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

/* If leaks were not reported, the other tests would prove nothing. */
static void test_leaks_are_reported(void **state)
{
	static volatile uint8_t table[256], found;
	uint8_t secret[16] = {1}, guess[16] = {1};
	unsigned before = reports();

	needs_valgrind();
	poison(secret, sizeof(secret));
	leaking_equal(secret, guess, sizeof(secret));
	assert_true(reports() > before);

	before = reports();
	found = table[*(volatile uint8_t *)secret];
	publish((void *)&found, sizeof(found));
	assert_true(reports() > before);

	before = reports();
	assert_int_equal(sodium_memcmp(secret, guess, sizeof(secret)), 0);
	assert_int_equal(reports(), before);
}

struct side {
	struct noise_identity id;
	struct noise_remote remote;
	struct noise_handshake hs;
};

static void identity_init(struct side *s, uint8_t first)
{
	uint8_t key[WG_KEY_LEN];

	memset(s, 0, sizeof(*s));
	fill_sequence(key, sizeof(key), first);
	poison(key, sizeof(key));
	assert_int_equal(noise_identity_set(&s->id, key), 0);
	assert_true(is_poisoned(s->id.private_key, WG_KEY_LEN));
	assert_true(is_poisoned(s->id.public_key, WG_KEY_LEN));
	publish(s->id.public_key, WG_KEY_LEN);
}

static void remote_init(struct side *s, const struct side *other)
{
	noise_remote_init(&s->remote, other->id.public_key);
	fill_sequence(s->remote.psk, WG_KEY_LEN, 0xe0);
	poison(s->remote.psk, WG_KEY_LEN);
	assert_int_equal(noise_remote_precompute(&s->remote, &s->id), 0);
	assert_true(is_poisoned(s->remote.static_static, WG_KEY_LEN));
}

static void sides_init(struct side *i, struct side *r)
{
	identity_init(i, 0x01);
	identity_init(r, 0x41);
	remote_init(i, r);
	remote_init(r, i);
}

static void secret_ephemeral(uint8_t ephemeral[WG_KEY_LEN], uint8_t first)
{
	fill_sequence(ephemeral, WG_KEY_LEN, first);
	poison(ephemeral, WG_KEY_LEN);
}

static void initiate(struct side *s, struct wg_initiation *msg)
{
	static const uint8_t timestamp[WG_TIMESTAMP_LEN] = {0x40, [11] = 1};
	uint8_t ephemeral[WG_KEY_LEN];

	secret_ephemeral(ephemeral, 0x81);
	assert_int_equal(noise_create_initiation_with(&s->hs, &s->id, &s->remote,
						      timestamp, 1, ephemeral, msg),
			 0);
	publish(msg, sizeof(*msg));
}

static int receive_initiation(struct side *s, const struct wg_initiation *msg)
{
	struct noise_peek peek;
	int err = noise_open_initiation(&s->id, msg, &peek);

	if (!err)
		err = noise_consume_initiation(&s->hs, &s->remote, &peek, msg, 1);
	return err;
}

static void respond(struct side *s, struct wg_response *msg)
{
	uint8_t ephemeral[WG_KEY_LEN];

	secret_ephemeral(ephemeral, 0xc1);
	assert_int_equal(
		noise_create_response_with(&s->hs, &s->remote, 2, ephemeral, msg), 0);
	publish(msg, sizeof(*msg));
}

static void test_handshake(void **state)
{
	struct wg_initiation initiation;
	struct wg_response response;
	struct noise_keys ki, kr;
	struct side i, r;
	unsigned before = reports();

	needs_valgrind();
	sides_init(&i, &r);
	initiate(&i, &initiation);
	assert_int_equal(receive_initiation(&r, &initiation), 0);
	respond(&r, &response);
	assert_int_equal(noise_consume_response(&i.hs, &i.id, &i.remote, &response), 0);
	assert_int_equal(noise_derive_keys(&i.hs, &ki), 0);
	assert_int_equal(noise_derive_keys(&r.hs, &kr), 0);
	assert_int_equal(reports(), before);

	/* Memcheck has followed the secrets to the end. */
	assert_true(is_poisoned(ki.send, WG_KEY_LEN));
	assert_true(is_poisoned(kr.send, WG_KEY_LEN));
	publish(&ki, sizeof(ki));
	publish(&kr, sizeof(kr));
	assert_memory_equal(ki.send, kr.receive, WG_KEY_LEN);
	assert_memory_equal(ki.receive, kr.send, WG_KEY_LEN);
}

/* A forged tag is refused in the same way whichever of its bytes is wrong. */
static void test_forged_handshakes(void **state)
{
	static const size_t at[] = {
		offsetof(struct wg_initiation, encrypted_static) + WG_KEY_LEN,
		offsetof(struct wg_initiation, encrypted_timestamp) - 1,
		offsetof(struct wg_initiation, encrypted_timestamp) + WG_TIMESTAMP_LEN,
		offsetof(struct wg_initiation, mac1) - 1,
	};
	struct wg_initiation initiation;
	struct wg_response response;
	struct side i, r;
	unsigned before = reports();

	needs_valgrind();
	sides_init(&i, &r);
	initiate(&i, &initiation);
	for (size_t n = 0; n < sizeof(at) / sizeof(at[0]); n++) {
		struct wg_initiation forged = initiation;

		((uint8_t *)&forged)[at[n]] ^= 1;
		assert_int_equal(receive_initiation(&r, &forged), -EBADMSG);
	}
	assert_int_equal(receive_initiation(&r, &initiation), 0);
	respond(&r, &response);
	for (size_t n = 0; n < WG_TAG_LEN; n += WG_TAG_LEN - 1) {
		struct wg_response forged = response;

		forged.encrypted_nothing[n] ^= 1;
		assert_int_equal(noise_consume_response(&i.hs, &i.id, &i.remote, &forged),
				 -EBADMSG);
	}
	assert_int_equal(reports(), before);
}

static void test_macs(void **state)
{
	static const struct ip_addr src = {IP_V4, {192, 0, 2, 1}};
	struct cookie_checker checker;
	struct cookie_maker maker;
	struct wg_cookie_reply reply;
	struct wg_initiation msg = {.type = 1};
	uint8_t key[WG_KEY_LEN] = {9};
	unsigned before = reports();

	needs_valgrind();
	cookie_checker_init(&checker, key);
	cookie_maker_init(&maker, key);
	poison(checker.mac1_key, WG_KEY_LEN);
	poison(checker.cookie_key, WG_KEY_LEN);
	cookie_maker_add_macs(&maker, &msg, sizeof(msg), 1);
	assert_int_equal(cookie_check(&checker, &msg, sizeof(msg), &src, 1, 1),
			 COOKIE_MAC1_OK);
	for (size_t n = 0; n < WG_MAC_LEN; n += WG_MAC_LEN - 1) {
		struct wg_initiation forged = msg;

		forged.mac1[n] ^= 1;
		assert_int_equal(cookie_check(&checker, &forged, sizeof(msg), &src, 1, 1),
				 COOKIE_BAD_MAC1);
	}
	assert_int_equal(
		cookie_reply_create(&checker, &msg, sizeof(msg), 1, &src, 1, 1, &reply),
		0);
	publish(&reply, sizeof(reply));
	poison(checker.secret, sizeof(checker.secret));
	assert_int_equal(cookie_maker_consume_reply(&maker, &reply, 1), 0);
	poison(maker.cookie, sizeof(maker.cookie));
	cookie_maker_add_macs(&maker, &msg, sizeof(msg), 1);
	assert_true(is_poisoned(msg.mac2, WG_MAC_LEN));
	publish(&msg, sizeof(msg));
	assert_int_equal(cookie_check(&checker, &msg, sizeof(msg), &src, 1, 1),
			 COOKIE_MAC2_OK);
	msg.mac2[0] ^= 1;
	assert_int_equal(cookie_check(&checker, &msg, sizeof(msg), &src, 1, 1),
			 COOKIE_MAC1_OK);
	assert_int_equal(reports(), before);
}

static void test_parse_and_print_keys(void **state)
{
	static const char begin[] = "set=1\nprivate_key=";
	char text[] =
		"set=1\nprivate_key="
		"0123456789abcdefABCDEF00fedcba9876543210fFeE000000000000000000ff\n\n";
	char *printed = NULL;
	struct uapi_error err;
	struct uapi_set set;
	size_t len;
	FILE *f;
	unsigned before = reports();

	needs_valgrind();
	poison(text + sizeof(begin) - 1, 64);
	assert_int_equal(uapi_parse_set(text, sizeof(text) - 1, &set, &err), 0);
	assert_true(is_poisoned(set.ops[0].value.key, WG_KEY_LEN));

	f = open_memstream(&printed, &len);
	assert_non_null(f);
	uapi_put_key(f, "private_key", set.ops[0].value.key);
	assert_int_equal(fflush(f), 0);
	assert_true(is_poisoned(printed, len));
	assert_int_equal(reports(), before);
	publish(printed, len);
	assert_string_equal(printed, "private_key="
				     "0123456789abcdefabcdef00fedcba9876543210"
				     "ffee000000000000000000ff\n");
	assert_int_equal(fclose(f), 0);
	free(printed);
	uapi_set_free(&set);
}

static void check_wiped(const void *data, size_t len)
{
	assert_false(is_poisoned(data, len));
	assert_true(is_zero(data, len));
}

/* Nothing that depends on a secret is left in what was wiped. */
static void test_wiping(void **state)
{
	struct wg_initiation initiation;
	struct cookie_checker checker;
	struct cookie_maker maker;
	struct noise_keys keys;
	struct side i, r;

	needs_valgrind();
	sides_init(&i, &r);
	initiate(&i, &initiation);
	assert_true(is_poisoned(&i.hs, sizeof(i.hs)));
	noise_handshake_clear(&i.hs);
	check_wiped(&i.hs, sizeof(i.hs));

	assert_int_equal(receive_initiation(&r, &initiation), 0);
	respond(&r, &(struct wg_response){0});
	assert_int_equal(noise_derive_keys(&r.hs, &keys), 0);
	check_wiped(&r.hs, offsetof(struct noise_handshake, latest_timestamp));

	noise_remote_wipe(&i.remote);
	check_wiped(&i.remote, sizeof(i.remote));
	noise_identity_wipe(&i.id);
	check_wiped(&i.id, sizeof(i.id));

	poison(&checker, sizeof(checker));
	cookie_checker_wipe(&checker);
	check_wiped(&checker, sizeof(checker));
	poison(&maker, sizeof(maker));
	cookie_maker_wipe(&maker);
	check_wiped(&maker, sizeof(maker));
}

/* Seals a packet under a secret key and opens it. `wrong`: the byte of the tag that is forged;
 * below zero: none. */
static void seal_and_open(struct aead *aead, int wrong)
{
	uint8_t packet[PACKET_LEN + WG_TAG_LEN] = {0}, key[WG_KEY_LEN];
	struct aead_op op = {.key = key,
			     .counter = 7,
			     .dst = packet,
			     .src = packet,
			     .len = PACKET_LEN};

	fill_sequence(key, sizeof(key), 0x21);
	poison(key, sizeof(key));
	aead_seal(aead, &op, 1);
	assert_true(is_poisoned(packet, sizeof(packet)));
	publish(packet, sizeof(packet));
	if (wrong >= 0)
		packet[PACKET_LEN + wrong] ^= 1;
	aead_open(aead, &op, 1);
	publish(&op.ok, sizeof(op.ok));
	assert_int_equal(op.ok, wrong < 0);
	publish(packet, PACKET_LEN);
	assert_true(is_zero(packet, PACKET_LEN));
}

static void check_engine(const struct aead_engine *engine)
{
	struct aead aead;
	unsigned before;

	if (!engine->usable() || aead_begin(&aead, engine)) {
		print_message("cannot run here: %s\n", engine->name);
		return;
	}
	before = reports();
	seal_and_open(&aead, -1);
	seal_and_open(&aead, 0);
	seal_and_open(&aead, WG_TAG_LEN - 1);
	if (reports() != before)
		fail_msg("%s: %u branches or addresses depend on a secret", engine->name,
			 reports() - before);
	aead_end(&aead);
}

/* valgrind's CPU has AVX2 and no AVX-512, so intel-ipsec-mb uses its code for AVX2. */
static void test_engines(void **state)
{
	needs_valgrind();
	for (const struct aead_engine *const *e = aead_engines; *e; e++)
		check_engine(*e);
}

/* Runs this program in valgrind. Returns if that is not possible. */
static void enter_valgrind(char **argv)
{
	if (RUNNING_ON_VALGRIND)
		return;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	execlp("valgrind", "valgrind", "-q", "--error-limit=no", "--leak-check=no",
	       "--suppressions=tests/valgrind.supp", argv[0], (char *)NULL);
#endif
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leaks_are_reported),
		cmocka_unit_test(test_handshake),
		cmocka_unit_test(test_forged_handshakes),
		cmocka_unit_test(test_macs),
		cmocka_unit_test(test_parse_and_print_keys),
		cmocka_unit_test(test_wiping),
		cmocka_unit_test(test_engines),
	};

	enter_valgrind(argv);
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
