/* SPDX-License-Identifier: MIT */
/*
 * Compiles a BPF program as ordinary C, so that libFuzzer sees which code an input reaches. A target
 * includes this header, in place of libbpf's <bpf/bpf_helpers.h>, and then the program's .bpf.c.
 *
 * Maps are a list of entries, whatever their type. Look-ups search it; those in an LPM trie find the
 * longest prefix. A packet's direct part ends where the next page is not mapped, so that a read
 * beyond it is a fault in any build. The page is below 4 GiB, because contexts have 32-bit pointers.
 */
#ifndef TESTS_FUZZ_NATIVE_BPF_H
#define TESTS_FUZZ_NATIVE_BPF_H

#include <arpa/inet.h> /* before <linux/in.h>, which then leaves out what both have */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

#include <linux/bpf.h>

#include "fuzz.h"

/* NOLINTBEGIN: libbpf's names, and what they stand for */
#define __BPF_HELPERS__ /* the include guard */
#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name
/* NOLINTEND */

/* The programs' functions have no prototypes, they subtract pointers to void, and `#pragma unroll` is
 * clang's. */
#pragma GCC diagnostic ignored "-Wpointer-arith"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wunknown-pragmas"

#define NATIVE_ENTRIES 64
#define NATIVE_PACKET  65600
#define NATIVE_DIRECT  4096 /* bytes that a program may read by pointers */
#define NATIVE_PAGE    ((uint8_t *)0x20000000)

struct native_entry {
	const void *map;
	uint8_t key[64];
	uint8_t value[512] __attribute__((aligned(8)));
};

/* The kernel that the program runs in. */
static struct native_kernel {
	struct native_entry entries[NATIVE_ENTRIES];
	unsigned count;
	uint64_t now;
	uint8_t packet[NATIVE_PACKET]; /* the whole of it */
	size_t len;
	size_t direct;		/* bytes at the front that are readable by pointers */
	uint8_t ip_header[40];	/* of a packet that begins with the UDP header */
	const void *redirected; /* the map of the last redirect */
	uint32_t redirected_to;
	unsigned type; /* as bpf_skb_change_type() set it */
} native;

/* --- maps --- */

static struct native_entry *native_find(const void *map, const void *key, size_t key_len)
{
	for (unsigned i = 0; i < native.count; i++)
		if (native.entries[i].map == map &&
		    !memcmp(native.entries[i].key, key, key_len))
			return &native.entries[i];
	return NULL;
}

static bool native_in_prefix(const uint8_t *prefix, const uint8_t *addr, unsigned bits)
{
	return !memcmp(prefix, addr, bits / 8) &&
	       (bits % 8 == 0 ||
		!((prefix[bits / 8] ^ addr[bits / 8]) >> (8 - bits % 8)));
}

static struct native_entry *native_find_prefix(const void *map, const uint8_t *key)
{
	struct native_entry *best = NULL;
	uint32_t bits, longest = 0;

	for (unsigned i = 0; i < native.count; i++) {
		struct native_entry *e = &native.entries[i];

		memcpy(&bits, e->key, sizeof(bits));
		if (e->map != map || !native_in_prefix(e->key + 4, key + 4, bits) ||
		    (best && bits < longest))
			continue;
		best = e;
		longest = bits;
	}
	return best;
}

static inline void *native_lookup(const void *map, unsigned type, const void *key,
				  size_t key_len)
{
	struct native_entry *e = type == BPF_MAP_TYPE_LPM_TRIE
					 ? native_find_prefix(map, key)
					 : native_find(map, key, key_len);

	return e ? e->value : NULL;
}

static inline long native_update(const void *map, const void *key, size_t key_len,
				 const void *value, size_t value_len)
{
	struct native_entry *e = native_find(map, key, key_len);

	if (!e) {
		CHECK(native.count < NATIVE_ENTRIES);
		CHECK(key_len <= sizeof(e->key) && value_len <= sizeof(e->value));
		e = &native.entries[native.count++];
		memset(e, 0, sizeof(*e));
		e->map = map;
		memcpy(e->key, key, key_len);
	}
	memcpy(e->value, value, value_len);
	return 0;
}

