// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * A token bucket needs one number, the time when it will be full again. Taking a token
 * moves that time on by the interval of one token. A token is available if the time
 * then lies no further ahead than a whole burst takes to come back. A bucket whose
 * time has passed is full, like the bucket of a source never seen. So another source
 * may take over its entry at once, and nothing needs to be cleaned up.
 *
 * The table is a fixed number of small sets. A keyed hash picks the set, so that an
 * attacker cannot choose sources that fill the set of another source. If no bucket of a
 * set is full, new sources of that set are refused until one is full again. That takes
 * no longer than a burst takes to come back.
 */
#include "ratelimit.h"

#include <sodium.h>

#include "clock.h"

_Static_assert(crypto_shorthash_KEYBYTES == sizeof(((struct ratelimit *)0)->hash_key),
	       "hash key is SipHash's");

void ratelimit_init(struct ratelimit *rl, unsigned per_second, unsigned burst,
		    unsigned v6_bits)
{
	memset(rl, 0, sizeof(*rl));
	rl->interval = NS_PER_SEC / per_second;
	rl->reach = burst * rl->interval;
	rl->v6_bytes = v6_bits / 8;
	randombytes_buf(rl->hash_key, sizeof(rl->hash_key));
}

static struct ratelimit_entry source_of(const struct ratelimit *rl,
					const struct ip_addr *src)
{
	struct ratelimit_entry source = {.family = src->family};

	memcpy(source.prefix, src->bytes, src->family == IP_V4 ? 4 : rl->v6_bytes);
	return source;
}

static struct ratelimit_entry *set_of(struct ratelimit *rl,
				      const struct ratelimit_entry *source)
{
	uint8_t input[sizeof(source->prefix) + 1];
	uint64_t hash;

	memcpy(input, source->prefix, sizeof(source->prefix));
	input[sizeof(source->prefix)] = source->family;
	crypto_shorthash((uint8_t *)&hash, input, sizeof(input), rl->hash_key);
	return rl->entries[hash % RATELIMIT_SETS];
}

static bool same_source(const struct ratelimit_entry *a, const struct ratelimit_entry *b)
{
	return a->family == b->family && !memcmp(a->prefix, b->prefix, sizeof(a->prefix));
}

/* Returns the source's live entry, or else one that it can take over, or NULL. */
static struct ratelimit_entry *
find_entry(struct ratelimit *rl, const struct ratelimit_entry *source, uint64_t now)
{
	struct ratelimit_entry *set = set_of(rl, source), *reusable = NULL;
	unsigned i;

	for (i = 0; i < RATELIMIT_WAYS; i++) {
		if (set[i].full_at <= now)
			reusable = &set[i];
		else if (same_source(&set[i], source))
			return &set[i];
	}
	return reusable;
}

/* Returns the entry of a source that has a token, or NULL. *after: the entry without the token. */
static struct ratelimit_entry *find_token(struct ratelimit *rl, const struct ip_addr *src,
					  uint64_t now, struct ratelimit_entry *after)
{
	struct ratelimit_entry *entry;

	if (!ip_addr_len(src))
		return NULL;
	*after = source_of(rl, src);
	entry = find_entry(rl, after, now);
	if (!entry)
		return NULL;
	after->full_at = (entry->full_at > now ? entry->full_at : now) + rl->interval;
	return after->full_at > now + rl->reach ? NULL : entry;
}

bool ratelimit_allow(struct ratelimit *rl, const struct ip_addr *src, uint64_t now)
{
	struct ratelimit_entry after, *entry = find_token(rl, src, now, &after);

	if (entry)
		*entry = after;
	return entry;
}

bool ratelimit_exceeded(struct ratelimit *rl, const struct ip_addr *src, uint64_t now)
{
	struct ratelimit_entry after;

	return !find_token(rl, src, now, &after);
}
