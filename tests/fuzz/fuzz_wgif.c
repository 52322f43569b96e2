// SPDX-License-Identifier: MIT
/*
 * Frames on wg0 into the TC programs and the filter of the TAP device. The input says which prefixes
 * belong to which peer, and what the frames contain: IPv4, IPv6 or any bytes, with any MAC addresses,
 * partly in the direct part of the packet. A linear list of the prefixes says whose an address is. On
 * egress a frame gets the tag of that peer, or that of no peer; nothing else leaves. The filter keeps
 * exactly the frames whose tag is that of their destination's peer, also if a user's filter has
 * changed the frame between. On ingress exactly the packets whose source belongs to the tag's peer
 * reach the host.
 */
#include "native_bpf.h"

#include "../../bpf/wgif.bpf.c" /* NOLINT(bugprone-suspicious-include) */

#define STEPS	 24 /* of an input */
#define PREFIXES 16
#define PEERS	 8
#define FRAME	 512

enum { ETH_LEN = 14, IP4_LEN = 20, IP6_LEN = 40, UNTOUCHED = 99 };

struct prefix {
	bool v6;
	uint32_t bits, peer;
	uint8_t addr[16];
};

static struct scene {
	struct prefix prefixes[PREFIXES];
	unsigned count;
	struct __sk_buff skb;
	struct bpf_sock sock;
} scene;

/* --- the model --- */

/* An inner packet, as the model reads it. */
struct inner {
	enum { IS_V4, IS_V6, IS_NOT_IP } kind;
	const uint8_t *source, *destination;
	uint8_t ttl;
};

static bool has_prefix(const uint8_t *addr, const struct prefix *p)
{
	for (unsigned bit = 0; bit < p->bits; bit++)
		if ((addr[bit / 8] ^ p->addr[bit / 8]) & (0x80 >> bit % 8))
			return false;
	return true;
}

/* Returns the peer whose longest prefix has the address, or WG_SLOT_NONE. */
static uint32_t owner_of(const uint8_t *addr, bool v6)
{
	const struct prefix *best = NULL;

	for (unsigned i = 0; i < scene.count; i++) {
		const struct prefix *p = &scene.prefixes[i];

		if (p->v6 == v6 && has_prefix(addr, p) && (!best || p->bits > best->bits))
			best = p;
	}
	return best ? best->peer : WG_SLOT_NONE;
}

/* The programs and the filter differ in one point: only the programs want an IPv4 header of at least
 * five words. */
static struct inner read_inner(const uint8_t *f, size_t len, bool any_ihl)
{
	const uint8_t *ip = f + ETH_LEN;
	struct inner in = {.kind = IS_NOT_IP};

	if (scene.skb.vlan_present)
		return in;
	if (len >= ETH_LEN + IP4_LEN && f[12] == 8 && !f[13] && ip[0] >> 4 == 4 &&
	    (any_ihl || (ip[0] & 15) >= 5))
		in = (struct inner){IS_V4, ip + 12, ip + 16, ip[8]};
	if (len >= ETH_LEN + IP6_LEN && f[12] == 0x86 && f[13] == 0xdd && ip[0] >> 4 == 6)
		in = (struct inner){IS_V6, ip + 8, ip + 24, ip[7]};
	return in;
}

static uint32_t owner_of_destination(const struct inner *in)
{
	return owner_of(in->destination, in->kind == IS_V6);
}

/* Returns the slot of a tag, or UINT32_MAX if it is none. */
static uint32_t slot_of(const uint8_t *mac)
{
	if (mac[0] != 2 || mac[1] != 0x57 || mac[2] != 0x47)
		return UINT32_MAX;
	return (uint32_t)mac[3] << 16 | (uint32_t)mac[4] << 8 | mac[5];
}

/* --- the counters --- */

static uint64_t dropped(void)
{
	uint32_t zero = 0;
	const uint64_t *counters = bpf_map_lookup_elem(&drops, &zero);
	uint64_t sum = 0;

	for (unsigned i = 0; i < DROP_REASONS; i++)
		sum += counters[i];
	return sum;
}

/* Of a peer that the map may not have: zeros then. */
static struct peer_stats stats_now(uint32_t peer)
{
	const struct peer_stats *s = bpf_map_lookup_elem(&peer_stats, &peer);

	return s ? *s : (struct peer_stats){0};
}

/* --- a frame through the programs --- */

