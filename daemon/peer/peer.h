/* SPDX-License-Identifier: MIT */
/*
 * A peer: its keys, its endpoint, its keypairs, its staged packets.
 *
 * Theory of operation: the control thread owns every field, except that it reads `path` under RCU
 * like every thread, because a worker that sees the peer move replaces the path. Workers, and
 * helpers that deliver for them, find a peer by its slot (which the TC program wrote into a
 * frame's address) or through a keypair. They read the RCU pointers `current`, `next` and `path`.
 * They write only
 * - the atomics in `activity` and `wire`, `flow_told` and `by_nic`;
 * - under roam_lock: `path`, `roamed`, `roamed_by`, `by_socket` and `probe`;
 * - the staged queue, which has a lock;
 * - the event flags and nodes, by which they tell the control thread what happened (events.h).
 */
#ifndef PEER_H
#define PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <urcu-qsbr.h> /* before rculfhash.h, which takes its flavour */
#include <urcu/list.h>
#include <urcu/rculfhash.h>
#include <urcu/wfcqueue.h>

#include "allowedips.h"
#include "cookie.h"
#include "endpoint.h"
#include "keypair.h"
#include "noise.h"
#include "path.h"
#include "peer_index.h"
#include "rcu.h"
#include "staged.h"
#include "timerq.h"
#include "timers.h"
#include "wg_proto.h"

struct peers;

/* When these last happened, ns; written by workers once per batch, read by the control thread
 * when it runs the peer's timers. 0: not since it last looked. */
struct peer_activity {
	_Atomic uint64_t data_sent;
	_Atomic uint64_t data_received;
	_Atomic uint64_t authenticated_sent;
	_Atomic uint64_t authenticated_received;
	_Atomic uint64_t handshake_asked; /* by a worker, which asks seldom */
};

/* What `wg show` calls transfer: UDP payload of authenticated messages. */
struct peer_wire {
	_Atomic uint64_t rx_bytes;
	_Atomic uint64_t tx_bytes;
	_Atomic uint64_t rx_packets;
	_Atomic uint64_t tx_packets;
};

/* How an authentic message came to the UDP socket. */
struct arrival {
	struct endpoint from;
	uint32_t ifindex; /* of the device; 0: there was none */
};

/* The probe of the peer's flow that is under way (control/flows.c). */
struct peer_probe {
	uint8_t tag[WG_TAG_LEN]; /* zero: there is none */
	struct arrival flow;	 /* as it must arrive */
	uint64_t sent;		 /* ns */
	uint8_t sender_mac[6];	 /* that the peer's frames come from, if by_nic */
};

struct peer {
	struct peers *peers;
	uint32_t slot;
	bool dead;

	/* Read by workers and helpers; what they write is said above. */
	struct keypair __rcu *current;
	struct keypair __rcu *next; /* as responder; in use once it is received under */
	struct path __rcu *path;    /* NULL: no endpoint */
	atomic_bool socket_only;
	struct staged staged;
	struct peer_activity activity;
	struct peer_wire wire;
	atomic_uint events_urgent;
	atomic_uint events_lazy;
	struct cds_wfcq_node urgent_node;
	struct cds_wfcq_node lazy_node;
	pthread_mutex_t roam_lock; /* held to write `path`, `roamed` or `roamed_by` */
	struct endpoint roamed;	   /* the peer's latest source, if EVENT_ROAMED is set */
	uint32_t roamed_by; /* device by which a socket received from it; 0: AF_XDP did */
	struct arrival
		by_socket; /* the latest that EVENT_FLOW told of; under roam_lock */
	_Atomic uint64_t flow_told; /* when that was, ns */
	struct peer_probe probe;    /* under roam_lock */
	atomic_bool
		by_nic; /* something authentic came by AF_XDP since `flow` was admitted */

