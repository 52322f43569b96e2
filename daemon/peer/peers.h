/* SPDX-License-Identifier: MIT */
/*
 * All peers of a tunnel, and how they are found.
 *
 * Theory of operation: a peer has a slot, the number by which BPF programs and workers know
 * it, from its creation on. The control thread alone adds and removes. Workers read `slots`
 * and `keypairs` under RCU: a removed peer is freed a grace period later, by peers_reap().
 */
#ifndef PEERS_H
#define PEERS_H

#include <stdint.h>

#include <urcu-qsbr.h> /* before rculfhash.h, which takes its flavour */
#include <urcu/list.h>
#include <urcu/rculfhash.h>

#include "allowedips.h"
#include "keypair.h"
#include "timerq.h"

struct bpf_objects;
struct noise_identity;
struct peer;

struct peers {
	/* Read by workers. */
	struct peer **slots; /* [WG_MAX_PEERS], RCU */
	struct keypairs keypairs;

	/* The control thread's own. */
	struct bpf_objects *bpf;
	const struct noise_identity *identity; /* ours */
	struct cds_list_head list;	       /* in order of creation */
	struct cds_list_head dead;	       /* see peers_reap() */
	struct cds_list_head initiations;      /* of peers: see handshake_want() */
	struct cds_list_head unresolved;       /* of peers: see paths_want() */
	struct cds_list_head *next_path;       /* in list; NULL: all are resolved */
	struct cds_lfht *by_key;
	uint8_t hash_key[16];
	uint32_t next_slot;
	unsigned count;
	struct allowedips allowed;
	struct timerq timers;
};

/* An empty table; `bpf` and `allowed` are the caller's to set. 0 or -errno. */
int peers_init(struct peers *peers, const struct noise_identity *identity);
/* There are no peers left. Also of a zeroed struct. */
void peers_destroy(struct peers *peers);

/* A peer of this public key, with no endpoint; *out is linked into the device.
 * -ENOSPC: no slot left, -ENOMEM, or what the BPF maps answered. */
int peer_create(struct peers *peers, const uint8_t public_key[WG_KEY_LEN],
		struct peer **out);
/* The peer of this key, or NULL. */
struct peer *peer_find(struct peers *peers, const uint8_t public_key[WG_KEY_LEN]);
/* The peer in this slot, or NULL: any RCU thread, until its next quiescent state. */
struct peer *peer_at(struct peers *peers, uint32_t slot);
/* Unlinks; sessions end here. Memory goes in peers_reap(). */
void peer_remove(struct peer *peer);
/* Frees what peer_remove() unlinked: after a grace period, and then events_forget_dead(),
 * unless the event queues are not served any more. */
void peers_reap(struct peers *peers);

#endif
