// SPDX-License-Identifier: MIT
/*
 * Conversion of addresses, the headers of packets sent by AF_XDP, and ECN. Headers are
 * checked byte by byte by the RFCs' offsets, with another checksum function, so that no
 * code under test checks itself.
 */
#include "testutil.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdlib.h>

#include "ecn.h"
#include "nic.h"
#include "outer.h"
#include "path.h"

#define ETH	    14 /* bytes of its header */
#define LISTEN_PORT 51820
#define PEER_PORT   0x1234

static const uint8_t l2_v4[ROUTE_L2_LEN] = {0x02, 1, 2, 3, 4,  5,    0x02,
					    6,	  7, 8, 9, 10, 0x08, 0x00};
static const uint8_t l2_v6[ROUTE_L2_LEN] = {0x02, 1, 2, 3, 4,  5,    0x02,
					    6,	  7, 8, 9, 10, 0x86, 0xdd};

static struct ip_addr addr_of(const char *text)
{
	struct ip_addr a = {.family = strchr(text, ':') ? IP_V6 : IP_V4};

	assert_int_equal(inet_pton(a.family == IP_V4 ? AF_INET : AF_INET6, text, a.bytes),
			 1);
	return a;
}

/* source may be NULL. */
static struct endpoint endpoint_of(const char *addr, const char *source)
{
	struct endpoint ep;

	memset(&ep, 0, sizeof(ep));
	ep.addr = addr_of(addr);
	if (source)
		ep.source = addr_of(source);
	ep.port = PEER_PORT;
	return ep;
}

/* --- socket addresses --- */

static void test_sockaddr_v4(void **state)
{
	struct endpoint ep = endpoint_of("192.0.2.7", NULL);
	struct sockaddr_storage to;
	struct sockaddr_in *in = (struct sockaddr_in *)&to;
	socklen_t len = 0;

	memset(&to, 0xa5, sizeof(to));
	endpoint_to_sockaddr(&ep, &to, &len);
	assert_int_equal(len, sizeof(*in));
	assert_int_equal(in->sin_family, AF_INET);
	assert_int_equal(ntohs(in->sin_port), PEER_PORT);
	assert_int_equal(in->sin_addr.s_addr, inet_addr("192.0.2.7"));
	assert_true(is_zero(in->sin_zero, sizeof(in->sin_zero)));
}

static void test_sockaddr_v6(void **state)
{
	struct endpoint ep = endpoint_of("fe80::1:2", NULL);
	struct sockaddr_storage to;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&to;
	socklen_t len = 0;

	memset(&to, 0xa5, sizeof(to));
	ep.scope_id = 42;
	endpoint_to_sockaddr(&ep, &to, &len);
	assert_int_equal(len, sizeof(*in6));
	assert_int_equal(in6->sin6_family, AF_INET6);
	assert_int_equal(ntohs(in6->sin6_port), PEER_PORT);
	assert_int_equal(in6->sin6_scope_id, 42);
	assert_int_equal(in6->sin6_flowinfo, 0);
	assert_memory_equal(&in6->sin6_addr, ep.addr.bytes, 16);
}

static void check_round_trip(const char *addr, uint32_t scope_id)
{
	struct endpoint ep = endpoint_of(addr, NULL), back;
	struct sockaddr_storage to;
	socklen_t len;

	ep.scope_id = scope_id;
	memset(&back, 0xa5, sizeof(back)); /* every byte is compared */
	endpoint_to_sockaddr(&ep, &to, &len);
	endpoint_from_sockaddr(&to, &back);
	assert_memory_equal(&back, &ep, sizeof(ep));
}

static void test_round_trips(void **state)
{
	check_round_trip("0.0.0.1", 0);
	check_round_trip("255.255.255.254", 0);
	check_round_trip("2001:db8::ffff", 0);
	check_round_trip("::ffff:192.0.2.1", 0);
	check_round_trip("fe80::1", 3);
	check_round_trip("febf::1", 3);
}

