// SPDX-License-Identifier: MIT
/*
 * ICMP errors: what they quote and whom they go to, what they are not sent about, how
 * many; and that the kernel delivers them, in another network namespace too.
 */
#include "testutil.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "icmp.h"
#include "packet.h"
#include "tap.h"

static const struct spec udp4 = {.udp = true};
static const struct spec udp6 = {.udp = true, .v6 = true};

#define FROM4 0x0a010203 /* what build() writes */
#define TO4   0xc0a80709

static uint8_t packet[65536];

static size_t build_udp(const struct spec *s, size_t payload)
{
	static uint8_t bytes[65000];

	memset(packet, 0, sizeof(packet));
	for (size_t i = 0; i < payload; i++)
		bytes[i] = (uint8_t)random32();
	return build(packet, s, bytes, payload);
}

static struct icmp_error answer(size_t len)
{
	struct icmp_error e;

	memset(&e, 0xa5, sizeof(e));
	assert_true(icmp_unreachable(&e, packet, len));
	return e;
}

static void refused(size_t len)
{
	struct icmp_error e;

	assert_false(icmp_unreachable(&e, packet, len));
}

/* --- what --- */

static void check_v4(size_t payload, size_t quoted)
{
	size_t len = build_udp(&udp4, payload);
	struct icmp_error e = answer(len);
	uint8_t addr[4];

	assert_int_equal(e.len, 8 + quoted);
	assert_int_equal(e.message[0], 3); /* destination unreachable */
	assert_int_equal(e.message[1], 1); /* host unreachable */
	assert_int_equal(reference_sum(0, e.message, e.len), 0xffff);
	assert_true(is_zero(e.message + 4, 4));
	assert_memory_equal(e.message + 8, packet, quoted);
	assert_int_equal(e.to.family, IP_V4);
	put(addr, FROM4, 4);
	assert_memory_equal(e.to.bytes, addr, 4);
	put(addr, TO4, 4);
	assert_memory_equal(e.about.bytes, addr, 4);
	assert_true(is_zero(e.to.bytes + 4, 12));
}

static void test_v4(void **state)
{
	check_v4(0, 28);
	check_v4(1, 29);
	check_v4(520, 548);
	check_v4(521, 548);
	check_v4(60000, 548);
}

static void check_v6(size_t payload, size_t quoted)
{
	size_t len = build_udp(&udp6, payload);
	struct icmp_error e = answer(len);

	assert_int_equal(e.len, 8 + quoted);
	assert_int_equal(e.message[0], 1); /* destination unreachable */
	assert_int_equal(e.message[1], 3); /* address unreachable */
	assert_true(is_zero(e.message + 2, 6));
	assert_memory_equal(e.message + 8, packet, quoted);
	assert_int_equal(e.to.family, IP_V6);
	assert_memory_equal(e.to.bytes, packet + 8, 16);
	assert_memory_equal(e.about.bytes, packet + 24, 16);
}

static void test_v6(void **state)
{
	check_v6(0, 48);
	check_v6(1184, 1232);
	check_v6(1185, 1232);
	check_v6(60000, 1232);
}

/* What follows the packet is not quoted. */
static void test_padding(void **state)
{
	size_t len = build_udp(&udp4, 10);

	assert_int_equal(answer(len + 6).len, 8 + len);
}

/* --- whether --- */

static void test_malformed(void **state)
{
	size_t len = build_udp(&udp4, 10);

	for (size_t i = 0; i < len; i++)
		refused(i);
	answer(len);
	packet[0] = 0x44;
	refused(len);
	len = build_udp(&udp6, 10);
	for (size_t i = 0; i < len; i++)
		refused(i);
	answer(len);
	packet[0] = 0x50;
	refused(len);
}

static bool answered_v4(uint32_t from, uint32_t to)
{
	size_t len = build_udp(&udp4, 10);
	struct icmp_error e;

	put(packet + 12, from, 4);
	put(packet + 16, to, 4);
	return icmp_unreachable(&e, packet, len);
}

static void test_addresses_v4(void **state)
{
	static const uint32_t never_from[] = {0, 0x7f000001, 0xe0000001, 0xefffffff,
					      0xffffffff};
	static const uint32_t never_to[] = {0xe0000001, 0xefffffff, 0xffffffff};

	assert_true(answered_v4(FROM4, TO4));
	assert_true(answered_v4(0xdfffffff, 0xdfffffff));
	for (size_t i = 0; i < 5; i++)
		assert_false(answered_v4(never_from[i], TO4));
	for (size_t i = 0; i < 3; i++)
		assert_false(answered_v4(FROM4, never_to[i]));
}

