/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Checks the macs of handshake messages (whitepaper sections 5.4.4, 5.4.7), in frames and in
 * packets that the kernel delivers to a socket.
 *
 * The daemon provides BLAKE2s' chaining values after the block of the mac1 key and of the cookie
 * secret, so that the programs need not hash these blocks for each message.
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

/* A WireGuard message in the packet of a program's context. */
struct message {
	void *ctx;
	__u32 at; /* offset in the packet */
	__u32 length;
	bool is_xdp; /* a compile-time constant: false for a socket filter */
};

/* Copies `len` bytes of the message. Returns false if the packet is too short. `len` is a
 * compile-time constant. */
static __always_inline bool load(const struct message *m, __u32 offset, void *to,
				 __u32 len)
{
	return !(m->is_xdp ? bpf_xdp_load_bytes(m->ctx, m->at + offset, to, len)
			   : bpf_skb_load_bytes(m->ctx, m->at + offset, to, len));
}

/* A hash in progress: the chaining value, and the words of the next block. */
struct hash {
	__u32 h[8];
	__u32 words[16]; /* little-endian, as in the message */
};

/* Compresses hash->words; `count` and `last` are those of blake2s_compress(). Returns 0. It is not
 * static, because the verifier checks the thousands of instructions of a global function once
 * instead of on each path to a call. */
__attribute__((noinline)) int compress(struct hash *hash, __u64 count, __u32 last)
{
	if (!hash)
		return 0;
	for (int i = 0; i < 16; i++)
		hash->words[i] = blake2s_le32(hash->words[i]);
	blake2s_compress(hash->h, hash->words, count, last);
	return 0;
}

/* Returns true if the mac behind the first `covered` bytes of the message is right. hash->h is the
 * chaining value after the key's block; *hash is overwritten. `covered` is a compile-time
 * constant. */
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

/* Makes the cookie of a source, as make_cookie() in daemon/protocol/cookie.c does: the first words
 * of hash->h, in host order. */
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

/* Returns true if the sender of the initiation has received a cookie at its source address and
 * port. */
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
