// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * nic.bpf.c and wgif.bpf.c are two objects, loaded from skeletons. The first one makes the
 * maps that both use; the second one reuses them.
 *
 * A crash of this process detaches all programs: XDP is attached by a BPF link, which the
 * process holds, and the TC programs (tc.h) are on a TAP device, which the kernel deletes with
 * its last queue. Only pins can outlive the process. Their directory is locked (flock) while the
 * owner lives. A new process takes over an unlocked directory, and removes from it the pins that
 * have the names of its maps.
 */
#include "bpf_objects.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "blake2s.h"
#include "clock.h"
#include "dispatcher.h"
#include "nic.skel.h"
#include "pins.h"
#include "tc.h"
#include "thread.h"
#include "wgif.skel.h"

/* How long map_set() waits for memory, in all and per attempt. */
#define NO_MEMORY_WAIT_NS (20 * NS_PER_MS)
#define NO_MEMORY_STEP_NS NS_PER_MS
#define STATS_LEN	  (sizeof(struct worker_stats) * (WG_MAX_WORKERS + 1))

struct bpf_objects {
	struct nic_bpf *nic;
	struct wgif_bpf *wgif;
	struct worker_stats *stats;
	struct defence *defence;
	unsigned cpus;
	struct wg_config config;
	bool config_late; /* the map has not what is in `config` */
	bool no_memory;	  /* the latest map_set() failed although it waited */
	struct pins pins;
	struct tc tc;
};

static int quiet_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return level == LIBBPF_WARN && getenv("WGXDP_DEBUG") ? vfprintf(stderr, fmt, ap)
							     : 0;
}

static int quiet_libxdp(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	return quiet_print((enum libbpf_print_level)level, fmt, ap);
}

static size_t page_round(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page - 1) / page * page;
}

static int map_memory(const struct bpf_map *map, size_t len, void *out)
{
	void *p = mmap(NULL, page_round(len), PROT_READ | PROT_WRITE, MAP_SHARED,
		       bpf_map__fd(map), 0);

	if (p == MAP_FAILED)
		return -errno;
	*(void **)out = p;
	return 0;
}

static int load_wgif(struct bpf_objects *bpf)
{
	int err;

	bpf->wgif = wgif_bpf__open();
	if (!bpf->wgif)
		return -errno;
	err = bpf_map__reuse_fd(bpf->wgif->maps.drops, bpf_map__fd(bpf->nic->maps.drops));
	if (!err)
		err = bpf_map__reuse_fd(bpf->wgif->maps.peer_stats,
					bpf_map__fd(bpf->nic->maps.peer_stats));
	if (!err)
		err = wgif_bpf__load(bpf->wgif);
	if (!err)
		tc_use(&bpf->tc, bpf_program__fd(bpf->wgif->progs.wg_egress),
		       bpf_program__fd(bpf->wgif->progs.wg_ingress));
	return err;
}

/* Not by the map's definition: the copy of the object that joins a dispatcher does not load that
 * program (dispatcher.c), and libbpf would then refuse the object. */
static int set_socket_filter(const struct nic_bpf *nic)
{
	uint32_t zero = 0;
	int program = bpf_program__fd(nic->progs.wg_judge_datagram);

	return bpf_map_update_elem(bpf_map__fd(nic->maps.socket_filter), &zero, &program,
				   BPF_ANY);
}

static int load_objects(struct bpf_objects *bpf)
{
	int err;

	bpf->nic = nic_bpf__open_and_load();
	if (!bpf->nic)
		return -errno;
	err = set_socket_filter(bpf->nic);
	if (!err)
		err = load_wgif(bpf);
	if (!err)
		err = map_memory(bpf->nic->maps.worker_stats, STATS_LEN, &bpf->stats);
	if (!err)
		err = map_memory(bpf->nic->maps.defence, sizeof(*bpf->defence),
				 &bpf->defence);
	return err;
}

