/* SPDX-License-Identifier: MIT */
/*
 * The BPF programs and maps of one interface: load, attach, pin, write, read.
 * Control thread only, except for the memory of bpf_objects_worker_stats().
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

/* Loads both BPF objects and maps worker_stats. Returns 0 or -errno; on error `why` gets one
 * line. The caller owns *out. */
int bpf_objects_open(struct bpf_objects **out, char *why, size_t why_len);
/* Unpins, detaches, unloads. NULL is allowed. */
void bpf_objects_close(struct bpf_objects *bpf);

/* Pins all maps under /sys/fs/bpf/wgxdp/<ifname>/ (pins.h), instead of those that a dead
 * process left. Returns 0 or -errno; -EEXIST if a live process has the directory. On error
 * `why` gets one line. */
int bpf_objects_pin(struct bpf_objects *bpf, const char *ifname, char *why,
		    size_t why_len);
/* Attaches the TC programs to wg0, in both directions, as tc_attach(). Returns 0 or -errno. */
int bpf_objects_attach_tc(struct bpf_objects *bpf, uint32_t ifindex);
/* Returns true if both of our programs are attached, before all others. */
bool bpf_objects_has_tc(struct bpf_objects *bpf, uint32_t ifindex);
/* Returns true if they are filters of a clsact qdisc: the kernel has no tcx. */
bool bpf_objects_uses_clsact(const struct bpf_objects *bpf);
/* Returns the descriptor of the program that filters what the TAP device reads; owned by
 * bpf. */
int bpf_objects_filter_fd(const struct bpf_objects *bpf);

enum xdp_kind {
	XDP_KIND_FRAGS, /* native; takes frames in several buffers, so large MTUs, and passes them */
	XDP_KIND_PLAIN, /* native */
	XDP_KIND_GENERIC,
};

/* How our program is attached to a NIC: alone, by a BPF link that ends with the process, or beside
 * others in libxdp's dispatcher. */
struct xdp_attachment {
	int link_fd;			/* -1: none */
	struct dispatcher_place *place; /* NULL: none */
};

#define XDP_NOT_ATTACHED        \
	(struct xdp_attachment) \
	{                       \
		.link_fd = -1   \
	}

/* Attaches the XDP program to a NIC that has none. Returns 0 or -errno; -EBUSY: it has one. The
 * caller ends the attachment by bpf_objects_detach_xdp(). */
int bpf_objects_attach_xdp(struct bpf_objects *bpf, uint32_t ifindex, enum xdp_kind kind,
			   struct xdp_attachment *a);
/* Returns true if libxdp's dispatcher is on the NIC, after removing from it what a killed process
 * for this interface left there. */
bool bpf_objects_can_join(const struct bpf_objects *bpf, uint32_t ifindex);
/* Adds the XDP program to that dispatcher. Sets *native if it runs in the driver. Returns 0 or
 * -errno. The caller ends the attachment by bpf_objects_detach_xdp(). */
int bpf_objects_join_xdp(struct bpf_objects *bpf, uint32_t ifindex,
			 struct xdp_attachment *a, bool *native);
/* Ends the attachment. Does nothing if there is none. */
void bpf_objects_detach_xdp(struct xdp_attachment *a);
/* Returns true if somebody has detached the program from its device, false also on error. The
 * kernel sends no event for that. */
bool bpf_objects_lost_xdp(const struct xdp_attachment *a);

/* Returns true if another wgxdp of this host has AF_XDP sockets on the NIC with this address. */
bool bpf_objects_others_serve(const struct bpf_objects *bpf, uint32_t ifindex,
			      const uint8_t mac[6]);

#define XDP_HOLDER_TEXT 64
/* Writes which XDP program the device has, in native or generic mode, as "17 (name)", or as "17"
 * without CAP_SYS_ADMIN, and " of wg1" if another wgxdp of this host has AF_XDP sockets there.
 * Returns false, and "", if it has none. */
bool bpf_objects_xdp_holder(const struct bpf_objects *bpf, uint32_t ifindex,
			    const uint8_t mac[6], char text[XDP_HOLDER_TEXT]);

