/* SPDX-License-Identifier: MIT */
/*
 * Coalescing: what is merged and what must not be, against literal packets (made by
 * another program), and a random stream that segmentation must give back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>

#include "gro.h"
#include "gso.h"
#include "packet.h"

/* What gro emitted, in one piece. */
struct emitted {
	uint32_t peer;
	struct virtio_net_hdr vh;
	unsigned packets;
	size_t len;
	uint8_t *data;
};

#define MAX_EMITTED 4096
#define OVERHEAD    32 /* of the message that a packet comes in */

struct fixture {
	struct gro gro;
	size_t count;
	struct emitted out[MAX_EMITTED];
	/* Memory of the packets given, each of its exact size. */
	size_t given;
	uint8_t *memory[MAX_EMITTED];
};

static void collect(void *ctx, uint32_t peer, const struct virtio_net_hdr *vh,
		    struct iovec *iov, int iovcnt, unsigned packets, uint32_t wire)
{
	struct fixture *f = ctx;
	struct emitted *e = &f->out[f->count++];

	assert_in_range(f->count, 1, MAX_EMITTED);
	assert_int_equal(iovcnt, 1 + packets);
	assert_in_range(packets, 1, 64);
	assert_null(iov[0].iov_base);
	assert_int_equal(iov[0].iov_len, 0);
	*e = (struct emitted){.peer = peer, .vh = *vh, .packets = packets};
	for (int i = 1; i < iovcnt; i++)
		e->len += iov[i].iov_len;
	/* Each but the first has left its headers behind. */
	assert_int_equal(wire, e->len + packets * OVERHEAD +
				       (packets - 1) * (vh->hdr_len - 14));
	e->data = malloc(e->len ? e->len : 1);
	assert_non_null(e->data);
	for (size_t i = 1, at = 0; i < (size_t)iovcnt; at += iov[i++].iov_len)
		memcpy(e->data + at, iov[i].iov_base, iov[i].iov_len);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	gro_init(&f->gro, collect, f);
	*state = f;
	return 0;
}

static void forget(struct fixture *f)
{
	while (f->count)
		free(f->out[--f->count].data);
	while (f->given)
		free(f->memory[--f->given]);
}

static int teardown(void **state)
{
	forget(*state);
	free(*state);
	return 0;
}

static void give(struct fixture *f, uint32_t peer, const uint8_t *packet, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	assert_in_range(f->given, 0, MAX_EMITTED - 1);
	memcpy(copy, packet, len);
	f->memory[f->given++] = copy;
	gro_receive(&f->gro, peer, copy, len, len + OVERHEAD);
}

/* Payload bytes are those of the sequence numbers. */
static size_t make(uint8_t *packet, const struct spec *s, size_t len)
{
	uint8_t payload[65535];

	for (size_t i = 0; i < len; i++)
		payload[i] = (s->seq + i) * 0x9e3779b1 >> 24;
	return build(packet, s, payload, len);
}

static void give_spec(struct fixture *f, uint32_t peer, const struct spec *s, size_t len)
{
	uint8_t packet[2048];

	give(f, peer, packet, make(packet, s, len));
}

static void assert_alone(const struct emitted *e, const uint8_t *packet, size_t len,
			 uint8_t vh_flags)
{
	struct virtio_net_hdr vh = {.flags = vh_flags};

	assert_int_equal(e->packets, 1);
	assert_memory_equal(&e->vh, &vh, sizeof(vh));
	assert_int_equal(e->len, len);
	assert_memory_equal(e->data, packet, len);
}

static void assert_spec_alone(const struct emitted *e, const struct spec *s, size_t len)
{
	uint8_t packet[2048];

	assert_alone(e, packet, make(packet, s, len), 2);
}

/* One GSO packet: spec of the first, with PSH if so, of `len` payload bytes. */
static void assert_super(const struct emitted *e, struct spec s, size_t len,
			 size_t gso_size)
{
	static uint8_t packet[65536 + 200];
	struct virtio_net_hdr vh = {
		.flags = 1,
		.gso_type = s.udp  ? 5
			    : s.v6 ? 4
				   : 1,
		.hdr_len = 14 + headers_len(&s),
		.gso_size = gso_size,
		.csum_start = s.v6 ? 54 : 34,
		.csum_offset = s.udp ? 6 : 16,
	};

	s.partial = true;
	assert_int_equal(e->packets, (len + gso_size - 1) / gso_size);
	assert_memory_equal(&e->vh, &vh, sizeof(vh));
	assert_int_equal(e->len, make(packet, &s, len));
	assert_memory_equal(e->data, packet, e->len);
}

