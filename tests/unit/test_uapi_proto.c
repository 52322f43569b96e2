// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "uapi_proto.h"

#define KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_B "E0E1E2E3E4E5E6E7E8E9EAEBECEDEEEFF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF"
#define PEER  "public_key=" KEY_A "\n"

static void assert_key(const uint8_t key[32], uint8_t first)
{
	int i;

	for (i = 0; i < 32; i++)
		assert_int_equal(key[i], first + i);
}

/* Parses from a copy of exactly that size, so that ASan sees a read beyond it. */
static int parse(const char *text, size_t len, struct uapi_set *set,
		 struct uapi_error *err)
{
	char *copy = malloc(len ? len : 1);
	int ret;

	assert_non_null(copy);
	memcpy(copy, text, len);
	ret = uapi_parse_set(copy, len, set, err);
	free(copy);
	return ret;
}

static void assert_refused_bytes(const char *text, size_t len, int want, size_t line)
{
	struct uapi_set set = {.ops = (void *)1, .count = 1};
	struct uapi_error err = {999, NULL};
	int ret = parse(text, len, &set, &err);

	if (ret != want || err.line != line)
		fail_msg("%.*s: returned %d, line %zu: %s", (int)len, text, ret, err.line,
			 err.reason ? err.reason : "-");
	assert_non_null(err.reason);
	assert_null(set.ops);
	assert_int_equal(set.count, 0);
	uapi_set_free(&set);
}

static void assert_refused(const char *text, size_t line)
{
	assert_refused_bytes(text, strlen(text), -EINVAL, line);
}

/* Parses one line, of the tunnel or after a public_key; `line` is without its newline. */
static int parse_one(bool of_peer, const char *line, struct uapi_op *op)
{
	char text[1024];
	struct uapi_set set;
	struct uapi_error err;
	int ret;

	snprintf(text, sizeof(text), "set=1\n%s%s\n\n", of_peer ? PEER : "", line);
	ret = parse(text, strlen(text), &set, &err);
	if (!ret) {
		assert_int_equal(set.count, of_peer ? 2 : 1);
		*op = set.ops[of_peer];
	} else {
		assert_int_equal(err.line, of_peer ? 3 : 2);
		assert_non_null(err.reason);
	}
	uapi_set_free(&set);
	return ret;
}

static struct uapi_op parsed(bool of_peer, const char *line)
{
	struct uapi_op op;

	if (parse_one(of_peer, line, &op))
		fail_msg("refused: %s", line);
	return op;
}

static void assert_line_refused(bool of_peer, const char *line)
{
	struct uapi_op op;
	int ret = parse_one(of_peer, line, &op);

	if (ret != -EINVAL)
		fail_msg("returned %d: %s", ret, line);
}

static void test_whole_request(void **state)
{
	static const char text[] = "set=1\n"
				   "private_key=" KEY_A "\n"
				   "listen_port=51820\n"
				   "fwmark=0\n"
				   "replace_peers=true\n"
				   "public_key=" KEY_B "\n"
				   "update_only=true\n"
				   "protocol_version=1\n"
				   "preshared_key=" KEY_A "\n"
				   "endpoint=192.0.2.1:1234\n"
				   "persistent_keepalive_interval=25\n"
				   "replace_allowed_ips=true\n"
				   "allowed_ip=10.0.0.0/8\n"
				   "public_key=" KEY_A "\n"
				   "remove=true\n"
				   "\n";
	static const enum uapi_key keys[] = {
		UAPI_PRIVATE_KEY,
		UAPI_LISTEN_PORT,
		UAPI_FWMARK,
		UAPI_REPLACE_PEERS,
		UAPI_PUBLIC_KEY,
		UAPI_UPDATE_ONLY,
		UAPI_PRESHARED_KEY,
		UAPI_ENDPOINT,
		UAPI_PERSISTENT_KEEPALIVE_INTERVAL,
		UAPI_REPLACE_ALLOWED_IPS,
		UAPI_ALLOWED_IP,
		UAPI_PUBLIC_KEY,
		UAPI_REMOVE,
	};
	struct uapi_error err = {1, "old"};
	struct uapi_set set;
	size_t i;

	assert_int_equal(parse(text, strlen(text), &set, &err), 0);
	assert_int_equal(err.line, 0);
	assert_null(err.reason);
	assert_int_equal(set.count, 13);
	for (i = 0; i < 13; i++)
		assert_int_equal(set.ops[i].key, keys[i]);
	assert_key(set.ops[0].value.key, 0x00);
	assert_int_equal(set.ops[1].value.port, 51820);
	assert_int_equal(set.ops[2].value.fwmark, 0);
	assert_key(set.ops[4].value.key, 0xe0);
	assert_key(set.ops[6].value.key, 0x00);
	assert_int_equal(set.ops[7].value.endpoint.port, 1234);
	assert_int_equal(set.ops[8].value.keepalive, 25);
	assert_int_equal(set.ops[10].value.allowed_ip.cidr, 8);
	assert_int_equal(uapi_peer_end(&set, 4), 11);
	assert_int_equal(uapi_peer_end(&set, 11), 13);
	assert_true(uapi_peer_has(&set, 4, UAPI_UPDATE_ONLY));
	assert_true(uapi_peer_has(&set, 4, UAPI_ALLOWED_IP));
	assert_false(uapi_peer_has(&set, 4, UAPI_REMOVE));
	assert_true(uapi_peer_has(&set, 11, UAPI_REMOVE));
	assert_false(uapi_peer_has(&set, 11, UAPI_UPDATE_ONLY));
	uapi_set_free(&set);
	assert_null(set.ops);
	assert_int_equal(set.count, 0);
}