static void check_egress(const uint8_t *was, uint32_t owner, int verdict, bool loop)
{
	const uint8_t *f = native.packet;

	if (loop) {
		CHECK(verdict == TC_ACT_SHOT);
		return;
	}
	CHECK(verdict == TC_ACT_UNSPEC && slot_of(f) == owner);
	CHECK(!memcmp(f + 12, was + 12, native.len - 12));
}

/* A packet of one of our own UDP sockets loses TTL in each tunnel. */
static bool is_loop(const struct inner *in)
{
	return scene.skb.sk && scene.sock.priority == WG_SOCKET_PRIORITY &&
	       in->ttl <= WG_TTL_OF_A_TUNNEL;
}

/* Returns true if the frame leaves. */
static bool egress(void)
{
	uint8_t was[FRAME];
	struct inner in;
	uint32_t owner;
	uint64_t drops_before = dropped(), sent, verdict;

	memcpy(was, native.packet, native.len);
	in = read_inner(was, native.len, false);
	owner = in.kind == IS_NOT_IP ? WG_SLOT_NONE : owner_of_destination(&in);
	sent = stats_now(owner).to_peer_packets;
	verdict = (uint64_t)wg_egress(&scene.skb);
	CHECK(dropped() - drops_before ==
	      (in.kind == IS_NOT_IP || is_loop(&in) || owner == WG_SLOT_NONE));
	if (in.kind == IS_NOT_IP) {
		CHECK((int)verdict == TC_ACT_SHOT);
		return false;
	}
	check_egress(was, owner, (int)verdict, is_loop(&in));
	if ((int)verdict != TC_ACT_UNSPEC)
		return false;
	sent = stats_now(owner).to_peer_packets - sent;
	CHECK(sent == (owner % 2 == 0 && owner < PEERS));
	return true;
}

/* tagged: the frame comes from egress, and nobody has changed it. */
static void filter(bool tagged)
{
	struct inner in = read_inner(native.packet, native.len, true);
	uint32_t slot = slot_of(native.packet);
	uint64_t before = dropped();
	int kept = wg_filter(&scene.skb);
	bool right = in.kind != IS_NOT_IP && slot != UINT32_MAX &&
		     (slot == WG_SLOT_NONE || slot == owner_of_destination(&in));

	CHECK(kept == 0 || kept == (int)native.len);
	CHECK(dropped() - before == !kept);
	if (tagged)
		CHECK(kept && right);
	/* Without the mark of egress only the right tag counts. */
	if ((scene.skb.tc_index & 0xfff0) != 0x5740)
		CHECK(!!kept == right);
}

static void ingress(void)
{
	struct inner in = read_inner(native.packet, native.len, false);
	uint32_t slot = slot_of(native.packet + 6), owner = WG_SLOT_NONE;
	uint64_t before = dropped();
	struct peer_stats s = stats_now(slot), now;
	bool right, refused;
	int verdict;

	if (in.kind != IS_NOT_IP)
		owner = owner_of(in.source, in.kind == IS_V6);
	right = slot != UINT32_MAX && owner != WG_SLOT_NONE && owner == slot;
	refused = slot != UINT32_MAX && in.kind != IS_NOT_IP && !right;
	native.type = UNTOUCHED;
	verdict = wg_ingress(&scene.skb);
	now = stats_now(slot);
	CHECK(verdict == (right ? TC_ACT_UNSPEC : TC_ACT_SHOT));
	CHECK(native.type == (right ? PACKET_HOST : UNTOUCHED));
	CHECK(dropped() - before == !right);
	CHECK(native_unchanged());
	if (slot < PEERS && slot % 2 == 0) {
		CHECK(now.from_peer_packets - s.from_peer_packets == right);
		CHECK(now.from_peer_bad_source - s.from_peer_bad_source == refused);
	}
}

/* --- frames from the input --- */

/* Writes one of few addresses, so that prefixes match. */
static void put_address(struct input *in, uint8_t *addr, size_t len)
{
	uint8_t which = take8(in);

	memset(addr, which & 1 ? 0xff : 0, len);
	addr[0] = which >> 6;
	addr[len - 1] = which >> 1 & 31;
}

static void put_tag(uint8_t *mac, uint32_t slot)
{
	const uint8_t tag[6] = {WG_TAG_0,   WG_TAG_1,  WG_TAG_2,
				slot >> 16, slot >> 8, slot};

	memcpy(mac, tag, sizeof(tag));
}

