/* SPDX-License-Identifier: MIT */
/*
 * The TC programs and the TAP's filter: first with crafted frames (verdict, tag, drop
 * reason and the peer's counters), then on a real TAP for what test runs do not have:
 * packet types, clones, segments, headers that are not linear, and the mark by which the
 * filter recognizes frames that egress has tagged.
 */
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "harness.h"
#include "wgif.skel.h"

/* A slot whose bytes all differ, and one of the greatest. */
#define ALICE 0x010203U
#define BOB   0xfffffeU

enum {
	ETH_PROTO = 12,
	IP = 14,
	IP4_SOURCE = IP + 12,
	IP4_DESTINATION = IP + 16,
	IP6_SOURCE = IP + 8,
	IP6_DESTINATION = IP + 24,
};

static const char tag_alice[] = "\x02\x57\x47\x01\x02\x03";
static const char tag_bob[] = "\x02\x57\x47\xff\xff\xfe";
static const char tag_nobody[] = "\x02\x57\x47\xff\xff\xff";
/* First byte of the source MAC that egress writes for frames of this host and for
 * forwarded ones; for IPv4 the destination address and 0 follow. */
static const char from_here = '\x02';
static const char from_elsewhere = '\x06';

static struct wgif_bpf *wgif;

static void allow4(const char *address, uint32_t bits, uint32_t peer)
{
	struct lpm4_key key = {.prefixlen = bits};
	struct allowed_ip value = {.peer = peer};

	put_bytes(key.addr, address, 4);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(wgif->maps.allowed_ips4), &key,
					     &value, 0),
			 0);
}

static void allow6(const char *address, uint32_t bits, uint32_t peer)
{
	struct lpm6_key key = {.prefixlen = bits};
	struct allowed_ip value = {.peer = peer};

	put_bytes(key.addr, address, 16);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(wgif->maps.allowed_ips6), &key,
					     &value, 0),
			 0);
}

static void disallow4(const char *address, uint32_t bits)
{
	struct lpm4_key key = {.prefixlen = bits};

	put_bytes(key.addr, address, 4);
	bpf_map_delete_elem(bpf_map__fd(wgif->maps.allowed_ips4), &key);
}

static void disallow6(const char *address, uint32_t bits)
{
	struct lpm6_key key = {.prefixlen = bits};

	put_bytes(key.addr, address, 16);
	bpf_map_delete_elem(bpf_map__fd(wgif->maps.allowed_ips6), &key);
}

#define NET6(n)	 "\xfd\0\0\0\0\0\0" n "\0\0\0\0\0\0\0\0"
#define HOST6(n) "\xfd\0\0\0\0\0\0" n "\0\0\0\0\0\0\0\x05"
#define ANY6	 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define ALICE4	 "\x0a\0\1\5"
#define BOB4	 "\x0a\0\2\5"
#define NOBODY4	 "\x0a\0\3\5"
#define WG0_4	 "\x0a\0\0\1"

/*
 * Alice has 10.0.1.0/24, fd00:0:0:1::/64; Bob 10.0.2.0/24, fd00:0:0:2::/64 and, in
 * the midst of Alice's, 10.0.1.77/32 and fd00:0:0:1::77/128.
 */
static int setup(void **state)
{
	int stats = bpf_map__fd(wgif->maps.peer_stats);

	allow4("\x0a\0\1\0", 24, ALICE);
	allow4("\x0a\0\2\0", 24, BOB);
	allow4("\x0a\0\1\x4d", 32, BOB);
	allow6(NET6("\1"), 64, ALICE);
	allow6(NET6("\2"), 64, BOB);
	allow6("\xfd\0\0\0\0\0\0\1\0\0\0\0\0\0\0\x77", 128, BOB);
	disallow4("\0\0\0\0", 0);
	disallow6(ANY6, 0);
	make_peer_stats(stats, ALICE);
	make_peer_stats(stats, BOB);
	return 0;
}

static int group_setup(void **state)
{
	libbpf_set_print(load_log);
	enter_new_namespace();
	wgif = wgif_bpf__open_and_load();
	assert_non_null(wgif);
	return 0;
}

static int group_teardown(void **state)
{
	wgif_bpf__destroy(wgif);
	return 0;
}

/* UDP of `inner` bytes, IP header included; the source MAC is Alice's tag. */
static struct frame packet4(const char *source, const char *destination, size_t inner)
{
	struct frame f = {.len = IP + inner};

	put_bytes(f.bytes, "\x02\0\0\1\2\3", 6);
	put_bytes(f.bytes + 6, tag_alice, 6);
	put16(f.bytes + ETH_PROTO, 0x0800);
	f.bytes[IP] = 0x45;
	put16(f.bytes + IP + 2, inner);
	f.bytes[IP + 8] = 64;
	f.bytes[IP + 9] = 17;
	put_bytes(f.bytes + IP4_SOURCE, source, 4);
	put_bytes(f.bytes + IP4_DESTINATION, destination, 4);
	put_ipv4_checksum(f.bytes + IP);
	put16(f.bytes + IP + 20, 4000);
	put16(f.bytes + IP + 22, 5000);
	put16(f.bytes + IP + 24, inner - 20);
	return f;
}

