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

#include "endpoint.h"

struct device;
struct peer;

/* Sends an initiation, if the last one is REKEY_TIMEOUT ago (whitepaper 6.4). */
void handshake_initiate(struct peer *peer, uint64_t now);

/*
 * Takes an initiation, response or cookie reply of the right length for its type;
 * whatever is wrong with it is counted, and changes nothing. `from` has our address
 * as its source. `under_load`: those who prove no address get a cookie (5.3).
 */
void handshake_receive(struct device *dev, const struct endpoint *from,
		       const void *message, size_t len, bool under_load, uint64_t now);

#endif
