// SPDX-License-Identifier: MIT
/*
 * Frames into the XDP program of a NIC, and what it passes into the filter of the UDP sockets, as in
 * a kernel that delivers each frame for our port. The input says how long it takes until the next
 * frame, whether the daemon is under load, which flows are admitted, whether the source is a suspect
 * or a friend, and what the frames contain: any
 * type of message, right in all or changed anywhere. A model that shares no code with the programs
 * says what they must do with each frame: XDP takes and drops nothing else, counts what it drops,
 * and changes no byte; the filter cuts off no good message.
 */
#include "native_bpf.h"

#include "../../bpf/nic.bpf.c" /* NOLINT(bugprone-suspicious-include) */

#include <sodium.h>

#include "cookie.h"

#define PORT	 51820
#define IFINDEX	 7
#define QUEUES	 2
#define MAX_SIZE 1600
#define FRAME	 2400
#define MERGED	 20
#define PEER	 5
#define STEPS	 24 /* of an input */
#define NOTED	 STEPS
#define START	 (1000 * NS_PER_SEC)

enum { ETH_LEN = 14, IP4_LEN = 20, IP6_LEN = 40, UDP_LEN = 8 };

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t our_key[WG_KEY_LEN] = {1, 2, 3};

/* A token bucket as a textbook has it: credit grows with time, up to `reach`. */
struct bucket {
	uint64_t credit, at;
};

/* A bucket from which refused messages take tokens, too, until it owes as much as it can hold. */
struct debt {
	int64_t credit;
	uint64_t at;
};

struct noted_flow {
	struct flow_key key;
	uint64_t at;
};

static struct scene {
	struct cookie_checker checker;
	struct cookie_maker maker, with_cookie[2]; /* by family: 0 is IPv4 */
	bool has_mac1;
	uint32_t queues;     /* 0: the NIC is for the filter only */
	uint64_t admitted;   /* when the flows of both families were */
	uint64_t load_until; /* 0: never */
	struct bucket unproven, suspect[2], proven[2], friend[2], all_forged;
	struct debt forged[2]; /* of suspects that are friends */
	uint64_t suspect_until[2];
	bool is_friend[2];
	struct noted_flow noted[NOTED]; /* whose junk the filter has dropped */
	unsigned noted_count;
} scene;

/* What the model says of a frame. */
struct judgement {
	bool ours; /* a datagram for our port, on this NIC, without anything unusual */
	bool v6;
	enum { GOOD_DATA, GOOD_INITIATION, GOOD_OTHER, JUNK } kind;
	enum drop_reason reason; /* of junk */
	bool probe, response, proven;
	struct flow_key flow;
};

/* What the peer sends from, to us: 192.0.2.2 to 192.0.2.1, or 2001:db8::2 to 2001:db8::1. */
static struct flow_key base_flow(bool v6)
{
	struct flow_key k = {.ifindex = IFINDEX, .port = htons(51821)};
	static const uint8_t prefix6[4] = {0x20, 0x01, 0x0d, 0xb8};
	static const uint8_t prefix4[15] = {[10] = 0xff, 0xff, 192, 0, 2};

	k.proto = htons(v6 ? ETH_P_IPV6 : ETH_P_IP);
	memcpy(k.source, v6 ? prefix6 : prefix4, v6 ? sizeof(prefix6) : sizeof(prefix4));
	memcpy(k.destination, k.source, sizeof(k.source));
	k.source[15] = 2;
	k.destination[15] = 1;
	return k;
}

/* --- the model of a frame --- */

