/* SPDX-License-Identifier: MIT */
/*
 * A connection to rtnetlink, the kernel's interface to links, addresses, routes and
 * neighbours (RFC 3549, rtnetlink(7)). Requests are in rtnl_query.h, events in
 * rtnl_events.h; both build on this file.
 *
 * Control thread only. The sockets stay in the network namespace in which rtnl_open()
 * was called, even if the thread enters another one later.
 *
 * Functions return 0 or -errno; -ETIMEDOUT if the kernel did not answer within one
 * second. Addresses are in network byte order, everything else in host byte order.
 */
#ifndef RTNL_H
#define RTNL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "endpoint.h"

struct mnl_socket;
struct nlattr;
struct nlmsghdr;

/* A socket that is subscribed to events. */
struct rtnl_feed {
	struct mnl_socket *socket;
	bool overrun; /* events were lost, and the handler has not been told yet */
};

enum rtnl_feed_kind {
	RTNL_ROUTING, /* links, addresses, routes, rules, next hop objects */
	RTNL_OTHER,   /* neighbours, TC */
	RTNL_FEEDS,
};

struct rtnl {
	struct mnl_socket *query;
	struct rtnl_feed feeds[RTNL_FEEDS];
	uint32_t seq;	 /* sequence number of the latest request */
	char error[128]; /* extended ack of the latest request, or "" */
};

/* Opens all sockets and subscribes to events. Works on a host without IPv6. On error
 * nothing is left open. */
int rtnl_open(struct rtnl *r);

/* May be called after a failed rtnl_open(), and more than once. */
void rtnl_close(struct rtnl *r);

/* Returns the kernel's own explanation (extended ack) of why the latest request failed, or
 * "". Valid until the next request. */
const char *rtnl_error(const struct rtnl *r);

/* Returns a descriptor to poll for POLLIN before rtnl_dispatch(), level-triggered; owned by r.
 * Any thread may poll it. */
int rtnl_event_fd(const struct rtnl *r, enum rtnl_feed_kind kind);

/* Returns true for an error that says nothing about what was asked: the kernel lacked something for
 * a moment, or did not answer. */
bool rtnl_is_momentary(int err);

/* --- for rtnl_query.c and rtnl_events.c --- */

/* Large enough for any dump message: the kernel fills dumps up to this size if the
 * reader's buffer allows it. */
#define RTNL_RECEIVE_BYTES 32768
#define RTNL_REQUEST_BYTES 512

struct rtnl_request {
	_Alignas(uint32_t) char buf[RTNL_REQUEST_BYTES];
};

/* Starts a message in req, which must outlive it. Attributes are appended with
 * mnl_attr_put*(). */
struct nlmsghdr *rtnl_request_init(struct rtnl_request *req, uint16_t type,
				   uint16_t flags);

/* Takes one message of an answer. Returns 0 or -errno. */
typedef int (*rtnl_parse_fn)(const struct nlmsghdr *nlh, void *ctx);

/*
 * Sends a request and calls `parse` (may be NULL) for each message of the answer. nlh with
 * NLM_F_DUMP asks for a dump. Returns the kernel's error, or else what `parse` returned for
 * the last message; -ENODATA if `parse` was given but only an acknowledgement came; -EAGAIN
 * if the dumped table changed during the dump.
 */
int rtnl_query(struct rtnl *r, struct nlmsghdr *nlh, rtnl_parse_fn parse, void *ctx);

/* Receives one datagram. Returns its length, 0 if it did not come from the kernel, or
 * -errno; -EMSGSIZE if the buffer was too small. `flags` as in recv(2). */
ssize_t rtnl_receive(int fd, void *buf, size_t size, int flags);

/*
 * Fills tb[0..max] with the attributes behind a fixed header of `header` bytes, by type;
 * absent ones are NULL, types above max are ignored. Returns the fixed header, or NULL if
 * the message is too short for it.
 */
const void *rtnl_parse_message(const struct nlmsghdr *nlh, size_t header,
			       const struct nlattr **tb, unsigned max);
/* The same for the attributes inside `nest`, which may be NULL. */
void rtnl_parse_nested(const struct nlattr *nest, const struct nlattr **tb, unsigned max);

/* Returns 0 if the attribute is absent (NULL) or too short. */
uint32_t rtnl_attr_u32(const struct nlattr *attr);
/* Leaves `out` unchanged if the attribute is absent. */
void rtnl_attr_string(const struct nlattr *attr, char *out, size_t size);
/* Returns false if the attribute is absent or is not an address of this AF_ family. */
bool rtnl_attr_addr(const struct nlattr *attr, int family, struct ip_addr *out);
/* Returns the 6 bytes, or NULL if the attribute is absent or not an Ethernet address. */
const uint8_t *rtnl_attr_mac(const struct nlattr *attr);
/* Fills *out from the bytes of an address. Returns false if the length does not fit the AF_
 * family. */
bool rtnl_addr_set(struct ip_addr *out, int family, const void *bytes, size_t len);

/* Returns AF_INET, AF_INET6 or AF_UNSPEC. */
int rtnl_addr_family(const struct ip_addr *a);
void rtnl_put_addr(struct nlmsghdr *nlh, uint16_t type, const struct ip_addr *a);

#endif
