// SPDX-License-Identifier: MIT
/*
 * What the XDP and TC programs take, by test runs in the kernel, with one peer and with a
 * hundred thousand: ns for a packet. Needs root.
 */
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

/* A map that allocates as it goes may be out of its reserve for a moment. */
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
	put16(ip.addr, 0x0a00 | peer >> 16);
	put16(ip.addr + 2, peer & 0xffff);
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
	struct nic_queues queues = {.count = 1, .max_frame = 1700};
	struct wg_config config = {.listen_port = PORT};
	static const uint8_t here[16] = {[10] = 0xff, 0xff, 192, 0, 2, 1};
	struct local_addr address;
	uint32_t zero = 0, ifindex;
	uint8_t there = 0;
	int xsk = socket_for_map();

	if (unshare(CLONE_NEWNET) || system("ip link add nic0 type veth peer name nic1"))
		must(-EPERM, "network namespace");
	ifindex = if_nametoindex("nic0");
	put_bytes(address.addr, here, 16);
	set(nic->maps.config, &zero, &config);
	set(nic->maps.local_addrs, &address, &there);
	set(nic->maps.nic_queues, &ifindex, &queues);
	set(nic->maps.xsk_data, &zero, &xsk);
	return ifindex;
}

/* --- frames --- */

/* IPv4 and UDP; in the tunnel from a peer, or from there to here. */
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

static struct frame message_frame(void)
{
	struct frame f = udp_frame("\xc6\x33\x64\x02", "\xc0\0\2\1", 28 + 1452);
	uint32_t index = INDEX;

	f.bytes[14 + 28] = 4;
	memcpy(f.bytes + 14 + 32, &index, sizeof(index));
	return f;
}

/* --- runs --- */

static void run(const char *name, unsigned peers, const struct bpf_program *program,
		const struct frame *f, void *ctx, size_t ctx_size, unsigned verdict)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->bytes, .data_size_in = f->len,
		    .ctx_in = ctx, .ctx_size_in = (uint32_t)ctx_size, .repeat = REPEAT);
	uint32_t best = UINT32_MAX;

	for (unsigned i = 0; i < ROUNDS; i++) {
		must(bpf_prog_test_run_opts(bpf_program__fd(program), &opts), name);
		if (opts.retval != verdict)
			must(-EPROTO, name);
		if (opts.duration < best)
			best = opts.duration;
	}
	printf("%s_%u %u\n", name, peers, best);
}

static void run_all(unsigned peers, uint32_t ifindex)
{
	struct frame message = message_frame();
	struct frame out = udp_frame("\x0a\xff\0\1", "\x0a\0\0\0", 1420);
	struct frame in = udp_frame("\x0a\0\0\0", "\x0a\xff\0\1", 1420);
	struct xdp_md ctx = {.data_end = (uint32_t)message.len,
			     .ingress_ifindex = ifindex};

	run("xdp_data", peers, nic->progs.wg_nic, &message, &ctx, sizeof(ctx),
	    XDP_REDIRECT);
	run("tc_egress", peers, wgif->progs.wg_egress, &out, NULL, 0, TC_ACT_OK);
	run("tc_ingress", peers, wgif->progs.wg_ingress, &in, NULL, 0, TC_ACT_OK);
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
