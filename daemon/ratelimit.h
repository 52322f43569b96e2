/* SPDX-License-Identifier: MIT */
/*
 * How often a source may make us compute a handshake (whitepaper section 5.3): 20
 * a second, 5 at once, for each IPv4 address and each IPv6 /64.
 */
#ifndef RATELIMIT_H
#define RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"

#define RATELIMIT_PER_SECOND 20
#define RATELIMIT_BURST	     5
#define RATELIMIT_WAYS	     8
#define RATELIMIT_SETS	     1024 /* a power of two */

/* A source whose bucket is not full. */
struct ratelimit_entry {
	uint8_t prefix[8]; /* an IPv4 address, or the first half of an IPv6 one */
	uint64_t full_at;  /* when the bucket is full again */
	uint8_t family;
};

/* 192 KiB, for one thread. */
struct ratelimit {
	uint8_t hash_key[16];
	struct ratelimit_entry entries[RATELIMIT_SETS][RATELIMIT_WAYS];
};

/* Needs sodium_init() before. Allocates nothing. */
void ratelimit_init(struct ratelimit *rl);

/*
 * Take a token of this source, if it has one. now is in nanoseconds of a monotonic
 * clock. Says no as well where more sources are active at once than fit in the
 * table, and to an address of no family.
 */
bool ratelimit_allow(struct ratelimit *rl, const struct ip_addr *src, uint64_t now);

#endif
