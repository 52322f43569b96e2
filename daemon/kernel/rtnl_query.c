// SPDX-License-Identifier: MIT
#include "rtnl_query.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "thread.h"

#define DUMP_TRIES 5

/* Returns the error that sending by a route of that type gives a socket, or 0. */
static int route_type_error(uint8_t type)
{
	switch (type) {
	case RTN_UNSPEC:
	case RTN_THROW:
		return -ENETUNREACH;
	case RTN_UNREACHABLE:
		return -EHOSTUNREACH;
	case RTN_BLACKHOLE:
		return -EINVAL;
	case RTN_PROHIBIT:
		return -EACCES;
	default:
		return 0;
	}
}

static void parse_metrics(const struct nlattr *nest, struct rtnl_route *out)
{
	const struct nlattr *tb[RTAX_HOPLIMIT + 1];
	uint32_t hoplimit;

	rtnl_parse_nested(nest, tb, RTAX_HOPLIMIT);
	out->mtu = rtnl_attr_u32(tb[RTAX_MTU]);
	hoplimit = rtnl_attr_u32(tb[RTAX_HOPLIMIT]);
	out->hoplimit = hoplimit <= UINT8_MAX ? hoplimit : 0;
}

/* RTA_VIA holds a next hop of the other family (RFC 5549); RTA_GATEWAY cannot. */
static bool parse_via(const struct nlattr *attr, struct ip_addr *out)
{
	const struct rtvia *via;
	size_t len;

	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(*via))
		return false;
	via = mnl_attr_get_payload(attr);
	len = mnl_attr_get_payload_len(attr) - sizeof(*via);
	return rtnl_addr_set(out, via->rtvia_family, via->rtvia_addr, len);
}

static int route_errno(const struct rtmsg *rtm, const struct nlattr *cacheinfo)
{
	const struct rta_cacheinfo *info;

	if (cacheinfo && mnl_attr_get_payload_len(cacheinfo) >= sizeof(*info)) {
		info = mnl_attr_get_payload(cacheinfo);
		if ((int32_t)info->rta_error < 0)
			return (int32_t)info->rta_error;
	}
	return route_type_error(rtm->rtm_type);
}

/* ctx: struct rtnl_route. Its nexthop must be the destination, and its source the one that
 * the request named, or IP_NONE. */
static int parse_route(const struct nlmsghdr *nlh, void *ctx)
{
	const struct nlattr *tb[RTA_MAX + 1];
	const struct rtmsg *rtm = rtnl_parse_message(nlh, sizeof(*rtm), tb, RTA_MAX);
	struct rtnl_route *out = ctx;
	struct ip_addr addr;
	int err;

	if (!rtm || nlh->nlmsg_type != RTM_NEWROUTE)
		return -EPROTO;
	err = route_errno(rtm, tb[RTA_CACHEINFO]);
	if (err)
		return err;
	out->type = rtm->rtm_type;
	out->ifindex = rtnl_attr_u32(tb[RTA_OIF]);
	out->encap = tb[RTA_ENCAP] || tb[RTA_NEWDST];
	parse_metrics(tb[RTA_METRICS], out);
	if (rtnl_attr_addr(tb[RTA_GATEWAY], rtm->rtm_family, &addr) ||
	    parse_via(tb[RTA_VIA], &addr))
		out->nexthop = addr;
	if (out->source.family == IP_NONE &&
	    rtnl_attr_addr(tb[RTA_PREFSRC], rtm->rtm_family, &addr))
		out->source = addr;
	return out->ifindex ? 0 : -ENETUNREACH;
}

static struct nlmsghdr *route_request(struct rtnl_request *req, const struct ip_addr *dst,
				      const struct ip_addr *src)
{
	struct nlmsghdr *nlh = rtnl_request_init(req, RTM_GETROUTE, 0);
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));

	rtm->rtm_family = rtnl_addr_family(dst);
	rtm->rtm_dst_len = ip_addr_len(dst) * 8;
	rtnl_put_addr(nlh, RTA_DST, dst);
	if (src->family != IP_NONE) {
		rtm->rtm_src_len = ip_addr_len(src) * 8;
		rtnl_put_addr(nlh, RTA_SRC, src);
	}
	return nlh;
}

