// SPDX-License-Identifier: MIT
/*
 * Theory of operation: nic.bpf.c and wgif.bpf.c are two objects, loaded from
 * skeletons; the maps that both use are made by the first and reused by the
 * second. XDP hangs on a BPF link held by this process and the TC programs on a
 * TAP that lives as long as it, so that a crash takes both away. Pins are all that
 * can outlive us: the directory is locked (flock) while its owner lives, and a new
 * start removes the pins of our maps from an unlocked one.
 */
#include "bpf_objects.h"

#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "blake2s.h"
#include "clock.h"
#include "log.h"
#include "nic.skel.h"
#include "pins.h"
#include "wgif.skel.h"

/* How long an element waits for memory. */
#define NO_MEMORY_WAIT_NS NS_PER_SEC
#define NO_MEMORY_STEP_NS NS_PER_MS
#define STATS_LEN	  (sizeof(struct worker_stats) * (WG_MAX_WORKERS + 1))

struct bpf_objects {
	struct nic_bpf *nic;
	struct wgif_bpf *wgif;
	struct worker_stats *stats;
	unsigned cpus;
	struct wg_config config;
	bool no_memory; /* for the latest element, after a wait */
	struct pins pins;
};

static int quiet_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return level == LIBBPF_WARN && getenv("WGXDP_DEBUG") ? vfprintf(stderr, fmt, ap)
							     : 0;
}

static size_t page_round(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page - 1) / page * page;
}

static int map_worker_stats(struct bpf_objects *dp)
{
	void *p = mmap(NULL, page_round(STATS_LEN), PROT_READ | PROT_WRITE, MAP_SHARED,
		       bpf_map__fd(dp->nic->maps.worker_stats), 0);

	if (p == MAP_FAILED)
		return -errno;
	dp->stats = p;
	return 0;
}

static int load_wgif(struct bpf_objects *dp)
{
	int err;

	dp->wgif = wgif_bpf__open();
	if (!dp->wgif)
		return -errno;
	err = bpf_map__reuse_fd(dp->wgif->maps.drops, bpf_map__fd(dp->nic->maps.drops));
	if (!err)
		err = bpf_map__reuse_fd(dp->wgif->maps.peer_stats,
					bpf_map__fd(dp->nic->maps.peer_stats));
	return err ? err : wgif_bpf__load(dp->wgif);
}

static int load_objects(struct bpf_objects *dp)
{
	int err;

	dp->nic = nic_bpf__open_and_load();
	if (!dp->nic)
		return -errno;
	err = load_wgif(dp);
	return err ? err : map_worker_stats(dp);
}

int bpf_objects_open(struct bpf_objects **out, char *why, size_t why_len)
{
	struct bpf_objects *dp = calloc(1, sizeof(*dp));
	int err, cpus = libbpf_num_possible_cpus();

	if (!dp || cpus < 0) {
		free(dp);
		return dp ? cpus : -ENOMEM;
	}
	dp->cpus = (unsigned)cpus;
	pins_init(&dp->pins);
	libbpf_set_print(quiet_print);
	err = load_objects(dp);
	if (err) {
		snprintf(why, why_len,
			 "cannot load the BPF programs: %s (needs Linux 6.1 or newer; "
			 "WGXDP_DEBUG=1 tells more)",
			 strerror(-err));
		bpf_objects_close(dp);
		return err;
	}
	*out = dp;
	return 0;
}

static void unpin_maps(const struct pins *pins, const struct bpf_object *obj)
{
	const struct bpf_map *map;

	bpf_object__for_each_map(map, obj)
	{
		if (!bpf_map__is_internal(map))
			pins_remove(pins, bpf_map__name(map));
	}
}

static void unpin(struct bpf_objects *dp)
{
	if (dp->pins.dir < 0)
		return;
	unpin_maps(&dp->pins, dp->nic->obj);
	unpin_maps(&dp->pins, dp->wgif->obj);
}

void bpf_objects_close(struct bpf_objects *dp)
{
	if (!dp)
		return;
	unpin(dp);
	pins_close(&dp->pins);
	if (dp->stats)
		munmap(dp->stats, page_round(STATS_LEN));
	wgif_bpf__destroy(dp->wgif);
	nic_bpf__destroy(dp->nic);
	free(dp);
}

static int pin_maps(const struct pins *pins, const struct bpf_object *obj)
{
	const struct bpf_map *map;
	int err;

	bpf_object__for_each_map(map, obj)
	{
		if (bpf_map__is_internal(map))
			continue;
		err = pins_add(pins, bpf_map__name(map), bpf_map__fd(map));
		if (err && err != -EEXIST) /* maps of both objects are pinned once */
			return err;
	}
	return 0;
}

