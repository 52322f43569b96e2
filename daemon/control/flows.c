// SPDX-License-Identifier: MIT
/*
 * Theory of operation: the BPF map `flows` has at most one entry per peer, of peer->flow. The
 * entry is written again whenever the kernel delivers something authentic of the peer to the UDP
 * socket: a worker tells of data (EVENT_FLOW), at most once per second and peer unless the flow
 * is another one. What a peer sends by AF_XDP does not come to the socket, so while it does the
 * kernel gets a probe of the flow every ten seconds (probe.h). What refuses the peer's packets
 * by their addresses and ports refuses the probe, too, and the flow lapses (bpf/nic.bpf.c).
 * Passing the kernel one of the peer's own messages instead would let later ones overtake it.
 * Probes also keep the flow known to conntrack, which forgets it after 30 s.
 *
 * A probe is not authentic: whoever is sent an ICMP error about it, or captures it, knows its tag.
 * So it only renews the flow that it was sent for, if it arrives as it was sent, once and within
 * a second (EVENT_PROBED).
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
/* The age at which a flow is probed: 8 to 12 s, so that the probes of many peers spread. */
#define PROBE_AFTER_NS	(8 * NS_PER_SEC)
#define PROBE_SPREAD_MS 4000
/* For how long probes may keep the control thread, ten times a second. A flow without one
 * lapses, and is admitted again by its data. */
#define PROBES_ROUND_NS (5 * NS_PER_MS)
/* How often the log is told of probes that cannot be made. */
#define PROBE_ERROR_PAUSE_NS (600 * NS_PER_SEC)
/* Peers per round of the control loop whose flows are forgotten. */
#define FLUSHED_A_ROUND 1024
/* Peers per round whose flows are looked at after XDP was attached. */
#define ADMITTED_A_ROUND 1024
/* What the kernel delivered so lately is admitted when XDP is attached. */
#define LATELY_NS (10 * NS_PER_SEC)

static bool is_flow(const struct peer *peer, const struct endpoint *from,
		    uint32_t ifindex)
{
	return peer->flow.ifindex == ifindex && endpoint_equal(&peer->flow.from, from);
}

/* May be below zero: `now` is that of the round, and the flow may have been admitted in it. */
static int64_t flow_age(const struct peer *peer, uint64_t now)
{
	return (int64_t)(now - peer->flow_admitted);
}

/* Returns true if a message that came to the socket may be older than the entry in the map. */
static bool is_just_admitted(const struct peer *peer, uint64_t now)
{
	return flow_age(peer, now) < (int64_t)JUST_ADMITTED_NS;
}

/* One that comes later counts for nothing. */
static void drop_probe(struct peer *peer)
{
	pthread_mutex_lock(&peer->roam_lock);
	sodium_memzero(peer->probe.tag, WG_TAG_LEN);
	pthread_mutex_unlock(&peer->roam_lock);
}

static void remove_entry(struct peer *peer)
{
	drop_probe(peer);
	if (peer->flow_admitted)
		bpf_objects_remove_flow(peer->peers->bpf, &peer->flow.from,
					peer->flow.ifindex);
	peer->flow_admitted = 0;
}

/* Without memory for an entry the flow stays with the UDP socket. */
static void write_entry(struct peer *peer, uint64_t now)
{
	if (bpf_objects_admit_flow(peer->peers->bpf, &peer->flow.from,
				   peer->flow.ifindex))
		return;
	peer->flow_admitted = now;
	peer->probe_due =
		now + PROBE_AFTER_NS + randombytes_uniform(PROBE_SPREAD_MS) * NS_PER_MS;
	peer->probe_tries = 0;
	atomic_store(&peer->by_nic, false);
}

void flows_admit(struct peer *peer, const struct endpoint *from, uint32_t ifindex,
		 uint64_t now)
{
	assert_control_thread();
	const struct peer_key key = {.addr = from->source};
	struct tunnel *tunnel = tunnel_of(peer);

	if (!tunnel->dp.udp || !dataplane_nic(&tunnel->dp, ifindex))
		return;
	if (!is_flow(peer, from, ifindex))
		remove_entry(peer);
	if (peer_index_put(&tunnel->peers.by_flow, &peer->by_flow, &key)) {
		remove_entry(peer);
		return;
	}
	peer->flow = (struct arrival){.from = *from, .ifindex = ifindex};
	write_entry(peer, now);
}

void flows_renew(struct peer *peer, uint64_t now)
{
	assert_control_thread();
	if (peer->flow_admitted)
		write_entry(peer, now);
}