int rtnl_route_get(struct rtnl *r, const struct ip_addr *dst, const struct ip_addr *src,
		   uint32_t oif_scope, uint32_t fwmark, uint16_t sport, uint16_t dport,
		   struct rtnl_route *out)
{
	struct rtnl_request req;
	struct nlmsghdr *nlh;
	int err;

	assert_control_thread();
	memset(out, 0, sizeof(*out));
	if (rtnl_addr_family(dst) == AF_UNSPEC ||
	    (src->family != IP_NONE && src->family != dst->family))
		return -EAFNOSUPPORT;
	nlh = route_request(&req, dst, src);
	if (oif_scope)
		mnl_attr_put_u32(nlh, RTA_OIF, oif_scope);
	if (fwmark)
		mnl_attr_put_u32(nlh, RTA_MARK, fwmark);
	mnl_attr_put_u8(nlh, RTA_IP_PROTO, IPPROTO_UDP);
	/* The kernel refuses port 0. */
	if (sport)
		mnl_attr_put_u16(nlh, RTA_SPORT, htons(sport));
	if (dport)
		mnl_attr_put_u16(nlh, RTA_DPORT, htons(dport));
	out->nexthop = *dst;
	out->source = *src;
	err = rtnl_query(r, nlh, parse_route, out);
	if (err)
		memset(out, 0, sizeof(*out));
	return err;
}

/* Asks for the matching entry of the local table (RTM_F_FIB_MATCH), because the route to an
 * address of this host names lo as its link. */
int rtnl_addr_link(struct rtnl *r, const struct ip_addr *addr, uint32_t *ifindex)
{
	static const struct ip_addr none;
	struct rtnl_route entry = {0};
	struct rtnl_request req;
	struct nlmsghdr *nlh;
	struct rtmsg *rtm;
	int err;

	assert_control_thread();
	*ifindex = 0;
	if (rtnl_addr_family(addr) == AF_UNSPEC)
		return -EAFNOSUPPORT;
	nlh = route_request(&req, addr, &none);
	rtm = mnl_nlmsg_get_payload(nlh);
	rtm->rtm_flags = RTM_F_FIB_MATCH;
	err = rtnl_query(r, nlh, parse_route, &entry);
	if (err)
		return err;
	if (entry.type != RTN_LOCAL)
		return -EADDRNOTAVAIL;
	*ifindex = entry.ifindex;
	return 0;
}

static void add_hop(struct rtnl_hops *hops, uint32_t ifindex)
{
	if (ifindex && hops->count < RTNL_HOPS_MAX)
		hops->links[hops->count++] = ifindex;
}

static void add_hops(struct rtnl_hops *hops, const struct nlattr *multipath)
{
	const struct rtnexthop *hop = mnl_attr_get_payload(multipath);
	int left = mnl_attr_get_payload_len(multipath);

	for (; RTNH_OK(hop, left);
	     left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop))
		add_hop(hops, (uint32_t)hop->rtnh_ifindex);
}

/* ctx: struct rtnl_hops */
static int parse_default(const struct nlmsghdr *nlh, void *ctx)
{
	const struct nlattr *tb[RTA_MAX + 1];
	const struct rtmsg *rtm = rtnl_parse_message(nlh, sizeof(*rtm), tb, RTA_MAX);

	if (!rtm || nlh->nlmsg_type != RTM_NEWROUTE)
		return -EPROTO;
	if (rtm->rtm_dst_len || rtm->rtm_type != RTN_UNICAST)
		return 0;
	if (tb[RTA_MULTIPATH])
		add_hops(ctx, tb[RTA_MULTIPATH]);
	else
		add_hop(ctx, rtnl_attr_u32(tb[RTA_OIF]));
	return 0;
}

/* Asks for the entry that matches an address that nobody has, and so no other route leads to: a
 * dump would have all routes, of which a router may have a million. */
