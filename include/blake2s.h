/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * BLAKE2s (RFC 7693), for the BPF programs and for the daemon.
 *
 * blake2s() hashes one contiguous message. The state functions (init, update, final) take a message
 * in pieces. BPF programs keep the chaining value after the key's block and call blake2s_compress()
 * themselves. They may do so in one place only: there it is inlined, and a second copy would exceed
 * BPF's stack of 512 bytes.
 *
 * All lengths are in bytes: 1 to 32 of output, 0 to 32 of key. Arguments are not checked. No
 * function fails or allocates. Any thread; a state belongs to one thread.
 */
#ifndef BLAKE2S_H
#define BLAKE2S_H

#include <linux/types.h>

#define BLAKE2S_BLOCK_LEN 64
#define BLAKE2S_HASH_LEN  32
#define BLAKE2S_KEY_LEN	  32

#ifdef __bpf__
#define BLAKE2S_FUNC static inline __attribute__((always_inline, unused))
#define BLAKE2S_CORE BLAKE2S_FUNC
/* Loading a message word again is cheaper than keeping it on BPF's small stack. */
#define BLAKE2S_RELOAD volatile
#else
#define BLAKE2S_RELOAD
#define BLAKE2S_FUNC static inline __attribute__((unused))
/* Not inlined, because the compression function has thousands of instructions: each object has one
 * copy. */
#define BLAKE2S_CORE static __attribute__((noinline, unused))
#endif

struct blake2s_state {
	__u32 h[8];
	__u32 buffered; /* bytes of block in use */
	__u32 outlen;
	__u64 count; /* bytes compressed */
	__u8 block[BLAKE2S_BLOCK_LEN];
};

BLAKE2S_FUNC __u32 blake2s_le32(__u32 word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return __builtin_bswap32(word);
#else
	return word;
#endif
}

/* Wipes memory that may hold a secret, in a way that the compiler cannot optimize away. */
BLAKE2S_FUNC void blake2s_wipe(void *data, __u64 len)
{
#ifndef __bpf__
	__builtin_memset(data, 0, len);
	__asm__ volatile("" : : "r"(data) : "memory");
#endif
}

#define BLAKE2S_IV0 0x6a09e667U
#define BLAKE2S_IV1 0xbb67ae85U
#define BLAKE2S_IV2 0x3c6ef372U
#define BLAKE2S_IV3 0xa54ff53aU
#define BLAKE2S_IV4 0x510e527fU
#define BLAKE2S_IV5 0x9b05688cU
#define BLAKE2S_IV6 0x1f83d9abU
#define BLAKE2S_IV7 0x5be0cd19U

#define BLAKE2S_ROR(x, n) ((x) >> (n) | (x) << (32 - (n)))

/* The mixing function (RFC 7693 section 3.1). */
#define BLAKE2S_G(a, b, c, d, x, y)               \
	do {                                      \
		(a) += (b) + (x);                 \
		(d) = BLAKE2S_ROR((d) ^ (a), 16); \
		(c) += (d);                       \
		(b) = BLAKE2S_ROR((b) ^ (c), 12); \
		(a) += (b) + (y);                 \
		(d) = BLAKE2S_ROR((d) ^ (a), 8);  \
		(c) += (d);                       \
		(b) = BLAKE2S_ROR((b) ^ (c), 7);  \
	} while (0)

/*
 * One round over v and m. Its row of the message schedule (section 2.7) is given as arguments,
 * because literal indices need no table, which would be a map in BPF.
 */
#define BLAKE2S_ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, \
		      s15)                                                             \
	do {                                                                           \
		BLAKE2S_G(v[0], v[4], v[8], v[12], m[s0], m[s1]);                      \
		BLAKE2S_G(v[1], v[5], v[9], v[13], m[s2], m[s3]);                      \
		BLAKE2S_G(v[2], v[6], v[10], v[14], m[s4], m[s5]);                     \
		BLAKE2S_G(v[3], v[7], v[11], v[15], m[s6], m[s7]);                     \
		BLAKE2S_G(v[0], v[5], v[10], v[15], m[s8], m[s9]);                     \
		BLAKE2S_G(v[1], v[6], v[11], v[12], m[s10], m[s11]);                   \
		BLAKE2S_G(v[2], v[7], v[8], v[13], m[s12], m[s13]);                    \
		BLAKE2S_G(v[3], v[4], v[9], v[14], m[s14], m[s15]);                    \
	} while (0)

/*
 * The compression function F (section 3.2) on message words in host byte order. count: the
 * number of message bytes up to and including this block, without padding (a key block counts
 * 64). last: 1 for the final block, else 0.
 */
BLAKE2S_CORE void blake2s_compress(__u32 h[8], const BLAKE2S_RELOAD __u32 m[16],
				   __u64 count, __u32 last)
{
	__u32 v[16] = {
		h[0],
		h[1],
		h[2],
		h[3],
		h[4],
		h[5],
		h[6],
		h[7],
		BLAKE2S_IV0,
		BLAKE2S_IV1,
		BLAKE2S_IV2,
		BLAKE2S_IV3,
		BLAKE2S_IV4 ^ (__u32)count,
		BLAKE2S_IV5 ^ (__u32)(count >> 32),
		BLAKE2S_IV6 ^ (0 - last),
		BLAKE2S_IV7,
	};

	BLAKE2S_ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	BLAKE2S_ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
	BLAKE2S_ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);
	BLAKE2S_ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);
	BLAKE2S_ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);
	BLAKE2S_ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);
	BLAKE2S_ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);
	BLAKE2S_ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);
	BLAKE2S_ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);
	BLAKE2S_ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);

	h[0] ^= v[0] ^ v[8];
	h[1] ^= v[1] ^ v[9];
	h[2] ^= v[2] ^ v[10];
	h[3] ^= v[3] ^ v[11];
	h[4] ^= v[4] ^ v[12];
	h[5] ^= v[5] ^ v[13];
	h[6] ^= v[6] ^ v[14];
	h[7] ^= v[7] ^ v[15];
}

