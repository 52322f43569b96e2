// SPDX-License-Identifier: MIT
#include "stale_paths.h"

#include "paths.h"
#include "peer.h"
#include "route.h"
#include "thread.h"
#include "tunnel.h"

void stale_paths_init(struct stale_paths *stale)
{
	CDS_INIT_LIST_HEAD(&stale->hops);
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
	struct peer_key key = {.ifindex = ifindex, .addr = *addr};
	struct peer_group *group = peer_index_find(&tunnel->peers.by_hop, &key);

	assert_control_thread();
	if (!group || !neighbour_changed(&group->neighbour, now))
		return;
	group->neighbour = *now;
	want_group(&tunnel->stale.hops, group);
}

void stale_paths_by_link(struct tunnel *tunnel, uint32_t ifindex)
{
	const struct peer_key first = {.ifindex = ifindex};
	const struct peer_index *index = &tunnel->peers.by_hop;
	struct peer_group *group = peer_index_from(index, &first);

	assert_control_thread();
	for (; group && group->key.ifindex == ifindex;
	     group = peer_index_after(index, group))
		want_group(&tunnel->stale.hops, group);
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
	struct peer_key key = {.addr = quoted->addr, .port = quoted->port};
	struct peer_group *group = peer_index_find(&tunnel->peers.by_endpoint, &key);
	struct peer *peer;

	assert_control_thread();
	if (!group)
		return;
	cds_list_for_each_entry (peer, &group->members, by_endpoint.list)
		if (is_written_from(peer, &quoted->source))
			paths_want_at(peer, pmtu_schedule(&peer->pmtu_due, now));
}

/* --- all --- */

int stale_paths_note(struct peer *peer, const struct route *route)
{
	int err = note_endpoint(peer);

	assert_control_thread();
	return err ? err : note_hop(peer, route);
}

struct peer *stale_paths_next(struct tunnel *tunnel)
{
	struct cds_list_head *hops = &tunnel->stale.hops;

	assert_control_thread();
	if (cds_list_empty(hops))
		return NULL;
	return caa_container_of(take_member(hops), struct peer, by_hop);
}

uint64_t stale_paths_deadline(struct tunnel *tunnel)
{
	return cds_list_empty(&tunnel->stale.hops) ? UINT64_MAX : 0;
}
