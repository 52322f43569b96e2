// SPDX-License-Identifier: MIT
#include "identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <urcu-qsbr.h>

#include "bpf_objects.h"
#include "flood.h"
#include "thread.h"
#include "tunnel.h"

#define REKEYED_AT_ONCE 16

/* Nothing is sent under the old key's sessions any more. The first initiation by the new key does
 * not have to wait for REKEY_TIMEOUT after the last one by the old key. */
static void forget_old_key(struct peer *peer)
{
	peer_end_handshake(peer);
	peer_drop_keypairs(peer);
	peer->timers.initiated = false;
}

static void mac1_free(struct rcu_head *head)
{
	free(caa_container_of(head, struct mac1_check, rcu));
}

/* Publishes the key to workers and to the XDP program. Takes over `check`; NULL: no key. */
static void publish_mac1(struct tunnel *tunnel, struct mac1_check *check)
{
	struct mac1_check *old = tunnel->dp.mac1;

	rcu_assign_pointer(tunnel->dp.mac1, check);
	if (old)
		urcu_qsbr_call_rcu(&old->rcu, mac1_free);
	bpf_objects_set_mac1_key(tunnel->bpf, check ? check->key : NULL);
}

int tunnel_rekey_peers(struct tunnel *tunnel, unsigned max)
{
	struct peer *peer;

	while (max--) {
		peer = peer_walk_next(&tunnel->peers, &tunnel->rekeying);
		if (!peer)
			return 0;
		noise_remote_precompute(&peer->remote, &tunnel->identity);
		forget_old_key(peer);
	}
	return 1;
}

int tunnel_reserve_key(struct tunnel *tunnel)
{
	assert_control_thread();
	struct mac1_check *check = malloc(sizeof(*check));

	if (!check)
		return -ENOMEM;
	check->next = tunnel->spare_mac1;
	tunnel->spare_mac1 = check;
	return 0;
}

static struct mac1_check *take_spare_key(struct tunnel *tunnel)
{
	struct mac1_check *check = tunnel->spare_mac1;

	if (check)
		tunnel->spare_mac1 = check->next;
	return check;
}

void tunnel_release_keys(struct tunnel *tunnel)
{
	assert_control_thread();
	while (tunnel->spare_mac1)
		free(take_spare_key(tunnel));
}

int tunnel_set_private_key(struct tunnel *tunnel, const uint8_t key[WG_KEY_LEN])
{
	assert_control_thread();
	struct mac1_check *check;
	struct peer *peer;

	if (!tunnel->spare_mac1 && tunnel_reserve_key(tunnel))
		return -ENOMEM;
	check = take_spare_key(tunnel);
	noise_identity_set(&tunnel->identity, key);
	cookie_checker_init(&tunnel->cookies, tunnel->identity.public_key);
	flood_publish_secret(tunnel);
	memcpy(check->key, tunnel->cookies.mac1_key, sizeof(check->key));
	if (!tunnel->identity.set) {
		free(check);
		check = NULL;
	}
	publish_mac1(tunnel, check);
	if (tunnel->identity.set) {
		peer = peer_find(&tunnel->peers, tunnel->identity.public_key);
		if (peer)
			peer_remove(peer);
	}
	peer_walk_begin(&tunnel->peers, &tunnel->rekeying);
	return tunnel_rekey_peers(tunnel, REKEYED_AT_ONCE);
}