static uint16_t read16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint16_t sum16(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += read16(p + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void is_junk(struct judgement *j, enum drop_reason reason)
{
	j->kind = JUNK;
	j->reason = reason;
}

static void judge_data(struct judgement *j, const uint8_t *m, size_t len)
{
	static const uint8_t receiver[4] = {4, 3, 2, 1};

	j->kind = GOOD_DATA;
	if (len < 32)
		is_junk(j, DROP_bad_length);
	else if (memcmp(m + 4, receiver, 4))
		is_junk(j, DROP_unknown_receiver);
	else
		j->probe = !memcmp(m + 8, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
}

static void judge_handshake(struct judgement *j, const uint8_t *m, size_t len,
			    const struct ip_addr *source, uint16_t port)
{
	enum cookie_verdict v;

	if (len != (m[0] == 1 ? 148U : 92U)) {
		is_junk(j, DROP_bad_length);
		return;
	}
	v = cookie_check(&scene.checker, m, len, source, port, native.now);
	j->kind = m[0] == 1 ? GOOD_INITIATION : GOOD_OTHER;
	j->response = m[0] == 2;
	j->proven = v == COOKIE_MAC2_OK;
	if (v == COOKIE_BAD_MAC1 && scene.has_mac1)
		is_junk(j, DROP_bad_mac);
}

static void judge_message(struct judgement *j, const uint8_t *m, size_t len,
			  const struct ip_addr *source, uint16_t port)
{
	if (len < 4) {
		is_junk(j, DROP_bad_length);
	} else if (m[1] || m[2] || m[3] || !m[0] || m[0] > 4) {
		is_junk(j, DROP_bad_type);
	} else if (m[0] == 4) {
		judge_data(j, m, len);
	} else if (m[0] == 3) {
		j->kind = GOOD_OTHER;
		if (len != 64)
			is_junk(j, DROP_bad_length);
	} else {
		judge_handshake(j, m, len, source, port);
	}
}

/* Returns the offset of the UDP header, or 0. Sets what the IP header says of its payload. */
static size_t find_udp(const uint8_t *f, size_t len, struct judgement *j, size_t *payload)
{
	const uint8_t *ip = f + ETH_LEN;

	if (len >= ETH_LEN + IP4_LEN && read16(f + 12) == 0x0800) {
		*payload = (size_t)read16(ip + 2) - IP4_LEN;
		return ip[0] == 0x45 && ip[9] == 17 && !(read16(ip + 6) & 0x3fff) &&
				       sum16(ip, IP4_LEN) == 0xffff
			       ? ETH_LEN + IP4_LEN
			       : 0;
	}
	if (len >= ETH_LEN + IP6_LEN && read16(f + 12) == 0x86dd) {
		j->v6 = true;
		*payload = read16(ip + 4);
		return ip[0] >> 4 == 6 && ip[6] == 17 ? ETH_LEN + IP6_LEN : 0;
	}
	return 0;
}

static struct flow_key flow_of(const uint8_t *f, size_t udp, bool v6)
{
	struct flow_key k = {.ifindex = IFINDEX};
	const uint8_t *ip = f + ETH_LEN;

	memcpy(&k.proto, f + 12, 2);
	memcpy(&k.port, f + udp, 2);
	if (v6) {
		memcpy(k.source, ip + 8, 32);
		return k;
	}
	memset(k.source + 10, 0xff, 2);
	memcpy(k.source + 12, ip + 12, 4);
	memset(k.destination + 10, 0xff, 2);
	memcpy(k.destination + 12, ip + 16, 4);
	return k;
}

static struct ip_addr source_of(const struct flow_key *k, bool v6)
{
	struct ip_addr a = {.family = v6 ? IP_V6 : IP_V4};

	memcpy(a.bytes, v6 ? k->source : k->source + 12, v6 ? 16 : 4);
	return a;
}

/* len: of the part that programs read by pointers. */
static struct judgement judge_frame(const uint8_t *f, size_t len)
{
	struct judgement j = {0};
	size_t payload = 0, udp = find_udp(f, len, &j, &payload), left;
	struct ip_addr source;

	if (!udp || udp + UDP_LEN > len)
		return j;
	left = len - udp;
	j.ours = read16(f + udp + 2) == PORT && !memcmp(f, our_mac, 6) &&
		 read16(f + udp + 4) == payload && payload >= UDP_LEN &&
		 payload <= left && (!j.v6 || read16(f + udp + 6));
	if (!j.ours)
		return j;
	j.flow = flow_of(f, udp, j.v6);
	source = source_of(&j.flow, j.v6);
	judge_message(&j, f + udp + UDP_LEN, payload - UDP_LEN, &source, read16(f + udp));
	return j;
}

/* --- the model of the limits --- */

/* `now` may be earlier than native.now, but never goes back. */
static bool take_token(struct bucket *b, uint64_t now, uint64_t interval, uint64_t reach,
		       bool take)
{
	uint64_t passed = now - b->at;

	b->credit = b->credit + passed < reach ? b->credit + passed : reach;
	b->at = now;
	if (b->credit < interval)
		return false;
	if (take)
		b->credit -= interval;
	return true;
}

static bool take_or_owe(struct debt *d, bool take)
{
	const int64_t reach = FORGED_REACH;
	int64_t left, passed = (int64_t)(native.now - d->at);

	d->credit = d->credit + passed < reach ? d->credit + passed : reach;
	d->at = native.now;
	left = d->credit - (int64_t)FORGED_INTERVAL;
	if (take || left < 0)
		d->credit = left > -reach ? left : -reach;
	return left >= 0;
}

/* Tokens for a flood come in lumps: the clock that brings them moves every 2^24 ns. */
static uint64_t lumped(void)
{
	return native.now >> 24 << 24;
}

static bool under_load(void)
{
	return native.now < scene.load_until;
}

/* Returns true if it comes from the address, or the /64, that may be a suspect's. */
static bool is_from_base(const struct judgement *j)
{
	struct flow_key base = base_flow(j->v6);

	return !memcmp(base.source, j->flow.source, j->v6 ? 8 : 16);
}

static enum drop_reason limit_suspect(bool v6, bool take)
{
	if (take_token(&scene.suspect[v6], lumped(), SUSPECT_INTERVAL, SUSPECT_REACH,
		       take))
		return DROP_REASONS;
	if (scene.is_friend[v6] && take_or_owe(&scene.forged[v6], take) &&
	    take_token(&scene.all_forged, native.now, ALL_FORGED_INTERVAL,
		       ALL_FORGED_REACH, take))
		return DROP_REASONS;
	scene.suspect_until[v6] = native.now + WG_SUSPECT_NS;
	return DROP_rate_limited;
}

static enum drop_reason limit_unproven(bool friend, bool v6, bool take)
{
	if (friend && take_token(&scene.friend[v6], native.now, FRIEND_INTERVAL,
				 FRIEND_REACH, take))
		return DROP_REASONS;
	return take_token(&scene.unproven, lumped(), UNPROVEN_INTERVAL, UNPROVEN_REACH,
			  take)
		       ? DROP_REASONS
		       : DROP_no_cookie;
}

/* Returns why an initiation is one too many, or DROP_REASONS. */
static enum drop_reason limit(const struct judgement *j, bool take)
{
	bool base = is_from_base(j);
	bool suspect = base && native.now < scene.suspect_until[j->v6];

	if (!under_load() && !suspect)
		return DROP_REASONS;
	if (j->proven)
		return take_token(&scene.proven[j->v6], native.now, PROVEN_INTERVAL,
				  PROVEN_REACH, take)
			       ? DROP_REASONS
			       : DROP_rate_limited;
	if (suspect)
		return limit_suspect(j->v6, take);
	return limit_unproven(base && scene.is_friend[j->v6], j->v6, take);
}

static struct noted_flow *find_noted(const struct flow_key *flow)
{
	for (unsigned i = 0; i < scene.noted_count; i++)
		if (!memcmp(&scene.noted[i].key, flow, sizeof(*flow)))
			return &scene.noted[i];
	return NULL;
}

static bool is_noted(const struct flow_key *flow)
{
	const struct noted_flow *n = find_noted(flow);

	return n && native.now - n->at < NS_PER_SEC;
}

static void note(const struct flow_key *flow)
{
	struct noted_flow *n = find_noted(flow);

	if (!n) {
		n = &scene.noted[scene.noted_count++];
		*n = (struct noted_flow){.key = *flow, .at = native.now};
	}
	if (native.now - n->at >= NS_PER_SEC / 2)
		n->at = native.now;
}

/* --- the counters --- */

static uint64_t dropped(enum drop_reason reason)
{
	uint32_t zero = 0;
	const uint64_t *counters = bpf_map_lookup_elem(&drops, &zero);

	return counters[reason];
}

static uint64_t all_dropped(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < DROP_REASONS; i++)
		sum += dropped(i);
	return sum;
}

static uint64_t steered(void)
{
	uint32_t peer = PEER;
	const struct peer_stats *stats = bpf_map_lookup_elem(&peer_stats, &peer);

	return stats->nic_packets;
}

/* --- what the XDP program must do --- */

struct expected {
	int verdict;
	const void *map;	 /* if it is XDP_REDIRECT */
	enum drop_reason reason; /* if it is XDP_DROP */
};

static const struct expected pass = {.verdict = XDP_PASS};

static bool is_taken(const struct judgement *j)
{
	struct flow_key base = base_flow(j->v6);

	return !memcmp(&base, &j->flow, sizeof(base)) && scene.admitted &&
	       native.now - scene.admitted < 30 * NS_PER_SEC;
}

static struct expected expect_drop(enum drop_reason reason)
{
	return (struct expected){.verdict = XDP_DROP, .reason = reason};
}

static struct expected expect_other(const struct judgement *j, bool taken, bool fits)
{
	bool noted = is_noted(&j->flow);
	enum drop_reason reason;

	if (j->kind == JUNK)
		return noted ? expect_drop(j->reason) : pass;
	if (!taken && !noted && !under_load())
		return pass;
	reason = j->kind == GOOD_INITIATION ? limit(j, taken) : DROP_REASONS;
	if (reason != DROP_REASONS)
		return expect_drop(reason);
	if (!taken || !fits || !scene.has_mac1 ||
	    (j->kind != GOOD_INITIATION && !j->response))
		return pass;
	return (struct expected){.verdict = XDP_REDIRECT, .map = &xsk_handshake};
}

static struct expected expect(const struct judgement *j, uint32_t queue)
{
	bool fits = queue < scene.queues && native.direct == native.len &&
		    native.len <= MAX_SIZE;

	if (!j->ours)
		return pass;
	if (j->kind != GOOD_DATA)
		return expect_other(j, is_taken(j), fits);
	if (!is_taken(j) || j->probe || !fits)
		return pass;
	return (struct expected){.verdict = XDP_REDIRECT, .map = &xsk_data};
}

static int run_xdp(const struct judgement *j, uint32_t queue)
{
	struct expected e = expect(j, queue);
	uint64_t drops_before = all_dropped(), steered_before = steered();
	uint64_t reason_before = e.verdict == XDP_DROP ? dropped(e.reason) : 0;
	uint8_t *data = native_expose(native.direct);
	struct xdp_md ctx = {.data = (uint32_t)(uintptr_t)data,
			     .data_end = (uint32_t)(uintptr_t)(data + native.direct),
			     .ingress_ifindex = IFINDEX,
			     .rx_queue_index = queue};
	int verdict = wg_nic(&ctx);

	CHECK(verdict == e.verdict);
	CHECK(native_unchanged());
	CHECK(all_dropped() - drops_before == (verdict == XDP_DROP));
	if (verdict == XDP_DROP)
		CHECK(dropped(e.reason) == reason_before + 1);
	if (verdict == XDP_REDIRECT)
		CHECK(native.redirected == e.map && native.redirected_to == queue);
	CHECK(steered() - steered_before == (e.map == &xsk_data));
	return verdict;
}

/* --- what the filter of the UDP sockets must do --- */

/* Several messages that GRO has merged, or one. */
struct merged {
	size_t ends[MERGED];
	struct judgement judgements[MERGED];
	unsigned count;
	uint32_t segment; /* 0: not merged */
};

static bool is_refused(const struct judgement *j, bool *limited)
{
	if (j->kind != GOOD_INITIATION)
		return j->kind == JUNK;
	if (limit(j, true) == DROP_REASONS)
		return false;
	*limited = true;
	return true;
}

/* Returns how many bytes of the messages the socket must receive: up to the last good one, or all if
 * there are data. What is behind refused messages counts as good if it takes a key to make, and, for
 * handshake messages, if no initiation before it was one too many. Sets *cut to the number of refused
 * messages that are cut off, which the filter must have counted. */
static size_t expect_kept(const struct merged *m, unsigned *cut)
{
	bool limited = false;
	size_t kept = 0;

	*cut = 0;
	for (unsigned i = 0; i < m->count; i++) {
		const struct judgement *j = &m->judgements[i];
		bool first = kept == (i ? m->ends[i - 1] : 0);
		bool anybodys = j->kind == GOOD_OTHER && !j->response;

		if (is_refused(j, &limited)) {
			(*cut)++;
		} else if (j->kind == GOOD_DATA) {
			*cut = 0;
			return m->ends[m->count - 1];
		} else if (first || (!limited && !anybodys)) {
			kept = m->ends[i];
			*cut = 0;
		}
	}
	return kept;
}

/* native.packet is what the kernel delivers: a UDP header and the messages. */
static void run_filter(const struct merged *m, const struct flow_key *flow)
{
	struct __sk_buff skb = {.len = (uint32_t)native.len,
				.protocol = flow->proto,
				.ifindex = flow->ifindex,
				.gso_size = m->segment};
	uint64_t before = all_dropped();
	unsigned cut;
	size_t kept = expect_kept(m, &cut);

	CHECK((size_t)wg_judge_datagram(&skb) == (kept ? UDP_LEN + kept : 0));
	CHECK(all_dropped() - before == cut);
	if (!kept || kept != m->ends[m->count - 1])
		note(flow);
}

/* --- frames from the input --- */

static size_t make_handshake(struct input *in, uint8_t *m, bool response, bool v6,
			     bool proven)
{
	size_t len = response ? sizeof(struct wg_response) : sizeof(struct wg_initiation);

	take(in, m + 4, 4);
	m[0] = response ? WG_RESPONSE : WG_INITIATION;
	/* A cookie that has expired is sent all the same. */
	cookie_maker_add_macs(proven ? &scene.with_cookie[v6] : &scene.maker, m, len,
			      START);
	return len;
}

static size_t make_data(struct input *in, uint8_t *m)
{
	uint8_t counter = take8(in);

	m[0] = WG_DATA;
	memcpy(m + 4, "\4\3\2\1", 4);
	memset(m + 8, counter, 8);
	return WG_DATA_OVERHEAD + 16 * (take8(in) % 100);
}

/* Writes a message into zeroed memory and returns its length. */
static size_t make_message(struct input *in, uint8_t *m, bool v6)
{
	uint8_t kind = take8(in);

	switch (kind % 8) {
	case 0:
	case 1:
	case 2:
		return make_handshake(in, m, false, v6, kind & 8);
	case 3:
		return make_handshake(in, m, true, v6, kind & 8);
	case 4:
		m[0] = WG_COOKIE_REPLY;
		return sizeof(struct wg_cookie_reply);
	case 5:
		return take(in, m, take8(in));
	default:
		return make_data(in, m);
	}
}

static void write16(uint8_t *p, size_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static void put_checksum(uint8_t *f)
{
	write16(f + ETH_LEN + 10, 0);
	write16(f + ETH_LEN + 10, 0xffff ^ sum16(f + ETH_LEN, IP4_LEN));
}

/* Puts headers before a message of `len` bytes. Returns where the UDP header is. */
static size_t put_headers(uint8_t *f, size_t len, bool v6)
{
	struct flow_key k = base_flow(v6);
	size_t udp = ETH_LEN + (v6 ? IP6_LEN : IP4_LEN);
	uint8_t *ip = f + ETH_LEN;

	memcpy(f, our_mac, 6);
	memcpy(f + 12, &k.proto, 2);
	ip[0] = v6 ? 0x60 : 0x45;
	write16(ip + (v6 ? 4 : 2), UDP_LEN + len + (v6 ? 0 : IP4_LEN));
	ip[v6 ? 6 : 9] = 17;
	memcpy(ip + (v6 ? 8 : 12), v6 ? k.source : k.source + 12, v6 ? 16 : 4);
	memcpy(ip + (v6 ? 24 : 16), v6 ? k.destination : k.destination + 12, v6 ? 16 : 4);
	memcpy(f + udp, &k.port, 2);
	write16(f + udp + 2, PORT);
	write16(f + udp + 4, UDP_LEN + len);
	write16(f + udp + 6, 0x1234);
	if (!v6)
		put_checksum(f);
	return udp;
}

/* Changes bytes anywhere, and the length; the IPv4 checksum is right again if the input says so. */
static void damage(struct input *in, uint8_t how)
{
	for (unsigned n = how % 4; n && native.len; n--) {
		size_t at = take16(in) % native.len;

		native.packet[at] ^= take8(in);
	}
	if (how & 4)
		native.len -= take8(in) % (native.len + 1);
	if (how & 8)
		native.len += take8(in);
	if (how & 16 && native.len >= ETH_LEN + IP4_LEN && native.packet[12] == 8)
		put_checksum(native.packet);
}

/* Makes native.packet what the kernel delivers of a frame: from the UDP header on. */
static void deliver(const struct judgement *j)
{
	struct merged m = {.count = 1, .judgements = {*j}};
	size_t ip = j->v6 ? IP6_LEN : IP4_LEN, udp = ETH_LEN + ip;
	size_t len = read16(native.packet + udp + 4);

	memcpy(native.ip_header, native.packet + ETH_LEN, ip);
	memmove(native.packet, native.packet + udp, len);
	native.len = len;
	m.ends[0] = len - UDP_LEN;
	run_filter(&m, &j->flow);
}

static void receive_frame(struct input *in)
{
	uint8_t how = take8(in), where = take8(in);
	bool v6 = how & 128;
	size_t udp = ETH_LEN + (v6 ? IP6_LEN : IP4_LEN), len;
	struct judgement j;

	memset(native.packet, 0, FRAME);
	len = make_message(in, native.packet + udp + UDP_LEN, v6);
	put_headers(native.packet, len, v6);
	native.len = udp + UDP_LEN + len;
	damage(in, how);
	native.direct = where & 128 ? take8(in) % (native.len + 1) : native.len;
	j = judge_frame(native.packet, native.direct);
	if (run_xdp(&j, where % (QUEUES + 1)) == XDP_PASS && j.ours)
		deliver(&j);
}

/* The kernel delivers several messages of one length, except the last one, which may be shorter. */
static void receive_merged(struct input *in)
{
	uint8_t how = take8(in), frame[FRAME];
	bool v6 = how & 128;
	struct merged m = {0};
	struct flow_key k = base_flow(v6);
	struct ip_addr source = source_of(&k, v6);
	size_t at = 0, udp, len;

	while (m.count < 1U + how % MERGED &&
	       (!m.count || m.ends[0] >= WG_DATA_OVERHEAD)) {
		uint8_t *message = native.packet + UDP_LEN + at;

		memset(message, 0, FRAME);
		len = make_message(in, message, v6);
		if (m.count && len > m.ends[0])
			len = m.ends[0];
		if (!len)
			break;
		judge_message(&m.judgements[m.count], message, len, &source,
			      ntohs(k.port));
		m.judgements[m.count].v6 = v6;
		m.judgements[m.count].flow = k;
		at += len;
		m.ends[m.count++] = at;
		if (m.count > 1 && len < m.ends[0])
			break;
	}
	if (!m.count)
		return;
	m.segment = m.count > 1 ? (uint32_t)m.ends[0] : 0;
	memset(frame, 0, sizeof(frame));
	udp = put_headers(frame, at, v6);
	memcpy(native.ip_header, frame + ETH_LEN, udp - ETH_LEN);
	memcpy(native.packet, frame + udp, UDP_LEN);
	native.len = UDP_LEN + at;
	run_filter(&m, &k);
}

/* --- the scene --- */

#define PUT(map, k, v) \
	CHECK(!bpf_map_update_elem(map, (&(typeof(*(map)->key)){k}), v, BPF_ANY))

static void mac_state(uint32_t state[8], const uint8_t key[WG_KEY_LEN])
{
	uint32_t block[16] = {0};

	memcpy(block, key, WG_KEY_LEN);
	blake2s_init_h(state, WG_MAC_LEN, WG_KEY_LEN);
	blake2s_compress(state, block, BLAKE2S_BLOCK_LEN, 0);
}

static void put_config(void)
{
	struct wg_config c = {.listen_port = PORT, .has_mac1 = scene.has_mac1};

	mac_state(c.mac1_state, scene.checker.mac1_key);
	PUT(&config, 0, &c);
}

/* All buckets are full. */
static void put_defence(void)
{
	struct defence d = {.cookie_until = START + WG_COOKIE_LIFETIME * NS_PER_SEC};

	mac_state(d.cookie_state, scene.checker.secret);
	PUT(&defence, 0, &d);
	scene.unproven.credit = UNPROVEN_REACH;
	scene.all_forged.credit = ALL_FORGED_REACH;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		scene.suspect[v6].credit = SUSPECT_REACH;
		scene.proven[v6].credit = PROVEN_REACH;
		scene.forged[v6].credit = FORGED_REACH;
	}
}

static void put_nic(void)
{
	struct nic_entry nic = {.count = scene.queues, .max_frame = MAX_SIZE};
	uint32_t socket = 1;

	memcpy(nic.mac, our_mac, sizeof(our_mac));
	PUT(&nics, IFINDEX, &nic);
	for (uint32_t queue = 0; queue < QUEUES; queue++) {
		PUT(&xsk_data, queue, &socket);
		PUT(&xsk_handshake, queue, &socket);
	}
}

static void put_peer(void)
{
	struct session s = {.peer = PEER};

	PUT(&sessions, htonl(0x04030201), &s);
	PUT(&peer_stats, PEER, &(struct peer_stats){0});
	PUT(&drops, 0, &(struct drops){0});
}

static void make_cookies(bool v6)
{
	struct flow_key k = base_flow(v6);
	struct ip_addr source = source_of(&k, v6);
	uint8_t message[sizeof(struct wg_initiation)] = {WG_INITIATION};
	struct wg_cookie_reply reply;

	cookie_maker_init(&scene.with_cookie[v6], our_key);
	cookie_maker_add_macs(&scene.with_cookie[v6], message, sizeof(message), START);
	CHECK(!cookie_reply_create(&scene.checker, message, sizeof(message), 0, &source,
				   ntohs(k.port), START, &reply));
	CHECK(!cookie_maker_consume_reply(&scene.with_cookie[v6], &reply, START));
}

static void scene_begin(uint8_t how)
{
	scene = (struct scene){.has_mac1 = !(how & 1), .queues = how & 2 ? 0 : QUEUES};
	native.count = 0;
	native.now = START;
	cookie_checker_init(&scene.checker, our_key);
	memset(scene.checker.secret, 0x5e, WG_KEY_LEN);
	scene.checker.have_secret = true;
	scene.checker.secret_time = START;
	cookie_maker_init(&scene.maker, our_key);
	make_cookies(false);
	make_cookies(true);
	put_config();
	put_defence();
	put_nic();
	put_peer();
}

static void admit(void)
{
	struct flow flow = {.admitted = native.now};

	scene.admitted = native.now;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct flow_key k = base_flow(v6);

		CHECK(!bpf_map_update_elem(&flows, &k, &flow, BPF_ANY));
	}
}

/* Puts the daemon under load. All initiations without a cookie share a bucket, in which the input
 * leaves few tokens. */
static void begin_load(struct input *in)
{
	uint32_t zero = 0;
	struct defence *d = bpf_map_lookup_elem(&defence, &zero);
	uint64_t credit = take8(in) % 8 * UNPROVEN_INTERVAL;

	scene.load_until = d->load_until = native.now + WG_LOAD_LASTS_NS;
	d->unproven = lumped() + UNPROVEN_REACH - credit;
	scene.unproven = (struct bucket){.credit = credit, .at = lumped()};
}

static struct source_key base_source(bool v6)
{
	struct flow_key flow = base_flow(v6);
	struct source_key k = {.proto = flow.proto};

	memcpy(k.prefix, v6 ? flow.source : flow.source + 12, v6 ? 8 : 4);
	return k;
}

/* Makes the source of the family's flow a suspect with few tokens left. */
static void suspect(struct input *in, bool v6)
{
	uint8_t left = take8(in);
	uint64_t credit = left % 8 * SUSPECT_INTERVAL;
	uint64_t of_all = left / 8 % 8 * ALL_FORGED_INTERVAL;
	int64_t forged = (left / 64 - 1) * (int64_t)FORGED_INTERVAL;
	uint32_t zero = 0;
	struct defence *d = bpf_map_lookup_elem(&defence, &zero);
	struct source_key k = base_source(v6);
	struct source *s, fresh = {0};

	if (!bpf_map_lookup_elem(&sources, &k))
		CHECK(!bpf_map_update_elem(&sources, &k, &fresh, BPF_ANY));
	s = bpf_map_lookup_elem(&sources, &k);
	scene.suspect_until[v6] = s->suspect_until = native.now + WG_SUSPECT_NS;
	s->unproven = lumped() + SUSPECT_REACH - credit;
	scene.suspect[v6] = (struct bucket){.credit = credit, .at = lumped()};
	s->forged = native.now + FORGED_REACH - (uint64_t)forged;
	scene.forged[v6] = (struct debt){.credit = forged, .at = native.now};
	d->forged = native.now + ALL_FORGED_REACH - of_all;
	scene.all_forged = (struct bucket){.credit = of_all, .at = native.now};
}

/* Makes it a friend with few tokens left. */
static void befriend(struct input *in, bool v6)
{
	uint64_t credit = take8(in) % 4 * FRIEND_INTERVAL;
	struct source_key k = base_source(v6);
	struct friend f = {.unproven = native.now + FRIEND_REACH - credit};

	CHECK(!bpf_map_update_elem(&friends, &k, &f, BPF_ANY));
	scene.is_friend[v6] = true;
	scene.friend[v6] = (struct bucket){.credit = credit, .at = native.now};
}

static void step(struct input *in)
{
	uint8_t what = take8(in);

	switch (what % 16) {
	case 0:
	case 1:
		native.now += take16(in) * (NS_PER_SEC / 1000);
		break;
	case 2:
		begin_load(in);
		break;
	case 3:
		admit();
		break;
	case 4:
		suspect(in, what & 128);
		break;
	case 5:
		befriend(in, what & 128);
		break;
	case 6:
		receive_merged(in);
		break;
	default:
		receive_frame(in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};

	CHECK(sodium_init() >= 0);
	scene_begin(take8(&in));
	for (unsigned i = 0; i < STEPS && in.left; i++)
		step(&in);
	return 0;
}