static struct frame packet6(const char *source, const char *destination, size_t inner)
{
	struct frame f = {.len = IP + inner};

	put_bytes(f.bytes, "\x02\0\0\1\2\3", 6);
	put_bytes(f.bytes + 6, tag_alice, 6);
	put16(f.bytes + ETH_PROTO, 0x86dd);
	f.bytes[IP] = 0x60;
	put16(f.bytes + IP + 4, inner - 40);
	f.bytes[IP + 6] = 17;
	f.bytes[IP + 7] = 64;
	put_bytes(f.bytes + IP6_SOURCE, source, 16);
	put_bytes(f.bytes + IP6_DESTINATION, destination, 16);
	return f;
}

static struct counters counters(uint32_t peer)
{
	return read_counters(bpf_map__fd(wgif->maps.drops),
			     bpf_map__fd(wgif->maps.peer_stats), peer);
}

/* ifindex of the device that received the frame; 0 if it was made on this host. */
static uint32_t came_by;

/* Returns the verdict; stores the frame as the program left it. */
static int run(const struct bpf_program *program, struct frame *f, uint32_t gso_segs,
	       uint32_t gso_size)
{
	struct __sk_buff ctx = {
		.gso_segs = gso_segs, .gso_size = gso_size, .ingress_ifindex = came_by};
	struct frame out = {.len = 0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->bytes, .data_size_in = f->len,
		    .data_out = out.bytes, .data_size_out = sizeof(out.bytes),
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = 1);
	int error = bpf_prog_test_run_opts(bpf_program__fd(program), &opts);

	if (error)
		fail_msg("test run of %zu bytes: %s", f->len, strerror(-error));
	out.len = opts.data_size_out;
	*f = out;
	return (int)opts.retval;
}

static void assert_source(const struct frame *f, char first)
{
	assert_int_equal(f->bytes[6], (uint8_t)first);
	assert_int_equal(f->bytes[11], 0);
	if (f->bytes[ETH_PROTO] == 0x08)
		assert_memory_equal(f->bytes + 7, f->bytes + IP4_DESTINATION, 4);
}

/* Must be dropped for that reason, and count for neither peer. */
static void expect_shot(const struct bpf_program *program, struct frame f, int reason)
{
	struct counters before = counters(ALICE), before_bob = counters(BOB), after;

	assert_int_equal(run(program, &f, 0, 0), TC_ACT_SHOT);
	after = counters(ALICE);
	assert_drops(&before, &after, reason);
	assert_memory_equal(&before.peer, &after.peer, sizeof(after.peer));
	after = counters(BOB);
	assert_memory_equal(&before_bob.peer, &after.peer, sizeof(after.peer));
}

/* Must be tagged for that peer and counted, with no other byte changed. */
static void expect_sent_gso(struct frame f, uint32_t peer, const char *tag, uint32_t segs,
			    uint32_t size, uint64_t packets)
{
	struct counters before = counters(peer), after;
	struct frame sent = f;

	assert_int_equal(run(wgif->progs.wg_egress, &sent, segs, size), TC_ACT_UNSPEC);
	assert_int_equal(sent.len, f.len);
	assert_memory_equal(sent.bytes, tag, 6);
	assert_source(&sent, from_here);
	assert_memory_equal(sent.bytes + 12, f.bytes + 12, f.len - 12);
	after = counters(peer);
	assert_drops(&before, &after, NO_DROP);
	assert_rise(before, after, to_peer_packets, packets);
	assert_rise(before, after, to_peer_bytes, f.len - 14);
	assert_rise(before, after, from_peer_packets, 0);
	assert_rise(before, after, from_peer_bytes, 0);
	assert_rise(before, after, nic_packets, 0);
}

/* Must be tagged for no peer, so that the worker answers, with no other byte changed.
 * Only the drop reason counts it. */
static void expect_refused(struct frame f)
{
	struct counters before = counters(ALICE), before_bob = counters(BOB), after;
	struct frame sent = f;

	assert_int_equal(run(wgif->progs.wg_egress, &sent, 3, 100), TC_ACT_UNSPEC);
	assert_int_equal(sent.len, f.len);
	assert_memory_equal(sent.bytes, tag_nobody, 6);
	assert_source(&sent, from_here);
	assert_memory_equal(sent.bytes + 12, f.bytes + 12, f.len - 12);
	after = counters(ALICE);
	assert_drops(&before, &after, DROP_egress_no_peer);
	assert_memory_equal(&before.peer, &after.peer, sizeof(after.peer));
	after = counters(BOB);
	assert_memory_equal(&before_bob.peer, &after.peer, sizeof(after.peer));
}

static void expect_sent(struct frame f, uint32_t peer, const char *tag)
{
	expect_sent_gso(f, peer, tag, 0, 0, 1);
}

static struct frame tagged(struct frame f, const char *tag)
{
	put_bytes(f.bytes + 6, tag, 6);
	return f;
}

