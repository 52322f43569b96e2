/* SPDX-License-Identifier: MIT */
/*
 * What workers and helpers know of the tunnel.
 *
 * Theory of operation: the control thread fills the struct before it starts the first worker. It
 * publishes later changes through the RCU pointers and the atomics. Workers change only the
 * queues by which they tell the control thread something, the queue of jobs in `helpers`, the ICMP
 * limit, and their own lines of the statistics. A helper changes that queue, and while it delivers
 * a batch for a worker what that worker may change.
 */
#ifndef DATAPLANE_H
#define DATAPLANE_H

#include <stdatomic.h>
#include <stdint.h>

#include <urcu-qsbr.h>

#include "aead.h"
#include "carrier.h"
#include "events.h"
#include "handshake_queue.h"
#include "helpers.h"
#include "icmp_queue.h"
#include "keypair.h"
#include "nic.h"
#include "peers.h"
#include "rcu.h"
#include "routing_news.h"
#include "udp.h"
#include "unreachable.h"
#include "wg_maps.h"

/* The key of the mac1 in handshake messages to us, by which a worker recognises junk. */
struct mac1_check {
	uint8_t key[WG_KEY_LEN];
	struct rcu_head rcu;
	struct mac1_check *next; /* of those that are reserved (identity.h) */
};

struct dataplane {
	struct peers *peers;
	struct nic __rcu *nics[WG_MAX_NICS];
	struct udp __rcu *udp;	       /* NULL while the interface is down */
	struct mac1_check __rcu *mac1; /* NULL: there is no private key */
	const struct aead_engine *aead;
	bool uso;	       /* wg0 takes UDP packets that are to be segmented */
	atomic_uint mtu;       /* of wg0 */
	atomic_bool unguarded; /* wg0 lacks a TC program: workers write nothing to it */
	struct worker_stats *stats; /* [WG_MAX_WORKERS + 1], mapped from BPF */
	struct routing_news news;
	struct events events;
	struct handshake_queue handshakes; /* from the UDP sockets */
	struct icmp_limit icmp;		   /* of all workers together */
	struct icmp_queue icmp_errors;	   /* for the control thread to send */
	struct helpers helpers;
};

/* carrier_for() with the tunnel's sockets. Workers and helpers. */
static inline struct carrier dataplane_carrier(const struct dataplane *dp,
					       const struct path *path, uint32_t len,
					       unsigned worker)
{
	return carrier_for(path, len, worker, rcu_dereference(dp->udp));
}

/* Returns the NIC with this ifindex that has AF_XDP sockets, or NULL. Any RCU thread, until its next quiescent
 * state. */
static inline struct nic *dataplane_nic(const struct dataplane *dp, uint32_t ifindex)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		struct nic *nic = rcu_dereference(dp->nics[i]);

		if (nic && nic->ifindex == ifindex && !nic_is_filter(nic))
			return nic;
	}
	return NULL;
}

#endif
