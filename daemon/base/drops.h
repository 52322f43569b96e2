/* SPDX-License-Identifier: MIT */
/*
 * Access by reason to struct drops (wg_maps.h), which has one counter per enum drop_reason, in
 * the same order.
 */
#ifndef DROPS_H
#define DROPS_H

#include <stdint.h>

#include "wg_maps.h"

_Static_assert(sizeof(struct drops) == DROP_REASONS * sizeof(__u64),
	       "one counter per reason");

static inline __u64 *drops_counter(struct drops *drops, enum drop_reason reason)
{
	return (__u64 *)drops + reason;
}

/* Counts n drops. Any thread. */
static inline void drops_add(struct drops *drops, enum drop_reason reason, uint64_t n)
{
	__atomic_fetch_add(drops_counter(drops, reason), n, __ATOMIC_RELAXED);
}

/* Any thread. */
static inline uint64_t drops_read(const struct drops *drops, enum drop_reason reason)
{
	return __atomic_load_n((const __u64 *)drops + reason, __ATOMIC_RELAXED);
}

#endif