int bpf_objects_open(struct bpf_objects **out, char *why, size_t why_len)
{
	struct bpf_objects *bpf;
	int err, cpus;

	assert_control_thread();
	libbpf_set_print(quiet_print);
	libxdp_set_print(quiet_libxdp);
	cpus = libbpf_num_possible_cpus();
	if (cpus < 0) {
		snprintf(why, why_len, "cannot count the CPUs: %s", strerror(-cpus));
		return cpus;
	}
	bpf = calloc(1, sizeof(*bpf));
	if (!bpf)
		return -ENOMEM;
	bpf->cpus = (unsigned)cpus;
	pins_init(&bpf->pins);
	tc_init(&bpf->tc);
	err = load_objects(bpf);
	if (err) {
		snprintf(why, why_len,
			 "cannot load the BPF programs: %s (needs Linux 6.1 or newer; "
			 "WGXDP_DEBUG=1 tells more)",
			 strerror(-err));
		bpf_objects_close(bpf);
		return err;
	}
	*out = bpf;
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

static void unpin(struct bpf_objects *bpf)
{
	if (bpf->pins.dir < 0)
		return;
	unpin_maps(&bpf->pins, bpf->nic->obj);
	unpin_maps(&bpf->pins, bpf->wgif->obj);
}

void bpf_objects_close(struct bpf_objects *bpf)
{
	assert_control_thread();
	if (!bpf)
		return;
	unpin(bpf);
	pins_close(&bpf->pins);
	tc_close(&bpf->tc);
	if (bpf->stats)
		munmap(bpf->stats, page_round(STATS_LEN));
	if (bpf->defence)
		munmap(bpf->defence, page_round(sizeof(*bpf->defence)));
	wgif_bpf__destroy(bpf->wgif);
	nic_bpf__destroy(bpf->nic);
	free(bpf);
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
		if (err && err != -EEXIST) /* a map of both objects is pinned already */
			return err;
	}
	return 0;
}

int bpf_objects_pin(struct bpf_objects *bpf, const char *ifname, char *why,
		    size_t why_len)
{
	assert_control_thread();
	int err = pins_open(&bpf->pins, ifname, why, why_len);

	if (err)
		return err;
	snprintf(bpf->config.ifname, sizeof(bpf->config.ifname), "%s", ifname);
	bpf_objects_write_config(bpf);
	unpin(bpf);
	pins_tell_strangers(&bpf->pins);
	err = pin_maps(&bpf->pins, bpf->nic->obj);
	if (!err)
		err = pin_maps(&bpf->pins, bpf->wgif->obj);
	if (err)
		snprintf(why, why_len, "cannot pin maps in bpffs: %s", strerror(-err));
	return err;
}

bool bpf_objects_has_tc(struct bpf_objects *bpf, uint32_t ifindex)
{
	assert_control_thread();
	return tc_has(&bpf->tc, ifindex);
}

bool bpf_objects_uses_clsact(const struct bpf_objects *bpf)
{
	assert_control_thread();
	return bpf->tc.clsact;
}

int bpf_objects_filter_fd(const struct bpf_objects *bpf)
{
	assert_control_thread();
	return bpf_program__fd(bpf->wgif->progs.wg_filter);
}

int bpf_objects_attach_tc(struct bpf_objects *bpf, uint32_t ifindex)
{
	assert_control_thread();
	return tc_attach(&bpf->tc, ifindex);
}

int bpf_objects_attach_xdp(struct bpf_objects *bpf, uint32_t ifindex, enum xdp_kind kind,
			   struct xdp_attachment *a)
{
	const struct bpf_program *prog = kind == XDP_KIND_FRAGS
						 ? bpf->nic->progs.wg_nic
						 : bpf->nic->progs.wg_nic_plain;
	DECLARE_LIBBPF_OPTS(bpf_link_create_opts, opts,
			    .flags = kind == XDP_KIND_GENERIC ? XDP_FLAGS_SKB_MODE
							      : XDP_FLAGS_DRV_MODE);

