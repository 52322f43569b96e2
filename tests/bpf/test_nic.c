/* SPDX-License-Identifier: MIT */
/*
 * The XDP program with crafted frames: verdict, drop reason and the peer's counters for
 * each. The verdict shows which socket a frame is for: it is XDP_REDIRECT only if that
 * socket is in the map.
 */
#include <arpa/inet.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <time.h>

#include "blake2s.h"
#include "harness.h"
#include "nic.skel.h"

#define PORT	  51820
#define THEIRS	  40000 /* the peer's port */
#define SECOND	  1000000000LL
#define PEER	  7
#define MAX_FRAME 1700
#define FIRST_KEY 128
#define QUEUES	  3 /* served; the device has four */

/* Offsets in a frame over Ethernet. */
enum {
	ETH_PROTO = 12,
	IP = 14,
	IP4_TOTAL = IP + 2,
	IP4_FRAGMENT = IP + 6,
	IP4_PROTOCOL = IP + 9,
	IP4_SOURCE = IP + 12,
	IP4_DESTINATION = IP + 16,
	UDP4 = IP + 20,
	MESSAGE4 = UDP4 + 8,
	IP6_PAYLOAD = IP + 4,
	IP6_NEXT = IP + 6,
	IP6_SOURCE = IP + 8,
	IP6_DESTINATION = IP + 24,
	UDP6 = IP + 40,
	MESSAGE6 = UDP6 + 8,
};

static const uint8_t ipv4_here[4] = {192, 0, 2, 1};
static const uint8_t ipv6_here[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t mac1_key[32] = {1, 2, 3, [31] = 4};
static const uint8_t receiver[4] = {0xd1, 0xc2, 0xb3, 0xa4};

static struct nic_bpf *nic;
static uint32_t nic_ifindex;
static int xsk;

static size_t udp_offset(int family)
{
	return family == 4 ? UDP4 : UDP6;
}

static void fix_checksum(struct frame *f)
{
	put16(f->bytes + IP + 10, 0);
	put_ipv4_checksum(f->bytes + IP);
}

/* For an initiation or a response, whose last 32 bytes are the macs. */
static void put_mac1(uint8_t *m, size_t length)
{
	if (length >= 32)
		blake2s(m + length - 32, 16, m, length - 32, mac1_key, sizeof(mac1_key));
}

/* Returns a frame to this host with a message of that type and length, and no error. */
static struct frame message(int family, uint8_t type, size_t length)
{
	struct frame f = {.len = udp_offset(family) + 8 + length};
	uint8_t *udp = f.bytes + udp_offset(family);
	const uint8_t head[8] = {type,	      0,	   0,		0,
				 receiver[0], receiver[1], receiver[2], receiver[3]};

	put_bytes(f.bytes, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02", 12);
	put16(f.bytes + ETH_PROTO, family == 4 ? 0x0800 : 0x86dd);
	if (family == 4) {
		f.bytes[IP] = 0x45;
		put16(f.bytes + IP4_TOTAL, 28 + length);
		f.bytes[IP + 8] = 64;
		f.bytes[IP4_PROTOCOL] = 17;
		put_bytes(f.bytes + IP + 12, "\xc6\x33\x64\x02", 4);
		put_bytes(f.bytes + IP4_DESTINATION, ipv4_here, 4);
		put_ipv4_checksum(f.bytes + IP);
	} else {
		f.bytes[IP] = 0x60;
		put16(f.bytes + IP6_PAYLOAD, 8 + length);
		f.bytes[IP6_NEXT] = 17;
		f.bytes[IP + 7] = 64;
		put_bytes(f.bytes + IP + 8, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02",
			  16);
		put_bytes(f.bytes + IP6_DESTINATION, ipv6_here, 16);
	}
	put16(udp, THEIRS);
	put16(udp + 2, PORT);
	put16(udp + 4, 8 + length);
	put16(udp + 6, 0x1234); /* the daemon checks it, not XDP */
	put_bytes(udp + 8, head, length < 8 ? length : 8);
	if (type == 1 || type == 2)
		put_mac1(udp + 8, length);
	return f;
}

static struct counters counters(void)
{
	return read_counters(bpf_map__fd(nic->maps.drops),
			     bpf_map__fd(nic->maps.peer_stats), PEER);
}

/* Returns the verdict on a frame that arrives on that queue of that device. */
static int run(const struct frame *f, uint32_t ifindex, uint32_t queue)
{
	struct xdp_md ctx = {
		.data_end = f->len,
		.ingress_ifindex = ifindex,
		.rx_queue_index = queue,
	};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->bytes, .data_size_in = f->len,
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = 1);
	int error = bpf_prog_test_run_opts(bpf_program__fd(nic->progs.wg_nic), &opts);

	if (error)
		fail_msg("test run of %zu bytes: %s", f->len, strerror(-error));
	return (int)opts.retval;
}

/* Checks the verdict and that only `reason` rises; redirected data messages count. */
static void expect_at(const struct frame *f, uint32_t ifindex, uint32_t queue,
		      int verdict, int reason)
{
	struct counters before = counters(), after;

	assert_int_equal(run(f, ifindex, queue), verdict);
	after = counters();
	assert_drops(&before, &after, reason);
	assert_memory_equal(&before.peer, &after.peer, sizeof(before.peer));
}

static void expect_as_it_is(struct frame f, int verdict, int reason)
{
	expect_at(&f, nic_ifindex, 0, verdict, reason);
}

/* Corrects the IPv4 header's checksum after the test's changes. */
static void expect(struct frame f, int verdict, int reason)
{
	if (get16(f.bytes + ETH_PROTO) == 0x0800)
		fix_checksum(&f);
	expect_at(&f, nic_ifindex, 0, verdict, reason);
}

/* A data message must be redirected and counted with that many bytes. */
static void expect_data(struct frame f, uint32_t queue, uint64_t bytes)
{
	struct counters before = counters(), after;

	if (get16(f.bytes + ETH_PROTO) == 0x0800)
		fix_checksum(&f);
	assert_int_equal(run(&f, nic_ifindex, queue), XDP_REDIRECT);
	after = counters();
	assert_drops(&before, &after, NO_DROP);
	assert_rise(before, after, nic_packets, 1);
	assert_rise(before, after, nic_bytes, bytes);
	assert_rise(before, after, to_peer_packets, 0);
	assert_rise(before, after, from_peer_packets, 0);
	assert_rise(before, after, from_peer_bad_source, 0);
}

static void put_socket(const struct bpf_map *map, uint32_t key)
{
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(map), &key, &xsk, BPF_ANY), 0);
}

static void remove_sockets(const struct bpf_map *map)
{
	for (uint32_t key = 0; key < WG_MAX_XSKS; key++)
		bpf_map_delete_elem(bpf_map__fd(map), &key);
}

static struct wg_config configuration(uint32_t port)
{
	struct wg_config config = {.listen_port = port, .has_mac1 = 1};
	uint32_t block[16];

	blake2s_init_h(config.mac1_state, 16, sizeof(mac1_key));
	blake2s_load(block, mac1_key, sizeof(mac1_key));
	blake2s_compress(config.mac1_state, block, 64, 0);
	return config;
}

static void set_config(struct wg_config config)
{
	uint32_t zero = 0;

	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(nic->maps.config), &zero, &config, 0), 0);
}

static void set_port(uint32_t port)
{
	set_config(configuration(port));
}

/* Returns the flow of message(). */
static struct flow_key flow_key(int family)
{
	struct frame f = message(family, 4, 32);
	struct flow_key key = {.ifindex = nic_ifindex};

