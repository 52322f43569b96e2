/* SPDX-License-Identifier: MIT */
/*
 * The text of the cross-platform userspace API, which wg(8) speaks: reading a
 * "set" request, and writing the lines that answer a "get".
 * Source: https://www.wireguard.com/xplatform/
 *
 * Pure functions, for any thread; the only question to the system is the index
 * of an interface named as an IPv6 scope.
 */
#ifndef UAPI_PROTO_H
#define UAPI_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "endpoint.h"

#define UAPI_REQUEST_MAX (64U << 20) /* bytes of a whole request */
#define UAPI_LINE_MAX	 256	     /* of a line, without its newline */

enum uapi_key {
	/* of the device: before the first public_key */
	UAPI_PRIVATE_KEY, /* value.key; all zero: none any more */
	UAPI_LISTEN_PORT, /* value.port; 0: any */
	UAPI_FWMARK,	  /* value.fwmark; 0: none any more */
	UAPI_REPLACE_PEERS,
	/* begins a peer: value.key */
	UAPI_PUBLIC_KEY,
	/* of the peer named last */
	UAPI_REMOVE,
	UAPI_UPDATE_ONLY,
	UAPI_PRESHARED_KEY, /* value.key; all zero: none any more */
	UAPI_ENDPOINT,
	UAPI_PERSISTENT_KEEPALIVE_INTERVAL, /* value.keepalive, seconds; 0: off */
	UAPI_REPLACE_ALLOWED_IPS,
	UAPI_ALLOWED_IP,
	/* only checked, never among the ops */
	UAPI_PROTOCOL_VERSION,
};

/* Numbers are in host order. The keys without a comment have no value. */
struct uapi_op {
	enum uapi_key key;
	union {
		uint8_t key[32];
		uint16_t port;
		uint32_t fwmark;
		uint16_t keepalive;
		struct endpoint endpoint; /* the source is IP_NONE */
		struct {
			struct ip_addr addr; /* host bits are zero */
			uint8_t cidr;
			bool remove;
		} allowed_ip;
	} value;
};

/* What a request asks for, in its order. */
struct uapi_set {
	struct uapi_op *ops;
	size_t count;
};

/* Where and why a request was refused, for the log. Holds nothing of its text. */
struct uapi_error {
	size_t line; /* 1 is the "set=1"; 0 where no line is to blame */
	const char *reason;
};

/*
 * Reads a whole request, from "set=1\n" up to and with the blank line. Nothing is
 * to be applied unless all of it is right. A public key may come twice: the
 * second goes on with the same peer.
 * Returns 0, and *out is the caller's until uapi_set_free(); -EINVAL,
 * -EPROTONOSUPPORT (protocol_version) or -ENOMEM, with *err filled and *out empty.
 */
int uapi_parse_set(const char *text, size_t len, struct uapi_set *out,
		   struct uapi_error *err);

/* Wipes and frees; also good for an empty set. */
void uapi_set_free(struct uapi_set *set);

/*
 * A peer's lines come after its public_key but change what that key means
 * (update_only: add no peer; remove). These look ahead. `i` is the index of an
 * UAPI_PUBLIC_KEY; uapi_peer_end() is the index behind that peer's last op.
 */
size_t uapi_peer_end(const struct uapi_set *set, size_t i);
bool uapi_peer_has(const struct uapi_set *set, size_t i, enum uapi_key key);

/*
 * One "name=value" line each. Errors stay in the stream, for ferror(3).
 * uapi_put_key() leaves no copy of the key but the one in the stream.
 */
void uapi_put_key(FILE *f, const char *name, const uint8_t key[32]);
void uapi_put_number(FILE *f, const char *name, uint64_t number);
/* "a.b.c.d:port" or "[v6%scope]:port", in `out`, which is returned. */
#define UAPI_ENDPOINT_TEXT 80
const char *uapi_endpoint_text(const struct endpoint *endpoint,
			       char out[UAPI_ENDPOINT_TEXT]);

void uapi_put_endpoint(FILE *f, const struct endpoint *endpoint);
void uapi_put_allowed_ip(FILE *f, const struct ip_addr *addr, uint8_t cidr);

#endif
