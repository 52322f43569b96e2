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

/* --- get --- */

static void put_peer(FILE *out, struct peer *peer)
{
	const struct allowedips_entry *entry;
	struct peer_snapshot p;

	snapshot_peer(peer, &p);
	uapi_put_key(out, "public_key", p.public_key);
	uapi_put_key(out, "preshared_key", peer->remote.psk);
	uapi_put_number(out, "protocol_version", 1);
	if (p.has_endpoint)
		uapi_put_endpoint(out, &p.endpoint);
	uapi_put_number(out, "last_handshake_time_sec", p.latest_handshake / NS_PER_SEC);
	uapi_put_number(out, "last_handshake_time_nsec", p.latest_handshake % NS_PER_SEC);
	uapi_put_number(out, "tx_bytes", p.tx_bytes);
	uapi_put_number(out, "rx_bytes", p.rx_bytes);
	uapi_put_number(out, "persistent_keepalive_interval", p.persistent_keepalive);
	cds_list_for_each_entry (entry, &peer->allowed.entries, of_owner)
		uapi_put_allowed_ip(out, &entry->addr, entry->cidr);
}

int config_get(void *ctx, FILE *out)
{
	struct tunnel *tunnel = ctx;
	struct peer *peer;

	assert_control_thread();
	if (tunnel->identity.set)
		uapi_put_key(out, "private_key", tunnel->identity.private_key);
	if (tunnel_port(tunnel))
		uapi_put_number(out, "listen_port", tunnel_port(tunnel));
	if (tunnel->fwmark)
		uapi_put_number(out, "fwmark", tunnel->fwmark);
	cds_list_for_each_entry (peer, &tunnel->peers.list, list)
		put_peer(out, peer);
	return 0;
}

/* --- set --- */

static void replace_peers(struct tunnel *tunnel)
{
	struct peer *peer, *next;

	cds_list_for_each_entry_safe (peer, next, &tunnel->peers.list, list)
		peer_remove(peer);
}

/* `wg syncconf` sends the key that is set already: that must not end the sessions. */
static int set_private_key(struct tunnel *tunnel, const uint8_t *key)
{
	struct noise_identity id;
	bool same;

	noise_identity_set(&id, key);
	same = id.set == tunnel->identity.set &&
	       !sodium_memcmp(id.private_key, tunnel->identity.private_key, WG_KEY_LEN);
	noise_identity_wipe(&id);
	return same ? 0 : tunnel_set_private_key(tunnel, key);
}

static int set_interface(struct tunnel *tunnel, const struct uapi_op *op)
{
	switch (op->key) {
	case UAPI_PRIVATE_KEY:
		return set_private_key(tunnel, op->value.key);
	case UAPI_LISTEN_PORT:
		return tunnel_set_listen_port(tunnel, op->value.port);
	case UAPI_FWMARK:
		return tunnel_set_fwmark(tunnel, op->value.fwmark);
	case UAPI_REPLACE_PEERS:
		replace_peers(tunnel);
		return 0;
	default:
		return -EINVAL;
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
 * about it are to be ignored. 0 or -errno. */
static int find_peer(struct tunnel *tunnel, const struct uapi_set *set, size_t i,
		     struct peer **out)
{
	const uint8_t *key = set->ops[i].value.key;
	struct peer *peer = peer_find(&tunnel->peers, key);
	bool remove = uapi_peer_has(set, i, UAPI_REMOVE);

	*out = NULL;
	if (peer && remove)
		peer_remove(peer);
	if (remove)
		return 0;
	if (!peer && (uapi_peer_has(set, i, UAPI_UPDATE_ONLY) ||
		      (tunnel->identity.set &&
		       !memcmp(key, tunnel->identity.public_key, WG_KEY_LEN))))
		return 0;
	*out = peer;
	return peer ? 0 : peer_create(&tunnel->peers, key, out);
}

static int set_peer_lines(struct tunnel *tunnel, const struct uapi_set *set, size_t i,
			  size_t end)
{
	struct peer *peer;
	int err = find_peer(tunnel, set, i, &peer), err_end;

	if (!peer)
		return err;
	for (i++; !err && i < end; i++)
		err = set_peer(peer, &set->ops[i]);
	err_end = allowedips_replace_end(&tunnel->peers.allowed, &peer->allowed);
	peer_reschedule(peer);
	return err ? err : err_end;
}

static bool may_be_refused(enum uapi_key key)
{
	return key == UAPI_LISTEN_PORT || key == UAPI_FWMARK;
}

/* The port and the mark are set first because the kernel may refuse them: nothing else has changed
 * then. */
static int set_sockets(struct tunnel *tunnel, const struct uapi_set *set)
{
	int err = 0;

	for (size_t i = 0; !err && i < set->count; i++)
		if (may_be_refused(set->ops[i].key))
			err = set_interface(tunnel, &set->ops[i]);
	return err;
}

/* The request is well-formed. It can still fail because the port is in use, when nothing has
 * changed yet, or for lack of memory or room in maps, when the lines before have taken effect. */
int config_set(void *ctx, const struct uapi_set *set)
{
	assert_control_thread();
	struct tunnel *tunnel = ctx;
	int err = set_sockets(tunnel, set);

	for (size_t i = 0, end; !err && i < set->count; i = end) {
		if (set->ops[i].key == UAPI_PUBLIC_KEY) {
			end = uapi_peer_end(set, i);
			err = set_peer_lines(tunnel, set, i, end);
		} else {
			end = i + 1;
			if (!may_be_refused(set->ops[i].key))
				err = set_interface(tunnel, &set->ops[i]);
		}
	}
	return err;
}

void config_refused(void *ctx, const struct uapi_error *error)
{
	assert_control_thread();
	log_info("configuration refused, nothing changed: line %zu: %s", error->line,
		 error->reason);
}