	memcpy(&key.proto, f.bytes + ETH_PROTO, 2);
	memcpy(&key.port, f.bytes + udp_offset(family), 2);
	if (family == 4) {
		put_bytes(key.source, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
		put_bytes(key.source + 12, f.bytes + IP4_SOURCE, 4);
		put_bytes(key.destination, key.source, 12);
		put_bytes(key.destination + 12, ipv4_here, 4);
	} else {
		put_bytes(key.source, f.bytes + IP6_SOURCE, 16);
		put_bytes(key.destination, ipv6_here, 16);
	}
	return key;
}

/* Sets the flow of message() as admitted `ago` nanoseconds ago. */
static void admit(int family, int64_t ago)
{
	struct flow_key key = flow_key(family);
	struct flow value = {0};
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	value.admitted = (uint64_t)(ts.tv_sec * SECOND + ts.tv_nsec - ago);
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(nic->maps.flows), &key, &value, BPF_ANY),
		0);
}

static void add_session(uint32_t peer)
{
	struct session session = {.peer = peer};

	assert_int_equal(bpf_map_update_elem(bpf_map__fd(nic->maps.sessions), receiver,
					     &session, BPF_ANY),
			 0);
}

/* Not bound to a device, which test runs do not notice. Since Linux 7 a map refuses a
 * socket without an RX ring. */
static int open_socket(void)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), entries = 64;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_XDP, XDP_RX_RING, &entries, sizeof(entries)),
			 0);
	return fd;
}

static int group_setup(void **state)
{
	struct nic_entry entry = {
		.first_key = FIRST_KEY, .count = QUEUES, .max_frame = MAX_FRAME};
	uint32_t zero = 0;
	int filter;

	put_bytes(entry.mac, mac, 6);

	libbpf_set_print(load_log);
	enter_new_namespace();
	shell("ip link add nic0 numrxqueues 4 numtxqueues 4 type veth peer name nic1");
	nic_ifindex = if_nametoindex("nic0");
	assert_int_not_equal(nic_ifindex, 0);
	nic = nic_bpf__open_and_load();
	assert_non_null(nic);
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(nic->maps.nics), &nic_ifindex, &entry, 0),
		0);
	filter = bpf_program__fd(nic->progs.wg_judge_datagram);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(nic->maps.socket_filter), &zero,
					     &filter, BPF_ANY),
			 0);
	xsk = open_socket();
	return 0;
}

static int group_teardown(void **state)
{
	nic_bpf__destroy(nic);
	close(xsk);
	return 0;
}

static uint64_t boot_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static void set_defence(struct defence d)
{
	uint32_t zero = 0;

	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(nic->maps.defence), &zero, &d, 0), 0);
}

static void empty(const struct bpf_map *map)
{
	uint8_t key[64];
	int fd = bpf_map__fd(map);

	while (!bpf_map_get_next_key(fd, NULL, key))
		assert_int_equal(bpf_map_delete_elem(fd, key), 0);
}

/* Fills the maps: a socket for queue 0, a session, the port, and message()'s flows. */
static int setup(void **state)
{
	remove_sockets(nic->maps.xsk_data);
	remove_sockets(nic->maps.xsk_handshake);
	put_socket(nic->maps.xsk_data, FIRST_KEY);
	put_socket(nic->maps.xsk_handshake, FIRST_KEY);
	set_port(PORT);
	admit(4, 0);
	admit(6, 0);
	add_session(PEER);
	make_peer_stats(bpf_map__fd(nic->maps.peer_stats), PEER);
	set_defence((struct defence){0});
	empty(nic->maps.sources);
	empty(nic->maps.friends);
	empty(nic->maps.junk_flows);
	return 0;
}

static void maps_have_btf(void **state)
{
	assert_maps_have_btf(nic->obj);
}

static void data_is_redirected_and_counted(void **state)
{
	static const size_t lengths[] = {32, 33, 47, 48, 128, 1452};

	for (int family = 4; family <= 6; family += 2)
		for (size_t i = 0; i < 6; i++)
			expect_data(message(family, 4, lengths[i]), 0, lengths[i]);
}

static void handshake_is_redirected(void **state)
{
	for (int family = 4; family <= 6; family += 2) {
		expect(message(family, 1, 148), XDP_REDIRECT, NO_DROP);
		expect(message(family, 2, 92), XDP_REDIRECT, NO_DROP);
		/* It has no mac1, so it may be another program's. */
		expect(message(family, 3, 64), XDP_PASS, NO_DROP);
	}
}

static void data_goes_only_to_the_data_socket(void **state)
{
	remove_sockets(nic->maps.xsk_handshake);
	expect_data(message(4, 4, 32), 0, 32);
	expect_data(message(6, 4, 32), 0, 32);
	expect(message(4, 1, 148), XDP_PASS, NO_DROP);
	expect(message(6, 2, 92), XDP_PASS, NO_DROP);
	expect(message(4, 3, 64), XDP_PASS, NO_DROP);
}

static void handshake_goes_only_to_the_handshake_socket(void **state)
{
	remove_sockets(nic->maps.xsk_data);
	expect(message(4, 4, 32), XDP_PASS, NO_DROP);
	expect(message(6, 4, 1452), XDP_PASS, NO_DROP);
	expect(message(4, 1, 148), XDP_REDIRECT, NO_DROP);
	expect(message(6, 2, 92), XDP_REDIRECT, NO_DROP);
}

static void without_sockets_all_pass(void **state)
{
	remove_sockets(nic->maps.xsk_data);
	remove_sockets(nic->maps.xsk_handshake);
	expect(message(4, 4, 32), XDP_PASS, NO_DROP);
	expect(message(6, 1, 148), XDP_PASS, NO_DROP);
}

static void queue_chooses_the_socket(void **state)
{
	struct frame data = message(4, 4, 64), response = message(6, 2, 92);

	remove_sockets(nic->maps.xsk_data);
	remove_sockets(nic->maps.xsk_handshake);
	put_socket(nic->maps.xsk_data, FIRST_KEY + 2);
	put_socket(nic->maps.xsk_handshake, FIRST_KEY + 1);
	expect_at(&data, nic_ifindex, 0, XDP_PASS, NO_DROP);
	expect_at(&data, nic_ifindex, 1, XDP_PASS, NO_DROP);
	expect_data(data, 2, 64);
	expect_at(&response, nic_ifindex, 0, XDP_PASS, NO_DROP);
	expect_at(&response, nic_ifindex, 1, XDP_REDIRECT, NO_DROP);
	expect_at(&response, nic_ifindex, 2, XDP_PASS, NO_DROP);
}

/* The key after this NIC's last queue is the next NIC's first queue. */
static void queue_that_is_not_served_passes(void **state)
{
	struct frame data = message(4, 4, 64), response = message(4, 2, 92);

	put_socket(nic->maps.xsk_data, FIRST_KEY + QUEUES);
	put_socket(nic->maps.xsk_handshake, FIRST_KEY + QUEUES);
	expect_at(&data, nic_ifindex, QUEUES, XDP_PASS, NO_DROP);
	expect_at(&response, nic_ifindex, QUEUES, XDP_PASS, NO_DROP);
}

static void nic_that_is_not_served_passes(void **state)
{
	struct frame data = message(6, 4, 64), response = message(6, 2, 92);
	uint32_t lo = if_nametoindex("lo");

	put_socket(nic->maps.xsk_data, 0);
	put_socket(nic->maps.xsk_handshake, 0);
	expect_at(&data, lo, 0, XDP_PASS, NO_DROP);
	expect_at(&response, lo, 0, XDP_PASS, NO_DROP);
}

/* XDP passes truncated frames, which the kernel checks. */
static void truncated_anywhere(void **state)
{
	for (int family = 4; family <= 6; family += 2) {
		struct frame f = message(family, 4, 96);
		size_t whole = f.len, headers = family == 4 ? 42 : 62;

		for (f.len = 14; f.len < headers; f.len++)
			expect(f, XDP_PASS, NO_DROP);
		for (; f.len < whole; f.len++)
			expect(f, XDP_PASS, NO_DROP);
		expect_data(f, 0, 96);
	}
}