static const struct spec tcp4 = {
	.tcp_options = 12, .df = true, .flags = 0x10, .seq = 1000};
static const struct spec tcp6 = {
	.v6 = true, .tcp_options = 12, .flags = 0x10, .seq = 0xfffffff0};

static const uint8_t gro_in0[] = {
	0x45, 0x00, 0x00, 0x3a, 0x10, 0x00, 0x00, 0x00, 0x40, 0x06, 0x97, 0x09,
	0x0a, 0x01, 0x02, 0x03, 0xc0, 0xa8, 0x07, 0x09, 0x13, 0x89, 0x01, 0xbb,
	0x00, 0x00, 0x03, 0xe8, 0x01, 0x02, 0x03, 0x04, 0x80, 0x10, 0x01, 0xf6,
	0x2e, 0x93, 0x00, 0x00, 0x01, 0x01, 0x08, 0x0a, 0x11, 0x22, 0x33, 0x44,
	0x55, 0x66, 0x77, 0x88, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20,
};

static const uint8_t gro_in1[] = {
	0x45, 0x00, 0x00, 0x37, 0x10, 0x01, 0x00, 0x00, 0x40, 0x06, 0x97,
	0x0b, 0x0a, 0x01, 0x02, 0x03, 0xc0, 0xa8, 0x07, 0x09, 0x13, 0x89,
	0x01, 0xbb, 0x00, 0x00, 0x03, 0xee, 0x01, 0x02, 0x03, 0x04, 0x80,
	0x18, 0x01, 0xf6, 0x84, 0x0a, 0x00, 0x00, 0x01, 0x01, 0x08, 0x0a,
	0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x79, 0x6f, 0x75,
};

static const uint8_t gro_out[] = {
	0x45, 0x00, 0x00, 0x3d, 0x10, 0x00, 0x00, 0x00, 0x40, 0x06, 0x97, 0x06, 0x0a,
	0x01, 0x02, 0x03, 0xc0, 0xa8, 0x07, 0x09, 0x13, 0x89, 0x01, 0xbb, 0x00, 0x00,
	0x03, 0xe8, 0x01, 0x02, 0x03, 0x04, 0x80, 0x18, 0x01, 0xf6, 0xd3, 0xe4, 0x00,
	0x00, 0x01, 0x01, 0x08, 0x0a, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
	0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x79, 0x6f, 0x75,
};

static void literal_tcp4(void **state)
{
	const struct virtio_net_hdr vh = {1, 1, 66, 6, 34, 16};
	struct fixture *f = *state;

	give(f, 0xabcdef, gro_in0, sizeof(gro_in0));
	assert_int_equal(f->count, 0);
	give(f, 0xabcdef, gro_in1, sizeof(gro_in1));
	assert_int_equal(f->count, 1);
	assert_int_equal(f->out[0].packets, 2);
	assert_int_equal(f->out[0].peer, 0xabcdef);
	assert_memory_equal(&f->out[0].vh, &vh, sizeof(vh));
	assert_int_equal(f->out[0].len, sizeof(gro_out));
	assert_memory_equal(f->out[0].data, gro_out, sizeof(gro_out));
	gro_flush(&f->gro);
	assert_int_equal(f->count, 1);
}

static void merges(struct fixture *f, struct spec first, unsigned n)
{
	struct spec s = first;

	for (unsigned i = 0; i < n; i++) {
		give_spec(f, 7, &s, 1000);
		s.seq += 1000;
		s.id++;
	}
	assert_int_equal(f->count, 0);
	gro_flush(&f->gro);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->out[0].peer, 7);
	assert_super(&f->out[0], first, n * 1000, 1000);
	gro_flush(&f->gro);
	assert_int_equal(f->count, 1);
	forget(f);
}

static void stream_is_merged(void **state)
{
	struct spec options = tcp4;

	merges(*state, tcp4, 2);
	merges(*state, tcp4, 40);
	merges(*state, tcp6, 33);
	options.tcp_options = 40;
	merges(*state, options, 3);
	options.tcp_options = 0;
	options.df = false;
	options.id = 0xffff;
	merges(*state, options, 3);
}

