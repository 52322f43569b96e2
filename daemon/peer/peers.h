/* SPDX-License-Identifier: MIT */
/*
 * All peers of a tunnel, and how they are found.
 *
 * Theory of operation: a peer has a slot, the number by which BPF programs and workers know it,
 * from its creation to its removal. Only the control thread adds and removes peers. Workers read
 * `slots` and `keypairs` under RCU; peers_reap() frees a removed peer after a grace period.
 *
 * What a request will create is announced first, so that a lack of memory shows before anything has
 * changed. Memory is reserved for peers that do not exist. Those that do may be removed before the
 * request creates them: while creations are awaited, peers_reap() keeps memory for them. For the
 * same reason the hash table has a fixed size; besides, liburcu aborts if it cannot grow one.
 */
#ifndef PEERS_H
#define PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include <urcu-qsbr.h> /* before rculfhash.h, which takes its flavour */
#include <urcu/list.h>
#include <urcu/rculfhash.h>

#include "allowedips.h"
#include "keypair.h"
#include "peer_index.h"
#include "rcu.h"
#include "timerq.h"

struct bpf_objects;
struct noise_identity;
struct peer;

struct peers {
	/* Read by workers. */
	struct peer __rcu **slots; /* [WG_MAX_PEERS] */
	struct keypairs keypairs;

	/* The control thread's own. */
	struct bpf_objects *bpf;
	const struct noise_identity *identity; /* ours */
	struct cds_list_head list;	       /* in order of creation */
	struct cds_list_head dead;	       /* removed, until peers_reap() */
	void *spare; /* reserved memory for peers, which begins with the pointer to the next */
	unsigned spare_count;
	unsigned awaited;		/* creations that were announced */
	struct cds_list_head uncounted; /* peers that BPF programs cannot count for yet */
	size_t uncounted_count;
	struct cds_list_head initiations; /* peers to initiate with: handshake_want() */
	struct cds_list_head unresolved;  /* peers whose paths to resolve: paths_want() */
	struct cds_list_head *next_path;  /* in list; NULL: all paths are resolved */
	struct cds_list_head walks;	  /* struct peer_walk */
	struct cds_lfht *by_key;
	struct peer_index by_endpoint, by_flow, by_source;
	struct timerq resolutions; /* paths to resolve at a time */
	struct peer_index by_hop;  /* peers whose path depends on a neighbour entry */
	uint8_t hash_key[16];
	uint32_t next_slot;
	uint64_t created; /* peers, in all */
	unsigned count;
	struct allowedips allowed;
	struct timerq timers;
};

/* A walk over `list` in shares, of the peers that were there when it began. Peers may come and go
 * meanwhile. */
struct peer_walk {
	struct cds_list_head
		*next; /* NULL: it is at its end, or never began (a zeroed one) */
	struct cds_list_head link; /* in peers->walks */
	uint64_t last;		   /* peer->number */
};

/* Work on all peers, in shares. If it is wanted again while it is under way, another sweep follows
 * when it is done. It does not start over at once, because then the last peers would never have
 * their turn if it is wanted often. A zeroed struct is a sweep that is not under way. */
struct peer_sweep {
	struct peer_walk walk;
	bool again;
};

/* All of these, except peer_at(): the control thread. */

/* Makes an empty table of a zeroed struct; the caller sets `bpf` and `allowed`. 0 or -errno. */
int peers_init(struct peers *peers, const struct noise_identity *identity);
/* Frees the table, in which no peers are left. Also for a zeroed struct. */
void peers_destroy(struct peers *peers);

/* Adds a peer of this public key, without an endpoint; *out belongs to the table. Returns 0,
 * -ENOSPC if no slot is left, or -ENOMEM; 1 if the creation was announced, and its memory is that
 * of a removed peer: it is to be called again after peers_reap(). */
int peer_create(struct peers *peers, const uint8_t public_key[WG_KEY_LEN],
		struct peer **out);
/* Announces a creation of this peer, which then cannot fail for lack of memory, even if the peer
 * is removed before. Makes room for the timers of all peers, too. Returns 0 or -ENOMEM. */
int peers_reserve(struct peers *peers, const uint8_t public_key[WG_KEY_LEN]);
/* Ends all announcements, and frees up to `max` of what is left of the reserve. Returns true if
 * there is more to free. */
bool peers_release(struct peers *peers, unsigned max);
/* Writes what the BPF maps could not take before, some of it. Returns 0, or the error of what they
 * still cannot take. */
int peers_catch_up(struct peers *peers);
/* Returns how many changes the BPF maps still lack. */
size_t peers_late(const struct peers *peers);
/* Returns the peer of this key, or NULL. */
struct peer *peer_find(struct peers *peers, const uint8_t public_key[WG_KEY_LEN]);
/* Returns the peer in this slot, or NULL. Any RCU thread, until its next quiescent state. */
struct peer *peer_at(struct peers *peers, uint32_t slot);
/* Takes the peer out of the table and ends its sessions; peers_reap() frees it. */
void peer_remove(struct peer *peer);
/* Frees removed peers. Before it there must be a grace period, and then events_forget_dead(),
 * unless the event queues are no longer served. */
void peers_reap(struct peers *peers);

/* Begins the walk, again if it was under way. */
void peer_walk_begin(struct peers *peers, struct peer_walk *walk);
/* Returns the next peer; NULL at the end. */
struct peer *peer_walk_next(struct peers *peers, struct peer_walk *walk);
void peer_walk_end(struct peer_walk *walk);

/* Makes peer_sweep_share() visit each peer that exists now. */
void peer_sweep_want(struct peers *peers, struct peer_sweep *sweep);
/* Visits up to `max` peers if a sweep is under way. `visit` may remove the peer. */
void peer_sweep_share(struct peers *peers, struct peer_sweep *sweep, unsigned max,
		      void (*visit)(struct peer *peer));
/* Ends the sweep, even if peers are left. */
void peer_sweep_end(struct peer_sweep *sweep);
/* Returns true if the sweep is under way. */
static inline bool peer_sweep_goes_on(const struct peer_sweep *sweep)
{
	return sweep->walk.next;
}

#endif
