/* SPDX-License-Identifier: MIT */
/*
 * The timers of one peer (whitepaper section 6), as a state machine. The control thread
 * reports what happened, and asks what to do after a deadline has passed.
 *
 * All times are in nanoseconds of one monotonic clock. An event may be reported late (a
 * worker's event by up to 100 ms), but with the time when it happened. Deadlines count
 * from that time, and may already have passed. Nothing here allocates or fails. For one
 * thread.
 */
#ifndef TIMERS_H
#define TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "wg_proto.h"

/* How many more initiations are sent before giving up (section 6.4). */
#define TIMERS_MAX_RETRIES (WG_REKEY_ATTEMPT_TIME / WG_REKEY_TIMEOUT)

/* What timers_expire() asks for; several may be set. */
enum timer_action {
	/* The handshake got no answer: send another initiation. Forget the endpoint's
	 * sticky source too, because it may be the reason. */
	TIMER_SEND_INITIATION = 1,
	/* The peer is silent although we sent data: make a new session, and forget
	 * the sticky source too. If timers_may_initiate() returns false, do nothing,
	 * because an initiation is under way. */
	TIMER_NEW_INITIATION = 2,
	/* We received data and had none to send: send a keepalive. */
	TIMER_SEND_KEEPALIVE = 4,
	/* Persistent keepalive is due: send one. This may need a handshake first. */
	TIMER_SEND_PERSISTENT_KEEPALIVE = 8,
	/* All initiations went unanswered: drop the packets that wait for a session. */
	TIMER_DROP_STAGED = 16,
	/* No new session for a long time: wipe all sessions and the handshake. */
	TIMER_ZERO_KEYS = 32,
};

enum timer {
	TIMER_RETRANSMIT,
	TIMER_SILENCE,
	TIMER_KEEPALIVE,
	TIMER_PERSISTENT,
	TIMER_ZERO,
	TIMER_COUNT,
};

struct timers {
	uint64_t deadline[TIMER_COUNT]; /* UINT64_MAX: not armed */
	uint32_t (*random_uniform)(uint32_t upper);
	uint64_t last_initiation;
	uint16_t persistent_seconds; /* 0: off */
	uint8_t retries;	     /* of this handshake so far */
	bool initiated;		     /* last_initiation is valid */
	bool retrying;		     /* asked for TIMER_SEND_INITIATION, not done yet */
	bool need_another_keepalive;
	bool sending_keepalive; /* asked for TIMER_SEND_KEEPALIVE, not done yet */
};

/* Arms no timer. random_uniform returns 0 <= r < upper, like randombytes_uniform(). */
void timers_init(struct timers *t, uint32_t (*random_uniform)(uint32_t upper));

/*
 * Disarms all timers, turns persistent keepalive off (set it again to start it), and
 * forgets when the last initiation was sent. Call it when the interface goes down.
 */
void timers_stop(struct timers *t);

/*
 * Asks for a keepalive whenever we have sent nothing for this many seconds; 0 is off.
 * Turning it on asks for the first keepalive at once.
 */
void timers_set_persistent_keepalive(struct timers *t, uint16_t seconds, uint64_t now);

/* A data message with an inner packet was sent, or was received and is authentic. */
void timers_data_sent(struct timers *t, uint64_t now);
void timers_data_received(struct timers *t, uint64_t now);

/*
 * An authenticated message of any kind was sent or received: data, keepalive,
 * initiation or response, but not a cookie reply. Report this in addition to the more
 * specific event, before or after it.
 */
void timers_authenticated_sent(struct timers *t, uint64_t now);
void timers_authenticated_received(struct timers *t, uint64_t now);

/*
 * An initiation was sent, or could not be sent. In both cases it will be retried. The
 * retries count from zero unless TIMER_SEND_INITIATION asked for this initiation.
 */
void timers_handshake_initiated(struct timers *t, uint64_t now);

/*
 * The user sent a packet, and there is no session for it. A handshake under way gets
 * all its retries again (section 6.4).
 */
void timers_session_wanted(struct timers *t);

/* Our initiation was answered, or the first message arrived under a session that the peer
 * initiated. */
void timers_handshake_complete(struct timers *t, uint64_t now);

/* The keys of a new session were derived, in either role. */
void timers_session_derived(struct timers *t, uint64_t now);

/* Returns the earliest deadline, or UINT64_MAX if no timer is armed. */
uint64_t timers_next(const struct timers *t);

/* Runs the timers that are due. Returns enum timer_action ORed, 0 if none is due. */
unsigned timers_expire(struct timers *t, uint64_t now);

/* Returns true if REKEY_TIMEOUT has passed since the last initiation, or if there was
 * none. */
bool timers_may_initiate(const struct timers *t, uint64_t now);

#endif
