// SPDX-License-Identifier: MIT
/*
 * Theory of operation: the answer to a packet has its addresses and ports the other way round.
 * Conntrack finds the connection by the answer's tuple, in either direction, and gives back both
 * tuples. The one that is not the answer's is the packet's own, before translation.
 */
#include "conntrack.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <string.h>
#include <sys/time.h>

/* After the headers of libc: it brings the kernel's. */
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>

#define ANSWER_SECONDS 1

/* The attributes of one address family. */
struct attributes {
	enum nf_conntrack_attr src, dst, reply_src, reply_dst;
};

static const struct attributes ipv4 = {ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV4_DST,
				       ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV4_DST};
static const struct attributes ipv6 = {ATTR_ORIG_IPV6_SRC, ATTR_ORIG_IPV6_DST,
				       ATTR_REPL_IPV6_SRC, ATTR_REPL_IPV6_DST};

static const struct attributes *attributes_of(const struct ip_addr *addr)
{
	return addr->family == IP_V4 ? &ipv4 : &ipv6;
}

static bool is_icmp(uint8_t proto)
{
	return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

static bool is_known(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || is_icmp(proto);
}

static void set_addr(struct nf_conntrack *ct, enum nf_conntrack_attr attr,
		     const struct ip_addr *addr)
{
	nfct_set_attr_l(ct, attr, addr->bytes, ip_addr_len(addr));
}

/* Sets the tuple of the answer to the packet. */
static void set_answer(struct nf_conntrack *ct, const struct conntrack_flow *flow)
{
	const struct attributes *a = attributes_of(&flow->src);

	nfct_set_attr_u8(ct, ATTR_L3PROTO,
			 flow->src.family == IP_V4 ? AF_INET : AF_INET6);
	nfct_set_attr_u8(ct, ATTR_L4PROTO, flow->proto);
	set_addr(ct, a->src, &flow->dst);
	set_addr(ct, a->dst, &flow->src);
	if (is_icmp(flow->proto)) {
		nfct_set_attr_u8(ct, ATTR_ICMP_TYPE,
				 flow->proto == IPPROTO_ICMP ? ICMP_ECHOREPLY
							     : ICMP6_ECHO_REPLY);
		nfct_set_attr_u8(ct, ATTR_ICMP_CODE, 0);
		nfct_set_attr_u16(ct, ATTR_ICMP_ID, flow->src_port);
	} else {
		nfct_set_attr_u16(ct, ATTR_PORT_SRC, flow->dst_port);
		nfct_set_attr_u16(ct, ATTR_PORT_DST, flow->src_port);
	}
}

/* Returns the socket with the request sent, or NULL with errno set. */
static struct mnl_socket *send_request(const struct conntrack_flow *flow)
{
	const struct timeval timeout = {.tv_sec = ANSWER_SECONDS};
	_Alignas(struct nlmsghdr) char buf[1024];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	struct nf_conntrack *ct = nfct_new();
	struct mnl_socket *nl =
		ct ? mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC) : NULL;

	nlh->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nfg->nfgen_family = flow->src.family == IP_V4 ? AF_INET : AF_INET6;
	nfg->version = NFNETLINK_V0;
	if (ct) {
		set_answer(ct, flow);
		nfct_nlmsg_build(nlh, ct);
		nfct_destroy(ct);
	}
	if (nl && (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
		   setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_RCVTIMEO, &timeout,
			      sizeof(timeout)) ||
		   mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)) {
		mnl_socket_close(nl);
		return NULL;
	}
	return nl;
}

/* Takes an address of the connection; it is one of the family that was asked for. */
static void get_addr(const struct nf_conntrack *ct, enum nf_conntrack_attr attr,
		     struct ip_addr *addr)
{
	const void *bytes = nfct_get_attr(ct, attr);

	if (bytes)
		memcpy(addr->bytes, bytes, ip_addr_len(addr));
}

/* The packet's own tuple is the original one if the reply's is that of the answer. */
static void take_source(const struct nf_conntrack *ct, struct conntrack_flow *flow)
{
	const struct attributes *a = attributes_of(&flow->src);
	struct ip_addr from = flow->dst, to = flow->src;
	bool original;

	get_addr(ct, a->reply_src, &from);
	get_addr(ct, a->reply_dst, &to);
	original = ip_addr_equal(&from, &flow->dst) && ip_addr_equal(&to, &flow->src);
	get_addr(ct, original ? a->src : a->reply_src, &flow->src);
	if (is_icmp(flow->proto))
		flow->src_port = nfct_get_attr_u16(ct, ATTR_ICMP_ID);
	else
		flow->src_port = nfct_get_attr_u16(ct, original ? ATTR_ORIG_PORT_SRC
								: ATTR_REPL_PORT_SRC);
}

static int on_answer(const struct nlmsghdr *nlh, void *ctx)
{
	struct nf_conntrack *ct = nfct_new();

	if (ct && nfct_nlmsg_parse(nlh, ct) >= 0)
		take_source(ct, ctx);
	if (ct)
		nfct_destroy(ct);
	return MNL_CB_STOP;
}

int conntrack_undo_source(struct conntrack_flow *flow)
{
	_Alignas(struct nlmsghdr) char buf[4096];
	struct mnl_socket *nl;
	ssize_t n;
	int err = 0;

	if (!is_known(flow->proto))
		return -EPROTONOSUPPORT;
	nl = send_request(flow);
	if (!nl)
		return -errno;
	n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
	if (n < 0 ||
	    mnl_cb_run(buf, (size_t)n, 0, mnl_socket_get_portid(nl), on_answer, flow) < 0)
		err = -errno;
	mnl_socket_close(nl);
	return err;
}
