// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * Two sockets, so that an event never stands between a request and its answer. A
 * request on the first one is synchronous: the kernel works on it inside sendto(),
 * so the answer is there when sendto() returns, and the receive timeout is only a
 * belt against a kernel that stays silent. Each request asks for an acknowledgement,
 * which ends the exchange whether or not data came before it; what belongs to an
 * older request is told by its sequence number and skipped.
 *
 * The second socket is in the multicast groups. When its buffer overflows, the
 * kernel says ENOBUFS once and then drops silently until the buffer has been read
 * empty. So the loss is remembered, and the caller is told only when the buffer is
 * empty: what it reads then cannot miss a later event.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/ipv6.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "rtnl.h"

#define QUERY_TIMEOUT_SECONDS 1
#define EVENT_BUFFER_BYTES    (4 << 20)
/* Datagrams taken by one rtnl_dispatch(). */
#define EVENT_READS_MAX 512
#define DUMP_TRIES	5
/* The kernel fills dumps up to this size where the reader's buffer allows it. */
#define RECEIVE_BYTES 32768
#define REQUEST_BYTES 512

struct request {
	_Alignas(struct nlmsghdr) char buf[REQUEST_BYTES];
};

/* 0 or -errno for one message of an answer. */
typedef int (*parse_fn)(const struct nlmsghdr *nlh, void *ctx);

/* Attributes by type; those beyond the table are not of interest. */
struct attrs {
	const struct nlattr **tb;
	unsigned max;
};

static int note_attr(const struct nlattr *attr, void *data)
{
	struct attrs *attrs = data;
	unsigned type = mnl_attr_get_type(attr);

	if (type <= attrs->max)
		attrs->tb[type] = attr;
	return MNL_CB_OK;
}

/* The fixed header of nlh, or NULL where the message is too short for one. */
static const void *parse_message(const struct nlmsghdr *nlh, size_t header,
				 const struct nlattr **tb, unsigned max)
{
	struct attrs attrs = {.tb = tb, .max = max};

	memset(tb, 0, (max + 1) * sizeof(*tb));
	if (mnl_nlmsg_get_payload_len(nlh) < header)
		return NULL;
	mnl_attr_parse(nlh, header, note_attr, &attrs);
	return mnl_nlmsg_get_payload(nlh);
}

static void parse_nested(const struct nlattr *nest, const struct nlattr **tb,
			 unsigned max)
{
	struct attrs attrs = {.tb = tb, .max = max};

	memset(tb, 0, (max + 1) * sizeof(*tb));
	if (nest)
		mnl_attr_parse_nested(nest, note_attr, &attrs);
}

static uint32_t attr_u32(const struct nlattr *attr)
{
	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(uint32_t))
		return 0;
	return mnl_attr_get_u32(attr);
}

static void attr_string(const struct nlattr *attr, char *out, size_t size)
{
	if (attr)
		snprintf(out, size, "%.*s", (int)mnl_attr_get_payload_len(attr),
			 mnl_attr_get_str(attr));
}

static bool addr_set(struct ip_addr *out, int family, const void *bytes, size_t len)
{
	memset(out, 0, sizeof(*out));
	if (!((family == AF_INET && len == 4) || (family == AF_INET6 && len == 16)))
		return false;
	out->family = family == AF_INET ? IP_V4 : IP_V6;
	memcpy(out->bytes, bytes, len);
	return true;
}

static bool attr_addr(const struct nlattr *attr, int family, struct ip_addr *out)
{
	return attr && addr_set(out, family, mnl_attr_get_payload(attr),
				mnl_attr_get_payload_len(attr));
}

static int addr_family(const struct ip_addr *a)
{
	return a->family == IP_V4 ? AF_INET : a->family == IP_V6 ? AF_INET6 : AF_UNSPEC;
}

static void put_addr(struct nlmsghdr *nlh, uint16_t type, const struct ip_addr *a)
{
	mnl_attr_put(nlh, type, ip_addr_len(a), a->bytes);
}

static struct nlmsghdr *request_init(struct request *req, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh;

	memset(req, 0, sizeof(*req));
	nlh = mnl_nlmsg_put_header(req->buf);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	return nlh;
}

