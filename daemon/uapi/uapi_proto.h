/* SPDX-License-Identifier: MIT */
/*
 * The text format of the cross-platform userspace API, which wg(8) speaks: parses a "set"
 * request, and prints the lines that answer a "get".
 * Source: https://www.wireguard.com/xplatform/
 *
 * Pure functions, for any thread, with one exception: when an interface's name is the scope of
 * an IPv6 address, its index is asked of the system.
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
	/* of the interface: before the first public_key */
	UAPI_PRIVATE_KEY, /* value.key; all zero: remove it */
	UAPI_LISTEN_PORT, /* value.port; 0: any */
	UAPI_FWMARK,	  /* value.fwmark; 0: remove it */
	UAPI_REPLACE_PEERS,
	/* begins a peer: value.key */
	UAPI_PUBLIC_KEY,
	/* of the peer named last */
	UAPI_REMOVE,
	UAPI_UPDATE_ONLY,
	UAPI_PRESHARED_KEY, /* value.key; all zero: remove it */
	UAPI_ENDPOINT,
	UAPI_PERSISTENT_KEEPALIVE_INTERVAL, /* value.keepalive, seconds; 0: off */
	UAPI_REPLACE_ALLOWED_IPS,
	UAPI_ALLOWED_IP,
	/* checked by the parser, and not among the ops */
	UAPI_PROTOCOL_VERSION,
};

/* One line of a request. Numbers are in host order. Keys that have no comment above have no
 * value. */
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

/* The lines of a request, in their order. */
struct uapi_set {
	struct uapi_op *ops;
	size_t count;
	/* Of who carries it out: */
	size_t reserved; /* for so many there is memory */
	size_t next;	 /* the first one that has not been carried out */
	size_t peer;	 /* the UAPI_PUBLIC_KEY of the peer that it is about */
	bool begun;	 /* something may have changed */
	bool ended; /* nothing is left to do, except to free the rest of the memory */
	int error;  /* if it has ended: 0 or -errno */
	/* The lines of that peer are carried out, but some allowed IPs that they replace are not
	 * removed yet. */
	bool at_peers_end;
};

/* Where and why a request was refused, for the log. It has no text of the request, which may be
 * a secret. */
struct uapi_error {
	size_t line; /* 1 is the "set=1"; 0: no single line is the cause */
	const char *reason;
};

/*
 * Parses a whole request, from "set=1\n" to the blank line, both included. One invalid line makes
 * the whole request invalid. The same public key may come twice: the second one continues with the
 * same peer.
 * Returns 0, and the caller ends *out by uapi_set_free(); or -EINVAL, -EPROTONOSUPPORT (another
 * protocol_version) or -ENOMEM, with *err filled and *out empty.
 */
int uapi_parse_set(const char *text, size_t len, struct uapi_set *out,
		   struct uapi_error *err);

/* The same in shares. `text` must stay until the last one. */
struct uapi_parser {
	const char *text; /* what is left */
	size_t len;
	struct uapi_set *set;
	bool in_peer;		 /* a public_key came before */
	struct uapi_error error; /* filled when a function below returns -errno */
};

/* Returns 0 or -errno. */
int uapi_parse_begin(struct uapi_parser *p, const char *text, size_t len,
		     struct uapi_set *out);
/* Parses so many lines. Returns 1 if there are more, 0 when all of the request is in *out, or
 * -errno. */
int uapi_parse_some(struct uapi_parser *p, size_t lines);

/* Wipes and frees the ops. An empty set is allowed. */
void uapi_set_free(struct uapi_set *set);

/*
 * These look ahead, because lines after a public_key decide what to do with that key
 * (update_only: add no peer; remove). `i` is the index of an UAPI_PUBLIC_KEY. uapi_peer_end()
 * returns the index after the last op of that peer, uapi_peer_has() returns true if the key is
 * among its ops.
 */
size_t uapi_peer_end(const struct uapi_set *set, size_t i);
bool uapi_peer_has(const struct uapi_set *set, size_t i, enum uapi_key key);

/*
 * Each prints one "name=value" line. ferror(3) of the stream tells errors. uapi_put_key() leaves
 * no copy of the key except the one in the stream.
 */
void uapi_put_key(FILE *f, const char *name, const uint8_t key[32]);
void uapi_put_number(FILE *f, const char *name, uint64_t number);
/* Writes "a.b.c.d:port" or "[v6%scope]:port" to `out`, and returns `out`. */
#define UAPI_ENDPOINT_TEXT 80
const char *uapi_endpoint_text(const struct endpoint *endpoint,
			       char out[UAPI_ENDPOINT_TEXT]);

void uapi_put_endpoint(FILE *f, const struct endpoint *endpoint);
void uapi_put_allowed_ip(FILE *f, const struct ip_addr *addr, uint8_t cidr);

#endif
