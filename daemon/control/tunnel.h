/* SPDX-License-Identifier: MIT */
/*
 * One WireGuard interface with all its state; nothing is global. The control
 * thread owns it. Workers use what peer.h, path.h, nic.h and udp.h say they may.
 */
#ifndef TUNNEL_H
#define TUNNEL_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include <urcu-qsbr.h> /* before rculfhash.h, which takes its flavour */
#include <urcu/list.h>
#include <urcu/rculfhash.h>

#include "cookie.h"
#include "dataplane.h"
#include "nics.h"
#include "noise.h"
#include "peer.h"
#include "peers.h"
#include "pmtu.h"
#include "ratelimit.h"
#include "rtnl.h"
#include "wall_clock.h"
#include "wgif.h"
#include "workers.h"

struct uapi;

/* What one source may make us compute (whitepaper section 5.3). */
#define HANDSHAKES_PER_SECOND 20
#define HANDSHAKES_BURST      5

struct tunnel {
	char name[IFNAMSIZ];
	struct dataplane dp; /* what workers read */
	struct peers peers;
	struct nics nics;
	struct workers workers;

	struct bpf_objects *bpf;
	struct rtnl rtnl;
	struct wgif wgif;
	bool up;
	struct noise_identity identity;
	struct cookie_checker cookies;
	struct ratelimit ratelimit;
	uint64_t under_load_until; /* ns */
	struct wall_clock wall;
	uint16_t listen_port; /* as configured; 0: any */
	uint32_t fwmark;
	uint64_t
		paths_due; /* when to resolve all paths anew; UINT64_MAX: they are right */
	struct pmtu pmtu;
	uint64_t listen_due; /* when to try to open the sockets again */
	struct uapi *uapi;
	int epoll_fd; /* what the control thread waits on */
	int signal_fd;
	bool lazy_pending;
	bool ending;
};

/* The tunnel that a peer belongs to. */
static inline struct tunnel *tunnel_of(const struct peer *peer)
{
	return caa_container_of(peer->peers, struct tunnel, peers);
}

/* Makes wg0, the BPF objects, the sockets and workers; `why` gets one line that
 * names the cure when the result is negative. */
int tunnel_open(struct tunnel *tunnel, const char *ifname, const struct nics *nics,
		unsigned workers, char *why, size_t why_len);
/* Ends sessions, detaches XDP, removes pins, wipes keys. */
void tunnel_close(struct tunnel *tunnel);

/* Port that is bound, or the configured one while down. Host order. */
uint16_t tunnel_port(const struct tunnel *tunnel);

/* Counts n drops by the control thread. */
void tunnel_drop(struct tunnel *tunnel, enum drop_reason reason, uint64_t n);

#endif
