/* SPDX-License-Identifier: MIT */
/*
 * Events of rtnetlink: what changed in the kernel's tables, while it changes. Control
 * thread only.
 */
#ifndef RTNL_EVENTS_H
#define RTNL_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "rtnl.h"
#include "rtnl_query.h"

/*
 * Callbacks; any of them may be NULL. Pointers that they get are valid until they return.
 * They may make requests (rtnl_query.h), but must not call rtnl_close() or
 * rtnl_dispatch().
 */
struct rtnl_handler {
	/* A link appeared or changed (present), or was deleted. A link that only leaves its
	 * bridge has changed. */
	void (*link)(void *ctx, bool present, const struct rtnl_link *link,
		     uint32_t ifindex);
	/* An address was added to or removed from a link. The same address may be on
	 * several links. */
	void (*addr)(void *ctx, bool added, const struct rtnl_addr *addr);
	/* A route to this prefix was added, replaced or removed, in any table. */
	void (*route)(void *ctx, const struct ip_addr *prefix, unsigned len);
	/* Rules, next hop objects, or routes to addresses of this host changed, or routes if
	 * `route` is NULL. Called at most once per rtnl_dispatch(). */
	void (*routes_changed)(void *ctx);
	/* state: NUD_, or 0 if the entry was removed. mac: 6 bytes, or NULL if none is
	 * known. */
	void (*neigh)(void *ctx, uint32_t ifindex, const struct ip_addr *addr,
		      uint16_t state, const uint8_t *mac);
	/* A qdisc or filter of that link was removed, added or replaced. */
	void (*tc_changed)(void *ctx, uint32_t ifindex);
	/* Events were lost: everything that is known from events must be read again. */
	void (*overrun)(void *ctx);
};

/*
 * Reads the events of this kind that have come and calls the handler for them. Never blocks.
 * Reads a bounded number, so that a flood of events does not keep the thread: poll again
 * afterwards. Returns 0 or -errno.
 */
int rtnl_dispatch(struct rtnl *r, enum rtnl_feed_kind kind, const struct rtnl_handler *h,
		  void *ctx);

#endif
