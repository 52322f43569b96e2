/* SPDX-License-Identifier: MIT */
/*
 * Segmentation, compared with literal packets (made by another program) and with segments
 * that are built one by one; and with malformed input.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "gso.h"
#include "packet.h"

#define LINK_LEN 14

static struct virtio_net_hdr header_for(const struct spec *s, size_t gso_size)
{
	return (struct virtio_net_hdr){
		.flags = 1,
		.gso_type = s->udp  ? 5
			    : s->v6 ? 4
				    : 1,
		.hdr_len = LINK_LEN + headers_len(s),
		.gso_size = gso_size,
		.csum_start = LINK_LEN + l4_offset(s),
		.csum_offset = s->udp ? 6 : 16,
	};
}

static void assert_next(struct gso *gso, unsigned i, const uint8_t *expected, size_t len)
{
	uint8_t *dst = malloc(len + 1);

	assert_non_null(dst);
	dst[len] = 0xa5;
	assert_int_equal(gso_segment_len(gso, i), len);
	assert_int_equal(gso_next(gso, dst), len);
	assert_memory_equal(dst, expected, len);
	assert_int_equal(dst[len], 0xa5);
	free(dst);
}

static void assert_no_next(struct gso *gso, unsigned segments)
{
	uint8_t none;

	assert_int_equal(gso_segment_len(gso, segments), 0);
	assert_int_equal(gso_next(gso, &none), 0);
	assert_int_equal(gso_next(gso, &none), 0);
}

/* IDs and sequence numbers wrap; CWR on the first, FIN and PSH on the last. */
static const uint8_t tcp4_super[] = {
	0x45, 0x02, 0x00, 0x3d, 0xff, 0xfe, 0x40, 0x00, 0x40, 0x06, 0x67, 0x05, 0x0a,
	0x01, 0x02, 0x03, 0xc0, 0xa8, 0x07, 0x09, 0x13, 0x89, 0x01, 0xbb, 0xff, 0xff,
	0xff, 0xfa, 0x01, 0x02, 0x03, 0x04, 0x80, 0x99, 0x01, 0xf6, 0xd3, 0xe4, 0x00,
	0x00, 0x01, 0x01, 0x08, 0x0a, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
	0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
};

static const uint8_t tcp4_segment0[] = {
	0x45, 0x02, 0x00, 0x38, 0xff, 0xfe, 0x40, 0x00, 0x40, 0x06, 0x67, 0x0a,
	0x0a, 0x01, 0x02, 0x03, 0xc0, 0xa8, 0x07, 0x09, 0x13, 0x89, 0x01, 0xbb,
	0xff, 0xff, 0xff, 0xfa, 0x01, 0x02, 0x03, 0x04, 0x80, 0x90, 0x01, 0xf6,
	0xb1, 0x2d, 0x00, 0x00, 0x01, 0x01, 0x08, 0x0a, 0x11, 0x22, 0x33, 0x44,
	0x55, 0x66, 0x77, 0x88, 0x61, 0x62, 0x63, 0x64,
};

static const uint8_t tcp4_segment1[] = {
	0x45, 0x02, 0x00, 0x38, 0xff, 0xff, 0x40, 0x00, 0x40, 0x06, 0x67, 0x09,
	0x0a, 0x01, 0x02, 0x03, 0xc0, 0xa8, 0x07, 0x09, 0x13, 0x89, 0x01, 0xbb,
	0xff, 0xff, 0xff, 0xfe, 0x01, 0x02, 0x03, 0x04, 0x80, 0x10, 0x01, 0xf6,
	0xa9, 0xa1, 0x00, 0x00, 0x01, 0x01, 0x08, 0x0a, 0x11, 0x22, 0x33, 0x44,
	0x55, 0x66, 0x77, 0x88, 0x65, 0x66, 0x67, 0x68,
};

static const uint8_t tcp4_segment2[] = {
	0x45, 0x02, 0x00, 0x35, 0x00, 0x00, 0x40, 0x00, 0x40, 0x06, 0x67,
	0x0c, 0x0a, 0x01, 0x02, 0x03, 0xc0, 0xa8, 0x07, 0x09, 0x13, 0x89,
	0x01, 0xbb, 0x00, 0x00, 0x00, 0x02, 0x01, 0x02, 0x03, 0x04, 0x80,
	0x19, 0x01, 0xf6, 0x0d, 0x67, 0x00, 0x00, 0x01, 0x01, 0x08, 0x0a,
	0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x69,
};