/* Gives the kernel's network stack this Ethernet frame as if the device had received it and XDP
 * had passed it. The device is one of this thread's network namespace. 0 or -errno. */
int bpf_objects_deliver(struct bpf_objects *bpf, uint32_t ifindex, const uint8_t *frame,
			size_t len);

/* Returns the descriptor of the program that filters what a UDP socket receives; owned by bpf. */
int bpf_objects_socket_filter_fd(const struct bpf_objects *bpf);

/* Returns WG_MAX_WORKERS + 1 elements in memory shared with the BPF map, owned by bpf. */
struct worker_stats *bpf_objects_worker_stats(struct bpf_objects *bpf);

/* Writers of maps. Those that return a value return 0 or -errno. */

/* port: host order, 0: not listening. */
void bpf_objects_set_port(struct bpf_objects *bpf, uint16_t port);
/* mac1_key: the key of mac1 in handshake messages to this tunnel (cookie.h); NULL: the tunnel
 * has no private key. */
void bpf_objects_set_mac1_key(struct bpf_objects *bpf,
			      const uint8_t mac1_key[WG_KEY_LEN]);
/* Returns true if what these two wrote is not in the map: bpf_objects_write_config() is to be
 * called until it is. */
bool bpf_objects_config_late(const struct bpf_objects *bpf);
int bpf_objects_write_config(struct bpf_objects *bpf);
/* The flow of what comes from this endpoint, to the address of ours that is its source, by the
 * device. Admitted, it is the XDP program's for WG_FLOW_LAPSED_NS. */
int bpf_objects_admit_flow(struct bpf_objects *bpf, const struct endpoint *from,
			   uint32_t ifindex);
void bpf_objects_remove_flow(struct bpf_objects *bpf, const struct endpoint *from,
			     uint32_t ifindex);
/* Memory shared with the BPF map, owned by bpf. */
struct defence *bpf_objects_defence(struct bpf_objects *bpf);
/* Sets the secret that cookies are made of (cookie.h), and when it expires. NULL: there is none. */
void bpf_objects_set_cookie_secret(struct bpf_objects *bpf,
				   const uint8_t secret[WG_KEY_LEN], uint64_t until);
/* The source of the address is a friend (bpf/flood.h), or is not one any more. Adding it again does
 * nothing. If the kernel has no memory for it, nothing happens. */
void bpf_objects_add_friend(struct bpf_objects *bpf, const struct ip_addr *addr);
void bpf_objects_remove_friend(struct bpf_objects *bpf, const struct ip_addr *addr);
/* Makes the source a suspect (bpf/flood.h) until that time (clock_now()). If the kernel has no
 * memory for it, nothing happens. */
void bpf_objects_set_suspect(struct bpf_objects *bpf, const struct ip_addr *addr,
			     uint64_t until);
/* entry NULL: the NIC is no longer served. */
int bpf_objects_set_nic(struct bpf_objects *bpf, uint32_t ifindex,
			const struct nic_entry *entry);
int bpf_objects_set_xsk(struct bpf_objects *bpf, uint32_t key, int data_fd,
			int handshake_fd);
int bpf_objects_add_peer(struct bpf_objects *bpf, uint32_t slot);
void bpf_objects_remove_peer(struct bpf_objects *bpf, uint32_t slot);
int bpf_objects_add_session(struct bpf_objects *bpf, uint32_t index, uint32_t slot);
void bpf_objects_remove_session(struct bpf_objects *bpf, uint32_t index);
/* An allowedips_mirror (allowedips.h). ctx: struct bpf_objects. */
int bpf_objects_set_allowed_ip(void *ctx, const struct ip_addr *addr, uint8_t cidr,
			       uint32_t slot, bool present);

/* Readers of maps: the sums of all CPUs. Return 0 or -errno; *out is zeroed on error. */
/* Of n peers, at most WG_STATS_AT_ONCE: found[i] tells if the map has that one, else out[i] is
 * zero. On error nothing is written. */
int bpf_objects_peer_stats(struct bpf_objects *bpf, const uint32_t *slots, unsigned n,
			   struct peer_stats *out, bool *found);
int bpf_objects_drops(struct bpf_objects *bpf, struct drops *out);

#endif
