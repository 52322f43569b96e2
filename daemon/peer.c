// SPDX-License-Identifier: MIT
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sodium.h>

#include "device.h"
#include "log.h"

#define CACHE_LINE 64

/* --- finding --- */

static unsigned long key_hash(const struct device *dev, const uint8_t *public_key)
{
	uint8_t hash[crypto_shorthash_BYTES];
	unsigned long out;

	crypto_shorthash(hash, public_key, WG_KEY_LEN, dev->hash_key);
	memcpy(&out, hash, sizeof(out));
	return out;
}

static int key_match(struct cds_lfht_node *node, const void *key)
{
	return !memcmp(caa_container_of(node, struct peer, by_key)->remote.public_key,
		       key, WG_KEY_LEN);
}

struct peer *peer_find(struct device *dev, const uint8_t public_key[WG_KEY_LEN])
{
	struct cds_lfht_iter iter;
	struct cds_lfht_node *node;

	cds_lfht_lookup(dev->peers_by_key, key_hash(dev, public_key), key_match,
			public_key, &iter);
	node = cds_lfht_iter_get_node(&iter);
	return node ? caa_container_of(node, struct peer, by_key) : NULL;
}

struct peer *peer_at(struct device *dev, uint32_t slot)
{
	return slot < WG_MAX_PEERS ? rcu_dereference(dev->slots[slot]) : NULL;
}

/* --- life --- */

static int take_slot(struct device *dev, uint32_t *out)
{
	for (uint32_t i = 0; i < WG_MAX_PEERS; i++) {
		uint32_t slot = (dev->next_slot + i) % WG_MAX_PEERS;

		if (!dev->slots[slot]) {
			dev->next_slot = slot + 1;
			*out = slot;
			return 0;
		}
	}
	return -ENOSPC;
}

static void peer_init(struct peer *peer, struct device *dev, const uint8_t *public_key)
{
	memset(peer, 0, sizeof(*peer));
	peer->dev = dev;
	staged_init(&peer->staged);
	pthread_mutex_init(&peer->roam_lock, NULL);
	noise_remote_init(&peer->remote, public_key);
	noise_remote_precompute(&peer->remote, &dev->identity);
	cookie_maker_init(&peer->cookie, public_key);
	timers_init(&peer->timers, randombytes_uniform);
	CDS_INIT_LIST_HEAD(&peer->initiate);
}

static void peer_free(struct peer *peer)
{
	path_free_deferred(peer->path);
	staged_destroy(&peer->staged);
	pthread_mutex_destroy(&peer->roam_lock);
	sodium_memzero(peer, sizeof(*peer));
	free(peer);
}

int peer_create(struct device *dev, const uint8_t public_key[WG_KEY_LEN],
		struct peer **out)
{
	struct peer *peer = aligned_alloc(CACHE_LINE, (sizeof(*peer) + CACHE_LINE - 1) /
							      CACHE_LINE * CACHE_LINE);
	int err;

	if (!peer)
		return -ENOMEM;
	peer_init(peer, dev, public_key);
	err = take_slot(dev, &peer->slot);
	if (!err)
		err = datapath_add_peer(dev->datapath, peer->slot);
	if (err) {
		peer_free(peer);
		return err;
	}
	allowedips_owner_init(&peer->allowed, peer->slot);
	cds_list_add_tail(&peer->list, &dev->peers);
	cds_lfht_node_init(&peer->by_key);
	cds_lfht_add(dev->peers_by_key, key_hash(dev, public_key), &peer->by_key);
	dev->peer_count++;
	rcu_assign_pointer(dev->slots[peer->slot], peer);
	*out = peer;
	return 0;
}

/* Workers may hold the peer until the next grace period, and it may stand in an event
 * queue: peers_reap() waits for both. */
