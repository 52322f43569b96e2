/* SPDX-License-Identifier: MIT */
/*
 * Which NICs have AF_XDP sockets, or only the XDP program (a filter, nic.h): those that the
 * administrator named, or, if none was named, those that default routes and routes to peers lead
 * to.
 *
 * Theory of operation: to attach XDP is a decision with consequences: drivers reset their
 * queues, sockets are opened, workers are started, and it may take a second. So path resolution
 * only looks (dataplane_nic()) and says what it could use (nics_want()). The control loop attaches
 * what is wanted, one NIC per round, in nics_serve(). A NIC that cannot be attached is refused
 * for a while, longer each time, or until the link changes.
 *
 * All functions are for the control thread.
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

#define NICS_WANTED_MAX 32

struct nic_request {
	char name[IFNAMSIZ];
	enum nic_mode mode;
};

#define NIC_WHY 256 /* room for the reason of a refusal */

/* A device that could not be attached, as it was then. */
struct nic_refusal {
	uint32_t ifindex; /* 0: none */
	uint32_t mtu;
	bool up;
	int err;
	unsigned momentary; /* tries running that failed for a moment's shortage */
	bool over;	    /* `until` has passed, and nics_serve() said so */
	char why[NIC_WHY];
	char holder[XDP_HOLDER_TEXT]; /* the XDP program on the device; "": none */
	uint64_t look; /* ns, when to look whether `holder` has changed; 0: never */
	uint64_t wait, until; /* ns */
};

struct nics {
	bool automatic;	 /* attach to what routes lead to */
	unsigned frames; /* per queue (xsk.h); 0: the default */
	struct nic_request requests[WG_MAX_NICS];
	unsigned request_count;
	struct nic_refusal refused[WG_MAX_NICS];
	unsigned refused_next;
	uint32_t released[WG_MAX_NICS];	  /* ifindexes, until nics_take(); 0: none */
	uint32_t wanted[NICS_WANTED_MAX]; /* ifindexes that wait for nics_serve() */
	unsigned wanted_count;
	uint64_t looked; /* ns, when nic_admin_look() last looked at them */
	uint32_t
		lost; /* the device whose program somebody detached last, and when (ns) */
	uint64_t lost_at;
	struct nic *closed; /* NICs that paths may still name: see nics_free_closed() */
};

/* Returns the attached NIC, which may be a filter, or NULL. */
struct nic *nics_find(const struct tunnel *tunnel, uint32_t ifindex);
/* Attaches XDP at once and opens the sockets of every queue. 0 or -errno, and then `why` gets
 * one line. */
int nics_attach(struct tunnel *tunnel, uint32_t ifindex, enum nic_mode mode,
		struct nic **out, char *why, size_t why_len);
/* Waits a grace period and closes the NIC, so that the device is free. If paths may name the NIC,
 * paths_drop_nic() comes first. */
void nics_detach(struct tunnel *tunnel, struct nic *nic);
/* Frees the closed NICs. No path may name any of them. */
void nics_free_closed(struct tunnel *tunnel);
/*
 * A path leads to this device. Queues it for nics_serve() if it may be attached: it was asked
 * for, or is suitable and `automatic` is set, and it is not refused at present. If the queue is
 * full nothing happens; the next resolution of the path asks again.
 */
void nics_want(struct tunnel *tunnel, uint32_t ifindex);
/*
 * Attaches the first NIC of the queue. Returns the ifindex of a device whose paths the caller
 * should resolve again, because it was attached or may be tried again; 0: none.
 */
uint32_t nics_serve(struct tunnel *tunnel, uint64_t now);
/* The administrator wants the device for himself: it is not attached again until nics_take(), or
 * until it is deleted. The caller detaches. 0; -ENOSPC: too many such devices. */
int nics_release(struct tunnel *tunnel, uint32_t ifindex);
/* Ends that, and attaches at once. 0 or -errno; -EACCES if the device may not be attached. */
int nics_take(struct tunnel *tunnel, uint32_t ifindex);
/* When nics_serve() has something to do, ns; 0: now, UINT64_MAX: nothing. */
uint64_t nics_deadline(const struct tunnel *tunnel);
/* Somebody detached the XDP program of this device, which is no NIC any more. Wants it again: at
 * once, or later if that happened a short time ago, too. */
void nics_note_lost(struct tunnel *tunnel, uint32_t ifindex, uint64_t now);
/* A link changed, or went (NULL): it may have a new name, and one that was refused may be tried
 * again. */
void nics_link_changed(struct tunnel *tunnel, uint32_t ifindex,
		       const struct rtnl_link *link);
/* Lets the UDP sockets merge datagrams (GRO), unless a NIC has generic XDP, which would see the
 * merged ones. */
void nics_choose_gro(struct tunnel *tunnel);

#endif