/* One datagram from the kernel: its length or -errno. */
static ssize_t receive(int fd, void *buf, size_t size, int flags)
{
	struct sockaddr_nl from;
	struct iovec iov = {.iov_base = buf, .iov_len = size};
	struct msghdr msg = {.msg_name = &from,
			     .msg_namelen = sizeof(from),
			     .msg_iov = &iov,
			     .msg_iovlen = 1};
	ssize_t len;

	do
		len = recvmsg(fd, &msg, flags);
	while (len < 0 && errno == EINTR);
	if (len < 0)
		return -errno;
	if (msg.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	/* Processes can write to each other's netlink sockets; that is not for us. */
	if (msg.msg_namelen != sizeof(from) || from.nl_pid != 0)
		return 0;
	return len;
}

static void keep_error_text(struct rtnl *r, const struct nlmsghdr *nlh)
{
	const struct nlattr *tb[NLMSGERR_ATTR_MSG + 1];
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);
	size_t header = sizeof(*err);

	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
		header += err->msg.nlmsg_len - sizeof(err->msg);
	if (parse_message(nlh, header, tb, NLMSGERR_ATTR_MSG))
		attr_string(tb[NLMSGERR_ATTR_MSG], r->error, sizeof(r->error));
}

/* 0 or -errno that an acknowledgement carries. */
static int parse_ack(struct rtnl *r, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*err))
		return -EPROTO;
	if (err->error)
		keep_error_text(r, nlh);
	return err->error <= 0 ? err->error : -EPROTO;
}

/* The end of a dump carries an error, too. */
static int parse_done(const struct nlmsghdr *nlh)
{
	const int *err = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*err))
		return 0;
	return *err <= 0 ? *err : -EPROTO;
}

/* What is known of an answer, over the datagrams that it comes in. */
struct answer {
	parse_fn parse;
	void *ctx;
	int result;
	bool done;
	bool interrupted;
};

static void answer_message(struct rtnl *r, struct answer *a, const struct nlmsghdr *nlh)
{
	int err = 0;

	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		a->interrupted = true;
	switch (nlh->nlmsg_type) {
	case NLMSG_NOOP:
		return;
	case NLMSG_ERROR:
		err = parse_ack(r, nlh);
		a->done = true;
		break;
	case NLMSG_DONE:
		err = parse_done(nlh);
		a->done = true;
		break;
	default:
		if (a->parse)
			a->result = a->parse(nlh, a->ctx);
		return;
	}
	if (err)
		a->result = err;
}

/*
 * Sends a request and hands what answers it to `parse`. -ENODATA where something was
 * to be parsed and only an acknowledgement came, -EAGAIN for an inconsistent dump.
 */
