/* SPDX-License-Identifier: MIT */
/*
 * What there is to see of a tunnel, as plain data: for whoever prints it (status.c, config.c).
 *
 * Theory of operation: a snapshot holds copies alone, so that it stays valid when the tunnel
 * changes, and it has a fixed size. The peers are not part of it: whoever prints them takes
 * SNAPSHOT_PEERS of them at a time (struct snapshot_walk), so that 100,000 peers need no more
 * memory than these, and one system call reads the counters of as many. A peer may have as many allowed IPs: the snapshot only counts them. Secret
 * keys are never in a snapshot.
 *
 * Control thread. Each counter is read once per snapshot, while the workers go on counting:
 * packets and bytes may differ by what happened between the two reads.
 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "endpoint.h"
#include "nics.h"
#include "peers.h"
#include "wg_maps.h"
#include "wg_proto.h"

struct peer;
struct tunnel;

#define SNAPSHOT_PEERS WG_STATS_AT_ONCE
/* All peers that a walk takes at once have less, except the last one. */
#define SNAPSHOT_ALLOWED_IPS 1024

struct nic_snapshot {
	char name[IFNAMSIZ];
	uint32_t ifindex;
	bool native;		  /* native XDP, else generic */
	bool filter;		  /* has no AF_XDP sockets */
	unsigned queues;	  /* that send and receive */
	unsigned zerocopy_queues; /* of those */
	unsigned receive_queues;  /* that only receive, with copies */
};

/* A device to which XDP could not be attached. */
struct refused_snapshot {
	char name[IFNAMSIZ];
	char why[NIC_WHY];
};

struct snapshot {
	char name[IFNAMSIZ]; /* of the interface, at its creation */
	pid_t pid;
	uint64_t uptime; /* seconds since the tunnel was opened, suspend included */
	bool has_key;
	uint8_t public_key[WG_KEY_LEN]; /* if has_key */
	uint16_t port;			/* host order; 0: none was chosen yet */
	uint32_t fwmark;		/* 0: none */
	bool up;			/* the interface is */
	bool listening;			/* the UDP sockets are open */
	int listen_error;		/* if they should be: why they are not, -errno */
	int filter_error; /* why the sockets lack the filter, -errno; 0: they have it */
	char aead[32];	  /* name of the AEAD engine */
	unsigned workers;
	bool guarded;	     /* wg0 is not known to lack a TC program */
	size_t late_changes; /* that BPF maps have not yet */
	struct nic_snapshot nics[WG_MAX_NICS];
	unsigned nic_count;
	struct refused_snapshot refused[WG_MAX_NICS];
	unsigned refused_count;
	char released[WG_MAX_NICS][IFNAMSIZ]; /* by `wgxdp release` */
	unsigned released_count;
	/* Sum of all threads; `drops` also has those of the BPF programs and NICs. */
	struct worker_stats stats;
	/* Drops per second, rounded, since an earlier snapshot that is at least a second old, or
	 * since the start if there is none. */
	struct drops drop_rates;
};

enum path_kind {
	PATH_NONE, /* no endpoint, no route or no socket */
	PATH_UDP,
	PATH_AF_XDP,
};

struct peer_snapshot {
	uint8_t public_key[WG_KEY_LEN];
	uint32_t slot;
	bool has_endpoint;
	struct endpoint endpoint; /* if has_endpoint */
	enum path_kind path;
	char nic[IFNAMSIZ];    /* "": the path names no NIC */
	char rx_nic[IFNAMSIZ]; /* of which XDP takes the peer's packets; "": of none */
	uint64_t rx_bytes;     /* of UDP payload, authentic and not refused by TC */
	uint64_t tx_bytes;     /* of UDP payload */
	uint64_t latest_handshake;     /* Unix time, ns; 0: never */
	uint16_t persistent_keepalive; /* seconds; 0: off */
	size_t allowed_ips;
	bool has_stats;		 /* the BPF map could be read */
	struct peer_stats stats; /* zero unless has_stats */
};

void snapshot_take(struct tunnel *tunnel, struct snapshot *s);
/* Takes n peers, at most SNAPSHOT_PEERS. */
void snapshot_peers(struct peer **peers, struct peer_snapshot *taken, unsigned n);

/* Takes all peers, some at a time, while peers may come and go. */
struct snapshot_walk {
	struct peers *table;
	struct peer_walk walk;
	struct allowedips_walk ips; /* its user's, of one of the peers */
	unsigned count;
	struct peer *peers[SNAPSHOT_PEERS]; /* valid for the control loop's round */
	struct peer_snapshot taken[SNAPSHOT_PEERS];
};

/* NULL without memory. */
struct snapshot_walk *snapshot_walk_new(struct peers *peers);
/* Takes the next `count` ones. Returns false if there are none. */
bool snapshot_walk_next(struct snapshot_walk *w);
/* NULL is allowed. */
void snapshot_walk_free(struct snapshot_walk *w);

#endif