static void test_addresses_v6(void **state)
{
	size_t len = build_udp(&udp6, 10);

	packet[24] = 0xff;
	refused(len);
	packet[24] = 0xfe;
	answer(len);
	packet[8] = 0xff;
	refused(len);
	memset(packet + 8, 0, 16);
	refused(len);
	packet[23] = 9;
	answer(len);
}

static void test_fragments_v4(void **state)
{
	size_t len = build_udp(&udp4, 10);

	put(packet + 6, 0x2000, 2); /* the first */
	answer(len);
	put(packet + 6, 0x4000, 2);
	answer(len);
	for (unsigned offset = 1; offset < 0x2000; offset <<= 1) {
		put(packet + 6, 0x2000 | offset, 2);
		refused(len);
		put(packet + 6, offset, 2);
		refused(len);
	}
}

static void test_icmp_v4(void **state)
{
	static const uint8_t errors[] = {3, 4, 5, 11, 12, 19, 42, 255};
	static const uint8_t queries[] = {0, 8, 9, 10, 13, 14, 17, 18};
	static const struct spec with_options = {.udp = true, .ip_extra = 8};
	size_t len;

	for (size_t i = 0; i < 8; i++) {
		len = build_udp(&udp4, 10);
		packet[9] = 1;
		packet[20] = errors[i];
		refused(len);
		packet[20] = queries[i];
		answer(len);
	}
	len = build_udp(&with_options, 10);
	packet[9] = 1;
	packet[20] = 8;
	packet[28] = 3;
	refused(len);
	packet[20] = 3;
	packet[28] = 8;
	answer(len);
	put(packet + 2, 28, 2); /* nothing of ICMP is there */
	refused(28);
}

static void check_icmp_v6(size_t at, size_t len)
{
	for (unsigned type = 0; type < 256; type++) {
		packet[at] = (uint8_t)type;
		if (type < 128 || type == 137)
			refused(len);
		else
			answer(len);
	}
}

static void test_icmp_v6(void **state)
{
	size_t len = build_udp(&udp6, 10);

	packet[6] = 58;
	check_icmp_v6(40, len);
	put(packet + 4, 0, 2);
	refused(40);
}

/* Hop-by-hop, routing, destination options, AH, fragment: one behind the other. */
static size_t build_chain(uint8_t last)
{
	static const uint8_t kinds[] = {0, 43, 60, 51, 44};
	size_t len = build_udp(&udp6, 200), at = 40;

	packet[6] = kinds[0];
	for (size_t i = 0; i < 5; i++) {
		memset(packet + at, 0, 24);
		packet[at] = i < 4 ? kinds[i + 1] : last;
		packet[at + 1] = kinds[i] == 51 ? 4 : kinds[i] == 44 ? 0 : i % 2;
		at += kinds[i] == 51 ? 24 : kinds[i] == 44 ? 8 : 8 + 8 * (i % 2);
	}
	assert_int_equal(at, 40 + 8 + 16 + 8 + 24 + 8);
	return len;
}

static void test_extension_headers(void **state)
{
	const size_t icmp = 104, fragment = 96;
	size_t len = build_chain(58);

	check_icmp_v6(icmp, len);
	len = build_chain(17);
	packet[icmp] = 3;
	answer(len);
	put(packet + fragment + 2, 1, 2); /* more to come */
	answer(len);
	put(packet + fragment + 2, 8, 2);
	refused(len);
}

/* No end of the packet makes it read what is behind. */
static void test_extension_headers_cut_short(void **state)
{
	size_t len = build_chain(17);

	for (size_t i = 40; i <= len; i++) {
		uint8_t *copy = malloc(i);
		struct icmp_error e;

		assert_non_null(copy);
		put(packet + 4, (uint32_t)(i - 40), 2);
		memcpy(copy, packet, i);
		assert_int_equal(icmp_unreachable(&e, copy, i), i >= 104);
		free(copy);
	}
}

/* --- how many --- */

