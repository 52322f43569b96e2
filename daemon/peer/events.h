/* SPDX-License-Identifier: MIT */
/*
 * What workers tell the control thread about peers.
 *
 * Theory of operation: two queues of peers, each peer in each at most once (its
 * flag word goes from zero to non-zero), so that they cannot grow beyond the
 * peers there are. Urgent events wake the control thread at once. Lazy ones only
 * say "look at this peer's activity stamps, its timers may have moved": they are
 * collected for EVENTS_LAZY_NS, so that a busy tunnel costs ten wake-ups a second
 * and an idle one none.
 *
 * A queue holds no reference to a peer. Before a removed one is freed there must be, in
 * this order: a grace period, after which no worker can queue it any more, and
 * events_forget_dead().
 */
#ifndef EVENTS_H
#define EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include <urcu/wfcqueue.h>

struct peer;

#define EVENTS_LAZY_NS (100 * 1000000ULL)

enum peer_event {
	EVENT_WANT_HANDSHAKE = 1, /* packets wait, or the keypair nears its end */
	EVENT_CONFIRMED = 2,	  /* data came under the `next` keypair */
	EVENT_ROAMED = 4,	  /* authentic packet from elsewhere: peer->roamed */
	EVENT_KEY_AGING = 8,	  /* received under a keypair that is about to expire */
	EVENT_BY_NIC = 16,	  /* authentic packet by AF_XDP of a socket_only peer */
	EVENT_FLOW = 32,   /* authentic packet by the UDP socket: peer->by_socket */
	EVENT_PROBED = 64, /* the kernel has delivered the probe of the peer's flow */
};

struct event_queue {
	struct cds_wfcq_head head;
	struct cds_wfcq_tail tail;
	int fd; /* wakeup.h: raised if a peer is added to the empty queue */
};

struct events {
	struct event_queue urgent;
	struct event_queue lazy;
	uint64_t lazy_due; /* when the lazy queue may be looked at next */
};

/* 0 or -errno. The control thread. */
int events_init(struct events *ev);
void events_destroy(struct events *ev);

/* Any thread that may hold the peer under RCU: workers and helpers. events_raise() tells the
 * control thread at once; events_active() says that the peer's activity stamps have changed. */
void events_raise(struct events *ev, struct peer *peer, enum peer_event what);
void events_active(struct events *ev, struct peer *peer);

/* All of these: the control thread. They call `handle` for each queued peer, with the flags of
 * an urgent one (at most `max` peers) and with 0 for a lazy one. Peers that were removed
 * meanwhile are skipped. */
typedef void (*event_handler)(struct peer *peer, unsigned flags, uint64_t now);
void events_serve_urgent(struct events *ev, event_handler handle, uint64_t now,
			 unsigned max);
/* Returns true if urgent events are left. */
bool events_urgent_left(struct events *ev);
void events_drain_lazy(struct events *ev, event_handler handle, uint64_t now);
/* Takes removed peers out of both queues; after a grace period. */
void events_forget_dead(struct events *ev);

#endif
