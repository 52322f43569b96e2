/* SPDX-License-Identifier: MIT */
/*
 * Which NICs have AF_XDP sockets: those that were asked for, or those that routes name. All by
 * the control thread.
 */
#ifndef NICS_H
#define NICS_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nic.h"
#include "wg_maps.h"

struct rtnl_link;
struct tunnel;

struct nic_request {
	char name[IFNAMSIZ];
	enum nic_mode mode;
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
	bool automatic; /* attach to what routes name */
	struct nic_request requests[WG_MAX_NICS];
	unsigned request_count;
	struct nic_refusal refused[WG_MAX_NICS];
	unsigned refused_next;
};

/* Control thread. Attaches XDP and opens the sockets of every queue; `why` gets one
 * line on error. */
int nic_attach(struct tunnel *tunnel, uint32_t ifindex, enum nic_mode mode,
	       struct nic **out, char *why, size_t why_len);
/* Control thread; paths no longer name it. Waits a grace period. */
void nic_detach(struct tunnel *tunnel, struct nic *nic);
struct nic *nic_find(struct tunnel *tunnel, uint32_t ifindex);
/* A link changed, or went (NULL): it may have a new name, and one that was refused may be
 * tried again. */
void nic_link_changed(struct tunnel *tunnel, uint32_t ifindex,
		      const struct rtnl_link *link);
/* The NIC of this device, attached now if it was asked for or `automatic`; NULL where
 * it is to go without. Control thread. */
struct nic *nic_for_route(struct tunnel *tunnel, uint32_t ifindex);

/* Sets what the UDP sockets may do to what the NICs allow. */
void tunnel_choose_gro(struct tunnel *tunnel);

#endif