static int query(struct rtnl *r, struct nlmsghdr *nlh, parse_fn parse, void *ctx)
{
	bool dump = (nlh->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	struct answer a = {.parse = parse, .ctx = ctx};
	_Alignas(struct nlmsghdr) char buf[RECEIVE_BYTES];

	a.result = parse && !dump ? -ENODATA : 0;
	nlh->nlmsg_seq = ++r->seq;
	r->error[0] = '\0';
	if (mnl_socket_sendto(r->query, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (!a.done) {
		const struct nlmsghdr *reply = (const void *)buf;
		ssize_t got = receive(mnl_socket_get_fd(r->query), buf, sizeof(buf), 0);
		int len = (int)got;

		if (got < 0)
			return got == -EAGAIN ? -ETIMEDOUT : (int)got;
		for (; mnl_nlmsg_ok(reply, len); reply = mnl_nlmsg_next(reply, &len))
			if (reply->nlmsg_seq == nlh->nlmsg_seq)
				answer_message(r, &a, reply);
	}
	return a.interrupted && !a.result ? -EAGAIN : a.result;
}

static int query_one(struct rtnl *r, struct nlmsghdr *nlh, parse_fn parse, void *ctx)
{
	nlh->nlmsg_flags |= NLM_F_ACK;
	return query(r, nlh, parse, ctx);
}

static struct mnl_socket *socket_open(void)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int saved;

	if (!nl)
		return NULL;
	if (!mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID))
		return nl;
	saved = errno;
	mnl_socket_close(nl);
	errno = saved;
	return NULL;
}

static int query_open(struct rtnl *r)
{
	struct timeval timeout = {.tv_sec = QUERY_TIMEOUT_SECONDS};
	int one = 1;

	r->query = socket_open();
	if (!r->query)
		return -errno;
	if (setsockopt(mnl_socket_get_fd(r->query), SOL_SOCKET, SO_RCVTIMEO, &timeout,
		       sizeof(timeout)))
		return -errno;
	/* Only for better texts. */
	mnl_socket_setsockopt(r->query, NETLINK_EXT_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(r->query, NETLINK_CAP_ACK, &one, sizeof(one));
	return 0;
}

static int events_open(struct rtnl *r)
{
	static const int groups[] = {
		RTNLGRP_LINK,	     RTNLGRP_NEIGH,	 RTNLGRP_IPV4_IFADDR,
		RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
		RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_RULE,	 RTNLGRP_NEXTHOP,
		RTNLGRP_TC,
	};
	int size = EVENT_BUFFER_BYTES;
	int fd;

	r->events = socket_open();
	if (!r->events)
		return -errno;
	fd = mnl_socket_get_fd(r->events);
	/* Without the privilege: as much as net.core.rmem_max allows. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (mnl_socket_setsockopt(r->events, NETLINK_ADD_MEMBERSHIP,
					  (void *)&groups[i], sizeof(groups[i])) < 0)
			return -errno;
	return 0;
}

int rtnl_open(struct rtnl *r)
{
	int err;

	memset(r, 0, sizeof(*r));
	err = query_open(r);
	if (!err)
		err = events_open(r);
	if (err)
		rtnl_close(r);
	return err;
}

void rtnl_close(struct rtnl *r)
{
	if (r->query)
		mnl_socket_close(r->query);
	if (r->events)
		mnl_socket_close(r->events);
	r->query = NULL;
	r->events = NULL;
}

const char *rtnl_error(const struct rtnl *r)
{
	return r->error;
}

int rtnl_event_fd(const struct rtnl *r)
{
	return mnl_socket_get_fd(r->events);
}

/* What a socket would be told on sending by a route of that type. */
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

	parse_nested(nest, tb, RTAX_HOPLIMIT);
	out->mtu = attr_u32(tb[RTAX_MTU]);
	hoplimit = attr_u32(tb[RTAX_HOPLIMIT]);
	out->hoplimit = hoplimit <= UINT8_MAX ? hoplimit : 0;
}

/* RTA_VIA: a next hop of the other family (RFC 5549), which RTA_GATEWAY cannot say. */
static bool parse_via(const struct nlattr *attr, struct ip_addr *out)
{
	const struct rtvia *via;
	size_t len;

	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(*via))
		return false;
	via = mnl_attr_get_payload(attr);
	len = mnl_attr_get_payload_len(attr) - sizeof(*via);
	return addr_set(out, via->rtvia_family, via->rtvia_addr, len);
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

/* ctx: struct rtnl_route whose nexthop is the destination and whose source is set
 * where the request named one. */
static int parse_route(const struct nlmsghdr *nlh, void *ctx)
{
	const struct nlattr *tb[RTA_MAX + 1];
	const struct rtmsg *rtm = parse_message(nlh, sizeof(*rtm), tb, RTA_MAX);
	struct rtnl_route *out = ctx;
	struct ip_addr addr;
	int err;

	if (!rtm || nlh->nlmsg_type != RTM_NEWROUTE)
		return -EPROTO;
	err = route_errno(rtm, tb[RTA_CACHEINFO]);
	if (err)
		return err;
	out->type = rtm->rtm_type;
	out->ifindex = attr_u32(tb[RTA_OIF]);
	out->encap = tb[RTA_ENCAP] || tb[RTA_NEWDST];
	parse_metrics(tb[RTA_METRICS], out);
	if (attr_addr(tb[RTA_GATEWAY], rtm->rtm_family, &addr) ||
	    parse_via(tb[RTA_VIA], &addr))
		out->nexthop = addr;
	if (out->source.family == IP_NONE &&
	    attr_addr(tb[RTA_PREFSRC], rtm->rtm_family, &addr))
		out->source = addr;
	return out->ifindex ? 0 : -ENETUNREACH;
}

static struct nlmsghdr *route_request(struct request *req, const struct ip_addr *dst,
				      const struct ip_addr *src)
{
	struct nlmsghdr *nlh = request_init(req, RTM_GETROUTE, 0);
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));

	rtm->rtm_family = addr_family(dst);
	rtm->rtm_dst_len = ip_addr_len(dst) * 8;
	put_addr(nlh, RTA_DST, dst);
	if (src->family != IP_NONE) {
		rtm->rtm_src_len = ip_addr_len(src) * 8;
		put_addr(nlh, RTA_SRC, src);
	}
	return nlh;
}