/* Must pass unchanged and count for that peer. */
static void expect_received(struct frame f, uint32_t peer)
{
	struct counters before = counters(peer), after;
	struct frame received = f;

	assert_int_equal(run(wgif->progs.wg_ingress, &received, 0, 0), TC_ACT_UNSPEC);
	assert_int_equal(received.len, f.len);
	assert_memory_equal(received.bytes, f.bytes, f.len);
	after = counters(peer);
	assert_drops(&before, &after, NO_DROP);
	assert_rise(before, after, from_peer_packets, 1);
	assert_rise(before, after, from_peer_bytes, f.len - 14);
	assert_rise(before, after, from_peer_bad_source, 0);
	assert_rise(before, after, from_peer_refused_bytes, 0);
	assert_rise(before, after, to_peer_packets, 0);
	assert_rise(before, after, to_peer_bytes, 0);
}

/* Must be dropped and counted for that peer as a bad source only. */
static void expect_bad_source(struct frame f, uint32_t peer)
{
	struct counters before = counters(peer), after;

	assert_int_equal(run(wgif->progs.wg_ingress, &f, 0, 0), TC_ACT_SHOT);
	after = counters(peer);
	assert_drops(&before, &after, DROP_ingress_bad_source);
	assert_rise(before, after, from_peer_bad_source, 1);
	assert_rise(before, after, from_peer_refused_bytes, 0x10203);
	assert_rise(before, after, from_peer_packets, 0);
	assert_rise(before, after, from_peer_bytes, 0);
}

static void maps_have_btf(void **state)
{
	assert_maps_have_btf(wgif->obj);
}

static void egress_tags_by_destination(void **state)
{
	expect_sent(packet4(BOB4, ALICE4, 28), ALICE, tag_alice);
	expect_sent(packet4(ALICE4, BOB4, 1420), BOB, tag_bob);
	expect_sent(packet6(HOST6("\2"), HOST6("\1"), 48), ALICE, tag_alice);
	expect_sent(packet6(HOST6("\1"), HOST6("\2"), 1420), BOB, tag_bob);
}

static void egress_longer_prefix_wins(void **state)
{
	allow4("\0\0\0\0", 0, ALICE);
	allow6(ANY6, 0, ALICE);
	expect_sent(packet4(WG0_4, "\x0a\0\1\x4c", 28), ALICE, tag_alice);
	expect_sent(packet4(WG0_4, "\x0a\0\1\x4d", 28), BOB, tag_bob);
	expect_sent(packet4(WG0_4, "\x0a\0\1\x4e", 28), ALICE, tag_alice);
	expect_sent(packet4(WG0_4, "\x0a\0\2\xff", 28), BOB, tag_bob);
	expect_sent(packet6(HOST6("\0"), "\xfd\0\0\0\0\0\0\1\0\0\0\0\0\0\0\x77", 40), BOB,
		    tag_bob);
	expect_sent(packet6(HOST6("\0"), "\xfd\0\0\0\0\0\0\1\0\0\0\0\0\0\0\x76", 40),
		    ALICE, tag_alice);
}

static void egress_default_route(void **state)
{
	allow4("\0\0\0\0", 0, BOB);
	expect_sent(packet4(WG0_4, "\0\0\0\0", 28), BOB, tag_bob);
	expect_sent(packet4(WG0_4, "\xff\xff\xff\xff", 28), BOB, tag_bob);
	expect_refused(packet6(HOST6("\1"), HOST6("\3"), 48));
	allow6(ANY6, 0, ALICE);
	expect_sent(packet6(HOST6("\1"), HOST6("\3"), 48), ALICE, tag_alice);
	expect_sent(packet6(HOST6("\1"), ANY6, 48), ALICE, tag_alice);
}