static void ethernet_padding_is_ignored(void **state)
{
	struct frame f = message(4, 4, 32);

	for (f.len += 1; f.len < 200; f.len++)
		expect_data(f, 0, 32);
	f = message(6, 2, 92);
	f.len += 46;
	expect(f, XDP_REDIRECT, NO_DROP);
	f = message(4, 4, 31);
	f.len += 100;
	expect(f, XDP_PASS, NO_DROP);
	/* The type word would end in the padding. */
	f = message(4, 9, 3);
	f.len += 15;
	expect(f, XDP_PASS, NO_DROP);
}

/* It would not fit a UMEM frame; the kernel would drop it silently. */
static void longer_than_a_umem_frame_passes(void **state)
{
	struct frame f = message(4, 4, MAX_FRAME - 42);

	assert_int_equal(f.len, MAX_FRAME);
	expect_data(f, 0, MAX_FRAME - 42);
	expect(message(4, 4, MAX_FRAME - 41), XDP_PASS, NO_DROP);
	expect(message(6, 4, MAX_FRAME - 61), XDP_PASS, NO_DROP);
}

static void message_of_a_wrong_length(void **state)
{
	static const size_t right[] = {[1] = 148, [2] = 92, [3] = 64};

	for (int family = 4; family <= 6; family += 2) {
		for (uint8_t type = 1; type <= 3; type++)
			for (size_t length = 0; length < 200; length++)
				if (length != right[type])
					expect(message(family, type, length), XDP_PASS,
					       NO_DROP);
		for (size_t length = 0; length < 32; length++)
			expect(message(family, 4, length), XDP_PASS, NO_DROP);
	}
}

static void ip_length_against_frame(void **state)
{
	static const unsigned totals[] = {0, 19, 20, 27, 28, 123, 125, 0xffff};
	static const unsigned payloads[] = {0, 7, 8, 103, 105, 0xffff};
	struct frame f;

	for (size_t i = 0; i < 8; i++) {
		f = message(4, 4, 96);
		put16(f.bytes + IP4_TOTAL, totals[i]);
		expect(f, XDP_PASS, NO_DROP);
	}
	for (size_t i = 0; i < 6; i++) {
		f = message(6, 4, 96);
		put16(f.bytes + IP6_PAYLOAD, payloads[i]);
		expect(f, XDP_PASS, NO_DROP);
	}
}

static void udp_length_against_ip_length(void **state)
{
	static const unsigned lengths[] = {0, 7, 8, 40, 103, 105, 0xffff};

	for (int family = 4; family <= 6; family += 2)
		for (size_t i = 0; i < 7; i++) {
			struct frame f = message(family, 4, 96);

			put16(f.bytes + udp_offset(family) + 4, lengths[i]);
			f.len += 100;
			expect(f, XDP_PASS, NO_DROP);
		}
}

/* The same wrong length in both headers. */
static void lengths_that_agree_but_not_with_the_frame(void **state)
{
	struct frame f = message(4, 4, 96);

	put16(f.bytes + IP4_TOTAL, 28 + 97);
	put16(f.bytes + UDP4 + 4, 8 + 97);
	expect(f, XDP_PASS, NO_DROP);
	f.len++;
	expect_data(f, 0, 97);
	put16(f.bytes + IP4_TOTAL, 20 + 7);
	put16(f.bytes + UDP4 + 4, 7);
	expect(f, XDP_PASS, NO_DROP);
}

static void type_that_is_unknown(void **state)
{
	static const uint8_t types[] = {0, 5, 6, 0x14, 0x80, 0x84, 0xff};

	for (int family = 4; family <= 6; family += 2)
		for (size_t i = 0; i < 7; i++) {
			expect(message(family, types[i], 32), XDP_PASS, NO_DROP);
			expect(message(family, types[i], 4), XDP_PASS, NO_DROP);
			expect(message(family, types[i], 3), XDP_PASS, NO_DROP);
		}
}

static void reserved_bits_set(void **state)
{
	for (int bit = 0; bit < 24; bit++) {
		struct frame f = message(4, 4, 32);

		f.bytes[MESSAGE4 + 1 + bit / 8] |= 1 << bit % 8;
		expect(f, XDP_PASS, NO_DROP);
		f = message(6, 1, 148);
		f.bytes[MESSAGE6 + 1 + bit / 8] |= 1 << bit % 8;
		expect(f, XDP_PASS, NO_DROP);
	}
}

static void fragments_pass(void **state)
{
	static const unsigned fields[] = {0x2000, 0x2001, 0x0001, 0x1000, 0x1fff, 0x6000};

	for (size_t i = 0; i < 6; i++) {
		struct frame f = message(4, 4, 32);

		put16(f.bytes + IP4_FRAGMENT, fields[i]);
		expect(f, XDP_PASS, NO_DROP);
	}
}

static void dont_fragment_is_no_fragment(void **state)
{
	struct frame f = message(4, 4, 32);

	put16(f.bytes + IP4_FRAGMENT, 0x4000);
	expect_data(f, 0, 32);
}

static void vlan_tags_pass(void **state)
{
	static const unsigned protocols[] = {0x8100, 0x88a8};

	for (size_t i = 0; i < 2; i++) {
		struct frame f = message(4, 4, 32);

		memmove(f.bytes + 16, f.bytes + 12, f.len - 12);
		put16(f.bytes + 12, protocols[i]);
		put16(f.bytes + 14, 5);
		f.len += 4;
		expect(f, XDP_PASS, NO_DROP);
	}
}

/* Complete and correct packets with options that look like a UDP header. */
static void ipv4_options_pass(void **state)
{
	for (size_t words = 6; words <= 15; words++) {
		size_t more = (words - 5) * 4;
		struct frame f = message(4, 4, 32);

		memmove(f.bytes + UDP4 + more, f.bytes + UDP4, 40);
		memset(f.bytes + UDP4, 1, more);
		put16(f.bytes + UDP4 + 2, PORT);
		f.bytes[IP] = 0x40 | words;
		f.len += more;
		put16(f.bytes + IP4_TOTAL, 60 + more);
		expect(f, XDP_PASS, NO_DROP);
	}
}

static void wrong_ip_header_passes(void **state)
{
	static const uint8_t first4[] = {0x44, 0x40, 0x55, 0x65, 0x05, 0xf5};
	static const uint8_t first6[] = {0x50, 0x70, 0x45, 0x00, 0xe0};
	struct frame f;

	for (size_t i = 0; i < 6; i++) {
		f = message(4, 4, 32);
		f.bytes[IP] = first4[i];
		expect(f, XDP_PASS, NO_DROP);
	}
	for (size_t i = 0; i < 5; i++) {
		f = message(6, 4, 32);
		f.bytes[IP] = first6[i];
		expect(f, XDP_PASS, NO_DROP);
	}
}

static void other_protocols_pass(void **state)
{
	static const unsigned ethertypes[] = {0x0806, 0x0801, 0x86dd, 0x8864, 0x0046};

	for (unsigned protocol = 0; protocol < 256; protocol++) {
		struct frame f4 = message(4, 4, 32), f6 = message(6, 4, 32);

		if (protocol == 17)
			continue;
		f4.bytes[IP4_PROTOCOL] = protocol;
		f6.bytes[IP6_NEXT] = protocol;
		expect(f4, XDP_PASS, NO_DROP);
		expect(f6, XDP_PASS, NO_DROP);
	}
	for (size_t i = 0; i < 5; i++) {
		struct frame f = message(4, 4, 32);

		put16(f.bytes + ETH_PROTO, ethertypes[i]);
		expect(f, XDP_PASS, NO_DROP);
		f = message(6, 4, 32);
		put16(f.bytes + ETH_PROTO,
		      ethertypes[i] == 0x86dd ? 0x0800 : ethertypes[i]);
		expect(f, XDP_PASS, NO_DROP);
	}
}