int rtnl_route_get(struct rtnl *r, const struct ip_addr *dst, const struct ip_addr *src,
		   uint32_t oif_scope, uint32_t fwmark, uint16_t sport, uint16_t dport,
		   struct rtnl_route *out)
{
	struct request req;
	struct nlmsghdr *nlh;
	int err;

	memset(out, 0, sizeof(*out));
	if (addr_family(dst) == AF_UNSPEC ||
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
	err = query_one(r, nlh, parse_route, out);
	if (err)
		memset(out, 0, sizeof(*out));
	return err;
}

/* The entry that matches in the routing table names it; the route itself would go by lo. */
int rtnl_addr_link(struct rtnl *r, const struct ip_addr *addr, uint32_t *ifindex)
{
	static const struct ip_addr none;
	struct rtnl_route entry = {0};
	struct request req;
	struct nlmsghdr *nlh;
	struct rtmsg *rtm;
	int err;

	*ifindex = 0;
	if (addr_family(addr) == AF_UNSPEC)
		return -EAFNOSUPPORT;
	nlh = route_request(&req, addr, &none);
	rtm = mnl_nlmsg_get_payload(nlh);
	rtm->rtm_flags = RTM_F_FIB_MATCH;
	err = query_one(r, nlh, parse_route, &entry);
	if (err)
		return err;
	if (entry.type != RTN_LOCAL)
		return -EADDRNOTAVAIL;
	*ifindex = entry.ifindex;
	return 0;
}

bool rtnl_neigh_usable(uint16_t state)
{
	return state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE |
			NUD_PERMANENT | NUD_NOARP);
}

struct neigh {
	uint16_t state;
	bool foreign; /* somebody else's: static, or kept by a routing daemon */
	bool has_mac;
	uint8_t mac[6];
};

/* NULL where it is no Ethernet address. */
static const uint8_t *attr_mac(const struct nlattr *attr)
{
	return attr && mnl_attr_get_payload_len(attr) == 6 ? mnl_attr_get_payload(attr)
							   : NULL;
}

/* ctx: struct neigh */
static int parse_neigh(const struct nlmsghdr *nlh, void *ctx)
{
	const struct nlattr *tb[NDA_FLAGS_EXT + 1];
	const struct ndmsg *ndm = parse_message(nlh, sizeof(*ndm), tb, NDA_FLAGS_EXT);
	struct neigh *out = ctx;
	const uint8_t *mac;

	if (!ndm || nlh->nlmsg_type != RTM_NEWNEIGH)
		return -EPROTO;
	out->state = ndm->ndm_state;
	out->foreign = (ndm->ndm_state & (NUD_PERMANENT | NUD_NOARP)) ||
		       (ndm->ndm_flags & NTF_EXT_LEARNED) ||
		       (attr_u32(tb[NDA_FLAGS_EXT]) & NTF_EXT_MANAGED);
	mac = attr_mac(tb[NDA_LLADDR]);
	out->has_mac = mac;
	if (mac)
		memcpy(out->mac, mac, 6);
	return 0;
}

static struct nlmsghdr *neigh_request(struct request *req, uint16_t type, uint16_t flags,
				      uint32_t ifindex, const struct ip_addr *addr,
				      uint8_t neigh_flags)
{
	struct nlmsghdr *nlh = request_init(req, type, flags);
	struct ndmsg *ndm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ndm));

	ndm->ndm_family = addr_family(addr);
	ndm->ndm_ifindex = (int32_t)ifindex;
	ndm->ndm_flags = neigh_flags;
	put_addr(nlh, NDA_DST, addr);
	return nlh;
}

static int neigh_query(struct rtnl *r, uint32_t ifindex, const struct ip_addr *addr,
		       struct neigh *out)
{
	struct request req;

	memset(out, 0, sizeof(*out));
	if (addr_family(addr) == AF_UNSPEC)
		return -EAFNOSUPPORT;
	return query_one(r, neigh_request(&req, RTM_GETNEIGH, 0, ifindex, addr, 0),
			 parse_neigh, out);
}

