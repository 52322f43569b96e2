// SPDX-License-Identifier: MIT
/*
 * Theory of operation: json-c builds an object of the tunnel, then one of each peer, and each is
 * printed and freed before the next one is built. The answer is written in parts of some peers
 * each (uapi.h). When memory runs out the object at hand is
 * dropped (its pointer becomes NULL, and adding to NULL does nothing), and printing it fails.
 */
#include "status.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <json-c/json.h>
#include <sodium.h>

#include "clock.h"
#include "peer.h"
#include "snapshot.h"
#include "thread.h"
#include "tunnel.h"
#include "uapi_proto.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* --- tables of counters --- */

/* A 64-bit counter in a struct of them. */
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

static const struct counter drop_counters[] = {
#define X(name, text) COUNTER(drops, name),
	WG_DROP_REASONS(X)
#undef X
};

static uint64_t counter_value(const struct counter *c, const void *from)
{
	return *(const uint64_t *)((const char *)from + c->offset);
}

/* --- values into objects --- */

/* Takes `value`. Without memory for it, *o is freed and becomes NULL. */
static void put(struct json_object **o, const char *name, struct json_object *value)
{
	if (*o && value && !json_object_object_add(*o, name, value))
		return;
	json_object_put(value);
	json_object_put(*o);
	*o = NULL;
}

static void put_string(struct json_object **o, const char *name, const char *value)
{
	put(o, name, json_object_new_string(value));
}

static void put_number(struct json_object **o, const char *name, uint64_t value)
{
	put(o, name, json_object_new_uint64(value));
}

static void put_bool(struct json_object **o, const char *name, bool value)
{
	put(o, name, json_object_new_boolean(value));
}

static void put_key(struct json_object **o, const char *name,
		    const uint8_t key[WG_KEY_LEN])
{
	char text[sodium_base64_ENCODED_LEN(WG_KEY_LEN, sodium_base64_VARIANT_ORIGINAL)];

	sodium_bin2base64(text, sizeof(text), key, WG_KEY_LEN,
			  sodium_base64_VARIANT_ORIGINAL);
	put_string(o, name, text);
}

static struct json_object *counters_object(const void *from, const struct counter *c,
					   size_t n)
{
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; i < n; i++)
		put_number(&o, c[i].name, counter_value(&c[i], from));
	return o;
}

/* --- the tunnel --- */

static const char *af_xdp_mode(const struct nic_snapshot *nic)
{
	if (nic->filter)
		return "none";
	if (!nic->zerocopy_queues)
		return "copy";
	return nic->zerocopy_queues == nic->queues ? "zero-copy" : "mixed";
}

static struct json_object *nic_object(const struct nic_snapshot *nic)
{
	struct json_object *o = json_object_new_object();

	put_string(&o, "name", nic->name);
	put_number(&o, "ifindex", nic->ifindex);
	put_string(&o, "xdp", nic->native ? "native" : "generic");
	put_string(&o, "af_xdp", af_xdp_mode(nic));
	put_bool(&o, "filter_only", nic->filter);
	put_number(&o, "queues", nic->queues);
	put_number(&o, "xdp_queues", nic->receive_queues);
	return o;
}

/* Adds the object to the array, and returns the array. Without memory (o may be NULL for that) it
 * frees both and returns NULL. */
static struct json_object *with_object(struct json_object *a, struct json_object *o)
{
	if (o && !json_object_array_add(a, o))
		return a;
	json_object_put(o);
	json_object_put(a);
	return NULL;
}

/* NULL without memory. */
static struct json_object *nics_array(const struct snapshot *s)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; a && i < s->nic_count; i++)
		a = with_object(a, nic_object(&s->nics[i]));
	return a;
}

static struct json_object *refused_object(const struct refused_snapshot *refused)
{
	struct json_object *o = json_object_new_object();

	put_string(&o, "name", refused->name);
	put_string(&o, "why", refused->why);
	return o;
}

/* NULL without memory. */
static struct json_object *refused_array(const struct snapshot *s)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; a && i < s->refused_count; i++)
		a = with_object(a, refused_object(&s->refused[i]));
	return a;
}

/* NULL without memory. */
static struct json_object *released_array(const struct snapshot *s)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; a && i < s->released_count; i++) {
		struct json_object *name = json_object_new_string(s->released[i]);

		if (name && !json_object_array_add(a, name))
			continue;
		json_object_put(name);
		json_object_put(a);
		a = NULL;
	}
	return a;
}

/* Only the reasons that there were. */
static struct json_object *drops_object(const struct drops *drops)
{
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; i < LENGTH(drop_counters); i++)
		if (counter_value(&drop_counters[i], drops))
			put_number(&o, drop_counters[i].name,
				   counter_value(&drop_counters[i], drops));
	return o;
}

static struct json_object *tunnel_object(const struct snapshot *s)
{
	struct json_object *o = json_object_new_object();