/* Eight bytes of hop-by-hop options, routing, fragment or destination options. */
static void ipv6_extension_headers_pass(void **state)
{
	static const uint8_t headers[] = {0, 43, 44, 60};

	for (size_t i = 0; i < 4; i++) {
		struct frame f = message(6, 4, 32);

		memmove(f.bytes + UDP6 + 8, f.bytes + UDP6, 40);
		memset(f.bytes + UDP6, 0, 8);
		f.bytes[UDP6] = 17;
		f.bytes[IP6_NEXT] = headers[i];
		put16(f.bytes + IP6_PAYLOAD, 48);
		f.len += 8;
		expect(f, XDP_PASS, NO_DROP);
	}
}

static void other_ports_pass(void **state)
{
	static const unsigned ports[] = {0, 1, 51819, 51821, 0x6cca /* swapped */, 65535};

	for (int family = 4; family <= 6; family += 2)
		for (size_t i = 0; i < 6; i++) {
			struct frame f = message(family, 4, 32);

			put16(f.bytes + udp_offset(family) + 2, ports[i]);
			expect(f, XDP_PASS, NO_DROP);
		}
}

static void other_source_ports_pass(void **state)
{
	for (int family = 4; family <= 6; family += 2)
		for (int bit = 0; bit < 16; bit++) {
			struct frame f =
				message(family, bit & 1 ? 4 : 1, bit & 1 ? 32 : 148);

			put16(f.bytes + udp_offset(family), THEIRS ^ 1 << bit);
			expect(f, XDP_PASS, NO_DROP);
		}
}

static void other_sources_pass(void **state)
{
	for (int bit = 0; bit < 32; bit++) {
		struct frame f = message(4, bit & 1 ? 4 : 1, bit & 1 ? 32 : 148);

		f.bytes[IP4_SOURCE + bit / 8] ^= 1 << bit % 8;
		expect(f, XDP_PASS, NO_DROP);
	}
	for (int bit = 0; bit < 128; bit++) {
		struct frame f = message(6, bit & 1 ? 4 : 1, bit & 1 ? 32 : 148);

		f.bytes[IP6_SOURCE + bit / 8] ^= 1 << bit % 8;
		expect(f, XDP_PASS, NO_DROP);
	}
}

static void unknown_flow_passes(void **state)
{
	for (int family = 4; family <= 6; family += 2) {
		struct flow_key key = flow_key(family);

		assert_int_equal(bpf_map_delete_elem(bpf_map__fd(nic->maps.flows), &key),
				 0);
		expect(message(family, 4, 32), XDP_PASS, NO_DROP);
		expect(message(family, 1, 148), XDP_PASS, NO_DROP);
		expect(message(family, 2, 92), XDP_PASS, NO_DROP);
	}
}

/* The sockets take one buffer only. What is behind the datagram is padding. */
static void frame_in_several_buffers_passes(void **state)
{
	struct frame f = message(4, 4, 32);
	struct nic_entry entry = {
		.first_key = FIRST_KEY, .count = QUEUES, .max_frame = 16384};
	static uint8_t bytes[8000];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bytes, .repeat = 1);
	struct xdp_md ctx = {.ingress_ifindex = nic_ifindex};
	int fd = bpf_map__fd(nic->maps.nics);

	put_bytes(entry.mac, mac, 6);
	put_bytes(bytes, f.bytes, f.len);
	opts.ctx_in = &ctx;
	opts.ctx_size_in = sizeof(ctx);
	assert_int_equal(bpf_map_update_elem(fd, &nic_ifindex, &entry, 0), 0);
	ctx.data_end = opts.data_size_in = 1500;
	assert_int_equal(
		bpf_prog_test_run_opts(bpf_program__fd(nic->progs.wg_nic), &opts), 0);
	assert_int_equal(opts.retval, XDP_REDIRECT);
	opts.data_size_out = 0;
	ctx.data_end = opts.data_size_in = sizeof(bytes);
	assert_int_equal(
		bpf_prog_test_run_opts(bpf_program__fd(nic->progs.wg_nic), &opts), 0);
	assert_int_equal(opts.retval, XDP_PASS);
	entry.max_frame = MAX_FRAME;
	assert_int_equal(bpf_map_update_elem(fd, &nic_ifindex, &entry, 0), 0);
}

static void a_flow_is_of_one_nic(void **state)
{
	struct frame f = message(4, 4, 32);
	struct nic_entry entry = {
		.first_key = FIRST_KEY, .count = QUEUES, .max_frame = MAX_FRAME};
	uint32_t other = if_nametoindex("nic1");
	int fd = bpf_map__fd(nic->maps.nics);

	put_bytes(entry.mac, mac, 6);
	assert_int_equal(bpf_map_update_elem(fd, &other, &entry, 0), 0);
	expect_at(&f, other, 0, XDP_PASS, NO_DROP);
	assert_int_equal(bpf_map_delete_elem(fd, &other), 0);
	expect_data(f, 0, 32);
}

/* An IPv4 flow in IPv6 form: ::ffff:a.b.c.d is not an address on the wire. */
static void ipv4_mapped_flow_over_ipv6_passes(void **state)
{
	struct flow_key key = flow_key(4);
	struct frame f = message(6, 4, 32);

	put_bytes(f.bytes + IP6_SOURCE, key.source, 16);
	put_bytes(f.bytes + IP6_DESTINATION, key.destination, 16);
	expect(f, XDP_PASS, NO_DROP);
}

/* All its messages, because later ones would overtake one that passed. */
static void admitted_flow_is_all_taken(void **state)
{
	static const int64_t ages[] = {-SECOND, 0, SECOND, WG_FLOW_LAPSED_NS - SECOND};

	for (int family = 4; family <= 6; family += 2)
		for (size_t i = 0; i < 4; i++) {
			admit(family, ages[i]);
			for (int j = 0; j < 20; j++)
				expect_data(message(family, 4, 32), 0, 32);
			expect(message(family, 1, 148), XDP_REDIRECT, NO_DROP);
			expect(message(family, 2, 92), XDP_REDIRECT, NO_DROP);
		}
}

/* Generic XDP also sees wgxdp's own probes. */
static void probe_passes(void **state)
{
	for (int family = 4; family <= 6; family += 2) {
		struct frame f = message(family, 4, 32);
		uint8_t *counter = f.bytes + (family == 4 ? MESSAGE4 : MESSAGE6) + 8;

		memset(counter, 0xff, 8);
		expect(f, XDP_PASS, NO_DROP);
		counter[3] = 0xfe;
		expect_data(f, 0, 32);
	}
}

static void lapsed_flow_passes(void **state)
{
	static const int64_t ages[] = {WG_FLOW_LAPSED_NS, WG_FLOW_LAPSED_NS + SECOND,
				       1000 * SECOND};

	for (int family = 4; family <= 6; family += 2)
		for (size_t i = 0; i < 3; i++) {
			/* BPF's clock may lag by ten milliseconds. */
			admit(family, ages[i] + SECOND / 50);
			for (int j = 0; j < 5; j++)
				expect(message(family, 4, 32), XDP_PASS, NO_DROP);
			expect(message(family, 1, 148), XDP_PASS, NO_DROP);
			expect(message(family, 2, 92), XDP_PASS, NO_DROP);
		}
}

static void port_follows_the_configuration(void **state)
{
	struct frame f = message(6, 4, 32);

	set_port(443);
	expect(f, XDP_PASS, NO_DROP);
	put16(f.bytes + UDP6 + 2, 443);
	expect_data(f, 0, 32);
}