/* The kernel sets it for all addresses; it has a meaning only for a link-local one. */
static void test_scope_of_a_global_address_is_dropped(void **state)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_scope_id = 5};
	struct sockaddr_storage from = {0};
	struct endpoint ep;

	in6.sin6_addr.s6_addr[0] = 0x20;
	memcpy(&from, &in6, sizeof(in6));
	endpoint_from_sockaddr(&from, &ep);
	assert_int_equal(ep.addr.family, IP_V6);
	assert_int_equal(ep.scope_id, 0);
}

static void test_sockaddr_of_no_ip(void **state)
{
	struct sockaddr_storage from = {.ss_family = AF_UNIX};
	struct endpoint ep;

	memset(&ep, 0xa5, sizeof(ep));
	endpoint_from_sockaddr(&from, &ep);
	assert_true(is_zero(&ep, sizeof(ep)));
}

/* --- by the socket: destination and source --- */

/* Returns the only control message. */
static const struct cmsghdr *only_cmsg(const struct path *p)
{
	struct msghdr m = {.msg_control = (void *)p->cmsg, .msg_controllen = p->cmsg_len};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	assert_non_null(c);
	assert_true(p->cmsg_len <= sizeof(p->cmsg));
	assert_null(CMSG_NXTHDR(&m, c));
	return c;
}

static void init_path(struct path *p, const struct endpoint *ep)
{
	memset(p, 0xa5, sizeof(*p));
	path_init(p, ep);
	assert_memory_equal(&p->endpoint, ep, sizeof(*ep));
	assert_null(p->nic);
}

static void test_source_v4(void **state)
{
	struct endpoint ep = endpoint_of("192.0.2.7", "192.0.2.1");
	const struct cmsghdr *c;
	struct in_pktinfo info;
	struct path p;

	init_path(&p, &ep);
	c = only_cmsg(&p);
	assert_int_equal(c->cmsg_level, IPPROTO_IP);
	assert_int_equal(c->cmsg_type, IP_PKTINFO);
	assert_int_equal(c->cmsg_len, CMSG_LEN(sizeof(info)));
	memcpy(&info, CMSG_DATA(c), sizeof(info));
	assert_int_equal(info.ipi_spec_dst.s_addr, inet_addr("192.0.2.1"));
	assert_int_equal(info.ipi_ifindex, 0);
	assert_int_equal(p.to_len, sizeof(struct sockaddr_in));
}

static void check_source_v6(const char *addr, const char *source, uint32_t scope_id)
{
	struct endpoint ep = endpoint_of(addr, source);
	const struct cmsghdr *c;
	struct in6_pktinfo info;
	struct path p;

	ep.scope_id = scope_id;
	init_path(&p, &ep);
	c = only_cmsg(&p);
	assert_int_equal(c->cmsg_level, IPPROTO_IPV6);
	assert_int_equal(c->cmsg_type, IPV6_PKTINFO);
	assert_int_equal(c->cmsg_len, CMSG_LEN(sizeof(info)));
	memcpy(&info, CMSG_DATA(c), sizeof(info));
	assert_memory_equal(&info.ipi6_addr, ep.source.bytes, 16);
	assert_int_equal(info.ipi6_ifindex, scope_id);
	assert_int_equal(p.to_len, sizeof(struct sockaddr_in6));
}

static void test_source_v6(void **state)
{
	check_source_v6("2001:db8::7", "2001:db8::1", 0);
	check_source_v6("fe80::7", "fe80::1", 9);
}

static void check_no_source(const char *addr, const char *source)
{
	struct endpoint ep = endpoint_of(addr, source);
	struct path p;

	init_path(&p, &ep);
	assert_int_equal(p.cmsg_len, 0);
}