bool flows_may_be_translated(const struct peer *peer, const struct endpoint *from,
			     uint32_t ifindex, uint64_t now)
{
	assert_control_thread();
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
	assert_control_thread();
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

/* Admits the peer's flow if the kernel has just delivered data of it by a NIC, as if XDP had been
 * there. A flow that is already admitted is not renewed. */
static void admit_latest(struct peer *peer)
{
	uint64_t now = clock_now(), since = now - atomic_load(&peer->flow_told);
	struct arrival a = latest_arrival(peer);

	if (peer->flow_admitted)
		return;
	if (dataplane_nic(&tunnel_of(peer)->dp, a.ifindex) && since < LATELY_NS)
		flows_admit(peer, &a.from, a.ifindex, now);
	else if (dataplane_nic(&tunnel_of(peer)->dp, peer->arrived_by))
		forget_arrival(peer);
}

void flows_note_nic(struct tunnel *tunnel)
{
	bool begins = !peer_sweep_goes_on(&tunnel->admission);

	assert_control_thread();
	peer_sweep_want(&tunnel->peers, &tunnel->admission);
	if (begins)
		flows_serve_nics(tunnel);
}

void flows_serve_nics(struct tunnel *tunnel)
{
	assert_control_thread();
	peer_sweep_share(&tunnel->peers, &tunnel->admission, ADMITTED_A_ROUND,
			 admit_latest);
}

void flows_forget(struct peer *peer)
{
	assert_control_thread();
	forget_arrival(peer);
	remove_entry(peer);
}

void flows_flush(struct tunnel *tunnel)
{
	bool begins = !peer_sweep_goes_on(&tunnel->flush);

	assert_control_thread();
	peer_sweep_want(&tunnel->peers, &tunnel->flush);
	if (begins)
		flows_serve_flush(tunnel);
}

void flows_serve_flush(struct tunnel *tunnel)
{
	assert_control_thread();
	peer_sweep_share(&tunnel->peers, &tunnel->flush, FLUSHED_A_ROUND, flows_forget);
}

void flows_forget_addr(struct tunnel *tunnel, const struct ip_addr *addr)
{
	assert_control_thread();
	const struct peer_key key = {.addr = *addr};
	struct peer_group *group = peer_index_find(&tunnel->peers.by_flow, &key);
	struct peer *peer;

	if (!group)
		return;
	if (group->count > FLUSHED_A_ROUND) {
		flows_flush(tunnel);
		return;
	}
	cds_list_for_each_entry (peer, &group->members, by_flow.list)
		flows_forget(peer);
}

const struct nic *flows_nic(const struct peer *peer, uint64_t now)
{
	assert_control_thread();
	if (!peer->flow_admitted || flow_age(peer, now) >= (int64_t)WG_FLOW_LAPSED_NS)
		return NULL;
	return dataplane_nic(&tunnel_of(peer)->dp, peer->flow.ifindex);
}

static bool wants_probe(const struct peer *peer, uint64_t now)
{
	return peer->current && atomic_load(&peer->by_nic) && now >= peer->probe_due;
}

/* Each probe has its own tag, by which a worker recognizes it. */
static void begin_probe(struct peer *peer, struct peer_probe *probe, uint64_t now)
{
	pthread_mutex_lock(&peer->roam_lock);
	randombytes_buf(peer->probe.tag, WG_TAG_LEN);
	peer->probe.flow = peer->flow;
	peer->probe.sent = now;
	*probe = peer->probe;
	pthread_mutex_unlock(&peer->roam_lock);
}

static int send_probe(struct peer *peer, struct nic *nic, uint64_t now)
{
	struct tunnel *tunnel = tunnel_of(peer);
	uint8_t frame[PROBE_FRAME_MAX];
	struct peer_probe probe;
	uint32_t len;

	begin_probe(peer, &probe, now);
	len = probe_write(frame, &probe.flow.from, nic, probe.sender_mac,
			  tunnel->dp.udp->port, peer->current->local_index, probe.tag);
	return bpf_objects_deliver(tunnel->bpf, nic->ifindex, frame, len);
}

static void note_failure(struct tunnel *tunnel, const struct nic *nic, int err,
			 uint64_t now)
{
	if (now < tunnel->probe_error_due)
		return;
	tunnel->probe_error_due = now + PROBE_ERROR_PAUSE_NS;
	log_error("%s: cannot send the probes by which the kernel accepts flows: %s; "
		  "peers that use this NIC go by the UDP socket until that works",
		  nic->name, strerror(-err));
}

/* A refused probe may be answered by an ICMP error, so there are five at most. */
static void probe(struct peer *peer, struct nic *nic, uint64_t now)
{
	int err = send_probe(peer, nic, now);

	peer->probe_due = now + (NS_PER_SEC << peer->probe_tries++);
	if (err)
		note_failure(tunnel_of(peer), nic, err, now);
}

void flows_keep(struct peer *peer, uint64_t now)
{
	assert_control_thread();
	struct tunnel *tunnel = tunnel_of(peer);
	struct nic *nic = dataplane_nic(&tunnel->dp, peer->flow.ifindex);

	if (!peer->flow_admitted)
		return;
	if (flow_age(peer, now) >= (int64_t)WG_FLOW_LAPSED_NS)
		remove_entry(peer);
	else if (tunnel->dp.udp && nic && wants_probe(peer, now) &&
		 clock_now() < tunnel->probes_until)
		probe(peer, nic, now);
}

void flows_new_round(struct tunnel *tunnel)
{
	assert_control_thread();
	tunnel->probes_until = clock_now() + PROBES_ROUND_NS;
}
