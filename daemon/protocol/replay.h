/* SPDX-License-Identifier: MIT */
/*
 * The window of transport counters already received under one key (whitepaper
 * section 5.4.6), as a bitmap used as a ring (RFC 6479).
 */
#ifndef REPLAY_H
#define REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "wg_proto.h"

/* One word more than the window, because it rarely starts at the first bit of a word. */
#define REPLAY_WORDS (WG_REPLAY_WINDOW / 64 + 1)

/* A zeroed struct has seen nothing. */
struct replay {
	uint64_t next; /* greatest counter accepted, plus one */
	uint64_t seen[REPLAY_WORDS];
};

/*
 * Returns true if the counter is acceptable, and remembers it. Returns false if the
 * counter
 *   - was accepted before,
 *   - is too old: counter <= greatest accepted counter - 8192,
 *   - or is not below WG_REJECT_AFTER_MESSAGES.
 * Call it only after the message was found authentic, from one thread at a time.
 */
bool replay_check_and_update(struct replay *r, uint64_t counter);

#endif