static void push_ends(void **state)
{
	struct fixture *f = *state;
	struct spec s = tcp6, first = tcp6;

	give_spec(f, 1, &s, 100);
	s.seq += 100;
	s.flags = 0x18;
	give_spec(f, 1, &s, 100);
	assert_int_equal(f->count, 1);
	first.flags = 0x18;
	assert_super(&f->out[0], first, 200, 100);
	/* Nothing is held: this one goes alone, and at once. */
	s.seq += 100;
	give_spec(f, 1, &s, 100);
	assert_int_equal(f->count, 2);
	assert_spec_alone(&f->out[1], &s, 100);
}

static void short_segment_ends(void **state)
{
	struct fixture *f = *state;
	struct spec s = tcp4;

	give_spec(f, 1, &s, 101);
	s.seq += 101;
	give_spec(f, 1, &s, 33);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->out[0].packets, 2);
	assert_super(&f->out[0], tcp4, 134, 101);
}

/* The second of the two segments must not join the first, but comes after it. */
static void not_merged(struct fixture *f, struct spec a, size_t a_len, struct spec b,
		       size_t b_len)
{
	give_spec(f, 1, &a, a_len);
	give_spec(f, 1, &b, b_len);
	gro_flush(&f->gro);
	assert_int_equal(f->count, 2);
	assert_spec_alone(&f->out[0], &a, a_len);
	assert_spec_alone(&f->out[1], &b, b_len);
	forget(f);
}

static void differing_headers(void **state)
{
	static const uint8_t flags[] = {0x00, 0x11, 0x12, 0x14, 0x30,
					0x50, 0x90, 0x08, 0x19};
	struct spec next = tcp4, b;

	next.seq += 100;
	b = next;
	b.seq++; /* gap */
	not_merged(*state, tcp4, 100, b, 100);
	b.seq -= 2; /* overlap */
	not_merged(*state, tcp4, 100, b, 100);
	b.seq = 1000; /* again */
	not_merged(*state, tcp4, 100, b, 100);
	b.seq = 900; /* out of order */
	not_merged(*state, tcp4, 100, b, 100);
	not_merged(*state, tcp4, 100, next, 101); /* longer */
	not_merged(*state, tcp4, 100, next, 0);	  /* pure ACK */
	not_merged(*state, tcp4, 0, tcp4, 100);
	b = next;
	b.window = 1;
	not_merged(*state, tcp4, 100, b, 100);
	b = next;
	b.tcp_options = 8;
	not_merged(*state, tcp4, 100, b, 100);
	b = next;
	b.ip_extra = 4;
	not_merged(*state, tcp4, 100, b, 100);
	b.seq = 1000;
	next.ip_extra = 4;
	not_merged(*state, b, 100, next, 100);
	next.ip_extra = 0;
	b = next;
	b.df = false;
	not_merged(*state, tcp4, 100, b, 100);
	for (size_t i = 0; i < sizeof(flags); i++) {
		b = next;
		b.flags = flags[i];
		not_merged(*state, tcp4, 100, b, 100);
		b.seq = 900;
		not_merged(*state, b, 100, tcp4, 100);
	}
}

static void ids_must_count_without_df(void **state)
{
	struct spec a = tcp4, b = tcp4;

	a.df = b.df = false;
	b.seq += 100;
	not_merged(*state, a, 100, b, 100);
	b.id = 2;
	not_merged(*state, a, 100, b, 100);
	a.id = 0xfffe;
	not_merged(*state, a, 100, b, 100);
}

/* Adds to a 16-bit word of the packet and corrects a checksum by as much; the word
 * must not wrap then. */
static void change(uint8_t *packet, size_t at, uint16_t change, size_t check)
{
	uint8_t difference[2];
	uint32_t sum;

	put(difference, change, 2);
	put(packet + at, (packet[at] << 8 | packet[at + 1]) + change, 2);
	if (!check)
		return;
	sum = reference_sum(0xffff ^ (packet[check] << 8 | packet[check + 1]), difference,
			    2);
	put(packet + check, 0xffff ^ sum, 2);
}

/* A word of the second segment is changed, with the checksum made right again. */
static void word_matters(struct fixture *f, const struct spec *first, size_t at,
			 uint16_t value, size_t check, uint8_t vh_flags)
{
	uint8_t packet[2048];
	struct spec s = *first;
	size_t len;

	give_spec(f, 1, &s, 100);
	s.seq += 100;
	len = make(packet, &s, 100);
	change(packet, at, value, check);
	give(f, 1, packet, len);
	gro_flush(&f->gro);
	assert_int_equal(f->count, 2);
	assert_spec_alone(&f->out[0], first, 100);
	assert_alone(&f->out[1], packet, len, vh_flags);
	forget(f);
}

