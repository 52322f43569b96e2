// SPDX-License-Identifier: MIT
#include "paths.h"

#include <string.h>

#include <urcu-qsbr.h>

#include "clock.h"
#include "flows.h"
#include "handshake_queue.h"
#include "route.h"
#include "nics.h"
#include "tunnel.h"

/* Other devices' changes come in bursts. */
#define SETTLE_NS     (20 * NS_PER_MS)
#define PATHS_A_ROUND 256
/* How often the next hop of a peer in use is confirmed. */
#define NEIGHBOUR_NS (10 * NS_PER_SEC)

/* --- one path --- */

/* A source that somebody wrote must not attach XDP to another NIC of this host. */
static struct nic *find_nic(const struct peer *peer, uint32_t ifindex)
{
	return peer->configured || peer->arrived_by == ifindex
		       ? nic_for_route(tunnel_of(peer), ifindex)
		       : nic_find(tunnel_of(peer), ifindex);
}

static void use_route(struct peer *peer, struct path *path, const struct route *route)
{
	struct tunnel *tunnel = tunnel_of(peer);
	struct nic *nic = find_nic(peer, route->ifindex);

	path_set_route(path, route);
	if (nic && route->l2_ok && tunnel->dp.udp && !atomic_load(&peer->socket_only))
		path_use_nic(path, nic, tunnel->dp.udp->port);
}

static void forget_source(struct peer *peer)
{
	memset(&peer->endpoint.source, 0, sizeof(peer->endpoint.source));
}

static int find_route(struct peer *peer, struct route *route)
{
	struct tunnel *tunnel = tunnel_of(peer);

	return route_resolve(&tunnel->rtnl, &peer->endpoint, tunnel_port(tunnel),
			     tunnel->fwmark, route);
}

/* A sticky source address is forgotten when we no longer have it, or when the way that
 * it belonged to is gone: by another one the peer's answers to it may not arrive. */
static int find_route_from_source(struct peer *peer, struct route *route)
{
	const struct path *old = rcu_dereference(peer->path);
	int err = find_route(peer, route);

	if (!err && route->source_gone)
		forget_source(peer);
	if (!old || !endpoint_equal(&old->endpoint, &peer->endpoint) ||
	    !route_left_source(&tunnel_of(peer)->rtnl, &peer->endpoint,
			       old->route.ifindex, err ? 0 : route->ifindex))
		return err;
	forget_source(peer);
	return find_route(peer, route);
}

void paths_resolve(struct peer *peer)
{
	struct tunnel *tunnel = tunnel_of(peer);
	struct path *path = NULL;
	struct route route;
	int err;

	if (peer->has_endpoint) {
		err = find_route_from_source(peer, &route);
		/* An endpoint routed into its own tunnel would go round for ever. */
		if (err || !wgif_is(&tunnel->wgif, route.ifindex))
			path = path_new(&peer->endpoint);
		if (path && !err)
			use_route(peer, path, &route);
	}
	peer_publish_path(peer, path);
}

void paths_set_socket_only(struct peer *peer, bool yes)
{
	if (atomic_exchange(&peer->socket_only, yes) != yes)
		paths_resolve(peer);
}

/* --- endpoints --- */

void paths_set_endpoint(struct peer *peer, const struct endpoint *ep)
{
	if (peer->has_endpoint && endpoint_equal(&peer->endpoint, ep))
		return;
	peer_note_endpoint(peer, ep);
	paths_resolve(peer);
}

void paths_configure_endpoint(struct peer *peer, const struct endpoint *ep)
{
	if (peer->configured && peer->has_endpoint && endpoint_equal(&peer->endpoint, ep))
		return;
	peer_note_endpoint(peer, ep);
	peer->configured = true;
	paths_resolve(peer);
}

/* Where the peer is, and by which way it gets to us. */
void paths_note_way(struct peer *peer, const struct handshake_message *m)
{
	uint64_t now = clock_now();

	if (m->ifindex)
		peer->arrived_by = m->ifindex;
	paths_set_socket_only(
		peer,
		m->ifindex && flows_may_be_translated(peer, &m->from, m->ifindex, now));
	paths_set_endpoint(peer, &m->from);
	if (m->ifindex)
		flows_admit(peer, &m->from, m->ifindex, now);
}

void paths_note_arrival(struct peer *peer, uint32_t ifindex)
{
	const struct path *path = rcu_dereference(peer->path);
	bool changed = peer->arrived_by != ifindex;

	peer->arrived_by = ifindex;
	if (changed && path && !path->nic && path->route.ifindex == ifindex)
		paths_resolve(peer);
}

void paths_roam(struct peer *peer)
{
	struct endpoint ep;

	pthread_mutex_lock(&peer->roam_lock);
	ep = peer->roamed;
	if (peer->roamed_by)
		peer->arrived_by = peer->roamed_by;
	pthread_mutex_unlock(&peer->roam_lock);
	/* Even if it is back where we thought: the worker's path is a makeshift. */
	peer_note_endpoint(peer, &ep);
	paths_resolve(peer);
}

/* The peer is silent: perhaps because of the address that we write from. */
void paths_forget_source(struct peer *peer)
{
	struct endpoint ep = peer->endpoint;

	memset(&ep.source, 0, sizeof(ep.source));
	if (peer->has_endpoint)
		paths_set_endpoint(peer, &ep);
}

/* The kernel does not see what workers send, and would let the neighbour go stale. */
void paths_keep_neighbour(struct peer *peer, uint64_t now)
{
	const struct path *path = rcu_dereference(peer->path);

	if (!path || !path->nic || now - peer->neighbour_kept < NEIGHBOUR_NS)
		return;
	peer->neighbour_kept = now;
	route_keep_neigh(&tunnel_of(peer)->rtnl, &path->route);
}

/* --- many paths --- */

void paths_drop_nic(struct tunnel *tunnel, const struct nic *nic)
{
	struct peer *peer;

	cds_list_for_each_entry (peer, &tunnel->peers.list, list) {
		const struct path *path = rcu_dereference(peer->path);

		if (path && path->nic == nic)
			peer_publish_path(peer, path_new(&peer->endpoint));
	}
}

/* A share of them a call, so that many peers do not keep the control thread. After a change
 * meanwhile all of them follow once more; it does not begin anew, or where changes never
 * stop the last ones would never have their turn. */
void paths_serve(struct tunnel *tunnel, uint64_t now)
{
	unsigned share = PATHS_A_ROUND;

	if (!tunnel->peers.next_path && now >= tunnel->paths_due) {
		tunnel->paths_due = UINT64_MAX;
		tunnel->peers.next_path = tunnel->peers.list.next;
	}
	while (tunnel->peers.next_path &&
	       tunnel->peers.next_path != &tunnel->peers.list && share--) {
		struct peer *peer =
			cds_list_entry(tunnel->peers.next_path, struct peer, list);

		tunnel->peers.next_path = tunnel->peers.next_path->next;
		if (peer->has_endpoint)
			paths_resolve(peer);
	}
	if (tunnel->peers.next_path == &tunnel->peers.list)
		tunnel->peers.next_path = NULL;
}

void paths_due(struct tunnel *tunnel, uint64_t when)
{
	if (when < tunnel->paths_due)
		tunnel->paths_due = when;
}

void paths_changed(struct tunnel *tunnel)
{
	paths_due(tunnel, clock_now() + SETTLE_NS);
}
