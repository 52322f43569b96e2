/* SPDX-License-Identifier: MIT */
/*
 * AF_XDP sockets of one queue of a NIC: UMEM, rings, frames.
 *
 * Theory of operation: each RX queue of an attached NIC has one UMEM and on it two sockets, one
 * for transport data (RX and TX) and one for handshake messages (RX only). A frame is always in
 * exactly one place: the free stack, the fill ring, an RX ring, a caller's hands, or the TX and
 * completion rings. One worker reads the data RX ring, the control thread reads the handshake RX
 * ring. All else that moves frames (free stack, fill, TX and completion rings) does so under the
 * queue's lock, a batch at a time, so any worker may send by any queue.
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

/* Frames of a queue. Half of them receive and a quarter sends, at most. */
#define NIC_FRAMES     4096
#define NIC_FRAMES_MIN 1024
#define NIC_FRAMES_MAX 65536

/* A packet in a UMEM frame, which its receiver owns. */
struct nic_frame {
	uint64_t addr; /* in the UMEM, of data[0] */
	uint8_t *data;
	uint32_t len;
};

struct nic_queue {
	struct nic *nic;       /* that the queue belongs to; not followed here */
	char ifname[IFNAMSIZ]; /* at the time of opening */
	uint32_t frame_size;
	unsigned frames;
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
	unsigned tx_held; /* frames between nic_queue_alloc() and their completion */

	struct xsk_umem *umem;
	uint8_t *area;
	size_t area_len;
};

/* Opens the sockets of a queue; waits for it until `until`, ns, if another socket still has it.
 * frames: a power of two, NIC_FRAMES_MIN to NIC_FRAMES_MAX.
 * copy_flag is XDP_COPY or XDP_ZEROCOPY. *out is closed by nic_queue_close(). 0 or -errno.
 * Control thread. */
int nic_queue_open(struct nic *nic, const char *ifname, uint32_t frame_size,
		   unsigned frames, unsigned index, uint16_t copy_flag, uint64_t until,
		   struct nic_queue **out);
/* Closes, wipes and frees. NULL is allowed. Control thread. */
void nic_queue_close(struct nic_queue *q);

/* Packets that the kernel dropped since the queue was opened, because a ring was full or had no
 * frames. Any thread. */
struct nic_losses {
	uint64_t data;
	uint64_t handshake;
};
struct nic_losses nic_queue_losses(const struct nic_queue *q);
/* Takes up to `max` received packets of the data or the handshake socket. Returns how many. The
 * caller gives each back by nic_queue_release(). Data: the worker that reads the queue.
 * Handshakes: control thread. */
unsigned nic_queue_receive(struct nic_queue *q, struct nic_frame *out, unsigned max);
unsigned nic_queue_receive_handshake(struct nic_queue *q, struct nic_frame *out,
				     unsigned max);
/* Gives frames back to the kernel to receive in. Any thread. */
void nic_queue_release(struct nic_queue *q, const struct nic_frame *frames, unsigned n);

/* Takes up to n frames to send in; fewer if the kernel has not yet sent enough of what it was
 * given. Returns how many. The caller gives each to nic_queue_send() or nic_queue_unalloc(). Any
 * thread. */
unsigned nic_queue_alloc(struct nic_queue *q, struct nic_frame *out, unsigned n);
void nic_queue_unalloc(struct nic_queue *q, const struct nic_frame *frames, unsigned n);
/* Sends the first frames, as many as it returns; the others stay the caller's. Does not wait. Any
 * thread. */
unsigned nic_queue_send(struct nic_queue *q, const struct nic_frame *frames, unsigned n);

/* Returns true if the kernel has not yet taken all that is in the TX ring. Any thread. */
bool nic_queue_tx_pending(struct nic_queue *q);
/* Kicks the driver to send what is left in the TX ring. Returns true if it should be called again.
 * It should not if the device is down: what is left goes with the first packet once the device is
 * up. Any thread. */
bool nic_queue_push(struct nic_queue *q);

#endif