static void test_nothing_to_set(void **state)
{
	struct uapi_error err;
	struct uapi_set set;

	assert_int_equal(parse("set=1\n\n", 7, &set, &err), 0);
	assert_int_equal(set.count, 0);
	uapi_set_free(&set);
}

static void test_numbers(void **state)
{
	assert_int_equal(parsed(false, "listen_port=0").value.port, 0);
	assert_int_equal(parsed(false, "listen_port=65535").value.port, 65535);
	assert_int_equal(parsed(false, "fwmark=4294967295").value.fwmark, 4294967295U);
	assert_int_equal(parsed(false, "fwmark=0xca6c").value.fwmark, 51820);
	assert_int_equal(parsed(false, "fwmark=0XFFFFFFFF").value.fwmark, 0xffffffffU);
	assert_int_equal(parsed(true, "persistent_keepalive_interval=0").value.keepalive,
			 0);
	assert_int_equal(
		parsed(true, "persistent_keepalive_interval=65535").value.keepalive,
		65535);
}

static void test_bad_numbers(void **state)
{
	static const char *const bad[] = {
		"",
		"-1",
		"+1",
		" 1",
		"1 ",
		"1\t",
		"1\r",
		"65536",
		"0x10",
		"1e3",
		"1.0",
		"a",
		"99999999999999999999999999",
		"off",
		"\xb9",
	};
	static const char *const bad_marks[] = {
		"",	"0x",  "x10",  "0x100000000", "4294967296", "-0x1",
		"0x-1", "0xg", "0x 1", "ff",	      "1x",
	};
	char line[100];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(line, sizeof(line), "listen_port=%s", bad[i]);
		assert_line_refused(false, line);
		snprintf(line, sizeof(line), "persistent_keepalive_interval=%s", bad[i]);
		assert_line_refused(true, line);
	}
	for (i = 0; i < sizeof(bad_marks) / sizeof(bad_marks[0]); i++) {
		snprintf(line, sizeof(line), "fwmark=%s", bad_marks[i]);
		assert_line_refused(false, line);
	}
}

static void test_bad_flags(void **state)
{
	static const char *const names[] = {"remove", "update_only",
					    "replace_allowed_ips"};
	static const char *const bad[] = {"",	   "false", "True", "1",
					  "true ", " true", "tru",  "truee"};
	char line[100];
	size_t i, j;

	for (j = 0; j < sizeof(bad) / sizeof(bad[0]); j++) {
		for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			snprintf(line, sizeof(line), "%s=%s", names[i], bad[j]);
			assert_line_refused(true, line);
		}
		snprintf(line, sizeof(line), "replace_peers=%s", bad[j]);
		assert_line_refused(false, line);
	}
}

