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

/* One word more than the window: a window rarely starts at a word's first bit. */
#define REPLAY_WORDS (WG_REPLAY_WINDOW / 64 + 1)

/* A zeroed struct has seen nothing. */
struct replay {
	uint64_t next; /* greatest counter accepted, plus one */
	uint64_t seen[REPLAY_WORDS];
};

/*
 * Accept a counter and remember it, or say no: it was accepted before; or it is
 * too old, that is counter <= greatest - 8192 where greatest is the greatest one
 * accepted; or it is not below WG_REJECT_AFTER_MESSAGES. To be called after the
 * message was found authentic, by one thread at a time.
 */
bool replay_check_and_update(struct replay *r, uint64_t counter);

#endif
