// SPDX-License-Identifier: MIT
#include "friends.h"

#include "bpf_objects.h"
#include "endpoint.h"
#include "peer.h"
#include "peers.h"
#include "thread.h"

static struct peer_key source_of(const struct ip_addr *addr)
{
	struct peer_key key = {.addr = *addr};

	if (addr->family == IP_V6)
		ip_addr_mask(&key.addr, 64);
	return key;
}

void friends_leave(struct peer *peer)
{
	struct peers *peers = peer->peers;
	struct peer_key key;

	assert_control_thread();
	if (!peer->by_source.group)
		return;
	key = peer->by_source.group->key;
	peer_index_drop(&peers->by_source, &peer->by_source);
	if (!peer_index_find(&peers->by_source, &key))
		bpf_objects_remove_friend(peers->bpf, &key.addr);
}

void friends_move(struct peer *peer, const struct ip_addr *addr)
{
	const struct peer_group *group = peer->by_source.group;
	const struct peer_key key = source_of(addr);

	assert_control_thread();
	if (!group || !ip_addr_equal(&group->key.addr, &key.addr)) {
		friends_leave(peer);
		if (peer_index_put(&peer->peers->by_source, &peer->by_source, &key))
			return;
	}
	bpf_objects_add_friend(peer->peers->bpf, &key.addr);
}