static unsigned taken_by(struct icmp_limit *l, uint8_t host, bool forwarded, uint64_t now)
{
	struct ip_addr to = {.family = IP_V4, .bytes = {10, 1, 2, host}};
	unsigned n = 0;

	while (n < 1000 && icmp_limit_take(l, &to, forwarded, now))
		n++;
	return n;
}

static unsigned taken(struct icmp_limit *l, uint64_t now)
{
	return taken_by(l, 1, false, now);
}

static void test_limit(void **state)
{
	struct icmp_limit l;
	uint64_t now = 5 * SEC_NS;
	unsigned n = 0;

	icmp_limit_init(&l);
	assert_int_equal(taken(&l, now), 50);
	assert_int_equal(taken(&l, now + MSEC_NS - 1), 0);
	assert_int_equal(taken(&l, now + MSEC_NS), 1);
	assert_int_equal(taken(&l, now + 11 * MSEC_NS), 10);
	now += 60 * SEC_NS;
	assert_int_equal(taken(&l, now), 50);
	for (int i = 1; i <= 3000; i++)
		n += taken(&l, now + i * MSEC_NS / 3);
	assert_int_equal(n, 1000);
	icmp_limit_destroy(&l);
}

static void test_limit_of_a_host(void **state)
{
	struct icmp_limit l;
	uint64_t now = 5 * SEC_NS;

	icmp_limit_init(&l);
	assert_int_equal(taken_by(&l, 1, true, now), 6);
	assert_int_equal(taken_by(&l, 2, true, now), 6);
	assert_int_equal(taken_by(&l, 1, true, now + SEC_NS - 1), 0);
	assert_int_equal(taken_by(&l, 1, true, now + SEC_NS), 1);
	/* What the one host was refused, the others may still have. */
	assert_int_equal(taken(&l, now + SEC_NS), 49);
	assert_int_equal(taken_by(&l, 3, true, now + SEC_NS), 0);
	icmp_limit_destroy(&l);
}

static void test_limit_of_a_host_v6(void **state)
{
	struct ip_addr one = {.family = IP_V6, .bytes = {0x20, 1, [15] = 1}}, other = one;
	struct icmp_limit l;
	uint64_t now = 5 * SEC_NS;
	unsigned n = 0;

	other.bytes[15] = 2; /* of the same network */
	icmp_limit_init(&l);
	while (icmp_limit_take(&l, &one, true, now))
		n++;
	assert_int_equal(n, 6);
	assert_true(icmp_limit_take(&l, &other, true, now));
	icmp_limit_destroy(&l);
}

/* --- sending --- */

static int tap_fd = -1;

/* A namespace of its own, wg0 in it with 10.1.2.3/24, from which the packets come. */
static int tap_setup(void **state)
{
	char why[256];
	struct tap tap;

	if (getuid())
		return 0;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	tap_fd = tap_create("wg0", &tap, why, sizeof(why));
	if (tap_fd < 0)
		fail_msg("%s", why);
	return 0;
}

static int tap_teardown(void **state)
{
	close(tap_fd);
	tap_fd = -1;
	return 0;
}

#define OURS6 "2021:2223:2425:2627:2829:2a2b:2c2d:2e2f"

static void set_up_wg0(void)
{
	shell("ip link set lo up");
	shell("ip link set wg0 up");
	shell("ip address add 10.1.2.3/24 dev wg0");
	shell("ip address add " OURS6 "/64 dev wg0 nodad");
	shell("ip address add fe80::1/64 dev wg0 nodad");
	wait_for_address(0, OURS6, "wg0");
	wait_for_address(0, "fe80::1", "wg0");
	shell("ip route add 192.168.7.0/24 dev wg0");
	shell("ip -6 route add 3000::/8 dev wg0");
}

/* A socket that sees all ICMP; made in the calling thread's namespace. */
static int listener(int family, int proto)
{
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, proto);

	assert_true(fd >= 0);
	return fd;
}

/* What it has received: bytes, none within the time for 0. */
static size_t heard(int fd, uint8_t *out, size_t size, int ms)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	ssize_t n;

	if (poll(&ready, 1, ms) != 1)
		return 0;
	n = recv(fd, out, size, 0);
	assert_true(n > 0);
	return (size_t)n;
}

