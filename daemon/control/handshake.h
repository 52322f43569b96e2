/* SPDX-License-Identifier: MIT */
/*
 * The handshake as a conversation: which message goes where, and what it changes. noise.h and
 * cookie.h do the cryptography.
 *
 * Theory of operation: a peer that wants a session is put in a queue (handshake_want()), from
 * which handshakes_initiate() sends a bounded number of initiations per round. Messages that
 * arrive are handed in one at a time (handshake_receive()). No step waits for the kernel's tables:
 * a message is sent by the path that the peer has, and if the peer moved by a makeshift one
 * (paths.h).
 *
 * All functions are for the control thread. `now` is in ns (clock.h).
 */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

struct handshake_message;
struct peer;
struct tunnel;

/* Sends an initiation if the last one is REKEY_TIMEOUT ago (whitepaper 6.4). */
void handshake_initiate(struct peer *peer, uint64_t now);

/* Queues the peer for an initiation. The peer leaves the queue when it gets a session. */
void handshake_want(struct peer *peer, uint64_t now);
/*
 * Sends initiations to at most `limit` peers of the queue. An initiation makes the peer's earlier
 * one worthless, and with it the answer to that: callers with many peers in the queue read their
 * answers first.
 */
void handshakes_initiate(struct tunnel *tunnel, unsigned limit, uint64_t now);

/*
 * Takes an initiation, response or cookie reply of the right length for its type. A message that
 * is wrong in any way is counted and changes nothing. `under_load`: a sender that does not prove
 * its address gets a cookie (5.3). The first answer to an initiation of ours is exempt, because we
 * asked for that work, once per initiation.
 */
void handshake_receive(struct tunnel *tunnel, const struct handshake_message *m,
		       bool under_load, uint64_t now);

#endif