	put_string(&o, "interface", s->name);
	put_string(&o, "version", VERSION);
	if (s->has_key)
		put_key(&o, "public_key", s->public_key);
	put_number(&o, "listen_port", s->port);
	put_bool(&o, "up", s->up);
	put_bool(&o, "listening", s->listening);
	if (s->listen_error)
		put_string(&o, "listen_error", strerror(-s->listen_error));
	if (s->filter_error)
		put_string(&o, "filter_error", strerror(-s->filter_error));
	put_number(&o, "fwmark", s->fwmark);
	put_number(&o, "pid", (uint64_t)s->pid);
	put_number(&o, "uptime", s->uptime);
	put_string(&o, "aead", s->aead);
	put_number(&o, "workers", s->workers);
	put_bool(&o, "tc_programs", s->guarded);
	put_number(&o, "late_changes", s->late_changes);
	put(&o, "nics", nics_array(s));
	if (s->refused_count)
		put(&o, "refused", refused_array(s));
	if (s->released_count)
		put(&o, "released", released_array(s));
	put(&o, "paths",
	    counters_object(&s->stats, path_counters, LENGTH(path_counters)));
	put(&o, "drops", drops_object(&s->stats.drops));
	put(&o, "drops_per_second", drops_object(&s->drop_rates));
	return o;
}

/* --- peers --- */

static const char *const path_names[] = {
	[PATH_NONE] = "none",
	[PATH_UDP] = "udp",
	[PATH_AF_XDP] = "af_xdp",
};

static struct json_object *peer_object(const struct peer_snapshot *p)
{
	struct json_object *o = json_object_new_object();
	char endpoint[UAPI_ENDPOINT_TEXT];

	put_key(&o, "public_key", p->public_key);
	put_number(&o, "slot", p->slot);
	if (p->has_endpoint)
		put_string(&o, "endpoint", uapi_endpoint_text(&p->endpoint, endpoint));
	put_string(&o, "path", path_names[p->path]);
	if (p->nic[0])
		put_string(&o, "nic", p->nic);
	put_string(&o, "rx_path", p->rx_nic[0] ? "af_xdp" : "udp");
	if (p->rx_nic[0])
		put_string(&o, "rx_nic", p->rx_nic);
	put_number(&o, "rx_bytes", p->rx_bytes);
	put_number(&o, "tx_bytes", p->tx_bytes);
	put_number(&o, "latest_handshake", p->latest_handshake / NS_PER_SEC);
	put_number(&o, "persistent_keepalive", p->persistent_keepalive);
	put_number(&o, "allowed_ips", p->allowed_ips);
	put(&o, "stats",
	    counters_object(&p->stats, peer_counters,
			    p->has_stats ? LENGTH(peer_counters) : 0));
	return o;
}

/* --- printing --- */

/* Prints the object and frees it; `open`: without its closing brace. Returns 0, or -ENOMEM if
 * the object is NULL or there is no memory for its text. */
static int print_object(FILE *out, struct json_object *o, bool open)
{
	const char *text = NULL;
	size_t len = 0;

	if (o)
		text = json_object_to_json_string_length(
			o, JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	if (text)
		fwrite(text, 1, open ? len - 1 : len, out);
	json_object_put(o);
	return text ? 0 : -ENOMEM;
}

/* The first ones follow no other. Returns 1, or -ENOMEM. */
static int print_peers(FILE *out, const struct snapshot_walk *walk, bool first)
{
	for (unsigned i = 0; i < walk->count; i++) {
		int err;

		if (i || !first)
			fputc(',', out);
		err = print_object(out, peer_object(&walk->taken[i]), false);
		if (err)
			return err;
	}
	return 1;
}

static int print_tunnel(FILE *out, struct tunnel *tunnel)
{
	struct snapshot s;
	int err;

	snapshot_take(tunnel, &s);
	err = print_object(out, tunnel_object(&s), true);
	if (!err)
		fputs(",\"peers\":[", out);
	return err;
}

/* Returns 1 if there are more parts. */
static int write_part(FILE *out, struct tunnel *tunnel, struct snapshot_walk *walk,
		      bool first)
{
	int err = first ? print_tunnel(out, tunnel) : 0;

	if (err)
		return err;
	if (snapshot_walk_next(walk))
		return print_peers(out, walk, first);
	fputs("]}\n", out);
	return 0;
}

int status_write(void *ctx, void **state, FILE *out)
{
	struct tunnel *tunnel = ctx;
	bool first = !*state;
	int ret;

	assert_control_thread();
	if (first)
		*state = snapshot_walk_new(&tunnel->peers);
	if (!*state)
		return -ENOMEM;
	ret = write_part(out, tunnel, *state, first);
	if (ret != 1)
		snapshot_walk_free(*state);
	return ret;
}
