// SPDX-License-Identifier: MIT
/*
 * Datagrams that a live tunnel receives: from the UDP socket through decryption, the replay window
 * and coalescing to what is written to wg0. The input says what the datagrams contain: data
 * messages under the keys of two peers, some of them changed, replayed, or of an expired or unknown
 * session, with any inner packets; handshake messages with a right mac1; or any bytes. Each packet
 * that is written was in an authentic, new message of that peer, and is written once. Each message
 * is counted exactly once.
 */
#include "receive.c" /* NOLINT(bugprone-suspicious-include) */

#include "engines.h"
#include "stream.h"

#define PEERS	 2
#define KEYPAIRS 5 /* of peers 0 and 1; expired; not ready; unknown */
#define NOW	 (1000 * NS_PER_SEC)
#define COUNTERS 512 /* messages of an input */
#define DATAGRAM 65535
#define MESSAGE	 (ROOM + WG_DATA_OVERHEAD + 16)

struct scene {
	struct dataplane dp;
	struct peers peers;
	struct worker_stats stats;
	struct worker w;
	struct mac1_check mac1;
	struct peer peer[PEERS];
	struct keypair *kp[KEYPAIRS];
	struct aead aead; /* of the peers */

	struct stream stream;
	struct spec spec;
	uint64_t accepted[COUNTERS]; /* counters, of both keypairs */
	unsigned accepted_by[COUNTERS], accepted_count;
	uint64_t next[KEYPAIRS];
	unsigned messages, silent; /* silent: accepted, but without a packet */

	/* The datagram that is being filled. */
	struct udp_received datagram;
	uint8_t bytes[DATAGRAM];
	uint8_t *kept[BATCH_SIZE]; /* copies that the worker works on */
	unsigned kept_count;
};

static void add_keypair(struct scene *s, unsigned i, unsigned peer, uint64_t born)
{
	struct noise_keys keys = {.remote_index = i};

	memset(keys.receive, 0x10 + (int)i, WG_KEY_LEN);
	s->kp[i] = keypair_new(&s->peers.keypairs, &s->peer[peer]);
	CHECK(s->kp[i]);
	keypair_activate(s->kp[i], &keys, born);
}

static void scene_new(struct scene *s)
{
	thread_become(THREAD_CONTROL);
	CHECK(sodium_init() >= 0);
	urcu_qsbr_register_thread();
	s->dp.peers = &s->peers;
	s->dp.stats = &s->stats;
	s->w.dp = &s->dp;
	s->w.stats = &s->stats;
	s->w.now = NOW;
	CHECK(!keypairs_init(&s->peers.keypairs));
	CHECK(!events_init(&s->dp.events));
	CHECK(!handshake_queue_init(&s->dp.handshakes));
	CHECK(!aead_begin(&s->w.aead, &aead_sodium));
	CHECK(!aead_begin(&s->aead, &aead_sodium));
	s->dp.mac1 = &s->mac1;
	for (unsigned i = 0; i < PEERS; i++) {
		s->peer[i].slot = i;
		pthread_mutex_init(&s->peer[i].roam_lock, NULL);
	}
	add_keypair(s, 0, 0, NOW);
	add_keypair(s, 1, 1, NOW);
	add_keypair(s, 2, 0, NOW - WG_REJECT_AFTER_TIME * NS_PER_SEC);
	add_keypair(s, 3, 1, NOW);
	atomic_store(&s->kp[3]->ready, false);
	receive_init(&s->w);
}

static void scene_reset(struct scene *s)
{
	memset(&s->stats, 0, sizeof(s->stats));
	memset(&s->stream, 0, sizeof(s->stream));
	for (unsigned i = 0; i < PEERS; i++)
		s->kp[i]->replay = (struct replay){0};
	memset(s->next, 0, sizeof(s->next));
	s->spec = (struct spec){.flags = 0x10};
	s->accepted_count = s->messages = s->silent = 0;
	s->datagram = (struct udp_received){
		.source = {.addr = {IP_V4, {192, 0, 2, 1}}, .port = 1}, .ifindex = 1};
	gro_init(&s->w.gro, emitted, &s->stream);
}