static void egress_without_a_peer(void **state)
{
	expect_refused(packet4(ALICE4, NOBODY4, 1028));
	expect_refused(packet4(ALICE4, "\xe0\0\0\1", 28));
	expect_refused(packet6(HOST6("\1"), HOST6("\3"), 1048));
	expect_refused(packet6(HOST6("\1"), "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 48));
}

static void egress_overwrites_a_forged_tag(void **state)
{
	struct frame f = packet4(WG0_4, ALICE4, 28);

	put_bytes(f.bytes, tag_bob, 6);
	expect_sent(f, ALICE, tag_alice);
	f = packet6(HOST6("\1"), HOST6("\3"), 48);
	put_bytes(f.bytes, tag_bob, 6);
	expect_refused(f);
}

static void egress_counts_segments(void **state)
{
	expect_sent_gso(packet4(WG0_4, ALICE4, 1420), ALICE, tag_alice, 5, 280, 5);
	expect_sent_gso(packet6(HOST6("\1"), HOST6("\2"), 1420), BOB, tag_bob, 40, 1360,
			40);
	expect_sent_gso(packet4(WG0_4, ALICE4, 1420), ALICE, tag_alice, 1, 1380, 1);
}

static void egress_tells_what_was_forwarded(void **state)
{
	struct frame f = packet4(WG0_4, ALICE4, 28),
		     nobodys = packet4(WG0_4, NOBODY4, 28);

	came_by = 1;
	assert_int_equal(run(wgif->progs.wg_egress, &f, 0, 0), TC_ACT_UNSPEC);
	assert_int_equal(run(wgif->progs.wg_egress, &nobodys, 0, 0), TC_ACT_UNSPEC);
	came_by = 0;
	assert_memory_equal(f.bytes, tag_alice, 6);
	assert_source(&f, from_elsewhere);
	assert_source(&nobodys, from_elsewhere);
}

static void egress_of_a_peer_without_counters(void **state)
{
	struct frame f = packet4(WG0_4, ALICE4, 28);
	uint32_t alice = ALICE;

	bpf_map_delete_elem(bpf_map__fd(wgif->maps.peer_stats), &alice);
	assert_int_equal(run(wgif->progs.wg_egress, &f, 0, 0), TC_ACT_UNSPEC);
	assert_memory_equal(f.bytes, tag_alice, 6);
	assert_rise((struct counters){0}, counters(ALICE), to_peer_packets, 0);
}

/* Frames that neither program takes for IP. */
static void expect_not_ip(const struct bpf_program *program, int reason)
{
	static const unsigned ethertypes[] = {0x0806, 0x8100, 0x0001, 0x8864};
	static const uint8_t versions4[] = {0x65, 0x05, 0x55, 0x44, 0x40};
	static const uint8_t versions6[] = {0x45, 0x50, 0x00, 0x70};
	struct frame f;

	for (size_t i = 0; i < 4; i++) {
		f = packet4(ALICE4, ALICE4, 28);
		put16(f.bytes + ETH_PROTO, ethertypes[i]);
		expect_shot(program, f, reason);
	}
	for (size_t i = 0; i < 5; i++) {
		f = packet4(ALICE4, ALICE4, 28);
		f.bytes[IP] = versions4[i];
		expect_shot(program, f, reason);
	}
	for (size_t i = 0; i < 4; i++) {
		f = packet6(HOST6("\1"), HOST6("\1"), 48);
		f.bytes[IP] = versions6[i];
		expect_shot(program, f, reason);
	}
}

static void egress_not_ip(void **state)
{
	expect_not_ip(wgif->progs.wg_egress, DROP_egress_not_ip);
}

static void ingress_not_ip(void **state)
{
	expect_not_ip(wgif->progs.wg_ingress, DROP_ingress_not_ip);
}

static void ingress_lets_in_the_owner(void **state)
{
	expect_received(packet4(ALICE4, WG0_4, 28), ALICE);
	expect_received(packet4(ALICE4, BOB4, 1420), ALICE);
	expect_received(tagged(packet4(BOB4, WG0_4, 28), tag_bob), BOB);
	expect_received(packet6(HOST6("\1"), HOST6("\0"), 40), ALICE);
	expect_received(tagged(packet6(HOST6("\2"), HOST6("\0"), 1420), tag_bob), BOB);
}

static void ingress_by_the_longest_prefix(void **state)
{
	expect_bad_source(packet4("\x0a\0\1\x4d", WG0_4, 28), ALICE);
	expect_received(tagged(packet4("\x0a\0\1\x4d", WG0_4, 28), tag_bob), BOB);
	expect_bad_source(tagged(packet4("\x0a\0\1\x4e", WG0_4, 28), tag_bob), BOB);
	allow4("\0\0\0\0", 0, BOB);
	expect_received(tagged(packet4("\x08\x08\x08\x08", WG0_4, 28), tag_bob), BOB);
	expect_bad_source(tagged(packet4(ALICE4, WG0_4, 28), tag_bob), BOB);
}

static void ingress_of_a_wrong_peer(void **state)
{
	expect_bad_source(packet4(BOB4, WG0_4, 28), ALICE);
	expect_bad_source(tagged(packet4(ALICE4, WG0_4, 28), tag_bob), BOB);
	expect_bad_source(packet6(HOST6("\2"), HOST6("\0"), 48), ALICE);
	expect_bad_source(tagged(packet6(HOST6("\1"), HOST6("\0"), 48), tag_bob), BOB);
}

static void ingress_of_a_source_that_is_nobodys(void **state)
{
	expect_bad_source(packet4(NOBODY4, ALICE4, 28), ALICE);
	expect_bad_source(packet6(HOST6("\3"), HOST6("\1"), 48), ALICE);
	/* The slot that means "no peer" does not own it either. */
	expect_shot(wgif->progs.wg_ingress,
		    tagged(packet4(NOBODY4, ALICE4, 28), "\x02\x57\x47\xff\xff\xff"),
		    DROP_ingress_bad_source);
}

/* Every bit of the slot matters; a slot without counters is refused, too. */
static void ingress_of_another_slot(void **state)
{
	for (int bit = 0; bit < 24; bit++) {
		struct frame f = packet4(ALICE4, WG0_4, 28);

		f.bytes[9 + bit / 8] ^= 1 << bit % 8;
		expect_shot(wgif->progs.wg_ingress, f, DROP_ingress_bad_source);
	}
}

static void ingress_without_a_tag(void **state)
{
	for (int bit = 0; bit < 24; bit++) {
		struct frame f = packet4(ALICE4, WG0_4, 28);

		f.bytes[6 + bit / 8] ^= 1 << bit % 8;
		expect_shot(wgif->progs.wg_ingress, f, DROP_ingress_no_tag);
	}
	/* A tag in the destination is not one. */
	struct frame f = tagged(packet4(ALICE4, WG0_4, 28), "\x02\0\0\0\0\x01");

	put_bytes(f.bytes, tag_alice, 6);
	expect_shot(wgif->progs.wg_ingress, f, DROP_ingress_no_tag);
}

/* The reason is the missing tag, even if other things are wrong. */
static void ingress_without_a_tag_nor_ip(void **state)
{
	struct frame f = tagged(packet4(ALICE4, WG0_4, 28), "\x02\0\0\0\0\x01");

	put16(f.bytes + ETH_PROTO, 0x0806);
	expect_shot(wgif->progs.wg_ingress, f, DROP_ingress_no_tag);
}

static void ingress_of_a_peer_without_counters(void **state)
{
	struct frame f = packet4(ALICE4, WG0_4, 28), bad = packet4(BOB4, WG0_4, 28);
	uint32_t alice = ALICE;

	bpf_map_delete_elem(bpf_map__fd(wgif->maps.peer_stats), &alice);
	assert_int_equal(run(wgif->progs.wg_ingress, &f, 0, 0), TC_ACT_UNSPEC);
	expect_shot(wgif->progs.wg_ingress, bad, DROP_ingress_bad_source);
}

/*
 * A TAP with the programs on it: 10.0.0.1/16 and 02:00:00:00:00:01, so that frames
 * to 02:00:00:00:00:02 are PACKET_OTHERHOST. IPv6 is off, to keep it silent.
 */
static int tap = -1;

struct vnet_frame {
	struct virtio_net_hdr vnet;
	uint8_t bytes[9000];
};

static void attach(int ifindex, enum bpf_tc_attach_point point,
		   const struct bpf_program *program)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .priority = 1,
		    .prog_fd = bpf_program__fd(program));

	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
}

