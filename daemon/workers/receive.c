// SPDX-License-Identifier: MIT
/*
 * From the wire to wg0: open ▸ check ▸ coalesce ▸ write.
 *
 * Theory of operation: data messages from an AF_XDP ring or a UDP socket are collected in a
 * batch, in the memory that they were received in, and opened in place (with the help of helpers
 * if the worker cannot keep up). Then they are accepted in the order in which they were
 * received: replay window, timers, roaming (whitepaper sections 5.4.6, 6). The inner packets go
 * through gro.c into wg0 with the peer's tag as their source address. The TC program there
 * decides whether that peer may use the packet's source address.
 */
#include "receive.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>
#include <sys/uio.h>

#include <sodium.h>

#include "clock.h"
#include "cookie.h"
#include "dataplane.h"
#include "ecn.h"
#include "handshake_queue.h"
#include "inet.h"
#include "outer.h"
#include "path.h"
#include "peer.h"
#include "probe.h"
#include "thread.h"
#include "worker.h"

/* The age in seconds at which an initiator that only receives under a keypair replaces it (section
 * 6.2). */
#define AGING_TIME (WG_REJECT_AFTER_TIME - WG_KEEPALIVE_TIMEOUT - WG_REKEY_TIMEOUT)

/* How often the control thread is told by which flow a peer's data come to the UDP socket. */
#define SAME_FLOW_NS  NS_PER_SEC
#define OTHER_FLOW_NS (20 * NS_PER_MS)

/* --- into wg0 --- */

void receive_emit(void *worker, uint32_t slot, const struct virtio_net_hdr *vh,
		  struct iovec *iov, int iovcnt, unsigned packets, uint32_t wire)
{
	struct worker *w = worker;
	const uint8_t *ip = iov[1].iov_base;
	struct tap_header header = {
		.vh = *vh,
		.eth =
			{
				/* Not wg0's own, so the stack drops the frame unless TC
				 * accepts it. If TC does not, it counts `wire` bytes as
				 * refused. */
				.h_dest = {WG_TAG_0, WG_TAG_1, WG_TAG_2,
					   (uint8_t)(wire >> 16), (uint8_t)(wire >> 8),
					   (uint8_t)wire},
				.h_source = {WG_TAG_0, WG_TAG_1, WG_TAG_2,
					     (uint8_t)(slot >> 16), (uint8_t)(slot >> 8),
					     (uint8_t)slot},
				.h_proto = htons(ip[0] >> 4 == 4 ? ETH_P_IP : ETH_P_IPV6),
			},
	};

	/* A device stacked on wg0 takes frames whatever their address says. */
	if (atomic_load_explicit(&w->dp->unguarded, memory_order_relaxed))
		worker_drop(w, DROP_unguarded, packets);
	else
		tap_writer_add(&w->writer, &header, iov, iovcnt, packets);
}

/* Writes all opened packets to wg0; their memory is free afterwards. */
static void write_out(struct worker *w)
{
	struct tap_writer *t = &w->writer;

	gro_flush(&w->gro);
	tap_writer_flush(t);
	worker_count(w, tap_writes, t->writes);
	worker_count(w, tap_write_calls, t->calls);
	if (t->lost)
		worker_drop(w, DROP_tap_error, t->lost);
	t->writes = t->calls = t->lost = 0;
}

/* --- an authentic message --- */

/* Publishes a path to the source of the message if the peer has moved there. */
static void publish_roamed_path(struct worker *w, struct peer *peer,
				const struct rx_packet *p)
{
	const struct endpoint *from = &p->source;
	const struct path *path = rcu_dereference(peer->path);
	struct path *fresh;

	if (path && endpoint_equal(&path->endpoint, from))
		return;
	/* At once, by the UDP socket: an answer to the inner packet along the old path would make
	 * the peer move back. The control thread makes a better path later. */
	fresh = path_new(from);
	pthread_mutex_lock(&peer->roam_lock);
	peer->roamed = *from;
	peer->roamed_by = p->ifindex;
	pthread_mutex_unlock(&peer->roam_lock);
	if (fresh)
		peer_publish_path(peer, fresh);
	events_raise(&w->dp->events, peer, EVENT_ROAMED);
}

