/* SPDX-License-Identifier: MIT */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

struct path;

/* A WireGuard message on its way out, in memory of the carrier that it leaves by. */
struct message {
	struct path *path;
	uint8_t *data;
	uint64_t frame; /* for the carrier: address of a UMEM frame */
	uint32_t len;
	uint8_t tos; /* of the outer IP header: IPv4 TOS or IPv6 traffic class */
	uint8_t ttl; /* of the outer IP header; 0: the route's. Only the sockets heed it */
	bool sent;   /* set by sending it */
};

#endif