#define NATIVE_TYPE(map) (sizeof(*(map)->type) / sizeof(int))
#define bpf_map_lookup_elem(map, k) \
	native_lookup(map, NATIVE_TYPE(map), k, sizeof(*(map)->key))
#define bpf_map_lookup_percpu_elem(map, k, cpu) \
	((cpu) ? NULL : native_lookup(map, NATIVE_TYPE(map), k, sizeof(*(map)->key)))
#define bpf_map_update_elem(map, k, v, flags) \
	native_update(map, k, sizeof(*(map)->key), v, sizeof(*(map)->value))

/* --- packets --- */

/* Makes the first `direct` bytes readable by pointers, and returns where they begin. Pointers from
 * before are void: nothing is there. */
static inline uint8_t *native_expose(size_t direct)
{
	static uint8_t *page;

	if (!page) {
		page = mmap(NATIVE_PAGE, 2UL * NATIVE_DIRECT, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		CHECK(page == NATIVE_PAGE);
		CHECK(!mprotect(page + NATIVE_DIRECT, NATIVE_DIRECT, PROT_NONE));
	}
	CHECK(direct <= NATIVE_DIRECT && direct <= native.len);
	memset(page, 0xa5, NATIVE_DIRECT);
	native.direct = direct;
	return memcpy(page + NATIVE_DIRECT - direct, native.packet, direct);
}

/* Returns true if the program has not changed what it was given. */
static inline bool native_unchanged(void)
{
	return !memcmp(NATIVE_PAGE + NATIVE_DIRECT - native.direct, native.packet,
		       native.direct);
}

static inline long native_load(size_t offset, void *to, size_t len)
{
	if (offset > native.len || len > native.len - offset)
		return -EFAULT;
	memcpy(to, native.packet + offset, len);
	return 0;
}

#define bpf_xdp_load_bytes(ctx, offset, to, len) native_load(offset, to, len)
#define bpf_skb_load_bytes(skb, offset, to, len) native_load(offset, to, len)
#define bpf_xdp_get_buff_len(ctx)		 ((uint64_t)native.len)

static inline long bpf_skb_load_bytes_relative(const void *skb, size_t offset, void *to,
					       size_t len, uint32_t start)
{
	CHECK(start == BPF_HDR_START_NET && offset + len <= sizeof(native.ip_header));
	memcpy(to, native.ip_header + offset, len);
	return 0;
}

static inline void native_point(struct __sk_buff *skb, size_t direct)
{
	uint8_t *data = native_expose(direct);

	skb->data = (uint32_t)(uintptr_t)data;
	skb->data_end = (uint32_t)(uintptr_t)(data + direct);
}

static inline long bpf_skb_pull_data(struct __sk_buff *skb, uint32_t len)
{
	if (len > native.len)
		return -ENOMEM;
	native_point(skb, len > native.direct ? len : native.direct);
	return 0;
}

static inline long bpf_skb_store_bytes(struct __sk_buff *skb, uint32_t offset,
				       const void *from, uint32_t len, uint64_t flags)
{
	if (offset > native.len || len > native.len - offset)
		return -EFAULT;
	memcpy(native.packet + offset, from, len);
	native_point(skb, native.direct);
	return 0;
}

static inline long bpf_skb_change_type(struct __sk_buff *skb, uint32_t type)
{
	native.type = type;
	return 0;
}

/* --- the rest --- */

#define bpf_sk_fullsock(sk)		    (sk)
#define bpf_tail_call(ctx, map, key)	    ((void)(ctx))
#define bpf_ktime_get_boot_ns()		    (native.now)
#define bpf_ktime_get_coarse_ns()	    (native.now)
#define bpf_redirect_map(map, key, verdict) native_redirect(map, key, verdict)

/* A queue's key is in the map if it has a socket. */
static inline int native_redirect(const void *map, uint32_t key, int verdict)
{
	if (!native_find(map, &key, sizeof(key)))
		return verdict;
	native.redirected = map;
	native.redirected_to = key;
	return XDP_REDIRECT;
}

static inline long bpf_loop(uint32_t rounds, long (*body)(uint32_t, void *), void *ctx,
			    uint64_t flags)
{
	for (uint32_t i = 0; i < rounds; i++)
		if (body(i, ctx))
			return i + 1;
	return rounds;
}

#endif
