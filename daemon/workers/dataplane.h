/* SPDX-License-Identifier: MIT */
/*
 * What workers know of the tunnel.
 *
 * Theory of operation: the control thread fills it before it starts the first worker, and
 * publishes what changes later through the RCU pointers and atomics in it. Workers change
 * nothing in it but the queues by which they tell the control thread something.
 */
#ifndef DATAPLANE_H
#define DATAPLANE_H

#include <stdatomic.h>
#include <stdint.h>

#include <urcu-qsbr.h>

#include "aead.h"
#include "events.h"
#include "handshake_queue.h"
#include "helpers.h"
#include "keypair.h"
#include "nic.h"
#include "peers.h"
#include "udp.h"
#include "unreachable.h"
#include "wg_maps.h"

/* What a worker tells handshake messages to us from junk by. */
struct mac1_check {
	uint8_t key[WG_KEY_LEN];
	struct rcu_head rcu;
};

struct dataplane {
	struct peers *peers;
	struct nic *nics[WG_MAX_NICS]; /* RCU */
	struct udp *udp;	       /* RCU; NULL while the interface is down */
	struct mac1_check *mac1;       /* RCU; NULL: there is no private key */
	const struct aead_engine *aead;
	bool uso;	       /* wg0 takes UDP packets that are to be segmented */
	atomic_uint mtu;       /* of wg0 */
	atomic_bool unguarded; /* wg0 is known to lack a TC program: nothing is written */
	struct worker_stats *stats; /* [WG_MAX_WORKERS + 1], mapped from BPF */
	struct events events;
	struct handshake_queue handshakes; /* from the UDP sockets */
	struct icmp_limit icmp;		   /* of all workers together */
	struct crew crew;
};

#endif
