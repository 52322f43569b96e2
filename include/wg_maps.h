/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the BPF programs and the daemon share: map keys and values, the peer tag
 * and the drop reasons. Field names are what `bpftool map dump` prints.
 */
#ifndef WG_MAPS_H
#define WG_MAPS_H

#include <linux/types.h>

#include "nanoseconds.h"

/* Peers, prefixes and sessions of one interface. */
#define WG_MAX_PEERS	   (1U << 17)
#define WG_MAX_ALLOWED_IPS (1U << 22)
#define WG_MAX_SESSIONS	   (WG_MAX_PEERS * 4)
#define WG_MAX_FLOWS	   WG_MAX_PEERS /* one per peer */
#define WG_MAX_NICS	   16
#define WG_MAX_QUEUES	   64 /* of one NIC */
#define WG_MAX_WORKERS	   64
#define WG_MAX_XSKS	   (WG_MAX_NICS * WG_MAX_QUEUES)
/* The control thread's line in worker_stats, behind those of the workers. */
#define WG_CONTROL_STATS WG_MAX_WORKERS

/*
 * The peer tag: a locally administered unicast address that carries the peer's
 * slot in its last three bytes. TC egress writes it into the destination, the
 * worker into the source of what it writes to wg0.
 */
#define WG_TAG_0 0x02
#define WG_TAG_1 0x57
#define WG_TAG_2 0x47
/* No peer has this slot: TC egress writes it for a destination that is nobody's. */
#define WG_SLOT_NONE 0xffffffU

/*
 * TC egress writes what else the worker has to know into the source address: WG_TAG_0
 * with WG_ flags; four bytes of the destination, for the TAP's filter; and the TTL that the
 * outer packet must have if the inner one is itself what a wgxdp of this host sent by its UDP
 * socket (0: any other).
 */
#define WG_FORWARDED 4 /* came from another host */

/*
 * wgxdp's UDP sockets have this priority (SO_PRIORITY), by which the TC program recognizes what
 * they sent. Its low bits are 0 and no class has its number, so queueing disciplines treat it like
 * priority 0. Each tunnel inside a tunnel takes WG_TTL_OF_A_TUNNEL off the TTL, so a packet in a
 * loop is dropped soon.
 */
#define WG_SOCKET_PRIORITY 0x57470000
#define WG_TTL_OF_A_TUNNEL 8

struct lpm4_key {
	__u32 prefixlen;
	__u8 addr[4];
};

struct lpm6_key {
	__u32 prefixlen;
	__u8 addr[16];
};

struct allowed_ip {
	__u32 peer;
};

struct session {
	__u32 peer;
};

/* The addresses of what a peer sends, as on the wire. An IPv4 address is ::ffff:a.b.c.d. */
struct flow_key {
	__u32 ifindex; /* of the NIC that it arrives by */
	__u16 proto;   /* ETH_P_IP or ETH_P_IPV6, network byte order */
	__u16 port;    /* source port, network byte order */
	__u8 source[16];
	__u8 destination[16];
};

struct flow {
	/* When the kernel last delivered something authentic of it: CLOCK_MONOTONIC, ns. */
	__u64 admitted;
};

/* A flow that was admitted this long ago has lapsed: XDP passes its packets to the kernel. */
#define WG_FLOW_LAPSED_NS (30 * NS_PER_SEC)

/* A NIC that the XDP program serves: its queues' keys in the XSK maps. */
struct nic_entry {
	__u32 first_key;
	__u32 count;
	__u32 max_frame; /* longer ones, merged by GRO perhaps, are for the UDP socket */
	__u8 mac[6];	 /* of the NIC: frames to another one are not ours */
	__u8 zero[2];
};

struct wg_config {
	__u32 listen_port; /* host byte order; 0: not listening */
	/* BLAKE2s under the key of mac1 (whitepaper section 5.4.4), after the key's block. */
	__u32 mac1_state[8];
	__u32 has_mac1;	 /* 0: no private key, so that no handshake message is ours */
	char ifname[16]; /* the interface that the map belongs to */
};

/*
 * Defence against floods (bpf/flood.h). Times are CLOCK_BOOTTIME, ns. A token bucket is the time
 * at which it is full again (daemon/protocol/ratelimit.c has the theory).
 */

/* State of the defence as a whole. The daemon maps it into its memory. */
struct defence {
	__u64 load_until; /* until then the daemon is under load (whitepaper section 5.3) */
	__u64 unproven;	  /* bucket of all initiations without a cookie */
	__u64 forged;	  /* bucket of all suspects that are friends, too */
	__u64 cookie_until; /* when cookie_state expires; 0: there are no cookies */
	/* BLAKE2s under the secret that cookies are made of, after the key's block. */
	__u32 cookie_state[8];
};

/* An IPv4 address, or the first 64 bits of an IPv6 address, padded with zeros. */
struct source_key {
	__u16 proto; /* ETH_P_IP or ETH_P_IPV6, network byte order */
	__u8 prefix[8];
};

/* A source that has sent a cookie, or a suspect. */
struct source {
	__u64 suspect_until; /* a suspect: many of its initiations were worthless */
	__u64 proven;	     /* bucket of initiations with a cookie */
	__u64 unproven;	     /* of a suspect: bucket of initiations without one */
	__u64 forged;	     /* of a suspect that is a friend: a second bucket of these */
};

