// SPDX-License-Identifier: MIT
#include "icmp.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

#include "checksum.h"
#include "inet.h"

/* icmp: an ICMP header, of which at least the type byte is there. */
static bool is_v4_error(const uint8_t *icmp)
{
	switch (icmp[0]) {
	case ICMP_DEST_UNREACH:
	case ICMP_SOURCE_QUENCH:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETERPROB:
		return true;
	default:
		return icmp[0] > NR_ICMP_TYPES; /* an unknown type may be an error */
	}
}

/* Returns true if RFC 1122 section 3.2.2 allows an error about the packet. */
static bool answerable_v4(const uint8_t *packet, size_t len)
{
	const uint8_t *from = packet + IPV4_ADDRS, *to = from + 4;
	size_t header = ip_header_len(packet);

	if (from[0] == 0 || from[0] == 127 || IN_MULTICAST(get_be32(from)) ||
	    get_be32(from) == INADDR_BROADCAST)
		return false;
	if (IN_MULTICAST(get_be32(to)) || get_be32(to) == INADDR_BROADCAST)
		return false;
	if (get_be16(packet + IPV4_FRAG) & IPV4_OFFSET_MASK)
		return false;
	if (packet[IPV4_PROTO] != IPPROTO_ICMP)
		return true;
	return len > header && !is_v4_error(packet + header);
}

static bool is_extension(uint8_t kind)
{
	return kind == IPPROTO_HOPOPTS || kind == IPPROTO_ROUTING ||
	       kind == IPPROTO_DSTOPTS || kind == IPPROTO_FRAGMENT || kind == IPPROTO_AH;
}

static size_t extension_len(uint8_t kind, const uint8_t *header)
{
	if (kind == IPPROTO_FRAGMENT)
		return 8;
	return kind == IPPROTO_AH ? (header[1] + 2U) * 4 : (header[1] + 1U) * 8;
}

/* Walks the extension headers. Returns false if their chain is cut short, or leads into a
 * fragment other than the first or to an ICMPv6 error. */
static bool answerable_payload(const uint8_t *packet, size_t len)
{
	uint8_t kind = packet[IPV6_NEXT_HEADER];
	size_t at = IPV6_HEADER_LEN;

	while (is_extension(kind)) {
		const uint8_t *header = packet + at;

		if (at + 8 > len)
			return false;
		if (kind == IPPROTO_FRAGMENT && get_be16(header + 2) & 0xfff8)
			return false;
		at += extension_len(kind, header);
		kind = header[0];
	}
	if (kind != IPPROTO_ICMPV6)
		return true;
	return at < len && packet[at] & ICMP6_INFOMSG_MASK && packet[at] != ND_REDIRECT;
}

/* Returns true if RFC 4443 section 2.4 (e) allows an error about the packet. */
static bool answerable_v6(const uint8_t *packet, size_t len)
{
	static const uint8_t any[16];
	const uint8_t *from = packet + IPV6_ADDRS, *to = from + 16;

	if (from[0] == 0xff || to[0] == 0xff || !memcmp(from, any, sizeof(any)))
		return false;
	return answerable_payload(packet, len);
}

/* Writes a message that quotes at most `limit` bytes of the packet. */
static void quote(struct icmp_error *e, const uint8_t *packet, size_t len, size_t limit)
{
	if (len > limit)
		len = limit;
	memset(e->message, 0, ICMP_HEADER_LEN);
	memcpy(e->message + ICMP_HEADER_LEN, packet, len);
	e->len = ICMP_HEADER_LEN + len;
}

/* addrs: source and destination as they follow one another in the IP header. */
static void take_addrs(struct icmp_error *e, uint8_t family, const uint8_t *addrs)
{
	memset(&e->to, 0, sizeof(e->to));
	memset(&e->about, 0, sizeof(e->about));
	e->to.family = e->about.family = family;
	memcpy(e->to.bytes, addrs, ip_addr_len(&e->to));
	memcpy(e->about.bytes, addrs + ip_addr_len(&e->to), ip_addr_len(&e->to));
}

bool icmp_unreachable(struct icmp_error *e, const uint8_t *packet, size_t len)
{
	int total = inner_packet_len(packet, len);

	if (total < 0)
		return false;
	if (ip_version(packet) == 4) {
		if (!answerable_v4(packet, (size_t)total))
			return false;
		take_addrs(e, IP_V4, packet + IPV4_ADDRS);
		quote(e, packet, (size_t)total, ICMP_QUOTE_V4);
		e->message[0] = ICMP_DEST_UNREACH;
		e->message[1] = ICMP_HOST_UNREACH;
		store16(e->message + 2, csum_finish(csum_add(0, e->message, e->len)));
	} else {
		if (!answerable_v6(packet, (size_t)total))
			return false;
		take_addrs(e, IP_V6, packet + IPV6_ADDRS);
		quote(e, packet, (size_t)total, ICMP_QUOTE_V6);
		e->message[0] = ICMP6_DST_UNREACH;
		e->message[1] = ICMP6_DST_UNREACH_ADDR;
		/* The kernel fills in the checksum, because it covers the source address. */
	}
	return true;
}

size_t icmp_quoted_l4(const struct icmp_error *e, size_t len)
{
	size_t l4 = ICMP_HEADER_LEN + ip_header_len(e->message + ICMP_HEADER_LEN);

	return l4 + len <= e->len ? l4 : 0;
}

void icmp_set_sender(struct icmp_error *e, const struct ip_addr *from, size_t port_at,
		     uint16_t port)
{
	uint8_t *quoted = e->message + ICMP_HEADER_LEN;
	bool v4 = from->family == IP_V4;

	e->to = *from;
	memcpy(quoted + (v4 ? (size_t)IPV4_ADDRS : (size_t)IPV6_ADDRS), from->bytes,
	       ip_addr_len(from));
	if (port_at)
		store16(e->message + port_at, port);
	if (!v4)
		return;
	store16(quoted + IPV4_CHECK, 0);
	store16(quoted + IPV4_CHECK,
		csum_finish(csum_add(0, quoted, ip_header_len(quoted))));
	store16(e->message + 2, 0);
	store16(e->message + 2, csum_finish(csum_add(0, e->message, e->len)));
}
