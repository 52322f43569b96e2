/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Decides which messages are junk and which initiations exceed the limits, for the XDP program and
 * for the filter of the UDP sockets.
 *
 * Theory of operation. Only the kernel knows whether a packet is for this host: the answers to a
 * masqueraded client may carry our address and port. The filter of the UDP sockets sees only what
 * the kernel delivers to them, so it drops all junk. It also notes the junk's flow. For the next
 * second the XDP program drops the junk of that flow before the network stack. Then it passes the
 * flow's next junk, and the filter notes the flow again.
 *
 * An initiation with a right mac1 is provably for this interface, so the XDP program may drop it.
 * Without load, all such initiations pass, except those of suspects: sources from which the daemon
 * has received many worthless initiations. Suspects are limited at all times, so that they cannot
 * put the daemon under load. The daemon answers theirs by cookies, as under load. Under load:
 * - An initiation with a cookie, which proves that its source is not forged, passes if the bucket
 *   of the source has a token.
 * - Initiations without a cookie share one bucket. Its rate is what the daemon can answer with
 *   cookies.
 * - Friends, the sources of the peers' endpoints, have a separate bucket each for initiations
 *   without a cookie. A flood from forged sources does not empty it.
 *
 * The map `sources` has entries of suspects and of sources that sent a cookie. One initiation from a
 * forged source therefore adds no entry. If there are too many, the least recently used go. Friends
 * have a separate map, in which only the daemon adds and removes entries, so nobody can evict them.
 *
 * The programs take tokens without locks: a race may let a few more initiations pass.
 */
#ifndef BPF_FLOOD_H
#define BPF_FLOOD_H

#include "macs.h"
#include "maps.h"
#include "nanoseconds.h"
#include "parse.h"

/* How long XDP drops the junk of a flow that was noted. The flow is noted again, at the earliest,
 * after half of that time. */
#define JUNK_LASTS_NS NS_PER_SEC

/* Of each kind of bucket: the interval of its tokens, and how long an empty one takes to fill. */
#define PROVEN_INTERVAL	    (NS_PER_SEC / 20)
#define PROVEN_REACH	    (5 * PROVEN_INTERVAL)
#define SUSPECT_INTERVAL    (NS_PER_SEC / 200)
#define SUSPECT_REACH	    (200 * SUSPECT_INTERVAL)
#define FORGED_INTERVAL	    (NS_PER_SEC / 2500)
#define FORGED_REACH	    (250 * FORGED_INTERVAL)
#define ALL_FORGED_INTERVAL (NS_PER_SEC / 5000)
#define ALL_FORGED_REACH    (500 * ALL_FORGED_INTERVAL)
#define FRIEND_INTERVAL	    (NS_PER_SEC / 20)
#define FRIEND_REACH	    (20 * FRIEND_INTERVAL)
#define UNPROVEN_INTERVAL   (NS_PER_SEC / 1000)
#define UNPROVEN_REACH	    (4096 * UNPROVEN_INTERVAL) /* as long as the daemon's queue */
#define LUMP_NS		    (1ULL << 24)	       /* 17 ms */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wg_config);
} config SEC(".maps");

/* By receiver index: its four bytes as on the wire. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WG_MAX_SESSIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct session);
} sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct defence);
} defence SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WG_MAX_SOURCES);
	__type(key, struct source_key);
	__type(value, struct source);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WG_MAX_FRIENDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_key);
	__type(value, struct friend);
} friends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WG_MAX_JUNK);
	__type(key, struct flow_key);
	__type(value, struct junk_flow);
} junk_flows SEC(".maps");

static __always_inline struct defence *find_defence(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&defence, &zero);
}

static __always_inline bool is_loaded(void)
{
	const struct defence *d = find_defence();

	return d && bpf_ktime_get_boot_ns() < d->load_until;
}

/* --- junk --- */

static __always_inline bool is_junk_flow(const struct flow_key *flow)
{
	const struct junk_flow *j = bpf_map_lookup_elem(&junk_flows, flow);

	return j && bpf_ktime_get_boot_ns() < j->delivered + JUNK_LASTS_NS;
}

static __always_inline void note_junk_flow(const struct flow_key *flow)
{
	const struct junk_flow *j = bpf_map_lookup_elem(&junk_flows, flow);
	struct junk_flow now = {.delivered = bpf_ktime_get_boot_ns()};

	if (!j || now.delivered >= j->delivered + JUNK_LASTS_NS / 2)
		bpf_map_update_elem(&junk_flows, flow, &now, BPF_ANY);
}

/* Judges an initiation or a response. Without a private key no mac1 is right, but then a worker
 * drops the message. */
static __always_inline enum drop_reason refuse_mac1(const struct wg_config *c,
						    const struct message *m, __u32 type)
{
	bool right;

	if (!c->has_mac1)
		return DROP_REASONS;
	right = type == WG_INITIATION
			? mac1_right(c, m, offsetof(struct wg_initiation, mac1))
			: mac1_right(c, m, offsetof(struct wg_response, mac1));
	return right ? DROP_REASONS : DROP_bad_mac;
}

static __always_inline enum drop_reason refuse_length(__u32 length, __u32 right)
{
	return length == right ? DROP_REASONS : DROP_bad_length;
}

static __always_inline enum drop_reason refuse_data(const struct message *m,
						    __u32 receiver)
{
	if (m->length < WG_DATA_OVERHEAD)
		return DROP_bad_length;
	return bpf_map_lookup_elem(&sessions, &receiver) ? DROP_REASONS
							 : DROP_unknown_receiver;
}

/* Returns why a worker would certainly drop the message, or DROP_REASONS if it might not. Sets
 * *type, to 0 if the message is too short to have one. */