static void words_that_matter(void **state)
{
	word_matters(*state, &tcp4, 0, 1, 10, 2);      /* ECN */
	word_matters(*state, &tcp4, 0, 0x20, 10, 2);   /* DSCP */
	word_matters(*state, &tcp4, 6, 0x8000, 10, 2); /* reserved bit */
	word_matters(*state, &tcp4, 8, 0x0100, 10, 2); /* TTL */
	word_matters(*state, &tcp4, 28, 1, 36, 2);     /* acknowledgment */
	word_matters(*state, &tcp4, 30, 1, 36, 2);
	word_matters(*state, &tcp4, 32, 0x0100, 36, 2); /* reserved bits */
	word_matters(*state, &tcp4, 34, 1, 36, 2);	/* window */
	word_matters(*state, &tcp4, 38, 1, 36, 2);	/* urgent pointer */
	word_matters(*state, &tcp4, 40, 1, 36, 2);	/* options */
	word_matters(*state, &tcp4, 50, 1, 36, 2);
	word_matters(*state, &tcp6, 0, 0x0010, 0, 2); /* traffic class */
	word_matters(*state, &tcp6, 2, 1, 0, 2);      /* flow label */
	word_matters(*state, &tcp6, 6, 1, 0, 2);      /* hop limit */
}

static void wrong_checksum_is_kept(void **state)
{
	word_matters(*state, &tcp4, 36, 1, 0, 0);    /* in the TCP checksum */
	word_matters(*state, &tcp4, 60, 1, 0, 0);    /* in the payload */
	word_matters(*state, &tcp4, 150, 256, 0, 0); /* its last bytes */
	word_matters(*state, &tcp4, 10, 1, 0, 0);    /* IPv4 header checksum */
	word_matters(*state, &tcp4, 4, 1, 0, 0);     /* ID, not in the checksum */
	word_matters(*state, &tcp6, 56, 1, 0, 0);
	word_matters(*state, &tcp6, 170, 1, 0, 0);
}

static void wrong_checksum_first(void **state)
{
	struct fixture *f = *state;
	uint8_t packet[2048];
	struct spec s = tcp4;
	size_t len = make(packet, &s, 100);

	packet[99] ^= 0x40;
	give(f, 1, packet, len);
	assert_int_equal(f->count, 1);
	assert_alone(&f->out[0], packet, len, 0);
	s.seq += 100;
	give_spec(f, 1, &s, 100);
	assert_int_equal(f->count, 1);
	gro_flush(&f->gro);
	assert_spec_alone(&f->out[1], &s, 100);
}

/* Two peers may use the same addresses and ports: never one packet of both. */
static void peers_are_kept_apart(void **state)
{
	struct fixture *f = *state;
	struct spec s = tcp4;

	for (int i = 0; i < 3; i++) {
		give_spec(f, 1, &s, 100);
		give_spec(f, 2, &s, 100);
		s.seq += 100;
	}
	assert_int_equal(f->count, 0);
	gro_flush(&f->gro);
	assert_int_equal(f->count, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(f->out[i].peer, i + 1);
		assert_super(&f->out[i], tcp4, 300, 100);
	}
}

static void addresses_and_ports_are_kept_apart(void **state)
{
	struct fixture *f = *state;
	struct spec s = tcp4;
	uint8_t packet[2048];

	s.seq = 1100;
	for (int at = 12; at <= 16; at += 4) {
		size_t len = make(packet, &s, 100);

		/* One word up, one down: the checksums stay right. */
		change(packet, at, 1, 0);
		change(packet, at + 2, 0xffff, 0);
		give_spec(f, 1, &tcp4, 100);
		give(f, 1, packet, len);
		gro_flush(&f->gro);
		assert_int_equal(f->count, 2);
		assert_spec_alone(&f->out[0], &tcp4, 100);
		assert_alone(&f->out[1], packet, len, 2);
		forget(f);
	}
	word_matters(*state, &tcp4, 20, 1, 36, 2);
	word_matters(*state, &tcp4, 22, 1, 36, 2);
	word_matters(*state, &tcp6, 22, 1, 56, 2);
	word_matters(*state, &tcp6, 38, 1, 56, 2);
	word_matters(*state, &tcp6, 40, 1, 56, 2);
}