static void nothing_is_ours_while_not_listening(void **state)
{
	struct frame f = message(4, 4, 32);

	set_port(0);
	expect(f, XDP_PASS, NO_DROP);
	put16(f.bytes + UDP4 + 2, 0);
	expect(f, XDP_PASS, NO_DROP);
	set_port(0x10000);
	expect(f, XDP_PASS, NO_DROP);
}

/* Forwarded frames, also those that would be dropped if they were for this host. */
static void other_destinations_pass(void **state)
{
	for (int bit = 0; bit < 32; bit++) {
		struct frame f = message(4, bit & 1 ? 4 : 9, 32);

		f.bytes[IP4_DESTINATION + bit / 8] ^= 1 << bit % 8;
		expect(f, XDP_PASS, NO_DROP);
	}
	for (int bit = 0; bit < 128; bit++) {
		struct frame f = message(6, bit & 1 ? 4 : 9, 32);

		f.bytes[IP6_DESTINATION + bit / 8] ^= 1 << bit % 8;
		expect(f, XDP_PASS, NO_DROP);
	}
}

static void unknown_receiver_passes(void **state)
{
	for (int bit = 0; bit < 32; bit++) {
		struct frame f = message(4, 4, 32);

		f.bytes[MESSAGE4 + 4 + bit / 8] ^= 1 << bit % 8;
		expect(f, XDP_PASS, NO_DROP);
	}
}

static void removed_session_is_unknown(void **state)
{
	assert_int_equal(bpf_map_delete_elem(bpf_map__fd(nic->maps.sessions), receiver),
			 0);
	expect(message(6, 4, 32), XDP_PASS, NO_DROP);
	/* A handshake message needs no session. */
	expect(message(6, 2, 92), XDP_REDIRECT, NO_DROP);
}

static void peer_without_counters_is_served(void **state)
{
	struct peer_stats values[MAX_CPUS];
	uint32_t peer = 8;

	add_session(peer);
	expect(message(4, 4, 32), XDP_REDIRECT, NO_DROP);
	assert_int_not_equal(
		bpf_map_lookup_elem(bpf_map__fd(nic->maps.peer_stats), &peer, values), 0);
}

static void handshake_needs_mac1(void **state)
{
	static const size_t lengths[] = {[1] = 148, [2] = 92};

	for (int family = 4; family <= 6; family += 2)
		for (uint8_t type = 1; type <= 2; type++)
			for (size_t at = 4; at < lengths[type]; at++) {
				struct frame f = message(family, type, lengths[type]);

				f.bytes[udp_offset(family) + 8 + at] ^= 0x10;
				/* The daemon checks mac2. */
				expect(f,
				       at < lengths[type] - 16 ? XDP_PASS : XDP_REDIRECT,
				       NO_DROP);
			}
}

static void without_a_key_no_handshake_is_ours(void **state)
{
	struct wg_config config = configuration(PORT);

	config.has_mac1 = 0;
	set_config(config);
	expect(message(4, 1, 148), XDP_PASS, NO_DROP);
	expect(message(6, 2, 92), XDP_PASS, NO_DROP);
	expect_data(message(4, 4, 32), 0, 32);
}

static void frames_to_another_mac_pass(void **state)
{
	for (int family = 4; family <= 6; family += 2)
		for (int bit = 0; bit < 48; bit++) {
			struct frame f =
				message(family, bit & 1 ? 4 : 1, bit & 1 ? 32 : 148);

			f.bytes[bit / 8] ^= 1 << bit % 8;
			expect(f, XDP_PASS, NO_DROP);
		}
}

static void wrong_ipv4_checksum_passes(void **state)
{
	struct frame f;

	for (int bit = 0; bit < 160; bit++) {
		f = message(4, 4, 32);
		f.bytes[IP + bit / 8] ^= 1 << bit % 8;
		expect_as_it_is(f, XDP_PASS, NO_DROP);
	}
	f = message(4, 4, 32);
	put16(f.bytes + IP + 10, 0);
	expect_as_it_is(f, XDP_PASS, NO_DROP);
}

static void ipv6_without_udp_checksum_passes(void **state)
{
	struct frame f = message(6, 4, 32);

	put16(f.bytes + UDP6 + 6, 0);
	expect(f, XDP_PASS, NO_DROP);
	f = message(4, 4, 32);
	put16(f.bytes + UDP4 + 6, 0);
	expect_data(f, 0, 32);
}

/* --- floods --- */

/* Notes that the kernel delivered junk of message()'s flow `ago` nanoseconds ago. */
static void note_junk(int family, int64_t ago)
{
	struct flow_key key = flow_key(family);
	struct junk_flow value = {.delivered = boot_now() - (uint64_t)ago};

	assert_int_equal(bpf_map_update_elem(bpf_map__fd(nic->maps.junk_flows), &key,
					     &value, BPF_ANY),
			 0);
}

static void remove_flows(void)
{
	empty(nic->maps.flows);
}

static struct frame unknown_receiver_of(int family)
{
	struct frame f = message(family, 4, 32);

	f.bytes[udp_offset(family) + 12] ^= 1;
	return f;
}

static struct frame wrong_mac1(int family, uint8_t type, size_t length)
{
	struct frame f = message(family, type, length);

	f.bytes[udp_offset(family) + 8 + 20] ^= 1;
	return f;
}

static void expect_junk(int family, int verdict)
{
	bool drop = verdict == XDP_DROP;

	expect(message(family, 9, 32), verdict, drop ? DROP_bad_type : NO_DROP);
	expect(message(family, 0, 1400), verdict, drop ? DROP_bad_type : NO_DROP);
	expect(message(family, 4, 3), verdict, drop ? DROP_bad_length : NO_DROP);
	expect(message(family, 4, 0), verdict, drop ? DROP_bad_length : NO_DROP);
	expect(message(family, 4, 31), verdict, drop ? DROP_bad_length : NO_DROP);
	expect(message(family, 1, 147), verdict, drop ? DROP_bad_length : NO_DROP);
	expect(message(family, 2, 93), verdict, drop ? DROP_bad_length : NO_DROP);
	expect(message(family, 3, 65), verdict, drop ? DROP_bad_length : NO_DROP);
	expect(unknown_receiver_of(family), verdict,
	       drop ? DROP_unknown_receiver : NO_DROP);
	expect(wrong_mac1(family, 1, 148), verdict, drop ? DROP_bad_mac : NO_DROP);
	expect(wrong_mac1(family, 2, 92), verdict, drop ? DROP_bad_mac : NO_DROP);
}

/* Also if XDP takes messages of the flow. */
static void junk_of_a_junk_flow_is_dropped(void **state)
{
	for (int family = 4; family <= 6; family += 2) {
		note_junk(family, 0);
		expect_junk(family, XDP_DROP);
		expect_data(message(family, 4, 32), 0, 32);
		expect(message(family, 1, 148), XDP_REDIRECT, NO_DROP);
		expect(message(family, 2, 92), XDP_REDIRECT, NO_DROP);
		expect(message(family, 3, 64), XDP_PASS, NO_DROP);
	}
	remove_flows();
	for (int family = 4; family <= 6; family += 2) {
		expect_junk(family, XDP_DROP);
		expect(message(family, 4, 32), XDP_PASS, NO_DROP);
		expect(message(family, 1, 148), XDP_PASS, NO_DROP);
		expect(message(family, 2, 92), XDP_PASS, NO_DROP);
		expect(message(family, 3, 64), XDP_PASS, NO_DROP);
	}
}

/* The stack must see some of a flow's junk. */
static void junk_passes_again_after_a_second(void **state)
{
	for (int family = 4; family <= 6; family += 2) {
		note_junk(family, SECOND + SECOND / 50);
		expect_junk(family, XDP_PASS);
	}
}

