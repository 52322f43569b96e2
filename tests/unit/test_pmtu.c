// SPDX-License-Identifier: MIT
/* A router's ICMP messages, built by the test and sent by a raw socket over `lo`. */
#include "testutil.h"

#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <sched.h>
#include <sys/socket.h>

#include "endpoint.h"
#include "pmtu.h"

#define PORT 51820

struct message {
	struct icmp6_hdr icmp;
	struct ip6_hdr ip;
	struct udphdr udp;
};

static struct message about(uint8_t type, uint8_t protocol, uint16_t port)
{
	struct message m = {
		.icmp = {.icmp6_type = type, .icmp6_mtu = htonl(1400)},
		.ip = {.ip6_vfc = 6 << 4, .ip6_nxt = protocol},
		.udp = {.uh_sport = htons(port)},
	};

	m.ip.ip6_src = m.ip.ip6_dst = in6addr_loopback;
	return m;
}

static void count(void *ctx, const struct endpoint *quoted)
{
	(void)quoted;
	++*(unsigned *)ctx;
}

static bool heard_of(struct pmtu *p, uint16_t port)
{
	unsigned n = 0;

	pmtu_read(p, port, count, &n);
	return n > 0;
}

/* The message is delivered when this returns, because `lo` has no queue. */
static void say(const struct message *m, size_t len)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	int fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);

	assert_true(fd >= 0);
	assert_int_equal(sendto(fd, m, len, 0, (struct sockaddr *)&to, sizeof(to)), len);
	close(fd);
}

static void begin(struct pmtu *p)
{
	needs_root();
	assert_int_equal(pmtu_open(p), 0);
}

static void test_our_port(void **state)
{
	struct message m = about(ICMP6_PACKET_TOO_BIG, IPPROTO_UDP, PORT);
	struct pmtu p;

	(void)state;
	begin(&p);
	assert_false(heard_of(&p, PORT));
	say(&m, sizeof(m));
	assert_true(heard_of(&p, PORT));
	assert_false(heard_of(&p, PORT));
	pmtu_close(&p);
}

static void copy(void *ctx, const struct endpoint *quoted)
{
	*(struct endpoint *)ctx = *quoted;
}

static void test_quote(void **state)
{
	struct message m = about(ICMP6_PACKET_TOO_BIG, IPPROTO_UDP, PORT);
	struct endpoint got = {0};
	struct pmtu p;

	(void)state;
	m.ip.ip6_dst.s6_addr[0] = 0x20;
	m.udp.uh_dport = htons(PORT + 7);
	begin(&p);
	say(&m, sizeof(m));
	pmtu_read(&p, PORT, copy, &got);
	assert_int_equal(got.port, PORT + 7);
	assert_int_equal(got.addr.family, IP_V6);
	assert_memory_equal(got.addr.bytes, &m.ip.ip6_dst, 16);
	assert_int_equal(got.source.family, IP_V6);
	assert_memory_equal(got.source.bytes, &in6addr_loopback, 16);
	pmtu_close(&p);
}

static void test_what_is_not_ours(void **state)
{
	struct message port = about(ICMP6_PACKET_TOO_BIG, IPPROTO_UDP, PORT + 1);
	struct message tcp = about(ICMP6_PACKET_TOO_BIG, IPPROTO_TCP, PORT);
	struct message type = about(ICMP6_DST_UNREACH, IPPROTO_UDP, PORT);
	struct message cut = about(ICMP6_PACKET_TOO_BIG, IPPROTO_UDP, PORT);
	struct pmtu p;

	(void)state;
	begin(&p);
	say(&port, sizeof(port));
	say(&tcp, sizeof(tcp));
	say(&type, sizeof(type));
	say(&cut, sizeof(cut) - 1);
	assert_false(heard_of(&p, PORT));
	pmtu_close(&p);
}

static void test_without_a_socket(void **state)
{
	struct pmtu none = {.fd = -1};

	(void)state;
	assert_false(heard_of(&none, PORT));
}

/* For any number of messages, paths are looked up at once and then once per second. */
static void test_once_a_second(void **state)
{
	uint64_t began = 100 * SEC_NS, p = 0;

	(void)state;
	assert_int_equal(pmtu_schedule(&p, began), began);
	for (uint64_t now = began + 1; now < began + SEC_NS; now += MSEC_NS)
		assert_int_equal(pmtu_schedule(&p, now), began + SEC_NS);
	assert_int_equal(pmtu_schedule(&p, began + SEC_NS + 1), began + 2 * SEC_NS);
	assert_int_equal(pmtu_schedule(&p, began + 9 * SEC_NS), began + 9 * SEC_NS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_our_port),
		cmocka_unit_test(test_quote),
		cmocka_unit_test(test_what_is_not_ours),
		cmocka_unit_test(test_without_a_socket),
		cmocka_unit_test(test_once_a_second),
	};

	if (!getuid() && (unshare(CLONE_NEWNET) || system("ip link set lo up"))) {
		print_error("root is to have leave to make namespaces\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