int rtnl_neigh_get(struct rtnl *r, uint32_t ifindex, const struct ip_addr *addr,
		   uint8_t mac[6])
{
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
 * On an entry that is there, NTF_USE clears NUD_PERMANENT and the flags of managed
 * and externally learnt ones: a static entry would be open to the network again. So
 * those are left alone. (NLM_F_REPLACE would clear an IPv6 router's flag.)
 */
int rtnl_neigh_probe(struct rtnl *r, uint32_t ifindex, const struct ip_addr *addr)
{
	struct request req;
	struct neigh neigh;
	int err = neigh_query(r, ifindex, addr, &neigh);

	if (!err && neigh.foreign)
		return 0;
	if (err && err != -ENOENT)
		return err;
	return query_one(
		r,
		neigh_request(&req, RTM_NEWNEIGH, NLM_F_CREATE, ifindex, addr, NTF_USE),
		NULL, NULL);
}

static void parse_tun(const struct nlattr *nest, struct rtnl_tun *out)
{
	const struct nlattr *tb[IFLA_TUN_NUM_DISABLED_QUEUES + 1];

	parse_nested(nest, tb, IFLA_TUN_NUM_DISABLED_QUEUES);
	out->queues = attr_u32(tb[IFLA_TUN_NUM_QUEUES]) +
		      attr_u32(tb[IFLA_TUN_NUM_DISABLED_QUEUES]);
	out->owner = attr_u32(tb[IFLA_TUN_OWNER]);
	out->persist = tb[IFLA_TUN_PERSIST] && mnl_attr_get_u8(tb[IFLA_TUN_PERSIST]);
}

static void parse_link_info(const struct nlattr *nest, struct rtnl_link *out)
{
	const struct nlattr *tb[IFLA_INFO_DATA + 1];

	parse_nested(nest, tb, IFLA_INFO_DATA);
	attr_string(tb[IFLA_INFO_KIND], out->kind, sizeof(out->kind));
	if (!strcmp(out->kind, "tun"))
		parse_tun(tb[IFLA_INFO_DATA], &out->tun);
}

/* The sysctls net.ipv6.conf.NAME.hop_limit and mtu, or what a router advertised. */
static void parse_inet6(const struct nlattr *af_spec, struct rtnl_link *out)
{
	const struct nlattr *families[AF_INET6 + 1], *tb[IFLA_INET6_CONF + 1];
	const int32_t *conf;

	parse_nested(af_spec, families, AF_INET6);
	parse_nested(families[AF_INET6], tb, IFLA_INET6_CONF);
	if (!tb[IFLA_INET6_CONF] || mnl_attr_get_payload_len(tb[IFLA_INET6_CONF]) <
					    (DEVCONF_MTU6 + 1) * sizeof(*conf))
		return;
	conf = mnl_attr_get_payload(tb[IFLA_INET6_CONF]);
	out->hop_limit = (uint8_t)conf[DEVCONF_HOPLIMIT];
	out->mtu6 = (uint32_t)conf[DEVCONF_MTU6];
}

/*
 * False for what is not about the link as a whole: a bridge's view of its port
 * (AF_BRIDGE, whose RTM_DELLINK only says that the port left the bridge), and the
 * wireless extensions' messages, which carry little more than the name.
 */
static bool parse_link(const struct nlmsghdr *nlh, struct rtnl_link *out,
		       uint32_t *ifindex)
{
	const struct nlattr *tb[IFLA_NUM_RX_QUEUES + 1];
	const struct ifinfomsg *ifi =
		parse_message(nlh, sizeof(*ifi), tb, IFLA_NUM_RX_QUEUES);

	memset(out, 0, sizeof(*out));
	if (!ifi || ifi->ifi_family != AF_UNSPEC || !tb[IFLA_MTU])
		return false;
	*ifindex = (uint32_t)ifi->ifi_index;
	out->flags = ifi->ifi_flags;
	out->type = ifi->ifi_type;
	out->mtu = attr_u32(tb[IFLA_MTU]);
	out->master = attr_u32(tb[IFLA_MASTER]);
	out->rx_queues = attr_u32(tb[IFLA_NUM_RX_QUEUES]);
	out->tx_queues = attr_u32(tb[IFLA_NUM_TX_QUEUES]);
	attr_string(tb[IFLA_IFNAME], out->name, sizeof(out->name));
	parse_link_info(tb[IFLA_LINKINFO], out);
	parse_inet6(tb[IFLA_AF_SPEC], out);
	if (tb[IFLA_ADDRESS] && mnl_attr_get_payload_len(tb[IFLA_ADDRESS]) == 6)
		memcpy(out->mac, mnl_attr_get_payload(tb[IFLA_ADDRESS]), 6);
	return true;
}

static int parse_link_answer(const struct nlmsghdr *nlh, void *ctx)
{
	uint32_t ifindex;

	return parse_link(nlh, ctx, &ifindex) ? 0 : -EPROTO;
}

static struct nlmsghdr *link_request(struct request *req, uint16_t type, uint32_t ifindex)
{
	struct nlmsghdr *nlh = request_init(req, type, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = (int)ifindex;
	return nlh;
}

int rtnl_link_get(struct rtnl *r, uint32_t ifindex, struct rtnl_link *out)
{
	struct request req;
	struct nlmsghdr *nlh;

	memset(out, 0, sizeof(*out));
	if (!ifindex)
		return -ENODEV;
	nlh = link_request(&req, RTM_GETLINK, ifindex);
	mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	return query_one(r, nlh, parse_link_answer, out);
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

	if (nlh->nlmsg_type == RTM_NEWLINK && parse_link(nlh, &link, &ifindex))
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

	for (int i = 0; i < DUMP_TRIES && err == -EAGAIN; i++) {
		struct request req;
		struct nlmsghdr *nlh = link_request(&req, RTM_GETLINK, 0);

		nlh->nlmsg_flags |= NLM_F_DUMP;
		mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
		err = query(r, nlh, parse_link_dump, &dump);
	}
	return err;
}

int rtnl_link_delete(struct rtnl *r, uint32_t ifindex)
{
	struct request req;

	if (!ifindex)
		return -ENODEV;
	return query_one(r, link_request(&req, RTM_DELLINK, ifindex), NULL, NULL);
}

/* The last address of the subnet, which the kernel takes for its broadcast address whatever
 * IFA_BROADCAST says. */
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

/* IFA_ADDRESS is the other end's where a link has two ends; IFA_LOCAL is ours. */
static bool parse_addr(const struct nlmsghdr *nlh, struct rtnl_addr *out)
{
	const struct nlattr *tb[IFA_LOCAL + 1];
	const struct ifaddrmsg *ifa = parse_message(nlh, sizeof(*ifa), tb, IFA_LOCAL);
	struct ip_addr subnet = {0};

	memset(out, 0, sizeof(*out));
	if (!ifa)
		return false;
	out->ifindex = ifa->ifa_index;
	if (attr_addr(tb[IFA_ADDRESS], ifa->ifa_family, &subnet))
		set_broadcast(ifa, &subnet, &out->broadcast);
	if (!attr_addr(tb[IFA_LOCAL], ifa->ifa_family, &out->addr))
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

	if (nlh->nlmsg_type == RTM_NEWADDR && parse_addr(nlh, &addr))
		dump->each(dump->ctx, &addr);
	return 0;
}

int rtnl_addr_dump(struct rtnl *r, void (*each)(void *ctx, const struct rtnl_addr *addr),
		   void *ctx)
{
	struct addr_dump dump = {.each = each, .ctx = ctx};
	int err = -EAGAIN;

	for (int i = 0; i < DUMP_TRIES && err == -EAGAIN; i++) {
		struct request req;
		struct nlmsghdr *nlh = request_init(&req, RTM_GETADDR, NLM_F_DUMP);

		mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifaddrmsg));
		err = query(r, nlh, parse_addr_dump, &dump);
	}
	return err;
}

/* A host without IPv6, or an MTU below 1280, has nothing to set here. */
static int set_no_link_local(struct rtnl *r, uint32_t ifindex)
{
	struct request req;
	struct nlmsghdr *nlh = link_request(&req, RTM_NEWLINK, ifindex);
	struct nlattr *spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	struct nlattr *inet6 = mnl_attr_nest_start(nlh, AF_INET6);
	int err;

	mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(nlh, inet6);
	mnl_attr_nest_end(nlh, spec);
	err = query_one(r, nlh, NULL, NULL);
	return err == -EAFNOSUPPORT ? 0 : err;
}

int rtnl_link_setup(struct rtnl *r, uint32_t ifindex, const uint8_t mac[6], uint32_t mtu,
		    uint32_t gso_max)
{
	struct request req;
	struct nlmsghdr *nlh;
	struct ifinfomsg *ifi;
	int err;

	if (!ifindex)
		return -ENODEV;
	err = set_no_link_local(r, ifindex);
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
	return query_one(r, nlh, NULL, NULL);
}

/* Without TCA_KIND: both kinds have the same place. */
int rtnl_clsact_remove(struct rtnl *r, uint32_t ifindex)
{
	struct request req;
	struct nlmsghdr *nlh = request_init(&req, RTM_DELQDISC, 0);
	struct tcmsg *tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));

	tcm->tcm_ifindex = (int32_t)ifindex;
	tcm->tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
	tcm->tcm_parent = TC_H_CLSACT;
	return query_one(r, nlh, NULL, NULL);
}

