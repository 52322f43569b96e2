/* SPDX-License-Identifier: MIT */
/*
 * The BPF programs and maps of one interface: load, attach, pin, write, read.
 * Control thread only, except for the mapped worker_stats.
 */
#ifndef BPF_OBJECTS_H
#define BPF_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"
#include "wg_maps.h"
#include "wg_proto.h"

struct bpf_objects;

/* Loads both BPF objects and maps worker_stats; `why` gets one line on error. */
int bpf_objects_open(struct bpf_objects **out, char *why, size_t why_len);
/* Unpins, detaches, unloads. NULL is allowed. */
void bpf_objects_close(struct bpf_objects *dp);

/* Pins all maps under /sys/fs/bpf/wgxdp/<ifname>/ (pins.h), in the place of those that a
 * dead process left. -EEXIST: a live one has them. `why` gets one line on error. */
int bpf_objects_pin(struct bpf_objects *dp, const char *ifname, char *why,
		    size_t why_len);
/* TC programs onto wg0, both directions, through clsact. -EEXIST, -EINVAL and others: a qdisc
 * or filter of another kind has their place. */
int bpf_objects_attach_tc(struct bpf_objects *dp, uint32_t ifindex);
/* Returns true if both of our programs are there, not others in their place. */
bool bpf_objects_has_tc(struct bpf_objects *dp, uint32_t ifindex);
/* Returns the descriptor of the TAP's filter, owned by dp. */
int bpf_objects_filter_fd(const struct bpf_objects *dp);
/* XDP program onto a NIC by a BPF link, which dies with the process. Returns the
 * link's fd or -errno. */
int bpf_objects_attach_xdp(struct bpf_objects *dp, uint32_t ifindex, bool native);

struct worker_stats *bpf_objects_worker_stats(struct bpf_objects *dp);

/* Writers: 0 or -errno. */
/* port: host order, 0: not listening. */
int bpf_objects_set_port(struct bpf_objects *dp, uint16_t port);
/* mac1_key: of handshake messages to us (cookie.h); NULL: we have no key. */
int bpf_objects_set_mac1_key(struct bpf_objects *dp, const uint8_t mac1_key[WG_KEY_LEN]);
/* Makes the flow fresh from now on: the XDP program takes it. */
int bpf_objects_admit_flow(struct bpf_objects *dp, const struct flow_key *key);
void bpf_objects_remove_flow(struct bpf_objects *dp, const struct flow_key *key);
/* queues NULL: the device is no longer served. */
int bpf_objects_set_nic(struct bpf_objects *dp, uint32_t ifindex,
			const struct nic_queues *queues);
int bpf_objects_set_xsk(struct bpf_objects *dp, uint32_t key, int data_fd,
			int handshake_fd);
int bpf_objects_add_peer(struct bpf_objects *dp, uint32_t slot);
void bpf_objects_remove_peer(struct bpf_objects *dp, uint32_t slot);
int bpf_objects_add_session(struct bpf_objects *dp, uint32_t index, uint32_t slot);
void bpf_objects_remove_session(struct bpf_objects *dp, uint32_t index);
/* The mirror of struct allowedips: ctx is the datapath. */
int bpf_objects_set_allowed_ip(void *ctx, const struct ip_addr *addr, uint8_t cidr,
			       uint32_t slot, bool present);

/* Readers: sums over all CPUs. */
int bpf_objects_peer_stats(struct bpf_objects *dp, uint32_t slot, struct peer_stats *out);
int bpf_objects_drops(struct bpf_objects *dp, struct drops *out);

#endif
