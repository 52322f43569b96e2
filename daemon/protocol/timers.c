// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * Five timers, each armed and disarmed by events:
 *
 *   retransmit  Armed when an initiation is sent, disarmed when a handshake completes.
 *               On expiry: send another initiation, up to 18 times; then give up and
 *               drop the packets that wait for a session.
 *   silence     Armed when data is sent if it is not armed yet, disarmed when anything
 *               authentic is received. On expiry: start a handshake, which shows whether
 *               the peer got a new address, lost its state, or is gone.
 *   keepalive   Armed when data is received if it is not armed yet, disarmed when
 *               anything is sent. On expiry: send an empty packet, because the peer
 *               runs the silence timer. If more data came while the timer ran, it is
 *               armed once more, and sending that empty packet does not disarm it. So
 *               a second one follows in case the first is lost.
 *   persistent  Armed again when anything is sent. Received packets do not count,
 *               because a NAT need not refresh a mapping for inbound packets (RFC 4787
 *               section 4.3).
 *   zero        Armed by each new session, and on giving up if it is not armed yet.
 *               On expiry: wipe all keys.
 *
 * Retransmit and silence get some jitter. Without it, two peers that started at the
 * same moment would keep sending initiations that cross on the wire.
 */
#include "timers.h"

#include <string.h>

#include "nanoseconds.h"

#define MSEC 1000000ULL
#define SEC  NS_PER_SEC

#define NEVER UINT64_MAX

#define REKEY_TIMEOUT	  (WG_REKEY_TIMEOUT * SEC)
#define KEEPALIVE_TIMEOUT (WG_KEEPALIVE_TIMEOUT * SEC)
#define SILENCE_TIMEOUT	  (KEEPALIVE_TIMEOUT + REKEY_TIMEOUT)
#define ZERO_TIMEOUT	  (3 * WG_REJECT_AFTER_TIME * SEC)

static bool is_armed(const struct timers *t, enum timer timer)
{
	return t->deadline[timer] != NEVER;
}

static void arm(struct timers *t, enum timer timer, uint64_t deadline)
{
	t->deadline[timer] = deadline;
}

static void arm_if_idle(struct timers *t, enum timer timer, uint64_t deadline)
{
	if (!is_armed(t, timer))
		arm(t, timer, deadline);
}

static void disarm(struct timers *t, enum timer timer)
{
	t->deadline[timer] = NEVER;
}

static uint64_t jitter(const struct timers *t)
{
	return t->random_uniform(WG_REKEY_TIMEOUT_JITTER_MS) * MSEC;
}

static void disarm_keepalive(struct timers *t)
{
	disarm(t, TIMER_KEEPALIVE);
	t->need_another_keepalive = false;
	t->sending_keepalive = false;
}

static void restart_retries(struct timers *t)
{
	t->retries = 0;
	t->retrying = false;
}

void timers_init(struct timers *t, uint32_t (*random_uniform)(uint32_t upper))
{
	memset(t, 0, sizeof(*t));
	t->random_uniform = random_uniform;
	timers_stop(t);
}

void timers_stop(struct timers *t)
{
	unsigned i;

	for (i = 0; i < TIMER_COUNT; i++)
		disarm(t, i);
	t->persistent_seconds = 0;
	t->initiated = false;
	disarm_keepalive(t);
	restart_retries(t);
}

void timers_set_persistent_keepalive(struct timers *t, uint16_t seconds, uint64_t now)
{
	const uint64_t deadline = now + (t->persistent_seconds ? seconds * SEC : 0);

	t->persistent_seconds = seconds;
	if (!seconds)
		disarm(t, TIMER_PERSISTENT);
	else if (deadline < t->deadline[TIMER_PERSISTENT])
		arm(t, TIMER_PERSISTENT, deadline);
}

void timers_data_sent(struct timers *t, uint64_t now)
{
	if (!is_armed(t, TIMER_SILENCE))
		arm(t, TIMER_SILENCE, now + SILENCE_TIMEOUT + jitter(t));
}