static uint32_t some_slot(struct input *in)
{
	uint8_t which = take8(in);

	return which == 255 ? WG_SLOT_NONE : which % (PEERS + 1);
}

/* Fills native.packet. */
static void make_frame(struct input *in, uint8_t how)
{
	uint8_t *f = native.packet, *ip = f + ETH_LEN;
	bool v6 = how & 1;

	memset(f, 0, FRAME);
	put_tag(f, some_slot(in));
	put_tag(f + 6, some_slot(in));
	f[12] = v6 ? 0x86 : 0x08;
	f[13] = v6 ? 0xdd : 0;
	ip[0] = v6 ? 0x60 : 0x45;
	ip[v6 ? 7 : 8] = take8(in);
	put_address(in, ip + (v6 ? 8 : 12), v6 ? 16 : 4);
	put_address(in, ip + (v6 ? 24 : 16), v6 ? 16 : 4);
	native.len = ETH_LEN + (v6 ? IP6_LEN : IP4_LEN) + take8(in);
	if (how & 2)
		f[take8(in) % 60] ^= take8(in);
	if (how & 4)
		native.len = ETH_LEN + take8(in) % (native.len - ETH_LEN + 1);
}

/* The context of a frame. The kernel makes at least the Ethernet header direct. */
static void make_context(struct input *in, uint8_t how)
{
	size_t direct = native.len;

	if (how & 8)
		direct = ETH_LEN + take8(in) % (native.len - ETH_LEN + 1);
	scene.skb = (struct __sk_buff){.len = (uint32_t)native.len};
	scene.skb.ingress_ifindex = how & 16 ? 3 : 0;
	scene.skb.vlan_present = (how & 0xe0) == 0xe0;
	scene.sock.priority = how & 32 ? WG_SOCKET_PRIORITY : 0;
	scene.skb.sk = how & 64 ? &scene.sock : NULL;
	native_point(&scene.skb, direct);
}

/* What a user's filter behind egress may do. Returns true if it did nothing. */
static bool change_between(struct input *in)
{
	uint8_t what = take8(in);

	if (!what)
		return true;
	if (what & 1)
		scene.skb.tc_index = take16(in);
	if (what & 2)
		native.packet[take8(in) % 60 % native.len] ^= take8(in);
	return false;
}

static void add_prefix(struct input *in, bool v6)
{
	struct prefix *p = &scene.prefixes[scene.count];
	struct lpm6_key k = {0};
	struct allowed_ip a;

	if (scene.count == PREFIXES)
		return;
	*p = (struct prefix){.v6 = v6, .peer = take8(in) % PEERS};
	p->bits = take8(in) % ((v6 ? 128 : 32) + 1);
	put_address(in, p->addr, v6 ? 16 : 4);
	for (unsigned i = 0; i < scene.count; i++)
		if (scene.prefixes[i].v6 == v6 && scene.prefixes[i].bits == p->bits &&
		    has_prefix(p->addr, &scene.prefixes[i]))
			return; /* the kernel's trie has each prefix once */
	k.prefixlen = p->bits;
	memcpy(k.addr, p->addr, 16);
	a.peer = p->peer;
	if (v6)
		CHECK(!bpf_map_update_elem(&allowed_ips6, &k, &a, BPF_ANY));
	else
		CHECK(!bpf_map_update_elem(&allowed_ips4, (struct lpm4_key *)&k, &a,
					   BPF_ANY));
	scene.count++;
}

static void step(struct input *in)
{
	uint8_t what = take8(in), how = take8(in);

	if (what % 4 == 0) {
		add_prefix(in, what & 4);
		return;
	}
	make_frame(in, how);
	make_context(in, how);
	if (what % 4 == 1)
		ingress();
	else if (what % 4 == 2)
		filter(false);
	else if (egress())
		filter(change_between(in));
}

/* Only peers of even slots have counters. */
static void scene_begin(void)
{
	uint32_t zero = 0;
	struct drops none = {0};
	struct peer_stats no_packets = {0};

	scene = (struct scene){0};
	native.count = 0;
	CHECK(!bpf_map_update_elem(&drops, &zero, &none, BPF_ANY));
	for (uint32_t peer = 0; peer < PEERS; peer += 2)
		CHECK(!bpf_map_update_elem(&peer_stats, &peer, &no_packets, BPF_ANY));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};

	scene_begin();
	for (unsigned i = 0; i < STEPS && in.left; i++)
		step(&in);
	return 0;
}
