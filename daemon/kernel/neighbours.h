/* SPDX-License-Identifier: MIT */
/*
 * Link-layer addresses of next hops.
 *
 * Theory of operation: the table holds a next hop from the first time that somebody asked for
 * it and the kernel had a usable entry. RTM_NEWNEIGH and RTM_DELNEIGH events keep it, which the
 * caller passes on by neighbours_note(); they change and remove entries and never add one, so
 * neighbours that nobody asked for, and spoofed ones, take no memory. A next hop that is not
 * usable is not in the table: the kernel is asked each time.
 *
 * The number of entries is bounded. A full table is emptied, and fills again as callers ask.
 */
#ifndef NEIGHBOURS_H
#define NEIGHBOURS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "rtnl_query.h"

#define NEIGHBOURS_BUCKETS 1024
#define NEIGHBOURS_MAX	   8192

struct neighbours_entry;

/* What is known of a next hop. */
struct neighbour {
	bool usable;
	uint8_t mac[6]; /* zero if not usable */
};

/* Control thread only. A zeroed struct is an empty table. */
struct neighbours {
	struct neighbours_entry *buckets[NEIGHBOURS_BUCKETS];
	unsigned count;
};

/*
 * The next hop's Ethernet address: from the table, or from the kernel. If the kernel has none,
 * asks it to resolve the neighbour, so that an event follows. 0, or -ENOENT or another -errno of
 * rtnl_neigh_get().
 */
int neighbours_get(struct neighbours *t, struct rtnl *r, uint32_t ifindex,
		   const struct ip_addr *addr, uint8_t mac[6]);
/* What an event says; parameters as in struct rtnl_handler. */
struct neighbour neighbour_heard(uint16_t state, const uint8_t *mac);
/* Returns true if paths by this next hop must be resolved again. The failure of a neighbour that
 * was not usable changes nothing: to resolve would mean asking for a dead neighbour, which fails
 * again, without end. The next packet by the UDP socket asks. */
static inline bool neighbour_changed(const struct neighbour *before,
				     const struct neighbour *now)
{
	return memcmp(before, now, sizeof(*now));
}
/* An event; parameters as in struct rtnl_handler. */
void neighbours_note(struct neighbours *t, uint32_t ifindex, const struct ip_addr *addr,
		     uint16_t state, const uint8_t *mac);
/* Empties the table and frees its memory; also for when events were lost. */
void neighbours_clear(struct neighbours *t);

#endif