static __always_inline enum drop_reason refuse_junk(const struct wg_config *c,
						    const struct message *m, __u32 *type)
{
	__u32 head[2] = {0}; /* the type, and the receiver index of a data message */

	*type = 0;
	if (m->length < sizeof(head[0]) || !load(m, 0, head, sizeof(head[0])))
		return DROP_bad_length;
	*type = le32(head[0]);
	switch (*type) {
	case WG_DATA:
		if (m->length < WG_DATA_OVERHEAD ||
		    !load(m, sizeof(head[0]), &head[1], sizeof(head[1])))
			return DROP_bad_length;
		return refuse_data(m, head[1]);
	case WG_INITIATION:
		if (m->length != sizeof(struct wg_initiation))
			return DROP_bad_length;
		return refuse_mac1(c, m, WG_INITIATION);
	case WG_RESPONSE:
		if (m->length != sizeof(struct wg_response))
			return DROP_bad_length;
		return refuse_mac1(c, m, WG_RESPONSE);
	case WG_COOKIE_REPLY:
		return refuse_length(m->length, sizeof(struct wg_cookie_reply));
	default:
		return DROP_bad_type;
	}
}

/* --- limits of initiations --- */

/* Returns true if the bucket has a token, and takes it if `take` is set. */
static __always_inline bool has_token(__u64 *full_at, __u64 now, __u64 interval,
				      __u64 reach, bool take)
{
	__u64 full = (*full_at > now ? *full_at : now) + interval;

	if (full > now + reach)
		return false;
	if (take)
		*full_at = full;
	return true;
}

/* The time by which buckets get tokens that are spent on a flood: it moves on in steps. So the
 * flood's messages pass several at a time, and wake the daemon once for all of them. */
static __always_inline __u64 lump(__u64 now)
{
	return now & ~(LUMP_NS - 1);
}

static __always_inline struct source_key source_key(const struct flow_key *flow)
{
	struct source_key key = {.proto = flow->proto};

	if (flow->proto == bpf_htons(ETH_P_IP))
		__builtin_memcpy(key.prefix, flow->source + 12, 4);
	else
		__builtin_memcpy(key.prefix, flow->source, 8);
	return key;
}

static __always_inline enum drop_reason
refuse_proven(struct source *s, const struct source_key *key, __u64 now, bool take)
{
	struct source fresh = {.proven = now + PROVEN_INTERVAL};

	if (s)
		return has_token(&s->proven, now, PROVEN_INTERVAL, PROVEN_REACH, take)
			       ? DROP_REASONS
			       : DROP_rate_limited;
	if (take)
		bpf_map_update_elem(&sources, key, &fresh, BPF_NOEXIST);
	return DROP_REASONS;
}

static __always_inline enum drop_reason
refuse_unproven(const struct source_key *key, struct defence *d, __u64 now, bool take)
{
	struct friend *f = bpf_map_lookup_elem(&friends, key);

	if (f && has_token(&f->unproven, now, FRIEND_INTERVAL, FRIEND_REACH, take))
		return DROP_REASONS;
	if (has_token(&d->unproven, lump(now), UNPROVEN_INTERVAL, UNPROVEN_REACH, take))
		return DROP_REASONS;
	return DROP_no_cookie;
}

/* Returns true if the initiations come no faster than the bucket's tokens. Unlike has_token(), it
 * takes tokens for initiations that are refused, so a faster flood gets nothing. */
static __always_inline bool keeps_rate(__u64 *full_at, __u64 now, bool take)
{
	const __u64 limit = now + FORGED_REACH;
	__u64 full = (*full_at > now ? *full_at : now) + FORGED_INTERVAL;
	bool keeps = full <= limit;

	if (full > limit + FORGED_REACH)
		full = limit + FORGED_REACH;
	if (take || !keeps)
		*full_at = full;
	return keeps;
}

/* A suspect remains one for as long as it exceeds its limit. If a peer is there, somebody may have
 * forged its address. Then all initiations of a slow flood are answered by cookies, so that the
 * peer's initiation gets one. In a fast flood that would cost much and help little. */
static __always_inline enum drop_reason refuse_suspect(struct source *s,
						       const struct source_key *key,
						       struct defence *d, __u64 now,
						       bool take)
{
	if (has_token(&s->unproven, lump(now), SUSPECT_INTERVAL, SUSPECT_REACH, take))
		return DROP_REASONS;
	if (bpf_map_lookup_elem(&friends, key) && keeps_rate(&s->forged, now, take) &&
	    has_token(&d->forged, now, ALL_FORGED_INTERVAL, ALL_FORGED_REACH, take))
		return DROP_REASONS;
	s->suspect_until = now + WG_SUSPECT_NS;
	return DROP_rate_limited;
}

/* Returns DROP_REASONS if the initiation, whose mac1 is right, should reach the daemon. `take`: its
 * token is taken; false if another program judges the same initiation later. */
static __always_inline enum drop_reason
refuse_initiation(const struct message *m, const struct flow_key *flow, bool take)
{
	struct source_key key = source_key(flow);
	struct source *s = bpf_map_lookup_elem(&sources, &key);
	struct defence *d = find_defence();
	__u64 now = bpf_ktime_get_boot_ns();
	bool suspect = s && now < s->suspect_until, proven;

	if (!d || (now >= d->load_until && !suspect))
		return DROP_REASONS;
	proven = now < d->cookie_until && mac2_right(d, m, flow);
	if (suspect && !proven)
		return refuse_suspect(s, &key, d, now, take);
	return proven ? refuse_proven(s, &key, now, take)
		      : refuse_unproven(&key, d, now, take);
}

#endif