static void test_bad_keys(void **state)
{
	static const char *const names[] = {"private_key", "public_key", "preshared_key"};
	char good[] = KEY_A, line[200];
	size_t i, len;

	for (i = 0; i < 3; i++) {
		for (len = 0; len < 64; len++) {
			snprintf(line, sizeof(line), "%s=%.*s", names[i], (int)len, good);
			assert_line_refused(i > 0, line);
		}
		snprintf(line, sizeof(line), "%s=%s0", names[i], good);
		assert_line_refused(i > 0, line);
		snprintf(line, sizeof(line), "%s=%.63sg", names[i], good);
		assert_line_refused(i > 0, line);
		snprintf(line, sizeof(line), "%s=g%s", names[i], good + 1);
		assert_line_refused(i > 0, line);
		snprintf(line, sizeof(line), "%s=%.31s %s", names[i], good, good + 32);
		assert_line_refused(i > 0, line);
		snprintf(line, sizeof(line), "%s=%s ", names[i], good);
		assert_line_refused(i > 0, line);
		/* In base64, as in configuration files. */
		snprintf(line, sizeof(line),
			 "%s=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", names[i]);
		assert_line_refused(i > 0, line);
	}
}

static void test_protocol_version(void **state)
{
	struct uapi_op op;

	assert_int_equal(parse_one(true, "protocol_version=2", &op), -EPROTONOSUPPORT);
	assert_int_equal(parse_one(true, "protocol_version=0", &op), -EPROTONOSUPPORT);
	assert_line_refused(true, "protocol_version=");
	assert_line_refused(true, "protocol_version=one");
	assert_line_refused(true, "protocol_version=-1");
}

static void test_endpoints(void **state)
{
	static const uint8_t v4[16] = {192, 0, 2, 1};
	static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
	static const uint8_t local[16] = {0xfe, 0x80, [15] = 2};
	struct uapi_op op;

	op = parsed(true, "endpoint=192.0.2.1:51820");
	assert_int_equal(op.key, UAPI_ENDPOINT);
	assert_int_equal(op.value.endpoint.addr.family, 4);
	assert_memory_equal(op.value.endpoint.addr.bytes, v4, 16);
	assert_int_equal(op.value.endpoint.port, 51820);
	assert_int_equal(op.value.endpoint.scope_id, 0);
	assert_int_equal(op.value.endpoint.source.family, 0);
	op = parsed(true, "endpoint=[2001:db8::1]:1");
	assert_int_equal(op.value.endpoint.addr.family, 6);
	assert_memory_equal(op.value.endpoint.addr.bytes, v6, 16);
	assert_int_equal(op.value.endpoint.port, 1);
	/* Every network namespace has an lo with index 1. */
	op = parsed(true, "endpoint=[fe80::2%lo]:65535");
	assert_memory_equal(op.value.endpoint.addr.bytes, local, 16);
	assert_int_equal(op.value.endpoint.scope_id, 1);
	assert_int_equal(op.value.endpoint.port, 65535);
	assert_int_equal(parsed(true, "endpoint=[fe80::2%77]:9").value.endpoint.scope_id,
			 77);
	assert_int_equal(
		parsed(true, "endpoint=[2001:db8::1%lo]:9").value.endpoint.scope_id, 0);
}

static void test_bad_endpoints(void **state)
{
	static const char *const bad[] = {
		"",
		":",
		"1",
		"192.0.2.1",
		"192.0.2.1:",
		":51820",
		"192.0.2.1:0",
		"192.0.2.1:65536",
		"192.0.2.1:-1",
		"192.0.2.1:+1",
		"192.0.2.1: 1",
		"192.0.2.1:1 ",
		" 192.0.2.1:1",
		"192.0.2.256:1",
		"192.0.2:1",
		"192.0.2.1.1:1",
		"192.0.2.1%lo:1",
		"192.0.2.1/32:1",
		"example.com:51820",
		"localhost:51820",
		"2001:db8::1:51820",
		"[2001:db8::1]",
		"[2001:db8::1]:",
		"[2001:db8::1]51820",
		"[2001:db8::1]:0",
		"[2001:db8::1]:65536",
		"[2001:db8::1:51820",
		"2001:db8::1]:51820",
		"[]:1",
		"[:1",
		"]:1",
		"[[::1]]:1",
		"[192.0.2.1]:1",
		"[::1]x:1",
		"x[::1]:1",
		"[fe80::1%]:1",
		"[fe80::1%0]:1",
		"[fe80::1%nosuchlink0]:1",
		"[fe80::1%aninterfacewithaverylongname]:1",
		"[%lo]:1",
		"[fe80::1%1%1]:1",
		"[fe80::1%-1]:1",
		"[fe80::1%4294967297]:1",
		"[12345::]:1",
		"[1:2:3:4:5:6:7:8:9]:1",
		"[2001:0db8:0000:0000:0000:0000:0000:0000:0000:0001]:1",
		"(none)",
		"192.0.2.1:http",
	};
	char line[300];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(line, sizeof(line), "endpoint=%s", bad[i]);
		assert_line_refused(true, line);
	}
}