static void test_no_source(void **state)
{
	check_no_source("192.0.2.7", NULL);
	check_no_source("2001:db8::7", NULL);
	/* The kernel would refuse these. */
	check_no_source("192.0.2.7", "2001:db8::1");
	check_no_source("2001:db8::7", "192.0.2.1");
}

static void test_path_new(void **state)
{
	struct endpoint ep = endpoint_of("192.0.2.7", "192.0.2.1");
	struct path *p = path_new(&ep);
	struct path same;

	assert_non_null(p);
	path_init(&same, &ep);
	assert_memory_equal(p, &same, sizeof(same));
	path_free_deferred(p);
	path_free_deferred(NULL);
	urcu_qsbr_barrier();
}

/* --- by AF_XDP: headers --- */

/* RFC 1071, over big-endian words: 0xffff if the checksum in the data is correct. */
static uint32_t ones_sum(uint32_t sum, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static unsigned word(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

struct packet {
	struct path path;
	uint8_t *bytes;
	uint32_t payload;
	uint8_t tos;
};

static struct route route_of(const struct ip_addr *source, uint32_t mtu)
{
	struct route r = {.ifindex = 3, .l2_ok = true, .ttl = 57, .mtu = mtu};

	r.source = *source;
	memcpy(r.l2, source->family == IP_V4 ? l2_v4 : l2_v6, sizeof(r.l2));
	return r;
}

/* The endpoint's sticky source differs from the route's, which must be used. */
static void use_nic(struct path *p, const char *addr, const char *source, struct nic *nic,
		    uint32_t mtu)
{
	struct endpoint ep =
		endpoint_of(addr, strchr(addr, ':') ? "2001:db8:e::9" : "203.0.113.9");
	struct ip_addr from = addr_of(source);
	struct route route = route_of(&from, mtu);

	path_init(p, &ep);
	path_set_route(p, &route);
	assert_memory_equal(&p->route, &route, sizeof(route));
	assert_null(p->nic);
	path_use_nic(p, nic, LISTEN_PORT);
}

/* The payload follows the headers; the bytes before and after must not change. */
static void write_packet(struct packet *k, const uint8_t *payload, uint32_t len,
			 uint16_t ip_id)
{
	const size_t size = k->path.header_len + len;
	uint8_t *room = malloc(size + 16);

	assert_non_null(room);
	memset(room, 0xa5, size + 16);
	memcpy(room + 8 + k->path.header_len, payload, len);
	path_write_headers(&k->path, room + 8, len, ip_id, k->tos);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(room[i], 0xa5);
		assert_int_equal(room[8 + size + i], 0xa5);
	}
	assert_memory_equal(room + 8 + k->path.header_len, payload, len);
	k->bytes = malloc(size);
	assert_non_null(k->bytes);
	memcpy(k->bytes, room + 8, size);
	k->payload = len;
	free(room);
}

/* Checks a UDP header, given the pseudo-header's sum (RFC 768, RFC 8200 section 8.1). */
static void assert_udp(const struct packet *k, const uint8_t *udp, uint32_t pseudo)
{
	assert_int_equal(word(udp), LISTEN_PORT);
	assert_int_equal(word(udp + 2), PEER_PORT);
	assert_int_equal(word(udp + 4), k->payload + 8);
	assert_int_not_equal(word(udp + 6), 0); /* 0 would mean none */
	assert_int_equal(ones_sum(pseudo, udp, k->payload + 8), 0xffff);
}

static void assert_v4(const struct packet *k, uint16_t ip_id)
{
	const uint8_t *ip = k->bytes + ETH;
	uint8_t pseudo[4] = {0, 17, (uint8_t)((k->payload + 8) >> 8),
			     (uint8_t)(k->payload + 8)};

	assert_memory_equal(k->bytes, l2_v4, sizeof(l2_v4));
	assert_int_equal(k->path.header_len, ETH + 20 + 8);
	assert_int_equal(ip[0], 0x45);
	assert_int_equal(ip[1], k->tos);
	assert_int_equal(word(ip + 2), 20 + 8 + k->payload);
	assert_int_equal(word(ip + 4), ip_id);
	assert_int_equal(word(ip + 6), 0); /* no DF, not a fragment */
	assert_int_equal(ip[8], 57);
	assert_int_equal(ip[9], 17);
	assert_int_equal(ones_sum(0, ip, 20), 0xffff);
	assert_memory_equal(ip + 12, ((uint8_t[]){192, 0, 2, 1}), 4);
	assert_memory_equal(ip + 16, ((uint8_t[]){198, 51, 100, 7}), 4);
	assert_udp(k, ip + 20, ones_sum(ones_sum(0, ip + 12, 8), pseudo, 4));
}

static void assert_v6(const struct packet *k)
{
	const struct ip_addr from = addr_of("2001:db8::1"), to = addr_of("2001:db8:f::7");
	const uint8_t *ip = k->bytes + ETH;
	uint8_t pseudo[8] = {
		0, 0, (uint8_t)((k->payload + 8) >> 8), (uint8_t)(k->payload + 8), 0, 0,
		0, 17};

	assert_memory_equal(k->bytes, l2_v6, sizeof(l2_v6));
	assert_int_equal(k->path.header_len, ETH + 40 + 8);
	assert_int_equal(ip[0], 0x60 | k->tos >> 4);
	assert_int_equal(ip[1], k->tos << 4 & 0xff);
	assert_int_equal(word(ip + 2), 0); /* the rest of the flow label */
	assert_int_equal(word(ip + 4), 8 + k->payload);
	assert_int_equal(ip[6], 17);
	assert_int_equal(ip[7], 57);
	assert_memory_equal(ip + 8, from.bytes, 16);
	assert_memory_equal(ip + 24, to.bytes, 16);
	assert_udp(k, ip + 40, ones_sum(ones_sum(0, ip + 8, 32), pseudo, 8));
}

static void setup_v4(struct packet *k, struct nic *nic)
{
	k->tos = 0;
	use_nic(&k->path, "198.51.100.7", "192.0.2.1", nic, 1500);
	assert_ptr_equal(k->path.nic, nic);
}

static void setup_v6(struct packet *k, struct nic *nic)
{
	k->tos = 0;
	use_nic(&k->path, "2001:db8:f::7", "2001:db8::1", nic, 1500);
	assert_ptr_equal(k->path.nic, nic);
}

static void fill_random(uint8_t *out, size_t len, uint64_t *seed)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(next_random(seed) >> 32);
}

