// SPDX-License-Identifier: MIT
#include "outer.h"

#include <linux/if_ether.h>
#include <string.h>

#include "checksum.h"
#include "ecn.h"
#include "inet.h"

static void read_v4(const uint8_t *ip, struct endpoint *from)
{
	from->addr.family = from->source.family = IP_V4;
	memcpy(from->addr.bytes, ip + IPV4_ADDRS, 4);
	memcpy(from->source.bytes, ip + IPV4_ADDRS + 4, 4);
}

static void read_v6(const uint8_t *ip, uint32_t ifindex, struct endpoint *from)
{
	from->addr.family = from->source.family = IP_V6;
	memcpy(from->addr.bytes, ip + IPV6_ADDRS, 16);
	memcpy(from->source.bytes, ip + IPV6_ADDRS + 16, 16);
	if (ip_addr_link_local(&from->addr))
		from->scope_id = ifindex;
}

uint8_t *outer_parse(const struct nic *nic, const struct nic_frame *f,
		     struct endpoint *from, uint32_t *len)
{
	uint8_t *ip = f->data + ETH_HLEN, *udp;

	memset(from, 0, sizeof(*from));
	if (ip[0] >> 4 == 4) {
		read_v4(ip, from);
		udp = ip + IPV4_HEADER_LEN;
	} else {
		read_v6(ip, nic->ifindex, from);
		udp = ip + IPV6_HEADER_LEN;
	}
	from->port = get_be16(udp);
	*len = get_be16(udp + UDP_LEN) - (uint32_t)UDP_HEADER_LEN;
	return udp + UDP_HEADER_LEN;
}

static uint64_t pseudo_header(const uint8_t *ip, uint16_t udp_len)
{
	return ip_version(ip) == 4 ? csum_pseudo4(ip + IPV4_ADDRS, IP_PROTO_UDP, udp_len)
				   : csum_pseudo6(ip + IPV6_ADDRS, IP_PROTO_UDP, udp_len);
}

bool outer_checksum_right(const struct nic_frame *f)
{
	const uint8_t *ip = f->data + ETH_HLEN;
	const uint8_t *udp =
		ip + (ip_version(ip) == 4 ? IPV4_HEADER_LEN : IPV6_HEADER_LEN);
	uint16_t len = get_be16(udp + UDP_LEN), check = load16(udp + UDP_CHECK);
	uint64_t pseudo = pseudo_header(ip, len);

	if (!check || check == csum_fold(pseudo))
		return true;
	return csum_fold(csum_add(pseudo, udp, len)) == 0xffff;
}

const uint8_t *outer_sender_mac(const uint8_t *message, enum ip_family family)
{
	uint32_t ip_len = family == IP_V4 ? IPV4_HEADER_LEN : IPV6_HEADER_LEN;

	return message - UDP_HEADER_LEN - ip_len - ETH_HLEN + ETH_ALEN;
}

uint8_t outer_ecn(const struct nic_frame *f)
{
	return ip_ecn(f->data + ETH_HLEN);
}
