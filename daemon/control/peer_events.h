/* SPDX-License-Identifier: MIT */
/* What workers tell about peers, and peers' timers. By the control thread. */
#ifndef PEER_EVENTS_H
#define PEER_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

struct tunnel;

/* A share of the queued events. */
void peer_events_serve(struct tunnel *tunnel, uint64_t now);
/* A share of the timers that have expired. */
void peer_timers_serve(struct tunnel *tunnel, uint64_t now);
/* Frees removed peers, after a grace period. */
void peer_events_reap(struct tunnel *tunnel);

#endif