void peer_remove(struct peer *peer)
{
	struct device *dev = peer->dev;
	int err = allowedips_remove_owner(&dev->allowed, &peer->allowed);

	if (err)
		log_error("allowed IPs of a removed peer stay in the map: %s",
			  strerror(-err));
	rcu_assign_pointer(dev->slots[peer->slot], NULL);
	datapath_remove_peer(dev->datapath, peer->slot);
	peer_end_handshake(peer);
	peer_clear_sessions(peer);
	timerq_remove(&dev->timers, &peer->timer_node);
	cds_list_del_init(&peer->initiate);
	cds_lfht_del(dev->peers_by_key, &peer->by_key);
	if (dev->next_path == &peer->list)
		dev->next_path = peer->list.next;
	cds_list_del(&peer->list);
	cds_list_add_tail(&peer->list, &dev->dead_peers);
	dev->peer_count--;
	peer->dead = true;
}

void peers_reap(struct device *dev)
{
	struct peer *peer, *next;

	cds_list_for_each_entry_safe (peer, next, &dev->dead_peers, list) {
		cds_list_del(&peer->list);
		peer_free(peer);
	}
}

/* --- sessions --- */

static void retire(struct peer *peer, struct keypair *kp)
{
	if (!kp)
		return;
	datapath_remove_session(peer->dev->datapath, kp->local_index);
	keypair_drop(&peer->dev->sessions, kp);
}

/* As initiator we know that the responder has the keys: they are current at once. A
 * `next` that was not confirmed may still be what the peer sends under. */
static void begin_as_initiator(struct peer *peer, struct keypair *kp)
{
	struct keypair *previous = peer->previous, *current = peer->current;

	rcu_assign_pointer(peer->current, kp);
	retire(peer, previous);
	if (peer->next) {
		retire(peer, current);
		peer->previous = peer->next;
		rcu_assign_pointer(peer->next, NULL);
	} else {
		peer->previous = current;
	}
}

/* As responder we may not send under it until the initiator has shown that it has it. */
static void begin_as_responder(struct peer *peer, struct keypair *kp)
{
	struct keypair *unused = peer->next;

	rcu_assign_pointer(peer->next, kp);
	retire(peer, unused);
	retire(peer, peer->previous);
	peer->previous = NULL;
}

int peer_begin_session(struct peer *peer, struct keypair *kp, uint64_t now)
{
	int err = datapath_add_session(peer->dev->datapath, kp->local_index, peer->slot,
				       worker_of(peer->dev, peer));

	if (err) {
		log_error("no session with a peer, for now: BPF map: %s", strerror(-err));
		keypair_drop(&peer->dev->sessions, kp);
		return err;
	}
	if (kp->initiator)
		begin_as_initiator(peer, kp);
	else
		begin_as_responder(peer, kp);
	timers_session_derived(&peer->timers, now);
	/* A path MTU is learnt and expires without notice: look again now and then. */
	peer_resolve_path(peer);
	return 0;
}

bool peer_confirm_session(struct peer *peer, struct keypair *kp)
{
	if (!kp || kp != peer->next)
		return false;
	retire(peer, peer->previous);
	peer->previous = peer->current;
	rcu_assign_pointer(peer->current, kp);
	rcu_assign_pointer(peer->next, NULL);
	return true;
}

/* One of ours that was lost: its answer, if anybody kept that back, must not make a session
 * which the peer has long forgotten. Initiations that cross are younger. */
static void end_stale_initiation(struct peer *peer, uint64_t now)
{
	if (!peer->pending || !timers_may_initiate(&peer->timers, now))
		return;
	keypair_drop(&peer->dev->sessions, peer->pending);
	peer->pending = NULL;
	noise_handshake_clear(&peer->initiating);
}

void peer_session_complete(struct peer *peer, uint64_t now)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	peer->last_handshake = (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
	end_stale_initiation(peer, now);
	timers_handshake_complete(&peer->timers, now);
	cds_list_del_init(&peer->initiate);
	peer_reschedule(peer);
}

void peer_end_handshake(struct peer *peer)
{
	keypair_drop(&peer->dev->sessions, peer->pending);
	peer->pending = NULL;
	noise_handshake_clear(&peer->initiating);
	noise_handshake_clear(&peer->answering);
}

void peer_clear_sessions(struct peer *peer)
{
	struct keypair *current = peer->current, *next = peer->next;

	rcu_assign_pointer(peer->current, NULL);
	rcu_assign_pointer(peer->next, NULL);
	retire(peer, current);
	retire(peer, peer->previous);
	retire(peer, next);
	peer->previous = NULL;
}