static int tap_setup(void **state)
{
	struct ifreq request = {.ifr_name = "wg0",
				.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	int filter = bpf_program__fd(wgif->progs.wg_filter);

	setup(state);
	tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	assert_true(tap >= 0);
	assert_int_equal(ioctl(tap, TUNSETIFF, &request), 0);
	assert_int_equal(ioctl(tap, TUNSETFILTEREBPF, &filter), 0);
	shell("sysctl -q -w net.ipv6.conf.wg0.disable_ipv6=1");
	shell("ip link set wg0 address 02:00:00:00:00:01 mtu 9000 arp off up");
	shell("ip address add 10.0.0.1/16 dev wg0");
	hook.ifindex = if_nametoindex("wg0");
	assert_int_equal(bpf_tc_hook_create(&hook), 0);
	attach(hook.ifindex, BPF_TC_INGRESS, wgif->progs.wg_ingress);
	attach(hook.ifindex, BPF_TC_EGRESS, wgif->progs.wg_egress);
	return 0;
}

static int tap_teardown(void **state)
{
	close(tap);
	tap = -1;
	return 0;
}

/* Writes a frame to a MAC that is not wg0's; at most hdr_len bytes of it are linear. */
static void write_tap(const struct frame *f, size_t more, uint16_t hdr_len)
{
	struct vnet_frame v = {.vnet.hdr_len = hdr_len};
	size_t size = sizeof(v.vnet) + f->len + more;

	put_bytes(v.bytes, f->bytes, f->len);
	put_bytes(v.bytes, "\x02\0\0\0\0\x02", 6);
	assert_int_equal(write(tap, &v, size), size);
}

static int udp_socket(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Returns the length of a received datagram, or -1. Delivery on a TAP is synchronous. */
static ssize_t received(int fd)
{
	uint8_t payload[9000];

	return recv(fd, payload, sizeof(payload), MSG_DONTWAIT);
}

static void tap_delivers_what_ingress_lets_in(void **state)
{
	struct frame good = packet4(ALICE4, WG0_4, 128), bad = packet4(BOB4, WG0_4, 128);
	struct frame untagged = tagged(good, "\x02\0\0\0\0\x03");
	struct counters before = counters(ALICE), after;
	int fd = udp_socket(5000);

	write_tap(&good, 0, 0);
	assert_int_equal(received(fd), 100);
	write_tap(&bad, 0, 0);
	assert_int_equal(received(fd), -1);
	write_tap(&untagged, 0, 0);
	assert_int_equal(received(fd), -1);
	after = counters(ALICE);
	assert_rise(before, after, from_peer_packets, 1);
	assert_rise(before, after, from_peer_bad_source, 1);
	close(fd);
}

static void tap_without_programs_delivers_nothing(void **state)
{
	struct frame good = packet4(ALICE4, WG0_4, 128);
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	int fd = udp_socket(5000);

	hook.ifindex = if_nametoindex("wg0");
	assert_int_equal(bpf_tc_hook_destroy(&hook), 0);
	write_tap(&good, 0, 0);
	assert_int_equal(received(fd), -1);
	close(fd);
}

/* Longer than a page, with only the Ethernet header linear. */
static void tap_with_headers_that_are_not_linear(void **state)
{
	struct frame f = packet4(ALICE4, WG0_4, 1500);
	struct counters before = counters(ALICE), after;
	int fd = udp_socket(5000);

	put16(f.bytes + IP + 2, 6000);
	put16(f.bytes + IP + 24, 5980);
	put16(f.bytes + IP + 10, 0);
	put_ipv4_checksum(f.bytes + IP);
	write_tap(&f, 4500, 14);
	assert_int_equal(received(fd), 5972);
	after = counters(ALICE);
	assert_drops(&before, &after, NO_DROP);
	assert_rise(before, after, from_peer_bytes, 6000);
	close(fd);
}

/* The kernel takes the VLAN tag out of the frame before TC sees it. */
static void tap_ingress_of_a_vlan(void **state)
{
	struct frame f = packet4(ALICE4, WG0_4, 128);
	struct counters before = counters(ALICE), after;

	memmove(f.bytes + 16, f.bytes + 12, f.len - 12);
	put16(f.bytes + 12, 0x8100);
	put16(f.bytes + 14, 5);
	f.len += 4;
	write_tap(&f, 0, 0);
	after = counters(ALICE);
	assert_drops(&before, &after, DROP_ingress_not_ip);
	assert_rise(before, after, from_peer_packets, 0);
}

/* Reads a frame that the stack sent; returns its length without the vnet header. */
static size_t read_tap(struct vnet_frame *v)
{
	struct pollfd ready = {.fd = tap, .events = POLLIN};
	ssize_t n;

	assert_int_equal(poll(&ready, 1, 2000), 1);
	n = read(tap, v, sizeof(*v));
	assert_true(n > (ssize_t)sizeof(v->vnet));
	return n - sizeof(v->vnet);
}

static struct sockaddr_in at(const char *address, uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

	memcpy(&a.sin_addr, address, 4);
	return a;
}

static void tap_egress_of_udp(void **state)
{
	struct sockaddr_in bob = at(BOB4, 9), nobody = at(NOBODY4, 9);
	struct counters before = counters(BOB), after;
	int fd = udp_socket(4000), on = 1;
	struct vnet_frame v;

	/* Otherwise UDP does not report the device's error. */
	assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)), 0);
	assert_int_equal(sendto(fd, "12345", 5, 0, (void *)&bob, sizeof(bob)), 5);
	assert_int_equal(read_tap(&v), 14 + 28 + 5);
	assert_memory_equal(v.bytes, tag_bob, 6);
	assert_memory_equal(v.bytes + IP4_DESTINATION, BOB4, 4);
	assert_int_equal(sendto(fd, "12345", 5, 0, (void *)&nobody, sizeof(nobody)), 5);
	assert_int_equal(read_tap(&v), 14 + 28 + 5);
	assert_memory_equal(v.bytes, tag_nobody, 6);
	assert_memory_equal(v.bytes + IP4_DESTINATION, NOBODY4, 4);
	after = counters(BOB);
	assert_drops(&before, &after, DROP_egress_no_peer);
	assert_rise(before, after, to_peer_packets, 1);
	assert_rise(before, after, to_peer_bytes, 33);
	close(fd);
}

