// SPDX-License-Identifier: MIT
#include "peer_events.h"

#include <urcu-qsbr.h>

#include "flows.h"
#include "handshake.h"
#include "paths.h"
#include "thread.h"
#include "tunnel.h"

/* Peers per round, because a UAPI request must not wait for many of them. */
#define TIMERS_A_ROUND 16
#define EVENTS_A_ROUND 16

struct stamp {
	uint64_t when; /* ns */
	void (*event)(struct timers *t, uint64_t now);
};

/* Takes a stamp away from the workers and inserts it in the order of time. */
static void add_stamp(struct stamp *stamps, unsigned *n, _Atomic uint64_t *when,
		      void (*event)(struct timers *t, uint64_t now))
{
	uint64_t t = atomic_exchange_explicit(when, 0, memory_order_relaxed);
	unsigned i = (*n);

	if (!t)
		return;
	for (; i > 0 && stamps[i - 1].when > t; i--)
		stamps[i] = stamps[i - 1];
	stamps[i] = (struct stamp){t, event};
	(*n)++;
}

/* Tells the timers what workers did since the last call, in the order of time. */
static void apply_activity(struct peer *peer)
{
	struct peer_activity *a = &peer->activity;
	struct stamp stamps[4];
	unsigned n = 0;

	add_stamp(stamps, &n, &a->data_sent, timers_data_sent);
	add_stamp(stamps, &n, &a->authenticated_sent, timers_authenticated_sent);
	add_stamp(stamps, &n, &a->authenticated_received, timers_authenticated_received);
	add_stamp(stamps, &n, &a->data_received, timers_data_received);
	for (unsigned i = 0; i < n; i++)
		stamps[i].event(&peer->timers, stamps[i].when);
}

static void handle_lazy(struct peer *peer, unsigned flags, uint64_t now)
{
	apply_activity(peer);
	paths_keep_neighbour(peer, now);
	flows_keep(peer, now);
	peer_reschedule(peer);
}

static void confirm_session(struct peer *peer, uint64_t now)
{
	if (!peer->next || !atomic_load(&peer->next->received) ||
	    !peer_confirm_keypair(peer, peer->next))
		return;
	peer_handshake_complete(peer, now);
	if (!staged_empty(&peer->staged))
		worker_command(&tunnel_of(peer)->workers, peer, WORKER_SEND_STAGED);
}

/* Returns false if the session that a worker asked for is there by now: the packet that the worker
 * could not send crossed the one that confirmed the session. */
static bool needs_session(const struct peer *peer, uint64_t now)
{
	return !peer->current || !keypair_may_send(peer->current, now) ||
	       keypair_wants_rekey(peer->current, now);
}

static void want_handshake(struct peer *peer, uint64_t now)
{
	if (!needs_session(peer, now)) {
		if (!staged_empty(&peer->staged))
			worker_command(&tunnel_of(peer)->workers, peer,
				       WORKER_SEND_STAGED);
		return;
	}
	if (!staged_empty(&peer->staged))
		timers_session_wanted(&peer->timers);
	handshake_want(peer, now);
}

static void handle_urgent(struct peer *peer, unsigned flags, uint64_t now)
{
	if (flags & EVENT_BY_NIC)
		paths_set_socket_only(peer, false);
	if (flags & EVENT_PROBED)
		flows_renew(peer, now);
	if (flags & EVENT_FLOW)
		paths_note_arrival(peer, flows_serve(peer, now));
	if (flags & EVENT_ROAMED)
		paths_roam(peer);
	if (flags & EVENT_CONFIRMED)
		confirm_session(peer, now);
	if (flags & EVENT_WANT_HANDSHAKE)
		want_handshake(peer, now);
	if (flags & EVENT_KEY_AGING)
		handshake_want(peer, now);
	peer_reschedule(peer);
}

static void run_timers(struct peer *peer, uint64_t now)
{
	unsigned actions;

	apply_activity(peer);
	actions = timers_expire(&peer->timers, now);
	if (actions & TIMER_ZERO_KEYS) {
		peer_end_handshake(peer);
		peer_drop_keypairs(peer);
	}
	if (actions & TIMER_DROP_STAGED) {
		tunnel_drop(tunnel_of(peer), DROP_staged_expired,
			    staged_clear(&peer->staged));
		/* The attempt may end before the peer's turn in the queue of initiations. */
		cds_list_del_init(&peer->initiate);
	}
	if (actions & (TIMER_NEW_INITIATION | TIMER_SEND_INITIATION)) {
		paths_forget_source(peer);
		handshake_want(peer, now);
	}
	if (actions & (TIMER_SEND_KEEPALIVE | TIMER_SEND_PERSISTENT_KEEPALIVE))
		worker_command(&tunnel_of(peer)->workers, peer, WORKER_SEND_KEEPALIVE);
	peer_reschedule(peer);
}

void peer_timers_serve(struct tunnel *tunnel, uint64_t now)
{
	assert_control_thread();
	for (unsigned i = 0; i < TIMERS_A_ROUND; i++) {
		struct timerq_node *node = timerq_first(&tunnel->peers.timers);

		if (!node || node->deadline > now)
			return;
		run_timers(caa_container_of(node, struct peer, timer_node), now);
	}
}

void peer_events_serve(struct tunnel *tunnel, uint64_t now)
{
	assert_control_thread();
	events_serve_urgent(&tunnel->dp.events, handle_urgent, now, EVENTS_A_ROUND);
	if (tunnel->lazy_pending && now >= tunnel->dp.events.lazy_due) {
		tunnel->lazy_pending = false;
		flows_new_round(tunnel);
		events_drain_lazy(&tunnel->dp.events, handle_lazy, now);
	}
}

void peer_events_reap(struct tunnel *tunnel)
{
	assert_control_thread();
	if (cds_list_empty(&tunnel->peers.dead))
		return;
	urcu_qsbr_synchronize_rcu();
	events_forget_dead(&tunnel->dp.events);
	peers_reap(&tunnel->peers);
}