int rtnl_default_hops(struct rtnl *r, int family, uint32_t fwmark, struct rtnl_hops *out)
{
	static const uint8_t v4[] = {255, 255, 255, 254}, v6[16] = {0x40, [15] = 1};
	static const struct ip_addr none;
	struct rtnl_request req;
	struct ip_addr nobody;
	struct nlmsghdr *nlh;
	struct rtmsg *rtm;
	int err;

	assert_control_thread();
	out->count = 0;
	rtnl_addr_set(&nobody, family, family == AF_INET ? v4 : v6,
		      family == AF_INET ? sizeof(v4) : sizeof(v6));
	nlh = route_request(&req, &nobody, &none);
	rtm = mnl_nlmsg_get_payload(nlh);
	rtm->rtm_flags = RTM_F_FIB_MATCH;
	if (fwmark)
		mnl_attr_put_u32(nlh, RTA_MARK, fwmark);
	err = rtnl_query(r, nlh, parse_default, out);
	return err && rtnl_is_momentary(err) ? err : 0;
}

bool rtnl_neigh_usable(uint16_t state)
{
	return state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE |
			NUD_PERMANENT | NUD_NOARP);
}

struct neigh {
	uint16_t state;
	bool foreign; /* static, or kept by another program */
	bool has_mac;
	uint8_t mac[6];
};

/* ctx: struct neigh */
static int parse_neigh(const struct nlmsghdr *nlh, void *ctx)
{
	const struct nlattr *tb[NDA_FLAGS_EXT + 1];
	const struct ndmsg *ndm =
		rtnl_parse_message(nlh, sizeof(*ndm), tb, NDA_FLAGS_EXT);
	struct neigh *out = ctx;
	const uint8_t *mac;

	if (!ndm || nlh->nlmsg_type != RTM_NEWNEIGH)
		return -EPROTO;
	out->state = ndm->ndm_state;
	out->foreign = (ndm->ndm_state & (NUD_PERMANENT | NUD_NOARP)) ||
		       (ndm->ndm_flags & NTF_EXT_LEARNED) ||
		       (rtnl_attr_u32(tb[NDA_FLAGS_EXT]) & NTF_EXT_MANAGED);
	mac = rtnl_attr_mac(tb[NDA_LLADDR]);
	out->has_mac = mac;
	if (mac)
		memcpy(out->mac, mac, 6);
	return 0;
}

static struct nlmsghdr *neigh_request(struct rtnl_request *req, uint16_t type,
				      uint16_t flags, uint32_t ifindex,
				      const struct ip_addr *addr, uint8_t neigh_flags)
{
	struct nlmsghdr *nlh = rtnl_request_init(req, type, flags);
	struct ndmsg *ndm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ndm));

	ndm->ndm_family = rtnl_addr_family(addr);
	ndm->ndm_ifindex = (int32_t)ifindex;
	ndm->ndm_flags = neigh_flags;
	rtnl_put_addr(nlh, NDA_DST, addr);
	return nlh;
}

static int neigh_query(struct rtnl *r, uint32_t ifindex, const struct ip_addr *addr,
		       struct neigh *out)
{
	struct rtnl_request req;

	memset(out, 0, sizeof(*out));
	if (rtnl_addr_family(addr) == AF_UNSPEC)
		return -EAFNOSUPPORT;
	return rtnl_query(r, neigh_request(&req, RTM_GETNEIGH, 0, ifindex, addr, 0),
			  parse_neigh, out);
}

int rtnl_neigh_get(struct rtnl *r, uint32_t ifindex, const struct ip_addr *addr,
		   uint8_t mac[6])
{
	assert_control_thread();
	struct neigh neigh;
	int err = neigh_query(r, ifindex, addr, &neigh);

	memset(mac, 0, 6);
	if (err)
		return err;
	if (!rtnl_neigh_usable(neigh.state) || !neigh.has_mac)
		return -ENOENT;
	memcpy(mac, neigh.mac, 6);
	return 0;
}

/*
 * NTF_USE clears NUD_PERMANENT and the flags of managed and externally learnt entries: after
 * that, the network could change a static entry. Such entries are therefore left alone.
 * NLM_F_REPLACE is not used, because it would clear the router flag of an IPv6 neighbour.
 */
int rtnl_neigh_probe(struct rtnl *r, uint32_t ifindex, const struct ip_addr *addr)
{
	assert_control_thread();
	struct rtnl_request req;
	struct neigh neigh;
	int err = neigh_query(r, ifindex, addr, &neigh);

	if (!err && neigh.foreign)
		return 0;
	if (err && err != -ENOENT)
		return err;
	return rtnl_query(
		r,
		neigh_request(&req, RTM_NEWNEIGH, NLM_F_CREATE, ifindex, addr, NTF_USE),
		NULL, NULL);
}

