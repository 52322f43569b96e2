// SPDX-License-Identifier: MIT
/*
 * Theory of operation: the BPF map `flows` has at most one entry per peer, and peer->flow is
 * its key. The entry is written again whenever the kernel delivers something authentic of the
 * peer to the UDP socket: a worker tells of data (EVENT_FLOW), at most once per second and
 * peer unless the flow is another one. XDP passes a data message of the flow every few
 * seconds, so that this goes on for as long as the kernel delivers what it gets
 * (bpf/nic.bpf.c). peer->flow stays when the entry is removed: then flow_admitted is 0.
 */
#include "flows.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <string.h>

#include "bpf_objects.h"
#include "clock.h"
#include "tunnel.h"

/* As long as messages may wait between the kernel and us. */
#define JUST_ADMITTED_NS (100 * NS_PER_MS)

static void put_addr(uint8_t out[16], const struct ip_addr *addr)
{
	memset(out, 0, 16);
	if (addr->family == IP_V4) {
		out[10] = out[11] = 0xff;
		memcpy(out + 12, addr->bytes, 4);
	} else {
		memcpy(out, addr->bytes, 16);
	}
}

static struct flow_key flow_of(const struct endpoint *from, uint32_t ifindex)
{
	struct flow_key key = {
		.ifindex = ifindex,
		.proto = htons(from->addr.family == IP_V4 ? ETH_P_IP : ETH_P_IPV6),
		.port = htons(from->port),
	};

	put_addr(key.source, &from->addr);
	put_addr(key.destination, &from->source);
	return key;
}

static bool flow_equal(const struct flow_key *a, const struct flow_key *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* Returns true if a message that came to the socket may be older than the entry in the map. */
static bool is_just_admitted(const struct peer *peer, uint64_t now)
{
	return now - peer->flow_admitted < JUST_ADMITTED_NS;
}

static void remove_entry(struct peer *peer)
{
	if (peer->flow_admitted)
		bpf_objects_remove_flow(peer->peers->bpf, &peer->flow);
	peer->flow_admitted = 0;
}

void flows_admit(struct peer *peer, const struct endpoint *from, uint32_t ifindex,
		 uint64_t now)
{
	struct flow_key key = flow_of(from, ifindex);
	struct tunnel *tunnel = tunnel_of(peer);

	if (!tunnel->dp.udp || !dataplane_nic(&tunnel->dp, ifindex))
		return;
	if (!flow_equal(&key, &peer->flow))
		remove_entry(peer);
	/* Without memory for an entry the flow stays with the UDP socket. */
	if (bpf_objects_admit_flow(tunnel->bpf, &key))
		return;
	peer->flow = key;
	peer->flow_admitted = now;
}

bool flows_may_be_translated(const struct peer *peer, const struct endpoint *from,
			     uint32_t ifindex, uint64_t now)
{
	struct flow_key key = flow_of(from, ifindex);

	if (!dataplane_nic(&tunnel_of(peer)->dp, ifindex))
		return false;
	return flow_equal(&key, &peer->flow) && is_just_admitted(peer, now)
		       ? atomic_load(&peer->socket_only)
		       : true;
}

static struct arrival latest_arrival(struct peer *peer)
{
	struct arrival a;

	pthread_mutex_lock(&peer->roam_lock);
	a = peer->by_socket;
	pthread_mutex_unlock(&peer->roam_lock);
	return a;
}

uint32_t flows_serve(struct peer *peer, uint64_t now)
{
	struct arrival a = latest_arrival(peer);

	if (a.ifindex)
		flows_admit(peer, &a.from, a.ifindex, now);
	return a.ifindex;
}

/* The worker tells of the next data then, even if they come as before. */
static void forget_arrival(struct peer *peer)
{
	pthread_mutex_lock(&peer->roam_lock);
	memset(&peer->by_socket, 0, sizeof(peer->by_socket));
	pthread_mutex_unlock(&peer->roam_lock);
}

/* What the kernel has just delivered by the device is admitted as if XDP had been there. */
static void admit_latest(struct peer *peer, uint32_t ifindex, uint64_t now)
{
	uint64_t since = now - atomic_load(&peer->flow_told);
	struct arrival a = latest_arrival(peer);

	if (a.ifindex == ifindex && since < WG_FLOW_FRESH_NS)
		flows_admit(peer, &a.from, ifindex, now);
	else if (peer->arrived_by == ifindex)
		forget_arrival(peer);
}

void flows_note_nic(struct tunnel *tunnel, uint32_t ifindex)
{
	uint64_t now = clock_now();
	struct peer *peer;

	cds_list_for_each_entry (peer, &tunnel->peers.list, list)
		admit_latest(peer, ifindex, now);
}

void flows_forget(struct peer *peer)
{
	forget_arrival(peer);
	remove_entry(peer);
}

void flows_flush(struct tunnel *tunnel)
{
	struct peer *peer;

	cds_list_for_each_entry (peer, &tunnel->peers.list, list)
		flows_forget(peer);
}

void flows_forget_addr(struct tunnel *tunnel, const struct ip_addr *addr)
{
	uint8_t destination[16];
	struct peer *peer;

	put_addr(destination, addr);
	cds_list_for_each_entry (peer, &tunnel->peers.list, list)
		if (!memcmp(peer->flow.destination, destination, 16))
			flows_forget(peer);
}