static void note_keypair(struct worker *w, struct peer *peer, struct keypair *kp)
{
	if (!atomic_load_explicit(&kp->received, memory_order_relaxed)) {
		atomic_store(&kp->received, true);
		if (!kp->initiator)
			events_raise(&w->dp->events, peer, EVENT_CONFIRMED);
	}
	if (kp->initiator && keypair_older_than(kp, w->now, AGING_TIME) &&
	    !atomic_exchange(&kp->aging, true))
		events_raise(&w->dp->events, peer, EVENT_KEY_AGING);
}

static void stamp_received(struct worker *w, struct peer *peer, bool data)
{
	if (data)
		atomic_store_explicit(&peer->activity.data_received, w->now,
				      memory_order_relaxed);
	atomic_store_explicit(&peer->activity.authenticated_received, w->now,
			      memory_order_relaxed);
	events_active(&w->dp->events, peer);
}

/* Adds the inner packet to those that go into wg0; sets *data unless it is a keepalive. Returns the
 * bytes that count as received from the peer: 0 if the inner packet is malformed. */
static uint64_t add_inner(struct worker *w, const struct rx_packet *p, bool *data)
{
	uint8_t *packet = p->message + sizeof(struct wg_data);
	uint32_t len = p->len - (uint32_t)WG_DATA_OVERHEAD;
	int inner;

	if (!len)
		return p->len;
	*data = true;
	inner = inner_packet_len(packet, len);
	if (inner < 0) {
		worker_drop(w, DROP_bad_inner, 1);
		return 0;
	}
	if (!outer_ecn_to_inner(p->ecn, packet))
		worker_drop(w, DROP_ecn, 1);
	else
		gro_receive(&w->gro, p->keypair->peer->slot, packet, (size_t)inner,
			    p->len);
	return p->len;
}

/* Drops those messages of a run, all under one keypair, that the replay window refuses. Returns how
 * many are left. */
static unsigned drop_replays(struct worker *w, struct rx_batch *b, unsigned first,
			     unsigned end)
{
	struct keypair *kp = b->packets[first].keypair;
	unsigned kept = 0;

	pthread_mutex_lock(&kp->replay_lock);
	for (unsigned i = first; i < end; i++) {
		if (!b->batch.ops[i].ok)
			continue;
		b->batch.ops[i].ok =
			replay_check_and_update(&kp->replay, b->batch.ops[i].counter);
		if (b->batch.ops[i].ok)
			kept++;
		else
			worker_drop(w, DROP_replay, 1);
	}
	pthread_mutex_unlock(&kp->replay_lock);
	return kept;
}

/* Returns true if the control thread is to be told that data of the peer came like this. A
 * known flow is news only if it can be admitted; a peer that sends by two ways in turn must
 * not keep the control thread busy. */
static bool is_news(struct worker *w, struct peer *peer, const struct arrival *a)
{
	uint64_t since =
		w->now - atomic_load_explicit(&peer->flow_told, memory_order_relaxed);

	if (a->ifindex != peer->by_socket.ifindex ||
	    !endpoint_equal(&a->from, &peer->by_socket.from))
		return since >= OTHER_FLOW_NS;
	return since >= SAME_FLOW_NS && dataplane_nic(w->dp, a->ifindex);
}

static void note_flow(struct worker *w, struct peer *peer, const struct rx_packet *p)
{
	struct arrival a = {.from = p->source, .ifindex = p->ifindex};
	bool news;

	pthread_mutex_lock(&peer->roam_lock);
	news = is_news(w, peer, &a);
	if (news)
		peer->by_socket = a;
	pthread_mutex_unlock(&peer->roam_lock);
	if (!news)
		return;
	atomic_store_explicit(&peer->flow_told, w->now, memory_order_relaxed);
	events_raise(&w->dp->events, peer, EVENT_FLOW);
}

/* The control thread may probe the flow now. */
static void note_by_nic(struct peer *peer, const struct rx_packet *p)
{
	pthread_mutex_lock(&peer->roam_lock);
	memcpy(peer->probe.sender_mac,
	       outer_sender_mac(p->message, p->source.addr.family), ETH_ALEN);
	pthread_mutex_unlock(&peer->roam_lock);
	atomic_store_explicit(&peer->by_nic, true, memory_order_release);
}

