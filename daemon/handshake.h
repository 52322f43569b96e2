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

struct device;
struct handshake_message;
struct peer;

/* Sends an initiation, if the last one is REKEY_TIMEOUT ago (whitepaper 6.4). */
void handshake_initiate(struct peer *peer, uint64_t now);

/*
 * Takes an initiation, response or cookie reply of the right length for its type;
 * whatever is wrong with it is counted, and changes nothing. `under_load`: those who
 * prove no address get a cookie (5.3).
 */
void handshake_receive(struct device *dev, const struct handshake_message *m,
		       bool under_load, uint64_t now);

#endif
