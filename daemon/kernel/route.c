// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <unistd.h>

#include "route.h"
#include "rtnl_query.h"

/* What Linux uses where nobody says otherwise. */
#define DEFAULT_TTL 64
#define TTL_SYSCTL  "/proc/sys/net/ipv4/ip_default_ttl"

/* Other addresses are routed whatever their scope, as the UDP sockets do it. */
static uint32_t scope_of(const struct endpoint *ep, const struct ip_addr *a)
{
	return ip_addr_link_local(a) ? ep->scope_id : 0;
}

/* IPv4 route lookups refuse a source that is not ours; IPv6 ones take any. */
static bool source_is_local(struct rtnl *r, const struct endpoint *ep)
{
	static const struct ip_addr none;
	struct rtnl_route rt;

	if (ep->source.family == IP_V4)
		return true;
	return !rtnl_route_get(r, &ep->source, &none, scope_of(ep, &ep->source), 0, 0, 0,
			       &rt) &&
	       rt.type == RTN_LOCAL;
}

static int lookup_from(struct rtnl *r, const struct endpoint *ep,
		       const struct ip_addr *source, uint16_t listen_port,
		       uint32_t fwmark, struct rtnl_route *out)
{
	return rtnl_route_get(r, &ep->addr, source, scope_of(ep, &ep->addr), fwmark,
			      listen_port, ep->port, out);
}

static int lookup(struct rtnl *r, const struct endpoint *ep, uint16_t listen_port,
		  uint32_t fwmark, struct rtnl_route *out, bool *source_gone)
{
	static const struct ip_addr none;

	*source_gone = false;
	if (ep->source.family != IP_NONE) {
		if (source_is_local(r, ep) &&
		    !lookup_from(r, ep, &ep->source, listen_port, fwmark, out))
			return 0;
		*source_gone = true;
	}
	return lookup_from(r, ep, &none, listen_port, fwmark, out);
}

/* The neighbour's address, or -errno, having asked the kernel for it. */
static int neighbour(struct rtnl *r, const struct rtnl_route *rt, uint8_t mac[6])
{
	int err = rtnl_neigh_get(r, rt->ifindex, &rt->nexthop, mac);

	if (!err)
		return 0;
	/* The UDP socket asks by itself, so that a refusal here costs nothing. */
	rtnl_neigh_probe(r, rt->ifindex, &rt->nexthop);
	/* On a device without ARP the entry is usable from its creation on, which
	 * makes no event. */
	return rtnl_neigh_get(r, rt->ifindex, &rt->nexthop, mac);
}

static void fill_l2(struct rtnl *r, const struct rtnl_route *rt,
		    const struct rtnl_link *link, uint16_t ethertype, struct route *out)
{
	uint8_t mac[6];

	if (rt->type != RTN_UNICAST || rt->encap || link->type != ARPHRD_ETHER ||
	    rt->source.family == IP_NONE)
		return;
	if (neighbour(r, rt, mac))
		return;
	memcpy(out->l2, mac, 6);
	memcpy(out->l2 + 6, link->mac, 6);
	out->l2[12] = ethertype >> 8;
	out->l2[13] = ethertype & 0xff;
	out->l2_ok = true;
}

static uint8_t default_ttl4(void)
{
	char text[8] = "";
	int ttl, fd = open(TTL_SYSCTL, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return DEFAULT_TTL;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	ttl = atoi(text);
	return ttl > 0 && ttl <= UINT8_MAX ? (uint8_t)ttl : DEFAULT_TTL;
}

static uint8_t ttl_of(const struct rtnl_route *rt, const struct rtnl_link *link,
		      enum ip_family family)
{
	if (rt->hoplimit)
		return rt->hoplimit;
	if (family == IP_V4)
		return default_ttl4();
	return link->hop_limit ? link->hop_limit : DEFAULT_TTL;
}

static uint32_t mtu_of(const struct rtnl_route *rt, const struct rtnl_link *link,
		       enum ip_family family)
{
	uint32_t mtu = link->mtu;

	if (family == IP_V6 && link->mtu6 && link->mtu6 < mtu)
		mtu = link->mtu6;
	return rt->mtu && rt->mtu < mtu ? rt->mtu : mtu;
}

int route_resolve(struct rtnl *r, const struct endpoint *ep, uint16_t listen_port,
		  uint32_t fwmark, struct route *out)
{
	struct rtnl_route rt;
	struct rtnl_link link;
	bool source_gone;
	int err;

	memset(out, 0, sizeof(*out));
	if (ip_addr_link_local(&ep->addr) && !ep->scope_id)
		return -EINVAL;
	err = lookup(r, ep, listen_port, fwmark, &rt, &source_gone);
	if (err)
		return err;
	err = rtnl_link_get(r, rt.ifindex, &link);
	if (err)
		return err;
	out->ifindex = rt.ifindex;
	out->source = rt.source;
	out->nexthop = rt.nexthop;
	out->source_gone = source_gone;
	out->ttl = ttl_of(&rt, &link, ep->addr.family);
	out->mtu = mtu_of(&rt, &link, ep->addr.family);
	fill_l2(r, &rt, &link, ep->addr.family == IP_V4 ? ETH_P_IP : ETH_P_IPV6, out);
	return 0;
}

int route_keep_neigh(struct rtnl *r, const struct route *route)
{
	return route->l2_ok ? rtnl_neigh_probe(r, route->ifindex, &route->nexthop) : 0;
}

bool route_affected_by_neigh(const struct route *route, uint32_t ifindex,
			     const struct ip_addr *addr, uint16_t state,
			     const uint8_t *mac)
{
	if (route->ifindex != ifindex || !ip_addr_equal(&route->nexthop, addr))
		return false;
	if (!route->l2_ok)
		return rtnl_neigh_usable(state);
	return !rtnl_neigh_usable(state) || !mac || memcmp(route->l2, mac, 6);
}

bool route_left_source(struct rtnl *r, const struct endpoint *ep, uint32_t before,
		       uint32_t after)
{
	uint32_t owner;

	if (ep->source.family == IP_NONE || !before || before == after)
		return false;
	return !rtnl_addr_link(r, &ep->source, &owner) && owner == before;
}