static void note_way(struct worker *w, struct peer *peer, const struct rx_packet *p)
{
	if (p->ifindex) {
		note_flow(w, peer, p);
		return;
	}
	if (!atomic_load_explicit(&peer->by_nic, memory_order_relaxed))
		note_by_nic(peer, p);
	/* What was taken for translated is not, or not any more. */
	if (atomic_load_explicit(&peer->socket_only, memory_order_relaxed))
		events_raise(&w->dp->events, peer, EVENT_BY_NIC);
}

static void accept_run(struct worker *w, struct rx_batch *b, unsigned first, unsigned end)
{
	struct keypair *kp = b->packets[first].keypair;
	struct peer *peer = kp->peer;
	const struct rx_packet *latest = NULL;
	uint64_t bytes = 0;
	bool data = false;
	unsigned kept = drop_replays(w, b, first, end);

	if (!kept)
		return;
	note_keypair(w, peer, kp); /* before anybody can answer the inner packets */
	for (unsigned i = first; i < end; i++) {
		const struct rx_packet *p = &b->packets[i];

		if (!b->batch.ops[i].ok)
			continue;
		latest = p;
		publish_roamed_path(w, peer, p);
		bytes += add_inner(w, p, &data);
	}
	note_way(w, peer, latest);
	atomic_fetch_add_explicit(&peer->wire.rx_bytes, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&peer->wire.rx_packets, kept, memory_order_relaxed);
	stamp_received(w, peer, data);
}

/* --- the batch --- */

static void prepare(struct rx_batch *b)
{
	for (unsigned i = 0; i < b->batch.count; i++) {
		struct rx_packet *p = &b->packets[i];
		struct aead_op *op = &b->batch.ops[i];

		op->key = p->keypair->receive_key;
		op->counter = le64toh(((struct wg_data *)p->message)->counter);
		op->src = op->dst = p->message + sizeof(struct wg_data);
		op->len = p->len - (uint32_t)WG_DATA_OVERHEAD;
	}
}

/* Writes the batch's opened packets to wg0 and frees their memory. */
static void accept_batch(void *worker, struct batch *batch)
{
	struct worker *w = worker;
	struct rx_batch *b = (struct rx_batch *)batch;

	for (unsigned i = 0; i < b->batch.count; i++)
		if (!b->batch.ops[i].ok)
			worker_drop(w, DROP_bad_tag, 1);
	for (unsigned i = 0, end; i < b->batch.count; i = end) {
		for (end = i + 1; end < b->batch.count; end++)
			if (b->packets[end].keypair != b->packets[i].keypair)
				break;
		accept_run(w, b, i, end);
	}
	write_out(w);
	if (b->queue)
		nic_queue_release(b->queue, b->frames, b->frame_count);
	b->batch.count = b->frame_count = 0;
	b->queue = NULL;
}

void receive_init(struct worker *w)
{
	struct batch_ring *ring = &w->rx.ring;

	assert_control_thread();
	ring->work = WORK_OPEN;
	ring->helpers = &w->dp->helpers;
	ring->aead = &w->aead;
	ring->deliver = accept_batch;
	ring->arg = w;
	batch_ring_init(ring, w->rx.list, sizeof(w->rx.list[0]));
}

void receive_destroy(struct worker *w)
{
	assert_control_thread();
	batch_ring_destroy(&w->rx.ring);
}

static struct rx_batch *filling(struct worker *w)
{
	return (struct rx_batch *)batch_ring_filling(&w->rx.ring);
}

static void end_batch(struct worker *w)
{
	struct rx_batch *b = filling(w);

	if (!b->batch.count && !b->queue)
		return;
	prepare(b);
	batch_ring_end_batch(&w->rx.ring, worker_is_busy(w));
}

/* The keypair of the message before, which the next message has as a rule; or NULL. */
static struct keypair *last_keypair(struct worker *w)
{
	const struct rx_batch *b = filling(w);

	return b->batch.count ? b->packets[b->batch.count - 1].keypair : NULL;
}

/* The keypair that a data message is under, or NULL if the message is dropped. */
static struct keypair *receiving_keypair(struct worker *w, const struct wg_data *header)
{
	struct keypair *kp = last_keypair(w);