	assert_control_thread();
	*a = XDP_NOT_ATTACHED;
	a->link_fd = bpf_link_create(bpf_program__fd(prog), (int)ifindex, BPF_XDP, &opts);
	return a->link_fd < 0 ? a->link_fd : 0;
}

bool bpf_objects_can_join(const struct bpf_objects *bpf, uint32_t ifindex)
{
	assert_control_thread();
	if (!dispatcher_is_on(ifindex))
		return false;
	dispatcher_clean(ifindex, bpf->config.ifname);
	return true;
}

int bpf_objects_join_xdp(struct bpf_objects *bpf, uint32_t ifindex,
			 struct xdp_attachment *a, bool *native)
{
	int err;

	assert_control_thread();
	*a = XDP_NOT_ATTACHED;
	err = dispatcher_join(bpf->nic, ifindex, &a->place);
	if (!err)
		*native = dispatcher_is_native(a->place);
	return err;
}

void bpf_objects_detach_xdp(struct xdp_attachment *a)
{
	assert_control_thread();
	if (a->link_fd >= 0)
		close(a->link_fd);
	dispatcher_leave(a->place);
	*a = XDP_NOT_ATTACHED;
}

bool bpf_objects_lost_xdp(const struct xdp_attachment *a)
{
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);

	if (a->place)
		return dispatcher_lost(a->place);
	return !bpf_obj_get_info_by_fd(a->link_fd, &info, &len) && !info.xdp.ifindex;
}

struct nic_search {
	uint32_t ifindex;
	const uint8_t *mac;
	char *ifname;
};

/* For pins_visit(): returns true if the wgxdp of this map serves the NIC. Compares the address,
 * too, because a NIC in another network namespace may have the same interface index. */
static bool serves_nic(void *ctx, const char *ifname, int map_fd)
{
	struct nic_search *search = ctx;
	struct nic_entry entry;

	if (bpf_map_lookup_elem(map_fd, &search->ifindex, &entry) ||
	    memcmp(entry.mac, search->mac, sizeof(entry.mac)) != 0)
		return false;
	snprintf(search->ifname, IFNAMSIZ, "%s", ifname);
	return true;
}

/* Returns true if another wgxdp serves the NIC, and writes the name of its interface. */
static bool find_other(const struct bpf_objects *bpf, uint32_t ifindex,
		       const uint8_t mac[6], char ifname[IFNAMSIZ])
{
	struct nic_search search = {ifindex, mac, ifname};

	return pins_visit(&bpf->pins, bpf_map__name(bpf->nic->maps.nics),
			  sizeof(struct nic_entry), serves_nic, &search);
}

bool bpf_objects_others_serve(const struct bpf_objects *bpf, uint32_t ifindex,
			      const uint8_t mac[6])
{
	char ifname[IFNAMSIZ];

	assert_control_thread();
	return find_other(bpf, ifindex, mac, ifname);
}

static uint32_t xdp_id(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	if (bpf_xdp_query((int)ifindex, 0, &opts))
		return 0;
	return opts.attach_mode == XDP_ATTACHED_MULTI ? opts.drv_prog_id : opts.prog_id;
}

/* Writes the device's XDP program, as "17 (name)". Returns false if it has none. */
static bool holder_program(uint32_t ifindex, char text[XDP_HOLDER_TEXT])
{
	struct bpf_prog_info info = {0};
	uint32_t id = xdp_id(ifindex), len = sizeof(info);
	int fd;

	text[0] = 0;
	if (!id)
		return false;
	snprintf(text, XDP_HOLDER_TEXT, "%u", id);
	fd = bpf_prog_get_fd_by_id(id);
	if (fd < 0)
		return true;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len) && info.name[0])
		snprintf(text, XDP_HOLDER_TEXT, "%u (%s)", id, info.name);
	close(fd);
	return true;
}

