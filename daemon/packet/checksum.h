/* SPDX-License-Identifier: MIT */
/*
 * The Internet checksum (RFC 1071), as partial sums that are added up and folded at the end.
 *
 * A partial sum is the plain sum of the data's 16-bit words in memory order, or any number
 * that is congruent to it modulo 0xffff; it is not complemented. Partial sums may be added
 * with `+`, in any order, as long as they cover less than 2^32 bytes together. Each range
 * except the last must have an even length. The sum of no data is zero. No function here keeps
 * state: any thread.
 */
#ifndef CHECKSUM_H
#define CHECKSUM_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>

/* Returns `sum` plus the partial sum of `len` bytes of any alignment. An odd last byte counts as
 * if a zero byte followed it. */
uint64_t csum_add(uint64_t sum, const void *data, size_t len);

/* Does the same, and copies the bytes to `dst`, which must not overlap them. */
uint64_t csum_copy(uint64_t sum, void *restrict dst, const void *restrict src,
		   size_t len);

/*
 * Returns the partial sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
 * `addrs` points to source and destination address, one behind the other as in the IP header.
 * `len` is the length of L4 header and payload in bytes, in host byte order.
 */
uint64_t csum_pseudo4(const void *addrs, uint8_t proto, uint32_t len);
uint64_t csum_pseudo6(const void *addrs, uint8_t proto, uint32_t len);

/* Adds a number in host byte order that is (or will be) a field of the data. */
static inline uint64_t csum_add_be16(uint64_t sum, uint16_t value)
{
	return sum + htobe16(value);
}

static inline uint64_t csum_add_be32(uint64_t sum, uint32_t value)
{
	return sum + htobe32(value);
}

/* Removes a 16-bit field, given in memory order, from a sum that it is part of. */
static inline uint64_t csum_sub16(uint64_t sum, uint16_t word)
{
	return sum + (uint16_t)~word;
}

/* Returns the 16-bit sum in memory order, not complemented. Data that includes its right
 * checksum sums up to 0xffff. */
static inline uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Returns the checksum field for data of this sum, in memory order. */
static inline uint16_t csum_finish(uint64_t sum)
{
	return (uint16_t)~csum_fold(sum);
}

/* The same, but never zero, which means "no checksum" in UDP (RFC 768). Any protocol may use
 * it, because 0 and 0xffff are the same number in ones' complement. */
static inline uint16_t csum_finish_nonzero(uint64_t sum)
{
	uint16_t check = csum_finish(sum);

	return check ? check : 0xffff;
}

#endif