static void literal_tcp4(void **state)
{
	struct virtio_net_hdr vh = {1, 0x81, 66, 4, 34, 16};
	struct gso gso;

	assert_int_equal(gso_begin(&gso, &vh, tcp4_super, sizeof(tcp4_super), 14), 3);
	assert_next(&gso, 0, tcp4_segment0, sizeof(tcp4_segment0));
	assert_next(&gso, 1, tcp4_segment1, sizeof(tcp4_segment1));
	assert_next(&gso, 2, tcp4_segment2, sizeof(tcp4_segment2));
	assert_no_next(&gso, 3);
}

static const uint8_t udp6_super[] = {
	0x60, 0x21, 0x23, 0x45, 0x00, 0x11, 0x11, 0x39, 0x20, 0x01, 0x0d, 0xb8,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
	0xfd, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xab,
	0xcd, 0xef, 0x00, 0x02, 0x0f, 0xa0, 0x00, 0x35, 0x00, 0x11, 0xf9, 0x79,
	0x57, 0x69, 0x72, 0x65, 0x47, 0x75, 0x61, 0x72, 0x64,
};

static const uint8_t udp6_segment0[] = {
	0x60, 0x21, 0x23, 0x45, 0x00, 0x0f, 0x11, 0x39, 0x20, 0x01, 0x0d,
	0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x01, 0xfd, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0xab, 0xcd, 0xef, 0x00, 0x02, 0x0f, 0xa0, 0x00, 0x35,
	0x00, 0x0f, 0x84, 0x5f, 0x57, 0x69, 0x72, 0x65, 0x47, 0x75, 0x61,
};

static const uint8_t udp6_segment1[] = {
	0x60, 0x21, 0x23, 0x45, 0x00, 0x0a, 0x11, 0x39, 0x20, 0x01, 0x0d, 0xb8, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xfd, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xab, 0xcd, 0xef, 0x00,
	0x02, 0x0f, 0xa0, 0x00, 0x35, 0x00, 0x0a, 0x84, 0x49, 0x72, 0x64,
};

static void literal_udp6(void **state)
{
	struct virtio_net_hdr vh = {1, 5, 48, 7, 40, 6};
	struct gso gso;

	assert_int_equal(gso_begin(&gso, &vh, udp6_super, sizeof(udp6_super), 0), 2);
	assert_next(&gso, 0, udp6_segment0, sizeof(udp6_segment0));
	assert_next(&gso, 1, udp6_segment1, sizeof(udp6_segment1));
	assert_no_next(&gso, 2);
}

static void plain_copy(void **state)
{
	static const struct virtio_net_hdr none, valid = {.flags = 2};
	uint8_t *padded = calloc(1, sizeof(udp6_super) + 5);
	struct gso gso;

	assert_non_null(padded);
	memcpy(padded, udp6_super, sizeof(udp6_super));
	assert_int_equal(gso_begin(&gso, &none, padded, sizeof(udp6_super), 14), 1);
	assert_next(&gso, 0, udp6_super, sizeof(udp6_super));
	assert_no_next(&gso, 1);
	assert_int_equal(gso_begin(&gso, &valid, padded, sizeof(udp6_super) + 5, 14), 1);
	assert_next(&gso, 0, udp6_super, sizeof(udp6_super));
	assert_no_next(&gso, 1);
	free(padded);
}

/* A checksum of any protocol, here of ICMPv6, whose field is at 2. */
static void checksum_of_any_protocol(void **state)
{
	uint8_t packet[40 + 8] = {0x60, 0, 0, 0, 0, 8, 58, 64};
	struct virtio_net_hdr vh = {.flags = 1, .csum_start = 54, .csum_offset = 2};
	uint8_t expected[sizeof(packet)];
	struct gso gso;

	packet[40] = 128;
	put(packet + 42, 0xfff0, 2);
	put(packet + 44, 0x0102, 2);
	memcpy(expected, packet, sizeof(packet));
	/* 0x8000 + 0xfff0 + 0x0102 = 0x180f2, folded 0x80f3. */
	put(expected + 42, 0x7f0c, 2);
	assert_int_equal(gso_begin(&gso, &vh, packet, sizeof(packet), 14), 1);
	assert_next(&gso, 0, expected, sizeof(expected));
	assert_no_next(&gso, 1);
}

