/* SPDX-License-Identifier: MIT */
/*
 * Inner packets for the tests of segmentation and coalescing. They are built, and their
 * checksums computed byte by byte (RFC 1071), without the code under test.
 */
#ifndef PACKET_H
#define PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t random_state = 0x9e3779b9;

static inline uint32_t random32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

/* RFC 1071 byte by byte. The sum may be passed to the next call, at an even offset. */
static uint32_t reference_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : p[i] << 8;
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return sum;
}

static void put(uint8_t *p, uint32_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = value >> 8 * (bytes - 1 - i);
}

/* How to build a packet. */
struct spec {
	bool v6;
	bool udp;
	bool df;
	bool partial;	      /* the checksum field has only the pseudo-header's sum */
	unsigned ip_extra;    /* bytes of IPv4 options or of an IPv6 extension header */
	unsigned tcp_options; /* bytes */
	uint16_t id;
	uint16_t port;
	uint32_t seq;
	uint8_t flags;
	uint8_t window;
};

static size_t l4_offset(const struct spec *s)
{
	return (s->v6 ? 40 : 20) + s->ip_extra;
}

static size_t headers_len(const struct spec *s)
{
	return l4_offset(s) + (s->udp ? 8 : 20 + s->tcp_options);
}

static void build_ip(uint8_t *p, const struct spec *s, size_t total)
{
	uint8_t proto = s->udp ? 17 : 6;
	size_t ip_len = l4_offset(s);

	if (s->v6) {
		put(p, 0x60212345, 4);
		put(p + 4, total - 40, 2);
		p[6] = s->ip_extra ? 60 : proto;
		p[7] = 57;
		for (int i = 0; i < 32; i++)
			p[8 + i] = 0x20 + i;
		if (s->ip_extra) { /* destination options: one PadN */
			memset(p + 40, 0, s->ip_extra);
			p[40] = proto;
			p[41] = s->ip_extra / 8 - 1;
			p[42] = 1;
			p[43] = s->ip_extra - 4;
		}
		return;
	}
	memset(p, 1, ip_len); /* options: no operation */
	p[0] = 0x40 | ip_len / 4;
	p[1] = 2;
	put(p + 2, total, 2);
	put(p + 4, s->id, 2);
	put(p + 6, s->df ? 0x4000 : 0, 2);
	p[8] = 64;
	p[9] = proto;
	put(p + 10, 0, 2);
	put(p + 12, 0x0a010203, 4);
	put(p + 16, 0xc0a80709, 4);
	put(p + 10, 0xffff ^ reference_sum(0, p, ip_len), 2);
}

static uint32_t reference_pseudo(const uint8_t *p, const struct spec *s, size_t l4_len)
{
	uint8_t rest[8] = {0};
	uint32_t sum = s->v6 ? reference_sum(0, p + 8, 32) : reference_sum(0, p + 12, 8);

	put(rest, l4_len, 4);
	rest[7] = s->udp ? 17 : 6;
	return reference_sum(sum, rest, 8);
}

/* Writes the packet, returns its length. */
static size_t build(uint8_t *p, const struct spec *s, const uint8_t *payload, size_t len)
{
	size_t total = headers_len(s) + len, l4_len = total - l4_offset(s);
	uint8_t *l4 = p + l4_offset(s), *check = l4 + (s->udp ? 6 : 16);
	uint32_t sum;

	build_ip(p, s, total);
	put(l4, 5001, 2);
	put(l4 + 2, s->port, 2);
	if (s->udp) {
		put(l4 + 4, l4_len, 2);
	} else {
		put(l4 + 4, s->seq, 4);
		put(l4 + 8, 0x01020304, 4);
		l4[12] = (20 + s->tcp_options) / 4 << 4;
		l4[13] = s->flags;
		put(l4 + 14, 500 + s->window, 2);
		put(l4 + 18, 0, 2);
		for (unsigned i = 0; i < s->tcp_options; i++)
			l4[20 + i] = 0x80 + i;
	}
	put(check, 0, 2);
	memcpy(p + headers_len(s), payload, len);
	sum = reference_pseudo(p, s, l4_len);
	if (s->partial) {
		put(check, sum, 2);
		return total;
	}
	sum = 0xffff ^ reference_sum(sum, l4, l4_len);
	put(check, s->udp && !sum ? 0xffff : sum, 2);
	return total;
}

#endif