static void junk_of_other_flows_passes(void **state)
{
	struct frame f;

	note_junk(4, 0);
	f = message(4, 9, 32);
	put16(f.bytes + UDP4, THEIRS + 1);
	expect(f, XDP_PASS, NO_DROP);
	f = message(4, 9, 32);
	f.bytes[IP4_SOURCE + 3] ^= 1;
	expect(f, XDP_PASS, NO_DROP);
	f = message(4, 9, 32);
	f.bytes[IP4_DESTINATION + 3] ^= 1;
	expect(f, XDP_PASS, NO_DROP);
	f = message(4, 9, 32);
	f.bytes[5] ^= 1;
	expect(f, XDP_PASS, NO_DROP);
	f = message(4, 9, 32);
	put16(f.bytes + UDP4 + 2, PORT + 1);
	expect(f, XDP_PASS, NO_DROP);
	/* The kernel drops and counts what is malformed. */
	f = message(4, 9, 32);
	put16(f.bytes + UDP4 + 4, 39);
	expect(f, XDP_PASS, NO_DROP);
	f = message(4, 9, 32);
	f.bytes[IP + 10] ^= 1;
	expect_as_it_is(f, XDP_PASS, NO_DROP);
}

static const uint8_t secret[32] = {9, 8, 7, [31] = 6};

/* Returns a state of load with a cookie secret, and without tokens for initiations without a
 * cookie. */
static struct defence loaded(void)
{
	struct defence d = {.load_until = boot_now() + 10 * SECOND,
			    .unproven = boot_now() + 10 * SECOND,
			    .cookie_until = boot_now() + 10 * SECOND};
	uint32_t block[16];

	blake2s_init_h(d.cookie_state, 16, sizeof(secret));
	blake2s_load(block, secret, sizeof(secret));
	blake2s_compress(d.cookie_state, block, 64, 0);
	return d;
}

/* Returns the frame with the mac2 that the cookie for its source makes. */
static struct frame with_cookie(struct frame f)
{
	bool v4 = get16(f.bytes + ETH_PROTO) == 0x0800;
	size_t udp = v4 ? UDP4 : UDP6, addr_len = v4 ? 4 : 16;
	uint8_t source[18], cookie[16];

	memcpy(source, f.bytes + (v4 ? IP4_SOURCE : IP6_SOURCE), addr_len);
	memcpy(source + addr_len, f.bytes + udp, 2);
	blake2s(cookie, 16, source, addr_len + 2, secret, sizeof(secret));
	blake2s(f.bytes + udp + 8 + 132, 16, f.bytes + udp + 8, 132, cookie, 16);
	return f;
}

static struct source_key source_key(int family)
{
	struct frame f = message(family, 1, 148);
	struct source_key key = {0};

	memcpy(&key.proto, f.bytes + ETH_PROTO, 2);
	memcpy(key.prefix, f.bytes + (family == 4 ? IP4_SOURCE : IP6_SOURCE),
	       family == 4 ? 4 : 8);
	return key;
}

static void put_source(int family, struct source s)
{
	struct source_key key = source_key(family);

	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(nic->maps.sources), &key, &s, BPF_ANY),
		0);
}

static void put_friend(int family)
{
	struct source_key key = source_key(family);
	struct friend full = {0};

	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(nic->maps.friends), &key, &full, BPF_ANY),
		0);
}

/* The bucket holds `burst`. Tokens come back while the test runs, so more may pass. */
static void expect_few(struct frame f, int burst, int verdict)
{
	int dropped = 0;

	for (int i = 0; i < burst; i++)
		expect(f, verdict, NO_DROP);
	for (int i = 0; i < 8 * burst; i++) {
		struct frame checked = f;

		if (get16(f.bytes + ETH_PROTO) == 0x0800)
			fix_checksum(&checked);
		dropped += run(&checked, nic_ifindex, 0) == XDP_DROP;
	}
	assert_true(dropped >= 4 * burst);
}

static void load_needs_a_cookie(void **state)
{
	struct frame f;

	set_defence(loaded());
	for (int family = 4; family <= 6; family += 2) {
		expect(message(family, 1, 148), XDP_DROP, DROP_no_cookie);
		/* A mac2 for another message or another source port does not count. */
		f = with_cookie(message(family, 1, 148));
		put16(f.bytes + udp_offset(family), THEIRS + 1);
		expect(f, XDP_DROP, DROP_no_cookie);
		f = with_cookie(message(family, 1, 148));
		f.bytes[udp_offset(family) + 8 + 140] ^= 1;
		expect(f, XDP_DROP, DROP_no_cookie);
		/* A response answers a message of ours. */
		expect(message(family, 2, 92), XDP_REDIRECT, NO_DROP);
		expect_data(message(family, 4, 32), 0, 32);
		/* It may be for another host. */
		expect(wrong_mac1(family, 1, 148), XDP_PASS, NO_DROP);
		expect_few(with_cookie(message(family, 1, 148)), 5, XDP_REDIRECT);
	}
}

/* XDP takes no token for those that it passes, because the filter of the socket does. */
static void load_needs_a_cookie_in_other_flows(void **state)
{
	set_defence(loaded());
	remove_flows();
	for (int family = 4; family <= 6; family += 2) {
		expect(message(family, 1, 148), XDP_DROP, DROP_no_cookie);
		for (int i = 0; i < 20; i++)
			expect(with_cookie(message(family, 1, 148)), XDP_PASS, NO_DROP);
		expect(message(family, 2, 92), XDP_PASS, NO_DROP);
		expect(message(family, 4, 32), XDP_PASS, NO_DROP);
	}
}

static void some_without_a_cookie_are_answered(void **state)
{
	struct defence d = loaded();

	d.unproven = 0;
	set_defence(d);
	for (int i = 0; i < 100; i++)
		expect(message(4, 1, 148), XDP_REDIRECT, NO_DROP);
}

static void friends_are_answered_under_load(void **state)
{
	for (int family = 4; family <= 6; family += 2) {
		set_defence(loaded());
		put_friend(family);
		expect_few(message(family, 1, 148), 20, XDP_REDIRECT);
		empty(nic->maps.friends);
		expect(message(family, 1, 148), XDP_DROP, DROP_no_cookie);
	}
}

/* Initiations from 20,000 sources, each with a cookie, fill the map `sources`. */
static void nobody_evicts_a_friend(void **state)
{
	struct frame f;

	set_defence(loaded());
	put_friend(4);
	for (uint32_t i = 0; i < 20000; i++) {
		f = message(4, 1, 148);
		put16(f.bytes + IP4_SOURCE, 0xc612);
		put16(f.bytes + IP4_SOURCE + 2, (uint16_t)i);
		f = with_cookie(f);
		fix_checksum(&f);
		assert_int_equal(run(&f, nic_ifindex, 0), XDP_PASS);
	}
	for (int i = 0; i < 20; i++)
		expect(message(4, 1, 148), XDP_REDIRECT, NO_DROP);
}

static void expired_cookies_do_not_count(void **state)
{
	struct defence d = loaded();

	d.cookie_until = boot_now() - 1;
	set_defence(d);
	expect(with_cookie(message(4, 1, 148)), XDP_DROP, DROP_no_cookie);
	/* Without load nobody needs one. */
	d.load_until = boot_now() - 1;
	set_defence(d);
	for (int i = 0; i < 500; i++)
		expect(message(4, 1, 148), XDP_REDIRECT, NO_DROP);
}

static void suspects_are_limited(void **state)
{
	for (int family = 4; family <= 6; family += 2) {
		put_source(family,
			   (struct source){.suspect_until = boot_now() + 10 * SECOND});
		expect_few(message(family, 1, 148), 200, XDP_REDIRECT);
		expect(message(family, 2, 92), XDP_REDIRECT, NO_DROP);
		/* Initiations without a cookie have a separate bucket. */
		set_defence((struct defence){0});
		put_source(family,
			   (struct source){.suspect_until = boot_now() + 10 * SECOND,
					   .unproven = boot_now() + 10 * SECOND});
		expect(message(family, 1, 148), XDP_DROP, DROP_rate_limited);
		put_source(family, (struct source){.suspect_until = boot_now() - 1});
		for (int i = 0; i < 20; i++)
			expect(message(family, 1, 148), XDP_REDIRECT, NO_DROP);
	}
}

