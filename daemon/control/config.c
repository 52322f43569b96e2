// SPDX-License-Identifier: MIT
#include "config.h"

#include <errno.h>
#include <string.h>

#include <sodium.h>

#include "clock.h"
#include "identity.h"
#include "listen.h"
#include "log.h"
#include "paths.h"
#include "peer.h"
#include "snapshot.h"
#include "thread.h"
#include "tunnel.h"

/* Of a "set", before others have their turn. */
#define PEERS_A_SHARE 16
#define LINES_A_SHARE 64
/* Of the memory that it needs. */
#define RESERVED_A_SHARE 256

/* --- get --- */

static void put_peer(FILE *out, const struct peer *peer, const struct peer_snapshot *p)
{
	uapi_put_key(out, "public_key", p->public_key);
	uapi_put_key(out, "preshared_key", peer->remote.psk);
	uapi_put_number(out, "protocol_version", 1);
	if (p->has_endpoint)
		uapi_put_endpoint(out, &p->endpoint);
	uapi_put_number(out, "last_handshake_time_sec", p->latest_handshake / NS_PER_SEC);
	uapi_put_number(out, "last_handshake_time_nsec",
			p->latest_handshake % NS_PER_SEC);
	uapi_put_number(out, "tx_bytes", p->tx_bytes);
	uapi_put_number(out, "rx_bytes", p->rx_bytes);
	uapi_put_number(out, "persistent_keepalive_interval", p->persistent_keepalive);
}

/* Prints what is left of the walk, up to *room. */
static void put_allowed_ips(FILE *out, struct allowedips_walk *ips, size_t *room)
{
	const struct allowedips_entry *entry;

	for (; *room && (entry = allowedips_walk_next(ips)); --*room)
		uapi_put_allowed_ip(out, &entry->addr, entry->cidr);
}

/* Prints the peers that the walk has taken; of the last one perhaps not all allowed IPs. */
static void put_peers(FILE *out, struct tunnel *tunnel, struct snapshot_walk *walk)
{
	size_t room = SNAPSHOT_ALLOWED_IPS;

	for (unsigned i = 0; i < walk->count; i++) {
		put_peer(out, walk->peers[i], &walk->taken[i]);
		allowedips_walk_begin(&tunnel->peers.allowed, &walk->peers[i]->allowed,
				      &walk->ips);
		put_allowed_ips(out, &walk->ips, &room);
	}
}

static void put_tunnel(FILE *out, const struct tunnel *tunnel)
{
	if (tunnel->identity.set)
		uapi_put_key(out, "private_key", tunnel->identity.private_key);
	if (tunnel_port(tunnel))
		uapi_put_number(out, "listen_port", tunnel_port(tunnel));
	if (tunnel->fwmark)
		uapi_put_number(out, "fwmark", tunnel->fwmark);
}

int config_get(void *ctx, void **state, FILE *out)
{
	struct tunnel *tunnel = ctx;
	struct snapshot_walk *walk = *state;
	size_t room = SNAPSHOT_ALLOWED_IPS;

	assert_control_thread();
	if (!walk) {
		*state = walk = snapshot_walk_new(&tunnel->peers);
		if (!walk)
			return -ENOMEM;
		put_tunnel(out, tunnel);
	}
	put_allowed_ips(out, &walk->ips, &room);
	if (allowedips_walk_goes_on(&walk->ips))
		return 1;
	if (!snapshot_walk_next(walk)) {
		snapshot_walk_free(walk);
		return 0;
	}
	put_peers(out, tunnel, walk);
	return 1;
}

void config_end_answer(void *ctx, void *state)
{
	snapshot_walk_free(state);
}

/* --- set --- */

/* Takes a share of the peer's allowed IPs from it. Returns true if it has more. */
static bool shed_allowed(struct peer *peer)
{
	return allowedips_remove_some(&peer->peers->allowed, &peer->allowed,
				      LINES_A_SHARE);
}