/* TCP keeps its packets and gives the device clones. */
static void tap_egress_of_a_clone(void **state)
{
	struct sockaddr_in alice = at(ALICE4, 80);
	struct vnet_frame v;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(connect(fd, (void *)&alice, sizeof(alice)), -1);
	assert_int_equal(errno, EINPROGRESS);
	read_tap(&v);
	assert_memory_equal(v.bytes, tag_alice, 6);
	assert_int_equal(v.bytes[IP + 9], 6);
	close(fd);
}

/* Sends the frame on wg0 by a packet socket, past TC if `bypass`; returns send()'s
 * result. */
static ssize_t send_raw_by(const struct frame *f, int bypass)
{
	struct sockaddr_ll link = {.sll_family = AF_PACKET,
				   .sll_ifindex = (int)if_nametoindex("wg0")};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	ssize_t sent;

	assert_true(fd >= 0);
	assert_int_equal(
		setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof(bypass)),
		0);
	sent = sendto(fd, f->bytes, f->len, 0, (void *)&link, sizeof(link));
	close(fd);
	return sent;
}

static ssize_t send_raw(const struct frame *f)
{
	return send_raw_by(f, 0);
}

static void assert_tap_empty(void)
{
	struct vnet_frame v;

	assert_int_equal(read(tap, &v, sizeof(v)), -1);
	assert_int_equal(errno, EAGAIN);
}

static void tap_refuses_what_bypasses_egress(void **state)
{
	struct frame f = packet4(WG0_4, ALICE4, 60);
	struct counters before = counters(ALICE), after;

	put_bytes(f.bytes, tag_bob, 6);
	send_raw_by(&f, 1); /* fails on some kernels (ENOBUFS) */
	assert_tap_empty();
	after = counters(ALICE);
	assert_drops(&before, &after, DROP_egress_bypass);
	assert_rise(before, after, to_peer_packets, 0);
}

