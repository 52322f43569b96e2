// SPDX-License-Identifier: MIT
#include "paths.h"

#include <errno.h>
#include <string.h>

#include <urcu-qsbr.h>

#include "clock.h"
#include "flows.h"
#include "friends.h"
#include "handshake_queue.h"
#include "log.h"
#include "nics.h"
#include "route.h"
#include "stale_paths.h"
#include "thread.h"
#include "tunnel.h"

/* Of the queue, of what events concern, and of all peers if they are due. */
#define PATHS_A_ROUND 256
/* Peers per round that are looked at after a NIC has gone. */
#define DROPPED_A_ROUND 256
/* After an error of the look-up itself; doubled while it lasts, if more than a few peers wait. */
#define RETRY_NS     NS_PER_SEC
#define RETRY_MAX_NS (32 * NS_PER_SEC)
#define RETRY_FEW    64
/* As long as the kernel keeps a path MTU that it learnt. */
#define MAX_AGE_NS (600 * NS_PER_SEC)
/* How often the next hop of a peer in use is confirmed. */
#define NEIGHBOUR_NS (10 * NS_PER_SEC)

/* --- resolving one path --- */

/* A peer can write from a spoofed source address: that must not attach XDP to other NICs of this
 * host than the one that its packets arrive by. */
static struct nic *choose_nic(const struct peer *peer, uint32_t ifindex)
{
	struct tunnel *tunnel = tunnel_of(peer);

	if (peer->configured || peer->arrived_by == ifindex)
		nics_want(tunnel, ifindex);
	return dataplane_nic(&tunnel->dp, ifindex);
}

static void use_route(struct peer *peer, struct path *path, const struct route *route)
{
	struct tunnel *tunnel = tunnel_of(peer);
	struct nic *nic = choose_nic(peer, route->ifindex);

	path_set_route(path, route);
	if (nic && route->l2_ok && tunnel->dp.udp && !atomic_load(&peer->socket_only))
		path_use_nic(path, nic, tunnel->dp.udp->port);
}

static void clear_source(struct endpoint *ep)
{
	memset(&ep->source, 0, sizeof(ep->source));
}

static int find_route(struct peer *peer, struct route *route)
{
	struct tunnel *tunnel = tunnel_of(peer);

	return route_resolve(&tunnel->routing, &peer->endpoint, tunnel_port(tunnel),
			     tunnel->fwmark, route);
}

/* Returns true for what says that there is no route, rather than that the kernel could not be
 * asked. */
static bool is_verdict(int err)
{
	return err == -ENETUNREACH || err == -EHOSTUNREACH || err == -EINVAL ||
	       err == -EACCES || err == -EAFNOSUPPORT || err == -EOPNOTSUPP ||
	       err == -ENODEV;
}

/* A sticky source address is forgotten when this host no longer has it, or when the route that
 * it belonged to is gone: the peer's answers to that address may not arrive by another route. */
static int find_route_from_source(struct peer *peer, const struct path *old,
				  struct route *route)
{
	int err = find_route(peer, route);

	if (err && !is_verdict(err))
		return err;
	if (!err && route->source_gone)
		clear_source(&peer->endpoint);
	if (!old || !endpoint_equal(&old->endpoint, &peer->endpoint) ||
	    !route_left_source(&tunnel_of(peer)->routing, &peer->endpoint,
			       old->route.ifindex, err ? 0 : route->ifindex))
		return err;
	clear_source(&peer->endpoint);
	return find_route(peer, route);
}

/* Only this peer, because the error may last. The log is told once per kind of error. */
static void try_again(struct peer *peer, int err, uint64_t now)
{
	struct tunnel *tunnel = tunnel_of(peer);
	bool few = tunnel->peers.resolutions.count < RETRY_FEW;
	uint64_t wait = peer->retry_wait && !few ? peer->retry_wait * 2 : RETRY_NS;

	if (tunnel->path_error != err)
		log_error("cannot look up the path to a peer, trying again: %s",
			  strerror(-err));
	tunnel->path_error = err;
	peer->retry_wait = wait < RETRY_MAX_NS ? wait : RETRY_MAX_NS;
	peer_resolve_at(peer, now + peer->retry_wait);
}

