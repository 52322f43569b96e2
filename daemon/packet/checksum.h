/* SPDX-License-Identifier: MIT */
/*
 * The Internet checksum (RFC 1071), as partial sums that are added up and folded
 * in the end.
 *
 * A partial sum is the plain sum of the data's 16-bit words as they lie in memory,
 * or anything congruent to it modulo 0xffff; it is not complemented. Partial sums
 * may be added with `+`, in any order, as long as they cover less than 2^32 bytes
 * together. Each range but the last must have an even length. Zero is the sum of
 * nothing. No function here keeps state: callable from any thread.
 */
#ifndef CHECKSUM_H
#define CHECKSUM_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>

/* Partial sum of `len` bytes at any address; an odd last byte counts as if a zero
 * followed it. */
uint64_t csum_add(uint64_t sum, const void *data, size_t len);

/* As csum_add(), and copies the bytes to `dst`, which must not overlap. */
uint64_t csum_copy(uint64_t sum, void *restrict dst, const void *restrict src,
		   size_t len);

/*
 * Partial sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1):
 * `addrs` points to source and destination address as they follow one another in
 * the IP header, `len` is that of the L4 header and payload in bytes, host order.
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

/* Takes a 16-bit field, as it lies in memory, out of a sum that it is part of. */
static inline uint64_t csum_sub16(uint64_t sum, uint16_t word)
{
	return sum + (uint16_t)~word;
}

/* The 16-bit sum, not complemented, to be stored as is: right data with its
 * checksum in place sums up to 0xffff. */
static inline uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The checksum field's content for data of this sum, to be stored as is. */
static inline uint16_t csum_finish(uint64_t sum)
{
	return (uint16_t)~csum_fold(sum);
}

/* The same for UDP, where a zero would say "no checksum" (RFC 768). Any protocol
 * may use it: 0 and 0xffff are the same number in ones' complement. */
static inline uint16_t csum_finish_nonzero(uint64_t sum)
{
	uint16_t check = csum_finish(sum);

	return check ? check : 0xffff;
}

#endif
