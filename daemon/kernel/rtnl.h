/* SPDX-License-Identifier: MIT */
/*
 * The kernel's links, addresses, routes and neighbours, by rtnetlink (RFC 3549,
 * rtnetlink(7)). Control thread only. Both sockets belong to the network namespace
 * in which rtnl_open() was called, wherever the thread goes afterwards.
 *
 * Calls return 0 or -errno; -ETIMEDOUT where the kernel did not answer in a second.
 * Addresses are in network order, everything else in host order. Callbacks get
 * pointers that are valid until they return, and must not call rtnl_close() or
 * rtnl_dispatch(); queries are allowed.
 */
#ifndef RTNL_H
#define RTNL_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include "endpoint.h"

struct mnl_socket;

struct rtnl {
	struct mnl_socket *query;
	struct mnl_socket *events;
	uint32_t seq;
	bool overrun;
	char error[128];
};

struct rtnl_route {
	uint32_t ifindex;
	struct ip_addr nexthop; /* the destination itself where it is on-link */
	struct ip_addr source;
	uint32_t mtu;	  /* bytes: route metric or learnt path MTU; 0: none */
	uint8_t type;	  /* RTN_UNICAST, RTN_LOCAL, ...; never one that refuses */
	uint8_t hoplimit; /* 0: the host's default */
	bool encap;	  /* the route adds a header of its own (MPLS, SRv6, ...) */
};

/* Of a TUN or TAP device; zero for any other. */
struct rtnl_tun {
	uint32_t queues; /* attached ones, enabled or not */
	uint32_t owner;	 /* uid; 0 where there is none, too */
	bool persist;	 /* outlives its queues */
};

struct rtnl_link {
	char name[IFNAMSIZ];
	uint8_t mac[6]; /* zero where the device's address is not six bytes */
	uint32_t mtu;
	uint32_t flags;	    /* IFF_ */
	uint16_t type;	    /* ARPHRD_ */
	char kind[32];	    /* "veth", "tun", "vlan", ...; "" for hardware */
	uint32_t rx_queues; /* allocated, which may be more than are in use */
	uint32_t tx_queues;
	uint32_t master;   /* ifindex of bridge, bond or VRF; 0: none */
	uint8_t hop_limit; /* IPv6, where no route says another; 0: not known */
	uint32_t mtu6;	   /* IPv6's own, which may be less than mtu; 0: not known */
	struct rtnl_tun tun;
};

struct rtnl_addr {
	struct ip_addr addr;
	struct ip_addr broadcast; /* of its subnet; IP_NONE: it has none */
	uint32_t ifindex;
};

/* Any callback may be NULL. */
struct rtnl_handler {
	/* A link appeared or changed (present) or went; a link in a bridge that only
	 * leaves it is a change. */
	void (*link)(void *ctx, bool present, const struct rtnl_link *link,
		     uint32_t ifindex);
	/* One address may be on several links. */
	void (*addr)(void *ctx, bool added, const struct rtnl_addr *addr);
	/* Routes, rules or next hop objects changed; once a rtnl_dispatch(). */
	void (*route)(void *ctx);
	/* NUD_ state; 0 where the entry was removed. mac: 6 bytes, NULL where none. */
	void (*neigh)(void *ctx, uint32_t ifindex, const struct ip_addr *addr,
		      uint16_t state, const uint8_t *mac);
	/* A qdisc or filter of that link was removed, added or replaced. */
	void (*tc_changed)(void *ctx, uint32_t ifindex);
	/* Events were lost: read everything again. */
	void (*overrun)(void *ctx);
};

/* IPv6 may be missing on this host. On error nothing is left open. */
int rtnl_open(struct rtnl *r);

/* Also good after a failed rtnl_open(), and twice. */
void rtnl_close(struct rtnl *r);

/* The kernel's own sentence (extended ack) on the last call that failed, or "". */
const char *rtnl_error(const struct rtnl *r);

/*
 * The path of a UDP packet. src IP_NONE: the kernel chooses one. oif_scope 0: any
 * device. The ports (0: not said) take part in multipath hashing and in `ip rule`.
 * IPv4 fails where src is not ours (-EINVAL or -ENETUNREACH, by kernel), IPv6 does not
 * check it. -ENETUNREACH: no route; -EHOSTUNREACH, -EINVAL, -EACCES: an unreachable,
 * blackhole, prohibit route; -EAFNOSUPPORT: dst is no address, or src of another
 * family. *out is zeroed on error.
 */
int rtnl_route_get(struct rtnl *r, const struct ip_addr *dst, const struct ip_addr *src,
		   uint32_t oif_scope, uint32_t fwmark, uint16_t sport, uint16_t dport,
		   struct rtnl_route *out);

/* The link that an address of ours is on; -EADDRNOTAVAIL where it is not ours. */
int rtnl_addr_link(struct rtnl *r, const struct ip_addr *addr, uint32_t *ifindex);

/* Whether a neighbour in that NUD_ state has a link-layer address to send to. */
bool rtnl_neigh_usable(uint16_t state);

/* -ENOENT where there is none or it is not usable. */
int rtnl_neigh_get(struct rtnl *r, uint32_t ifindex, const struct ip_addr *addr,
		   uint8_t mac[6]);

/*
 * Has the kernel resolve the neighbour, or confirm it where it is stale, as if it
 * had sent it a packet (NTF_USE). Returns at once; the result comes as an event.
 * Entries that are static, managed or externally learnt are left as they are.
 */
int rtnl_neigh_probe(struct rtnl *r, uint32_t ifindex, const struct ip_addr *addr);

/* -ENODEV where there is no such link. */
int rtnl_link_get(struct rtnl *r, uint32_t ifindex, struct rtnl_link *out);

/*
 * All links of this namespace. If they change during the dump it is started again, so that
 * `each` may see a link twice; -EAGAIN after several such.
 */
int rtnl_link_dump(struct rtnl *r,
		   void (*each)(void *ctx, uint32_t ifindex,
				const struct rtnl_link *link),
		   void *ctx);

/* -ENODEV where there is no such link. */
int rtnl_link_delete(struct rtnl *r, uint32_t ifindex);

/*
 * All addresses of this namespace. Where they change during the dump it is started
 * again, so that `each` may see an address twice; -EAGAIN after several such.
 */
int rtnl_addr_dump(struct rtnl *r, void (*each)(void *ctx, const struct rtnl_addr *addr),
		   void *ctx);

/*
 * Prepares wg0: address, MTU, largest GSO packet in bytes (0: as it is), no ARP, no multicast, no
 * link-local address of the kernel's making. Does not bring it up.
 */
int rtnl_link_setup(struct rtnl *r, uint32_t ifindex, const uint8_t mac[6], uint32_t mtu,
		    uint32_t gso_max);

/* Removes the clsact or ingress qdisc of the link, with all filters. -ENOENT: it has none. */
int rtnl_clsact_remove(struct rtnl *r, uint32_t ifindex);

/* To poll for POLLIN, level-triggered; owned by r. */
int rtnl_event_fd(const struct rtnl *r);

/*
 * Takes the events that are there, without blocking; a bounded number, so that a
 * flood of them does not keep the thread: poll again afterwards.
 */
int rtnl_dispatch(struct rtnl *r, const struct rtnl_handler *h, void *ctx);

#endif
