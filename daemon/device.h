/* SPDX-License-Identifier: MIT */
/*
 * One WireGuard interface with all its state; nothing is global. The control
 * thread owns it. Workers use what peer.h, path.h, nic.h and udp.h say they may.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include <urcu-qsbr.h> /* before rculfhash.h, which takes its flavour */
#include <urcu/list.h>
#include <urcu/rculfhash.h>

#include "aead.h"
#include "allowedips.h"
#include "cookie.h"
#include "datapath.h"
#include "events.h"
#include "handshake_queue.h"
#include "nic.h"
#include "noise.h"
#include "pmtu.h"
#include "ratelimit.h"
#include "rtnl.h"
#include "session.h"
#include "timerq.h"
#include "udp.h"
#include "wall_clock.h"
#include "wgif.h"
#include "worker.h"

struct peer;
struct uapi;

/* What one source may make us compute (whitepaper section 5.3). */
#define HANDSHAKES_PER_SECOND 20
#define HANDSHAKES_BURST      5

/* What a worker tells handshake messages to us from junk by. */
struct mac1_check {
	uint8_t key[WG_KEY_LEN];
	struct rcu_head rcu;
};

struct device {
	char name[IFNAMSIZ];

	/* Read by workers. */
	struct peer **slots; /* [WG_MAX_PEERS], RCU */
	struct sessions sessions;
	struct udp *udp; /* RCU; NULL while the interface is down */
	struct nics nics;
	struct events events;
	struct handshake_queue handshakes; /* from the UDP sockets */
	struct mac1_check *mac1;	   /* RCU; NULL: there is no private key */
	const struct aead_engine *aead;
	struct datapath *datapath;
	struct worker_stats *stats; /* [WG_MAX_WORKERS + 1], mapped from BPF */
	atomic_uint mtu;	    /* of wg0 */
	/* wg0 is known to lack a TC program: nothing is written to it. */
	atomic_bool unguarded;

	struct workers workers;

	/* The control thread's own. */
	struct wgif wgif;
	bool up;
	struct noise_identity identity;
	struct cookie_checker cookies;
	struct ratelimit ratelimit;
	uint64_t under_load_until; /* ns */
	struct wall_clock wall;
	uint16_t listen_port; /* as configured; 0: any */
	uint32_t fwmark;
	struct cds_list_head peers;
	struct cds_list_head dead_peers;
	struct cds_list_head initiations; /* of peers: see handshake_want() */
	struct cds_lfht *peers_by_key;
	uint8_t hash_key[16];
	uint32_t next_slot;
	unsigned peer_count;
	struct allowedips allowed;
	struct timerq timers;
	struct rtnl rtnl;
	uint64_t
		paths_due; /* when to resolve all paths anew; UINT64_MAX: they are right */
	struct cds_list_head *next_path; /* in peers; NULL: all are done */
	struct pmtu pmtu;
	uint64_t listen_due; /* when to try to open the sockets again */
	uint64_t addrs_due;  /* when to read our addresses; UINT64_MAX: they are known */
	struct uapi *uapi;
	int epoll_fd; /* what the control thread waits on */
	int signal_fd;
	bool lazy_pending;
	bool ending;
};

/* Makes wg0, the BPF objects, the sockets and workers; `why` gets one line that
 * names the cure when the result is negative. */
int device_open(struct device *dev, const char *ifname, const struct nics *nics,
		unsigned workers, char *why, size_t why_len);
/* Ends sessions, detaches XDP, removes pins, wipes keys. */
void device_close(struct device *dev);

/* The interface was set up or down: sockets are opened, sessions ended. */
void device_set_up(struct device *dev, bool up);
/* Configuration, by the control thread: 0 or -errno, on error nothing changed. */
int device_set_private_key(struct device *dev, const uint8_t key[WG_KEY_LEN]);
int device_set_listen_port(struct device *dev, uint16_t port);
int device_set_fwmark(struct device *dev, uint32_t fwmark);
/* Port that is bound, or the configured one while down. Host order. */
uint16_t device_port(const struct device *dev);
/* Opens the sockets of an interface that is up. 0 or -errno; tried again later. */
int device_listen(struct device *dev);
/* Sets what the UDP sockets may do to what the NICs allow. */
void device_choose_gro(struct device *dev);
/* Resolves peers' paths again, if that is due: a share of them. */
void device_resolve_paths(struct device *dev, uint64_t now);
/* Has that done soon: what paths are made of has changed. */
void device_paths_changed(struct device *dev);
/* Has that done by then, ns. */
void device_paths_due(struct device *dev, uint64_t when);
/* Tells the XDP program of an address of this host. `dev` is a struct device. */
void device_add_addr(void *dev, const struct rtnl_addr *addr);
/* Tells the XDP program what addresses this host has. */
void device_read_addrs(struct device *dev);

/* Counts n drops by the control thread. */
void device_drop(struct device *dev, enum drop_reason reason, uint64_t n);

#endif
