/* SPDX-License-Identifier: MIT */
/*
 * What workers tell about peers, and peers' timers.
 *
 * Theory of operation: workers queue a peer when they need the control thread (urgent events), or
 * when they have sent or received something (lazy events: time stamps in peer->activity, looked
 * at ten times a second). The stamps are applied to the peer's timers before the timers are asked
 * what is to be done. A removed peer is freed when no worker can see it and no queue holds it.
 *
 * All functions are for the control thread; `now` is in ns.
 */
#ifndef PEER_EVENTS_H
#define PEER_EVENTS_H

#include <stdint.h>

struct tunnel;

/* Serves a share of the urgent events, and the lazy ones if they are due. */
void peer_events_serve(struct tunnel *tunnel, uint64_t now);
/* Serves a share of the timers that have expired. */
void peer_timers_serve(struct tunnel *tunnel, uint64_t now);
/* Frees removed peers, after a grace period. */
void peer_events_reap(struct tunnel *tunnel);

#endif
