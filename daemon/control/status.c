// SPDX-License-Identifier: MIT
/*
 * What `wgxdp status` shows, as JSON: sums over workers, BPF maps and peers.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>
#include <sodium.h>

#include "config.h"
#include "bpf_objects.h"
#include "tunnel.h"
#include "peer.h"

/* Field by field, from a struct of 64-bit counters. */
struct counter {
	const char *name;
	size_t offset;
};

#define COUNTER(type, name)                        \
	{                                          \
#name, offsetof(struct type, name) \
	}

static const struct counter path_counters[] = {
	COUNTER(worker_stats, rx_xdp_packets), COUNTER(worker_stats, rx_xdp_bytes),
	COUNTER(worker_stats, rx_udp_packets), COUNTER(worker_stats, rx_udp_bytes),
	COUNTER(worker_stats, tx_xdp_packets), COUNTER(worker_stats, tx_xdp_bytes),
	COUNTER(worker_stats, tx_udp_packets), COUNTER(worker_stats, tx_udp_bytes),
	COUNTER(worker_stats, tap_reads),      COUNTER(worker_stats, tap_writes),
	COUNTER(worker_stats, tap_read_calls), COUNTER(worker_stats, tap_write_calls),
	COUNTER(worker_stats, helped),
};

static const struct counter peer_counters[] = {
	COUNTER(peer_stats, to_peer_packets),
	COUNTER(peer_stats, to_peer_bytes),
	COUNTER(peer_stats, from_peer_packets),
	COUNTER(peer_stats, from_peer_bytes),
	COUNTER(peer_stats, from_peer_bad_source),
	COUNTER(peer_stats, from_peer_refused_bytes),
	COUNTER(peer_stats, nic_packets),
	COUNTER(peer_stats, nic_bytes),
};

static const char *const drop_names[] = {
#define X(name, text) #name,
	WG_DROP_REASONS(X)
#undef X
};

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static void put_string(struct json_object *o, const char *name, const char *value)
{
	json_object_object_add(o, name, json_object_new_string(value));
}

static void put_number(struct json_object *o, const char *name, uint64_t value)
{
	json_object_object_add(o, name, json_object_new_uint64(value));
}

static void put_counters(struct json_object *o, const void *from, const struct counter *c,
			 size_t n)
{
	for (size_t i = 0; i < n; i++)
		put_number(o, c[i].name,
			   *(const uint64_t *)((const char *)from + c[i].offset));
}

static void put_key(struct json_object *o, const char *name,
		    const uint8_t key[WG_KEY_LEN])
{
	char text[sodium_base64_ENCODED_LEN(WG_KEY_LEN, sodium_base64_VARIANT_ORIGINAL)];

	sodium_bin2base64(text, sizeof(text), key, WG_KEY_LEN,
			  sodium_base64_VARIANT_ORIGINAL);
	put_string(o, name, text);
}

/* --- parts --- */

static struct json_object *nic_object(const struct nic *nic)
{
	struct json_object *o = json_object_new_object();
	unsigned zerocopy = 0;

	for (unsigned i = 0; i < nic->tx_queue_count; i++)
		zerocopy += nic->queues[i]->zerocopy;
	put_string(o, "name", nic->name);
	put_number(o, "ifindex", nic->ifindex);
	put_string(o, "xdp", nic->native ? "native" : "generic");
	put_string(o, "af_xdp",
		   !zerocopy			     ? "copy"
		   : zerocopy == nic->tx_queue_count ? "zero-copy"
						     : "mixed");
	put_number(o, "queues", nic->tx_queue_count);
	put_number(o, "xdp_queues", nic->queue_count - nic->tx_queue_count);
	return o;
}

static struct json_object *nics_array(const struct tunnel *tunnel)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (tunnel->dp.nics[i])
			json_object_array_add(a, nic_object(tunnel->dp.nics[i]));
	return a;
}

static void add_nic_losses(const struct tunnel *tunnel, struct drops *drops)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		struct nic_losses l = {0};

		if (tunnel->dp.nics[i])
			l = nic_losses(tunnel->dp.nics[i]);
		drops->rx_ring_full += l.data;
		drops->handshake_queue_full += l.handshake;
	}
}

