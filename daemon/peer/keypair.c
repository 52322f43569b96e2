// SPDX-License-Identifier: MIT
#include "keypair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "thread.h"

#define KEYPAIR_BUCKETS 1024
#define CACHE_LINE	64

int keypairs_init(struct keypairs *s)
{
	assert_control_thread();
	s->table = cds_lfht_new(KEYPAIR_BUCKETS, KEYPAIR_BUCKETS, 0, CDS_LFHT_AUTO_RESIZE,
				NULL);
	return s->table ? 0 : -ENOMEM;
}

void keypairs_destroy(struct keypairs *s)
{
	assert_control_thread();
	if (s->table)
		cds_lfht_destroy(s->table, NULL);
	s->table = NULL;
}

static int index_match(struct cds_lfht_node *node, const void *key)
{
	return caa_container_of(node, struct keypair, node)->local_index ==
	       *(const uint32_t *)key;
}

/* Indices are random, so each is its own hash. */
struct keypair *keypairs_find(struct keypairs *s, uint32_t index)
{
	struct cds_lfht_iter iter;
	struct cds_lfht_node *node;

	cds_lfht_lookup(s->table, index, index_match, &index, &iter);
	node = cds_lfht_iter_get_node(&iter);
	return node ? caa_container_of(node, struct keypair, node) : NULL;
}

struct keypair *keypair_new(struct keypairs *s, struct peer *peer)
{
	assert_control_thread();
	struct keypair *kp = aligned_alloc(CACHE_LINE, (sizeof(*kp) + CACHE_LINE - 1) /
							       CACHE_LINE * CACHE_LINE);

	if (!kp)
		return NULL;
	memset(kp, 0, sizeof(*kp));
	kp->peer = peer;
	pthread_mutex_init(&kp->replay_lock, NULL);
	do {
		kp->local_index = randombytes_random();
	} while (keypairs_find(s, kp->local_index));
	cds_lfht_node_init(&kp->node);
	cds_lfht_add(s->table, kp->local_index, &kp->node);
	return kp;
}

void keypair_activate(struct keypair *kp, const struct noise_keys *keys, uint64_t now)
{
	assert_control_thread();
	memcpy(kp->send_key, keys->send, WG_KEY_LEN);
	memcpy(kp->receive_key, keys->receive, WG_KEY_LEN);
	kp->remote_index = keys->remote_index;
	kp->initiator = keys->initiator;
	kp->born = now;
	atomic_store_explicit(&kp->ready, true, memory_order_release);
}

static void keypair_free(struct rcu_head *head)
{
	struct keypair *kp = caa_container_of(head, struct keypair, rcu);

	pthread_mutex_destroy(&kp->replay_lock);
	sodium_memzero(kp, sizeof(*kp));
	free(kp);
}

void keypair_drop(struct keypairs *s, struct keypair *kp)
{
	assert_control_thread();
	if (!kp)
		return;
	cds_lfht_del(s->table, &kp->node);
	urcu_qsbr_call_rcu(&kp->rcu, keypair_free);
}
