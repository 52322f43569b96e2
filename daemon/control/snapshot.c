// SPDX-License-Identifier: MIT
#include "snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf_objects.h"
#include "clock.h"
#include "drops.h"
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
	s->filter = nic_is_filter(nic);
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

static void take_refused(const struct tunnel *tunnel, struct snapshot *s)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		const struct nic_refusal *r = &tunnel->nics.refused[i];
		const struct rtnl_link *link =
			links_find(&tunnel->routing.links, r->ifindex);
		struct refused_snapshot *refused = &s->refused[s->refused_count];

		if (!link)
			continue;
		memcpy(refused->name, link->name, sizeof(refused->name));
		memcpy(refused->why, r->why, sizeof(refused->why));
		s->refused_count++;
	}
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

static uint64_t per_second(uint64_t n, uint64_t ns)
{
	return (uint64_t)((double)n * NS_PER_SEC / (double)ns + 0.5);
}

/* Compares the counters with an earlier sample, and takes a new one if the latest is a second old. */
static void take_rates(struct tunnel *tunnel, struct snapshot *s, uint64_t now)
{
	struct drops_sample *latest = &tunnel->asked[0], *before = &tunnel->asked[1];

	if (!latest->at)
		latest->at = before->at = tunnel->opened;
	if (now - latest->at >= NS_PER_SEC) {
		*before = *latest;
		latest->at = now;
		latest->drops = s->stats.drops;
	}
	for (unsigned i = 0; i < DROP_REASONS && now > before->at; i++) {
		uint64_t is = drops_read(&s->stats.drops, i),
			 was = drops_read(&before->drops, i);

		/* A counter of the kernel's can be lower, if it could not be read now. */
		*drops_counter(&s->drop_rates, i) =
			per_second(is > was ? is - was : 0, now - before->at);
	}
}

void snapshot_take(struct tunnel *tunnel, struct snapshot *s)
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
	s->filter_error = tunnel->dp.udp ? tunnel->dp.udp->filter_error : 0;
	snprintf(s->aead, sizeof(s->aead), "%s", tunnel->dp.aead->name);
	s->workers = tunnel->workers.count;
	s->late_changes = late_maps_count(tunnel);
	s->guarded = !atomic_load(&tunnel->dp.unguarded);
	take_nics(tunnel, s);
	take_refused(tunnel, s);
	take_released(tunnel, s);
	sum_stats(tunnel, &s->stats);
	take_rates(tunnel, s, clock_now());
}

/* --- a peer --- */

static void take_path(const struct peer *peer, struct peer_snapshot *p)
{
	const struct path *path = rcu_dereference(peer->path);

	if (path && nic_may_send(path->nic))
		memcpy(p->nic, path->nic->name, sizeof(p->nic));
	if (path && path->route.ifindex && tunnel_of(peer)->dp.udp)
		p->path = nic_may_send(path->nic) ? PATH_AF_XDP : PATH_UDP;
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
 * bytes that TC refused, and would keep them. snapshot_peers() does.
 */
static void take_counters(struct peer *peer, struct peer_snapshot *p)
{
	uint64_t received = p->rx_bytes, refused = p->stats.from_peer_refused_bytes;

	if (received > refused && received - refused > peer->rx_shown)
		peer->rx_shown = received - refused;
	p->rx_bytes = peer->rx_shown;
	p->tx_bytes = atomic_load(&peer->wire.tx_bytes);
}

static void take_peer(struct peer *peer, struct peer_snapshot *p)
{
	memcpy(p->public_key, peer->remote.public_key, WG_KEY_LEN);
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

/* --- peers --- */

/* One system call for all of them. Without it there are no stats. */
static void take_stats(const struct peers *peers, struct peer_snapshot *taken, unsigned n)
{
	struct peer_stats stats[SNAPSHOT_PEERS];
	uint32_t slots[SNAPSHOT_PEERS] = {0};
	bool found[SNAPSHOT_PEERS];

	for (unsigned i = 0; i < n; i++)
		slots[i] = taken[i].slot;
	if (bpf_objects_peer_stats(peers->bpf, slots, n, stats, found))
		return;
	for (unsigned i = 0; i < n; i++) {
		taken[i].has_stats = found[i];
		taken[i].stats = stats[i];
	}
}

void snapshot_peers(struct peer **peers, struct peer_snapshot *taken, unsigned n)
{
	assert_control_thread();
	for (unsigned i = 0; i < n; i++) {
		memset(&taken[i], 0, sizeof(taken[i]));
		taken[i].slot = peers[i]->slot;
		taken[i].rx_bytes = atomic_load(&peers[i]->wire.rx_bytes);
	}
	if (n)
		take_stats(peers[0]->peers, taken, n);
	for (unsigned i = 0; i < n; i++)
		take_peer(peers[i], &taken[i]);
}

struct snapshot_walk *snapshot_walk_new(struct peers *peers)
{
	struct snapshot_walk *w = calloc(1, sizeof(*w));

	assert_control_thread();
	if (!w)
		return NULL;
	w->table = peers;
	peer_walk_begin(peers, &w->walk);
	return w;
}

bool snapshot_walk_next(struct snapshot_walk *w)
{
	size_t ips = 0;

	assert_control_thread();
	for (w->count = 0; w->count < SNAPSHOT_PEERS && ips < SNAPSHOT_ALLOWED_IPS;) {
		struct peer *peer = peer_walk_next(w->table, &w->walk);

		if (!peer)
			break;
		w->peers[w->count++] = peer;
		ips += peer->allowed.count;
	}
	snapshot_peers(w->peers, w->taken, w->count);
	return w->count;
}

void snapshot_walk_free(struct snapshot_walk *w)
{
	assert_control_thread();
	if (w) {
		allowedips_walk_end(&w->ips);
		peer_walk_end(&w->walk);
	}
	free(w);
}