	if (kp && kp->local_index == header->receiver)
		return kp;
	kp = keypairs_find(&w->dp->peers->keypairs, header->receiver);
	if (!kp || !atomic_load_explicit(&kp->ready, memory_order_acquire)) {
		worker_drop(w, DROP_unknown_receiver, 1);
		return NULL;
	}
	if (keypair_older_than(kp, w->now, WG_REJECT_AFTER_TIME)) {
		worker_drop(w, DROP_key_expired, 1);
		return NULL;
	}
	return kp;
}

/* Returns true if it is the probe under way, neither late nor translated. A second copy of it is
 * not taken. */
static bool take_probe(struct worker *w, struct peer_probe *probe,
		       const struct udp_received *r, const uint8_t *tag)
{
	if (sodium_is_zero(probe->tag, WG_TAG_LEN) ||
	    sodium_memcmp(probe->tag, tag, WG_TAG_LEN) ||
	    w->now >= probe->sent + PROBE_LIFE_NS || r->ifindex != probe->flow.ifindex ||
	    !endpoint_equal(&r->source, &probe->flow.from))
		return false;
	sodium_memzero(probe->tag, WG_TAG_LEN);
	return true;
}

static void receive_probe(struct worker *w, const struct udp_received *r,
			  const uint8_t *message)
{
	uint32_t receiver = ((const struct wg_data *)message)->receiver;
	struct keypair *kp = keypairs_find(&w->dp->peers->keypairs, receiver);
	bool taken = false;

	if (kp) {
		pthread_mutex_lock(&kp->peer->roam_lock);
		taken = take_probe(w, &kp->peer->probe, r, probe_tag(message));
		pthread_mutex_unlock(&kp->peer->roam_lock);
	}
	if (taken)
		events_raise(&w->dp->events, kp->peer, EVENT_PROBED);
	else
		worker_drop(w, kp ? DROP_bad_tag : DROP_unknown_receiver, 1);
}

/* Adds a data message, at least WG_DATA_OVERHEAD long, to the batch. ifindex: of the
 * receiving device, or 0 if AF_XDP received it. */
static void add_message(struct worker *w, const struct endpoint *from, uint32_t ifindex,
			uint8_t *message, uint32_t len, uint8_t ecn)
{
	struct keypair *kp = receiving_keypair(w, (struct wg_data *)message);
	struct rx_batch *b = filling(w);

	if (kp)
		b->packets[b->batch.count++] = (struct rx_packet){
			.keypair = kp,
			.source = *from,
			.ifindex = ifindex,
			.message = message,
			.len = len,
			.ecn = ecn,
		};
}

/* --- from AF_XDP --- */

static unsigned fill_from_nic(struct worker *w, struct nic_queue *q)
{
	struct rx_batch *b = filling(w);
	unsigned n = nic_queue_receive(q, b->frames, BATCH_SIZE);
	uint64_t bytes = 0;

	b->queue = n ? q : NULL;
	b->frame_count = n;
	for (unsigned i = 0; i < n; i++) {
		struct endpoint from;
		uint32_t len;
		uint8_t *message = outer_parse(q->nic, &b->frames[i], &from, &len);

		if (!outer_checksum_right(&b->frames[i])) {
			worker_drop(w, DROP_bad_checksum, 1);
			continue;
		}
		bytes += len;
		add_message(w, &from, 0, message, len, outer_ecn(&b->frames[i]));
	}
	worker_count(w, rx_xdp_packets, n);
	worker_count(w, rx_xdp_bytes, bytes);
	return n;
}

void receive_from_nic(struct worker *w, struct nic_queue *q)
{
	unsigned n, batches = 0;

	assert_worker_thread();
	do {
		n = fill_from_nic(w, q);
		end_batch(w);
	} while (n == BATCH_SIZE && ++batches < BATCH_RING_LEN);
	batch_ring_drain(&w->rx.ring);
}

/* --- from the UDP sockets --- */

static size_t handshake_len(uint32_t type)
{
	switch (type) {
	case WG_INITIATION:
		return sizeof(struct wg_initiation);
	case WG_RESPONSE:
		return sizeof(struct wg_response);
	case WG_COOKIE_REPLY:
		return sizeof(struct wg_cookie_reply);
	default:
		return 0;
	}
}

