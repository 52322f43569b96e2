// SPDX-License-Identifier: MIT
/*
 * Time in ns per packet of the XDP and TC programs and the TAP's filter, with one peer
 * and with 100,000, by the kernel's test runs of BPF programs. Needs root.
 *
 * NAME_PEERS: packets of one peer, in one test run that repeats, with all data in the
 * CPU's caches. NAME_single_PEERS: each packet is from another peer, in a separate test
 * run, which includes starting it and reading the clock; compare it with NAME_single_1
 * only.
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_xdp.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <sys/socket.h>

#include "../bpf/harness.h"
#include "nic.skel.h"
#include "wgif.skel.h"

#define PORT   51820
#define MANY   100000
#define REPEAT 200000
#define SINGLE 20000 /* runs of one packet */
#define STEP   7919  /* to the next peer: large and odd, so that it is far away */
#define ROUNDS 5
#define INDEX  0x01000000U /* of the first session */

static struct nic_bpf *nic;
static struct wgif_bpf *wgif;

static void must(int err, const char *what)
{
	if (err) {
		fprintf(stderr, "micro_bpf: %s: %s\n", what, strerror(-err));
		exit(1);
	}
}

/* Repeats an update while a map without preallocation refills its reserve. */
static void set(const struct bpf_map *map, const void *key, const void *value)
{
	int err, tries = 100;

	while ((err = bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY)) ==
		       -ENOMEM &&
	       tries--)
		usleep(1000);
	must(err, bpf_map__name(map));
}

/* --- what the maps hold --- */

static void put_peer_address(uint8_t *ip, uint32_t peer)
{
	put16(ip, 0x0a00 | peer >> 16);
	put16(ip + 2, peer & 0xffff);
}

static void add_peer(uint32_t peer)
{
	static const struct peer_stats zero[MAX_CPUS];
	uint32_t index = INDEX + peer;
	struct session session = {.peer = peer};
	struct lpm4_key ip = {.prefixlen = 32};
	struct allowed_ip value = {.peer = peer};

	set(nic->maps.peer_stats, &peer, zero);
	set(wgif->maps.peer_stats, &peer, zero);
	set(nic->maps.sessions, &index, &session);
	put_peer_address(ip.addr, peer);
	set(wgif->maps.allowed_ips4, &ip, &value);
}

static int socket_for_map(void)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), entries = 64;

	if (fd < 0 || setsockopt(fd, SOL_XDP, XDP_RX_RING, &entries, sizeof(entries)))
		must(-errno, "AF_XDP socket");
	return fd;
}

static uint32_t set_up_nic(void)
{
	struct nic_entry entry = {.count = 1, .max_frame = 1700};
	struct wg_config config = {.listen_port = PORT};
	struct flow_key key = {.proto = htons(ETH_P_IP),
			       .source = {[10] = 0xff, 0xff, 198, 51, 100, 2},
			       .destination = {[10] = 0xff, 0xff, 192, 0, 2, 1}};
	/* Never too old. */
	struct flow flow = {.admitted = INT64_MAX};
	uint32_t zero = 0, ifindex;
	int xsk = socket_for_map();

	if (unshare(CLONE_NEWNET) || system("ip link add nic0 type veth peer name nic1"))
		must(-EPERM, "network namespace");
	ifindex = if_nametoindex("nic0");
	put_bytes(entry.mac, "\x02\0\0\1\2\3", 6);
	set(nic->maps.config, &zero, &config);
	key.ifindex = ifindex;
	set(nic->maps.flows, &key, &flow);
	set(nic->maps.nics, &ifindex, &entry);
	set(nic->maps.xsk_data, &zero, &xsk);
	return ifindex;
}

/* --- frames --- */

/* An Ethernet frame with IPv4 and UDP headers; `inner` is the length after Ethernet. */
static struct frame udp_frame(const char *source, const char *destination, size_t inner)
{
	struct frame f = {.len = 14 + inner};
	uint8_t *ip = f.bytes + 14;

	put_bytes(f.bytes, "\x02\0\0\1\2\3\x02\x57\x47\0\0\0", 12);
	put16(f.bytes + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, inner);
	ip[8] = 64;
	ip[9] = 17;
	put_bytes(ip + 12, source, 4);
	put_bytes(ip + 16, destination, 4);
	put_ipv4_checksum(ip);
	put16(ip + 22, PORT);
	put16(ip + 24, inner - 20);
	return f;
}

