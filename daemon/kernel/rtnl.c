// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * Requests have a socket of their own, so that an event never stands between a request and its
 * answer.
 *
 * A request on the first socket is synchronous: the kernel works on it inside sendto(), so
 * the answer is there when sendto() returns. The receive timeout only guards against a
 * kernel that stays silent. Each request asks for an acknowledgement, which ends the exchange
 * whether or not data came before it; a dump ends with NLMSG_DONE instead. Answers to older
 * requests are recognized by their sequence numbers and skipped.
 *
 * Two more sockets are subscribed to the multicast groups of events; rtnl_events.c reads them.
 * What decides about routes has one to itself, because workers look whether there is something to
 * read (routing_news.h), and neighbours change all the time.
 */
#include "rtnl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "thread.h"

#define QUERY_TIMEOUT_SECONDS 1
#define EVENT_BUFFER_BYTES    (4 << 20)

/* What note_attr() fills. */
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

const void *rtnl_parse_message(const struct nlmsghdr *nlh, size_t header,
			       const struct nlattr **tb, unsigned max)
{
	struct attrs attrs = {.tb = tb, .max = max};

	memset(tb, 0, (max + 1) * sizeof(*tb));
	if (mnl_nlmsg_get_payload_len(nlh) < header)
		return NULL;
	mnl_attr_parse(nlh, header, note_attr, &attrs);
	return mnl_nlmsg_get_payload(nlh);
}

void rtnl_parse_nested(const struct nlattr *nest, const struct nlattr **tb, unsigned max)
{
	struct attrs attrs = {.tb = tb, .max = max};

	memset(tb, 0, (max + 1) * sizeof(*tb));
	if (nest)
		mnl_attr_parse_nested(nest, note_attr, &attrs);
}

uint32_t rtnl_attr_u32(const struct nlattr *attr)
{
	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(uint32_t))
		return 0;
	return mnl_attr_get_u32(attr);
}

void rtnl_attr_string(const struct nlattr *attr, char *out, size_t size)
{
	if (attr)
		snprintf(out, size, "%.*s", (int)mnl_attr_get_payload_len(attr),
			 mnl_attr_get_str(attr));
}

bool rtnl_addr_set(struct ip_addr *out, int family, const void *bytes, size_t len)
{
	memset(out, 0, sizeof(*out));
	if (!((family == AF_INET && len == 4) || (family == AF_INET6 && len == 16)))
		return false;
	out->family = family == AF_INET ? IP_V4 : IP_V6;
	memcpy(out->bytes, bytes, len);
	return true;
}

bool rtnl_attr_addr(const struct nlattr *attr, int family, struct ip_addr *out)
{
	return attr && rtnl_addr_set(out, family, mnl_attr_get_payload(attr),
				     mnl_attr_get_payload_len(attr));
}

const uint8_t *rtnl_attr_mac(const struct nlattr *attr)
{
	return attr && mnl_attr_get_payload_len(attr) == 6 ? mnl_attr_get_payload(attr)
							   : NULL;
}

int rtnl_addr_family(const struct ip_addr *a)
{
	return a->family == IP_V4 ? AF_INET : a->family == IP_V6 ? AF_INET6 : AF_UNSPEC;
}

void rtnl_put_addr(struct nlmsghdr *nlh, uint16_t type, const struct ip_addr *a)
{
	mnl_attr_put(nlh, type, ip_addr_len(a), a->bytes);
}

struct nlmsghdr *rtnl_request_init(struct rtnl_request *req, uint16_t type,
				   uint16_t flags)
{
	struct nlmsghdr *nlh;

	memset(req, 0, sizeof(*req));
	nlh = mnl_nlmsg_put_header(req->buf);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	return nlh;
}

ssize_t rtnl_receive(int fd, void *buf, size_t size, int flags)
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
	/* Other processes can write to this socket; only the kernel has port 0. */
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
	if (rtnl_parse_message(nlh, header, tb, NLMSGERR_ATTR_MSG))
		rtnl_attr_string(tb[NLMSGERR_ATTR_MSG], r->error, sizeof(r->error));
}

/* Returns the error that an acknowledgement carries: 0 or -errno. */
static int parse_ack(struct rtnl *r, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*err))
		return -EPROTO;
	if (err->error)
		keep_error_text(r, nlh);
	return err->error <= 0 ? err->error : -EPROTO;
}