/* Returns true if the receiver index is that of one of our keypairs, finished or not. A response or
 * a cookie reply has the index of the initiation of ours that it answers. */
static bool is_known_receiver(struct worker *w, uint32_t receiver)
{
	return keypairs_find(&w->dp->peers->keypairs, receiver);
}

/* Returns DROP_REASONS if the message may be queued. Anybody can send junk: before a message
 * counts, or keeps others waiting, its sender must have shown that our public key is known
 * there (whitepaper section 5.4.4), or, since a cookie reply has no mac1, that a message of
 * ours was received there. */
static enum drop_reason refuse_junk(struct worker *w, uint32_t type,
				    const uint8_t *message, uint32_t len)
{
	const struct mac1_check *check = rcu_dereference(w->dp->mac1);
	const struct wg_cookie_reply *reply = (const void *)message;
	const struct wg_response *response = (const void *)message;

	if (type == WG_COOKIE_REPLY)
		return is_known_receiver(w, reply->receiver) ? DROP_REASONS
							     : DROP_bad_cookie;
	if (!check || !cookie_mac1_right(check->key, message, len))
		return DROP_bad_mac;
	if (type == WG_RESPONSE && !is_known_receiver(w, response->receiver))
		return DROP_bad_handshake;
	return DROP_REASONS;
}

static void queue_handshake(struct worker *w, const struct udp_received *r, uint32_t type,
			    const uint8_t *message, uint32_t len)
{
	enum drop_reason reason = refuse_junk(w, type, message, len);

	if (reason == DROP_REASONS && !handshake_queue_put(&w->dp->handshakes, &r->source,
							   r->ifindex, message, len))
		reason = DROP_handshake_queue_full;
	if (reason != DROP_REASONS)
		worker_drop(w, reason, 1);
}

/* Returns DROP_REASONS if the length is one of a message of this type. */
static enum drop_reason check_len(uint32_t type, uint32_t len)
{
	if (len < sizeof(type))
		return DROP_bad_length;
	if (type == WG_DATA)
		return len < WG_DATA_OVERHEAD ? DROP_bad_length : DROP_REASONS;
	if (!handshake_len(type))
		return DROP_bad_type;
	return len == handshake_len(type) ? DROP_REASONS : DROP_bad_length;
}

/* Checks what the XDP program checks of messages by AF_XDP, and adds the message to the batch or
 * the handshake queue. */
static void add_udp(struct worker *w, const struct udp_received *r, uint8_t *message,
		    uint32_t len)
{
	uint32_t type = len >= sizeof(type) ? le32toh(load32(message)) : 0;
	enum drop_reason reason = check_len(type, len);

	if (reason != DROP_REASONS) {
		worker_drop(w, reason, 1);
	} else if (type == WG_DATA && probe_is(message, len)) {
		receive_probe(w, r, message);
	} else if (type == WG_DATA) {
		worker_count(w, rx_udp_packets, 1);
		worker_count(w, rx_udp_bytes, len);
		add_message(w, &r->source, r->ifindex, message, len, r->tos & ECN_MASK);
	} else {
		queue_handshake(w, r, type, message, len);
	}
}

static void split_received(struct worker *w, const struct udp_received *r)
{
	/* In one batch they are coalesced into one packet. */
	if (filling(w)->batch.count + r->len / r->segment > BATCH_SIZE)
		end_batch(w);
	for (uint32_t at = 0; at < r->len; at += r->segment) {
		uint32_t len = r->len - at < r->segment ? r->len - at : r->segment;

		if (filling(w)->batch.count == BATCH_SIZE)
			end_batch(w);
		add_udp(w, r, r->data + at, len);
	}
}

void receive_from_udp(struct worker *w, int fd)
{
	assert_worker_thread();
	struct udp_received received[UDP_RX_BUFFERS];
	unsigned n = udp_receive(&w->udp_reader, fd, received);

	for (unsigned i = 0; i < n; i++) {
		if (received[i].len)
			split_received(w, &received[i]);
		else
			worker_drop(w, DROP_bad_length, 1);
	}
	end_batch(w);
	batch_ring_drain(&w->rx.ring);
}
