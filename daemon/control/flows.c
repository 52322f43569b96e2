// SPDX-License-Identifier: MIT
/*
 * Theory of operation: the BPF map `flows` has at most one entry per peer, of peer->flow. The
 * entry is written again whenever the kernel delivers something authentic of the peer to the UDP
 * socket: a worker tells of data (EVENT_FLOW), at most once per second and peer unless the flow
 * is another one. What a peer sends by AF_XDP does not come to the socket, so while the peer is
 * active the kernel gets a probe of the flow every ten seconds (probe.h): what refuses the
 * peer's packets refuses the probe, too, and the flow lapses (bpf/nic.bpf.c). Passing the
 * kernel one of the peer's own messages instead would let later ones overtake it. Probes also
 * keep the flow known to conntrack, which forgets it after 30 s.
 *
 * peer->flow stays when the entry is removed: then flow_admitted is 0.
 */
#include "flows.h"

#include <string.h>

#include <sodium.h>

#include "bpf_objects.h"
#include "clock.h"
#include "log.h"
#include "nic.h"
#include "probe.h"
#include "thread.h"
#include "tunnel.h"

/* As long as messages may wait between the kernel and us. */
#define JUST_ADMITTED_NS (100 * NS_PER_MS)
/* The age at which a flow is probed, and how often until an answer comes. */
#define PROBE_AFTER_NS (10 * NS_PER_SEC)
#define PROBE_RETRY_NS NS_PER_SEC
/* A probe takes some 20 us. A flow without one lapses, and is admitted again by its data. */
#define PROBES_A_ROUND 128

static bool is_flow(const struct peer *peer, const struct endpoint *from,
		    uint32_t ifindex)
{
	return peer->flow.ifindex == ifindex && endpoint_equal(&peer->flow.from, from);
}

/* Returns true if a message that came to the socket may be older than the entry in the map. */
static bool is_just_admitted(const struct peer *peer, uint64_t now)
{
	return now - peer->flow_admitted < JUST_ADMITTED_NS;
}

static void remove_entry(struct peer *peer)
{
	if (peer->flow_admitted)
		bpf_objects_remove_flow(peer->peers->bpf, &peer->flow.from,
					peer->flow.ifindex);
	peer->flow_admitted = 0;
}

void flows_admit(struct peer *peer, const struct endpoint *from, uint32_t ifindex,
		 uint64_t now)
{
	const struct peer_key key = {.addr = from->source};
	struct tunnel *tunnel = tunnel_of(peer);

	assert_control_thread();
	if (!tunnel->dp.udp || !dataplane_nic(&tunnel->dp, ifindex))
		return;
	if (!is_flow(peer, from, ifindex))
		remove_entry(peer);
	/* Without memory for an entry the flow stays with the UDP socket. */
	if (peer_index_put(&tunnel->peers.by_flow, &peer->by_flow, &key)) {
		remove_entry(peer);
		return;
	}
	if (bpf_objects_admit_flow(tunnel->bpf, from, ifindex))
		return;
	peer->flow = (struct arrival){.from = *from, .ifindex = ifindex};
	peer->flow_admitted = now;
}

bool flows_may_be_translated(const struct peer *peer, const struct endpoint *from,
			     uint32_t ifindex, uint64_t now)
{
	if (!dataplane_nic(&tunnel_of(peer)->dp, ifindex))
		return false;
	return is_flow(peer, from, ifindex) && is_just_admitted(peer, now)
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

	assert_control_thread();
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

	if (a.ifindex == ifindex && since < PROBE_AFTER_NS)
		flows_admit(peer, &a.from, ifindex, now);
	else if (peer->arrived_by == ifindex)
		forget_arrival(peer);
}

void flows_note_nic(struct tunnel *tunnel, uint32_t ifindex)
{
	uint64_t now = clock_now();
	struct peer *peer;

	assert_control_thread();
	cds_list_for_each_entry (peer, &tunnel->peers.list, list)
		admit_latest(peer, ifindex, now);
}

void flows_forget(struct peer *peer)
{
	assert_control_thread();
	forget_arrival(peer);
	remove_entry(peer);
}

void flows_flush(struct tunnel *tunnel)
{
	struct peer *peer;

	assert_control_thread();
	cds_list_for_each_entry (peer, &tunnel->peers.list, list)
		flows_forget(peer);
}

void flows_forget_addr(struct tunnel *tunnel, const struct ip_addr *addr)
{
	const struct peer_key key = {.addr = *addr};
	struct peer_group *group = peer_index_find(&tunnel->peers.by_flow, &key);
	struct peer *peer;

	assert_control_thread();
	if (!group)
		return;
	cds_list_for_each_entry (peer, &group->members, by_flow.list)
		flows_forget(peer);
}

static bool wants_probe(const struct peer *peer, uint64_t now)
{
	uint64_t age = now - peer->flow_admitted;

	return peer->flow_admitted && peer->current && age >= PROBE_AFTER_NS &&
	       age < WG_FLOW_LAPSED_NS && now - peer->probed >= PROBE_RETRY_NS;
}

/* The link-layer address that the peer's packets come from, as far as we know. */
static const uint8_t *mac_of(const struct peer *peer, const struct nic *nic)
{
	const struct path *path = rcu_dereference(peer->path);

	return path && path->route.l2_ok && path->route.ifindex == nic->ifindex
		       ? path->route.l2
		       : nic->mac;
}

/* Each probe has a tag of its own, which is used up when it arrives. */
static void new_tag(struct peer *peer, uint8_t tag[WG_TAG_LEN])
{
	randombytes_buf(tag, WG_TAG_LEN);
	pthread_mutex_lock(&peer->roam_lock);
	memcpy(peer->probe_tag, tag, WG_TAG_LEN);
	pthread_mutex_unlock(&peer->roam_lock);
}

static int probe(struct peer *peer, struct nic *nic)
{
	struct tunnel *tunnel = tunnel_of(peer);
	uint8_t frame[PROBE_FRAME_MAX], tag[WG_TAG_LEN];
	uint32_t len;

	new_tag(peer, tag);
	len = probe_write(frame, &peer->flow.from, nic, mac_of(peer, nic),
			  tunnel->dp.udp->port, peer->current->local_index, tag);
	return bpf_objects_deliver(tunnel->bpf, nic->ifindex, frame, len);
}

static void note_probed(struct tunnel *tunnel, const struct nic *nic, int err)
{
	if (err && !tunnel->probe_failed)
		log_error("%s: cannot probe what its kernel lets in: %s; its peers will "
			  "go by the UDP socket",
			  nic->name, strerror(-err));
	tunnel->probe_failed = err;
}

void flows_keep(struct peer *peer, uint64_t now)
{
	struct tunnel *tunnel = tunnel_of(peer);
	struct nic *nic = dataplane_nic(&tunnel->dp, peer->flow.ifindex);

	assert_control_thread();
	if (!tunnel->dp.udp || !nic || !tunnel->probes_left || !wants_probe(peer, now))
		return;
	tunnel->probes_left--;
	peer->probed = now;
	note_probed(tunnel, nic, probe(peer, nic));
}

void flows_new_round(struct tunnel *tunnel)
{
	tunnel->probes_left = PROBES_A_ROUND;
}
