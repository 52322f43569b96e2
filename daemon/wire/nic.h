/* SPDX-License-Identifier: MIT */
/*
 * NICs with AF_XDP sockets on all their queues (xsk.h), and NICs that have only the XDP program.
 *
 * Theory of operation: the control thread attaches the XDP program, opens the sockets of each
 * queue and publishes the NIC under RCU; workers then read the queues that are given to them and
 * send by the queue that nic_tx_queue() names.
 *
 * A filter (NIC_FILTER) is a NIC without sockets: the XDP program drops floods (bpf/flood.h) and
 * passes everything else to the UDP sockets. Its driver must have native XDP: generic XDP sees a
 * packet only after the kernel has made a buffer for it, and copies those that GRO has merged.
 *
 * A driver may add queues while an XDP program is attached (virtio_net does if the device has
 * some to spare). It receives by them, too, so they get sockets. But it sends nothing from a
 * zero-copy socket there, and does not release the socket's memory once the program is gone
 * (xp_disable_drv_zc() warns, the next attachment crashes). So these queues only receive, with
 * copies.
 */
#ifndef NIC_H
#define NIC_H

#include <net/if.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <urcu-qsbr.h>
#include <xdp/xsk.h>

#include "bpf_objects.h"
#include "wg_maps.h"
#include "xsk.h"

struct rtnl_link;

enum nic_mode {
	NIC_ANY,      /* the best that works */
	NIC_ZEROCOPY, /* native XDP and zero-copy, or refuse */
	NIC_COPY,     /* native XDP and copy, or refuse */
	NIC_SKB,      /* generic XDP and copy */
	NIC_FILTER,   /* native XDP without sockets, or refuse */
};

struct nic {
	char name[IFNAMSIZ];
	uint32_t ifindex;
	uint32_t id;
	uint32_t mtu;
	uint8_t mac[6];
	uint32_t frame_size;
	unsigned frames; /* per queue */
	enum nic_mode mode;
	bool native;
	bool frags; /* the XDP program takes frames in several buffers */
	bool late;  /* the XDP program's map does not have its MTU or address right */
	/* Nothing may be sent by it any more: packets on paths that name it leave by the UDP
	 * sockets. */
	atomic_bool gone;
	struct xdp_attachment xdp;
	unsigned queue_count;
	unsigned tx_queue_count; /* the first queues, which also send; see above */
	struct nic_queue *queues[WG_MAX_QUEUES];
	struct nic *next_closed; /* control thread only */
	struct rcu_head rcu;
};

/* Attaches XDP and, except for a filter, opens the sockets of every queue; *out is closed by
 * nic_close(). `generic`: use
 * generic XDP if the mode allows it and the driver has no native XDP. `why` gets one line on
 * error. frames: per queue (xsk.h). 0 or -errno. May wait a second for a queue. Control thread. */
int nic_open(struct bpf_objects *bpf, uint32_t ifindex, const struct rtnl_link *link,
	     uint32_t id, enum nic_mode mode, unsigned frames, bool generic,
	     struct nic **out, char *why, size_t why_len);
/* Detaches and closes a NIC which no worker uses any more. Its memory stays until
 * nic_free_deferred(), because paths may still name it. Control thread. */
void nic_close(struct bpf_objects *bpf, struct nic *nic);
/* Frees a closed NIC after a grace period. No path may name it. Control thread. */
void nic_free_deferred(struct nic *nic);
/* Returns true if the NIC has no sockets: only the XDP program. Any RCU thread. */
static inline bool nic_is_filter(const struct nic *nic)
{
	return nic->mode == NIC_FILTER;
}
/* Returns true if messages may leave by the NIC, which may be NULL. Any RCU thread. */
static inline bool nic_may_send(const struct nic *nic)
{
	return nic && !atomic_load_explicit(&nic->gone, memory_order_relaxed);
}
/* Takes over the device's name, MTU and address, which may have changed. Control thread. */
void nic_set_link(struct bpf_objects *bpf, struct nic *nic, const struct rtnl_link *link);
/* Lets the XDP program serve the NIC: redirect packets to its queues, drop floods. 0 or -errno; if it was served before, it is
 * `late` then, and this is to be called again. Control thread. */
int nic_serve_queues(struct bpf_objects *bpf, struct nic *nic);
/* Returns true if the device has another number of receive queues than it was opened with. A
 * filter does not mind. */
bool nic_queues_changed(const struct nic *nic);
/* The losses of all queues. Any thread. */
struct nic_losses nic_losses(const struct nic *nic);
/* Returns true if the frames hold packets of this MTU, or cannot be larger, or there are none. */
bool nic_fits(const struct nic *nic, uint32_t mtu);
/* The queue that this worker sends by. Any RCU thread. */
struct nic_queue *nic_tx_queue(const struct nic *nic, unsigned worker);
/* Bytes that a frame holds. */
static inline uint32_t nic_frame_room(const struct nic *nic)
{
	return nic->frame_size;
}

#endif