static void interleaved_flows(void **state)
{
	struct fixture *f = *state;
	struct spec s[8];

	for (int i = 0; i < 8; i++) {
		s[i] = i % 2 ? tcp4 : tcp6;
		s[i].port = i;
	}
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 8; i++) {
			give_spec(f, 1, &s[i], 500);
			s[i].seq += 500;
		}
	}
	assert_int_equal(f->count, 0);
	gro_flush(&f->gro);
	assert_int_equal(f->count, 8);
	for (int i = 0; i < 8; i++) {
		s[i].seq -= 2500;
		assert_super(&f->out[i], s[i], 2500, 500);
	}
}

static void ninth_flow_evicts_the_oldest(void **state)
{
	struct fixture *f = *state;
	struct spec s = tcp4;

	for (s.port = 1; s.port <= 10; s.port++)
		give_spec(f, 1, &s, 100);
	assert_int_equal(f->count, 2);
	gro_flush(&f->gro);
	assert_int_equal(f->count, 10);
	for (s.port = 1; s.port <= 10; s.port++)
		assert_spec_alone(&f->out[s.port - 1], &s, 100);
}

/* As many whole segments as 65535 bytes hold; the rest begins another one. */
static void length_limit(void **state)
{
	struct fixture *f = *state;
	struct spec s = tcp4;

	for (int i = 0; i < 50; i++) {
		give_spec(f, 1, &s, 1368);
		s.seq += 1368;
	}
	gro_flush(&f->gro);
	assert_int_equal(f->count, 2);
	assert_super(&f->out[0], tcp4, 47 * 1368, 1368); /* 64296, and 52 of headers */
	s = tcp4;
	s.seq += 47 * 1368;
	assert_super(&f->out[1], s, 3 * 1368, 1368);
	forget(f);
	/* 32 bytes of headers in front of 65483: 65535 exactly, then one byte more. */
	for (int more = 0; more <= 1; more++) {
		s = tcp4;
		for (int i = 0; i < 49; i++) {
			give_spec(f, 1, &s, 1336);
			s.seq += 1336;
		}
		give_spec(f, 1, &s, 65483 - 49 * 1336 + more);
		gro_flush(&f->gro);
		assert_int_equal(f->count, 1 + more);
		assert_int_equal(f->out[0].len, more ? 52 + 49 * 1336 : 65535);
		forget(f);
	}
}

static void packet_limit(void **state)
{
	struct fixture *f = *state;
	struct spec s = tcp4;

	for (int i = 0; i < 65; i++, s.seq++)
		give_spec(f, 1, &s, 1);
	gro_flush(&f->gro);
	assert_int_equal(f->count, 2);
	assert_super(&f->out[0], tcp4, 64, 1);
	assert_int_equal(f->out[1].packets, 1);
}

/* A fragment belongs to no flow that we know: all of its addresses go first. */
static void fragments_keep_order(void **state)
{
	struct fixture *f = *state;
	struct spec s = tcp4;
	uint8_t packet[2048];
	size_t len;

	give_spec(f, 1, &s, 100);
	give_spec(f, 2, &s, 100);
	s.seq += 100;
	s.df = false;
	len = make(packet, &s, 100);
	change(packet, 6, 0x2000, 10);
	give(f, 1, packet, len);
	assert_int_equal(f->count, 2);
	assert_spec_alone(&f->out[0], &tcp4, 100);
	assert_alone(&f->out[1], packet, len, 0);
	make(packet, &s, 100);
	change(packet, 6, 1, 10);
	give(f, 1, packet, len);
	assert_int_equal(f->count, 3);
	assert_alone(&f->out[2], packet, len, 0);
}

static void udp_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct spec s = {.udp = true, .df = true};
	uint8_t packet[2048];
	size_t len = make(packet, &s, 300);

	give(f, 1, packet, len);
	give(f, 1, packet, len);
	assert_int_equal(f->count, 2);
	assert_alone(&f->out[0], packet, len, 0);
	assert_alone(&f->out[1], packet, len, 0);
}

static void udp_is_merged_if_told(void **state)
{
	struct fixture *f = *state;

	f->gro.udp_gso = true;
	for (int v6 = 0; v6 <= 1; v6++) {
		struct spec first = {.udp = true, .v6 = v6, .df = true, .seq = 3},
			    s = first;

		for (int i = 0; i < 3; i++, s.seq += 301)
			give_spec(f, 1, &s, 301);
		assert_int_equal(f->count, 0);
		give_spec(f, 1, &s, 17);
		assert_int_equal(f->count, 1);
		assert_super(&f->out[0], first, 3 * 301 + 17, 301);
		forget(f);
		/* Longer ones and empty ones are not merged. */
		not_merged(f, first, 10, first, 11);
		not_merged(f, first, 10, first, 0);
		not_merged(f, first, 0, first, 10);
	}
}