static void parse_tun(const struct nlattr *nest, struct rtnl_tun *out)
{
	const struct nlattr *tb[IFLA_TUN_NUM_DISABLED_QUEUES + 1];

	rtnl_parse_nested(nest, tb, IFLA_TUN_NUM_DISABLED_QUEUES);
	out->queues = rtnl_attr_u32(tb[IFLA_TUN_NUM_QUEUES]) +
		      rtnl_attr_u32(tb[IFLA_TUN_NUM_DISABLED_QUEUES]);
	out->owner = rtnl_attr_u32(tb[IFLA_TUN_OWNER]);
	out->persist = tb[IFLA_TUN_PERSIST] && mnl_attr_get_u8(tb[IFLA_TUN_PERSIST]);
}

static void parse_link_info(const struct nlattr *nest, struct rtnl_link *out)
{
	const struct nlattr *tb[IFLA_INFO_DATA + 1];

	rtnl_parse_nested(nest, tb, IFLA_INFO_DATA);
	rtnl_attr_string(tb[IFLA_INFO_KIND], out->kind, sizeof(out->kind));
	if (!strcmp(out->kind, "tun"))
		parse_tun(tb[IFLA_INFO_DATA], &out->tun);
}

/* Reads the effective net.ipv6.conf.NAME.hop_limit and mtu, which routers may have set by
 * advertisements. */
static void parse_inet6(const struct nlattr *af_spec, struct rtnl_link *out)
{
	const struct nlattr *families[AF_INET6 + 1], *tb[IFLA_INET6_CONF + 1];
	const int32_t *conf;

	rtnl_parse_nested(af_spec, families, AF_INET6);
	rtnl_parse_nested(families[AF_INET6], tb, IFLA_INET6_CONF);
	if (!tb[IFLA_INET6_CONF] || mnl_attr_get_payload_len(tb[IFLA_INET6_CONF]) <
					    (DEVCONF_MTU6 + 1) * sizeof(*conf))
		return;
	conf = mnl_attr_get_payload(tb[IFLA_INET6_CONF]);
	out->hop_limit = (uint8_t)conf[DEVCONF_HOPLIMIT];
	out->mtu6 = (uint32_t)conf[DEVCONF_MTU6];
}

bool rtnl_parse_link(const struct nlmsghdr *nlh, struct rtnl_link *out, uint32_t *ifindex)
{
	const struct nlattr *tb[IFLA_LINK_NETNSID + 1];
	const struct ifinfomsg *ifi =
		rtnl_parse_message(nlh, sizeof(*ifi), tb, IFLA_LINK_NETNSID);

	memset(out, 0, sizeof(*out));
	if (!ifi || ifi->ifi_family != AF_UNSPEC || !tb[IFLA_MTU])
		return false;
	*ifindex = (uint32_t)ifi->ifi_index;
	out->flags = ifi->ifi_flags;
	out->type = ifi->ifi_type;
	out->mtu = rtnl_attr_u32(tb[IFLA_MTU]);
	out->master = rtnl_attr_u32(tb[IFLA_MASTER]);
	if (!tb[IFLA_LINK_NETNSID])
		out->lower = rtnl_attr_u32(tb[IFLA_LINK]);
	out->rx_queues = rtnl_attr_u32(tb[IFLA_NUM_RX_QUEUES]);
	out->tx_queues = rtnl_attr_u32(tb[IFLA_NUM_TX_QUEUES]);
	rtnl_attr_string(tb[IFLA_IFNAME], out->name, sizeof(out->name));
	parse_link_info(tb[IFLA_LINKINFO], out);
	parse_inet6(tb[IFLA_AF_SPEC], out);
	if (tb[IFLA_ADDRESS] && mnl_attr_get_payload_len(tb[IFLA_ADDRESS]) == 6)
		memcpy(out->mac, mnl_attr_get_payload(tb[IFLA_ADDRESS]), 6);
	return true;
}

static int parse_link_answer(const struct nlmsghdr *nlh, void *ctx)
{
	uint32_t ifindex;

	return rtnl_parse_link(nlh, ctx, &ifindex) ? 0 : -EPROTO;
}