/* --- the model --- */

static bool model_accepts(struct scene *s, unsigned keypair, uint64_t counter)
{
	uint64_t greatest = 0;

	if (keypair >= PEERS || counter >= WG_REJECT_AFTER_MESSAGES)
		return false;
	for (unsigned i = 0; i < s->accepted_count; i++) {
		if (s->accepted_by[i] != keypair)
			continue;
		if (s->accepted[i] == counter)
			return false;
		if (s->accepted[i] > greatest)
			greatest = s->accepted[i];
	}
	if (greatest >= WG_REPLAY_WINDOW && counter <= greatest - WG_REPLAY_WINDOW)
		return false;
	s->accepted_by[s->accepted_count] = keypair;
	s->accepted[s->accepted_count++] = counter;
	return true;
}

/* Expects the packet in an accepted message to be written. */
static void expect_inner(struct scene *s, unsigned peer, const uint8_t *packet,
			 size_t len)
{
	struct given *g = &s->stream.given[s->stream.count];
	int inner = len ? inner_packet_len(packet, len) : 0;

	if (!len)
		s->silent++;
	if (inner <= 0)
		return;
	memcpy(g->bytes, packet, (size_t)inner);
	g->len = (size_t)inner;
	g->peer = peer;
	g->seen = false;
	if (outer_ecn_to_inner(s->datagram.tos & ECN_MASK, g->bytes))
		s->stream.count++;
}

/* --- datagrams --- */

/* Gives the datagram to the worker. */
static void receive_datagram(struct scene *s)
{
	struct udp_received *r = &s->datagram;

	if (!r->len)
		return;
	s->kept[s->kept_count] = exact(s->bytes, r->len);
	r->data = s->kept[s->kept_count++];
	split_received(&s->w, r);
	r->len = 0;
}

/* Ends the worker's round. */
static void end_round(struct scene *s)
{
	receive_datagram(s);
	end_batch(&s->w);
	batch_ring_drain(&s->w.rx.ring);
	while (s->kept_count)
		free(s->kept[--s->kept_count]);
}

/* Adds a message to the datagram, as the kernel merges them: of one length, except the last. */
static void put_message(struct scene *s, const uint8_t *message, uint32_t len)
{
	struct udp_received *r = &s->datagram;

	if (r->len &&
	    (len > r->segment || r->len % r->segment || r->len + len > DATAGRAM))
		receive_datagram(s);
	if (s->kept_count == BATCH_SIZE - 1)
		end_round(s);
	if (!r->len)
		r->segment = len;
	memcpy(s->bytes + r->len, message, len);
	r->len += len;
	s->messages++;
}

static uint64_t next_counter(struct scene *s, struct input *in, unsigned keypair)
{
	uint8_t how = take8(in);

	if (how < 192)
		return s->next[keypair]++;
	if (how < 240)
		return s->next[keypair] - how % 48;
	if (how == 255)
		return WG_PROBE_COUNTER;
	s->next[keypair] += take16(in);
	return s->next[keypair];
}

static size_t inner_packet(struct scene *s, struct input *in, uint8_t how,
			   uint8_t *packet)
{
	size_t len;

	if (how & 1)
		return next_packet(in, &s->spec, packet);
	len = take8(in);
	return take(in, packet, len);
}

