// SPDX-License-Identifier: MIT
/*
 * The limits of ICMP errors, and that the kernel delivers them, also in another network
 * namespace.
 */
#include "testutil.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "icmp_packet.h"
#include "tap.h"
#include "unreachable.h"

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
	/* The limit of one host does not affect others. */
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
static int home = -1; /* the namespace that the sender is in */

static int own_namespace(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* Makes a new namespace with wg0 and 10.1.2.3/24, the source of the packets. */
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
	home = own_namespace();
	return 0;
}

static int tap_teardown(void **state)
{
	close(tap_fd);
	close(home);
	tap_fd = home = -1;
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

/* Returns a socket that gets all ICMP messages in the calling thread's namespace. */
static int listener(int family, int proto)
{
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, proto);

	assert_true(fd >= 0);
	return fd;
}

/* Receives a message; returns its length, or 0 if none arrives in time. */
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

	assert_int_equal(icmp_send(&e, tap_fd, home), 0);
	n = heard(fd, got, sizeof(got), 2000);
	assert_int_equal(n, 576);
	assert_int_equal(got[1], 0xc0);
	assert_memory_equal(got + 12, got + 16, 4); /* source is destination */
	assert_memory_equal(got + 16, packet + 12, 4);
	assert_memory_equal(got + 20, e.message, e.len);
}

static void check_heard_v6(int fd)
{
	struct icmp_error e = answer(build_udp(&udp6, 2000));
	uint8_t got[2000] = {0};

	assert_int_equal(icmp_send(&e, tap_fd, home), 0);
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
	uint8_t got[2000] = {0};
	int fd;

	needs_root();
	set_up_wg0();
	fd = listener(AF_INET6, IPPROTO_ICMPV6);
	e = answer(build_udp(&udp6, 100));
	e.to = (struct ip_addr){.family = IP_V6, .bytes = {0xfe, 0x80, [15] = 1}};
	assert_int_equal(icmp_send(&e, tap_fd, home), 0);
	assert_int_equal(heard(fd, got, sizeof(got), 2000), e.len);
	close(fd);
}

/* Only the routes show whether 192.168.7.255 is a broadcast address. */
static void test_broadcast(void **state)
{
	struct icmp_error e;
	int fd;

	needs_root();
	set_up_wg0();
	fd = listener(AF_INET, IPPROTO_ICMP);
	e = answer(build_udp(&udp4, 100));
	e.about = (struct ip_addr){.family = IP_V4, .bytes = {10, 1, 2, 255}};
	assert_int_equal(icmp_send(&e, tap_fd, home), -EACCES);
	e.about = (struct ip_addr){.family = IP_V4, .bytes = {192, 168, 7, 255}};
	assert_int_equal(icmp_send(&e, tap_fd, home), 0);
	close(fd);
}

static ino_t namespace_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

/* Returns a new namespace, to which wg0 was moved. */
static int make_other_namespace(void)
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
	int there, back, in4, in6;

	needs_root();
	there = make_other_namespace();
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
}

int main(void)
{
#define WITH_TAP(t) cmocka_unit_test_setup_teardown(t, tap_setup, tap_teardown)
	const struct CMUnitTest tests[] = {
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
