/* SPDX-License-Identifier: MIT */
/*
 * NICs with AF_XDP sockets on all their queues (xsk.h).
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
#include "xsk.h"

struct bpf_objects;
struct rtnl_link;

enum nic_mode {
	NIC_ANY,      /* the best that works */
	NIC_ZEROCOPY, /* native XDP and zero-copy, or refuse */
	NIC_COPY,     /* native XDP and copy, or refuse */
	NIC_SKB,      /* generic XDP and copy */
};

struct nic {
	char name[IFNAMSIZ];
	uint32_t ifindex;
	uint32_t id;
	uint32_t mtu;
	uint8_t mac[6];
	uint32_t frame_size;
	enum nic_mode mode;
	bool native;
	int link_fd; /* XDP attachment */
	unsigned queue_count;
	unsigned tx_queue_count; /* the first ones: without XDP's, and that send, too */
	struct nic_queue *queues[WG_MAX_QUEUES];
};

/* Attaches XDP and opens the sockets of every queue; `generic`: by generic XDP, if the mode
 * allows it and the driver has no native one. `why` gets one line on error. 0 or -errno.
 * Control thread. */
int nic_open(struct bpf_objects *bpf, uint32_t ifindex, const struct rtnl_link *link,
	     uint32_t id, enum nic_mode mode, bool generic, struct nic **out, char *why,
	     size_t why_len);
/* No path names it and no worker reads it any more. Control thread. */
void nic_close(struct bpf_objects *bpf, struct nic *nic);
/* Its name, MTU or address may have changed. Control thread. */
void nic_set_link(struct bpf_objects *bpf, struct nic *nic, const struct rtnl_link *link);
/* Of all its queues. Any thread. */
struct nic_losses nic_losses(const struct nic *nic);
/* Whether its frames hold packets of this MTU (or are as large as they get). */
bool nic_fits(const struct nic *nic, uint32_t mtu);
/* The queue that this worker sends by. */
struct nic_queue *nic_tx_queue(const struct nic *nic, unsigned worker);
/* Bytes that a frame holds. */
static inline uint32_t nic_frame_room(const struct nic *nic)
{
	return nic->frame_size;
}

#endif
