/* SPDX-License-Identifier: MIT */
/*
 * The timers of one peer (whitepaper section 6), as a state machine: the control
 * thread tells what happened, and asks what is to be done when a deadline passed.
 *
 * All times are nanoseconds of one monotonic clock. An event may be reported late
 * (a worker's, by up to 100 ms), with the time when it happened; deadlines count
 * from then, and may already have passed. For one thread; nothing allocates or
 * fails.
 */
#ifndef TIMERS_H
#define TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "wg_proto.h"

/* Initiations that are sent again before giving up (section 6.4). */
#define TIMERS_MAX_RETRIES (WG_REKEY_ATTEMPT_TIME / WG_REKEY_TIMEOUT)

/* What timers_expire() asks for; several may be set. */
enum timer_action {
	/* The handshake got no answer: send another initiation, and forget the endpoint's
	 * sticky source, in case that is why. */
	TIMER_SEND_INITIATION = 1,
	/* The peer is silent though we sent data: make a new session, and forget the
	 * source likewise. If timers_may_initiate() says
	 * no there is nothing to do: an initiation is under way. */
	TIMER_NEW_INITIATION = 2,
	/* We heard data and had none to send. */
	TIMER_SEND_KEEPALIVE = 4,
	/* The user wants a packet every so often; may need a handshake first. */
	TIMER_SEND_PERSISTENT_KEEPALIVE = 8,
	/* Handshakes got no answer for long: drop the packets that wait for a session. */
	TIMER_DROP_STAGED = 16,
	/* No new session for long: wipe all sessions and the handshake. */
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
	uint8_t retries;	     /* in this handshake */
	bool initiated;		     /* last_initiation is valid */
	bool retrying; /* TIMER_SEND_INITIATION was asked for, not yet done */
	bool need_another_keepalive;
	bool sending_keepalive; /* TIMER_SEND_KEEPALIVE was asked for, not yet done */
};

/* Nothing armed. random_uniform gives 0 <= r < upper, as randombytes_uniform() does. */
void timers_init(struct timers *t, uint32_t (*random_uniform)(uint32_t upper));

/*
 * Disarm everything and turn persistent keepalive off (set it again to start it);
 * forgets when the last initiation was sent. For an interface that goes down.
 */
void timers_stop(struct timers *t);

/*
 * Every so many seconds in which we sent nothing, a keepalive; 0 is off. Turning it
 * on asks for the first one at once.
 */
void timers_set_persistent_keepalive(struct timers *t, uint16_t seconds, uint64_t now);

/* A transport message with an inner packet went out, or came in and was authentic. */
void timers_data_sent(struct timers *t, uint64_t now);
void timers_data_received(struct timers *t, uint64_t now);

/*
 * Any authenticated message: data, keepalive, initiation, response (not a cookie
 * reply). In addition to the more special event, before or after it.
 */
void timers_authenticated_sent(struct timers *t, uint64_t now);
void timers_authenticated_received(struct timers *t, uint64_t now);

/*
 * An initiation was sent, or was to be and could not: either way it is tried again.
 * Unless TIMER_SEND_INITIATION had asked for it the retries count from zero.
 */
void timers_handshake_initiated(struct timers *t, uint64_t now);

/*
 * The user has a packet for which there is no session: a handshake under way gets
 * all its retries again (section 6.4).
 */
void timers_session_wanted(struct timers *t);

/* Our initiation was answered, or the first message under a session that the peer
 * initiated arrived. */
void timers_handshake_complete(struct timers *t, uint64_t now);

/* Keys of a new session were made, in either role. */
void timers_session_derived(struct timers *t, uint64_t now);

/* The earliest deadline, UINT64_MAX if there is none. */
uint64_t timers_next(const struct timers *t);

/* Run what is due at now: returns enum timer_action ORed, 0 if nothing is. */
unsigned timers_expire(struct timers *t, uint64_t now);

/* Whether REKEY_TIMEOUT has passed since the last initiation. */
bool timers_may_initiate(const struct timers *t, uint64_t now);

#endif