static void event_link(const struct nlmsghdr *nlh, const struct rtnl_handler *h,
		       void *ctx)
{
	struct rtnl_link link;
	uint32_t ifindex;

	if (h->link && parse_link(nlh, &link, &ifindex))
		h->link(ctx, nlh->nlmsg_type == RTM_NEWLINK, &link, ifindex);
}

static void event_addr(const struct nlmsghdr *nlh, const struct rtnl_handler *h,
		       void *ctx)
{
	struct rtnl_addr addr;

	if (h->addr && parse_addr(nlh, &addr))
		h->addr(ctx, nlh->nlmsg_type == RTM_NEWADDR, &addr);
}

/* Entries of bridges' forwarding tables come by the same group, as AF_BRIDGE. */
static void event_neigh(const struct nlmsghdr *nlh, const struct rtnl_handler *h,
			void *ctx)
{
	const struct nlattr *tb[NDA_LLADDR + 1];
	const struct ndmsg *ndm = parse_message(nlh, sizeof(*ndm), tb, NDA_LLADDR);
	struct ip_addr addr;

	if (!h->neigh || !ndm || (ndm->ndm_flags & NTF_PROXY) ||
	    !attr_addr(tb[NDA_DST], ndm->ndm_family, &addr))
		return;
	h->neigh(ctx, (uint32_t)ndm->ndm_ifindex, &addr,
		 nlh->nlmsg_type == RTM_NEWNEIGH ? ndm->ndm_state : 0,
		 attr_mac(tb[NDA_LLADDR]));
}