static void send_data(struct scene *s, struct input *in, uint8_t how)
{
	uint8_t message[MESSAGE] = {0}, *inner = message + sizeof(struct wg_data);
	struct wg_data *header = (struct wg_data *)message;
	unsigned keypair = how % KEYPAIRS;
	uint64_t counter = next_counter(s, in, keypair);
	size_t packet = inner_packet(s, in, how / 8, inner);
	size_t len = (packet + 15) / 16 * 16, at;
	bool probe = !len && counter == WG_PROBE_COUNTER;
	uint8_t key[WG_KEY_LEN], damage = how & 128 ? take8(in) : 0;
	struct aead_op op = {.key = key,
			     .counter = counter,
			     .dst = inner,
			     .src = inner,
			     .len = (uint32_t)len};

	memset(key, 0x10 + (int)keypair, sizeof(key));
	header->type = htole32(WG_DATA);
	header->receiver = keypair < 4 ? s->kp[keypair]->local_index : 1;
	header->counter = htole64(counter);
	if (!damage && !probe && model_accepts(s, keypair, counter))
		expect_inner(s, keypair, inner, len);
	aead_seal(&s->aead, &op, 1);
	at = damage ? take16(in) % (len + WG_DATA_OVERHEAD) : 0;
	message[at] ^= damage;
	put_message(s, message, (uint32_t)(len + WG_DATA_OVERHEAD));
}

/* Sends a handshake message with a right mac1, which takes only the public key. */
static void send_handshake(struct scene *s, struct input *in, bool response)
{
	uint8_t message[sizeof(struct wg_initiation)];
	size_t len = response ? sizeof(struct wg_response) : sizeof(message);
	struct cookie_maker maker = {0};

	take(in, message, len);
	memset(message, 0, 4);
	message[0] = response ? WG_RESPONSE : WG_INITIATION;
	cookie_maker_add_macs(&maker, message, len, NOW);
	put_message(s, message, (uint32_t)len);
}

static void send_any(struct scene *s, struct input *in, uint8_t how)
{
	uint8_t message[256];
	size_t len = 1 + take8(in) % 255, n = take(in, message, len);

	(void)n;
	if (how & 8 && len >= 8)
		memcpy(message + 4, &s->kp[0]->local_index, 4);
	put_message(s, message, (uint32_t)len);
}

static void change_source(struct scene *s, struct input *in)
{
	receive_datagram(s);
	s->datagram.source.port = 1 + take8(in) % 4;
	s->datagram.ifindex = 1 + take8(in) % 3;
	s->datagram.tos = take8(in);
}

static void step(struct scene *s, struct input *in)
{
	uint8_t what = take8(in);

	switch (what % 16) {
	case 0:
		change_source(s, in);
		break;
	case 1:
		send_any(s, in, what / 16);
		break;
	case 2:
		send_handshake(s, in, what & 16);
		break;
	case 3:
		end_round(s);
		break;
	default:
		send_data(s, in, take8(in));
	}
}

/* --- the end --- */

static void ignore(struct peer *peer, unsigned flags, uint64_t now)
{
}

static uint64_t dropped(const struct scene *s)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < DROP_REASONS; i++)
		sum += drops_read(&s->stats.drops, i);
	return sum;
}

static unsigned queued(struct scene *s)
{
	struct handshake_message m;
	unsigned n = 0;

	while (handshake_queue_get(&s->dp.handshakes, &m))
		n++;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct scene *s;
	struct input in = {data, len};

	if (!s) {
		s = calloc(1, sizeof(*s));
		CHECK(s);
		scene_new(s);
	}
	scene_reset(s);
	s->w.gro.udp_gso = take8(&in) & 1;
	thread_become(THREAD_WORKER);
	while (in.left && s->messages < COUNTERS - 1 && s->stream.count < MOST - 1)
		step(s, &in);
	end_round(s);
	check_all_seen(&s->stream);
	thread_become(THREAD_CONTROL);
	CHECK(s->stream.count + s->silent + dropped(s) + queued(s) == s->messages);
	events_serve_urgent(&s->dp.events, ignore, NOW, UINT32_MAX);
	s->dp.events.lazy_due = 0;
	events_drain_lazy(&s->dp.events, ignore, NOW);
	urcu_qsbr_quiescent_state();
	return 0;
}
