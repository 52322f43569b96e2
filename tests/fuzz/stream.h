/* SPDX-License-Identifier: MIT */
/*
 * Streams of inner packets for fuzz targets. Checks that the output of coalescing, segmented again,
 * is its input: each packet once, byte by byte, and those of a flow in their order.
 */
#ifndef TESTS_FUZZ_STREAM_H
#define TESTS_FUZZ_STREAM_H

#include "../unit/packet.h"
#include "fuzz.h"
#include "gro.h"
#include "gso.h"
#include "inet.h"

#define MOST	 96 /* packets */
#define PAYLOAD	 300
#define ROOM	 (PAYLOAD + 200)
#define LINK_LEN 14

struct given {
	uint8_t bytes[ROOM];
	size_t len;
	uint32_t peer;
	bool seen;
};

/* The expected packets, in their order. */
struct stream {
	struct given given[MOST];
	unsigned count;
};

/* Returns the offset of the ports, or 0 if the packet has none. */
static size_t ports_of(const uint8_t *p, size_t len)
{
	size_t l4 = p[0] >> 4 == 6 ? 40 : (p[0] & 15) * 4;
	uint8_t proto = p[0] >> 4 == 6 ? p[6] : p[9];

	if (p[0] >> 4 == 4 && (p[6] & 0x3f || p[7]))
		return 0;
	return (proto == 6 || proto == 17) && len >= l4 + 8 ? l4 : 0;
}

static bool same_flow(const struct given *a, const struct given *b)
{
	size_t l4 = ports_of(a->bytes, a->len);
	bool v6 = a->bytes[0] >> 4 == 6;

	return a->peer == b->peer && a->bytes[0] == b->bytes[0] && l4 &&
	       l4 == ports_of(b->bytes, b->len) &&
	       a->bytes[v6 ? 6 : 9] == b->bytes[v6 ? 6 : 9] &&
	       !memcmp(a->bytes + (v6 ? 8 : 12), b->bytes + (v6 ? 8 : 12), v6 ? 32 : 8) &&
	       !memcmp(a->bytes + l4, b->bytes + l4, 4);
}

/* The IDs of atomic datagrams may come back as others (RFC 6864). */
static void blank_atomic_id(uint8_t *packet)
{
	if (packet[0] >> 4 == 4 && (packet[6] & 0x7f) == 0x40 && packet[7] == 0) {
		memset(packet + 4, 0, 2);
		memset(packet + 10, 0, 2);
	}
}

static bool same_bytes(const struct given *g, const uint8_t *packet, size_t len,
		       bool coalesced)
{
	uint8_t a[ROOM], b[ROOM];

	if (g->len != len)
		return false;
	memcpy(a, g->bytes, len);
	memcpy(b, packet, len);
	if (coalesced) {
		blank_atomic_id(a);
		blank_atomic_id(b);
	}
	return !memcmp(a, b, len);
}

/* The packet was given and not seen yet, and no earlier one of its flow is missing. */
static void check_seen(struct stream *s, uint32_t peer, const uint8_t *packet, size_t len,
		       bool coalesced)
{
	for (unsigned i = 0; i < s->count; i++) {
		struct given *g = &s->given[i];

		if (g->seen || g->peer != peer || !same_bytes(g, packet, len, coalesced))
			continue;
		for (unsigned k = 0; k < i; k++)
			CHECK(s->given[k].seen || !same_flow(&s->given[k], g));
		g->seen = true;
		return;
	}
	CHECK(!"a packet that was not given");
}

/* A gro_emit_fn; ctx: the struct stream. */
static void emitted(void *ctx, uint32_t peer, const struct virtio_net_hdr *vh,
		    struct iovec *iov, int iovcnt, unsigned packets, uint32_t wire)
{
	static uint8_t super[65536], segment[65536];
	size_t len = 0;
	struct gso gso;

	for (int i = 1; i < iovcnt; len += iov[i++].iov_len) {
		CHECK(len + iov[i].iov_len <= 65535);
		memcpy(super + len, iov[i].iov_base, iov[i].iov_len);
	}
	if (packets == 1) {
		check_seen(ctx, peer, super, len, false);
		return;
	}
	CHECK(gso_begin(&gso, vh, super, len, LINK_LEN) == (int)packets);
	while ((len = gso_next(&gso, segment)))
		check_seen(ctx, peer, segment, len, true);
}

/* A packet that mostly continues the one before it. */
static size_t next_packet(struct input *in, struct spec *s, uint8_t *packet)
{
	uint8_t what = take8(in), payload[PAYLOAD];
	size_t len = what & 1 ? 100 : take8(in);

	if (what & 2)
		*s = (struct spec){.v6 = what & 4,
				   .udp = what & 8,
				   .df = what & 16,
				   .port = take8(in) % 4,
				   .flags = 0x10,
				   .id = s->id,
				   .tcp_options = what & 8 ? 0 : take8(in) % 3 * 4};
	s->flags = what & 32 ? take8(in) : 0x10;
	if (what & 64)
		s->seq += take8(in);
	memset(payload, s->seq, len);
	len = build(packet, s, payload, len);
	s->seq += len - headers_len(s);
	s->id++;
	if (what & 128)
		packet[take16(in) % len] ^= take8(in);
	return len;
}

static inline void check_all_seen(const struct stream *s)
{
	for (unsigned i = 0; i < s->count; i++)
		CHECK(s->given[i].seen);
}

#endif