static void checksum_of_single_packets(void **state)
{
	uint8_t payload[1000], packet[1200], expected[1200];

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = random32();
	for (int round = 0; round < 400; round++) {
		struct spec s = {
			.v6 = round & 1,
			.udp = round & 2,
			.ip_extra = round & 4 ? 8 : 0,
			.tcp_options = round & 8 ? 12 : 0,
			.flags = 0xff,
		};
		size_t payload_len = random32() % sizeof(payload), len;
		struct virtio_net_hdr vh = header_for(&s, 0);
		struct gso gso;

		vh.gso_type = 0;
		build(expected, &s, payload, payload_len);
		s.partial = true;
		len = build(packet, &s, payload, payload_len);
		assert_int_equal(gso_begin(&gso, &vh, packet, len, LINK_LEN), 1);
		assert_next(&gso, 0, expected, len);
		assert_no_next(&gso, 1);
	}
}

/* RFC 768: a checksum of zero is sent as 0xffff. */
static void udp_checksum_zero(void **state)
{
	struct spec s = {.udp = true};
	struct virtio_net_hdr vh = header_for(&s, 2);
	uint8_t packet[32], expected[32], payload[4] = {0};
	struct gso gso;

	build(packet, &s, payload, 2);
	/* Twice what the sum lacks to 0xffff. */
	memcpy(payload, packet + 26, 2);
	memcpy(payload + 2, packet + 26, 2);
	build(expected, &s, payload, 2);
	assert_int_equal(expected[26], 0xff);
	assert_int_equal(expected[27], 0xff);
	s.partial = true;
	vh.gso_type = 0;
	assert_int_equal(gso_begin(&gso, &vh, packet, build(packet, &s, payload, 2), 14),
			 1);
	assert_next(&gso, 0, expected, 30);
	vh.gso_type = 5;
	assert_int_equal(gso_begin(&gso, &vh, packet, build(packet, &s, payload, 4), 14),
			 2);
	assert_next(&gso, 0, expected, 30);
}

/* gso_begin()'s segments must be those that the builder makes one by one. */
static void check_split(struct spec s, const uint8_t *payload, size_t payload_len,
			size_t gso_size, struct virtio_net_hdr vh)
{
	size_t len = headers_len(&s) + payload_len;
	uint8_t *packet = malloc(len), *before = malloc(len), *expected = malloc(len);
	unsigned segments = payload_len ? (payload_len + gso_size - 1) / gso_size : 1;
	uint8_t flags = s.flags;
	struct gso gso;

	assert_non_null(packet);
	assert_non_null(before);
	assert_non_null(expected);
	build(packet, &s, payload, payload_len);
	memcpy(before, packet, len);
	assert_int_equal(gso_begin(&gso, &vh, packet, len, LINK_LEN), segments);
	s.partial = false;
	for (unsigned i = 0; i < segments; i++) {
		size_t n = i < segments - 1 ? gso_size : payload_len - i * gso_size;

		s.flags = flags;
		if (i)
			s.flags &= 0x7f;
		if (i < segments - 1)
			s.flags &= 0xf6;
		assert_next(&gso, i, expected, build(expected, &s, payload, n));
		payload += n;
		s.seq += n;
		s.id++;
	}
	assert_no_next(&gso, segments);
	assert_memory_equal(packet, before, len);
	free(packet);
	free(before);
	free(expected);
}

static void random_splits(void **state)
{
	uint8_t payload[4000];

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = random32();
	for (int round = 0; round < 1000; round++) {
		struct spec s = {
			.v6 = round & 1,
			.udp = round & 2,
			.df = round & 4,
			.partial = true,
			.ip_extra = random32() % 3 * 8,
			.tcp_options = random32() % 11 * 4,
			.id = random32(),
			.seq = random32(),
			.flags = random32(),
		};
		size_t gso_size = 1 + random32() % 1500;
		struct virtio_net_hdr vh = header_for(&s, gso_size);

		if (!s.udp && round & 8)
			vh.gso_type |= 0x80;
		vh.hdr_len = random32();
		check_split(s, payload, random32() % sizeof(payload), gso_size, vh);
	}
}

static void largest_packets(void **state)
{
	static uint8_t payload[65535];
	static const uint16_t sizes[] = {1, 2, 535, 1368, 1448, 8948, 65000, 65535};

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = random32();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct spec v4 = {.partial = true, .df = true, .id = 7, .flags = 0x98};
		struct spec v6 = {.partial = true, .v6 = true, .udp = true};

		check_split(v4, payload, 65535 - 40, sizes[i], header_for(&v4, sizes[i]));
		check_split(v6, payload, 65535 - 8, sizes[i], header_for(&v6, sizes[i]));
	}
}