bool bpf_objects_xdp_holder(const struct bpf_objects *bpf, uint32_t ifindex,
			    const uint8_t mac[6], char text[XDP_HOLDER_TEXT])
{
	char ifname[IFNAMSIZ];
	size_t len;

	assert_control_thread();
	if (!holder_program(ifindex, text))
		return false;
	len = strlen(text);
	if (find_other(bpf, ifindex, mac, ifname))
		snprintf(text + len, XDP_HOLDER_TEXT - len, " of %s", ifname);
	return true;
}

int bpf_objects_deliver(struct bpf_objects *bpf, uint32_t ifindex, const uint8_t *frame,
			size_t len)
{
	struct xdp_md ctx = {.data_end = (uint32_t)len, .ingress_ifindex = ifindex};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame,
			    .data_size_in = (uint32_t)len, .ctx_in = &ctx,
			    .ctx_size_in = sizeof(ctx), .repeat = 1, .batch_size = 1,
			    .flags = BPF_F_TEST_XDP_LIVE_FRAMES);

	assert_control_thread();
	return bpf_prog_test_run_opts(bpf_program__fd(bpf->nic->progs.wg_probe), &opts);
}

int bpf_objects_socket_filter_fd(const struct bpf_objects *bpf)
{
	assert_control_thread();
	return bpf_program__fd(bpf->nic->progs.wg_socket);
}

struct worker_stats *bpf_objects_worker_stats(struct bpf_objects *bpf)
{
	assert_control_thread();
	return bpf->stats;
}

/* Writes an element. The kernel allocates it from a small pool that it refills in the
 * background. If many elements are added on a busy machine, the refill lags behind; so
 * map_set() waits for it, for a moment. If the wait was in vain, further calls do not wait until
 * one succeeds, and callers try again later. */
static int map_set(struct bpf_objects *bpf, const struct bpf_map *map, const void *key,
		   const void *value)
{
	const struct timespec step = {.tv_nsec = NO_MEMORY_STEP_NS};
	int fd = bpf_map__fd(map), err = bpf_map_update_elem(fd, key, value, BPF_ANY);
	uint64_t until = clock_now() + NO_MEMORY_WAIT_NS;

	assert_control_thread();
	while (err == -ENOMEM && !bpf->no_memory && clock_now() < until) {
		nanosleep(&step, NULL);
		err = bpf_map_update_elem(fd, key, value, BPF_ANY);
	}
	bpf->no_memory = err == -ENOMEM;
	return err;
}

static int map_unset(const struct bpf_map *map, const void *key)
{
	int err = bpf_map_delete_elem(bpf_map__fd(map), key);

	return err == -ENOENT ? 0 : err;
}

int bpf_objects_write_config(struct bpf_objects *bpf)
{
	uint32_t key = 0;
	int err = map_set(bpf, bpf->nic->maps.config, &key, &bpf->config);

	bpf->config_late = err;
	return err;
}

bool bpf_objects_config_late(const struct bpf_objects *bpf)
{
	return bpf->config_late;
}

void bpf_objects_set_port(struct bpf_objects *bpf, uint16_t port)
{
	assert_control_thread();
	bpf->config.listen_port = port;
	bpf_objects_write_config(bpf);
}

/* Computes BLAKE2s' chaining value after the block of a key. */
static void mac_state(uint32_t state[8], const uint8_t key[WG_KEY_LEN])
{
	uint32_t block[BLAKE2S_BLOCK_LEN / sizeof(uint32_t)];

	blake2s_init_h(state, WG_MAC_LEN, WG_KEY_LEN);
	blake2s_load(block, key, WG_KEY_LEN);
	blake2s_compress(state, block, BLAKE2S_BLOCK_LEN, 0);
	blake2s_wipe(block, sizeof(block));
}

void bpf_objects_set_mac1_key(struct bpf_objects *bpf, const uint8_t mac1_key[WG_KEY_LEN])
{
	assert_control_thread();
	bpf->config.has_mac1 = !!mac1_key;
	if (mac1_key)
		mac_state(bpf->config.mac1_state, mac1_key);
	bpf_objects_write_config(bpf);
}

