/* SPDX-License-Identifier: MIT */
/*
 * Keypairs by receiver index.
 *
 * Theory of operation: a keypair is made without keys when a handshake begins, and holds the
 * random index that we announce to the peer. When the handshake succeeds it gets its keys and is
 * "ready"; workers use no other. Only the control thread makes, activates and drops keypairs.
 * Workers look them up under RCU; a dropped keypair is wiped and freed a grace period later.
 */
#ifndef KEYPAIR_H
#define KEYPAIR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <urcu-qsbr.h>
#include <urcu/rculfhash.h>

#include "clock.h"
#include "noise.h"
#include "replay.h"

struct peer;

struct keypair {
	uint8_t send_key[WG_KEY_LEN];
	uint8_t receive_key[WG_KEY_LEN];
	uint32_t local_index;  /* as on the wire */
	uint32_t remote_index; /* as on the wire */
	uint64_t born;	       /* ns */
	struct peer *peer;
	bool initiator;
	atomic_bool ready;
	atomic_bool received; /* an authentic message was received under it */
	atomic_bool aging;    /* received under so late that it should be replaced */
	_Atomic uint64_t send_counter;
	pthread_mutex_t replay_lock;
	struct replay replay;
	struct cds_lfht_node node;
	struct rcu_head rcu;
};

struct keypairs {
	struct cds_lfht *table;
};

/* 0 or -ENOMEM. Control thread. */
int keypairs_init(struct keypairs *s);
void keypairs_destroy(struct keypairs *s);

/* Returns the keypair of this receiver index, which may not be ready, or NULL. Any RCU thread,
 * until its next quiescent state. */
struct keypair *keypairs_find(struct keypairs *s, uint32_t index);

/* Makes a keypair without keys under a new index; the table's until keypair_drop(). Returns NULL
 * without memory. Control thread. */
struct keypair *keypair_new(struct keypairs *s, struct peer *peer);
/* Gives the keypair its keys, whose local_index must be the keypair's; from here on workers use
 * it. `now` in ns. Control thread. */
void keypair_activate(struct keypair *kp, const struct noise_keys *keys, uint64_t now);
/* Takes the keypair out of the table; it is wiped and freed after a grace period. NULL is
 * allowed. Control thread. */
void keypair_drop(struct keypairs *s, struct keypair *kp);

/* The age in nanoseconds. A worker's `now` may be older than a keypair made meanwhile. */
static inline uint64_t keypair_age(const struct keypair *kp, uint64_t now)
{
	return now > kp->born ? now - kp->born : 0;
}

/* Returns false if the keypair is too old, or was used too often, to send under it (whitepaper
 * section 6.2). */
static inline bool keypair_may_send(const struct keypair *kp, uint64_t now)
{
	return keypair_age(kp, now) < WG_REJECT_AFTER_TIME * NS_PER_SEC &&
	       atomic_load_explicit(&kp->send_counter, memory_order_relaxed) <
		       WG_REJECT_AFTER_MESSAGES;
}

/*
 * Takes up to `n` consecutive counters to send under, from *first on. Returns how many, which is
 * less than `n` only if the last one that section 6.2 allows is taken: a counter that wrapped
 * around would use a nonce twice. Since the caller's keypair_may_send() other workers may have
 * taken counters. Any thread.
 */
static inline unsigned keypair_take_counters(struct keypair *kp, unsigned n,
					     uint64_t *first)
{
	uint64_t next = atomic_load_explicit(&kp->send_counter, memory_order_relaxed);
	uint64_t left;

	do {
		left = next < WG_REJECT_AFTER_MESSAGES ? WG_REJECT_AFTER_MESSAGES - next
						       : 0;
		if (n > left)
			n = (unsigned)left;
	} while (!atomic_compare_exchange_weak_explicit(&kp->send_counter, &next,
							next + n, memory_order_relaxed,
							memory_order_relaxed));
	*first = next;
	return n;
}

/* Returns true if it is time for a new handshake (section 6.2): by age if we were the initiator,
 * by the number of messages for both sides. */
static inline bool keypair_wants_rekey(const struct keypair *kp, uint64_t now)
{
	return (kp->initiator &&
		keypair_age(kp, now) >= WG_REKEY_AFTER_TIME * NS_PER_SEC) ||
	       atomic_load_explicit(&kp->send_counter, memory_order_relaxed) >=
		       WG_REKEY_AFTER_MESSAGES;
}

static inline bool keypair_older_than(const struct keypair *kp, uint64_t now,
				      unsigned secs)
{
	return keypair_age(kp, now) >= secs * NS_PER_SEC;
}

#endif