/* The drops of the BPF programs, of the NICs' rings and of all workers. */
static void sum_stats(struct tunnel *tunnel, struct worker_stats *sum)
{
	uint64_t *to = (uint64_t *)sum;
	struct drops bpf;

	memset(sum, 0, sizeof(*sum));
	for (unsigned i = 0; i <= WG_MAX_WORKERS; i++)
		for (size_t j = 0; j < sizeof(*sum) / sizeof(*to); j++)
			to[j] += __atomic_load_n((uint64_t *)&tunnel->dp.stats[i] + j,
						 __ATOMIC_RELAXED);
	add_nic_losses(tunnel, &sum->drops);
	if (!bpf_objects_drops(tunnel->bpf, &bpf))
		for (unsigned i = 0; i < DROP_REASONS; i++)
			((uint64_t *)&sum->drops)[i] += ((const uint64_t *)&bpf)[i];
}

static struct json_object *drops_object(const struct drops *drops)
{
	struct json_object *o = json_object_new_object();

	for (unsigned i = 0; i < DROP_REASONS; i++)
		if (((const uint64_t *)drops)[i])
			put_number(o, drop_names[i], ((const uint64_t *)drops)[i]);
	return o;
}

static void put_path(struct json_object *o, const struct peer *peer)
{
	const struct path *path = rcu_dereference(peer->path);

	if (!path || !path->route.ifindex || !tunnel_of(peer)->dp.udp)
		put_string(o, "path", "none");
	else
		put_string(o, "path", path->nic ? "af_xdp" : "udp");
	if (path && path->nic)
		put_string(o, "nic", path->nic->name);
}

static struct json_object *peer_object(struct tunnel *tunnel, struct peer *peer)
{
	struct json_object *o = json_object_new_object();
	struct json_object *stats = json_object_new_object();
	char endpoint[UAPI_ENDPOINT_TEXT];
	struct peer_stats sum;

	put_key(o, "public_key", peer->remote.public_key);
	put_number(o, "slot", peer->slot);
	if (peer->has_endpoint)
		put_string(o, "endpoint", uapi_endpoint_text(&peer->endpoint, endpoint));
	put_path(o, peer);
	put_number(o, "rx_bytes", peer_rx_bytes(peer));
	put_number(o, "tx_bytes", atomic_load(&peer->wire.tx_bytes));
	put_number(o, "latest_handshake", peer->last_handshake / NS_PER_SEC);
	put_number(o, "allowed_ips", peer->allowed.count);
	if (!bpf_objects_peer_stats(tunnel->bpf, peer->slot, &sum))
		put_counters(stats, &sum, peer_counters, LENGTH(peer_counters));
	json_object_object_add(o, "stats", stats);
	return o;
}

static struct json_object *peers_array(struct tunnel *tunnel)
{
	struct json_object *a = json_object_new_array();
	struct peer *peer;

	cds_list_for_each_entry (peer, &tunnel->peers.list, list)
		json_object_array_add(a, peer_object(tunnel, peer));
	return a;
}

int config_status(void *ctx, FILE *out)
{
	struct tunnel *tunnel = ctx;
	struct json_object *o = json_object_new_object();
	struct json_object *paths = json_object_new_object();
	struct worker_stats sum;

	sum_stats(tunnel, &sum);
	put_string(o, "interface", tunnel->name);
	if (tunnel->identity.set)
		put_key(o, "public_key", tunnel->identity.public_key);
	put_number(o, "listen_port", tunnel_port(tunnel));
	put_number(o, "pid", (uint64_t)getpid());
	put_string(o, "aead", tunnel->dp.aead->name);
	put_number(o, "workers", tunnel->workers.count);
	json_object_object_add(o, "nics", nics_array(tunnel));
	put_counters(paths, &sum, path_counters, LENGTH(path_counters));
	json_object_object_add(o, "paths", paths);
	json_object_object_add(o, "drops", drops_object(&sum.drops));
	json_object_object_add(o, "peers", peers_array(tunnel));
	fprintf(out, "%s\n",
		json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	return ferror(out) ? -ENOMEM : 0;
}