/* Removes the peer, or only a share of its allowed IPs if it has many: then returns 1, and is to be
 * called again. */
static int remove_peer(struct peer *peer)
{
	if (shed_allowed(peer))
		return 1;
	peer_remove(peer);
	return 0;
}

/* Returns 1 if there are more. */
static int remove_peers(struct tunnel *tunnel)
{
	struct cds_list_head *list = &tunnel->peers.list;

	for (unsigned i = 0; i < PEERS_A_SHARE && !cds_list_empty(list); i++)
		if (remove_peer(cds_list_first_entry(list, struct peer, list)))
			return 1;
	return !cds_list_empty(list);
}

/* `wg syncconf` sends the key that is set already: that must not end the sessions. */
static int set_private_key(struct tunnel *tunnel, const uint8_t *key)
{
	struct noise_identity id;
	struct peer *own;
	bool same;

	if (tunnel->rekeying.next)
		return tunnel_rekey_peers(tunnel, PEERS_A_SHARE);
	noise_identity_set(&id, key);
	same = id.set == tunnel->identity.set &&
	       !sodium_memcmp(id.private_key, tunnel->identity.private_key, WG_KEY_LEN);
	own = id.set && !same ? peer_find(&tunnel->peers, id.public_key) : NULL;
	noise_identity_wipe(&id);
	if (own && shed_allowed(own))
		return 1;
	return same ? 0 : tunnel_set_private_key(tunnel, key);
}

/* Returns 1 if it is to be called once more. */
static int set_interface(struct tunnel *tunnel, const struct uapi_op *op)
{
	switch (op->key) {
	case UAPI_PRIVATE_KEY:
		return set_private_key(tunnel, op->value.key);
	case UAPI_REPLACE_PEERS:
		return remove_peers(tunnel);
	default:
		return 0; /* of the sockets: begin_set() has set them */
	}
}

static int set_allowed_ip(struct peer *peer, const struct uapi_op *op)
{
	struct allowedips *table = &peer->peers->allowed;
	int err;

	if (!op->value.allowed_ip.remove)
		return allowedips_insert(table, &peer->allowed,
					 &op->value.allowed_ip.addr,
					 op->value.allowed_ip.cidr, NULL);
	err = allowedips_remove(table, &peer->allowed, &op->value.allowed_ip.addr,
				op->value.allowed_ip.cidr);
	return err == -ENOENT ? 0 : err;
}

static void set_keepalive(struct peer *peer, uint16_t seconds)
{
	bool on = seconds && !peer->persistent_keepalive;

	peer->persistent_keepalive = seconds;
	if (!tunnel_of(peer)->up)
		return;
	timers_set_persistent_keepalive(&peer->timers, seconds, clock_now());
	/* The first keepalive is sent now: the timer may have been put off by a packet that was
	 * sent just before. */
	if (on)
		worker_command(&tunnel_of(peer)->workers, peer, WORKER_SEND_KEEPALIVE);
}

static int set_peer(struct peer *peer, const struct uapi_op *op)
{
	switch (op->key) {
	case UAPI_PRESHARED_KEY:
		memcpy(peer->remote.psk, op->value.key, WG_KEY_LEN);
		return 0;
	case UAPI_ENDPOINT:
		paths_configure_endpoint(peer, &op->value.endpoint);
		return 0;
	case UAPI_PERSISTENT_KEEPALIVE_INTERVAL:
		set_keepalive(peer, op->value.keepalive);
		return 0;
	case UAPI_REPLACE_ALLOWED_IPS:
		allowedips_replace_begin(&peer->allowed);
		return 0;
	case UAPI_ALLOWED_IP:
		return set_allowed_ip(peer, op);
	default:
		return 0; /* remove, update_only: find_peer() handles them */
	}
}

/* Sets *out to the peer that ops[i] names, which is created if need be; or to NULL if the lines
 * about it are to be ignored. Returns 0 or -errno, or 1 if it is to be called again. */
