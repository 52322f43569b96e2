/* SPDX-License-Identifier: MIT */
/*
 * Limits how often something is done for one host, with a token bucket per source. A
 * source is an IPv4 address, or an IPv6 prefix: a whole address, or a /64 if hosts can
 * make up addresses.
 */
#ifndef RATELIMIT_H
#define RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"

#define RATELIMIT_WAYS 8
#define RATELIMIT_SETS 1024 /* a power of two */

/* A source whose bucket is not full. */
struct ratelimit_entry {
	uint8_t prefix[16]; /* of the address, padded with zeros */
	uint64_t full_at;   /* when the bucket is full again */
	uint8_t family;
};

/* It is 256 KiB large and belongs to one thread. */
struct ratelimit {
	uint64_t interval; /* ns per token */
	uint64_t reach;	   /* ns until a whole burst is available again */
	unsigned v6_bytes; /* of an IPv6 address that identify the source */
	uint8_t hash_key[16];
	struct ratelimit_entry entries[RATELIMIT_SETS][RATELIMIT_WAYS];
};

/* Each source gets per_second tokens per second, and at most burst tokens at once.
 * v6_bits is the prefix length of an IPv6 source. sodium_init() must have succeeded.
 * Allocates nothing. */
void ratelimit_init(struct ratelimit *rl, unsigned per_second, unsigned burst,
		    unsigned v6_bits);

/*
 * Returns true if the source of this address has a token, and takes it. Returns false
 * also if more sources are active at once than fit in the table, and if the address
 * has no family. now is in nanoseconds of a monotonic clock.
 */
bool ratelimit_allow(struct ratelimit *rl, const struct ip_addr *src, uint64_t now);
/* Returns true if ratelimit_allow() would return false now. Takes no token. */
bool ratelimit_exceeded(struct ratelimit *rl, const struct ip_addr *src, uint64_t now);

#endif
