// SPDX-License-Identifier: MIT
#include "peers.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <sodium.h>

#include "bpf_objects.h"
#include "friends.h"
#include "peer.h"
#include "thread.h"

#define CACHE_LINE 64
/* Also with most peers, a look-up costs less than a microsecond. */
#define KEY_BUCKETS 8192
/* How much the BPF maps are told at a time. */
#define CATCH_UP_MAX 1024

/* --- the table --- */

int peers_init(struct peers *peers, const struct noise_identity *identity)
{
	assert_control_thread();
	CDS_INIT_LIST_HEAD(&peers->list);
	CDS_INIT_LIST_HEAD(&peers->dead);
	CDS_INIT_LIST_HEAD(&peers->uncounted);
	CDS_INIT_LIST_HEAD(&peers->initiations);
	CDS_INIT_LIST_HEAD(&peers->unresolved);
	CDS_INIT_LIST_HEAD(&peers->walks);
	timerq_init(&peers->timers);
	timerq_init(&peers->resolutions);
	peers->identity = identity;
	randombytes_buf(peers->hash_key, sizeof(peers->hash_key));
	peers->slots =
		mmap(NULL, WG_MAX_PEERS * sizeof(*peers->slots), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (peers->slots == MAP_FAILED) {
		peers->slots = NULL;
		return -errno;
	}
	peers->by_key = cds_lfht_new(KEY_BUCKETS, KEY_BUCKETS, KEY_BUCKETS, 0, NULL);
	if (!peers->by_key)
		return -ENOMEM;
	return keypairs_init(&peers->keypairs);
}

void peers_destroy(struct peers *peers)
{
	assert_control_thread();
	keypairs_destroy(&peers->keypairs);
	if (peers->by_key)
		cds_lfht_destroy(peers->by_key, NULL);
	peers_release(peers, UINT_MAX);
	allowedips_destroy(&peers->allowed);
	timerq_destroy(&peers->timers);
	timerq_destroy(&peers->resolutions);
	if (peers->slots)
		munmap(peers->slots, WG_MAX_PEERS * sizeof(*peers->slots));
}

/* --- finding --- */

static unsigned long key_hash(const struct peers *peers, const uint8_t *public_key)
{
	uint8_t hash[crypto_shorthash_BYTES];
	unsigned long out;

	crypto_shorthash(hash, public_key, WG_KEY_LEN, peers->hash_key);
	memcpy(&out, hash, sizeof(out));
	return out;
}

static int key_match(struct cds_lfht_node *node, const void *key)
{
	return !memcmp(caa_container_of(node, struct peer, by_key)->remote.public_key,
		       key, WG_KEY_LEN);
}

struct peer *peer_find(struct peers *peers, const uint8_t public_key[WG_KEY_LEN])
{
	struct cds_lfht_iter iter;
	struct cds_lfht_node *node;

	assert_control_thread();
	cds_lfht_lookup(peers->by_key, key_hash(peers, public_key), key_match, public_key,
			&iter);
	node = cds_lfht_iter_get_node(&iter);
	return node ? caa_container_of(node, struct peer, by_key) : NULL;
}

struct peer *peer_at(struct peers *peers, uint32_t slot)
{
	return slot < WG_MAX_PEERS ? rcu_dereference(peers->slots[slot]) : NULL;
}

/* --- life --- */

static int take_slot(struct peers *peers, uint32_t *out)
{
	for (uint32_t i = 0; i < WG_MAX_PEERS; i++) {
		uint32_t slot = (peers->next_slot + i) % WG_MAX_PEERS;

		if (!peers->slots[slot]) {
			peers->next_slot = slot + 1;
			*out = slot;
			return 0;
		}
	}
	return -ENOSPC;
}

static void peer_init(struct peer *peer, struct peers *peers, const uint8_t *public_key)
{
	memset(peer, 0, sizeof(*peer));
	peer->peers = peers;
	staged_init(&peer->staged);
	pthread_mutex_init(&peer->roam_lock, NULL);
	noise_remote_init(&peer->remote, public_key);
	noise_remote_precompute(&peer->remote, peers->identity);
	cookie_maker_init(&peer->cookie, public_key);
	timers_init(&peer->timers, randombytes_uniform);
	CDS_INIT_LIST_HEAD(&peer->initiate);
	CDS_INIT_LIST_HEAD(&peer->resolve);
	CDS_INIT_LIST_HEAD(&peer->uncounted);
}

static void spare_peer(struct peers *peers, void *memory)
{
	*(void **)memory = peers->spare;
	peers->spare = memory;
	peers->spare_count++;
}

/* Returns reserved memory, or NULL. */
static void *take_spare(struct peers *peers)
{
	void *memory = peers->spare;

	if (!memory)
		return NULL;
	peers->spare = *(void **)memory;
	peers->spare_count--;
	return memory;
}

static struct peer *peer_alloc(void)
{
	return aligned_alloc(CACHE_LINE, (sizeof(struct peer) + CACHE_LINE - 1) /
						 CACHE_LINE * CACHE_LINE);
}

static void peer_free(struct peer *peer)
{
	struct peers *peers = peer->peers;

	path_free_deferred(peer->path);
	staged_destroy(&peer->staged);
	pthread_mutex_destroy(&peer->roam_lock);
	sodium_memzero(peer, sizeof(*peer));
	if (peers->spare_count < peers->awaited)
		spare_peer(peers, peer);
	else
		free(peer);
}

/* A peer works without counters, so it need not wait for memory in the kernel. */
static int count_for(struct peer *peer)
{
	struct peers *peers = peer->peers;
	int err = bpf_objects_add_peer(peers->bpf, peer->slot);
	bool listed = !cds_list_empty(&peer->uncounted);

	if (err && !listed) {
		cds_list_add_tail(&peer->uncounted, &peers->uncounted);
		peers->uncounted_count++;
	} else if (!err && listed) {
		cds_list_del_init(&peer->uncounted);
		peers->uncounted_count--;
	}
	return err;
}

int peer_create(struct peers *peers, const uint8_t public_key[WG_KEY_LEN],
		struct peer **out)
{
	assert_control_thread();
	struct peer *peer = take_spare(peers);
	int err;

	if (!peer)
		peer = peer_alloc();
	if (!peer)
		return peers->awaited && !cds_list_empty(&peers->dead) ? 1 : -ENOMEM;
	peers->awaited -= peers->awaited > 0;
	peer_init(peer, peers, public_key);
	err = take_slot(peers, &peer->slot);
	if (err) {
		peer_free(peer);
		return err;
	}
	allowedips_owner_init(&peer->allowed, peer->slot);
	peer->number = ++peers->created;
	cds_list_add_tail(&peer->list, &peers->list);
	cds_lfht_node_init(&peer->by_key);
	cds_lfht_add(peers->by_key, key_hash(peers, public_key), &peer->by_key);
	peers->count++;
	rcu_assign_pointer(peers->slots[peer->slot], peer);
	count_for(peer);
	*out = peer;
	return 0;
}

int peers_reserve(struct peers *peers, const uint8_t public_key[WG_KEY_LEN])
{
	assert_control_thread();
	struct peer *memory;

	if (!peer_find(peers, public_key)) {
		memory = peer_alloc();
		if (!memory)
			return -ENOMEM;
		spare_peer(peers, memory);
	}
	peers->awaited++;
	return timerq_reserve(&peers->timers, peers->count + peers->awaited);
}

bool peers_release(struct peers *peers, unsigned max)
{
	assert_control_thread();
	peers->awaited = 0;
	while (peers->spare && max--)
		free(take_spare(peers));
	return peers->spare;
}

/* Moves the walks that would come to the peer next past it. */
static void leave_peer(struct peers *peers, const struct peer *peer)
{
	struct peer_walk *walk;

	if (peers->next_path == &peer->list)
		peers->next_path = peer->list.next;
	cds_list_for_each_entry (walk, &peers->walks, link)
		if (walk->next == &peer->list)
			walk->next = peer->list.next;
}

/* Workers may hold the peer until the next grace period, and it may be in an event queue: whoever
 * calls peers_reap() sees to both. */
void peer_remove(struct peer *peer)
{
	assert_control_thread();
	struct peers *peers = peer->peers;

	allowedips_remove_owner(&peers->allowed, &peer->allowed);
	rcu_assign_pointer(peers->slots[peer->slot], NULL);
	if (peer->flow_admitted)
		bpf_objects_remove_flow(peers->bpf, &peer->flow.from, peer->flow.ifindex);
	bpf_objects_remove_peer(peers->bpf, peer->slot);
	peer_end_handshake(peer);
	peer_drop_keypairs(peer);
	timerq_remove(&peers->timers, &peer->timer_node);
	peers->uncounted_count -= !cds_list_empty(&peer->uncounted);
	cds_list_del_init(&peer->uncounted);
	cds_list_del_init(&peer->initiate);
	cds_list_del_init(&peer->resolve);
	peer_index_drop(&peers->by_hop, &peer->by_hop);
	peer_index_drop(&peers->by_endpoint, &peer->by_endpoint);
	peer_index_drop(&peers->by_flow, &peer->by_flow);
	friends_leave(peer);
	timerq_remove(&peers->resolutions, &peer->resolve_later);
	cds_lfht_del(peers->by_key, &peer->by_key);
	leave_peer(peers, peer);
	cds_list_del(&peer->list);
	cds_list_add_tail(&peer->list, &peers->dead);
	peers->count--;
	peer->dead = true;
}

void peers_reap(struct peers *peers)
{
	struct peer *peer, *next;

	assert_control_thread();
	cds_list_for_each_entry_safe (peer, next, &peers->dead, list) {
		cds_list_del(&peer->list);
		peer_free(peer);
	}
}

int peers_catch_up(struct peers *peers)
{
	int err = allowedips_catch_up(&peers->allowed, CATCH_UP_MAX);

	assert_control_thread();
	for (unsigned i = 0; !err && i < CATCH_UP_MAX && peers->uncounted_count; i++)
		err = count_for(
			cds_list_first_entry(&peers->uncounted, struct peer, uncounted));
	return err;
}

size_t peers_late(const struct peers *peers)
{
	return peers->allowed.late_count + peers->uncounted_count;
}

/* --- walks --- */

void peer_walk_end(struct peer_walk *walk)
{
	assert_control_thread();
	if (walk->next)
		cds_list_del(&walk->link);
	walk->next = NULL;
}

void peer_walk_begin(struct peers *peers, struct peer_walk *walk)
{
	peer_walk_end(walk);
	walk->next = peers->list.next;
	walk->last = peers->created;
	cds_list_add(&walk->link, &peers->walks);
}

struct peer *peer_walk_next(struct peers *peers, struct peer_walk *walk)
{
	struct peer *peer = NULL;

	if (walk->next && walk->next != &peers->list)
		peer = cds_list_entry(walk->next, struct peer, list);
	if (peer && peer->number <= walk->last) {
		walk->next = walk->next->next;
		return peer;
	}
	peer_walk_end(walk);
	return NULL;
}

void peer_sweep_want(struct peers *peers, struct peer_sweep *sweep)
{
	if (peer_sweep_goes_on(sweep))
		sweep->again = true;
	else
		peer_walk_begin(peers, &sweep->walk);
}

void peer_sweep_share(struct peers *peers, struct peer_sweep *sweep, unsigned max,
		      void (*visit)(struct peer *peer))
{
	for (unsigned i = 0; i < max && peer_sweep_goes_on(sweep); i++) {
		struct peer *peer = peer_walk_next(peers, &sweep->walk);

		if (peer)
			visit(peer);
	}
	if (peer_sweep_goes_on(sweep) || !sweep->again)
		return;
	sweep->again = false;
	peer_walk_begin(peers, &sweep->walk);
}

void peer_sweep_end(struct peer_sweep *sweep)
{
	peer_walk_end(&sweep->walk);
	sweep->again = false;
}