/* The same ports, but another protocol: another flow. */
static void protocols_are_kept_apart(void **state)
{
	struct spec udp = {.udp = true, .df = true}, tcp = {.df = true};
	struct fixture *f = *state;

	f->gro.udp_gso = true;
	tcp.flags = 0x10;
	for (int i = 0; i < 2; i++, tcp.seq += 100) {
		give_spec(f, 1, &tcp, 100);
		give_spec(f, 1, &udp, 100);
		udp.seq += 100;
	}
	assert_int_equal(f->count, 0);
	gro_flush(&f->gro);
	assert_int_equal(f->count, 2);
	tcp.seq = udp.seq = 0;
	assert_super(&f->out[0], tcp, 200, 100);
	assert_super(&f->out[1], udp, 200, 100);
}

static void udp_checksum_rules(void **state)
{
	struct spec s = {.udp = true, .df = true};
	struct fixture *f = *state;
	uint8_t packet[2048];
	size_t len = make(packet, &s, 300);

	f->gro.udp_gso = true;
	packet[200] ^= 1; /* wrong */
	give(f, 1, packet, len);
	put(packet + 26, 0, 2); /* none */
	give(f, 1, packet, len);
	make(packet, &s, 300);
	put(packet + 24, 300, 2); /* UDP and IP disagree on the length */
	give(f, 1, packet, len);
	assert_int_equal(f->count, 3);
	assert_alone(&f->out[2], packet, len, 0);
	put(packet + 24, 308, 2);
	packet[200] ^= 1;
	assert_alone(&f->out[0], packet, len, 0);
	put(packet + 26, 0, 2);
	assert_alone(&f->out[1], packet, len, 0);
}

/* Rules that only a right sum puts to the test. */
static void udp_right_sum_is_not_enough(void **state)
{
	struct spec s = {.udp = true, .df = true};
	uint8_t packet[64], payload[4] = {0};
	struct fixture *f = *state;
	size_t len;

	f->gro.udp_gso = true;
	build(packet, &s, payload, 2);
	memcpy(payload, packet + 26, 2);
	len = build(packet, &s, payload, 2);
	assert_memory_equal(packet + 26, "\xff\xff", 2);
	put(packet + 26, 0, 2); /* no checksum, says the sender */
	give(f, 1, packet, len);
	assert_int_equal(f->count, 1);
	assert_alone(&f->out[0], packet, len, 0);
	len = build(packet, &s, payload, 4);
	change(packet, 24, 1, 26);
	give(f, 1, packet, len);
	assert_int_equal(f->count, 2);
	assert_alone(&f->out[1], packet, len, 0);
}

/* Options that end behind the packet, under a right checksum. */
static void tcp_header_too_long(void **state)
{
	struct fixture *f = *state;
	uint8_t packet[2048];
	size_t len = make(packet, &tcp4, 27);

	assert_int_equal(len, 79);
	change(packet, 32, 0x7000, 36);
	give(f, 1, packet, len);
	assert_int_equal(f->count, 1);
	assert_alone(&f->out[0], packet, len, 0);
}

static void lone_packets(void **state)
{
	static const uint8_t icmp[28] = {0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1};
	struct spec syn = {.flags = 0x02, .tcp_options = 20},
		    v6 = {.v6 = true, .ip_extra = 8};
	struct fixture *f = *state;
	uint8_t packet[2048];
	size_t len;

	give_spec(f, 1, &syn, 0);
	assert_spec_alone(&f->out[0], &syn, 0);
	give(f, 1, icmp, sizeof(icmp));
	assert_alone(&f->out[1], icmp, sizeof(icmp), 0);
	len = make(packet, &v6, 100); /* an extension header: not looked behind */
	give(f, 1, packet, len);
	assert_alone(&f->out[2], packet, len, 0);
	assert_int_equal(f->count, 3);
}

