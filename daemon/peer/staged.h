/* SPDX-License-Identifier: MIT */
/*
 * Packets that wait for a session of their peer.
 *
 * Theory of operation: a list under a lock. As in kernel WireGuard it holds at most 128 packets,
 * and the oldest make room for new ones. It is bounded in bytes, too, because a packet may be
 * 64 KB of TCP.
 */
#ifndef STAGED_H
#define STAGED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/virtio_net.h>

#define STAGED_MAX_PACKETS 128
#define STAGED_MAX_BYTES   (1U << 20)

/* An IP packet as read from wg0, not yet segmented. */
struct inner_packet {
	struct virtio_net_hdr vh;
	const uint8_t *data;
	uint32_t len;
	uint8_t ttl;	/* WG_TTL_OF_A_TUNNEL; 0: none */
	bool forwarded; /* another host sent it */
};

struct staged_packet {
	struct staged_packet *next;
	struct inner_packet packet;
	uint8_t data[]; /* packet.data */
};

struct staged {
	pthread_mutex_t lock;
	struct staged_packet *head, **tail;
	atomic_uint count; /* written under the lock */
	size_t bytes;
};

void staged_init(struct staged *q);
void staged_destroy(struct staged *q);
/* Adds a copy of the packet. Returns how many packets were dropped: the oldest ones to make room,
 * or this one without memory. Any thread. */
unsigned staged_push(struct staged *q, const struct inner_packet *packet);
/* Takes all packets, oldest first; the caller frees each by staged_free(). Any thread. */
struct staged_packet *staged_take(struct staged *q);
/* Wipes (it is plaintext) and frees one packet. */
void staged_free(struct staged_packet *p);
/* Drops all packets and returns how many there were. Any thread. */
unsigned staged_clear(struct staged *q);
/* Returns true if there are no packets, without taking the lock. Any thread. */
bool staged_empty(struct staged *q);

#endif
