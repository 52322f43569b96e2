/* SPDX-License-Identifier: MIT */
/*
 * Requests to rtnetlink: questions about routes, neighbours, links and addresses, and the
 * few changes that wgxdp makes. Each is a synchronous exchange with the kernel. Control
 * thread only. Return values, byte orders and timeouts are those of rtnl.h.
 */
#ifndef RTNL_QUERY_H
#define RTNL_QUERY_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
#include "rtnl.h"

struct rtnl_route {
	uint32_t ifindex;
	struct ip_addr nexthop; /* the destination itself if it is on-link */
	struct ip_addr source;
	uint32_t mtu;	  /* bytes: route metric or learnt path MTU; 0: none */
	uint8_t type;	  /* RTN_UNICAST, RTN_LOCAL, ...; never a refusing type */
	uint8_t hoplimit; /* 0: the host's default */
	bool encap;	  /* the route adds a header (MPLS, SRv6, ...) */
};

/* State of a TUN or TAP device; zero for any other link. */
struct rtnl_tun {
	uint32_t queues; /* attached ones, enabled or not */
	uint32_t owner;	 /* uid; 0 also if no owner is set */
	bool persist;	 /* the device outlives its queues */
};

struct rtnl_link {
	char name[IFNAMSIZ];
	uint8_t mac[6]; /* zero if the link's address is not six bytes long */
	uint32_t mtu;
	uint32_t flags;	    /* IFF_ */
	uint16_t type;	    /* ARPHRD_ */
	char kind[32];	    /* "veth", "tun", "vlan", ...; "" for hardware */
	uint32_t rx_queues; /* allocated; fewer may be in use */
	uint32_t tx_queues;
	uint32_t master; /* ifindex of bridge, bond or VRF; 0: none */
	uint32_t
		lower; /* ifindex of the link that it is on, in the same namespace; 0: none */
	uint8_t hop_limit; /* IPv6, for routes without their own; 0: not known */
	uint32_t mtu6;	   /* IPv6's own, which may be less than mtu; 0: not known */
	struct rtnl_tun tun;
};

struct rtnl_addr {
	struct ip_addr addr;
	struct ip_addr broadcast; /* of its subnet; IP_NONE: it has none */
	uint32_t ifindex;
};

/*
 * Looks up the route of a UDP packet. src IP_NONE: the kernel chooses the source address.
 * oif_scope 0: any link. sport, dport: host byte order; they take part in multipath
 * hashing and in `ip rule`; 0: not given.
 *
 * IPv4 fails if src is not an address of this host (-EINVAL or -ENETUNREACH, depending on
 * the kernel); IPv6 does not check src. -ENETUNREACH: there is no route. -EHOSTUNREACH,
 * -EINVAL, -EACCES: an unreachable, blackhole or prohibit route. -EAFNOSUPPORT: dst is not
 * an address, or src is of another family. *out is zeroed on error.
 */
int rtnl_route_get(struct rtnl *r, const struct ip_addr *dst, const struct ip_addr *src,
		   uint32_t oif_scope, uint32_t fwmark, uint16_t sport, uint16_t dport,
		   struct rtnl_route *out);

/* More next hops than these are not looked at. */
#define RTNL_HOPS_MAX 16

struct rtnl_hops {
	uint32_t links[RTNL_HOPS_MAX]; /* ifindexes; some may be the same */
	unsigned count;
};

/* Finds the links that the default route of an AF_ family leads to, for a packet with this mark:
 * rules decide about the table. None (0 and an empty *out) if there is no default route. */
int rtnl_default_hops(struct rtnl *r, int family, uint32_t fwmark, struct rtnl_hops *out);

/* Finds the link that has the address. -EADDRNOTAVAIL if it is not an address of this
 * host. */
int rtnl_addr_link(struct rtnl *r, const struct ip_addr *addr, uint32_t *ifindex);

/* Returns true if a neighbour in that NUD_ state has a link-layer address that packets can
 * be sent to. */
bool rtnl_neigh_usable(uint16_t state);

/* -ENOENT if there is no such neighbour or it is not usable; mac is zeroed on error. */
int rtnl_neigh_get(struct rtnl *r, uint32_t ifindex, const struct ip_addr *addr,
		   uint8_t mac[6]);

/*
 * Makes the kernel resolve the neighbour, or confirm it if it is stale, as if the kernel
 * had sent it a packet (NTF_USE). Does not wait for the result, which comes as an event.
 * Entries that are static, managed or externally learnt are left unchanged.
 */
int rtnl_neigh_probe(struct rtnl *r, uint32_t ifindex, const struct ip_addr *addr);

/* -ENODEV if there is no such link. */
int rtnl_link_get(struct rtnl *r, uint32_t ifindex, struct rtnl_link *out);

/*
 * Calls `each` for all links of this namespace. If they change during the dump it starts again,
 * so that `each` may get a link twice. -EAGAIN after several such changes.
 */
int rtnl_link_dump(struct rtnl *r,
		   void (*each)(void *ctx, uint32_t ifindex,
				const struct rtnl_link *link),
		   void *ctx);

/* Takes the link out of its bridge, bond or VRF. */
int rtnl_link_leave(struct rtnl *r, uint32_t ifindex);

/* -ENODEV if there is no such link. */
int rtnl_link_delete(struct rtnl *r, uint32_t ifindex);

/*
 * Calls `each` for every address of this namespace; the pointer that it gets is valid until
 * it returns. If addresses change during the dump, the dump is started again, so `each` may
 * see an address twice; -EAGAIN after several such attempts.
 */
int rtnl_addr_dump(struct rtnl *r, void (*each)(void *ctx, const struct rtnl_addr *addr),
		   void *ctx);

/*
 * Prepares wg0: sets its MAC address, MTU and largest GSO packet (bytes; gso_max 0: left
 * unchanged), and turns off ARP, multicast, ICMP redirects and the kernel's IPv6 link-local
 * address. Does not bring it up. -ENODEV if ifindex is 0.
 */
int rtnl_link_setup(struct rtnl *r, uint32_t ifindex, const uint8_t mac[6], uint32_t mtu,
		    uint32_t gso_max);

/* Removes the clsact or ingress qdisc of the link, with all filters. -ENOENT if it has
 * none. */
int rtnl_clsact_remove(struct rtnl *r, uint32_t ifindex);

/* --- for rtnl_events.c --- */

/*
 * Returns false if the message is not about the link as a whole: a bridge's view of its
 * port (AF_BRIDGE, whose RTM_DELLINK only says that the port left the bridge), or a message
 * of the wireless extensions, which carries little more than the name.
 */
bool rtnl_parse_link(const struct nlmsghdr *nlh, struct rtnl_link *out,
		     uint32_t *ifindex);
/* Returns false if the message holds no IPv4 or IPv6 address. */
bool rtnl_parse_addr(const struct nlmsghdr *nlh, struct rtnl_addr *out);

#endif
