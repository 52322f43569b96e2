// SPDX-License-Identifier: MIT
#include "stale_paths.h"

#include <string.h>

#include "clock.h"
#include "peer.h"
#include "route.h"
#include "thread.h"
#include "tunnel.h"

/* Larger prefixes are walked in shares. */
#define GROUPS_AT_ONCE 16

void stale_paths_init(struct stale_paths *stale)
{
	assert_control_thread();
	CDS_INIT_LIST_HEAD(&stale->hops);
	CDS_INIT_LIST_HEAD(&stale->endpoints);
	stale->endpoints_due = UINT64_MAX;
}

/* --- groups --- */

static void want_group(struct cds_list_head *wanted, struct peer_group *group)
{
	group->stale_count = group->count;
	if (cds_list_empty(&group->stale))
		cds_list_add_tail(&group->stale, wanted);
}

/* Takes a peer from the first group, which then goes to the end of the list. */
static struct peer_member *take_member(struct cds_list_head *wanted)
{
	struct peer_group *group = cds_list_first_entry(wanted, struct peer_group, stale);
	struct peer_member *member =
		cds_list_first_entry(&group->members, struct peer_member, list);

	cds_list_del_init(&group->stale);
	if (group->stale_count > group->count)
		group->stale_count = group->count;
	if (--group->stale_count)
		cds_list_add_tail(&group->stale, wanted);
	cds_list_del(&member->list);
	cds_list_add_tail(&member->list, &group->members);
	return member;
}

/* --- next hops --- */

/* Another peer of the group may have found the neighbour otherwise, before an event or without
 * one. Then it is resolved again, too. */
static void note_neighbour(struct tunnel *tunnel, struct peer_group *group,
			   const struct neighbour *now)
{
	if (group->count > 1 && neighbour_changed(&group->neighbour, now))
		want_group(&tunnel->stale.hops, group);
	group->neighbour = *now;
}

static int note_hop(struct peer *peer, const struct route *route)
{
	struct peer_index *index = &peer->peers->by_hop;
	struct peer_key key = {0};
	struct neighbour now;
	int err;

	if (!route || !route->by_neighbour) {
		peer_index_drop(index, &peer->by_hop);
		return 0;
	}
	key.ifindex = route->ifindex;
	key.addr = route->nexthop;
	err = peer_index_put(index, &peer->by_hop, &key);
	if (err)
		return err;
	now = route_neighbour(route);
	note_neighbour(tunnel_of(peer), peer->by_hop.group, &now);
	return 0;
}

void stale_paths_by_neighbour(struct tunnel *tunnel, uint32_t ifindex,
			      const struct ip_addr *addr, const struct neighbour *now)
{
	assert_control_thread();
	struct peer_key key = {.ifindex = ifindex, .addr = *addr};
	struct peer_group *group = peer_index_find(&tunnel->peers.by_hop, &key);

	if (!group || !neighbour_changed(&group->neighbour, now))
		return;
	group->neighbour = *now;
	want_group(&tunnel->stale.hops, group);
}

void stale_paths_by_link(struct tunnel *tunnel, uint32_t ifindex)
{
	assert_control_thread();
	const struct peer_key first = {.ifindex = ifindex};
	const struct peer_index *index = &tunnel->peers.by_hop;
	struct peer_group *group = peer_index_from(index, &first);

	for (; group && group->key.ifindex == ifindex;
	     group = peer_index_after(index, group))
		want_group(&tunnel->stale.hops, group);
}

static struct peer *next_by_hop(struct tunnel *tunnel)
{
	struct cds_list_head *hops = &tunnel->stale.hops;

	if (cds_list_empty(hops))
		return NULL;
	return caa_container_of(take_member(hops), struct peer, by_hop);
}

/* --- endpoints --- */

static int note_endpoint(struct peer *peer)
{
	const struct peer_key key = {.addr = peer->endpoint.addr,
				     .port = peer->endpoint.port};

	return peer_index_put(&peer->peers->by_endpoint, &peer->by_endpoint, &key);
}

/* Returns true if the peer may have been sent packets from that address of ours. */
static bool is_written_from(const struct peer *peer, const struct ip_addr *source)
{
	const struct path *path = rcu_dereference(peer->path);

	return path && (path->route.source.family == IP_NONE ||
			ip_addr_equal(&path->route.source, source));
}

void stale_paths_by_quote(struct tunnel *tunnel, const struct endpoint *quoted,
			  uint64_t now)
{
	assert_control_thread();
	struct peer_key key = {.addr = quoted->addr, .port = quoted->port};
	struct peer_group *group = peer_index_find(&tunnel->peers.by_endpoint, &key);
	struct peer *peer;

	if (!group)
		return;
	cds_list_for_each_entry (peer, &group->members, by_endpoint.list)
		if (is_written_from(peer, &quoted->source))
			peer_resolve_at(peer, pmtu_schedule(&peer->pmtu_due, now));
}