/* A complete checksum that the kernel has verified, as virtio-net guests may send it. */
static void split_without_partial_checksum(void **state)
{
	static const uint8_t payload[100] = "abc";
	struct spec s = {.flags = 0x18, .seq = 5};
	struct virtio_net_hdr vh = {.flags = 2, .gso_type = 1, .gso_size = 30};
	uint8_t packet[200];
	struct gso gso;

	check_split(s, payload, sizeof(payload), 30, vh);
	vh.flags = 0;
	assert_int_equal(
		gso_begin(&gso, &vh, packet, build(packet, &s, payload, 100), 14),
		-EBADMSG);
	s.v6 = true;
	vh.flags = 2;
	vh.gso_type = 4;
	check_split(s, payload, sizeof(payload), 30, vh);
	s.ip_extra = 8;
	assert_int_equal(
		gso_begin(&gso, &vh, packet, build(packet, &s, payload, 100), 14),
		-EBADMSG);
}

static int begin_tcp4(struct virtio_net_hdr vh, size_t offset, uint8_t value, size_t len)
{
	struct spec s = {.partial = true, .tcp_options = 4, .flags = 0x10};
	static const uint8_t payload[56];
	uint8_t packet[100], *exact = malloc(len);
	struct gso gso;
	int segments;

	assert_non_null(exact);
	assert_int_equal(build(packet, &s, payload, sizeof(payload)), 100);
	packet[offset] = value;
	memcpy(exact, packet, len);
	segments = gso_begin(&gso, &vh, exact, len, LINK_LEN);
	free(exact);
	return segments;
}