/* Returns a suspect without tokens for initiations without a cookie. */
static struct source spent_suspect(void)
{
	return (struct source){.suspect_until = boot_now() + 100 * SECOND,
			       .unproven = boot_now() + 100 * SECOND};
}

static void a_suspect_with_a_cookie_passes(void **state)
{
	struct defence d = loaded();

	d.load_until = 0;
	for (int family = 4; family <= 6; family += 2) {
		set_defence(d);
		put_source(family, spent_suspect());
		expect(message(family, 1, 148), XDP_DROP, DROP_rate_limited);
		expect_few(with_cookie(message(family, 1, 148)), 5, XDP_REDIRECT);
	}
}

/* The peer there may be the sender of one of them. */
static void a_suspect_that_is_a_friend_has_more(void **state)
{
	for (int family = 4; family <= 6; family += 2) {
		put_friend(family);
		put_source(family, spent_suspect());
		for (int i = 0; i < 250; i++)
			expect(message(family, 1, 148), XDP_REDIRECT, NO_DROP);
	}
}

/* All initiations of a faster flood count, so it gets nothing. */
static void a_fast_flood_from_a_friend_gets_no_more(void **state)
{
	struct source s = spent_suspect();

	/* The bucket is as empty as it can be. Each refused initiation keeps it so. */
	s.forged = boot_now() + 10 * SECOND;
	put_friend(4);
	put_source(4, s);
	for (int i = 0; i < 100; i++)
		expect(message(4, 1, 148), XDP_DROP, DROP_rate_limited);
	/* All such suspects together have a limit, too. */
	put_source(4, spent_suspect());
	set_defence((struct defence){.forged = boot_now() + 10 * SECOND});
	expect(message(4, 1, 148), XDP_DROP, DROP_rate_limited);
}

/* --- the filter of the UDP sockets --- */

static int filtered_socket(struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int filter = bpf_program__fd(nic->progs.wg_socket);
	socklen_t len = sizeof(*to);

	*to = (struct sockaddr_in){.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(bind(fd, (struct sockaddr *)to, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)to, &len), 0);
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &filter, sizeof(filter)), 0);
	return fd;
}

/* Sends the message in the frame. It must arrive, or be dropped for this reason. */
static void deliver(int from, int to, struct frame f, int reason)
{
	struct counters before = counters(), after;
	size_t length = f.len - MESSAGE4;
	uint8_t got[2048];
	ssize_t n;

	assert_int_equal(send(from, f.bytes + MESSAGE4, length, 0), length);
	n = recv(to, got, sizeof(got), 0);
	after = counters();
	assert_drops(&before, &after, reason);
	if (reason != NO_DROP) {
		assert_int_equal(n, -1);
		return;
	}
	assert_int_equal(n, length);
	assert_memory_equal(got, f.bytes + MESSAGE4, length);
}

static bool lo_has_junk(void)
{
	struct flow_key key;

	return !bpf_map_get_next_key(bpf_map__fd(nic->maps.junk_flows), NULL, &key) &&
	       key.ifindex == if_nametoindex("lo");
}

static void socket_gets_no_junk(void **state)
{
	struct nic_entry entry = {0};
	uint32_t lo = if_nametoindex("lo");
	struct sockaddr_in addr;
	int to = filtered_socket(&addr), from = socket(AF_INET, SOCK_DGRAM, 0);
	struct source s = {.suspect_until = boot_now() + 100 * SECOND,
			   .unproven = boot_now() + 100 * SECOND};
	struct source_key key = {.proto = htons(0x0800), .prefix = {127, 0, 0, 1}};

	assert_int_equal(connect(from, (struct sockaddr *)&addr, sizeof(addr)), 0);
	deliver(from, to, message(4, 4, 32), NO_DROP);
	deliver(from, to, message(4, 4, 1452), NO_DROP);
	deliver(from, to, message(4, 1, 148), NO_DROP);
	deliver(from, to, message(4, 2, 92), NO_DROP);
	deliver(from, to, message(4, 3, 64), NO_DROP);
	deliver(from, to, message(4, 9, 32), DROP_bad_type);
	deliver(from, to, message(4, 4, 0), DROP_bad_length);
	deliver(from, to, message(4, 4, 3), DROP_bad_length);
	deliver(from, to, message(4, 4, 31), DROP_bad_length);
	deliver(from, to, message(4, 1, 149), DROP_bad_length);
	deliver(from, to, unknown_receiver_of(4), DROP_unknown_receiver);
	deliver(from, to, wrong_mac1(4, 1, 148), DROP_bad_mac);
	assert_false(lo_has_junk());
	set_defence(loaded());
	deliver(from, to, message(4, 1, 148), DROP_no_cookie);
	deliver(from, to, message(4, 2, 92), NO_DROP);
	set_defence((struct defence){0});
	bpf_map_update_elem(bpf_map__fd(nic->maps.sources), &key, &s, BPF_ANY);
	deliver(from, to, message(4, 1, 148), DROP_rate_limited);
	/* The flow is noted if XDP is on the device. */
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(nic->maps.nics), &lo, &entry, 0),
			 0);
	deliver(from, to, message(4, 9, 32), DROP_bad_type);
	assert_true(lo_has_junk());
	bpf_map_delete_elem(bpf_map__fd(nic->maps.nics), &lo);
	close(from);
	close(to);
}

/* Sends the messages as one packet of segments, the last of which may be shorter; `kept` bytes of
 * it must arrive. */
static void deliver_merged(int from, int to, const struct frame *f, int n, size_t kept)
{
	uint8_t sent[4 * 148], got[sizeof(sent)];
	size_t length = 0;

	for (int i = 0; i < n; i++) {
		memcpy(sent + length, f[i].bytes + MESSAGE4, f[i].len - MESSAGE4);
		length += f[i].len - MESSAGE4;
	}
	assert_int_equal(send(from, sent, length, 0), length);
	assert_int_equal(recv(to, got, sizeof(got), 0), kept ? (ssize_t)kept : -1);
	assert_memory_equal(got, sent, kept);
}