static bool is_in(const struct peer_group *group, const struct ip_addr *prefix,
		  unsigned len)
{
	return group && ip_addr_in(&group->key.addr, prefix, len);
}

/* A range that has not begun includes all changes until it does. */
static bool is_queued(const struct stale_paths *stale, const struct ip_addr *prefix,
		      unsigned len)
{
	for (unsigned i = 0; i < stale->range_count; i++) {
		const struct stale_range *r = &stale->ranges[i];

		if (!r->begun && r->len <= len && ip_addr_in(prefix, &r->prefix, r->len))
			return true;
	}
	return false;
}

static void add_range(struct tunnel *tunnel, const struct ip_addr *prefix, unsigned len)
{
	struct stale_paths *stale = &tunnel->stale;

	if (stale->range_count == STALE_RANGES)
		tunnel->paths_due = 0; /* all paths */
	else if (!is_queued(stale, prefix, len))
		stale->ranges[stale->range_count++] = (struct stale_range){
			.prefix = *prefix, .len = len, .next = {.addr = *prefix}};
}

/* Groups that are many in one prefix wait as a range: an event takes a bounded time. */
void stale_paths_by_prefix(struct tunnel *tunnel, const struct ip_addr *prefix,
			   unsigned len)
{
	assert_control_thread();
	const struct peer_key first = {.addr = *prefix};
	struct peer_group *groups[GROUPS_AT_ONCE], *at;
	const struct peer_index *index = &tunnel->peers.by_endpoint;
	struct stale_paths *stale = &tunnel->stale;
	uint64_t due = clock_now() + SETTLE_NS;
	unsigned n = 0;

	at = peer_index_from(index, &first);
	for (; n < GROUPS_AT_ONCE && is_in(at, prefix, len); n++) {
		groups[n] = at;
		at = peer_index_after(index, at);
	}
	if (n && stale->endpoints_due > due)
		stale->endpoints_due = due;
	if (n == GROUPS_AT_ONCE)
		add_range(tunnel, prefix, len);
	else
		while (n--)
			want_group(&stale->endpoints, groups[n]);
}

static void end_range(struct stale_paths *stale)
{
	stale->range_count--;
	memmove(stale->ranges, stale->ranges + 1,
		stale->range_count * sizeof(stale->ranges[0]));
}

/* Queues the next group of the first range. */
static void advance_range(struct tunnel *tunnel)
{
	const struct peer_index *index = &tunnel->peers.by_endpoint;
	struct stale_range *r = &tunnel->stale.ranges[0];
	struct peer_group *group = peer_index_from(index, &r->next);

	r->begun = true;
	if (!is_in(group, &r->prefix, r->len)) {
		end_range(&tunnel->stale);
		return;
	}
	want_group(&tunnel->stale.endpoints, group);
	group = peer_index_after(index, group);
	if (group)
		r->next = group->key;
	else
		end_range(&tunnel->stale);
}

static struct peer *next_by_endpoint(struct tunnel *tunnel, uint64_t now)
{
	struct stale_paths *stale = &tunnel->stale;

	if (now < stale->endpoints_due)
		return NULL;
	while (cds_list_empty(&stale->endpoints) && stale->range_count)
		advance_range(tunnel);
	if (!cds_list_empty(&stale->endpoints))
		return caa_container_of(take_member(&stale->endpoints), struct peer,
					by_endpoint);
	stale->endpoints_due = UINT64_MAX;
	return NULL;
}

/* --- all --- */

int stale_paths_note(struct peer *peer, const struct route *route)
{
	assert_control_thread();
	int err = note_endpoint(peer);

	return err ? err : note_hop(peer, route);
}

/* Both kinds have their turn, even if events of one of them never stop. */
struct peer *stale_paths_next(struct tunnel *tunnel, uint64_t now)
{
	bool *turn = &tunnel->stale.turn;
	struct peer *peer;

	assert_control_thread();
	*turn = !*turn;
	peer = *turn ? next_by_endpoint(tunnel, now) : next_by_hop(tunnel);
	if (peer)
		return peer;
	return *turn ? next_by_hop(tunnel) : next_by_endpoint(tunnel, now);
}

uint64_t stale_paths_deadline(struct tunnel *tunnel)
{
	assert_control_thread();
	return cds_list_empty(&tunnel->stale.hops) ? tunnel->stale.endpoints_due : 0;
}