/* The filter looks up the peer of the destination. */
static void tap_takes_only_right_tags(void **state)
{
	static const struct {
		const char *tag, *to4, *to6;
		bool right;
	} cases[] = {
		{tag_alice, ALICE4, HOST6("\1"), true},
		{tag_bob, BOB4, HOST6("\2"), true},
		{tag_bob, ALICE4, HOST6("\1"), false},
		{tag_alice, NOBODY4, HOST6("\3"), false},
		{tag_nobody, NOBODY4, HOST6("\3"), true},
		{"\x02\x57\x46\1\2\3", ALICE4, HOST6("\1"), false},
	};
	struct vnet_frame v;

	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame f = i % 2 ? packet6(HOST6("\0"), cases[i / 2].to6, 60)
				       : packet4(WG0_4, cases[i / 2].to4, 60);

		put_bytes(f.bytes, cases[i / 2].tag, 6);
		send_raw_by(&f, 1);
		if (cases[i / 2].right)
			assert_int_equal(read_tap(&v), f.len);
		assert_tap_empty();
	}
}

/* Attaches a program after wgxdp's that returns `result` and, if `to`, sets that MAC. */
static void attach_after(const char *to, int result)
{
	uint32_t word = 0;
	struct bpf_insn insns[9];
	size_t n = 0;
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex("wg0"),
		    .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .priority = 60000);

	if (to) {
		memcpy(&word, to, 4);
		insns[n++] = (struct bpf_insn){BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0,
					       -8, (int32_t)word};
		insns[n++] = (struct bpf_insn){BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_2, 0,
					       0, IP4_DESTINATION};
		insns[n++] = (struct bpf_insn){BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3,
					       BPF_REG_10, 0, 0};
		insns[n++] = (struct bpf_insn){BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_3, 0,
					       0, -8};
		insns[n++] = (struct bpf_insn){BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_4, 0,
					       0, 4};
		insns[n++] = (struct bpf_insn){BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_5, 0,
					       0, 0};
		insns[n++] = (struct bpf_insn){BPF_JMP | BPF_CALL, 0, 0, 0,
					       BPF_FUNC_skb_store_bytes};
	}
	insns[n++] =
		(struct bpf_insn){BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, result};
	insns[n++] = (struct bpf_insn){BPF_JMP | BPF_EXIT, 0, 0, 0, 0};
	opts.prog_fd =
		bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "after", "GPL", insns, n, NULL);
	assert_true(opts.prog_fd >= 0);
	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
	close(opts.prog_fd);
}

/* TC_ACT_OK of a user's filter overwrites the mark; then the tag must be right. */
static void tap_egress_with_a_filter_that_accepts(void **state)
{
	struct sockaddr_in bob = at(BOB4, 9), nobody = at(NOBODY4, 9);
	struct counters before = counters(BOB), after;
	int fd = udp_socket(4000);
	struct vnet_frame v;

	attach_after(NULL, TC_ACT_OK);
	assert_int_equal(sendto(fd, "12345", 5, 0, (void *)&bob, sizeof(bob)), 5);
	assert_int_equal(read_tap(&v), 14 + 28 + 5);
	assert_memory_equal(v.bytes, tag_bob, 6);
	assert_int_equal(sendto(fd, "12345", 5, 0, (void *)&nobody, sizeof(nobody)), 5);
	assert_int_equal(read_tap(&v), 14 + 28 + 5);
	assert_memory_equal(v.bytes, tag_nobody, 6);
	after = counters(BOB);
	assert_drops(&before, &after, DROP_egress_no_peer);
	assert_rise(before, after, to_peer_packets, 1);
	close(fd);
}

/* The mark does not cover a destination that is written afterwards. */
static void tap_egress_with_a_filter_that_changes_the_destination(void **state)
{
	struct sockaddr_in bob = at(BOB4, 9);
	struct counters before = counters(BOB), after;
	int fd = udp_socket(4000);

	attach_after(ALICE4, TC_ACT_UNSPEC);
	sendto(fd, "12345", 5, 0, (void *)&bob, sizeof(bob));
	assert_tap_empty();
	after = counters(BOB);
	assert_drops(&before, &after, DROP_egress_bypass);
	close(fd);
}

static void tap_refuses_everything_without_egress(void **state)
{
	struct sockaddr_in bob = at(BOB4, 9);
	struct counters before = counters(BOB), after;
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	int fd = udp_socket(4000);

	hook.ifindex = (int)if_nametoindex("wg0");
	assert_int_equal(bpf_tc_hook_destroy(&hook), 0);
	assert_int_equal(sendto(fd, "12345", 5, 0, (void *)&bob, sizeof(bob)), 5);
	assert_tap_empty();
	after = counters(BOB);
	assert_drops(&before, &after, DROP_egress_bypass);
	close(fd);
}

/* This TAP takes no GSO packets, so the kernel segments them after TC egress. */
static void tap_egress_of_segments(void **state)
{
	struct sockaddr_in bob = at(BOB4, 9);
	struct counters before = counters(BOB), after;
	int fd = udp_socket(4000), segment = 100;
	struct vnet_frame v;
	char data[500] = "";

	assert_int_equal(
		setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0);
	assert_int_equal(sendto(fd, data, sizeof(data), 0, (void *)&bob, sizeof(bob)),
			 sizeof(data));
	for (int i = 0; i < 5; i++) {
		assert_int_equal(read_tap(&v), 14 + 28 + 100);
		assert_memory_equal(v.bytes, tag_bob, 6);
	}
	assert_tap_empty();
	after = counters(BOB);
	assert_drops(&before, &after, NO_DROP);
	assert_rise(before, after, to_peer_packets, 5);
	close(fd);
}