/* Returns the error that the end of a dump carries: 0 or -errno. */
static int parse_done(const struct nlmsghdr *nlh)
{
	const int *err = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*err))
		return 0;
	return *err <= 0 ? *err : -EPROTO;
}

/* The state of one exchange: an answer may come in several datagrams. */
struct answer {
	rtnl_parse_fn parse;
	void *ctx;
	int result;
	bool done;
	bool interrupted; /* the dumped table changed meanwhile */
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

int rtnl_query(struct rtnl *r, struct nlmsghdr *nlh, rtnl_parse_fn parse, void *ctx)
{
	bool dump = (nlh->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	struct answer a = {.parse = parse, .ctx = ctx};
	_Alignas(struct nlmsghdr) char buf[RTNL_RECEIVE_BYTES];

	assert_control_thread();
	if (!dump)
		nlh->nlmsg_flags |= NLM_F_ACK;
	a.result = parse && !dump ? -ENODATA : 0;
	nlh->nlmsg_seq = ++r->seq;
	r->error[0] = '\0';
	if (mnl_socket_sendto(r->query, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (!a.done) {
		const struct nlmsghdr *reply = (const void *)buf;
		ssize_t got =
			rtnl_receive(mnl_socket_get_fd(r->query), buf, sizeof(buf), 0);
		int len = (int)got;

		if (got < 0)
			return got == -EAGAIN ? -ETIMEDOUT : (int)got;
		for (; mnl_nlmsg_ok(reply, len); reply = mnl_nlmsg_next(reply, &len))
			if (reply->nlmsg_seq == nlh->nlmsg_seq)
				answer_message(r, &a, reply);
	}
	return a.interrupted && !a.result ? -EAGAIN : a.result;
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
	/* These only improve error texts: failure is ignored. */
	mnl_socket_setsockopt(r->query, NETLINK_EXT_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(r->query, NETLINK_CAP_ACK, &one, sizeof(one));
	return 0;
}

#define GROUPS_MAX 9

/* Each list ends with RTNLGRP_NONE. */
static const int groups_of[RTNL_FEEDS][GROUPS_MAX] = {
	[RTNL_ROUTING] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
			  RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,
			  RTNLGRP_IPV6_RULE, RTNLGRP_NEXTHOP},
	[RTNL_OTHER] = {RTNLGRP_NEIGH, RTNLGRP_TC},
};

static int feed_open(struct rtnl_feed *feed, const int *groups)
{
	int size = EVENT_BUFFER_BYTES;
	int fd;

	feed->socket = socket_open();
	if (!feed->socket)
		return -errno;
	fd = mnl_socket_get_fd(feed->socket);
	/* Without CAP_NET_ADMIN the limit is net.core.rmem_max. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	for (; *groups != RTNLGRP_NONE; groups++)
		if (mnl_socket_setsockopt(feed->socket, NETLINK_ADD_MEMBERSHIP,
					  (void *)groups, sizeof(*groups)) < 0)
			return -errno;
	return 0;
}

int rtnl_open(struct rtnl *r)
{
	int err;

	assert_control_thread();
	memset(r, 0, sizeof(*r));
	err = query_open(r);
	for (unsigned i = 0; i < RTNL_FEEDS && !err; i++)
		err = feed_open(&r->feeds[i], groups_of[i]);
	if (err)
		rtnl_close(r);
	return err;
}

void rtnl_close(struct rtnl *r)
{
	assert_control_thread();
	if (r->query)
		mnl_socket_close(r->query);
	r->query = NULL;
	for (unsigned i = 0; i < RTNL_FEEDS; i++) {
		if (r->feeds[i].socket)
			mnl_socket_close(r->feeds[i].socket);
		r->feeds[i].socket = NULL;
	}
}

bool rtnl_is_momentary(int err)
{
	return err == -ENOBUFS || err == -ENOMEM || err == -EMFILE || err == -ENFILE ||
	       err == -EAGAIN || err == -EINTR || err == -ETIMEDOUT;
}

const char *rtnl_error(const struct rtnl *r)
{
	return r->error;
}

int rtnl_event_fd(const struct rtnl *r, enum rtnl_feed_kind kind)
{
	assert_control_thread();
	return mnl_socket_get_fd(r->feeds[kind].socket);
}