/* All lengths that matter, odd ones too, for which the sum is padded. */
static const uint32_t lengths[] = {0, 1, 2, 31, 32, 64, 92, 148, 1419, 1440, 3601};

#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

static void test_headers_v4(void **state)
{
	struct nic nic = {.frame_size = 4096};
	uint8_t payload[4096];
	uint64_t seed = 1;
	struct packet k;

	setup_v4(&k, &nic);
	for (size_t i = 0; i < LENGTHS; i++) {
		uint16_t id = (uint16_t)(0xfffe + i); /* wraps */

		fill_random(payload, lengths[i], &seed);
		write_packet(&k, payload, lengths[i], id);
		assert_v4(&k, id);
		free(k.bytes);
	}
}

static void test_headers_v6(void **state)
{
	struct nic nic = {.frame_size = 4096};
	uint8_t payload[4096];
	uint64_t seed = 2;
	struct packet k;

	setup_v6(&k, &nic);
	for (size_t i = 0; i < LENGTHS; i++) {
		fill_random(payload, lengths[i], &seed);
		write_packet(&k, payload, lengths[i], 1);
		assert_v6(&k);
		free(k.bytes);
	}
}

/* Every value, in an order that shows whether one changes the next. */
static void test_tos(void **state)
{
	struct nic nic = {.frame_size = 2048};
	const uint8_t payload[33] = {7};
	struct packet v4, v6;

	setup_v4(&v4, &nic);
	setup_v6(&v6, &nic);
	for (int tos = 255; tos >= 0; tos--) {
		v4.tos = v6.tos = (uint8_t)tos;
		write_packet(&v4, payload, sizeof(payload), 1);
		assert_v4(&v4, 1);
		free(v4.bytes);
		write_packet(&v6, payload, sizeof(payload), 1);
		assert_v6(&v6);
		free(v6.bytes);
	}
}