int bpf_objects_pin(struct bpf_objects *dp, const char *ifname, char *why, size_t why_len)
{
	int err = pins_open(&dp->pins, ifname, why, why_len);

	if (err)
		return err;
	unpin(dp);
	pins_tell_strangers(&dp->pins);
	err = pin_maps(&dp->pins, dp->nic->obj);
	if (!err)
		err = pin_maps(&dp->pins, dp->wgif->obj);
	if (err)
		snprintf(why, why_len, "cannot pin maps in bpffs: %s", strerror(-err));
	return err;
}

static int attach_tc_one(uint32_t ifindex, enum bpf_tc_attach_point point, int prog_fd)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
			    .attach_point = point);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1,
			    .prog_fd = prog_fd, .flags = BPF_TC_F_REPLACE);

	return bpf_tc_attach(&hook, &opts);
}

/* Returns the kernel's number of a loaded program, or 0. */
static uint32_t prog_id(const struct bpf_program *prog)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len))
		return 0;
	return info.id;
}

/* Returns the number of the program in our place, or 0 if there is no BPF filter. */
static uint32_t attached_id(uint32_t ifindex, enum bpf_tc_attach_point point)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
			    .attach_point = point);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1);

	return bpf_tc_query(&hook, &opts) ? 0 : opts.prog_id;
}

static bool has_tc_one(uint32_t ifindex, enum bpf_tc_attach_point point,
		       const struct bpf_program *prog)
{
	uint32_t id = attached_id(ifindex, point);

	return id && id == prog_id(prog);
}

bool bpf_objects_has_tc(struct bpf_objects *dp, uint32_t ifindex)
{
	return has_tc_one(ifindex, BPF_TC_EGRESS, dp->wgif->progs.wg_egress) &&
	       has_tc_one(ifindex, BPF_TC_INGRESS, dp->wgif->progs.wg_ingress);
}

int bpf_objects_filter_fd(const struct bpf_objects *dp)
{
	return bpf_program__fd(dp->wgif->progs.wg_filter);
}

int bpf_objects_attach_tc(struct bpf_objects *dp, uint32_t ifindex)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
			    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	int err = bpf_tc_hook_create(&hook);

	if (err && err != -EEXIST)
		return err;
	err = attach_tc_one(ifindex, BPF_TC_EGRESS,
			    bpf_program__fd(dp->wgif->progs.wg_egress));
	if (err)
		return err;
	err = attach_tc_one(ifindex, BPF_TC_INGRESS,
			    bpf_program__fd(dp->wgif->progs.wg_ingress));
	if (err)
		return err;
	/* An ingress qdisc takes filters for egress, too, but keeps one list for both. */
	return has_tc_one(ifindex, BPF_TC_EGRESS, dp->wgif->progs.wg_ingress) ? -EEXIST
									      : 0;
}

int bpf_objects_attach_xdp(struct bpf_objects *dp, uint32_t ifindex, bool native)
{
	DECLARE_LIBBPF_OPTS(bpf_link_create_opts, opts,
			    .flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);

	return bpf_link_create(bpf_program__fd(dp->nic->progs.wg_nic), (int)ifindex,
			       BPF_XDP, &opts);
}

struct worker_stats *bpf_objects_worker_stats(struct bpf_objects *dp)
{
	return dp->stats;
}

/* The kernel takes memory for an element from a small store, which it fills up in the
 * background: on a busy machine that lags behind who adds many, and is waited for. But not
 * again and again where there is none. */
static int map_set(struct bpf_objects *dp, const struct bpf_map *map, const void *key,
		   const void *value)
{
	const struct timespec step = {.tv_nsec = NO_MEMORY_STEP_NS};
	int fd = bpf_map__fd(map), err = bpf_map_update_elem(fd, key, value, BPF_ANY);
	uint64_t until = clock_now() + NO_MEMORY_WAIT_NS;

	while (err == -ENOMEM && !dp->no_memory && clock_now() < until) {
		nanosleep(&step, NULL);
		err = bpf_map_update_elem(fd, key, value, BPF_ANY);
	}
	dp->no_memory = err == -ENOMEM;
	return err;
}

static int map_unset(const struct bpf_map *map, const void *key)
{
	int err = bpf_map_delete_elem(bpf_map__fd(map), key);

	return err == -ENOENT ? 0 : err;
}

static int write_config(struct bpf_objects *dp)
{
	uint32_t key = 0;

	return map_set(dp, dp->nic->maps.config, &key, &dp->config);
}

