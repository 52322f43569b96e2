/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The WireGuard wire format and its constants (whitepaper sections 5.4 and 6.1).
 * Included by the BPF programs and by the daemon. All fields are little-endian. Sender and
 * receiver indices mean something only to the host that chose them.
 */
#ifndef WG_PROTO_H
#define WG_PROTO_H

#include <linux/types.h>

#define WG_KEY_LEN	    32
#define WG_TAG_LEN	    16
#define WG_MAC_LEN	    16
#define WG_TIMESTAMP_LEN    12
#define WG_COOKIE_NONCE_LEN 24

/* The type byte and three reserved zero bytes, read as one little-endian word. */
enum wg_message_type {
	WG_INITIATION = 1,
	WG_RESPONSE = 2,
	WG_COOKIE_REPLY = 3,
	WG_DATA = 4,
};

/* The messages are packed, because a message may start at any address in a frame. */

struct wg_initiation {
	__u32 type;
	__u32 sender;
	__u8 ephemeral[WG_KEY_LEN];
	__u8 encrypted_static[WG_KEY_LEN + WG_TAG_LEN];
	__u8 encrypted_timestamp[WG_TIMESTAMP_LEN + WG_TAG_LEN];
	__u8 mac1[WG_MAC_LEN];
	__u8 mac2[WG_MAC_LEN];
} __attribute__((packed));

struct wg_response {
	__u32 type;
	__u32 sender;
	__u32 receiver;
	__u8 ephemeral[WG_KEY_LEN];
	__u8 encrypted_nothing[WG_TAG_LEN];
	__u8 mac1[WG_MAC_LEN];
	__u8 mac2[WG_MAC_LEN];
} __attribute__((packed));

struct wg_cookie_reply {
	__u32 type;
	__u32 receiver;
	__u8 nonce[WG_COOKIE_NONCE_LEN];
	__u8 encrypted_cookie[WG_MAC_LEN + WG_TAG_LEN];
} __attribute__((packed));

/* A transport data message: this header, the encrypted inner packet padded to a multiple of 16
 * bytes, and the authentication tag. */
struct wg_data {
	__u32 type;
	__u32 receiver;
	__u64 counter;
} __attribute__((packed));

_Static_assert(sizeof(struct wg_initiation) == 148, "handshake initiation is 148 bytes");
_Static_assert(sizeof(struct wg_response) == 92, "handshake response is 92 bytes");
_Static_assert(sizeof(struct wg_cookie_reply) == 64, "cookie reply is 64 bytes");
_Static_assert(sizeof(struct wg_data) == 16, "transport header is 16 bytes");

/* A data message with this counter, which no session reaches (section 6.2), is a probe of our own
 * (daemon/wire/probe.h). All its bits are set: any byte order. */
#define WG_PROBE_COUNTER (~0ULL)

#define WG_DATA_OVERHEAD (sizeof(struct wg_data) + WG_TAG_LEN)
#define WG_PADDING	 16
#define WG_HANDSHAKE_MAX sizeof(struct wg_initiation)

/* Whitepaper section 6.1: times in seconds, counters in messages. */
#define WG_REKEY_AFTER_MESSAGES	 (1ULL << 60)
#define WG_REPLAY_WINDOW	 8192
#define WG_REJECT_AFTER_MESSAGES (~0ULL - WG_REPLAY_WINDOW)
#define WG_REKEY_AFTER_TIME	 120
#define WG_REJECT_AFTER_TIME	 180
#define WG_REKEY_ATTEMPT_TIME	 90
#define WG_REKEY_TIMEOUT	 5
#define WG_KEEPALIVE_TIMEOUT	 10
#define WG_COOKIE_LIFETIME	 120
/* The largest random delay of a retransmitted initiation, in milliseconds (section 6.1). */
#define WG_REKEY_TIMEOUT_JITTER_MS 334

#endif