static void resolve(struct peer *peer, uint64_t now)
{
	struct tunnel *tunnel = tunnel_of(peer);
	const struct path *old = rcu_dereference(peer->path);
	struct path *path = NULL;
	struct route route;
	int err;

	cds_list_del_init(&peer->resolve);
	timerq_remove(&peer->peers->resolutions, &peer->resolve_later);
	peer->path_resolved = now;
	if (!peer->has_endpoint)
		return;
	err = find_route_from_source(peer, old, &route);
	if ((!err || is_verdict(err)) && stale_paths_note(peer, err ? NULL : &route))
		err = -ENOMEM;
	if (err && !is_verdict(err)) {
		/* The path that is there may still be right. */
		try_again(peer, err, now);
		return;
	}
	/* What was wrong is over, for the others that wait, too. */
	if (peer->retry_wait && tunnel->path_error) {
		tunnel->path_error = 0;
		paths_changed(tunnel);
	}
	peer->retry_wait = 0;
	/* An endpoint routed into its own tunnel would make packets go round without end. */
	if (err || !wgif_is(&tunnel->wgif, route.ifindex)) {
		path = path_new(&peer->endpoint);
		if (!path) {
			try_again(peer, -ENOMEM, now);
			return;
		}
	}
	if (path && !err)
		use_route(peer, path, &route);
	peer_publish_path(peer, path);
}

void paths_want(struct peer *peer)
{
	assert_control_thread();
	peer_resolve(peer);
}

void paths_refresh(struct peer *peer, uint64_t now)
{
	assert_control_thread();
	if (now >= peer->path_resolved + MAX_AGE_NS)
		paths_want(peer);
}

/* --- endpoints --- */

static bool leads_to_endpoint(const struct path *path, const struct peer *peer)
{
	return path && endpoint_equal(&path->endpoint, &peer->endpoint);
}

/* By the UDP socket; what is known of the route is kept, if it is for this endpoint. */
static void publish_makeshift(struct peer *peer)
{
	const struct path *old = rcu_dereference(peer->path);
	struct path *path = path_new(&peer->endpoint);

	if (path && leads_to_endpoint(old, peer))
		path_set_route(path, &old->route);
	else if (!path)
		paths_want(peer);
	peer_publish_path(peer, path);
}

static void move_to(struct peer *peer, const struct endpoint *ep)
{
	peer_note_endpoint(peer, ep);
	if (!leads_to_endpoint(rcu_dereference(peer->path), peer))
		publish_makeshift(peer);
	paths_want(peer);
}

void paths_set_endpoint(struct peer *peer, const struct endpoint *ep)
{
	assert_control_thread();
	if (!peer->has_endpoint || !endpoint_equal(&peer->endpoint, ep))
		move_to(peer, ep);
}

void paths_configure_endpoint(struct peer *peer, const struct endpoint *ep)
{
	assert_control_thread();
	if (peer->configured && peer->has_endpoint && endpoint_equal(&peer->endpoint, ep))
		return;
	move_to(peer, ep);
	friends_move(peer, &ep->addr);
	peer->configured = true;
}

void paths_set_socket_only(struct peer *peer, bool yes)
{
	assert_control_thread();
	const struct path *path = rcu_dereference(peer->path);

	if (atomic_exchange(&peer->socket_only, yes) == yes)
		return;
	if (path && path->nic)
		publish_makeshift(peer);
	paths_want(peer);
}

/* The device that the peer's packets arrive by may be attached to. */
void paths_note_arrival(struct peer *peer, uint32_t ifindex)
{
	assert_control_thread();
	if (!ifindex || ifindex == peer->arrived_by)
		return;
	peer->arrived_by = ifindex;
	paths_want(peer);
}

void paths_note_way(struct peer *peer, const struct handshake_message *m)
{
	assert_control_thread();
	uint64_t now = clock_now();

	paths_note_arrival(peer, m->ifindex);
	paths_set_socket_only(
		peer,
		m->ifindex && flows_may_be_translated(peer, &m->from, m->ifindex, now));
	paths_set_endpoint(peer, &m->from);
	if (m->ifindex)
		flows_admit(peer, &m->from, m->ifindex, now);
	friends_move(peer, &m->from.addr);
}

void paths_roam(struct peer *peer)
{
	struct endpoint ep;
	uint32_t ifindex;

	assert_control_thread();
	pthread_mutex_lock(&peer->roam_lock);
	ep = peer->roamed;
	ifindex = peer->roamed_by;
	pthread_mutex_unlock(&peer->roam_lock);
	paths_note_arrival(peer, ifindex);
	friends_move(peer, &ep.addr);
	/* Even if the peer is back where we thought it to be: the worker's path is a makeshift. */
	move_to(peer, &ep);
}

void paths_forget_source(struct peer *peer)
{
	struct endpoint ep = peer->endpoint;

	assert_control_thread();
	clear_source(&ep);
	if (peer->has_endpoint)
		paths_set_endpoint(peer, &ep);
}

/* The kernel does not see what workers send by AF_XDP, and would let the neighbour go stale. */
void paths_keep_neighbour(struct peer *peer, uint64_t now)
{
	assert_control_thread();
	const struct path *path = rcu_dereference(peer->path);

	if (!path || !nic_may_send(path->nic) ||
	    now - peer->neighbour_kept < NEIGHBOUR_NS)
		return;
	peer->neighbour_kept = now;
	route_keep_neigh(&tunnel_of(peer)->routing, &path->route);
}

/* --- many paths --- */