static struct frame message_frame(uint32_t peer)
{
	struct frame f = udp_frame("\xc6\x33\x64\x02", "\xc0\0\2\1", 28 + 1452);
	uint32_t index = INDEX + peer;

	f.bytes[14 + 28] = 4;
	memcpy(f.bytes + 14 + 32, &index, sizeof(index));
	return f;
}

static struct frame out_frame(uint32_t peer)
{
	char to[4];

	put_peer_address((uint8_t *)to, peer);
	return udp_frame("\x0a\xff\0\1", to, 1420);
}

/* As a worker writes it, with the peer slot in the source MAC. */
static struct frame in_frame(uint32_t peer)
{
	char from[4];
	struct frame f;

	put_peer_address((uint8_t *)from, peer);
	f = udp_frame(from, "\x0a\xff\0\1", 1420);
	f.bytes[9] = (uint8_t)(peer >> 16);
	put16(f.bytes + 10, peer & 0xffff);
	return f;
}

/* --- runs --- */

struct subject {
	const char *name;
	const struct bpf_program *program;
	struct frame (*frame)(uint32_t peer);
	struct xdp_md *ctx;
	unsigned verdict;
};

/* Returns the mean ns of `repeat` runs with a packet of this peer. */
static uint32_t run(const struct subject *s, uint32_t peer, unsigned repeat)
{
	struct frame f = s->frame(peer);
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f.bytes, .data_size_in = f.len,
		    .ctx_in = s->ctx, .ctx_size_in = s->ctx ? sizeof(*s->ctx) : 0,
		    .repeat = (int)repeat);

	if (s->ctx)
		s->ctx->data_end = (uint32_t)f.len;
	must(bpf_prog_test_run_opts(bpf_program__fd(s->program), &opts), s->name);
	if (opts.retval != s->verdict)
		must(-EPROTO, s->name);
	return opts.duration;
}

static void run_of_one(const struct subject *s, unsigned peers)
{
	uint32_t best = UINT32_MAX;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t took = run(s, 0, REPEAT);

		if (took < best)
			best = took;
	}
	printf("%s_%u %u\n", s->name, peers, best);
}

static int ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Prints the median, so that an interrupted run counts no more than any other. */
static void run_of_each(const struct subject *s, unsigned peers)
{
	static uint32_t took[SINGLE];

	for (uint32_t i = 0, peer = 0; i < SINGLE; i++, peer = (peer + STEP) % peers)
		took[i] = run(s, peer, 1);
	qsort(took, SINGLE, sizeof(took[0]), ascending);
	printf("%s_single_%u %u\n", s->name, peers, took[SINGLE / 2]);
}

static void run_all(unsigned peers, uint32_t ifindex)
{
	struct xdp_md ctx = {.ingress_ifindex = ifindex};
	const struct subject subjects[] = {
		{"xdp_data", nic->progs.wg_nic, message_frame, &ctx, XDP_REDIRECT},
		{"tc_egress", wgif->progs.wg_egress, out_frame, NULL, TC_ACT_UNSPEC},
		{"tc_ingress", wgif->progs.wg_ingress, in_frame, NULL, TC_ACT_UNSPEC},
		/* Drops the frame: a test run passes it without the Ethernet header. */
		{"tap_filter", wgif->progs.wg_filter, out_frame, NULL, 0},
	};

	for (unsigned i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		run_of_one(&subjects[i], peers);
		run_of_each(&subjects[i], peers);
	}
}

int main(void)
{
	uint32_t ifindex;

	nic = nic_bpf__open_and_load();
	wgif = wgif_bpf__open_and_load();
	if (!nic || !wgif)
		must(-errno, "cannot load the programs");
	ifindex = set_up_nic();
	add_peer(0);
	run_all(1, ifindex);
	for (uint32_t peer = 1; peer < MANY; peer++)
		add_peer(peer);
	run_all(MANY, ifindex);
	nic_bpf__destroy(nic);
	wgif_bpf__destroy(wgif);
	return 0;
}
