/* SPDX-License-Identifier: MIT */
/*
 * For both tests of BPF programs: frames, one run of a program with one frame, and the
 * counters before and after it. Needs root; the process moves to a new network namespace.
 */
#ifndef TESTS_BPF_HARNESS_H
#define TESTS_BPF_HARNESS_H

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "wg_maps.h"

#define NO_DROP	 ((int)DROP_REASONS)
#define MAX_CPUS 1024

struct frame {
	uint8_t bytes[2048];
	size_t len;
};

/* The counters of all CPUs added up. */
struct counters {
	uint64_t drops[DROP_REASONS];
	struct peer_stats peer;
};

static const char *const drop_names[DROP_REASONS + 1] = {
#define X(name, text) #name,
	WG_DROP_REASONS(X)
#undef X
		"(none)",
};

static inline void put16(uint8_t *at, unsigned v)
{
	at[0] = v >> 8;
	at[1] = v;
}

static inline unsigned get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static inline void put_bytes(uint8_t *at, const void *from, size_t n)
{
	memcpy(at, from, n);
}

/* RFC 791 section 3.1, over a header of 20 bytes whose checksum field is zero. */
static inline void put_ipv4_checksum(uint8_t *ip)
{
	uint32_t sum = 0;

	for (int i = 0; i < 20; i += 2)
		sum += get16(ip + i);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, ~(sum + (sum >> 16)) & 0xffff);
}

static inline void shell(const char *command)
{
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

/* Moves this process and its children to a new network namespace, and sets lo up. */
static inline void enter_new_namespace(void)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	shell("ip link set lo up");
}

/* Adds up the values of all CPUs, arrays of `words` counters; zeros if there are none. */
static inline void sum_percpu(int map, uint32_t key, uint64_t *sum, size_t words)
{
	static uint64_t values[MAX_CPUS * 64];
	int cpus = libbpf_num_possible_cpus();

	assert_true(cpus > 0 && cpus <= MAX_CPUS && words <= 64);
	memset(sum, 0, words * sizeof(*sum));
	if (bpf_map_lookup_elem(map, &key, values))
		return;
	for (int cpu = 0; cpu < cpus; cpu++)
		for (size_t i = 0; i < words; i++)
			sum[i] += values[cpu * words + i];
}

static inline struct counters read_counters(int drops, int peer_stats, uint32_t peer)
{
	struct counters c;

	sum_percpu(drops, 0, c.drops, DROP_REASONS);
	sum_percpu(peer_stats, peer, (uint64_t *)&c.peer, sizeof(c.peer) / 8);
	return c;
}

static inline void make_peer_stats(int map, uint32_t peer)
{
	static const struct peer_stats zero[MAX_CPUS];

	assert_int_equal(bpf_map_update_elem(map, &peer, zero, BPF_ANY), 0);
}

/* Only the counter of `reason` must have risen, by one; for NO_DROP none. */
static inline void assert_drops(const struct counters *before,
				const struct counters *after, int reason)
{
	for (int i = 0; i < DROP_REASONS; i++) {
		uint64_t rise = after->drops[i] - before->drops[i];

		if (rise != (i == reason))
			fail_msg("%s rose by %llu; expected was %s", drop_names[i],
				 (unsigned long long)rise, drop_names[reason]);
	}
}

#define assert_rise(before, after, field, by) \
	assert_int_equal((after).peer.field - (before).peer.field, by)

static inline int load_log(enum libbpf_print_level level, const char *format,
			   va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

/* bpftool map dump prints field names only of maps with BTF, which XSKMAPs and arrays of programs
 * cannot have. */
static inline void assert_maps_have_btf(const struct bpf_object *object)
{
	const struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		struct bpf_map_info info = {0};
		uint32_t size = sizeof(info);

		if (bpf_map__type(map) == BPF_MAP_TYPE_XSKMAP ||
		    bpf_map__type(map) == BPF_MAP_TYPE_PROG_ARRAY ||
		    bpf_map__is_internal(map))
			continue;
		assert_int_equal(bpf_obj_get_info_by_fd(bpf_map__fd(map), &info, &size),
				 0);
		if (!info.btf_key_type_id || !info.btf_value_type_id)
			fail_msg("map %s has no BTF", bpf_map__name(map));
	}
}

#endif
