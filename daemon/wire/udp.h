/* SPDX-License-Identifier: MIT */
/*
 * The UDP sockets on the listen port, IPv4 and IPv6.
 *
 * Theory of operation: they reserve the port, receive what XDP lets pass, and send what AF_XDP
 * cannot. The control thread makes them and publishes them under RCU. Any thread may send; one
 * worker receives.
 */
#ifndef UDP_H
#define UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"
#include "message.h"
#include "path.h"

struct udp {
	int fd4, fd6; /* fd6 is -1 if the host has no IPv6 */
	uint16_t port;
	int filter_error; /* -errno: a socket lacks the filter; 0: none does */
};

/* Opens both on `port` (host order; 0: any that is free in both families), in the namespace of the
 * calling thread. filter_fd: the BPF program that filters what they receive, or -1; it stays the
 * caller's. If the kernel refuses it, they work without, and filter_error says why. 0 or -errno (EADDRINUSE). The caller closes *out by udp_close(). Control thread. */
int udp_open(struct udp **out, uint16_t port, uint32_t fwmark, int filter_fd);
/* Closes and frees, once no worker uses the sockets. NULL is allowed. Control thread. */
void udp_close(struct udp *udp);
/* Lets the kernel merge datagrams that it receives, or not, as at first. Generic XDP would see
 * them merged, so it must be off if that is attached. Control thread. */
void udp_set_gro(struct udp *udp, bool on);
/* Sets the mark of all packets that are sent. 0 or -errno. Control thread. */
int udp_set_fwmark(struct udp *udp, uint32_t fwmark);

/* Sends one message along the path, even if the path has a NIC; `tos` is the IPv4 TOS or the
 * IPv6 traffic class. `stale`: routes may have changed since the path was made (routing_news.h), so
 * the kernel chooses the source address again if it chose that of the path. In any case it chooses
 * one if this host no longer has that of the path. 0 or -errno. Any thread. */
int udp_send(struct udp *udp, const struct path *path, bool stale, uint8_t tos,
	     const void *message, size_t len);

/* Sends up to 64 messages in order; those of one path, TOS, TTL and size together (UDP_SEGMENT).
 * Sets `sent`, which was false, of those that the kernel took, and returns how many these are.
 * Notes in the path if its device cannot do that. `stale` as in udp_send(). Any thread. */
unsigned udp_send_batch(struct udp *udp, struct message *messages, unsigned n,
			bool stale);

#define UDP_RX_BUFFERS	   16
#define UDP_RX_BUFFER_SIZE 65536

/* One datagram or, with UDP_GRO, several merged datagrams of one source. */
struct udp_received {
	uint8_t *data;
	struct endpoint source; /* the sender; source.source is our address */
	uint32_t ifindex;	/* of the receiving device */
	uint32_t len;
	uint32_t segment; /* size of each message except the last */
	uint8_t tos;	  /* of all messages */
};

struct udp_reader {
	uint8_t *area;	  /* UDP_RX_BUFFERS * UDP_RX_BUFFER_SIZE */
	unsigned used;	  /* buffers that have ever held a datagram */
	uint32_t longest; /* length of the longest datagram ever */
};

/* 0 or -errno. */
int udp_reader_init(struct udp_reader *r);
/* Wipes and frees. */
void udp_reader_destroy(struct udp_reader *r);
/* Reads from fd without waiting. Returns the number of entries filled, which may be 0. They are
 * good until the next call. The worker whose reader it is. */
unsigned udp_receive(struct udp_reader *r, int fd,
		     struct udp_received out[UDP_RX_BUFFERS]);

#endif