/* Two bytes of payload give the checksum all its values. Zero must be sent as 0xffff (RFC
 * 768). */
static void test_checksum_of_zero(void **state)
{
	struct nic nic = {.frame_size = 4096};
	uint8_t payload[2];
	unsigned all_ones = 0;
	struct packet k;

	setup_v6(&k, &nic);
	for (unsigned v = 0; v < 0x10000; v++) {
		payload[0] = (uint8_t)(v >> 8);
		payload[1] = (uint8_t)v;
		write_packet(&k, payload, 2, 1);
		assert_v6(&k);
		all_ones += word(k.bytes + ETH + 40 + 6) == 0xffff;
		free(k.bytes);
	}
	assert_in_range(all_ones, 1, 2);
}

/* The template must not change, because all workers share a path. */
static void test_writing_changes_no_path(void **state)
{
	struct nic nic = {.frame_size = 2048};
	uint8_t payload[64] = {1};
	struct path before;
	struct packet k;

	setup_v4(&k, &nic);
	before = k.path;
	write_packet(&k, payload, sizeof(payload), 7);
	assert_memory_equal(&k.path, &before, sizeof(before));
	free(k.bytes);
}

/* --- what fits --- */

static const char *const to4 = "198.51.100.7", *const from4 = "192.0.2.1";
static const char *const to6 = "2001:db8:f::7", *const from6 = "2001:db8::1";

static unsigned max_message(const char *addr, const char *source, uint32_t mtu,
			    uint32_t frame_size)
{
	struct nic nic = {.frame_size = frame_size};
	struct path p;

	use_nic(&p, addr, source, &nic, mtu);
	assert_ptr_equal(p.nic, &nic);
	/* A packet must fit both the device's MTU and the frame. */
	assert_in_range(p.max_message + p.header_len - ETH, 1, mtu);
	assert_in_range(p.max_message + p.header_len, 1, frame_size);
	return p.max_message;
}

static void test_max_message(void **state)
{
	assert_int_equal(max_message(to4, from4, 1500, 2048), 1472);
	assert_int_equal(max_message(to6, from6, 1500, 2048), 1452);
	assert_int_equal(max_message(to6, from6, 1280, 2048), 1232);
	assert_int_equal(max_message(to4, from4, 576, 2048), 548);
	assert_int_equal(max_message(to4, from4, 3498, 4096), 3470);
	/* The frame is the limit. */
	assert_int_equal(max_message(to4, from4, 9000, 4096), 4096 - ETH - 28);
	assert_int_equal(max_message(to6, from6, 9000, 4096), 4096 - ETH - 48);
	assert_int_equal(max_message(to6, from6, 65536, 2048), 2048 - ETH - 48);
	assert_int_equal(max_message(to4, from4, 1u << 31, 2048), 2048 - ETH - 28);
}

/* The frame size does not limit the socket. */
static unsigned max_datagram(const char *addr, const char *source, uint32_t mtu)
{
	struct nic nic = {.frame_size = 2048};
	struct path p;

	use_nic(&p, addr, source, &nic, mtu);
	return p.max_datagram;
}