	/* The control thread's own. */
	struct keypair *previous;
	uint64_t rx_shown;	 /* the most that snapshot_peer() told */
	struct keypair *pending; /* of the handshake under way as initiator */
	bool got_wrong_response; /* that handshake got a wrong answer with its index */
	struct noise_remote remote;
	struct noise_handshake initiating; /* one per role: initiations may cross */
	struct noise_handshake answering;
	uint64_t timestamp_sent; /* of the latest initiation: Unix time, ns */
	struct cookie_maker cookie;
	struct timers timers;
	struct timerq_node timer_node;
	struct cds_list_head initiate; /* in peers->initiations, or in no list */
	struct cds_list_head resolve;  /* in peers->unresolved, or in no list */
	struct peer_member
		by_hop; /* in peers->by_hop, by link and next hop of its route */
	struct peer_member by_flow; /* in peers->by_flow, by our address of peer->flow */
	struct peer_member by_endpoint;	  /* in peers->by_endpoint, by address and port */
	struct peer_member by_source;	  /* in peers->by_source: friends.h */
	struct timerq_node resolve_later; /* in peers->resolutions */
	uint64_t retry_wait;	/* ns, after a failed look-up of the path; 0: none */
	uint64_t pmtu_due;	/* of pmtu_schedule() */
	uint64_t path_resolved; /* when the path was last looked up, ns; 0: never */
	uint16_t persistent_keepalive; /* seconds, 0: off */
	struct endpoint endpoint;
	bool has_endpoint;
	bool configured;     /* the user set the endpoint */
	uint32_t arrived_by; /* device of the latest authentic packet to a socket, or 0 */
	struct arrival flow; /* in the map that the XDP program reads: flows.h */
	uint64_t flow_admitted;	 /* ns; 0: the map has none of this peer */
	uint64_t probe_due;	 /* when the kernel is to get a probe of the flow, ns */
	unsigned probe_tries;	 /* without an answer */
	uint64_t last_handshake; /* Unix time, ns; 0: never */
	uint64_t
		neighbour_kept; /* when the kernel was last told that the neighbour is used */
	struct allowedips_owner allowed;
	struct cds_list_head list;	/* peers->list, in order of creation */
	uint64_t number;		/* in that order */
	struct cds_list_head uncounted; /* in peers->uncounted, or in no list */
	struct cds_lfht_node by_key;	/* peers->by_key */
};

/* All by the control thread, except peer_publish_path(). */

/* Makes the keypair of a successful handshake `current` (as initiator) or `next` (as responder;
 * whitepaper section 6.3), and drops those that it replaces. Returns -errno if the BPF map does
 * not take its index, so that XDP would not know its messages: the keypair is dropped, and the
 * initiator will try again. */
int peer_use_keypair(struct peer *peer, struct keypair *kp, uint64_t now);
/* Makes `next` current because data was received under it. Returns false if kp is not `next`. */
bool peer_confirm_keypair(struct peer *peer, struct keypair *kp);
/* Notes that a handshake is complete: both sides have the keys. */
void peer_handshake_complete(struct peer *peer, uint64_t now);
/* Drops all keypairs that are in use. */
void peer_drop_keypairs(struct peer *peer);
/* Ends the handshakes under way, in both roles. */
void peer_end_handshake(struct peer *peer);

/* Notes where the peer is, without making a path there. */
void peer_note_endpoint(struct peer *peer, const struct endpoint *ep);
/* Publishes this path, which may be NULL and is the peer's from then on, and frees the one before
 * after a grace period. The control thread, and a worker or helper that saw the peer move. */
void peer_publish_path(struct peer *peer, struct path *path);
/* Queues the peer: its path is to be resolved, by the control thread's next round. */
void peer_resolve(struct peer *peer);
/* The same at that time, ns, if the path is not resolved before. */
void peer_resolve_at(struct peer *peer, uint64_t when);
/* Tells the timer queue the peer's next deadline. */
void peer_reschedule(struct peer *peer);

#endif
