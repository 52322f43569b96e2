/* SPDX-License-Identifier: MIT */
/*
 * From the wire to wg0. The worker's own thread reads; it delivers what was decrypted, or a helper
 * does in its place (batch.h), one thread at a time.
 */
#ifndef RECEIVE_H
#define RECEIVE_H

#include <stdint.h>

struct iovec;
struct nic_queue;
struct virtio_net_hdr;
struct worker;

/* Sets up w->rx. The control thread, before the worker runs. */
void receive_init(struct worker *w);
/* The control thread, after the worker has ended. */
void receive_destroy(struct worker *w);
/* Takes the packets of the queue's data ring, up to a round's share. The worker's thread. */
void receive_from_nic(struct worker *w, struct nic_queue *q);
/* Reads a UDP socket once. The worker's thread. */
void receive_from_udp(struct worker *w, int fd);
/* A gro_emit: writes a packet, which may be a coalesced one, to wg0. `worker` is a struct
 * worker. The thread that delivers: the worker's or a helper's. */
void receive_emit(void *worker, uint32_t peer_slot, const struct virtio_net_hdr *vh,
		  struct iovec *iov, int iovcnt, unsigned packets, uint32_t wire);

#endif