static void event_tc_changed(const struct nlmsghdr *nlh, const struct rtnl_handler *h,
			     void *ctx)
{
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);

	if (h->tc_changed && mnl_nlmsg_get_payload_len(nlh) >= sizeof(*tcm))
		h->tc_changed(ctx, (uint32_t)tcm->tcm_ifindex);
}

/* True where it was about routes, of which the caller hears once a dispatch. */
static bool event(const struct nlmsghdr *nlh, const struct rtnl_handler *h, void *ctx)
{
	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		event_link(nlh, h, ctx);
		return false;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		event_addr(nlh, h, ctx);
		return false;
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		event_neigh(nlh, h, ctx);
		return false;
	case RTM_NEWQDISC:
	case RTM_DELQDISC:
	case RTM_NEWTFILTER:
	case RTM_DELTFILTER:
	case RTM_DELCHAIN:
		event_tc_changed(nlh, h, ctx);
		return false;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
	case RTM_NEWRULE:
	case RTM_DELRULE:
	case RTM_NEWNEXTHOP:
	case RTM_DELNEXTHOP:
		return true;
	default:
		return false;
	}
}

static bool events_walk(const char *buf, int len, const struct rtnl_handler *h, void *ctx)
{
	const struct nlmsghdr *nlh = (const void *)buf;
	bool routes = false;

	for (; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len))
		routes |= event(nlh, h, ctx);
	return routes;
}

/* Whether routes changed; *err: -EAGAIN where the buffer was read empty. */
static bool events_read(struct rtnl *r, const struct rtnl_handler *h, void *ctx, int *err)
{
	_Alignas(struct nlmsghdr) char buf[RECEIVE_BYTES];
	bool routes = false;

	*err = 0;
	for (int i = 0; i < EVENT_READS_MAX && !*err; i++) {
		ssize_t len = receive(rtnl_event_fd(r), buf, sizeof(buf), MSG_DONTWAIT);

		if (len == -ENOBUFS || len == -EMSGSIZE)
			r->overrun = true;
		else if (len < 0)
			*err = (int)len;
		else
			routes |= events_walk(buf, (int)len, h, ctx);
	}
	return routes;
}

int rtnl_dispatch(struct rtnl *r, const struct rtnl_handler *h, void *ctx)
{
	int err;

	if (events_read(r, h, ctx, &err) && h->route)
		h->route(ctx);
	if (err != -EAGAIN)
		return err;
	if (r->overrun && h->overrun)
		h->overrun(ctx);
	r->overrun = false;
	return 0;
}
