// SPDX-License-Identifier: MIT
#include "snapshot.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bpf_objects.h"
#include "clock.h"
#include "flows.h"
#include "peer.h"
#include "thread.h"
#include "tunnel.h"

/* --- counters --- */

/* Structs of counters are arrays of 64-bit words to these two. */
static void add_words(void *sum, const void *from, size_t size)
{
	const uint64_t *word = from;
	uint64_t *to = sum;

	for (size_t i = 0; i < size / sizeof(*to); i++)
		to[i] += __atomic_load_n(&word[i], __ATOMIC_RELAXED);
}

static void add_nic_losses(const struct nic *nic, struct drops *drops)
{
	struct nic_losses l = nic_losses(nic);

	drops->rx_ring_full += l.data;
	drops->handshake_queue_full += l.handshake;
}

static void sum_stats(const struct tunnel *tunnel, struct worker_stats *sum)
{
	struct drops bpf;

	for (unsigned i = 0; i <= WG_MAX_WORKERS; i++)
		add_words(sum, &tunnel->dp.stats[i], sizeof(*sum));
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (tunnel->dp.nics[i])
			add_nic_losses(tunnel->dp.nics[i], &sum->drops);
	if (!bpf_objects_drops(tunnel->bpf, &bpf))
		add_words(&sum->drops, &bpf, sizeof(bpf));
}

/* --- the tunnel --- */

static void take_nic(const struct nic *nic, struct nic_snapshot *s)
{
	memcpy(s->name, nic->name, sizeof(s->name));
	s->ifindex = nic->ifindex;
	s->native = nic->native;
	s->queues = nic->tx_queue_count;
	s->receive_queues = nic->queue_count - nic->tx_queue_count;
	for (unsigned i = 0; i < nic->tx_queue_count; i++)
		s->zerocopy_queues += nic->queues[i]->zerocopy;
}

static void take_nics(const struct tunnel *tunnel, struct snapshot *s)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (tunnel->dp.nics[i])
			take_nic(tunnel->dp.nics[i], &s->nics[s->nic_count++]);
}

static void take_released(const struct tunnel *tunnel, struct snapshot *s)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		const struct rtnl_link *link =
			links_find(&tunnel->routing.links, tunnel->nics.released[i]);

		if (link)
			memcpy(s->released[s->released_count++], link->name, IFNAMSIZ);
	}
}

void snapshot_take(const struct tunnel *tunnel, struct snapshot *s)
{
	assert_control_thread();
	memset(s, 0, sizeof(*s));
	memcpy(s->name, tunnel->name, sizeof(s->name));
	s->pid = getpid();
	s->uptime = (clock_now() - tunnel->opened) / NS_PER_SEC;
	s->has_key = tunnel->identity.set;
	if (s->has_key)
		memcpy(s->public_key, tunnel->identity.public_key, WG_KEY_LEN);
	s->port = tunnel_port(tunnel);
	s->fwmark = tunnel->fwmark;
	s->up = tunnel->up;
	s->listening = tunnel->dp.udp;
	s->listen_error = tunnel->listen_error;
	snprintf(s->aead, sizeof(s->aead), "%s", tunnel->dp.aead->name);
	s->workers = tunnel->workers.count;
	take_nics(tunnel, s);
	take_released(tunnel, s);
	sum_stats(tunnel, &s->stats);
}

/* --- a peer --- */

static void take_path(const struct peer *peer, struct peer_snapshot *p)
{
	const struct path *path = rcu_dereference(peer->path);

	if (path && path->nic)
		memcpy(p->nic, path->nic->name, sizeof(p->nic));
	if (path && path->route.ifindex && tunnel_of(peer)->dp.udp)
		p->way = path->nic ? PEER_WAY_AF_XDP : PEER_WAY_UDP;
}

static void take_arrival(const struct peer *peer, struct peer_snapshot *p)
{
	const struct nic *nic = flows_nic(peer, clock_now());

	if (nic)
		memcpy(p->rx_nic, nic->name, sizeof(p->rx_nic));
}

/*
 * A worker counts a batch as received after it has written all of it to wg0, and by then TC has
 * counted what it refused: for a moment the difference is too small, but what is told never goes
 * back. The workers' counter must be read first: the other way round, the difference could hold
 * bytes that TC refused, and would keep them.
 */
static void take_counters(struct peer *peer, struct peer_snapshot *p)
{
	uint64_t received = atomic_load(&peer->wire.rx_bytes), refused;

	p->has_stats = !bpf_objects_peer_stats(peer->peers->bpf, peer->slot, &p->stats);
	refused = p->stats.from_peer_refused_bytes;
	if (received > refused && received - refused > peer->rx_shown)
		peer->rx_shown = received - refused;
	p->rx_bytes = peer->rx_shown;
	p->tx_bytes = atomic_load(&peer->wire.tx_bytes);
}

void snapshot_peer(struct peer *peer, struct peer_snapshot *p)
{
	assert_control_thread();
	memset(p, 0, sizeof(*p));
	memcpy(p->public_key, peer->remote.public_key, WG_KEY_LEN);
	p->slot = peer->slot;
	p->has_endpoint = peer->has_endpoint;
	if (peer->has_endpoint)
		p->endpoint = peer->endpoint;
	take_path(peer, p);
	take_arrival(peer, p);
	p->latest_handshake = peer->last_handshake;
	p->persistent_keepalive = peer->persistent_keepalive;
	p->allowed_ips = peer->allowed.count;
	take_counters(peer, p);
}
