/* SPDX-License-Identifier: MIT */
/*
 * Groups of peers that have an address in common, in the order of their addresses.
 *
 * Theory of operation: an event of the kernel names an address or a prefix, and must cost nothing
 * if no peer has to do with it. An index is a treap (a binary tree that random priorities keep
 * balanced) of groups, so it finds an address, the groups in a prefix and those of a link in
 * logarithmic time. A hash table could not find prefixes. Each group lists its peers. A group
 * exists while it has members.
 *
 * Control thread only.
 */
#ifndef PEER_INDEX_H
#define PEER_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include <urcu/list.h>

#include "endpoint.h"
#include "neighbours.h"

/* A zeroed struct is an empty index. */
struct peer_index {
	struct peer_group *root;
};

/* Keys are in the order of their members. What an index does not go by is 0. */
struct peer_key {
	uint32_t ifindex;
	struct ip_addr addr;
	uint16_t port; /* host order */
};

struct peer_group {
	struct peer_group *left, *right;
	uint32_t priority;
	struct peer_key key;
	struct cds_list_head members; /* struct peer_member */
	unsigned count;		      /* of members */
	/* Of the index's user. In a new group `stale` is in no list and the rest is zero. */
	struct cds_list_head stale;
	unsigned stale_count;
	struct neighbour neighbour;
};

/* Embedded in a peer, once per index. A zeroed member is in no group. */
struct peer_member {
	struct cds_list_head list;
	struct peer_group *group;
};

/* Puts the member into the group of this key, at the end of its list, and takes it out of the one
 * that it was in. 0, or -ENOMEM: it is in no group. */
int peer_index_put(struct peer_index *index, struct peer_member *member,
		   const struct peer_key *key);
/* Takes the member out of its group, and frees the group if it was the last one. */
void peer_index_drop(struct peer_index *index, struct peer_member *member);
/* Returns the group of this key, or NULL. */
struct peer_group *peer_index_find(const struct peer_index *index,
				   const struct peer_key *key);
/* Returns the first group that has this key or comes after it, or NULL. */
struct peer_group *peer_index_from(const struct peer_index *index,
				   const struct peer_key *key);
/* Returns the group that comes after this one, or NULL. */
struct peer_group *peer_index_after(const struct peer_index *index,
				    const struct peer_group *group);

#endif