static void test_max_datagram(void **state)
{
	assert_int_equal(max_datagram(to4, from4, 1500), 1472);
	assert_int_equal(max_datagram(to6, from6, 1500), 1452);
	assert_int_equal(max_datagram(to4, from4, 9000), 8972);
	assert_int_equal(max_datagram(to6, from6, 9000), 8952);
	/* `lo` has 65536; the length field of IP allows less. */
	assert_int_equal(max_datagram(to4, from4, 65536), 65507);
	assert_int_equal(max_datagram(to6, from6, 65536), 65487);
	assert_int_equal(max_datagram(to4, from4, 68), 40);
	assert_int_equal(max_datagram(to4, from4, 0), 0);
	assert_int_equal(max_datagram(to6, from6, 48), 0);
}

/* The MTU of a route may be tiny; no result may be negative. */
static void test_tiny_mtu_goes_by_the_socket(void **state)
{
	struct nic nic = {.frame_size = 2048};
	struct path p;

	for (uint32_t mtu = 0; mtu < 576; mtu++) {
		use_nic(&p, to4, from4, &nic, mtu);
		assert_null(p.nic);
		use_nic(&p, to6, from6, &nic, mtu);
		assert_null(p.nic);
	}
}

/* --- ECN (RFC 6040 figure 4) --- */

#define DROPPED 4

/* [inner][outer], both in the order not-ECT, ECT(1), ECT(0), CE. */
static const uint8_t decapsulated[4][4] = {
	{0, 0, 0, DROPPED},
	{1, 1, 1, 3},
	{2, 1, 2, 3},
	{3, 3, 3, 3},
};

/* 20 bytes of header with random fields and options, its checksum right or not. */
static void ipv4_header(uint8_t ip[24], uint8_t tos, uint64_t *seed, bool right)
{
	uint32_t sum;

	fill_random(ip, 24, seed);
	ip[0] = 0x46;
	ip[1] = tos;
	ip[10] = ip[11] = 0;
	sum = ones_sum(0, ip, 24) ^ 0xffff;
	if (!right)
		sum ^= 0x0100;
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
}

static void check_ecn_v4(uint8_t dscp, uint8_t inner, uint8_t outer, uint64_t *seed)
{
	uint8_t want = decapsulated[inner][outer], ip[24], before[24];
	bool right = *seed & 0x10000;

	ipv4_header(ip, (uint8_t)(dscp << 2 | inner), seed, right);
	memcpy(before, ip, sizeof(ip));
	assert_int_equal(ip_ecn(ip), inner);
	assert_int_equal(outer_ecn_to_inner(outer, ip), want != DROPPED);
	if (want == inner || want == DROPPED) {
		assert_memory_equal(ip, before, sizeof(ip));
		return;
	}
	assert_int_equal(ip[1], dscp << 2 | want);
	assert_int_equal(ones_sum(0, ip, sizeof(ip)) == 0xffff, right);
	before[1] = ip[1];
	memcpy(before + 10, ip + 10, 2);
	assert_memory_equal(ip, before, sizeof(ip));
}

static void test_ecn_v4(void **state)
{
	uint64_t seed = 3;

	for (int i = 0; i < 64 * 16 * 20; i++)
		check_ecn_v4(i / 16 % 64, i / 4 % 4, i % 4, &seed);
}

static void check_ecn_v6(uint8_t dscp, uint8_t inner, uint8_t outer, uint64_t *seed)
{
	uint8_t want = decapsulated[inner][outer], ip[40], before[40];

	fill_random(ip, sizeof(ip), seed);
	ip[0] = (uint8_t)(0x60 | dscp >> 2);
	ip[1] = (uint8_t)(dscp << 6 | inner << 4 | (ip[1] & 15));
	memcpy(before, ip, sizeof(ip));
	assert_int_equal(ip_ecn(ip), inner);
	assert_int_equal(outer_ecn_to_inner(outer, ip), want != DROPPED);
	if (want != DROPPED)
		before[1] = (uint8_t)((before[1] & ~0x30) | want << 4);
	assert_memory_equal(ip, before, sizeof(ip));
}