/* --- the way there --- */

void peer_publish_path(struct peer *peer, struct path *path)
{
	struct path *old;

	pthread_mutex_lock(&peer->roam_lock);
	old = peer->path;
	rcu_assign_pointer(peer->path, path);
	pthread_mutex_unlock(&peer->roam_lock);
	path_free_deferred(old);
}

/* A source that somebody wrote must not attach XDP to another NIC of this host. */
static struct nic *find_nic(const struct peer *peer, uint32_t ifindex)
{
	return peer->configured || peer->arrived_by == ifindex
		       ? nic_for_route(peer->dev, ifindex)
		       : nic_find(peer->dev, ifindex);
}

static void use_route(struct peer *peer, struct path *path, const struct route *route)
{
	struct device *dev = peer->dev;
	struct nic *nic = find_nic(peer, route->ifindex);

	path_set_route(path, route);
	if (nic && route->l2_ok && dev->udp && !atomic_load(&peer->socket_only))
		path_use_nic(path, nic, dev->udp->port);
}

static void forget_source(struct peer *peer)
{
	memset(&peer->endpoint.source, 0, sizeof(peer->endpoint.source));
}

static int find_route(struct peer *peer, struct route *route)
{
	struct device *dev = peer->dev;

	return route_resolve(&dev->rtnl, &peer->endpoint, device_port(dev), dev->fwmark,
			     route);
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
	    !route_left_source(&peer->dev->rtnl, &peer->endpoint, old->route.ifindex,
			       err ? 0 : route->ifindex))
		return err;
	forget_source(peer);
	return find_route(peer, route);
}

void peer_resolve_path(struct peer *peer)
{
	struct device *dev = peer->dev;
	struct path *path = NULL;
	struct route route;
	int err;

	if (peer->has_endpoint) {
		err = find_route_from_source(peer, &route);
		/* An endpoint routed into its own tunnel would go round for ever. */
		if (err || !wgif_is(dev, route.ifindex))
			path = path_new(&peer->endpoint);
		if (path && !err)
			use_route(peer, path, &route);
	}
	peer_publish_path(peer, path);
}

void peer_set_socket_only(struct peer *peer, bool yes)
{
	if (atomic_exchange(&peer->socket_only, yes) != yes)
		peer_resolve_path(peer);
}

void peer_note_endpoint(struct peer *peer, const struct endpoint *ep)
{
	/* An answer from there says which address of ours it is for: no other place. */
	if (!ip_addr_equal(&peer->endpoint.addr, &ep->addr) ||
	    peer->endpoint.port != ep->port)
		peer->configured = false;
	peer->endpoint = *ep;
	peer->has_endpoint = true;
}

void peer_set_endpoint(struct peer *peer, const struct endpoint *ep)
{
	if (peer->has_endpoint && endpoint_equal(&peer->endpoint, ep))
		return;
	peer_note_endpoint(peer, ep);
	peer_resolve_path(peer);
}

void peer_configure_endpoint(struct peer *peer, const struct endpoint *ep)
{
	if (peer->configured && peer->has_endpoint && endpoint_equal(&peer->endpoint, ep))
		return;
	peer_note_endpoint(peer, ep);
	peer->configured = true;
	peer_resolve_path(peer);
}

/* A worker counts a batch when all of it has been written to wg0, and TC has refused some of
 * it by then: for a moment the difference is less than it was. What is told never is. */
uint64_t peer_rx_bytes(struct peer *peer)
{
	uint64_t bytes = atomic_load(&peer->wire.rx_bytes);
	struct peer_stats sum;

	if (!datapath_peer_stats(peer->dev->datapath, peer->slot, &sum))
		bytes = bytes > sum.from_peer_refused_bytes
				? bytes - sum.from_peer_refused_bytes
				: 0;
	if (bytes > peer->rx_told)
		peer->rx_told = bytes;
	return peer->rx_told;
}

void peer_reschedule(struct peer *peer)
{
	if (timerq_set(&peer->dev->timers, &peer->timer_node, timers_next(&peer->timers)))
		log_error("no memory for a timer");
}
