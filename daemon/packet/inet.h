/* SPDX-License-Identifier: MIT */
/*
 * The layout of IPv4, IPv6, TCP and UDP headers (RFC 791, 8200, 9293, 768). Packets may have
 * any alignment, so fields are read and written by offset, never through a pointer to a struct,
 * which would have to be aligned.
 */
#ifndef INET_H
#define INET_H

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum ipv4_layout {
	IPV4_TOS = 1,
	IPV4_TOTAL_LEN = 2,
	IPV4_ID = 4,
	IPV4_FRAG = 6,
	IPV4_TTL = 8,
	IPV4_PROTO = 9,
	IPV4_CHECK = 10,
	IPV4_ADDRS = 12, /* source, then destination */
	IPV4_HEADER_LEN = 20,
};

enum ipv4_frag {
	IPV4_DF = 0x4000,
	IPV4_MF = 0x2000,
	IPV4_OFFSET_MASK = 0x1fff,
};

enum ipv6_layout {
	IPV6_PAYLOAD_LEN = 4,
	IPV6_NEXT_HEADER = 6,
	IPV6_HOP_LIMIT = 7,
	IPV6_ADDRS = 8, /* source, then destination */
	IPV6_HEADER_LEN = 40,
};

enum tcp_layout {
	TCP_SEQ = 4,
	TCP_ACK_SEQ = 8,
	TCP_DATA_OFFSET = 12, /* high four bits, in words of 32 bits */
	TCP_FLAGS = 13,
	TCP_WINDOW = 14,
	TCP_CHECK = 16,
	TCP_URGENT = 18,
	TCP_HEADER_LEN = 20, /* options begin here */
};

enum tcp_flags {
	TCP_FLAG_FIN = 0x01,
	TCP_FLAG_PSH = 0x08,
	TCP_FLAG_ACK = 0x10,
	TCP_FLAG_CWR = 0x80,
};

enum udp_layout {
	UDP_LEN = 4,
	UDP_CHECK = 6,
	UDP_HEADER_LEN = 8,
};

enum ip_proto {
	IP_PROTO_TCP = 6,
	IP_PROTO_UDP = 17,
};

/* In memory order, for comparisons and checksums. */
static inline uint16_t load16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void store16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

/* Numbers in network byte order, from and to host byte order. */
static inline uint16_t get_be16(const uint8_t *p)
{
	return be16toh(load16(p));
}

static inline uint32_t get_be32(const uint8_t *p)
{
	return be32toh(load32(p));
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
	store16(p, htobe16(v));
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

/* The following functions take a packet that inner_packet_len() accepted. */
static inline unsigned ip_version(const uint8_t *packet)
{
	return packet[0] >> 4;
}

/* Returns the length in bytes of the IPv4 header with options, or of the fixed IPv6 header. */
static inline size_t ip_header_len(const uint8_t *packet)
{
	return ip_version(packet) == 4 ? (packet[0] & 15) * 4U : (size_t)IPV6_HEADER_LEN;
}

/* Returns the IPv4 protocol, or the next header of the fixed IPv6 header. */
static inline uint8_t ip_proto(const uint8_t *packet)
{
	return packet[ip_version(packet) == 4 ? (int)IPV4_PROTO : (int)IPV6_NEXT_HEADER];
}

/*
 * Returns the length in bytes that the IP header of `packet` states: the IPv4 total length, or
 * the IPv6 payload length plus 40 for the header. It is at most `len`; the bytes behind it are
 * padding (whitepaper section 5.4.6). Returns -EBADMSG if the `len` bytes do not begin with a
 * valid IPv4 or IPv6 header, or the header states more than `len`.
 */
static inline int inner_packet_len(const uint8_t *packet, size_t len)
{
	size_t total;

	if (len >= IPV4_HEADER_LEN && ip_version(packet) == 4) {
		total = get_be16(packet + IPV4_TOTAL_LEN);
		if (ip_header_len(packet) < IPV4_HEADER_LEN ||
		    ip_header_len(packet) > total)
			return -EBADMSG;
	} else if (len >= IPV6_HEADER_LEN && ip_version(packet) == 6) {
		total = IPV6_HEADER_LEN + (size_t)get_be16(packet + IPV6_PAYLOAD_LEN);
	} else {
		return -EBADMSG;
	}
	return total <= len ? (int)total : -EBADMSG;
}

#endif
