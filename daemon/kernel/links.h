/* SPDX-License-Identifier: MIT */
/*
 * The links of this network namespace, as rtnetlink last described them.
 *
 * Theory of operation: links_read() fills the table from a dump. From then on RTM_NEWLINK and
 * RTM_DELLINK events keep it, which the caller passes on by links_note(). Until the caller has
 * read an event, the table shows the link as it was before: whoever built something from the
 * table builds it again when the event comes. If events were lost, the caller reads the table
 * again. The sysctls net.ipv6.conf.NAME.hop_limit and mtu change without an event: the table
 * shows them as of the last read or of the link's last event.
 */
#ifndef LINKS_H
#define LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "rtnl_query.h"

#define LINKS_BUCKETS 256 /* a power of two */

struct links_entry;

/* Control thread only. A zeroed struct is an empty table. */
struct links {
	struct links_entry *buckets[LINKS_BUCKETS];
};

/* Replaces the table by what the kernel has now. 0 or -errno; on error the table is as before. */
int links_read(struct links *t, struct rtnl *r);
/* A link is there, new or changed (`link`), or is not (NULL). 0 or -ENOMEM; on error the table
 * does not have the link. */
int links_note(struct links *t, uint32_t ifindex, const struct rtnl_link *link);
/* The link, or NULL. Valid until the next call that changes the table. */
const struct rtnl_link *links_find(const struct links *t, uint32_t ifindex);
/* Empties the table and frees its memory. */
void links_clear(struct links *t);

#endif
