// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * If an event socket's buffer overflows, the kernel reports ENOBUFS once and then drops
 * events silently until the buffer has been read empty. rtnl_dispatch() therefore
 * remembers the loss and calls `overrun` only when the buffer is empty: what the handler
 * reads from the kernel then cannot miss a later event.
 */
#include "rtnl_events.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "thread.h"

/* Datagrams read from a socket by one rtnl_dispatch(). */
#define EVENT_READS_MAX 512

static void event_link(const struct nlmsghdr *nlh, const struct rtnl_handler *h,
		       void *ctx)
{
	struct rtnl_link link;
	uint32_t ifindex;

	if (h->link && rtnl_parse_link(nlh, &link, &ifindex))
		h->link(ctx, nlh->nlmsg_type == RTM_NEWLINK, &link, ifindex);
}

static void event_addr(const struct nlmsghdr *nlh, const struct rtnl_handler *h,
		       void *ctx)
{
	struct rtnl_addr addr;

	if (h->addr && rtnl_parse_addr(nlh, &addr))
		h->addr(ctx, nlh->nlmsg_type == RTM_NEWADDR, &addr);
}

/* The same group also carries bridges' forwarding entries (AF_BRIDGE), which are ignored. */
static void event_neigh(const struct nlmsghdr *nlh, const struct rtnl_handler *h,
			void *ctx)
{
	const struct nlattr *tb[NDA_LLADDR + 1];
	const struct ndmsg *ndm = rtnl_parse_message(nlh, sizeof(*ndm), tb, NDA_LLADDR);
	struct ip_addr addr;

	if (!h->neigh || !ndm || (ndm->ndm_flags & NTF_PROXY) ||
	    !rtnl_attr_addr(tb[NDA_DST], ndm->ndm_family, &addr))
		return;
	h->neigh(ctx, (uint32_t)ndm->ndm_ifindex, &addr,
		 nlh->nlmsg_type == RTM_NEWNEIGH ? ndm->ndm_state : 0,
		 rtnl_attr_mac(tb[NDA_LLADDR]));
}

static void event_tc_changed(const struct nlmsghdr *nlh, const struct rtnl_handler *h,
			     void *ctx)
{
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);

	if (h->tc_changed && mnl_nlmsg_get_payload_len(nlh) >= sizeof(*tcm))
		h->tc_changed(ctx, (uint32_t)tcm->tcm_ifindex);
}

/* The default route's message has no RTA_DST. */
static bool parse_prefix(const struct rtmsg *rtm, const struct nlattr *dst,
			 struct ip_addr *out)
{
	static const uint8_t zero[16];

	if (!rtm->rtm_dst_len)
		return rtnl_addr_set(out, rtm->rtm_family, zero,
				     rtm->rtm_family == AF_INET ? 4 : 16);
	return rtnl_attr_addr(dst, rtm->rtm_family, out) &&
	       rtm->rtm_dst_len <= ip_addr_len(out) * 8;
}

/* Returns true if the event is not told by `route`. Which addresses are this host's decides about
 * sources of packets, too, and not only about their destinations. */
static bool event_route(const struct nlmsghdr *nlh, const struct rtnl_handler *h,
			void *ctx)
{
	const struct nlattr *tb[RTA_DST + 1];
	const struct rtmsg *rtm = rtnl_parse_message(nlh, sizeof(*rtm), tb, RTA_DST);
	struct ip_addr prefix = {0};

	if (!h->route || !rtm || rtm->rtm_type == RTN_LOCAL ||
	    !parse_prefix(rtm, tb[RTA_DST], &prefix))
		return true;
	h->route(ctx, &prefix, rtm->rtm_dst_len);
	return false;
}

/* Returns true if the event calls for routes_changed(). */
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
		return event_route(nlh, h, ctx);
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

/* Returns true if routes changed. *err: 0 if there may be more events, -EAGAIN if all have
 * been read, or another error. */
static bool events_read(struct rtnl_feed *feed, const struct rtnl_handler *h, void *ctx,
			int *err)
{
	_Alignas(struct nlmsghdr) char buf[RTNL_RECEIVE_BYTES];
	bool routes = false;
	ssize_t last = 0;

	*err = 0;
	for (int i = 0; i < EVENT_READS_MAX && !*err; i++) {
		ssize_t len = rtnl_receive(mnl_socket_get_fd(feed->socket), buf,
					   sizeof(buf), MSG_DONTWAIT);

		/* An overrun is told once; twice running the kernel has no memory. */
		if (len == -ENOBUFS && last == -ENOBUFS)
			*err = -ENOBUFS;
		else if (len == -ENOBUFS || len == -EMSGSIZE)
			feed->overrun = true;
		else if (len < 0)
			*err = (int)len;
		else
			routes |= events_walk(buf, (int)len, h, ctx);
		last = len;
	}
	return routes;
}

int rtnl_dispatch(struct rtnl *r, enum rtnl_feed_kind kind, const struct rtnl_handler *h,
		  void *ctx)
{
	struct rtnl_feed *feed = &r->feeds[kind];
	int err;

	assert_control_thread();
	if (events_read(feed, h, ctx, &err) && h->routes_changed)
		h->routes_changed(ctx);
	if (err != -EAGAIN)
		return err;
	if (feed->overrun && h->overrun)
		h->overrun(ctx);
	feed->overrun = false;
	return 0;
}