/* A queueing discipline keeps the packets for a while. */
static void tap_egress_through_a_queue(void **state)
{
	struct sockaddr_in bob = at(BOB4, 9);
	struct counters before = counters(BOB), after;
	int fd = udp_socket(4000);
	struct vnet_frame v;

	shell("tc qdisc add dev wg0 root pfifo");
	for (int i = 0; i < 5; i++) {
		assert_int_equal(sendto(fd, "12345", 5, 0, (void *)&bob, sizeof(bob)), 5);
		assert_int_equal(read_tap(&v), 14 + 28 + 5);
		assert_memory_equal(v.bytes, tag_bob, 6);
	}
	after = counters(BOB);
	assert_drops(&before, &after, NO_DROP);
	close(fd);
}

static void tap_egress_of_a_forged_tag(void **state)
{
	struct frame f = packet4(WG0_4, ALICE4, 60);
	struct vnet_frame v;

	put_bytes(f.bytes, tag_bob, 6);
	f.bytes[6] = from_elsewhere;
	f.bytes[11] = 40;
	assert_int_equal(send_raw(&f), f.len);
	assert_int_equal(read_tap(&v), f.len);
	assert_memory_equal(v.bytes, tag_alice, 6);
	assert_int_equal(v.bytes[6], from_here);
	assert_memory_equal(v.bytes + 7, ALICE4, 4);
	assert_int_equal(v.bytes[11], 0);
	assert_memory_equal(v.bytes + 12, f.bytes + 12, f.len - 12);
}

/* Frames with a truncated IP header, which newer kernels refuse in a test run. */
static void expect_egress_truncated(struct frame f, size_t whole)
{
	for (f.len = 14; f.len < whole; f.len++) {
		struct counters before = counters(ALICE), after;

		assert_int_equal(send_raw(&f), -1);
		after = counters(ALICE);
		assert_drops(&before, &after, DROP_egress_not_ip);
		assert_rise(before, after, to_peer_packets, 0);
	}
	assert_int_equal(send_raw(&f), whole);
}

static void tap_egress_truncated(void **state)
{
	expect_egress_truncated(packet4(WG0_4, ALICE4, 40), 34);
	expect_egress_truncated(packet6(HOST6("\0"), HOST6("\1"), 60), 54);
}

static void expect_ingress_truncated(struct frame f, size_t whole)
{
	struct counters before, after;

	for (f.len = 14; f.len < whole; f.len++) {
		before = counters(ALICE);
		write_tap(&f, 0, 0);
		after = counters(ALICE);
		assert_drops(&before, &after, DROP_ingress_not_ip);
		assert_rise(before, after, from_peer_packets, 0);
	}
	before = counters(ALICE);
	write_tap(&f, 0, 0);
	after = counters(ALICE);
	assert_drops(&before, &after, NO_DROP);
	assert_rise(before, after, from_peer_bytes, whole - 14);
}

static void tap_ingress_truncated(void **state)
{
	expect_ingress_truncated(packet4(ALICE4, WG0_4, 40), 34);
	expect_ingress_truncated(packet6(HOST6("\1"), HOST6("\0"), 60), 54);
}

int main(void)
{
#define T(name)	  cmocka_unit_test_setup(name, setup)
#define TAP(name) cmocka_unit_test_setup_teardown(name, tap_setup, tap_teardown)
	const struct CMUnitTest tests[] = {
		T(maps_have_btf),
		T(egress_tags_by_destination),
		T(egress_longer_prefix_wins),
		T(egress_default_route),
		T(egress_without_a_peer),
		T(egress_overwrites_a_forged_tag),
		T(egress_counts_segments),
		T(egress_tells_what_was_forwarded),
		T(egress_of_a_peer_without_counters),
		T(egress_not_ip),
		T(ingress_not_ip),
		T(ingress_lets_in_the_owner),
		T(ingress_by_the_longest_prefix),
		T(ingress_of_a_wrong_peer),
		T(ingress_of_a_source_that_is_nobodys),
		T(ingress_of_another_slot),
		T(ingress_without_a_tag),
		T(ingress_without_a_tag_nor_ip),
		T(ingress_of_a_peer_without_counters),
		TAP(tap_delivers_what_ingress_lets_in),
		TAP(tap_without_programs_delivers_nothing),
		TAP(tap_with_headers_that_are_not_linear),
		TAP(tap_ingress_of_a_vlan),
		TAP(tap_egress_of_udp),
		TAP(tap_egress_of_a_clone),
		TAP(tap_egress_of_a_forged_tag),
		TAP(tap_refuses_what_bypasses_egress),
		TAP(tap_takes_only_right_tags),
		TAP(tap_egress_with_a_filter_that_accepts),
		TAP(tap_egress_with_a_filter_that_changes_the_destination),
		TAP(tap_refuses_everything_without_egress),
		TAP(tap_egress_of_segments),
		TAP(tap_egress_through_a_queue),
		TAP(tap_egress_truncated),
		TAP(tap_ingress_truncated),
	};

	return cmocka_run_group_tests_name("wgif", tests, group_setup, group_teardown);
}