static void check_heard_v4(int fd)
{
	struct icmp_error e = answer(build_udp(&udp4, 600));
	uint8_t got[2000] = {0};
	size_t n;

	assert_int_equal(icmp_send(&e, tap_fd), 0);
	n = heard(fd, got, sizeof(got), 2000);
	assert_int_equal(n, 576);
	assert_int_equal(got[1], 0xc0);
	assert_memory_equal(got + 12, got + 16, 4); /* from the address that it is to */
	assert_memory_equal(got + 16, packet + 12, 4);
	assert_memory_equal(got + 20, e.message, e.len);
}

static void check_heard_v6(int fd)
{
	struct icmp_error e = answer(build_udp(&udp6, 2000));
	uint8_t got[2000] = {0};

	assert_int_equal(icmp_send(&e, tap_fd), 0);
	assert_int_equal(heard(fd, got, sizeof(got), 2000), 8 + 1232);
	assert_memory_equal(got, e.message, 2);
	assert_memory_equal(got + 4, e.message + 4, e.len - 4);
	assert_false(
		is_zero(got + 2, 2)); /* the kernel's checksum, by which it came in */
}

static void test_send(void **state)
{
	int fd;

	needs_root();
	set_up_wg0();
	fd = listener(AF_INET, IPPROTO_ICMP);
	check_heard_v4(fd);
	close(fd);
	fd = listener(AF_INET6, IPPROTO_ICMPV6);
	check_heard_v6(fd);
	close(fd);
}

static void test_send_to_link_local(void **state)
{
	struct icmp_error e;
	uint8_t got[2000];
	int fd;

	needs_root();
	set_up_wg0();
	fd = listener(AF_INET6, IPPROTO_ICMPV6);
	e = answer(build_udp(&udp6, 100));
	e.to = (struct ip_addr){.family = IP_V6, .bytes = {0xfe, 0x80, [15] = 1}};
	assert_int_equal(icmp_send(&e, tap_fd), 0);
	assert_int_equal(heard(fd, got, sizeof(got), 2000), e.len);
	close(fd);
}

/* Only the routes say that 192.168.7.255 may be one. */
static void test_broadcast(void **state)
{
	struct icmp_error e;
	int fd;

	needs_root();
	set_up_wg0();
	fd = listener(AF_INET, IPPROTO_ICMP);
	e = answer(build_udp(&udp4, 100));
	e.about = (struct ip_addr){.family = IP_V4, .bytes = {10, 1, 2, 255}};
	assert_int_equal(icmp_send(&e, tap_fd), -EACCES);
	e.about = (struct ip_addr){.family = IP_V4, .bytes = {192, 168, 7, 255}};
	assert_int_equal(icmp_send(&e, tap_fd), 0);
	close(fd);
}

static ino_t namespace_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static int own_namespace(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* A new one, to which wg0 was moved. */
static int make_other_namespace(int home)
{
	char move[64];
	int there;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	there = own_namespace();
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	snprintf(move, sizeof(move), "ip link set wg0 netns /proc/%d/fd/%d", getpid(),
		 there);
	shell(move);
	return there;
}

static void test_send_where_wg0_is(void **state)
{
	int home, there, back, in4, in6;

	needs_root();
	home = own_namespace();
	there = make_other_namespace(home);
	assert_int_equal(setns(there, CLONE_NEWNET), 0);
	set_up_wg0();
	in4 = listener(AF_INET, IPPROTO_ICMP);
	in6 = listener(AF_INET6, IPPROTO_ICMPV6);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	check_heard_v4(in4);
	check_heard_v6(in6);
	back = own_namespace();
	assert_int_equal(namespace_of(back), namespace_of(home));
	assert_int_not_equal(namespace_of(there), namespace_of(home));
	close(in4);
	close(in6);
	close(back);
	close(there);
	close(home);
}

int main(void)
{
#define WITH_TAP(t) cmocka_unit_test_setup_teardown(t, tap_setup, tap_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v4),
		cmocka_unit_test(test_v6),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_addresses_v4),
		cmocka_unit_test(test_addresses_v6),
		cmocka_unit_test(test_fragments_v4),
		cmocka_unit_test(test_icmp_v4),
		cmocka_unit_test(test_icmp_v6),
		cmocka_unit_test(test_extension_headers),
		cmocka_unit_test(test_extension_headers_cut_short),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_limit_of_a_host),
		cmocka_unit_test(test_limit_of_a_host_v6),
		WITH_TAP(test_send),
		WITH_TAP(test_send_to_link_local),
		WITH_TAP(test_broadcast),
		WITH_TAP(test_send_where_wg0_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