static void assert_allowed_ip(const char *line, int family, const uint8_t bytes[16],
			      uint8_t cidr, bool removal)
{
	struct uapi_op op = parsed(true, line);

	assert_int_equal(op.key, UAPI_ALLOWED_IP);
	assert_int_equal(op.value.allowed_ip.addr.family, family);
	assert_memory_equal(op.value.allowed_ip.addr.bytes, bytes, 16);
	assert_int_equal(op.value.allowed_ip.cidr, cidr);
	assert_int_equal(op.value.allowed_ip.remove, removal);
}

static void test_allowed_ips(void **state)
{
	static const uint8_t zero[16];
	static const uint8_t v4[16] = {10, 1, 2, 3};
	static const uint8_t net4[16] = {10, 1};
	static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 0xff};
	static const uint8_t net6[16] = {0x20, 0x01, 0x0d, 0xb8};

	assert_allowed_ip("allowed_ip=0.0.0.0/0", 4, zero, 0, false);
	assert_allowed_ip("allowed_ip=10.1.2.3/32", 4, v4, 32, false);
	assert_allowed_ip("allowed_ip=10.1.2.3", 4, v4, 32, false);
	assert_allowed_ip("allowed_ip=10.1.2.3/16", 4, net4, 16, false);
	assert_allowed_ip("allowed_ip=10.1.2.3/0", 4, zero, 0, false);
	assert_allowed_ip("allowed_ip=-10.1.2.3/16", 4, net4, 16, true);
	assert_allowed_ip("allowed_ip=-10.1.2.3", 4, v4, 32, true);
	assert_allowed_ip("allowed_ip=::/0", 6, zero, 0, false);
	assert_allowed_ip("allowed_ip=2001:db8::ff", 6, v6, 128, false);
	assert_allowed_ip("allowed_ip=2001:db8::ff/128", 6, v6, 128, false);
	assert_allowed_ip("allowed_ip=2001:db8::ff/120", 6, net6, 120, false);
	assert_allowed_ip("allowed_ip=-2001:db8::ff/32", 6, net6, 32, true);
}

static void test_bad_allowed_ips(void **state)
{
	static const char *const bad[] = {
		"",
		"-",
		"/",
		"-/",
		"/8",
		"--10.0.0.0/8",
		"+10.0.0.0/8",
		"10.0.0.0/",
		"10.0.0.0/33",
		"10.0.0.0/128",
		"10.0.0.0/-1",
		"10.0.0.0/+8",
		"10.0.0.0/ 8",
		"10.0.0.0/8 ",
		" 10.0.0.0/8",
		"10.0.0.0/8/8",
		"10.0.0.0/8,10.1.0.0/16",
		"10.0.0.0/x",
		"10.0.0/24",
		"10.0.0.0/255.0.0.0",
		"010.0.0.256/8",
		"::/129",
		"::/",
		"::/256",
		"::/4294967296",
		"::1%lo/128",
		"[::]/0",
		":/0",
		":::/0",
		"12345::/16",
		"example.com/32",
		"(none)",
	};
	char line[300];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(line, sizeof(line), "allowed_ip=%s", bad[i]);
		assert_line_refused(true, line);
	}
}

static void test_order_of_keys(void **state)
{
	static const char *const of_device[] = {
		("private_key=" KEY_A),
		"listen_port=1",
		"fwmark=1",
		"replace_peers=true",
	};
	static const char *const of_peer[] = {
		"remove=true",
		"update_only=true",
		("preshared_key=" KEY_A),
		"endpoint=192.0.2.1:1",
		"persistent_keepalive_interval=1",
		"replace_allowed_ips=true",
		"allowed_ip=10.0.0.0/8",
		"protocol_version=1",
	};
	size_t i;

	for (i = 0; i < sizeof(of_device) / sizeof(of_device[0]); i++)
		assert_line_refused(true, of_device[i]);
	for (i = 0; i < sizeof(of_peer) / sizeof(of_peer[0]); i++)
		assert_line_refused(false, of_peer[i]);
}