static void malformed_virtio_header(void **state)
{
	const struct virtio_net_hdr good = {1, 1, 58, 20, 34, 16};
	static const struct {
		struct virtio_net_hdr vh;
		int error;
	} cases[] = {
		{{1, 1, 58, 0, 34, 16}, -EBADMSG},  /* no segment size */
		{{0, 1, 58, 20, 34, 16}, -EBADMSG}, /* checksum unknown */
		{{1, 1, 58, 20, 34, 6}, -EBADMSG},  /* UDP's offset */
		{{1, 1, 58, 20, 33, 16}, -EBADMSG}, /* into the IP header */
		{{1, 1, 58, 20, 13, 16}, -EBADMSG}, /* into the link header */
		{{1, 1, 58, 20, 0, 16}, -EBADMSG},
		{{1, 1, 58, 20, 38, 16}, -EBADMSG}, /* not where IP says */
		{{1, 1, 58, 20, 97, 16}, -EBADMSG}, /* after the packet */
		{{1, 1, 58, 20, 65535, 65535}, -EBADMSG},
		{{1, 4, 58, 20, 34, 16}, -EBADMSG},	   /* TCPV6 for IPv4 */
		{{1, 5, 58, 20, 34, 6}, -EBADMSG},	   /* UDP for TCP */
		{{1, 3, 58, 20, 34, 6}, -EPROTONOSUPPORT}, /* UFO */
		{{1, 2, 58, 20, 34, 16}, -EPROTONOSUPPORT},
		{{1, 0x80, 58, 20, 34, 16}, -EPROTONOSUPPORT},
		{{1, 0x85, 58, 20, 34, 6}, -EPROTONOSUPPORT},
		{{1, 0, 0, 0, 33, 16}, -EBADMSG},
		{{1, 0, 0, 0, 34, 79}, -EBADMSG}, /* one byte too far */
		{{1, 0, 0, 0, 34, 0xffff}, -EBADMSG},
	};

	assert_int_equal(begin_tcp4(good, 0, 0x45, 100), 3);
	assert_int_equal(
		begin_tcp4((struct virtio_net_hdr){1, 0, 0, 0, 34, 78}, 0, 0x45, 100), 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(begin_tcp4(cases[i].vh, 0, 0x45, 100), cases[i].error);
}

static void malformed_packet(void **state)
{
	const struct virtio_net_hdr good = {1, 1, 58, 20, 34, 16}, none = {0};
	const struct virtio_net_hdr valid = {2, 1, 58, 20, 0, 0};
	const struct virtio_net_hdr early = {1, 1, 58, 20, 34, 0};

	assert_int_equal(begin_tcp4(good, 0, 0x45, 99), -EBADMSG); /* truncated */
	assert_int_equal(begin_tcp4(none, 0, 0x45, 99), -EBADMSG);
	assert_int_equal(begin_tcp4(none, 0, 0x45, 1), -EBADMSG);
	assert_int_equal(begin_tcp4(good, 0, 0x55, 100), -EBADMSG); /* version */
	assert_int_equal(begin_tcp4(good, 0, 0x44, 100), -EBADMSG); /* header length */
	assert_int_equal(begin_tcp4(good, 0, 0x46, 100), -EBADMSG);
	assert_int_equal(begin_tcp4(good, 3, 101, 100), -EBADMSG); /* total length */
	assert_int_equal(begin_tcp4(good, 3, 19, 100), -EBADMSG);
	assert_int_equal(begin_tcp4(good, 3, 39, 100), -EBADMSG); /* ends in TCP header */
	assert_int_equal(begin_tcp4(good, 3, 43, 100), -EBADMSG); /* ends in options */
	/* Ends before the data offset, and so does the memory. */
	assert_int_equal(begin_tcp4(valid, 3, 20, 20), -EBADMSG);
	assert_int_equal(begin_tcp4(valid, 3, 32, 32), -EBADMSG);
	assert_int_equal(begin_tcp4(early, 3, 22, 22), -EBADMSG);
	assert_int_equal(begin_tcp4(good, 3, 44, 100), 1);	    /* no payload */
	assert_int_equal(begin_tcp4(good, 6, 0x20, 100), -EBADMSG); /* fragments */
	assert_int_equal(begin_tcp4(good, 7, 1, 100), -EBADMSG);
	assert_int_equal(begin_tcp4(good, 9, 17, 100), -EBADMSG);    /* UDP */
	assert_int_equal(begin_tcp4(good, 32, 0x40, 100), -EBADMSG); /* data offset */
	assert_int_equal(begin_tcp4(good, 32, 0xf0, 100), 1);
	assert_int_equal(begin_tcp4(good, 3, 79, 100), 2);
}

/* For any input, nothing is read or written out of bounds (under ASan), and the segments
 * have the announced number and lengths. */
static void run_mutant(const struct virtio_net_hdr *vh, const uint8_t *packet, size_t len,
		       size_t link_len)
{
	uint8_t *exact = malloc(len ? len : 1), *dst;
	size_t segment_len, written;
	struct gso gso;
	int segments;

	assert_non_null(exact);
	memcpy(exact, packet, len);
	segments = gso_begin(&gso, vh, exact, len, link_len);
	if (segments < 0)
		assert_true(segments == -EBADMSG || segments == -EPROTONOSUPPORT);
	else
		assert_in_range(segments, 1, len);
	for (int i = 0; i < segments; i++) {
		segment_len = gso_segment_len(&gso, i);
		assert_in_range(segment_len, 20, len);
		dst = malloc(segment_len);
		assert_non_null(dst);
		written = gso_next(&gso, dst);
		assert_int_equal(written, segment_len);
		free(dst);
	}
	if (segments > 0)
		assert_no_next(&gso, segments);
	free(exact);
}

static void mutants(void **state)
{
	static const uint8_t payload[300] = "payload";
	uint8_t packet[512];
	uint16_t fields[5];

	for (int round = 0; round < 30000; round++) {
		struct spec s = {
			.v6 = round & 1,
			.udp = round & 2,
			.partial = true,
			.ip_extra = random32() % 3 * 8,
			.tcp_options = random32() % 11 * 4,
		};
		struct virtio_net_hdr vh = header_for(&s, 1 + random32() % 300);
		size_t len = build(packet, &s, payload, random32() % sizeof(payload));
		size_t link_len = round % 16 ? LINK_LEN : random32() % 64;

		for (unsigned n = random32() % 3; n; n--)
			packet[random32() % (random32() % 2 ? len : 80)] = random32();
		memcpy(fields, &vh, sizeof(vh));
		for (unsigned n = random32() % 3; n; n--)
			fields[random32() % 5] = random32() >> random32() % 32;
		memcpy(&vh, fields, sizeof(vh));
		if (random32() % 4 == 0)
			len = random32() % (len + 1);
		run_mutant(&vh, packet, len, link_len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(literal_tcp4),
		cmocka_unit_test(literal_udp6),
		cmocka_unit_test(plain_copy),
		cmocka_unit_test(checksum_of_any_protocol),
		cmocka_unit_test(checksum_of_single_packets),
		cmocka_unit_test(udp_checksum_zero),
		cmocka_unit_test(random_splits),
		cmocka_unit_test(largest_packets),
		cmocka_unit_test(split_without_partial_checksum),
		cmocka_unit_test(malformed_virtio_header),
		cmocka_unit_test(malformed_packet),
		cmocka_unit_test(mutants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