int bpf_objects_set_port(struct bpf_objects *dp, uint16_t port)
{
	dp->config.listen_port = port;
	return write_config(dp);
}

int bpf_objects_set_mac1_key(struct bpf_objects *dp, const uint8_t mac1_key[WG_KEY_LEN])
{
	uint32_t block[BLAKE2S_BLOCK_LEN / sizeof(uint32_t)];

	dp->config.has_mac1 = !!mac1_key;
	if (mac1_key) {
		blake2s_init_h(dp->config.mac1_state, WG_MAC_LEN, WG_KEY_LEN);
		blake2s_load(block, mac1_key, WG_KEY_LEN);
		blake2s_compress(dp->config.mac1_state, block, BLAKE2S_BLOCK_LEN, 0);
	}
	return write_config(dp);
}

/* The clock of bpf_ktime_get_coarse_ns(). */
static uint64_t monotonic_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

int bpf_objects_admit_flow(struct bpf_objects *dp, const struct flow_key *key)
{
	struct flow flow = {.admitted = monotonic_now()};

	return map_set(dp, dp->nic->maps.flows, key, &flow);
}

void bpf_objects_remove_flow(struct bpf_objects *dp, const struct flow_key *key)
{
	map_unset(dp->nic->maps.flows, key);
}

int bpf_objects_set_nic(struct bpf_objects *dp, uint32_t ifindex,
			const struct nic_queues *queues)
{
	return queues ? map_set(dp, dp->nic->maps.nic_queues, &ifindex, queues)
		      : map_unset(dp->nic->maps.nic_queues, &ifindex);
}

int bpf_objects_set_xsk(struct bpf_objects *dp, uint32_t key, int data_fd,
			int handshake_fd)
{
	int err = map_set(dp, dp->nic->maps.xsk_data, &key, &data_fd);

	return err ? err : map_set(dp, dp->nic->maps.xsk_handshake, &key, &handshake_fd);
}

int bpf_objects_add_peer(struct bpf_objects *dp, uint32_t slot)
{
	struct peer_stats *zero = calloc(dp->cpus, sizeof(*zero));
	int err = zero ? map_set(dp, dp->nic->maps.peer_stats, &slot, zero) : -ENOMEM;

	free(zero);
	return err;
}

void bpf_objects_remove_peer(struct bpf_objects *dp, uint32_t slot)
{
	map_unset(dp->nic->maps.peer_stats, &slot);
}

int bpf_objects_add_session(struct bpf_objects *dp, uint32_t index, uint32_t slot)
{
	struct session value = {.peer = slot};

	return map_set(dp, dp->nic->maps.sessions, &index, &value);
}

void bpf_objects_remove_session(struct bpf_objects *dp, uint32_t index)
{
	map_unset(dp->nic->maps.sessions, &index);
}

int bpf_objects_set_allowed_ip(void *ctx, const struct ip_addr *addr, uint8_t cidr,
			       uint32_t slot, bool present)
{
	struct bpf_objects *dp = ctx;
	struct allowed_ip value = {.peer = slot};
	const struct bpf_map *map = addr->family == IP_V4 ? dp->wgif->maps.allowed_ips4
							  : dp->wgif->maps.allowed_ips6;
	struct lpm6_key key = {.prefixlen = cidr}; /* an lpm4_key is its beginning */

	memcpy(key.addr, addr->bytes, ip_addr_len(addr));
	return present ? map_set(dp, map, &key, &value) : map_unset(map, &key);
}

/* Adds up per-CPU values that consist of nothing but 64-bit counters. */
static int sum_percpu(struct bpf_objects *dp, const struct bpf_map *map, uint32_t key,
		      uint64_t *out, size_t words)
{
	uint64_t *values = calloc(dp->cpus, words * sizeof(*values));
	int err = values ? bpf_map_lookup_elem(bpf_map__fd(map), &key, values) : -ENOMEM;

	memset(out, 0, words * sizeof(*out));
	for (size_t i = 0; !err && i < dp->cpus * words; i++)
		out[i % words] += values[i];
	free(values);
	return err;
}

int bpf_objects_peer_stats(struct bpf_objects *dp, uint32_t slot, struct peer_stats *out)
{
	return sum_percpu(dp, dp->nic->maps.peer_stats, slot, (uint64_t *)out,
			  sizeof(*out) / sizeof(uint64_t));
}

int bpf_objects_drops(struct bpf_objects *dp, struct drops *out)
{
	return sum_percpu(dp, dp->nic->maps.drops, 0, (uint64_t *)out, DROP_REASONS);
}