static void leave_gone_nic(struct peer *peer)
{
	const struct path *path = rcu_dereference(peer->path);

	if (path && path->nic && !nic_may_send(path->nic))
		publish_makeshift(peer);
}

static void serve_gone_nics(struct tunnel *tunnel)
{
	peer_sweep_share(&tunnel->peers, &tunnel->dropping, DROPPED_A_ROUND,
			 leave_gone_nic);
}

/* Returns true if there are closed NICs and no path names any of them. If a NIC goes during a
 * sweep, another sweep follows, so the end of the last sweep is proof. */
static bool has_unused_nics(const struct tunnel *tunnel)
{
	return tunnel->nics.closed && !peer_sweep_goes_on(&tunnel->dropping);
}

void paths_drop_nic(struct tunnel *tunnel, struct nic *nic)
{
	bool begins = !peer_sweep_goes_on(&tunnel->dropping);

	assert_control_thread();
	atomic_store(&nic->gone, true);
	peer_sweep_want(&tunnel->peers, &tunnel->dropping);
	if (begins)
		serve_gone_nics(tunnel);
}

void paths_due(struct tunnel *tunnel, uint64_t when)
{
	assert_control_thread();
	if (when < tunnel->paths_due)
		tunnel->paths_due = when;
}

void paths_changed(struct tunnel *tunnel)
{
	assert_control_thread();
	paths_due(tunnel, clock_now() + SETTLE_NS);
}

/* Returns a peer whose time to be resolved has come, or NULL. */
static struct peer *next_due(struct tunnel *tunnel, uint64_t now)
{
	struct timerq_node *node = timerq_first(&tunnel->peers.resolutions);

	return node && node->deadline <= now
		       ? caa_container_of(node, struct peer, resolve_later)
		       : NULL;
}

static void queue_due(struct tunnel *tunnel, uint64_t now)
{
	struct peer *peer;

	for (unsigned i = 0; i < PATHS_A_ROUND; i++) {
		peer = next_due(tunnel, now);
		if (!peer)
			return;
		timerq_remove(&tunnel->peers.resolutions, &peer->resolve_later);
		paths_want(peer);
	}
}

static void serve_unresolved(struct tunnel *tunnel, uint64_t now)
{
	struct cds_list_head *queue = &tunnel->peers.unresolved;

	queue_due(tunnel, now);
	for (unsigned i = 0; i < PATHS_A_ROUND && !cds_list_empty(queue); i++)
		resolve(cds_list_first_entry(queue, struct peer, resolve), now);
}

static void serve_stale(struct tunnel *tunnel, uint64_t now)
{
	struct peer *peer;

	for (unsigned i = 0; i < PATHS_A_ROUND; i++) {
		peer = stale_paths_next(tunnel, now);
		if (!peer)
			return;
		resolve(peer, now);
	}
}

/* After a change during a walk all peers are walked once more. The walk does not begin again
 * at once, or the last peers would never have their turn if changes never stop. */
static void serve_walk(struct tunnel *tunnel, uint64_t now)
{
	struct peers *peers = &tunnel->peers;

	if (!peers->next_path && now >= tunnel->paths_due) {
		tunnel->paths_due = UINT64_MAX;
		peers->next_path = peers->list.next;
	}
	for (unsigned i = 0;
	     i < PATHS_A_ROUND && peers->next_path && peers->next_path != &peers->list;
	     i++) {
		struct peer *peer = cds_list_entry(peers->next_path, struct peer, list);

		peers->next_path = peers->next_path->next;
		resolve(peer, now);
	}
	if (peers->next_path == &peers->list)
		peers->next_path = NULL;
}

bool paths_settled(struct tunnel *tunnel)
{
	return tunnel->paths_due == UINT64_MAX && !tunnel->peers.next_path &&
	       stale_paths_deadline(tunnel) == UINT64_MAX;
}

uint64_t paths_deadline(struct tunnel *tunnel)
{
	assert_control_thread();
	struct timerq_node *node = timerq_first(&tunnel->peers.resolutions);
	uint64_t next = tunnel->paths_due, stale = stale_paths_deadline(tunnel);

	if (tunnel->peers.next_path || !cds_list_empty(&tunnel->peers.unresolved) ||
	    peer_sweep_goes_on(&tunnel->dropping) || has_unused_nics(tunnel))
		return 0;
	if (node && node->deadline < next)
		next = node->deadline;
	return stale < next ? stale : next;
}

void paths_serve(struct tunnel *tunnel, uint64_t now)
{
	assert_control_thread();
	if (now < paths_deadline(tunnel))
		return;
	routing_refresh(&tunnel->routing, now);
	serve_gone_nics(tunnel);
	if (has_unused_nics(tunnel))
		nics_free_closed(tunnel);
	serve_unresolved(tunnel, now);
	serve_stale(tunnel, now);
	serve_walk(tunnel, now);
}
