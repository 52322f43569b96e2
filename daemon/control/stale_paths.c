// SPDX-License-Identifier: MIT
#include "stale_paths.h"

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
	struct neighbour now;
	int err;

	if (!route || !route->by_neighbour) {
		peer_index_drop(index, &peer->by_hop);
		return 0;
	}
	err = peer_index_put(index, &peer->by_hop, route->ifindex, &route->nexthop);
	if (err)
		return err;
	now = route_neighbour(route);
	note_neighbour(tunnel_of(peer), peer->by_hop.group, &now);
	return 0;
}

void stale_paths_by_neighbour(struct tunnel *tunnel, uint32_t ifindex,
			      const struct ip_addr *addr, const struct neighbour *now)
{
	struct peer_group *group = peer_index_find(&tunnel->peers.by_hop, ifindex, addr);

	assert_control_thread();
	if (!group || !neighbour_changed(&group->neighbour, now))
		return;
	group->neighbour = *now;
	want_group(&tunnel->stale.hops, group);
}

void stale_paths_by_link(struct tunnel *tunnel, uint32_t ifindex)
{
	static const struct ip_addr first;
	const struct peer_index *index = &tunnel->peers.by_hop;
	struct peer_group *group = peer_index_from(index, ifindex, &first);

	assert_control_thread();
	for (; group && group->ifindex == ifindex; group = peer_index_after(index, group))
		want_group(&tunnel->stale.hops, group);
}

/* --- all --- */

int stale_paths_note(struct peer *peer, const struct route *route)
{
	assert_control_thread();
	return note_hop(peer, route);
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