static void test_ecn_v6(void **state)
{
	uint64_t seed = 4;

	for (int i = 0; i < 64 * 16; i++)
		check_ecn_v6(i / 16, i / 4 % 4, i % 4, &seed);
}

static void test_ecn_of_a_frame(void **state)
{
	uint8_t bytes[ETH + 40] = {0};
	const struct nic_frame f = {.data = bytes, .len = sizeof(bytes)};

	for (uint8_t ecn = 0; ecn < 4; ecn++) {
		bytes[ETH] = 0x45;
		bytes[ETH + 1] = 0x88 | ecn;
		assert_int_equal(outer_ecn(&f), ecn);
		bytes[ETH] = 0x68;
		bytes[ETH + 1] = (uint8_t)(0x8f | ecn << 4);
		assert_int_equal(outer_ecn(&f), ecn);
	}
}

/* --- IPv4 IDs --- */

static void test_ids_of_a_path_are_consecutive(void **state)
{
	struct nic nic = {.frame_size = 2048};
	struct packet k;
	uint16_t first;

	setup_v4(&k, &nic);
	first = path_take_ids(&k.path, 3);
	assert_int_equal(path_take_ids(&k.path, 1), (uint16_t)(first + 3));
	assert_int_equal(path_take_ids(&k.path, 64), (uint16_t)(first + 4));
	assert_int_equal(path_take_ids(&k.path, 65535), (uint16_t)(first + 68));
	assert_int_equal(path_take_ids(&k.path, 1), (uint16_t)(first + 67)); /* wrapped */
}

/* A peer must not be able to count the packets that another peer gets. */
static void test_ids_of_two_paths_are_independent(void **state)
{
	struct nic nic = {.frame_size = 2048};
	struct packet mine, other;
	uint16_t first;

	setup_v4(&mine, &nic);
	setup_v4(&other, &nic);
	first = path_take_ids(&mine.path, 1);
	for (int i = 0; i < 100; i++)
		path_take_ids(&other.path, 7);
	assert_int_equal(path_take_ids(&mine.path, 1), (uint16_t)(first + 1));
}

static void test_ids_start_at_random(void **state)
{
	struct nic nic = {.frame_size = 2048};
	uint16_t or = 0, and = 0xffff;
	struct packet k;

	for (int i = 0; i < 64; i++) {
		uint16_t id;

		setup_v4(&k, &nic);
		id = path_take_ids(&k.path, 1);
		or |= id;
		and &= id;
	}
	assert_int_equal(or, 0xffff);
	assert_int_equal(and, 0);
}

static int begin(void **state)
{
	urcu_qsbr_register_thread();
	return 0;
}

static int end(void **state)
{
	urcu_qsbr_unregister_thread();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sockaddr_v4),
		cmocka_unit_test(test_sockaddr_v6),
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_scope_of_a_global_address_is_dropped),
		cmocka_unit_test(test_sockaddr_of_no_ip),
		cmocka_unit_test(test_source_v4),
		cmocka_unit_test(test_source_v6),
		cmocka_unit_test(test_no_source),
		cmocka_unit_test(test_path_new),
		cmocka_unit_test(test_headers_v4),
		cmocka_unit_test(test_headers_v6),
		cmocka_unit_test(test_tos),
		cmocka_unit_test(test_checksum_of_zero),
		cmocka_unit_test(test_writing_changes_no_path),
		cmocka_unit_test(test_max_message),
		cmocka_unit_test(test_max_datagram),
		cmocka_unit_test(test_tiny_mtu_goes_by_the_socket),
		cmocka_unit_test(test_ecn_v4),
		cmocka_unit_test(test_ecn_v6),
		cmocka_unit_test(test_ecn_of_a_frame),
		cmocka_unit_test(test_ids_of_a_path_are_consecutive),
		cmocka_unit_test(test_ids_of_two_paths_are_independent),
		cmocka_unit_test(test_ids_start_at_random),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
