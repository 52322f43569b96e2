/* SPDX-License-Identifier: MIT */
/*
 * Which paths an event concerns.
 *
 * Theory of operation: peers are indexed by what their paths were made of (peer_index.h), so an
 * event finds the groups of peers that it concerns without looking at the others. It only puts
 * the groups into a list, because a group may hold all peers. paths_serve() resolves a share of
 * them per round: stale_paths_next() takes peers from the groups in turn. A group that is
 * concerned once more in the meantime begins again. The peer that was taken goes to the end of
 * its group, so all have their turn even if events never stop.
 *
 * All functions are for the control thread.
 */
#ifndef STALE_PATHS_H
#define STALE_PATHS_H

#include <stdbool.h>
#include <stdint.h>

#include <urcu/list.h>

#include "clock.h"
#include "endpoint.h"
#include "neighbours.h"
#include "peer_index.h"

struct peer;
struct route;
struct tunnel;

/* Changes of links, addresses and routes come in bursts. */
#define SETTLE_NS    (20 * NS_PER_MS)
#define STALE_RANGES 16

/* Groups of peers->by_endpoint whose addresses lie in a prefix, from `next` on. */
struct stale_range {
	struct ip_addr prefix;
	unsigned len;
	struct peer_key next;
	bool begun;
};

struct stale_paths {
	struct cds_list_head hops;	/* groups of peers->by_hop */
	struct cds_list_head endpoints; /* groups of peers->by_endpoint */
	struct stale_range ranges[STALE_RANGES];
	unsigned range_count;
	uint64_t endpoints_due; /* ns; UINT64_MAX: there are neither groups nor ranges */
	bool turn;		/* of the endpoints */
};

void stale_paths_init(struct stale_paths *stale);
/* Indexes the peer, whose endpoint has been resolved to this route; NULL: to none. 0 or -ENOMEM,
 * and then events are not noticed: try again. */
int stale_paths_note(struct peer *peer, const struct route *route);
/* An event of a neighbour: concerns the peers that are reached by it, if it changed. */
void stale_paths_by_neighbour(struct tunnel *tunnel, uint32_t ifindex,
			      const struct ip_addr *addr, const struct neighbour *now);
/* Concerns the peers that are reached by a neighbour on this link. */
void stale_paths_by_link(struct tunnel *tunnel, uint32_t ifindex);
/* "Packet too big" about a packet of ours (pmtu.h): concerns the peers that it was for. */
void stale_paths_by_quote(struct tunnel *tunnel, const struct endpoint *quoted,
			  uint64_t now);
/* A route to this prefix changed: concerns the peers whose endpoints lie in it. */
void stale_paths_by_prefix(struct tunnel *tunnel, const struct ip_addr *prefix,
			   unsigned len);
/* Returns a peer whose path is to be resolved now, or NULL. */
struct peer *stale_paths_next(struct tunnel *tunnel, uint64_t now);
/* When stale_paths_next() has a peer, ns; 0: now, UINT64_MAX: there is none. */
uint64_t stale_paths_deadline(struct tunnel *tunnel);

#endif
