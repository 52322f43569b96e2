/* SPDX-License-Identifier: MIT */
/*
 * NICs with AF_XDP sockets: UMEM, rings, frames.
 *
 * Theory of operation: each RX queue of an attached NIC has one UMEM and on it two
 * sockets, one for transport data (RX and TX) and one for handshake messages (RX
 * only). A frame is always in exactly one place: the free stack, the fill ring, an
 * RX ring, a caller's hands, or the TX/completion rings. One worker reads the data
 * RX ring, the control thread the handshake RX ring; whatever else moves frames
 * (free stack, fill, TX, completion) does so under the queue's lock, a batch at a
 * time, so that any worker may send by any queue.
 *
 * A driver may add queues of its own while an XDP program is attached (virtio_net, if
 * the device has some to spare). It receives by them, too, so they get sockets; but it
 * sends nothing from a zero-copy socket there, and forgets to give up its memory once
 * the program is gone (xp_disable_drv_zc() warns, the next attachment crashes). So these
 * are for receiving, with copies.
 */
#ifndef NIC_H
#define NIC_H

#include <net/if.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xdp/xsk.h>

#include "wg_maps.h"

struct device;
struct rtnl_link;

enum nic_mode {
	NIC_ANY,      /* the best that works */
	NIC_ZEROCOPY, /* native XDP and zero-copy, or refuse */
	NIC_COPY,     /* native XDP and copy, or refuse */
	NIC_SKB,      /* generic XDP and copy */
};

struct nic_request {
	char name[IFNAMSIZ];
	enum nic_mode mode;
};

/* A packet in a UMEM frame, owned by who got it. */
struct nic_frame {
	uint64_t addr; /* in the UMEM, of data[0] */
	uint8_t *data;
	uint32_t len;
};

struct nic_queue {
	struct nic *nic;
	unsigned index;
	unsigned worker; /* who reads its data ring */
	bool zerocopy;

	struct xsk_socket *data, *handshake;
	struct xsk_ring_cons data_rx, handshake_rx;

	pthread_mutex_t lock;
	struct xsk_ring_prod fill, tx;
	struct xsk_ring_cons completion;
	uint64_t *free;
	unsigned free_count;
	unsigned tx_held; /* from nic_alloc() to their completion */

	struct xsk_umem *umem;
	uint8_t *area;
	size_t area_len;
};

struct nic {
	char name[IFNAMSIZ];
	uint32_t ifindex;
	uint32_t id;
	uint32_t mtu;
	uint8_t mac[6];
	bool strict; /* rp_filter=1: IPv4 is not taken by XDP */
	uint32_t frame_size;
	enum nic_mode mode;
	bool native;
	int link_fd; /* XDP attachment */
	unsigned queue_count;
	unsigned tx_queue_count; /* the first ones: without XDP's, and that send, too */
	struct nic_queue *queues[WG_MAX_QUEUES];
};

/* A device that could not be attached, as it was then: not tried again before it
 * changes, or some time has passed. */
struct nic_refusal {
	uint32_t ifindex;
	uint32_t mtu;
	bool up;
	uint64_t wait, until; /* ns */
};

struct nics {
	struct nic *list[WG_MAX_NICS]; /* RCU */
	bool automatic;		       /* attach to what routes name */
	struct nic_request requests[WG_MAX_NICS];
	unsigned request_count;
	struct nic_refusal refused[WG_MAX_NICS];
	unsigned refused_next;
};

/* Control thread. Attaches XDP and opens the sockets of every queue; `why` gets one
 * line on error. */
int nic_attach(struct device *dev, uint32_t ifindex, enum nic_mode mode, struct nic **out,
	       char *why, size_t why_len);
/* Control thread; paths no longer name it. Waits a grace period. */
void nic_detach(struct device *dev, struct nic *nic);
struct nic *nic_find(struct device *dev, uint32_t ifindex);
/* A link changed, or went (NULL): it may have a new name, and one that was refused may be
 * tried again. */
void nic_link_changed(struct device *dev, uint32_t ifindex, const struct rtnl_link *link);
/* Whether its frames hold packets of this MTU (or are as large as they get). */
bool nic_fits(const struct nic *nic, uint32_t mtu);
/* The NIC of this device, attached now if it was asked for or `automatic`; NULL where
 * it is to go without. Control thread. */
struct nic *nic_for_route(struct device *dev, uint32_t ifindex);

/* Received packets of the data (or handshake) socket, at most `max`. Data: the
 * queue's worker. Handshake: control thread. Give each back by nic_release(). */
unsigned nic_receive(struct nic_queue *q, struct nic_frame *out, unsigned max);
unsigned nic_receive_handshake(struct nic_queue *q, struct nic_frame *out, unsigned max);
/* What the kernel dropped because a ring was full or without frames, since the NIC was
 * attached. Any thread. */
struct nic_losses {
	uint64_t data;
	uint64_t handshake;
};
struct nic_losses nic_losses(const struct nic *nic);
/* Received frames back to the kernel. Any thread. */
void nic_release(struct nic_queue *q, const struct nic_frame *frames, unsigned n);

/* Frames to send in, at most n; fewer when the kernel has not yet sent what it was
 * given. Any thread. Give each to nic_send() or nic_unalloc(). */
unsigned nic_alloc(struct nic_queue *q, struct nic_frame *out, unsigned n);
void nic_unalloc(struct nic_queue *q, const struct nic_frame *frames, unsigned n);
/* Sends; takes the first `return value` frames, the others stay the caller's. Any
 * thread; does not wait. */
unsigned nic_send(struct nic_queue *q, const struct nic_frame *frames, unsigned n);

/* The queue that this worker sends by. */
struct nic_queue *nic_tx_queue(const struct nic *nic, unsigned worker);
/* Whether the kernel has not yet taken all that was given to it. Any thread. */
bool nic_tx_pending(struct nic_queue *q);
/* Has it try again; whether that is worth while once more. Not where the device is down:
 * what is left goes with the first packet once it is up. Any thread. */
bool nic_push(struct nic_queue *q);

/* Bytes that a frame holds. */
static inline uint32_t nic_frame_room(const struct nic *nic)
{
	return nic->frame_size;
}

#endif
