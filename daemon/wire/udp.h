/* SPDX-License-Identifier: MIT */
/*
 * The UDP sockets on the listen port, IPv4 and IPv6. They reserve the port, take
 * what XDP lets pass, and carry what AF_XDP cannot. Made by the control thread and
 * published under RCU; sending is for any thread, receiving for one worker.
 */
#ifndef UDP_H
#define UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"
#include "path.h"

struct udp {
	int fd4, fd6; /* fd6 is -1 where the host has no IPv6 */
	uint16_t port;
};

/* Opens both on `port` (host order; 0: any that is free in both families), in the
 * namespace of the calling thread. 0 or -errno (EADDRINUSE). */
int udp_open(struct udp **out, uint16_t port, uint32_t fwmark);
void udp_close(struct udp *udp);
/* Whether the kernel may merge datagrams that it receives (off in the beginning). Not
 * where generic XDP looks at them: it would see them merged. */
void udp_set_gro(struct udp *udp, bool on);
int udp_set_fwmark(struct udp *udp, uint32_t fwmark);

/* Sends one message along the path (any nic is left aside); `tos` is the IPv4 TOS or the
 * IPv6 traffic class. 0 or -errno. */
int udp_send(struct udp *udp, const struct path *path, uint8_t tos, const void *message,
	     size_t len);

struct udp_packet {
	const struct path *path;
	void *data;
	uint32_t len;
	uint8_t tos;
	uint8_t ttl; /* 0: the route's */
	bool sent;   /* set by udp_send_batch() */
};

/* Sends up to 64 packets, in order, those of one path, TOS, TTL and size
 * together (UDP_SEGMENT). Returns how many the kernel took. */
unsigned udp_send_batch(struct udp *udp, struct udp_packet *packets, unsigned n);

#define UDP_RX_BUFFERS	   16
#define UDP_RX_BUFFER_SIZE 65536

/* What a read got: one or, with UDP_GRO, several messages of one source. */
struct udp_received {
	struct endpoint source; /* with our address as its source */
	uint32_t ifindex;	/* of the device that it came by */
	uint8_t *data;
	uint32_t len;
	uint32_t segment; /* size of each message but the last */
	uint8_t tos;	  /* of them all */
};

struct udp_reader {
	uint8_t *area;	  /* UDP_RX_BUFFERS * UDP_RX_BUFFER_SIZE */
	unsigned used;	  /* buffers that have had datagrams */
	uint32_t longest; /* datagram ever */
};

int udp_reader_init(struct udp_reader *r);
void udp_reader_destroy(struct udp_reader *r);
/* Reads what is there from fd, without waiting: entries filled, 0 when nothing. */
unsigned udp_receive(struct udp_reader *r, int fd,
		     struct udp_received out[UDP_RX_BUFFERS]);

#endif