static void malformed_packets(void **state)
{
	struct fixture *f = *state;
	uint8_t packet[2048];
	size_t len = make(packet, &tcp4, 100);

	for (size_t cut = 0; cut < len; cut++) {
		give(f, 1, packet, cut);
		assert_int_equal(f->count, cut + 1);
		assert_alone(&f->out[cut], packet, cut, 0);
	}
	forget(f);
	/* Not trimmed, with a checksum that holds for all of it: the pseudo-header's
	 * length is two more, and the padding is -2 in ones' complement. */
	put(packet + len, 0xfffd, 2);
	give(f, 1, packet, len + 2);
	packet[32] = 0x40; /* data offset too small, */
	give(f, 1, packet, len);
	packet[32] = 0xf0; /* fine, but the checksum is wrong now, */
	give(f, 1, packet, len);
	packet[3] = 79; /* and too large */
	give(f, 1, packet, 79);
	packet[0] = 0;
	give(f, 1, packet, len);
	assert_int_equal(f->count, 5);
	for (int i = 0; i < 5; i++)
		assert_int_equal(f->out[i].vh.flags, 0);
}

/* Segmentation, coalescing: the same GSO packet, but for what the kernel may choose. */
static void round_trip(void **state)
{
	static uint8_t super[65536], segment[65536];
	struct fixture *f = *state;

	f->gro.udp_gso = true;
	for (int round = 0; round < 200; round++) {
		struct spec s = {
			.v6 = round & 1,
			.udp = round & 2,
			.df = round & 4,
			.tcp_options = round & 2 ? 0 : random32() % 11 * 4,
			.id = random32(),
			.seq = random32(),
			.flags = round & 8 ? 0x18 : 0x10,
			.partial = true,
		};
		size_t size = 1 + random32() % 1400, max = 65535 - headers_len(&s), len;
		struct virtio_net_hdr vh = {
			.flags = 1,
			.gso_type = s.udp  ? 5
				    : s.v6 ? 4
					   : 1,
			.gso_size = size,
			.csum_start = 14 + l4_offset(&s),
			.csum_offset = s.udp ? 6 : 16,
		};
		struct gso gso;

		if (max > 64 * size)
			max = 64 * size;
		len = size + 1 + random32() % (max - size);
		assert_int_equal(gso_begin(&gso, &vh, super, make(super, &s, len), 14),
				 (len + size - 1) / size);
		while ((max = gso_next(&gso, segment)))
			give(f, 3, segment, max);
		gro_flush(&f->gro);
		assert_int_equal(f->count, 1);
		assert_super(&f->out[0], s, len, size);
		forget(f);
	}
}

/*
 * A random stream of several flows of two peers: whatever is merged, the segmentation of
 * what comes out must give back each flow's packets, in order, byte by byte.
 */
#define STREAM_FLOWS   12
#define STREAM_PACKETS 3000

struct stream {
	struct spec next[STREAM_FLOWS];
	/* What was given of each flow and not seen to come out yet. */
	uint8_t *sent[STREAM_FLOWS][STREAM_PACKETS];
	size_t lens[STREAM_FLOWS][STREAM_PACKETS];
	size_t given[STREAM_FLOWS], seen[STREAM_FLOWS];
};

static void stream_step(struct fixture *f, struct stream *stream)
{
	unsigned flow = random32() % (random32() % 2 ? STREAM_FLOWS : 3), chance;
	struct spec *s = &stream->next[flow], odd;
	size_t payload = random32() % 8 ? 200 : random32() % 300, len, n;
	uint8_t packet[2048];

	odd = *s;
	chance = random32() % 64;
	odd.flags = chance < 8 ? 0x18 : chance < 10 ? random32() : 0x10;
	if (chance == 11)
		odd.window++;
	if (chance == 12)
		odd.seq += 1 + random32() % 300;
	if (chance == 13)
		odd.ip_extra = odd.v6 ? 0 : 4;
	if (chance == 14)
		odd.id += 7;
	len = make(packet, &odd, payload);
	if (chance == 15)
		packet[random32() % 2 ? len - 1 : headers_len(&odd) - 3] ^=
			1 << random32() % 8;
	s->seq = odd.seq + payload;
	s->id = odd.id + 1;

	n = stream->given[flow]++;
	stream->sent[flow][n] = malloc(len);
	assert_non_null(stream->sent[flow][n]);
	memcpy(stream->sent[flow][n], packet, len);
	stream->lens[flow][n] = len;
	give(f, flow % 2, packet, len);
}

/* The IDs of atomic datagrams may come back as others. */
static void blank_atomic_id(uint8_t *packet)
{
	if (packet[0] >> 4 == 4 && packet[6] == 0x40 && packet[7] == 0) {
		memset(packet + 4, 0, 2);
		memset(packet + 10, 0, 2);
	}
}

