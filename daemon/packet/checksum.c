// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * 2^16, 2^32 and 2^64 are all 1 modulo 0xffff. Wide words may therefore be summed instead of
 * 16-bit ones, if no carry is lost. To keep carries out of the loop, it computes two sums of
 * the 64-bit words: one of the whole words, which may wrap, and one of their high halves, which
 * cannot. The sum of the low halves is the first sum minus 2^32 times the second, modulo 2^64;
 * it is less than 2^64, so the result is exact. Every CPU has vector instructions for these
 * additions, and no carry flag links one to the next.
 */
#include "checksum.h"

#include <string.h>

/* Two 64-bit lanes, because every x86-64 and arm64 CPU has SSE2 or NEON. */
typedef uint64_t lanes __attribute__((vector_size(16)));

#define BLOCK (2 * sizeof(lanes))

struct lane_sums {
	lanes words;
	lanes high;
};

static inline void add_lanes(struct lane_sums *sums, lanes w)
{
	sums->words += w;
	sums->high += w >> 32;
}

static inline uint64_t reduce(const struct lane_sums *a, const struct lane_sums *b)
{
	lanes words = a->words + b->words, high = a->high + b->high;
	uint64_t hi = high[0] + high[1];
	uint64_t lo = words[0] + words[1] - (hi << 32);

	return lo + hi;
}

static inline uint64_t add_word(uint64_t sum, uint64_t w)
{
	return sum + (w & 0xffffffff) + (w >> 32);
}

/* Adds less than a block. If dst is not NULL, copies the bytes there, too. */
static inline uint64_t add_tail(uint64_t sum, uint8_t *dst, const uint8_t *src,
				size_t len)
{
	uint64_t w;

	for (; len >= sizeof(w); len -= sizeof(w), src += sizeof(w)) {
		memcpy(&w, src, sizeof(w));
		sum = add_word(sum, w);
		if (dst) {
			memcpy(dst, &w, sizeof(w));
			dst += sizeof(w);
		}
	}
	if (!len)
		return sum;
	w = 0;
	memcpy(&w, src, len);
	if (dst)
		memcpy(dst, &w, len);
	return add_word(sum, w);
}

uint64_t csum_add(uint64_t sum, const void *data, size_t len)
{
	struct lane_sums even = {0}, odd = {0};
	const uint8_t *src = data;
	lanes a, b;

	if (len < BLOCK)
		return add_tail(sum, NULL, src, len);
	for (; len >= BLOCK; len -= BLOCK, src += BLOCK) {
		memcpy(&a, src, sizeof(a));
		memcpy(&b, src + sizeof(a), sizeof(b));
		add_lanes(&even, a);
		add_lanes(&odd, b);
	}
	return add_tail(sum + reduce(&even, &odd), NULL, src, len);
}

uint64_t csum_copy(uint64_t sum, void *restrict to, const void *restrict from, size_t len)
{
	struct lane_sums even = {0}, odd = {0};
	const uint8_t *src = from;
	uint8_t *dst = to;
	lanes a, b;

	for (; len >= BLOCK; len -= BLOCK, src += BLOCK, dst += BLOCK) {
		memcpy(&a, src, sizeof(a));
		memcpy(&b, src + sizeof(a), sizeof(b));
		memcpy(dst, &a, sizeof(a));
		memcpy(dst + sizeof(a), &b, sizeof(b));
		add_lanes(&even, a);
		add_lanes(&odd, b);
	}
	return add_tail(sum + reduce(&even, &odd), dst, src, len);
}

uint64_t csum_pseudo4(const void *addrs, uint8_t proto, uint32_t len)
{
	return csum_add_be32(csum_add_be16(csum_add(0, addrs, 8), proto), len);
}

uint64_t csum_pseudo6(const void *addrs, uint8_t proto, uint32_t len)
{
	return csum_add_be32(csum_add_be16(csum_add(0, addrs, 32), proto), len);
}