/* A source where a peer's endpoint is. */
struct friend
{
	__u64 unproven; /* bucket of initiations without a cookie */
};

/* A flow whose junk the kernel has delivered. */
struct junk_flow {
	__u64 delivered; /* when it was last noted */
};

#define WG_LOAD_LASTS_NS NS_PER_SEC
#define WG_SUSPECT_NS	 (10 * NS_PER_SEC)
#define WG_MAX_SOURCES	 16384
#define WG_MAX_FRIENDS	 WG_MAX_PEERS /* one per peer */
#define WG_MAX_JUNK	 16384	      /* flows */

/* Inner packets and bytes as the TC programs see them (what a worker coalesced counts as
 * one), and outer data messages that the XDP program steered to AF_XDP. Per CPU. */
struct peer_stats {
	__u64 to_peer_packets;
	__u64 to_peer_bytes;
	__u64 from_peer_packets;
	__u64 from_peer_bytes;
	__u64 from_peer_bad_source;
	__u64 from_peer_refused_bytes; /* of the messages that those came in */
	__u64 nic_packets;
	__u64 nic_bytes;
};

/* What wg_read_stats is asked for, and answers. */
#define WG_STATS_AT_ONCE 64
struct peer_stats_view {
	__u32 count;
	__u32 slots[WG_STATS_AT_ONCE];
	__u32 found[WG_STATS_AT_ONCE]; /* CPUs; 0: there is no such peer */
	struct peer_stats stats[WG_STATS_AT_ONCE];
};

/*
 * Everything that is refused, by reason: X(name, explanation). Those of the TC
 * programs first, then those of the daemon. The XDP program and the filter of the UDP sockets
 * count junk and floods by the daemon's reasons.
 */
#define WG_DROP_REASONS(X)                                                        \
	X(egress_not_ip, "neither IPv4 nor IPv6 sent to the interface")           \
	X(egress_no_peer, "destination in nobody's allowed IPs")                  \
	X(egress_loop, "in a tunnel in a tunnel, too many times: a routing loop") \
	X(egress_bypass,                                                          \
	  "sent past the TC program of the interface, or changed after it")       \
	X(ingress_not_ip, "neither IPv4 nor IPv6 came out of the tunnel")         \
	X(ingress_no_tag, "frame on the interface that no worker wrote")          \
	X(ingress_bad_source, "source not in the allowed IPs of that peer")       \
	X(bad_type, "message type unknown or reserved bytes set")                 \
	X(bad_length, "length does not fit the message type")                     \
	X(unknown_receiver, "receiver index belongs to no session")               \
	X(bad_checksum, "UDP checksum wrong")                                     \
	X(bad_tag, "data message not authentic")                                  \
	X(replay, "data message seen before or too old")                          \
	X(key_expired,                                                            \
	  "data message under a key past its lifetime, received or to be sent")   \
	X(bad_inner, "decrypted packet malformed")                                \
	X(ecn, "congestion marked on a packet that knows no ECN")                 \
	X(tap_error, "interface refused a decrypted packet")                      \
	X(unguarded, "decrypted packet while the interface has no TC program")    \
	X(removed_peer, "packet to a peer that was removed meanwhile")            \
	X(no_tag, "packet read from the interface without a peer tag")            \
	X(bad_gso, "packet read from the interface malformed")                    \
	X(no_endpoint, "peer has no endpoint, or one routed into its own tunnel") \
	X(staged_full, "queue of packets that wait for a session full")           \
	X(staged_expired, "no session could be made for a waiting packet")        \
	X(rx_ring_full, "AF_XDP receive ring full, or no frame to receive in")    \
	X(tx_ring_full, "AF_XDP transmit ring or frames used up")                 \
	X(udp_send_error, "UDP socket refused a packet, or there was no route")   \
	X(handshake_queue_full, "handshake messages come faster than we answer")  \
	X(bad_mac, "handshake message with a wrong mac1 or mac2")                 \
	X(bad_handshake, "handshake message not authentic or not expected")       \
	X(unknown_peer, "handshake by a key that is not a peer")                  \
	X(replayed_initiation, "handshake initiation with an old timestamp")      \
	X(initiation_flood, "handshake initiations of one peer too frequent")     \
	X(rate_limited, "handshake messages of one source too frequent")          \
	X(no_cookie, "handshake initiation without a cookie in a flood of them")  \
	X(bad_cookie, "cookie reply not authentic or not expected")

enum drop_reason {
#define X(name, text) DROP_##name,
	WG_DROP_REASONS(X)
#undef X
		DROP_REASONS,
};

struct drops {
#define X(name, text) __u64 name;
	WG_DROP_REASONS(X)
#undef X
};

/* One element per worker, written by the worker and by helpers that deliver for it; and a last one,
 * written by the control thread. */
struct worker_stats {
	__u64 rx_xdp_packets;
	__u64 rx_xdp_bytes;
	__u64 rx_udp_packets;
	__u64 rx_udp_bytes;
	__u64 tx_xdp_packets;
	__u64 tx_xdp_bytes;
	__u64 tx_udp_packets;
	__u64 tx_udp_bytes;
	__u64 tap_reads;
	__u64 tap_writes;
	__u64 tap_read_calls; /* system calls, each for some of these */
	__u64 tap_write_calls;
	__u64 helped; /* packets that another thread encrypted or decrypted */
	struct drops drops;
};

#endif