struct defence *bpf_objects_defence(struct bpf_objects *bpf)
{
	assert_control_thread();
	return bpf->defence;
}

void bpf_objects_set_cookie_secret(struct bpf_objects *bpf,
				   const uint8_t secret[WG_KEY_LEN], uint64_t until)
{
	struct defence *d = bpf->defence;

	assert_control_thread();
	__atomic_store_n(&d->cookie_until, 0, __ATOMIC_RELEASE);
	memset(d->cookie_state, 0, sizeof(d->cookie_state));
	if (secret)
		mac_state(d->cookie_state, secret);
	__atomic_store_n(&d->cookie_until, secret ? until : 0, __ATOMIC_RELEASE);
}

/* Makes the same key as source_key() in bpf/flood.h. */
static struct source_key source_key(const struct ip_addr *addr)
{
	bool v4 = addr->family == IP_V4;
	struct source_key key = {.proto = htons(v4 ? ETH_P_IP : ETH_P_IPV6)};

	memcpy(key.prefix, addr->bytes, v4 ? 4 : 8);
	return key;
}

void bpf_objects_add_friend(struct bpf_objects *bpf, const struct ip_addr *addr)
{
	struct source_key key = source_key(addr);
	struct friend full = {0};

	assert_control_thread();
	bpf_map_update_elem(bpf_map__fd(bpf->nic->maps.friends), &key, &full,
			    BPF_NOEXIST);
}

void bpf_objects_remove_friend(struct bpf_objects *bpf, const struct ip_addr *addr)
{
	struct source_key key = source_key(addr);

	assert_control_thread();
	map_unset(bpf->nic->maps.friends, &key);
}

/* If a program changes a bucket meanwhile, that change is lost, and a few initiations more or fewer
 * pass. A time that is hardly later is not written, because in a flood there are many. */
void bpf_objects_set_suspect(struct bpf_objects *bpf, const struct ip_addr *addr,
			     uint64_t until)
{
	int fd = bpf_map__fd(bpf->nic->maps.sources);
	struct source_key key = source_key(addr);
	struct source s;

	assert_control_thread();
	if (bpf_map_lookup_elem(fd, &key, &s))
		memset(&s, 0, sizeof(s));
	if (until < s.suspect_until + NS_PER_SEC)
		return;
	s.suspect_until = until;
	bpf_map_update_elem(fd, &key, &s, BPF_ANY);
}

/* The clock of bpf_ktime_get_coarse_ns(). */
static uint64_t monotonic_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void put_addr(uint8_t out[16], const struct ip_addr *addr)
{
	memset(out, 0, 16);
	if (addr->family == IP_V4) {
		out[10] = out[11] = 0xff;
		memcpy(out + 12, addr->bytes, 4);
	} else {
		memcpy(out, addr->bytes, 16);
	}
}

static struct flow_key flow_key(const struct endpoint *from, uint32_t ifindex)
{
	struct flow_key key = {
		.ifindex = ifindex,
		.proto = htons(from->addr.family == IP_V4 ? ETH_P_IP : ETH_P_IPV6),
		.port = htons(from->port),
	};

	put_addr(key.source, &from->addr);
	put_addr(key.destination, &from->source);
	return key;
}

int bpf_objects_admit_flow(struct bpf_objects *bpf, const struct endpoint *from,
			   uint32_t ifindex)
{
	assert_control_thread();
	struct flow_key key = flow_key(from, ifindex);
	struct flow flow = {.admitted = monotonic_now()};

	return map_set(bpf, bpf->nic->maps.flows, &key, &flow);
}

void bpf_objects_remove_flow(struct bpf_objects *bpf, const struct endpoint *from,
			     uint32_t ifindex)
{
	assert_control_thread();
	struct flow_key key = flow_key(from, ifindex);

	map_unset(bpf->nic->maps.flows, &key);
}

int bpf_objects_set_nic(struct bpf_objects *bpf, uint32_t ifindex,
			const struct nic_entry *entry)
{
	assert_control_thread();
	return entry ? map_set(bpf, bpf->nic->maps.nics, &ifindex, entry)
		     : map_unset(bpf->nic->maps.nics, &ifindex);
}

