// SPDX-License-Identifier: MIT
#include "probe.h"

#include <endian.h>
#include <string.h>

#include <linux/if_ether.h>

#include "inet.h"
#include "nic.h"

#define PROBE_TTL 64
#define PROBE_MTU 1280 /* any that is large enough */

_Static_assert(WG_PROBE_COUNTER >= WG_REJECT_AFTER_MESSAGES, "a session's counter");

/* What the peer's path to us looks like at its end. */
static void path_to_us(struct path *p, const struct endpoint *from, struct nic *nic,
		       const uint8_t mac[6], uint16_t listen_port)
{
	struct endpoint us = {.addr = from->source, .port = listen_port};
	struct route route = {
		.ifindex = nic->ifindex,
		.source = from->addr,
		.l2_ok = true,
		.ttl = PROBE_TTL,
		.mtu = PROBE_MTU,
	};

	memcpy(route.l2, nic->mac, ETH_ALEN);
	memcpy(route.l2 + ETH_ALEN, mac, ETH_ALEN);
	put_be16(route.l2 + 2 * ETH_ALEN,
		 from->addr.family == IP_V4 ? ETH_P_IP : ETH_P_IPV6);
	path_init(p, &us);
	path_set_route(p, &route);
	path_use_nic(p, nic, from->port);
}

uint32_t probe_write(uint8_t frame[PROBE_FRAME_MAX], const struct endpoint *from,
		     struct nic *nic, const uint8_t mac[6], uint16_t listen_port,
		     uint32_t receiver, const uint8_t tag[WG_TAG_LEN])
{
	struct wg_data header = {
		.type = htole32(WG_DATA),
		.receiver = receiver,
		.counter = WG_PROBE_COUNTER,
	};
	struct path path;
	uint8_t *message;

	path_to_us(&path, from, nic, mac, listen_port);
	message = frame + path.header_len;
	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), tag, WG_TAG_LEN);
	path_write_headers(&path, frame, PROBE_MESSAGE_LEN, path_take_ids(&path, 1), 0);
	return path.header_len + (uint32_t)PROBE_MESSAGE_LEN;
}

bool probe_is(const uint8_t *message, uint32_t len)
{
	struct wg_data header;

	memcpy(&header, message, sizeof(header));
	return len == PROBE_MESSAGE_LEN && header.counter == WG_PROBE_COUNTER;
}