static int find_peer(struct tunnel *tunnel, const struct uapi_set *set, size_t i,
		     struct peer **out)
{
	const uint8_t *key = set->ops[i].value.key;
	struct peer *peer = peer_find(&tunnel->peers, key);
	bool remove = uapi_peer_has(set, i, UAPI_REMOVE);

	*out = NULL;
	if (remove)
		return peer ? remove_peer(peer) : 0;
	if (!peer && (uapi_peer_has(set, i, UAPI_UPDATE_ONLY) ||
		      (tunnel->identity.set &&
		       !memcmp(key, tunnel->identity.public_key, WG_KEY_LEN))))
		return 0;
	*out = peer;
	return peer ? 0 : peer_create(&tunnel->peers, key, out);
}

static int begin_peer(struct tunnel *tunnel, struct uapi_set *set, struct peer **out)
{
	int ret = find_peer(tunnel, set, set->next, out);

	if (ret != 1)
		set->peer = set->next++;
	return ret;
}

static bool is_at_peers_end(const struct uapi_set *set)
{
	return set->next == set->count || set->ops[set->next].key == UAPI_PUBLIC_KEY;
}

/* Ends the lines of a peer: removes up to `max` of the allowed IPs that they replace. Returns 1 if
 * it is to be called again. */
static int end_peer(struct peer *peer, struct uapi_set *set, size_t max)
{
	set->at_peers_end =
		allowedips_replace_end(&peer->peers->allowed, &peer->allowed, max);
	if (set->at_peers_end)
		return 1;
	peer_reschedule(peer);
	return 0;
}

/* Carries out lines of one peer, at most LINES_A_SHARE. Returns 0 or -errno, or 1 if it is to be
 * called again even if no line is left. */
static int set_peer_lines(struct tunnel *tunnel, struct uapi_set *set)
{
	struct peer *peer;
	int ret = 0;

	if (!set->at_peers_end && set->ops[set->next].key == UAPI_PUBLIC_KEY)
		ret = begin_peer(tunnel, set, &peer);
	else
		peer = peer_find(&tunnel->peers, set->ops[set->peer].value.key);
	if (ret)
		return ret;
	if (!peer) {
		set->at_peers_end = false;
		set->next = uapi_peer_end(set, set->peer);
		return 0;
	}
	for (unsigned i = 0; !ret && i < LINES_A_SHARE && !is_at_peers_end(set); i++)
		ret = set_peer(peer, &set->ops[set->next++]);
	if (ret) {
		end_peer(peer, set, SIZE_MAX);
		return ret;
	}
	return is_at_peers_end(set) ? end_peer(peer, set, LINES_A_SHARE) : 0;
}

/* The last line of each kind counts. */
static int set_sockets(struct tunnel *tunnel, const struct uapi_set *set)
{
	const uint16_t *port = NULL;
	const uint32_t *fwmark = NULL;

	for (size_t i = 0; i < set->count && set->ops[i].key != UAPI_PUBLIC_KEY; i++)
		if (set->ops[i].key == UAPI_LISTEN_PORT)
			port = &set->ops[i].value.port;
		else if (set->ops[i].key == UAPI_FWMARK)
			fwmark = &set->ops[i].value.fwmark;
	return port || fwmark ? tunnel_set_sockets(tunnel, port, fwmark) : 0;
}

/* Returns how many peers there would be at most. */
static size_t peers_after(struct tunnel *tunnel, const struct uapi_set *set, bool look)
{
	size_t n = tunnel->peers.count;

	for (size_t i = 0; i < set->count; i++) {
		const struct uapi_op *op = &set->ops[i];

		if (op->key == UAPI_REPLACE_PEERS)
			n = look = 0;
		else if (op->key == UAPI_PUBLIC_KEY)
			n += !look || (!peer_find(&tunnel->peers, op->value.key) &&
				       !uapi_peer_has(set, i, UAPI_REMOVE) &&
				       !uapi_peer_has(set, i, UAPI_UPDATE_ONLY));
	}
	return n;
}

