/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The two maps that both programs write. Each object defines them; the daemon makes both
 * objects use the same maps (bpf_map__reuse_fd). A map that one program uses is in its file.
 * No map is pinned by its definition, because the path depends on the interface's name.
 */
#ifndef BPF_MAPS_H
#define BPF_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "wg_maps.h"

_Static_assert(sizeof(struct drops) == DROP_REASONS * sizeof(__u64),
	       "struct drops is indexed by enum drop_reason");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct drops);
} drops SEC(".maps");

/* By peer slot. The daemon adds and removes the entries. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, WG_MAX_PEERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct peer_stats);
} peer_stats SEC(".maps");

/*
 * Plain additions are enough: the values are per CPU, and every program here runs with bottom
 * halves off, so that none interrupts another.
 */
static __always_inline void count_drop(enum drop_reason reason)
{
	__u32 zero = 0;
	__u64 *counters = bpf_map_lookup_elem(&drops, &zero);

	if (counters)
		counters[reason]++;
}

/* Returns NULL if the peer has no entry: its packets are not counted then. */
static __always_inline struct peer_stats *stats_of(__u32 peer)
{
	return bpf_map_lookup_elem(&peer_stats, &peer);
}

#endif
