/* SPDX-License-Identifier: MIT */
/*
 * The timestamps of initiations, made from a wall clock that people may set.
 *
 * A peer refuses an initiation whose timestamp is not later than the last one (whitepaper
 * 5.1). So when the wall clock is set back, timestamps do not go back. They then lead the
 * wall clock.
 *
 * The lead has a limit. Without it, a wall clock that was once wrong would affect the
 * timestamps for every peer as long as the daemon runs. A peer that was sent a timestamp
 * from the wrong time gets timestamps that are just later than that.
 *
 * When the wall clock is set forward, timestamps follow it. The reason is that the daemon
 * may have started with a wrong clock, and peers may know a later time from before.
 *
 * The caller reads the clocks and passes in the times. All times are in ns: `wall` is
 * since 1970; `now` is that of clock_now(), which nobody can set.
 */
#ifndef WALL_CLOCK_H
#define WALL_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"

#define TIMESTAMP_LEAD_MAX (86400 * NS_PER_SEC)
/* Shorter steps back are not reported, because they are not worth a line in the log. */
#define WALL_STEP_TOLD (10 * NS_PER_SEC)
/* 2025-01-01: a clock that shows an earlier time has not been set yet. */
#define WALL_UNSET (1735689600 * NS_PER_SEC)
/* The nanoseconds of a timestamp are rounded down to a multiple of this on the wire. */
#define TIMESTAMP_STEP (1ULL << 24)

/* The times are stored minus clock_now(). A zeroed struct is ready for use. */
struct wall_clock {
	bool begun;
	int64_t seen;	 /* the wall clock at the last look */
	int64_t highest; /* the maximum of seen so far */
	int64_t ahead;	 /* the timestamps */
};

enum wall_step {
	WALL_NO_STEP,  /* no step that needs to be reported */
	WALL_FORWARD,  /* to more than TIMESTAMP_LEAD_MAX above highest */
	WALL_BACKWARD, /* by WALL_STEP_TOLD or more */
};

struct wall_look {
	uint64_t timestamp;
	enum wall_step step;
	uint64_t by;   /* the size of the step */
	uint64_t lead; /* timestamp minus the wall clock */
};

/* Returns the timestamp for an initiation that is sent now, and the step if the wall
 * clock was set since the last look. Each step is reported once. */
struct wall_look wall_clock_look(struct wall_clock *c, uint64_t wall, uint64_t now);

/* Returns `timestamp`, or one TIMESTAMP_STEP after *sent if `timestamp` is not later
 * than *sent. *sent is the last timestamp sent to this peer, 0 at first, and is set
 * to the result. */
uint64_t wall_clock_after(uint64_t *sent, uint64_t timestamp);

#endif