static void end_of_merged_datagrams_is_cut_off(void **state)
{
	const int segment = 148, on = 1;
	const struct frame junk = message(4, 9, 148), initiation = message(4, 1, 148),
			   cookie = message(4, 3, 64), data = message(4, 4, 148),
			   response = message(4, 2, 92);
	struct sockaddr_in addr;
	int to = filtered_socket(&addr), from = socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(connect(from, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(setsockopt(to, SOL_UDP, UDP_GRO, &on, sizeof(on)), 0);
	assert_int_equal(
		setsockopt(from, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0);
	set_defence((struct defence){0});
	deliver_merged(from, to, (struct frame[]){initiation, initiation, cookie}, 3,
		       360);
	deliver_merged(from, to, (struct frame[]){junk, junk, data}, 3, 444);
	deliver_merged(from, to, (struct frame[]){data, junk, junk}, 3, 444);
	deliver_merged(from, to, (struct frame[]){junk, initiation, junk}, 3, 296);
	deliver_merged(from, to, (struct frame[]){initiation, junk, cookie}, 3, 148);
	deliver_merged(from, to, (struct frame[]){junk, junk, cookie}, 3, 0);
	set_defence(loaded());
	deliver_merged(from, to, (struct frame[]){initiation, initiation, response}, 3,
		       0);
	deliver_merged(from, to, (struct frame[]){initiation, initiation, data}, 3, 444);
	set_defence((struct defence){0});
	close(from);
	close(to);
}

/* A second implementation of the rules: the outcome for a frame on queue 0. */
enum outcome { PASS, NOT_OURS, HANDSHAKE, DATA, OUTCOMES };

static bool model_mac1(const uint8_t *m, size_t length)
{
	uint8_t expected[16];

	blake2s(expected, 16, m, length - 32, mac1_key, sizeof(mac1_key));
	return !memcmp(expected, m + length - 32, 16);
}

static enum outcome model_message(const uint8_t *m, size_t length)
{
	static const size_t right[] = {[1] = 148, [2] = 92};

	if (length < 32 || m[1] || m[2] || m[3] || !m[0] || m[0] == 3 || m[0] > 4)
		return NOT_OURS;
	if (m[0] < 4)
		return length == right[m[0]] && model_mac1(m, length) ? HANDSHAKE
								      : NOT_OURS;
	return memcmp(m + 4, receiver, 4) ? NOT_OURS : DATA;
}

static bool model_ipv4(const uint8_t *ip)
{
	uint32_t sum = 0;

	for (int i = 0; i < 20; i += 2)
		sum += get16(ip + i);
	return sum % 0xffff == 0 && ip[0] == 0x45 && ip[9] == 17 && !(ip[6] & 0x3f) &&
	       !ip[7] && !memcmp(ip + 12, "\xc6\x33\x64\x02", 4) &&
	       !memcmp(ip + 16, ipv4_here, 4);
}

static bool model_ipv6(const uint8_t *ip)
{
	static const uint8_t there[16] = {0x20, 1, 0x0d, 0xb8, [15] = 2};

	return ip[0] >> 4 == 6 && ip[6] == 17 && !memcmp(ip + 8, there, 16) &&
	       !memcmp(ip + 24, ipv6_here, 16) && (ip[46] || ip[47]);
}

static enum outcome model(const struct frame *f)
{
	const uint8_t *b = f->bytes;
	size_t udp, stated;

	if (get16(b + 12) == 0x0800 && f->len >= 42 && model_ipv4(b + IP)) {
		udp = 34;
		stated = get16(b + 16) < 20 ? 0 : get16(b + 16) - 20;
	} else if (get16(b + 12) == 0x86dd && f->len >= 62 && model_ipv6(b + IP)) {
		udp = 54;
		stated = get16(b + 18);
	} else {
		return PASS;
	}
	if (get16(b + udp) != THEIRS || get16(b + udp + 2) != PORT)
		return PASS;
	if (stated < 8 || stated > f->len - udp || get16(b + udp + 4) != stated)
		return NOT_OURS;
	return model_message(b + udp + 8, stated - 8);
}

static uint64_t random_state;

/* xorshift64: the same sequence everywhere. */
static uint32_t draw(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % below;
}

/* Makes small changes where the rules look, so that each rule decides sometimes. */
static void mutate(struct frame *f)
{
	size_t headers = f->bytes[ETH_PROTO] == 8 ? 50 : 70;

	switch (draw(5)) {
	case 0:
		f->bytes[12 + draw(headers - 12)] = draw(256);
		break;
	case 1:
		f->bytes[12 + draw(headers - 12)] ^= 1 << draw(8);
		break;
	case 2:
		f->bytes[12 + draw(headers - 12)] += draw(2) ? 1 : 255;
		break;
	case 3:
		f->len = 14 + draw(f->len - 13);
		break;
	case 4:
		f->len += draw(64);
		break;
	}
}

static struct frame random_frame(void)
{
	static const size_t usual[] = {148, 92, 64, 32};
	uint8_t type = 1 + draw(4);
	size_t length = draw(4) ? usual[type - 1] : draw(160);
	struct frame f = message(draw(2) ? 4 : 6, type, length);

	for (uint32_t n = draw(4); n > 0; n--)
		mutate(&f);
	if (f.bytes[ETH_PROTO] == 8 && draw(8))
		fix_checksum(&f);
	return f;
}

static void random_frames_against_the_model(void **state)
{
	static const struct {
		int verdict, reason;
	} expected[OUTCOMES] = {
		[PASS] = {XDP_PASS, NO_DROP},
		[NOT_OURS] = {XDP_PASS, NO_DROP},
		[HANDSHAKE] = {XDP_REDIRECT, NO_DROP},
	};
	unsigned seen[OUTCOMES] = {0};

	/* Valid for an hour. */
	admit(4, -3600 * SECOND);
	admit(6, -3600 * SECOND);
	random_state = 0x9e3779b97f4a7c15;
	for (int i = 0; i < 20000; i++) {
		struct frame f = random_frame();
		enum outcome o = model(&f);

		seen[o]++;
		if (o == DATA) {
			size_t udp = f.bytes[ETH_PROTO] == 8 ? UDP4 : UDP6;

			expect_data(f, 0, get16(f.bytes + udp + 4) - 8);
		} else {
			expect_as_it_is(f, expected[o].verdict, expected[o].reason);
		}
	}
	for (int o = 0; o < OUTCOMES; o++)
		assert_true(seen[o] >= 100);
}

#define T(name) cmocka_unit_test_setup(name, setup)

static const struct CMUnitTest tests[] = {
	T(maps_have_btf),
	T(data_is_redirected_and_counted),
	T(handshake_is_redirected),
	T(data_goes_only_to_the_data_socket),
	T(handshake_goes_only_to_the_handshake_socket),
	T(without_sockets_all_pass),
	T(queue_chooses_the_socket),
	T(queue_that_is_not_served_passes),
	T(nic_that_is_not_served_passes),
	T(truncated_anywhere),
	T(ethernet_padding_is_ignored),
	T(longer_than_a_umem_frame_passes),
	T(message_of_a_wrong_length),
	T(ip_length_against_frame),
	T(udp_length_against_ip_length),
	T(lengths_that_agree_but_not_with_the_frame),
	T(type_that_is_unknown),
	T(reserved_bits_set),
	T(fragments_pass),
	T(dont_fragment_is_no_fragment),
	T(vlan_tags_pass),
	T(ipv4_options_pass),
	T(wrong_ip_header_passes),
	T(other_protocols_pass),
	T(ipv6_extension_headers_pass),
	T(other_ports_pass),
	T(other_source_ports_pass),
	T(other_sources_pass),
	T(unknown_flow_passes),
	T(frame_in_several_buffers_passes),
	T(a_flow_is_of_one_nic),
	T(ipv4_mapped_flow_over_ipv6_passes),
	T(admitted_flow_is_all_taken),
	T(probe_passes),
	T(lapsed_flow_passes),
	T(port_follows_the_configuration),
	T(nothing_is_ours_while_not_listening),
	T(other_destinations_pass),
	T(unknown_receiver_passes),
	T(removed_session_is_unknown),
	T(peer_without_counters_is_served),
	T(handshake_needs_mac1),
	T(without_a_key_no_handshake_is_ours),
	T(frames_to_another_mac_pass),
	T(wrong_ipv4_checksum_passes),
	T(ipv6_without_udp_checksum_passes),
	T(random_frames_against_the_model),
	T(junk_of_a_junk_flow_is_dropped),
	T(junk_passes_again_after_a_second),
	T(junk_of_other_flows_passes),
	T(load_needs_a_cookie),
	T(load_needs_a_cookie_in_other_flows),
	T(some_without_a_cookie_are_answered),
	T(friends_are_answered_under_load),
	T(nobody_evicts_a_friend),
	T(expired_cookies_do_not_count),
	T(suspects_are_limited),
	T(a_suspect_with_a_cookie_passes),
	T(a_suspect_that_is_a_friend_has_more),
	T(a_fast_flood_from_a_friend_gets_no_more),
	T(socket_gets_no_junk),
	T(end_of_merged_datagrams_is_cut_off),
};

int main(void)
{
	return cmocka_run_group_tests_name("nic", tests, group_setup, group_teardown);
}
