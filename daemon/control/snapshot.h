/* SPDX-License-Identifier: MIT */
/*
 * What there is to see of a tunnel, as plain data: for whoever prints it (status.c, config.c).
 *
 * Theory of operation: a snapshot holds copies alone, so that it stays valid when the tunnel
 * changes, and it has a fixed size. The peers are not part of it: whoever prints them walks the
 * list and takes a struct peer_snapshot of one peer at a time, so that 100,000 peers need no more
 * memory than one. A peer may have as many allowed IPs: the snapshot only counts them. Secret
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
#include "wg_maps.h"
#include "wg_proto.h"

struct peer;
struct tunnel;

struct nic_snapshot {
	char name[IFNAMSIZ];
	uint32_t ifindex;
	bool native;		  /* native XDP, else generic */
	unsigned queues;	  /* that send and receive */
	unsigned zerocopy_queues; /* of those */
	unsigned receive_queues;  /* that only receive, with copies */
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
	char aead[32];			/* name of the AEAD engine */
	unsigned workers;
	struct nic_snapshot nics[WG_MAX_NICS];
	unsigned nic_count;
	char released[WG_MAX_NICS][IFNAMSIZ]; /* by `wgxdp release` */
	unsigned released_count;
	/* Sum of all threads; `drops` also has those of the BPF programs and NICs. */
	struct worker_stats stats;
};

enum peer_way {
	PEER_WAY_NONE, /* no endpoint, no route or no socket */
	PEER_WAY_UDP,
	PEER_WAY_AF_XDP,
};

struct peer_snapshot {
	uint8_t public_key[WG_KEY_LEN];
	uint32_t slot;
	bool has_endpoint;
	struct endpoint endpoint; /* if has_endpoint */
	enum peer_way way;
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

void snapshot_take(const struct tunnel *tunnel, struct snapshot *s);
void snapshot_peer(struct peer *peer, struct peer_snapshot *p);

#endif
