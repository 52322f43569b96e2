/* SPDX-License-Identifier: MIT */
/*
 * AF_XDP sockets of one queue of a NIC: UMEM, rings, frames.
 *
 * Theory of operation: each RX queue of an attached NIC has one UMEM and on it two
 * sockets, one for transport data (RX and TX) and one for handshake messages (RX
 * only). A frame is always in exactly one place: the free stack, the fill ring, an
 * RX ring, a caller's hands, or the TX/completion rings. One worker reads the data
 * RX ring, the control thread the handshake RX ring; whatever else moves frames
 * (free stack, fill, TX, completion) does so under the queue's lock, a batch at a
 * time, so that any worker may send by any queue.
 */
#ifndef XSK_H
#define XSK_H

#include <net/if.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xdp/xsk.h>

struct nic;

/* A packet in a UMEM frame, owned by who got it. */
struct nic_frame {
	uint64_t addr; /* in the UMEM, of data[0] */
	uint8_t *data;
	uint32_t len;
};

struct nic_queue {
	struct nic *nic;       /* whose it is; not followed here */
	char ifname[IFNAMSIZ]; /* when it was opened */
	uint32_t frame_size;
	unsigned index;
	unsigned reader; /* index of the worker that reads its data ring */
	bool zerocopy;

	struct xsk_socket *data, *handshake;
	struct xsk_ring_cons data_rx, handshake_rx;

	pthread_mutex_t lock;
	struct xsk_ring_prod fill, tx;
	struct xsk_ring_cons completion;
	uint64_t *free;
	unsigned free_count;
	unsigned tx_held; /* from nic_queue_alloc() to their completion */

	struct xsk_umem *umem;
	uint8_t *area;
	size_t area_len;
};

/* Opens the sockets of a queue, waiting for it until `until`, ns, if somebody else still has
 * it; copy_flag is XDP_COPY or XDP_ZEROCOPY. 0 or -errno. Control thread. */
int nic_queue_open(struct nic *nic, const char *ifname, uint32_t frame_size,
		   unsigned index, uint16_t copy_flag, uint64_t until,
		   struct nic_queue **out);
/* Wipes and frees. NULL is allowed. */
void nic_queue_close(struct nic_queue *q);

/* What the kernel dropped because a ring was full or without frames, since it was
 * opened. Any thread. */
struct nic_losses {
	uint64_t data;
	uint64_t handshake;
};
struct nic_losses nic_queue_losses(const struct nic_queue *q);
/* Received packets of the data (or handshake) socket, at most `max`. Data: the
 * queue's worker. Handshake: control thread. Give each back by nic_queue_release(). */
unsigned nic_queue_receive(struct nic_queue *q, struct nic_frame *out, unsigned max);
unsigned nic_queue_receive_handshake(struct nic_queue *q, struct nic_frame *out,
				     unsigned max);
/* Received frames back to the kernel. Any thread. */
void nic_queue_release(struct nic_queue *q, const struct nic_frame *frames, unsigned n);

/* Frames to send in, at most n; fewer when the kernel has not yet sent what it was
 * given. Any thread. Give each to nic_queue_send() or nic_queue_unalloc(). */
unsigned nic_queue_alloc(struct nic_queue *q, struct nic_frame *out, unsigned n);
void nic_queue_unalloc(struct nic_queue *q, const struct nic_frame *frames, unsigned n);
/* Sends; takes the first `return value` frames, the others stay the caller's. Any
 * thread; does not wait. */
unsigned nic_queue_send(struct nic_queue *q, const struct nic_frame *frames, unsigned n);

/* Whether the kernel has not yet taken all that was given to it. Any thread. */
bool nic_queue_tx_pending(struct nic_queue *q);
/* Has it try again; whether that is worth while once more. Not where the device is down:
 * what is left goes with the first packet once it is up. Any thread. */
bool nic_queue_push(struct nic_queue *q);

#endif
