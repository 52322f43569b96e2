/* SPDX-License-Identifier: MIT */
/*
 * A peer: its keys, where it is, its sessions, what waits for it.
 *
 * Theory of operation: the control thread owns every field, but reads `path` under RCU
 * like everybody, for a worker that sees the peer move replaces it. Workers find a peer
 * by its slot (which the TC program wrote into a frame's address) or through a
 * keypair; they read the RCU pointers `current`, `next` and `path`, and write only the
 * atomics in `activity` and `wire`, the staged queue under its lock, and the
 * event flags by which they tell the control thread what happened (events.h).
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
#include "noise.h"
#include "path.h"
#include "keypair.h"
#include "staged.h"
#include "timerq.h"
#include "timers.h"
#include "wg_maps.h"

struct peers;

/* When these last happened, ns; written by workers once a batch, read by the
 * control thread when it runs the peer's timers. 0: not since it last looked. */
struct peer_activity {
	_Atomic uint64_t data_sent;
	_Atomic uint64_t data_received;
	_Atomic uint64_t authenticated_sent;
	_Atomic uint64_t authenticated_received;
	_Atomic uint64_t handshake_asked; /* by a worker; so that it asks seldom */
};

/* What `wg show` calls transfer: UDP payload of authenticated messages. */
struct peer_wire {
	_Atomic uint64_t rx_bytes;
	_Atomic uint64_t tx_bytes;
	_Atomic uint64_t rx_packets;
	_Atomic uint64_t tx_packets;
};

/* How an authentic transport message came to the UDP socket. */
struct arrival {
	struct endpoint from;
	uint32_t ifindex; /* of the device; 0: there was none */
};

struct peer {
	struct peers *peers;
	uint32_t slot;
	bool dead;

	/* Read by workers. */
	struct keypair *current;
	struct keypair *next; /* made as responder; in use once it is received under */
	struct path *path;    /* NULL: no endpoint. A worker may put another there */
	atomic_bool socket_only;
	struct staged staged;
	struct peer_activity activity;
	struct peer_wire wire;
	atomic_uint events_urgent;
	atomic_uint events_lazy;
	struct cds_wfcq_node urgent_node;
	struct cds_wfcq_node lazy_node;
	pthread_mutex_t roam_lock; /* who writes `path` or `roamed` holds it */
	struct endpoint roamed; /* where it last wrote from, when EVENT_ROAMED is set */
	uint32_t roamed_by; /* the device that this came by to the socket; 0: by AF_XDP */
	struct arrival
		by_socket; /* the latest that EVENT_FLOW told of; under roam_lock */
	_Atomic uint64_t flow_told; /* when that was, ns */

	/* The control thread's own. */
	struct keypair *previous;
	uint64_t rx_told;	 /* by peer_rx_bytes() */
	struct keypair *pending; /* the handshake under way as initiator */
	bool badly_answered;	 /* that handshake, by somebody who knew its index */
	struct noise_remote remote;
	struct noise_handshake initiating; /* one a role: initiations may cross */
	struct noise_handshake answering;
	uint64_t timestamp_sent; /* of the latest initiation: Unix time, ns */
	struct cookie_maker cookie;
	struct timers timers;
	struct timerq_node timer_node;
	struct cds_list_head initiate; /* in peers->initiations, or in no list */
	uint16_t persistent_keepalive; /* seconds, 0: off */
	struct endpoint endpoint;
	bool has_endpoint;
	bool configured; /* the endpoint is what somebody set */
	uint32_t
		arrived_by; /* device of the latest authentic packet to the socket, or 0 */
	struct flow_key flow;	 /* in the map that the XDP program reads: flows.h */
	uint64_t flow_admitted;	 /* ns; 0: there is none in the map */
	uint64_t last_handshake; /* Unix time, ns; 0: never */
	uint64_t neighbour_kept; /* when the kernel was last told that it is in use */
	struct allowedips_owner allowed;
	struct cds_list_head list;   /* peers->list, in order of creation */
	struct cds_lfht_node by_key; /* peers->by_key */
};

/* All by the control thread. */

/* New keypair from a handshake that ended well, into its slot (whitepaper 6.3). Where XDP
 * cannot know of it, and so would drop what comes under it, -errno: there is no session then,
 * and the keypair is gone; the initiator will try again. */
int peer_begin_session(struct peer *peer, struct keypair *kp, uint64_t now);
/* Data came under `next`: it becomes current. False if kp isn't `next`. */
bool peer_confirm_session(struct peer *peer, struct keypair *kp);
/* A handshake is complete: both sides have the keys. */
void peer_session_complete(struct peer *peer, uint64_t now);
/* Ends all sessions and the handshake under way. */
void peer_clear_sessions(struct peer *peer);
void peer_end_handshake(struct peer *peer);

/* Takes note of where the peer is, without a path there. */
void peer_note_endpoint(struct peer *peer, const struct endpoint *ep);
/* Puts this path, which may be NULL, in the place of the one that is there. The control
 * thread, and a worker that saw the peer move. */
void peer_publish_path(struct peer *peer, struct path *path);
/* What `wg show` calls received: not what TC refused for its source. */
uint64_t peer_rx_bytes(struct peer *peer);
/* Lets the timer queue know the peer's next deadline. */
void peer_reschedule(struct peer *peer);

#endif