void timers_data_received(struct timers *t, uint64_t now)
{
	if (is_armed(t, TIMER_KEEPALIVE))
		t->need_another_keepalive = true;
	else
		arm(t, TIMER_KEEPALIVE, now + KEEPALIVE_TIMEOUT);
}

void timers_authenticated_sent(struct timers *t, uint64_t now)
{
	if (t->sending_keepalive)
		t->sending_keepalive = false;
	else
		disarm_keepalive(t);
	if (t->persistent_seconds)
		arm(t, TIMER_PERSISTENT, now + t->persistent_seconds * SEC);
}

void timers_authenticated_received(struct timers *t, uint64_t now)
{
	disarm(t, TIMER_SILENCE);
}

void timers_handshake_initiated(struct timers *t, uint64_t now)
{
	if (!t->retrying)
		restart_retries(t);
	t->retrying = false;
	t->last_initiation = now;
	t->initiated = true;
	arm(t, TIMER_RETRANSMIT, now + REKEY_TIMEOUT + jitter(t));
}

void timers_session_wanted(struct timers *t)
{
	restart_retries(t);
}

void timers_handshake_complete(struct timers *t, uint64_t now)
{
	disarm(t, TIMER_RETRANSMIT);
	restart_retries(t);
}

void timers_session_derived(struct timers *t, uint64_t now)
{
	arm(t, TIMER_ZERO, now + ZERO_TIMEOUT);
}

uint64_t timers_next(const struct timers *t)
{
	uint64_t next = NEVER;
	unsigned i;

	for (i = 0; i < TIMER_COUNT; i++)
		if (t->deadline[i] < next)
			next = t->deadline[i];
	return next;
}

static unsigned give_up(struct timers *t, uint64_t now)
{
	restart_retries(t);
	disarm_keepalive(t);
	arm_if_idle(t, TIMER_ZERO, now + ZERO_TIMEOUT);
	return TIMER_DROP_STAGED;
}

/* Arms the timer again, so that it runs on even if the caller cannot send. */
static unsigned expire_retransmit(struct timers *t, uint64_t now)
{
	if (t->retries >= TIMERS_MAX_RETRIES)
		return give_up(t, now);
	t->retries++;
	t->retrying = true;
	arm(t, TIMER_RETRANSMIT, now + REKEY_TIMEOUT + jitter(t));
	return TIMER_SEND_INITIATION;
}

static unsigned expire_silence(struct timers *t, uint64_t now)
{
	restart_retries(t);
	return TIMER_NEW_INITIATION;
}

static unsigned expire_keepalive(struct timers *t, uint64_t now)
{
	t->sending_keepalive = t->need_another_keepalive;
	if (t->need_another_keepalive)
		arm(t, TIMER_KEEPALIVE, now + KEEPALIVE_TIMEOUT);
	t->need_another_keepalive = false;
	return TIMER_SEND_KEEPALIVE;
}

static unsigned expire_persistent(struct timers *t, uint64_t now)
{
	arm(t, TIMER_PERSISTENT, now + t->persistent_seconds * SEC);
	return TIMER_SEND_PERSISTENT_KEEPALIVE;
}

static unsigned expire_zero(struct timers *t, uint64_t now)
{
	return TIMER_ZERO_KEYS;
}

unsigned timers_expire(struct timers *t, uint64_t now)
{
	static unsigned (*const expire[TIMER_COUNT])(struct timers *, uint64_t) = {
		[TIMER_RETRANSMIT] = expire_retransmit,
		[TIMER_SILENCE] = expire_silence,
		[TIMER_KEEPALIVE] = expire_keepalive,
		[TIMER_PERSISTENT] = expire_persistent,
		[TIMER_ZERO] = expire_zero,
	};
	unsigned actions = 0, i;

	for (i = 0; i < TIMER_COUNT; i++) {
		if (t->deadline[i] > now || !is_armed(t, i))
			continue;
		disarm(t, i);
		actions |= expire[i](t, now);
	}
	return actions;
}

bool timers_may_initiate(const struct timers *t, uint64_t now)
{
	return !t->initiated || now >= t->last_initiation + REKEY_TIMEOUT;
}