static struct nlmsghdr *link_request(struct rtnl_request *req, uint16_t type,
				     uint32_t ifindex)
{
	struct nlmsghdr *nlh = rtnl_request_init(req, type, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = (int)ifindex;
	return nlh;
}

int rtnl_link_get(struct rtnl *r, uint32_t ifindex, struct rtnl_link *out)
{
	struct rtnl_request req;
	struct nlmsghdr *nlh;

	assert_control_thread();
	memset(out, 0, sizeof(*out));
	if (!ifindex)
		return -ENODEV;
	nlh = link_request(&req, RTM_GETLINK, ifindex);
	mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	return rtnl_query(r, nlh, parse_link_answer, out);
}

struct link_dump {
	void (*each)(void *ctx, uint32_t ifindex, const struct rtnl_link *link);
	void *ctx;
};

static int parse_link_dump(const struct nlmsghdr *nlh, void *ctx)
{
	struct link_dump *dump = ctx;
	struct rtnl_link link;
	uint32_t ifindex;

	if (nlh->nlmsg_type == RTM_NEWLINK && rtnl_parse_link(nlh, &link, &ifindex))
		dump->each(dump->ctx, ifindex, &link);
	return 0;
}

int rtnl_link_dump(struct rtnl *r,
		   void (*each)(void *ctx, uint32_t ifindex,
				const struct rtnl_link *link),
		   void *ctx)
{
	struct link_dump dump = {.each = each, .ctx = ctx};
	int err = -EAGAIN;

	assert_control_thread();
	for (int i = 0; i < DUMP_TRIES && err == -EAGAIN; i++) {
		struct rtnl_request req;
		struct nlmsghdr *nlh = link_request(&req, RTM_GETLINK, 0);

		nlh->nlmsg_flags |= NLM_F_DUMP;
		mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
		err = rtnl_query(r, nlh, parse_link_dump, &dump);
	}
	return err;
}

int rtnl_link_leave(struct rtnl *r, uint32_t ifindex)
{
	assert_control_thread();
	struct rtnl_request req;
	struct nlmsghdr *nlh = link_request(&req, RTM_NEWLINK, ifindex);

	mnl_attr_put_u32(nlh, IFLA_MASTER, 0);
	return rtnl_query(r, nlh, NULL, NULL);
}

int rtnl_link_delete(struct rtnl *r, uint32_t ifindex)
{
	struct rtnl_request req;

	assert_control_thread();
	if (!ifindex)
		return -ENODEV;
	return rtnl_query(r, link_request(&req, RTM_DELLINK, ifindex), NULL, NULL);
}

/* Sets *out to the last address of the subnet. The kernel treats it as the broadcast address
 * even if IFA_BROADCAST names another one. */
static void set_broadcast(const struct ifaddrmsg *ifa, const struct ip_addr *subnet,
			  struct ip_addr *out)
{
	uint32_t last;

	if (subnet->family != IP_V4 || !ifa->ifa_prefixlen || ifa->ifa_prefixlen >= 31)
		return;
	memcpy(&last, subnet->bytes, 4);
	last |= htonl(~0U >> ifa->ifa_prefixlen);
	out->family = IP_V4;
	memcpy(out->bytes, &last, 4);
}

/* On a point-to-point link IFA_ADDRESS is the address of the other end; IFA_LOCAL is always
 * that of this host. */
bool rtnl_parse_addr(const struct nlmsghdr *nlh, struct rtnl_addr *out)
{
	const struct nlattr *tb[IFA_LOCAL + 1];
	const struct ifaddrmsg *ifa =
		rtnl_parse_message(nlh, sizeof(*ifa), tb, IFA_LOCAL);
	struct ip_addr subnet = {0};

	memset(out, 0, sizeof(*out));
	if (!ifa)
		return false;
	out->ifindex = ifa->ifa_index;
	if (rtnl_attr_addr(tb[IFA_ADDRESS], ifa->ifa_family, &subnet))
		set_broadcast(ifa, &subnet, &out->broadcast);
	if (!rtnl_attr_addr(tb[IFA_LOCAL], ifa->ifa_family, &out->addr))
		out->addr = subnet;
	return out->addr.family != IP_NONE;
}

struct addr_dump {
	void (*each)(void *ctx, const struct rtnl_addr *addr);
	void *ctx;
};

static int parse_addr_dump(const struct nlmsghdr *nlh, void *ctx)
{
	struct addr_dump *dump = ctx;
	struct rtnl_addr addr;

	if (nlh->nlmsg_type == RTM_NEWADDR && rtnl_parse_addr(nlh, &addr))
		dump->each(dump->ctx, &addr);
	return 0;
}

int rtnl_addr_dump(struct rtnl *r, void (*each)(void *ctx, const struct rtnl_addr *addr),
		   void *ctx)
{
	struct addr_dump dump = {.each = each, .ctx = ctx};
	int err = -EAGAIN;

	assert_control_thread();
	for (int i = 0; i < DUMP_TRIES && err == -EAGAIN; i++) {
		struct rtnl_request req;
		struct nlmsghdr *nlh = rtnl_request_init(&req, RTM_GETADDR, NLM_F_DUMP);

		mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifaddrmsg));
		err = rtnl_query(r, nlh, parse_addr_dump, &dump);
	}
	return err;
}

