// SPDX-License-Identifier: MIT
/*
 * Events of rtnetlink: one message of any type and content. Its length is right and a multiple of
 * four, as in every message of the kernel: libmnl relies on that. The parser is static, so it is
 * included.
 */
#include "rtnl_events.c" /* NOLINT(bugprone-suspicious-include) */

#include "fuzz.h"

static void on_link(void *ctx, bool present, const struct rtnl_link *link,
		    uint32_t ifindex)
{
	CHECK(strnlen(link->name, sizeof(link->name)) < sizeof(link->name));
}

static void on_addr(void *ctx, bool added, const struct rtnl_addr *addr)
{
	CHECK(addr->addr.family == IP_V4 || addr->addr.family == IP_V6);
}

static void on_route(void *ctx, const struct ip_addr *prefix, unsigned len)
{
	CHECK(len <= ip_addr_len(prefix) * 8);
}

static void on_neigh(void *ctx, uint32_t ifindex, const struct ip_addr *addr,
		     uint16_t state, const uint8_t *mac)
{
	uint8_t copy[6];

	if (mac)
		memcpy(copy, mac, sizeof(copy));
	CHECK(addr->family == IP_V4 || addr->family == IP_V6);
}

static void on_tc(void *ctx, uint32_t ifindex)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct rtnl_handler handler = {
		.link = on_link,
		.addr = on_addr,
		.route = on_route,
		.neigh = on_neigh,
		.tc_changed = on_tc,
	};
	struct nlmsghdr *nlh;

	len -= len % 4;
	nlh = exact(data, len);
	if (len >= sizeof(*nlh)) {
		nlh->nlmsg_len = (uint32_t)len;
		events_walk((const char *)nlh, (int)len, &handler, NULL);
	}
	free(nlh);
	return 0;
}
