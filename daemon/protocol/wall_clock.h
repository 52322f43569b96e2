/* SPDX-License-Identifier: MIT */
/*
 * The timestamps of initiations, from a wall clock that people set.
 *
 * A peer refuses an initiation whose timestamp is not later than the last one (whitepaper
 * 5.1). So when the wall clock is set back, timestamps go on from where they were: they
 * have a lead. The lead has a limit, so that one wrong time in the past is not passed on
 * to every peer for as long as the daemon runs; a peer that has seen that time itself gets
 * timestamps that are just later. When the wall clock is set forward it is followed: peers
 * may know a later time, from before a start with a wrong clock.
 *
 * Pure: the caller reads the clocks. All times are in ns: `wall` since 1970, `now` as of
 * clock_now(), which nobody sets.
 */
#ifndef WALL_CLOCK_H
#define WALL_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"

#define TIMESTAMP_LEAD_MAX (86400 * NS_PER_SEC)
/* Shorter steps back are not worth a line in the log. */
#define WALL_STEP_TOLD (10 * NS_PER_SEC)
/* 2025-01-01: a clock that shows an earlier time was not set yet. */
#define WALL_UNSET (1735689600 * NS_PER_SEC)
/* What timestamps are rounded to on the wire. */
#define TIMESTAMP_STEP (1ULL << 24)

/* All of these less clock_now(). Zeroed at first. */
struct wall_clock {
	bool begun;
	int64_t seen;	 /* the wall clock, when it was last looked at */
	int64_t highest; /* the same, at the most */
	int64_t ahead;	 /* timestamps */
};

enum wall_step {
	WALL_NO_STEP,  /* none that a person should hear of */
	WALL_FORWARD,  /* beyond TIMESTAMP_LEAD_MAX more than it ever was */
	WALL_BACKWARD, /* by WALL_STEP_TOLD or more */
};

struct wall_look {
	uint64_t timestamp;
	enum wall_step step;
	uint64_t by;   /* of that step */
	uint64_t lead; /* timestamp's, over the wall clock */
};

/* The timestamp of an initiation that is sent now, and whether the wall clock was set since
 * the last look: told once a step. */
struct wall_look wall_clock_look(struct wall_clock *c, uint64_t wall, uint64_t now);

/* The timestamp for a peer that was last sent *sent, later than that. Sets *sent, which is 0
 * at first. */
uint64_t wall_clock_after(uint64_t *sent, uint64_t timestamp);

#endif