/* -EAFNOSUPPORT: the link has no IPv4, because its MTU is below 68. */
static int set_no_redirects(struct rtnl *r, uint32_t ifindex)
{
	struct rtnl_request req;
	struct nlmsghdr *nlh = link_request(&req, RTM_NEWLINK, ifindex);
	struct nlattr *spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	struct nlattr *inet = mnl_attr_nest_start(nlh, AF_INET);
	struct nlattr *conf = mnl_attr_nest_start(nlh, IFLA_INET_CONF);
	int err;

	mnl_attr_put_u32(nlh, IPV4_DEVCONF_SEND_REDIRECTS, 0);
	mnl_attr_nest_end(nlh, conf);
	mnl_attr_nest_end(nlh, inet);
	mnl_attr_nest_end(nlh, spec);
	err = rtnl_query(r, nlh, NULL, NULL);
	return err == -EAFNOSUPPORT ? 0 : err;
}

/* -EAFNOSUPPORT: the host has no IPv6, or the MTU is below 1280; there is nothing to set. */
static int set_no_link_local(struct rtnl *r, uint32_t ifindex)
{
	struct rtnl_request req;
	struct nlmsghdr *nlh = link_request(&req, RTM_NEWLINK, ifindex);
	struct nlattr *spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	struct nlattr *inet6 = mnl_attr_nest_start(nlh, AF_INET6);
	int err;

	mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(nlh, inet6);
	mnl_attr_nest_end(nlh, spec);
	err = rtnl_query(r, nlh, NULL, NULL);
	return err == -EAFNOSUPPORT ? 0 : err;
}

int rtnl_link_setup(struct rtnl *r, uint32_t ifindex, const uint8_t mac[6], uint32_t mtu,
		    uint32_t gso_max)
{
	struct rtnl_request req;
	struct nlmsghdr *nlh;
	struct ifinfomsg *ifi;
	int err;

	assert_control_thread();
	if (!ifindex)
		return -ENODEV;
	err = set_no_link_local(r, ifindex);
	if (!err)
		err = set_no_redirects(r, ifindex);
	if (err)
		return err;
	nlh = link_request(&req, RTM_NEWLINK, ifindex);
	ifi = mnl_nlmsg_get_payload(nlh);
	ifi->ifi_flags = IFF_NOARP;
	ifi->ifi_change = IFF_NOARP | IFF_MULTICAST;
	mnl_attr_put(nlh, IFLA_ADDRESS, 6, mac);
	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	if (gso_max)
		mnl_attr_put_u32(nlh, IFLA_GSO_MAX_SIZE, gso_max);
	return rtnl_query(r, nlh, NULL, NULL);
}

/* Names no TCA_KIND, because clsact and ingress have the same handle. */
int rtnl_clsact_remove(struct rtnl *r, uint32_t ifindex)
{
	assert_control_thread();
	struct rtnl_request req;
	struct nlmsghdr *nlh = rtnl_request_init(&req, RTM_DELQDISC, 0);
	struct tcmsg *tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));

	tcm->tcm_ifindex = (int32_t)ifindex;
	tcm->tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
	tcm->tcm_parent = TC_H_CLSACT;
	return rtnl_query(r, nlh, NULL, NULL);
}
