// SPDX-License-Identifier: MIT
#include "wall_clock.h"

static void restart(struct wall_clock *c, int64_t offset)
{
	c->seen = c->highest = c->ahead = offset;
	c->begun = true;
}

/* `wall` is what the clock shows now, after somebody moved it by `by` ns. */
static enum wall_step classify(const struct wall_clock *c, int64_t by, uint64_t wall)
{
	if (by <= -(int64_t)WALL_STEP_TOLD)
		return WALL_BACKWARD;
	if (c->seen - c->highest <= (int64_t)TIMESTAMP_LEAD_MAX ||
	    (int64_t)wall - by < (int64_t)WALL_UNSET)
		return WALL_NO_STEP;
	return WALL_FORWARD;
}

struct wall_look wall_clock_look(struct wall_clock *c, uint64_t wall, uint64_t now)
{
	int64_t offset = (int64_t)(wall - now), by;
	struct wall_look look;

	if (!c->begun)
		restart(c, offset);
	by = offset - c->seen;
	c->seen = offset;
	look.step = classify(c, by, wall);
	look.by = (uint64_t)(by < 0 ? -by : by);
	if (offset > c->highest)
		c->highest = offset;
	if (offset > c->ahead)
		c->ahead = offset;
	else if (c->ahead - offset > (int64_t)TIMESTAMP_LEAD_MAX)
		c->ahead = offset + (int64_t)TIMESTAMP_LEAD_MAX;
	look.lead = (uint64_t)(c->ahead - offset);
	look.timestamp = wall + look.lead;
	return look;
}

uint64_t wall_clock_after(uint64_t *sent, uint64_t timestamp)
{
	if (timestamp <= *sent)
		timestamp = *sent + TIMESTAMP_STEP;
	*sent = timestamp;
	return timestamp;
}