static void test_bad_lines(void **state)
{
	static const char *const bad[] = {
		"listen_port",
		"=",
		"=1",
		"==",
		" listen_port=1",
		"listen_port =1",
		"Listen_port=1",
		"listen_por=1",
		"listen_portt=1",
		"nonsense=1",
		"set=1",
		"get=1",
		"errno=0",
		"#",
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_line_refused(false, bad[i]);
}

static void test_bad_frames(void **state)
{
	assert_refused("", 1);
	assert_refused("\n", 1);
	assert_refused("\n\n", 1);
	assert_refused("set=1", 1);
	assert_refused("set=1\n", 2);
	assert_refused("set=2\n\n", 1);
	assert_refused("get=1\n\n", 1);
	assert_refused("set=1 \n\n", 1);
	assert_refused("set=1\r\n\r\n", 1);
	assert_refused("set=1\nlisten_port=1\n", 3);
	assert_refused("set=1\nlisten_port=1", 2);
	assert_refused("set=1\n\nlisten_port=1\n\n", 2);
	assert_refused("set=1\nlisten_port=1\n\n\n", 3);
	assert_refused("set=1\nlisten_port=1\r\n\n", 2);
	/* Also after valid lines. */
	assert_refused("set=1\nprivate_key=" KEY_A "\n" PEER "preshared_key=" KEY_B
		       "\nallowed_ip=10.0.0.0/33\n\n",
		       5);
}

static void test_nul(void **state)
{
	static const char in_name[] = "set=1\nlisten_\0port=1\n\n";
	static const char in_number[] = "set=1\nlisten_port=1\0\n\n";
	static const char in_addr[] = "set=1\n" PEER "allowed_ip=10.0.0.0/8\0\n\n";
	static const char behind_addr[] = "set=1\n" PEER "allowed_ip=10.0.0.0\0/8\n\n";
	static const char in_endpoint[] = "set=1\n" PEER "endpoint=192.0.2.1\0:1\n\n";
	static const char first[] = "set=1\n\0\n\n";
	static const char in_set[] = "set=1\0\n\n";

	assert_refused_bytes(in_name, sizeof(in_name) - 1, -EINVAL, 2);
	assert_refused_bytes(in_number, sizeof(in_number) - 1, -EINVAL, 2);
	assert_refused_bytes(in_addr, sizeof(in_addr) - 1, -EINVAL, 3);
	assert_refused_bytes(behind_addr, sizeof(behind_addr) - 1, -EINVAL, 3);
	assert_refused_bytes(in_endpoint, sizeof(in_endpoint) - 1, -EINVAL, 3);
	assert_refused_bytes(first, sizeof(first) - 1, -EINVAL, 2);
	assert_refused_bytes(in_set, sizeof(in_set) - 1, -EINVAL, 1);
}

/* The longest line has 256 bytes. Leading zeros make a valid line of any length. */
static void test_long_lines(void **state)
{
	char line[1000];
	struct uapi_op op = {0};

	snprintf(line, sizeof(line), "listen_port=%0244d", 7);
	assert_int_equal(strlen(line), 256);
	assert_int_equal(parse_one(false, line, &op), 0);
	assert_int_equal(op.value.port, 7);
	snprintf(line, sizeof(line), "listen_port=%0245d", 7);
	assert_line_refused(false, line);
	snprintf(line, sizeof(line), "endpoint=%0800d:1", 7);
	assert_line_refused(true, line);
}

static void test_huge(void **state)
{
	size_t len = (64U << 20) + 1;
	char *text = malloc(len);
	struct uapi_error err;
	struct uapi_set set;

	assert_non_null(text);
	memset(text, '1', len);
	memcpy(text, "set=1\nlisten_port=", 18);
	memcpy(text + len - 3, "\n\n", 2);
	assert_int_equal(uapi_parse_set(text, len - 1, &set, &err), -EINVAL);
	assert_int_equal(err.line, 2);
	text[len - 2] = '1';
	memcpy(text + len - 2, "\n\n", 2);
	assert_int_equal(uapi_parse_set(text, len, &set, &err), -EINVAL);
	assert_int_equal(err.line, 0);
	memset(text, '\n', len);
	memcpy(text, "set=1\n", 6);
	assert_int_equal(uapi_parse_set(text, len - 1, &set, &err), -EINVAL);
	assert_int_equal(err.line, 2);
	free(text);
}

/* As many ops as possible, from the shortest lines. */
static void test_many_lines(void **state)
{
	static char text[6 + 9 * 100000 + 1];
	struct uapi_error err;
	struct uapi_set set;
	int i;

	memcpy(text, "set=1\n", 6);
	for (i = 0; i < 100000; i++)
		memcpy(text + 6 + 9 * i, "fwmark=7\n", 9);
	text[sizeof(text) - 1] = '\n';
	assert_int_equal(uapi_parse_set(text, sizeof(text), &set, &err), 0);
	assert_int_equal(set.count, 100000);
	assert_int_equal(set.ops[99999].value.fwmark, 7);
	uapi_set_free(&set);
	text[sizeof(text) - 3] = 'x';
	assert_int_equal(uapi_parse_set(text, sizeof(text), &set, &err), -EINVAL);
	assert_int_equal(err.line, 100001);
	/* A bad line shorter than any valid one, after as many valid ones as fit. */
	assert_refused("set=1\nfwmark=7\nfwmark=7\nx\n\n", 4);
}

/* A request is refused if it is truncated anywhere. */
static void test_truncated(void **state)
{
	static const char text[] = "set=1\nprivate_key=" KEY_A "\nfwmark=1\n" PEER
				   "endpoint=[2001:db8::1]:51820\nallowed_ip=::/0\n\n";
	struct uapi_error err;
	struct uapi_set set;
	size_t len;

	for (len = 0; len < sizeof(text) - 1; len++) {
		assert_int_equal(parse(text, len, &set, &err), -EINVAL);
		assert_null(set.ops);
	}
	assert_int_equal(parse(text, len, &set, &err), 0);
	uapi_set_free(&set);
}

/* After random damage: only the three results, and no leak (under ASan). */
static void test_damaged(void **state)
{
	static const char text[] =
		"set=1\nprivate_key=" KEY_A "\nlisten_port=51820\nfwmark=0x1\n" PEER
		"protocol_version=1\nendpoint=[fe80::1%1]:51820\nallowed_ip=-10.0.0.0/"
		"8\n\n";
	static const char bytes[] = "=\n\0-/:%[]09afx \xff";
	struct uapi_error err;
	struct uapi_set set;
	char copy[sizeof(text)];
	uint32_t r = 7;
	int i, j, ret, refused = 0;

	for (i = 0; i < 20000; i++) {
		memcpy(copy, text, sizeof(text));
		for (j = 0; j < 1 + i % 3; j++) {
			r = r * 1664525 + 1013904223;
			copy[(r >> 8) % (sizeof(text) - 1)] = bytes[(r >> 24) % 16];
		}
		ret = parse(copy, sizeof(text) - 1, &set, &err);
		assert_true(ret == 0 || ret == -EINVAL || ret == -EPROTONOSUPPORT);
		assert_true(ret == 0 || (!set.ops && err.reason));
		refused += ret != 0;
		uapi_set_free(&set);
	}
	assert_in_range(refused, 10000, 19999);
}

static void test_format(void **state)
{
	struct endpoint v4 = {.addr = {4, {192, 0, 2, 1}}, .port = 51820};
	struct endpoint v6 = {.addr = {6, {0x20, 0x01, 0x0d, 0xb8, [15] = 1}}, .port = 1};
	struct endpoint local = {
		.addr = {6, {0xfe, 0x80, [15] = 1}}, .port = 2, .scope_id = 7};
	uint8_t key[32];
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int i;

	assert_non_null(f);
	for (i = 0; i < 32; i++)
		key[i] = (uint8_t)i;
	uapi_put_key(f, "public_key", key);
	uapi_put_number(f, "rx_bytes", UINT64_MAX);
	uapi_put_endpoint(f, &v4);
	uapi_put_endpoint(f, &v6);
	uapi_put_endpoint(f, &local);
	uapi_put_allowed_ip(f, &v4.addr, 32);
	uapi_put_allowed_ip(f, &v6.addr, 128);
	fclose(f);
	assert_string_equal(text, "public_key=" KEY_A "\n"
				  "rx_bytes=18446744073709551615\n"
				  "endpoint=192.0.2.1:51820\n"
				  "endpoint=[2001:db8::1]:1\n"
				  "endpoint=[fe80::1%7]:2\n"
				  "allowed_ip=192.0.2.1/32\n"
				  "allowed_ip=2001:db8::1/128\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_request),
		cmocka_unit_test(test_nothing_to_set),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_bad_numbers),
		cmocka_unit_test(test_bad_flags),
		cmocka_unit_test(test_bad_keys),
		cmocka_unit_test(test_protocol_version),
		cmocka_unit_test(test_endpoints),
		cmocka_unit_test(test_bad_endpoints),
		cmocka_unit_test(test_allowed_ips),
		cmocka_unit_test(test_bad_allowed_ips),
		cmocka_unit_test(test_order_of_keys),
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_bad_frames),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_many_lines),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_format),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