static void stream_out(struct stream *stream, const struct emitted *e)
{
	struct gso gso;
	uint8_t segment[2048];
	size_t len, n;

	assert_in_range(gso_begin(&gso, &e->vh, e->data, e->len, 14), 1, 64);
	while ((len = gso_next(&gso, segment))) {
		size_t l4 = segment[0] >> 4 == 6 ? 40 : (segment[0] & 15) * 4;
		unsigned flow = segment[l4 + 2] << 8 | segment[l4 + 3];

		assert_in_range(flow, 0, STREAM_FLOWS - 1);
		assert_int_equal(e->peer, flow % 2);
		n = stream->seen[flow]++;
		assert_in_range(n, 0, stream->given[flow] - 1);
		assert_int_equal(len, stream->lens[flow][n]);
		if (e->packets > 1) {
			blank_atomic_id(segment);
			blank_atomic_id(stream->sent[flow][n]);
		}
		assert_memory_equal(segment, stream->sent[flow][n], len);
	}
}

static void random_stream(void **state)
{
	struct fixture *f = *state;
	struct stream *stream = calloc(1, sizeof(*stream));
	size_t writes = 0;

	assert_non_null(stream);
	for (unsigned i = 0; i < STREAM_FLOWS; i++)
		stream->next[i] =
			(struct spec){.port = i,
				      .v6 = i % 3 == 0,
				      .df = i % 3 == 1,
				      .udp = i % 4 == 3,
				      .seq = random32(),
				      .tcp_options = i % 4 == 3 ? 0 : i % 5 * 4};
	for (unsigned n = 0; n < STREAM_PACKETS; n++) {
		f->gro.udp_gso = n >= STREAM_PACKETS / 2;
		stream_step(f, stream);
		if (random32() % 100)
			continue;
		gro_flush(&f->gro);
		for (size_t i = 0; i < f->count; i++)
			stream_out(stream, &f->out[i]);
		writes += f->count;
		forget(f);
	}
	gro_flush(&f->gro);
	for (size_t i = 0; i < f->count; i++)
		stream_out(stream, &f->out[i]);
	for (unsigned flow = 0; flow < STREAM_FLOWS; flow++) {
		assert_int_equal(stream->given[flow], stream->seen[flow]);
		while (stream->given[flow])
			free(stream->sent[flow][--stream->given[flow]]);
	}
	free(stream);
	assert_in_range(writes, 1, STREAM_PACKETS * 2 / 3); /* something was merged */
}

/* Damaged packets of all kinds, for ASan; all that goes in comes out. */
static void mutants(void **state)
{
	struct fixture *f = *state;
	uint8_t packet[2048];

	f->gro.udp_gso = true;
	for (int round = 0; round < 20000; round++) {
		struct spec s = {.v6 = random32() & 1,
				 .udp = random32() & 1,
				 .df = true,
				 .flags = 0x10,
				 .seq = round / 64 * 50,
				 .tcp_options = 4};
		size_t len = make(packet, &s, 50), packets = 0;

		for (unsigned n = random32() % 3; n; n--)
			packet[random32() % 70] = random32();
		give(f, 0, packet, random32() % 4 ? len : random32() % (len + 1));
		if (round % 64 != 63)
			continue;
		gro_flush(&f->gro);
		for (size_t i = 0; i < f->count; i++)
			packets += f->out[i].packets;
		assert_int_equal(packets, 64);
		forget(f);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(literal_tcp4),
		TEST(stream_is_merged),
		TEST(push_ends),
		TEST(short_segment_ends),
		TEST(differing_headers),
		TEST(ids_must_count_without_df),
		TEST(words_that_matter),
		TEST(wrong_checksum_is_kept),
		TEST(wrong_checksum_first),
		TEST(peers_are_kept_apart),
		TEST(addresses_and_ports_are_kept_apart),
		TEST(interleaved_flows),
		TEST(ninth_flow_evicts_the_oldest),
		TEST(length_limit),
		TEST(packet_limit),
		TEST(fragments_keep_order),
		TEST(udp_is_left_alone),
		TEST(udp_is_merged_if_told),
		TEST(protocols_are_kept_apart),
		TEST(udp_checksum_rules),
		TEST(udp_right_sum_is_not_enough),
		TEST(tcp_header_too_long),
		TEST(lone_packets),
		TEST(malformed_packets),
		TEST(round_trip),
		TEST(random_stream),
		TEST(mutants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
