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
	EVENT_KEY_AGING = 8,	  /* received under a keypair that is about to die */
	EVENT_BY_NIC = 16,	  /* authentic packet by AF_XDP of a socket_only peer */
	EVENT_FLOW = 32, /* authentic packet by the UDP socket: peer->by_socket */
};

struct event_queue {
	struct cds_wfcq_head head;
	struct cds_wfcq_tail tail;
	int fd; /* eventfd: readable once the queue went from empty to not */
};

struct events {
	struct event_queue urgent;
	struct event_queue lazy;
	uint64_t lazy_due; /* when the lazy queue may be looked at next */
};

/* 0 or -errno. */
int events_init(struct events *ev);
void events_destroy(struct events *ev);

/* Workers, under RCU. */
void events_raise(struct events *ev, struct peer *peer, enum peer_event what);
void events_active(struct events *ev, struct peer *peer);

/* Control thread: calls `handle` for queued peers, for urgent ones with their flags and so
 * many of them at most, for lazy ones with 0. Peers that were removed meanwhile are passed
 * over. */
typedef void (*event_handler)(struct peer *peer, unsigned flags, uint64_t now);
void events_serve_urgent(struct events *ev, event_handler handle, uint64_t now,
			 unsigned most);
bool events_urgent_left(struct events *ev);
void events_drain_lazy(struct events *ev, event_handler handle, uint64_t now);
/* Control thread, after a grace period: takes removed peers out. */
void events_forget_dead(struct events *ev);

#endif
