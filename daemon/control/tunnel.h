/* SPDX-License-Identifier: MIT */
/*
 * One WireGuard interface with all its state; nothing is global.
 *
 * Theory of operation: the control thread owns struct tunnel. Workers do not see it: they are
 * given struct dataplane (dataplane.h). tunnel_open() makes the parts in the order of their
 * dependencies; control_run() (loop.h) serves them; tunnel_close() ends them in the opposite order.
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
#include "drops.h"
#include "far_links.h"
#include "flows.h"
#include "late_maps.h"
#include "nics.h"
#include "noise.h"
#include "peer.h"
#include "peers.h"
#include "pmtu.h"
#include "ratelimit.h"
#include "routing.h"
#include "rtnl.h"
#include "stale_paths.h"
#include "wall_clock.h"
#include "wgif.h"
#include "workers.h"

struct uapi;

/* How many handshakes one source address may make us compute (whitepaper section 5.3). */
#define HANDSHAKES_PER_SECOND 20
#define HANDSHAKES_BURST      5
/* How many worthless initiations a source may send without becoming a suspect (flood.h). */
#define WORTHLESS_PER_SECOND 20
#define WORTHLESS_BURST	     64

/* The counters of drops at the time of a snapshot. */
struct drops_sample {
	uint64_t at; /* ns */
	struct drops drops;
};

struct tunnel {
	char name[IFNAMSIZ];
	uint64_t opened; /* when, ns */
	/* The latest sample, and the one before, which is at least a second older. */
	struct drops_sample asked[2];
	struct dataplane dp; /* what workers read */
	struct peers peers;
	struct nics nics;
	struct workers workers;

	struct bpf_objects *bpf;
	struct rtnl rtnl;
	struct routing routing;
	struct wgif wgif;
	bool up;
	bool up_wanted; /* what wg0 is; `up` follows when all peers are down (listen.h) */
	struct noise_identity identity;
	struct mac1_check *spare_mac1; /* reserved for new identities */
	struct peer_walk rekeying;     /* peers that do not know of a new identity yet */
	struct cookie_checker cookies;
	struct ratelimit ratelimit; /* of handshakes under load */
	/* Of worthless initiations. A source that exceeds it is a suspect. */
	struct ratelimit worthless;
	struct wall_clock wall;
	uint16_t listen_port; /* as configured; 0: any */
	uint32_t fwmark;
	/* When to resolve all paths again, ns; UINT64_MAX: nothing they are made of has
	 * changed. */
	uint64_t paths_due;
	/* When to look for default routes, ns; UINT64_MAX: they have not changed. */
	uint64_t default_routes_due;
	struct stale_paths stale;
	struct late_maps late_maps;
	/* Work on all peers, in shares. */
	struct peer_sweep flush;     /* forgets their flows */
	struct peer_sweep admission; /* admits flows after XDP was attached */
	struct peer_sweep dropping;  /* replaces paths by NICs that are gone */
	struct peer_sweep going_up, going_down;
	int path_error; /* of the latest look-up that failed, as the log knows it */
	struct pmtu pmtu;
	struct far_links far_links; /* while wg0 is in another namespace */
	/* When to try again to open the sockets, to read the links: ns; UINT64_MAX: there is no
	 * need. */
	uint64_t listen_due, links_due;
	int listen_error; /* -errno of the latest try; 0: it listens, or is down */
	int filter_error; /* of the latest sockets (udp.h), as the log knows it */
	struct uapi *uapi;
	int epoll_fd; /* what the control thread waits on */
	int signal_fd;
	uint64_t probes_until;	  /* ns: when those of this round end */
	uint64_t probe_error_due; /* ns: not before that is an error logged */
	bool lazy_pending;
	bool ending;
};

/* The tunnel that a peer belongs to. */
static inline struct tunnel *tunnel_of(const struct peer *peer)
{
	return caa_container_of(peer->peers, struct tunnel, peers);
}

/* Makes wg0, the BPF objects, the UAPI socket and the workers, and attaches to NICs that were
 * named. 0 or -errno, and then nothing is left and `why` gets one line that names the cure. */
int tunnel_open(struct tunnel *tunnel, const char *ifname, const struct nics *nics,
		unsigned workers, char *why, size_t why_len);
/* Ends sessions, detaches XDP, removes pins, wipes keys. */
void tunnel_close(struct tunnel *tunnel);

/* The port that is bound, or while wg0 is down the configured one. Host order. */
static inline uint16_t tunnel_port(const struct tunnel *tunnel)
{
	return tunnel->dp.udp ? tunnel->dp.udp->port : tunnel->listen_port;
}

/* Counts n packets that the control thread drops. */
static inline void tunnel_drop(struct tunnel *tunnel, enum drop_reason reason, uint64_t n)
{
	drops_add(&tunnel->dp.stats[WG_CONTROL_STATS].drops, reason, n);
}

#endif
