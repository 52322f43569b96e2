/* SPDX-License-Identifier: MIT */
/*
 * How often something may be done for one host: a bucket of tokens for each IPv4
 * address and each IPv6 address or, where anybody may make up addresses, /64.
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
	uint8_t prefix[16]; /* of the address, then zero */
	uint64_t full_at;   /* when the bucket is full again */
	uint8_t family;
};

/* 256 KiB, for one thread. */
struct ratelimit {
	uint64_t interval; /* ns until one more token is there */
	uint64_t reach;	   /* ns that a burst takes to come back */
	unsigned v6_bytes; /* of an IPv6 address that count */
	uint8_t hash_key[16];
	struct ratelimit_entry entries[RATELIMIT_SETS][RATELIMIT_WAYS];
};

/* So many tokens a second, so many at once, for each IPv6 prefix of v6_bits. Needs
 * sodium_init() before. Allocates nothing. */
void ratelimit_init(struct ratelimit *rl, unsigned per_second, unsigned burst,
		    unsigned v6_bits);

/*
 * Takes a token of this host, if it has one. now is in nanoseconds of a monotonic
 * clock. Says no as well where more hosts are active at once than fit in the
 * table, and to an address of no family.
 */
bool ratelimit_allow(struct ratelimit *rl, const struct ip_addr *src, uint64_t now);

#endif
