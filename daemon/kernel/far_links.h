/* SPDX-License-Identifier: MIT */
/*
 * Notices that a link in another network namespace changes. Control thread only.
 *
 * Theory of operation: a netlink socket of this namespace may hear the events of those that
 * this one has a number for (NETLINK_LISTEN_ALL_NSID). The kernel gives a namespace a number
 * when a link of ours moves there. Unlike a socket in that namespace this one does not keep it
 * alive. It hears those of every container, so it is open only while it is needed.
 */
#ifndef FAR_LINKS_H
#define FAR_LINKS_H

#include <stdbool.h>
#include <stdint.h>

struct mnl_socket;

struct far_links {
	struct mnl_socket *socket; /* NULL: closed */
};

/* 0 or -errno; then it is closed. Needs CAP_NET_BROADCAST or CAP_NET_ADMIN there. */
int far_links_open(struct far_links *f);
/* May be called when it is closed. */
void far_links_close(struct far_links *f);
/* The descriptor to poll for POLLIN, owned by f. It is open. */
int far_links_fd(const struct far_links *f);
/* Reads events, a bounded number, without blocking. Returns true if one is of a link with this
 * ifindex, in whatever namespace, or if some were lost. May be called when it is closed. */
bool far_links_heard(struct far_links *f, uint32_t ifindex);

#endif
