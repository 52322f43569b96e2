// SPDX-License-Identifier: MIT
#include "route.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>

#include "routing.h"
#include "rtnl_query.h"
#include "thread.h"

/* What Linux uses if neither the route nor the link says otherwise. */
#define DEFAULT_HOP_LIMIT 64

/* Only link-local addresses need their scope; the UDP sockets do the same. */
static uint32_t scope_of(const struct endpoint *ep, const struct ip_addr *a)
{
	return ip_addr_link_local(a) ? ep->scope_id : 0;
}

/* Returns 0 if the source is an address of this host. IPv4 route look-ups refuse a source that is
 * not ours; IPv6 ones take any. */
static int source_is_local(struct rtnl *r, const struct endpoint *ep)
{
	static const struct ip_addr none;
	struct rtnl_route rt;
	int err;

	if (ep->source.family == IP_V4)
		return 0;
	err = rtnl_route_get(r, &ep->source, &none, scope_of(ep, &ep->source), 0, 0, 0,
			     &rt);
	if (err)
		return err;
	return rt.type == RTN_LOCAL ? 0 : -EADDRNOTAVAIL;
}

static int lookup_from(struct rtnl *r, const struct endpoint *ep,
		       const struct ip_addr *source, uint16_t listen_port,
		       uint32_t fwmark, struct rtnl_route *out)
{
	return rtnl_route_get(r, &ep->addr, source, scope_of(ep, &ep->addr), fwmark,
			      listen_port, ep->port, out);
}

static bool is_same_way(const struct rtnl_route *a, const struct rtnl_route *b)
{
	return a->ifindex == b->ifindex && ip_addr_equal(&a->source, &b->source) &&
	       ip_addr_equal(&a->nexthop, &b->nexthop);
}

/* Sets *out, and source_gone and source_default of *route. */
static int lookup(struct rtnl *r, const struct endpoint *ep, uint16_t listen_port,
		  uint32_t fwmark, struct rtnl_route *out, struct route *route)
{
	static const struct ip_addr none;
	struct rtnl_route chosen; /* by the kernel */
	int err, err_chosen = lookup_from(r, ep, &none, listen_port, fwmark, &chosen);
	bool local = !err_chosen && ip_addr_equal(&chosen.source, &ep->source);

	*out = chosen;
	if (ep->source.family == IP_NONE || rtnl_is_momentary(err_chosen))
		return err_chosen;
	err = local ? 0 : source_is_local(r, ep);
	if (!err)
		err = lookup_from(r, ep, &ep->source, listen_port, fwmark, out);
	if (err && !rtnl_is_momentary(err)) {
		route->source_gone = true;
		*out = chosen;
		return err_chosen;
	}
	route->source_default = !err && !err_chosen && is_same_way(out, &chosen);
	return err;
}

/* 0, also if there is no header for now; or -errno if that could not be asked. */
static int fill_l2(struct routing *t, const struct rtnl_route *rt,
		   const struct rtnl_link *link, uint16_t ethertype, struct route *out)
{
	uint8_t mac[6];
	int err;

	if (rt->type != RTN_UNICAST || rt->encap || link->type != ARPHRD_ETHER ||
	    rt->source.family == IP_NONE)
		return 0;
	out->by_neighbour = true;
	err = neighbours_get(&t->neighbours, t->rtnl, rt->ifindex, &rt->nexthop, mac);
	if (err)
		return rtnl_is_momentary(err) ? err : 0;
	memcpy(out->l2, mac, 6);
	memcpy(out->l2 + 6, link->mac, 6);
	out->l2[12] = ethertype >> 8;
	out->l2[13] = ethertype & 0xff;
	out->l2_ok = true;
	return 0;
}

static uint8_t ttl_of(const struct routing *t, const struct rtnl_route *rt,
		      const struct rtnl_link *link, enum ip_family family)
{
	if (rt->hoplimit)
		return rt->hoplimit;
	if (family == IP_V4)
		return t->default_ttl;
	return link->hop_limit ? link->hop_limit : DEFAULT_HOP_LIMIT;
}

static uint32_t mtu_of(const struct rtnl_route *rt, const struct rtnl_link *link,
		       enum ip_family family)
{
	uint32_t mtu = link->mtu;

	if (family == IP_V6 && link->mtu6 && link->mtu6 < mtu)
		mtu = link->mtu6;
	return rt->mtu && rt->mtu < mtu ? rt->mtu : mtu;
}

int route_resolve(struct routing *t, const struct endpoint *ep, uint16_t listen_port,
		  uint32_t fwmark, struct route *out)
{
	const struct rtnl_link *link;
	struct rtnl_route rt;
	int err;

	assert_control_thread();
	memset(out, 0, sizeof(*out));
	if (ip_addr_link_local(&ep->addr) && !ep->scope_id)
		return -EINVAL;
	err = lookup(t->rtnl, ep, listen_port, fwmark, &rt, out);
	link = err ? NULL : links_find(&t->links, rt.ifindex);
	if (!link) {
		memset(out, 0, sizeof(*out));
		return err ? err : -ENODEV;
	}
	out->ifindex = rt.ifindex;
	out->source = rt.source;
	out->nexthop = rt.nexthop;
	out->ttl = ttl_of(t, &rt, link, ep->addr.family);
	out->mtu = mtu_of(&rt, link, ep->addr.family);
	err = fill_l2(t, &rt, link, ep->addr.family == IP_V4 ? ETH_P_IP : ETH_P_IPV6,
		      out);
	if (err)
		memset(out, 0, sizeof(*out));
	return err;
}

int route_keep_neigh(struct routing *t, const struct route *route)
{
	assert_control_thread();
	if (!route->l2_ok)
		return 0;
	return rtnl_neigh_probe(t->rtnl, route->ifindex, &route->nexthop);
}

struct neighbour route_neighbour(const struct route *route)
{
	struct neighbour n = {.usable = route->l2_ok};

	if (n.usable)
		memcpy(n.mac, route->l2, sizeof(n.mac));
	return n;
}

bool route_left_source(struct routing *t, const struct endpoint *ep, uint32_t before,
		       uint32_t after)
{
	uint32_t owner;

	assert_control_thread();
	if (ep->source.family == IP_NONE || !before || before == after)
		return false;
	return !rtnl_addr_link(t->rtnl, &ep->source, &owner) && owner == before;
}
