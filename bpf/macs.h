/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The macs of handshake messages (whitepaper sections 5.4.4, 5.4.7), in frames and in what is
 * delivered to a socket.
 *
 * The daemon gives the chaining value after the block of a key (mac1's, or the secret of cookies),
 * so that neither has to be hashed for each message.
 */
#ifndef BPF_MACS_H
#define BPF_MACS_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "blake2s.h"
#include "wg_maps.h"
#include "wg_proto.h"

/* A message in the packet of a context, at an offset. */
struct message {
	void *ctx;
	__u32 at;
	__u32 length;
	bool is_xdp; /* a constant: the helper depends on it */
};

/* Returns false if the packet ends before. len is a constant. */
static __always_inline bool load(const struct message *m, __u32 offset, void *to,
				 __u32 len)
{
	return !(m->is_xdp ? bpf_xdp_load_bytes(m->ctx, m->at + offset, to, len)
			   : bpf_skb_load_bytes(m->ctx, m->at + offset, to, len));
}

/* A hash on its way: the chaining value, and the next block's words. */
struct hash {
	__u32 h[8];
	__u32 words[16]; /* as in the message, so little-endian */
};

/* Compresses the block of words; count and last as of blake2s_compress(). Not static: the verifier
 * then looks at these thousands of instructions once, not for each way that leads here. */
__attribute__((noinline)) int compress(struct hash *hash, __u64 count, __u32 last)
{
	if (!hash)
		return 0;
	for (int i = 0; i < 16; i++)
		hash->words[i] = blake2s_le32(hash->words[i]);
	blake2s_compress(hash->h, hash->words, count, last);
	return 0;
}

/* Returns true if the mac behind the first `covered` bytes is right. hash->h is the chaining value
 * after the key's block; *hash is overwritten. `covered` is a constant. */
static __always_inline bool mac_right(struct hash *hash, const struct message *m,
				      __u32 covered)
{
	__u32 mac[4], at = 0;

#pragma unroll
	for (; at + BLAKE2S_BLOCK_LEN < covered; at += BLAKE2S_BLOCK_LEN) {
		if (!load(m, at, hash->words, BLAKE2S_BLOCK_LEN))
			return false;
		compress(hash, at + 2 * BLAKE2S_BLOCK_LEN, 0);
	}
	__builtin_memset(hash->words, 0, sizeof(hash->words));
	if (!load(m, at, hash->words, covered - at) ||
	    !load(m, covered, mac, sizeof(mac)))
		return false;
	compress(hash, BLAKE2S_BLOCK_LEN + covered, 1);
	return !((hash->h[0] ^ blake2s_le32(mac[0])) |
		 (hash->h[1] ^ blake2s_le32(mac[1])) |
		 (hash->h[2] ^ blake2s_le32(mac[2])) |
		 (hash->h[3] ^ blake2s_le32(mac[3])));
}

/* Returns true if the sender of the initiation or response knows our public key. */
static __always_inline bool mac1_right(const struct wg_config *c, const struct message *m,
				       __u32 covered)
{
	struct hash hash;

	__builtin_memcpy(hash.h, c->mac1_state, sizeof(hash.h));
	return mac_right(&hash, m, covered);
}

/* The cookie of a source (make_cookie() in daemon/protocol/cookie.c): the first words of hash->h,
 * in host order. */
static __always_inline void make_cookie(const struct defence *d,
					const struct flow_key *flow, struct hash *hash)
{
	__u8 *in = (__u8 *)hash->words;
	bool v4 = flow->proto == bpf_htons(ETH_P_IP);
	__u32 len = v4 ? 4 : 16;

	__builtin_memset(hash->words, 0, sizeof(hash->words));
	__builtin_memcpy(hash->h, d->cookie_state, sizeof(hash->h));
	if (v4) {
		__builtin_memcpy(in, flow->source + 12, 4);
		__builtin_memcpy(in + 4, &flow->port, 2);
	} else {
		__builtin_memcpy(in, flow->source, 16);
		__builtin_memcpy(in + 16, &flow->port, 2);
	}
	compress(hash, BLAKE2S_BLOCK_LEN + len + 2, 1);
}

/* Returns true if the sender of the initiation has received a cookie at its source address. */
static __always_inline bool mac2_right(const struct defence *d, const struct message *m,
				       const struct flow_key *flow)
{
	struct hash hash;

	make_cookie(d, flow, &hash);
	__builtin_memset(hash.words, 0, sizeof(hash.words));
	for (int i = 0; i < WG_MAC_LEN / 4; i++)
		hash.words[i] = blake2s_le32(hash.h[i]);
	blake2s_init_h(hash.h, WG_MAC_LEN, WG_MAC_LEN);
	compress(&hash, BLAKE2S_BLOCK_LEN, 0);
	return mac_right(&hash, m, offsetof(struct wg_initiation, mac2));
}

#endif
