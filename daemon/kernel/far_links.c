// SPDX-License-Identifier: MIT
#include "far_links.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include "rtnl.h"
#include "thread.h"

#define READS_MAX 64

int far_links_open(struct far_links *f)
{
	int one = 1, err = 0;

	assert_control_thread();
	f->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!f->socket)
		return -errno;
	if (mnl_socket_setsockopt(f->socket, NETLINK_LISTEN_ALL_NSID, &one,
				  sizeof(one)) ||
	    mnl_socket_bind(f->socket, RTMGRP_LINK, MNL_SOCKET_AUTOPID)) {
		err = -errno;
		far_links_close(f);
	}
	return err;
}

void far_links_close(struct far_links *f)
{
	assert_control_thread();
	if (f->socket)
		mnl_socket_close(f->socket);
	f->socket = NULL;
}

int far_links_fd(const struct far_links *f)
{
	assert_control_thread();
	return mnl_socket_get_fd(f->socket);
}

static bool is_of(const char *buf, int len, uint32_t ifindex)
{
	const struct nlmsghdr *nlh = (const void *)buf;

	for (; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
		const struct ifinfomsg *link = mnl_nlmsg_get_payload(nlh);

		if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(*link) &&
		    (uint32_t)link->ifi_index == ifindex)
			return true;
	}
	return false;
}

bool far_links_heard(struct far_links *f, uint32_t ifindex)
{
	_Alignas(struct nlmsghdr) char buf[RTNL_RECEIVE_BYTES];
	bool heard = false;

	assert_control_thread();
	for (int i = 0; f->socket && i < READS_MAX; i++) {
		ssize_t len =
			rtnl_receive(far_links_fd(f), buf, sizeof(buf), MSG_DONTWAIT);

		if (len == -EAGAIN)
			break;
		heard |= len < 0 || is_of(buf, (int)len, ifindex);
	}
	return heard;
}
