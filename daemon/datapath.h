/* SPDX-License-Identifier: MIT */
/*
 * The BPF programs and maps of one interface: load, attach, pin, write, read.
 * Control thread only, except for the mapped worker_stats.
 */
#ifndef DATAPATH_H
#define DATAPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"
#include "wg_maps.h"
#include "wg_proto.h"

struct datapath;

/* Loads both BPF objects and maps worker_stats; `why` gets one line on error. */
int datapath_open(struct datapath **out, char *why, size_t why_len);
/* Unpins, detaches, unloads. NULL is allowed. */
void datapath_close(struct datapath *dp);

/* Pins all maps under /sys/fs/bpf/wgxdp/<ifname>/ (pins.h), in the place of those that a
 * dead process left. -EEXIST: a live one has them. `why` gets one line on error. */
int datapath_pin(struct datapath *dp, const char *ifname, char *why, size_t why_len);
/* TC programs onto wg0, both directions, through clsact. -EEXIST, -EINVAL and others: a qdisc
 * or filter of another kind has their place. */
int datapath_attach_tc(struct datapath *dp, uint32_t ifindex);
/* Returns true if both of our programs are there, not others in their place. */
bool datapath_has_tc(struct datapath *dp, uint32_t ifindex);
/* Returns the descriptor of the TAP's filter, owned by dp. */
int datapath_filter_fd(const struct datapath *dp);
/* XDP program onto a NIC by a BPF link, which dies with the process. Returns the
 * link's fd or -errno. */
int datapath_attach_xdp(struct datapath *dp, uint32_t ifindex, bool native);

struct worker_stats *datapath_worker_stats(struct datapath *dp);

/* Writers: 0 or -errno. */
/* port: host order, 0: not listening. */
int datapath_set_port(struct datapath *dp, uint16_t port);
/* mac1_key: of handshake messages to us (cookie.h); NULL: we have no key. */
int datapath_set_mac1_key(struct datapath *dp, const uint8_t mac1_key[WG_KEY_LEN]);
/* what: WG_ADDR_LOCAL or WG_ADDR_BROADCAST. */
int datapath_set_local_addr(struct datapath *dp, const struct ip_addr *addr,
			    uint8_t what);
void datapath_clear_local_addrs(struct datapath *dp);
/* queues NULL: the device is no longer served. */
int datapath_set_nic(struct datapath *dp, uint32_t ifindex,
		     const struct nic_queues *queues);
int datapath_set_xsk(struct datapath *dp, uint32_t key, int data_fd, int handshake_fd);
int datapath_add_peer(struct datapath *dp, uint32_t slot);
void datapath_remove_peer(struct datapath *dp, uint32_t slot);
int datapath_add_session(struct datapath *dp, uint32_t index, uint32_t slot,
			 uint32_t worker);
void datapath_remove_session(struct datapath *dp, uint32_t index);
/* The mirror of struct allowedips: ctx is the datapath. */
int datapath_set_allowed_ip(void *ctx, const struct ip_addr *addr, uint8_t cidr,
			    uint32_t slot, bool present);

/* Readers: sums over all CPUs. */
int datapath_peer_stats(struct datapath *dp, uint32_t slot, struct peer_stats *out);
int datapath_drops(struct datapath *dp, struct drops *out);

#endif