int bpf_objects_set_xsk(struct bpf_objects *bpf, uint32_t key, int data_fd,
			int handshake_fd)
{
	assert_control_thread();
	int err = map_set(bpf, bpf->nic->maps.xsk_data, &key, &data_fd);

	return err ? err
		   : map_set(bpf, bpf->nic->maps.xsk_handshake, &key, &handshake_fd);
}

int bpf_objects_add_peer(struct bpf_objects *bpf, uint32_t slot)
{
	assert_control_thread();
	struct peer_stats *zero = calloc(bpf->cpus, sizeof(*zero));
	int err = zero ? map_set(bpf, bpf->nic->maps.peer_stats, &slot, zero) : -ENOMEM;

	free(zero);
	return err;
}

void bpf_objects_remove_peer(struct bpf_objects *bpf, uint32_t slot)
{
	assert_control_thread();
	map_unset(bpf->nic->maps.peer_stats, &slot);
}

int bpf_objects_add_session(struct bpf_objects *bpf, uint32_t index, uint32_t slot)
{
	struct session value = {.peer = slot};

	assert_control_thread();
	return map_set(bpf, bpf->nic->maps.sessions, &index, &value);
}

void bpf_objects_remove_session(struct bpf_objects *bpf, uint32_t index)
{
	assert_control_thread();
	map_unset(bpf->nic->maps.sessions, &index);
}

int bpf_objects_set_allowed_ip(void *ctx, const struct ip_addr *addr, uint8_t cidr,
			       uint32_t slot, bool present)
{
	struct bpf_objects *bpf = ctx;
	struct allowed_ip value = {.peer = slot};
	const struct bpf_map *map = addr->family == IP_V4 ? bpf->wgif->maps.allowed_ips4
							  : bpf->wgif->maps.allowed_ips6;
	struct lpm6_key key = {.prefixlen = cidr}; /* an lpm4_key is its beginning */

	assert_control_thread();
	memcpy(key.addr, addr->bytes, ip_addr_len(addr));
	return present ? map_set(bpf, map, &key, &value) : map_unset(map, &key);
}

/* Sums the values of all CPUs. `out`, like each value, is a struct of `words` 64-bit counters. */
static int sum_percpu(struct bpf_objects *bpf, const struct bpf_map *map, uint32_t key,
		      void *out, size_t words)
{
	uint64_t *sums = out, *values = calloc(bpf->cpus, words * sizeof(*values));
	int err = values ? bpf_map_lookup_elem(bpf_map__fd(map), &key, values) : -ENOMEM;

	memset(sums, 0, words * sizeof(*sums));
	for (size_t i = 0; !err && i < bpf->cpus * words; i++)
		sums[i % words] += values[i];
	free(values);
	return err;
}

int bpf_objects_peer_stats(struct bpf_objects *bpf, const uint32_t *slots, unsigned n,
			   struct peer_stats *out, bool *found)
{
	static const uint8_t frame[ETH_HLEN];
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame,
			    .data_size_in = sizeof(frame), .repeat = 1);
	struct peer_stats_view *view = &bpf->nic->bss->view;
	int err;

	assert_control_thread();
	memset(view, 0, sizeof(*view));
	view->count = n;
	memcpy(view->slots, slots, n * sizeof(*slots));
	err = bpf_prog_test_run_opts(bpf_program__fd(bpf->nic->progs.wg_read_stats),
				     &opts);
	if (err)
		return err;
	memcpy(out, view->stats, n * sizeof(*out));
	for (unsigned i = 0; i < n; i++)
		found[i] = view->found[i];
	return 0;
}

int bpf_objects_drops(struct bpf_objects *bpf, struct drops *out)
{
	assert_control_thread();
	return sum_percpu(bpf, bpf->nic->maps.drops, 0, out, DROP_REASONS);
}