/* Looks peers up only if their number alone does not say that there is room. */
static int check_room(struct tunnel *tunnel, const struct uapi_set *set)
{
	if (peers_after(tunnel, set, false) <= WG_MAX_PEERS ||
	    peers_after(tunnel, set, true) <= WG_MAX_PEERS)
		return 0;
	log_info("configuration refused, nothing changed: more than %u peers",
		 WG_MAX_PEERS);
	return -ENOSPC;
}

static int set_line(struct tunnel *tunnel, struct uapi_set *set)
{
	const struct uapi_op *op = &set->ops[set->next];
	int ret = set_interface(tunnel, op);

	if (!ret)
		set->next++;
	return ret;
}

static bool is_of_peer(enum uapi_key key)
{
	return key >= UAPI_PUBLIC_KEY;
}

/* Reserves the memory that a line takes. */
static int reserve_line(struct tunnel *tunnel, const struct uapi_op *op)
{
	switch (op->key) {
	case UAPI_PRIVATE_KEY:
		return tunnel_reserve_key(tunnel);
	case UAPI_PUBLIC_KEY:
		return peers_reserve(&tunnel->peers, op->value.key);
	case UAPI_ALLOWED_IP:
		return op->value.allowed_ip.remove
			       ? 0
			       : allowedips_reserve(&tunnel->peers.allowed,
						    &op->value.allowed_ip.addr,
						    op->value.allowed_ip.cidr);
	default:
		return 0;
	}
}

/* Returns 1 if there are more lines, 0 or -errno. */
static int reserve(struct tunnel *tunnel, struct uapi_set *set)
{
	int err = 0;

	for (unsigned i = 0; i < RESERVED_A_SHARE && set->reserved < set->count; i++) {
		err = reserve_line(tunnel, &set->ops[set->reserved]);
		if (err) {
			log_info("configuration refused, nothing changed: %s",
				 strerror(-err));
			return err;
		}
		set->reserved++;
	}
	return set->reserved < set->count;
}

/* All that can fail comes before anything is changed: first the memory, then the sockets, which the
 * kernel may refuse. */
static int begin_set(struct tunnel *tunnel, struct uapi_set *set)
{
	int ret = set->reserved ? 0 : check_room(tunnel, set);

	if (!ret)
		ret = reserve(tunnel, set);
	if (!ret)
		ret = set_sockets(tunnel, set);
	if (ret)
		return ret;
	set->begun = true;
	return set->count > 0;
}

/* Carries out a share. Returns 1 if there is more to do, 0 or -errno. */
static int set_some(struct tunnel *tunnel, struct uapi_set *set)
{
	int ret;

	if (!set->begun)
		return begin_set(tunnel, set);
	if (set->at_peers_end || is_of_peer(set->ops[set->next].key))
		ret = set_peer_lines(tunnel, set);
	else
		ret = set_line(tunnel, set);
	return ret ? ret : set->next < set->count;
}

/* Returns true if there is more to release. */
static bool release(struct tunnel *tunnel)
{
	tunnel_release_keys(tunnel);
	return allowedips_release(&tunnel->peers.allowed, RESERVED_A_SHARE) ||
	       peers_release(&tunnel->peers, RESERVED_A_SHARE);
}

/* BPF maps that have no memory follow later. */
int config_set(void *ctx, struct uapi_set *set)
{
	assert_control_thread();
	struct tunnel *tunnel = ctx;

	if (!set->ended) {
		set->error = set_some(tunnel, set);
		set->ended = set->error != 1;
	}
	return !set->ended || release(tunnel) ? 1 : set->error;
}

void config_refused(void *ctx, const struct uapi_error *error)
{
	assert_control_thread();
	log_info("configuration refused, nothing changed: line %zu: %s", error->line,
		 error->reason);
}