#undef BLAKE2S_ROUND
#undef BLAKE2S_G
#undef BLAKE2S_ROR

/* Reads message words from len bytes (at most 64) of any alignment, padded with zeros. */
BLAKE2S_FUNC void blake2s_load(__u32 m[16], const __u8 *in, __u64 len)
{
	int i;

	__builtin_memset(m, 0, BLAKE2S_BLOCK_LEN);
	if (len)
		__builtin_memcpy(m, in, len);
	for (i = 0; i < 16; i++)
		m[i] = blake2s_le32(m[i]);
}

/* Sets h to the chaining value before the first block: IV and parameter block (section 2.5). */
BLAKE2S_FUNC void blake2s_init_h(__u32 h[8], __u32 outlen, __u32 keylen)
{
	h[0] = BLAKE2S_IV0 ^ 0x01010000U ^ keylen << 8 ^ outlen;
	h[1] = BLAKE2S_IV1;
	h[2] = BLAKE2S_IV2;
	h[3] = BLAKE2S_IV3;
	h[4] = BLAKE2S_IV4;
	h[5] = BLAKE2S_IV5;
	h[6] = BLAKE2S_IV6;
	h[7] = BLAKE2S_IV7;
}

/* Converts the chaining value to output bytes, in place, and copies outlen of them. */
BLAKE2S_FUNC void blake2s_output(__u32 h[8], void *out, __u32 outlen)
{
	int i;

	for (i = 0; i < 8; i++)
		h[i] = blake2s_le32(h[i]);
	__builtin_memcpy(out, h, outlen);
}

BLAKE2S_FUNC void blake2s_init(struct blake2s_state *s, __u32 outlen)
{
	blake2s_init_h(s->h, outlen, 0);
	s->buffered = 0;
	s->outlen = outlen;
	s->count = 0;
}

/* Keyed hashing (section 2.9): the key, padded to a block, goes before the message. */
BLAKE2S_FUNC void blake2s_init_key(struct blake2s_state *s, __u32 outlen, const void *key,
				   __u32 keylen)
{
	blake2s_init_h(s->h, outlen, keylen);
	s->buffered = keylen ? BLAKE2S_BLOCK_LEN : 0;
	s->outlen = outlen;
	s->count = 0;
	__builtin_memset(s->block, 0, sizeof(s->block));
	if (keylen)
		__builtin_memcpy(s->block, key, keylen);
}

BLAKE2S_FUNC void blake2s_compress_buffered(struct blake2s_state *s, __u32 last)
{
	__u32 m[16];

	blake2s_load(m, s->block, s->buffered);
	s->count += s->buffered;
	blake2s_compress(s->h, m, s->count, last);
	s->buffered = 0;
	blake2s_wipe(m, sizeof(m));
}

/* A full block stays in the buffer until more data comes, because the last block is compressed
 * differently. */
BLAKE2S_FUNC void blake2s_update(struct blake2s_state *s, const void *data, __u64 len)
{
	const __u8 *in = data;

	while (len) {
		__u64 n;

		if (s->buffered == BLAKE2S_BLOCK_LEN)
			blake2s_compress_buffered(s, 0);
		n = BLAKE2S_BLOCK_LEN - s->buffered;
		if (n > len)
			n = len;
		__builtin_memcpy(s->block + s->buffered, in, n);
		s->buffered += n;
		in += n;
		len -= n;
	}
}

/* Writes the outlen bytes of the hash and wipes the state, which must be initialized before it
 * is used again. */
BLAKE2S_FUNC void blake2s_final(struct blake2s_state *s, void *out)
{
	blake2s_compress_buffered(s, 1);
	blake2s_output(s->h, out, s->outlen);
	blake2s_wipe(s, sizeof(*s));
}

/*
 * Hashes len bytes of data, with a key unless keylen is 0, to outlen bytes at out. out may
 * overlap data and key, because it is written last.
 */
BLAKE2S_FUNC void blake2s(void *out, __u32 outlen, const void *data, __u64 len,
			  const void *key, __u32 keylen)
{
	const __u64 whole = len ? (len - 1) / BLAKE2S_BLOCK_LEN : 0;
	const __u8 *in = data;
	__u64 count = 0, i;
	__u32 h[8], m[16];

	blake2s_init_h(h, outlen, keylen);
	if (keylen) {
		blake2s_load(m, key, keylen);
		count = BLAKE2S_BLOCK_LEN;
		blake2s_compress(h, m, count, !len);
	}
#ifdef __bpf__
#pragma unroll
#endif
	for (i = 0; i < whole; i++, in += BLAKE2S_BLOCK_LEN) {
		blake2s_load(m, in, BLAKE2S_BLOCK_LEN);
		count += BLAKE2S_BLOCK_LEN;
		blake2s_compress(h, m, count, 0);
	}
	if (len || !keylen) {
		const __u64 rest = len - whole * BLAKE2S_BLOCK_LEN;

		blake2s_load(m, in, rest);
		blake2s_compress(h, m, count + rest, 1);
	}
	blake2s_output(h, out, outlen);
	blake2s_wipe(m, sizeof(m));
	blake2s_wipe(h, sizeof(h));
}

#endif
