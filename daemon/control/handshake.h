/* SPDX-License-Identifier: MIT */
/*
 * The handshake as a conversation: which message goes where, and what it changes.
 * Control thread. The cryptography is noise.h's and cookie.h's.
 */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tunnel;
struct handshake_message;
struct peer;

/* Sends an initiation, if the last one is REKEY_TIMEOUT ago (whitepaper 6.4). */
void handshake_initiate(struct peer *peer, uint64_t now);

/*
 * The same in turn, by handshakes_initiate(), which sends `most` of those that wait. Who
 * is in line leaves it with the session that it waits for. An initiation makes an earlier
 * one of the peer worthless, and the answer to it with that: those who have many peers to
 * write to read their answers first.
 */
void handshake_want(struct peer *peer, uint64_t now);
void handshakes_initiate(struct tunnel *tunnel, unsigned most, uint64_t now);

/*
 * Takes an initiation, response or cookie reply of the right length for its type;
 * whatever is wrong with it is counted, and changes nothing. `under_load`: those who
 * prove no address get a cookie (5.3). Not the first who answers an initiation of ours:
 * that is work we asked for, and once for each.
 */
void handshake_receive(struct tunnel *tunnel, const struct handshake_message *m,
		       bool under_load, uint64_t now);

#endif
