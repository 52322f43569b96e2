// SPDX-License-Identifier: MIT
/*
 * From wg0 to the wire: read ▸ segment ▸ seal ▸ transmit.
 *
 * Theory of operation: each inner packet is written, padded, to where it will leave
 * from: behind the header room of a UMEM frame, or in the arena for the UDP socket.
 * A batch of them gets counters, is sealed in place by the AEAD engine (by helpers, where
 * the worker cannot keep up) and goes out in one go, after those before it. A packet
 * without a session waits in its peer's staged queue.
 */
#include "send.h"

#include <endian.h>
#include <linux/if_ether.h>
#include <string.h>

#include "clock.h"
#include "dataplane.h"
#include "ecn.h"
#include "gso.h"
#include "icmp.h"
#include "peer.h"
#include "worker.h"

/* Packets from wg0 before the worker looks elsewhere. */
#define TAP_READS_A_ROUND 32
/* A worker asks for a peer's handshake at most this often. */
#define ASK_INTERVAL_NS (50 * NS_PER_MS)
/* A message takes a multiple of this in the arena. */
#define ARENA_ALIGN 64

static void ask_handshake(struct worker *w, struct peer *peer)
{
	uint64_t asked = atomic_load_explicit(&peer->activity.handshake_asked,
					      memory_order_relaxed);

	if (asked && w->now - asked < ASK_INTERVAL_NS)
		return;
	atomic_store_explicit(&peer->activity.handshake_asked, w->now,
			      memory_order_relaxed);
	events_raise(&w->dp->events, peer, EVENT_WANT_HANDSHAKE);
}

/* A session that the peer has used is in use before the control thread makes it current:
 * the answer to its first packet must not go under the old one, of which a peer that was
 * restarted knows nothing. */
static struct keypair *sending_keypair(struct worker *w, struct peer *peer)
{
	struct keypair *kp = rcu_dereference(peer->next);

	if (!kp || !atomic_load_explicit(&kp->received, memory_order_relaxed))
		kp = rcu_dereference(peer->current);
	return kp && keypair_may_send(kp, w->now) ? kp : NULL;
}

/* --- the batch: counters, seal, transmit --- */

/* Takes `n` packets, from the place `first` on, out of the batch: their keypair has no
 * counters left for them. */
static void drop_unnumbered(struct worker *w, struct tx_batch *b, unsigned first,
			    unsigned n)
{
	struct tx_packet *p = &b->packets[first];
	unsigned behind = b->batch.count - first - n;

	ask_handshake(w, p->peer);
	for (unsigned i = 0; i < n; i++)
		if (p[i].frame.data)
			nic_unalloc(w->tx.queue, &p[i].frame, 1);
	memmove(p, p + n, behind * sizeof(*p));
	b->batch.count -= n;
	worker_drop(w, DROP_key_expired, n);
}

/* Packets from `first` on that share a keypair take consecutive counters. Returns how many
 * did. */
static unsigned number_run(struct worker *w, struct tx_batch *b, unsigned first)
{
	struct tx_packet *p = &b->packets[first];
	struct keypair *kp = p->keypair;
	unsigned n, run = 1;
	uint64_t counter;

	while (first + run < b->batch.count && p[run].keypair == kp)
		run++;
	n = keypair_take_counters(kp, run, &counter);
	if (n < run)
		drop_unnumbered(w, b, first + n, run - n);
	for (unsigned i = 0; i < n; i++) {
		struct wg_data *header = (struct wg_data *)p[i].message;
		struct aead_op *op = &b->batch.ops[first + i];

		header->type = htole32(WG_DATA);
		header->receiver = kp->remote_index;
		header->counter = htole64(counter + i);
		op->key = kp->send_key;
		op->counter = counter + i;
		op->src = op->dst = p[i].message + sizeof(*header);
		op->len = p[i].len - (uint32_t)WG_DATA_OVERHEAD;
	}
	return n;
}

static void number(struct worker *w, struct tx_batch *b)
{
	for (unsigned i = 0; i < b->batch.count;)
		i += number_run(w, b, i);
}

/* Headers of the packets, of `n`, that go along the path of the first one. Returns how many
 * those are. */
static unsigned write_run(struct tx_packet *p, unsigned n)
{
	struct path *path = p->path;
	unsigned run = 1;
	uint16_t ip_id;

	while (run < n && p[run].path == path)
		run++;
	ip_id = path_take_ids(path, run);
	for (unsigned i = 0; i < run; i++)
		path_write_headers(path, p[i].frame.data, p[i].len, ip_id++, p[i].tos);
	return run;
}

static void transmit_nic(struct worker *w, struct tx_packet *p, unsigned n)
{
	struct nic_frame frames[BATCH_SIZE] = {0};
	uint64_t bytes = 0;
	unsigned sent;

	for (unsigned i = 0; i < n;)
		i += write_run(&p[i], n - i);
	for (unsigned i = 0; i < n; i++) {
		frames[i] = p[i].frame;
		frames[i].len = p[i].path->header_len + p[i].len;
	}
	sent = nic_send(w->tx.queue, frames, n);
	if (sent < n) {
		nic_unalloc(w->tx.queue, frames + sent, n - sent);
		worker_drop(w, DROP_tx_ring_full, n - sent);
	}
	for (unsigned i = 0; i < sent; i++) {
		p[i].sent = true;
		bytes += p[i].len;
	}
	worker_count(w, tx_xdp_packets, sent);
	worker_count(w, tx_xdp_bytes, bytes);
}

static void transmit_udp(struct worker *w, struct tx_packet *p, unsigned n)
{
	struct udp *udp = rcu_dereference(w->dp->udp);
	struct udp_packet packets[BATCH_SIZE];
	uint64_t bytes = 0;
	unsigned sent;

	for (unsigned i = 0; i < n; i++)
		packets[i] = (struct udp_packet){
			.path = p[i].path,
			.data = p[i].message,
			.len = p[i].len,
			.tos = p[i].tos,
			.ttl = p[i].ttl,
		};
	sent = udp ? udp_send_batch(udp, packets, n) : 0;
	if (sent < n)
		worker_drop(w, DROP_udp_send_error, n - sent);
	for (unsigned i = 0; i < n; i++) {
		p[i].sent = packets[i].sent;
		bytes += packets[i].sent ? packets[i].len : 0;
	}
	worker_count(w, tx_udp_packets, sent);
	worker_count(w, tx_udp_bytes, bytes);
}

static void stamp_sent(struct worker *w, struct peer *peer, bool data)
{
	if (data)
		atomic_store_explicit(&peer->activity.data_sent, w->now,
				      memory_order_relaxed);
	atomic_store_explicit(&peer->activity.authenticated_sent, w->now,
			      memory_order_relaxed);
	events_active(&w->dp->events, peer);
}

/* Counters and timers of each peer in the batch, once a run. */
static void account(struct worker *w, struct tx_batch *b)
{
	struct tx_packet *p = b->packets;

	for (unsigned i = 0, end; i < b->batch.count; i = end) {
		struct peer *peer = p[i].peer;
		uint64_t bytes = 0;
		unsigned sent = 0;
		bool data = false;

		for (end = i; end < b->batch.count && p[end].keypair == p[i].keypair;
		     end++) {
			bytes += p[end].sent ? p[end].len : 0;
			sent += p[end].sent;
			data |= !p[end].keepalive;
		}
		atomic_fetch_add_explicit(&peer->wire.tx_bytes, bytes,
					  memory_order_relaxed);
		atomic_fetch_add_explicit(&peer->wire.tx_packets, sent,
					  memory_order_relaxed);
		/* Also for what could not be sent: the timers are to find out why. */
		stamp_sent(w, peer, data);
		if (keypair_wants_rekey(p[i].keypair, w->now))
			ask_handshake(w, peer);
	}
}

static void return_spare(struct worker_tx *tx)
{
	if (tx->spare_count)
		nic_unalloc(tx->queue, tx->spare, tx->spare_count);
	tx->spare_count = 0;
}

/* What is sealed leaves, in its order also where some of it is too long for the NIC. */
static void transmit(void *worker, struct batch *batch)
{
	struct worker *w = worker;
	struct tx_batch *b = (struct tx_batch *)batch;
	struct tx_packet *p = b->packets;

	for (unsigned i = 0, end; i < batch->count; i = end) {
		bool by_nic = p[i].frame.data;

		end = i + 1;
		while (end < batch->count && !p[end].frame.data == !by_nic)
			end++;
		(by_nic ? transmit_nic : transmit_udp)(w, &p[i], end - i);
	}
	account(w, b);
	batch->count = 0;
	b->arena_used = 0;
}

void send_init(struct worker *w)
{
	struct batches *bs = &w->tx.batches;

	bs->what = CREW_SEAL;
	bs->crew = &w->dp->crew;
	bs->aead = &w->aead;
	bs->deliver = transmit;
	bs->arg = w;
	batches_init(bs, w->tx.list, sizeof(w->tx.list[0]));
}

static struct tx_batch *filling(struct worker *w)
{
	return (struct tx_batch *)batches_filling(&w->tx.batches);
}

static void end_batch(struct worker *w)
{
	struct tx_batch *b = filling(w);

	if (!b->batch.count)
		return;
	number(w, b);
	if (b->batch.count)
		batches_end(&w->tx.batches, worker_is_busy(w));
	else
		b->arena_used = 0;
}

static void flush(struct worker *w)
{
	end_batch(w);
	batches_drain(&w->tx.batches);
}

/* The end of a round: nothing of a NIC may be held beyond it, nor any keypair. */
static void finish(struct worker *w)
{
	flush(w);
	return_spare(&w->tx);
	w->tx.queue = NULL;
}

/* --- room for a message --- */

static bool take_frame(struct worker *w, struct nic *nic, struct nic_frame *out)
{
	struct nic_queue *q = nic_tx_queue(nic, w->index);
	struct worker_tx *tx = &w->tx;

	if (tx->queue != q) {
		finish(w);
		tx->queue = q;
	}
	if (!tx->spare_count)
		tx->spare_count = nic_alloc(q, tx->spare, BATCH_SIZE);
	if (!tx->spare_count) { /* all under way: push, look once more */
		flush(w);
		tx->spare_count = nic_alloc(q, tx->spare, BATCH_SIZE);
	}
	if (!tx->spare_count)
		return false;
	*out = tx->spare[--tx->spare_count];
	return true;
}

static uint8_t *take_arena(struct worker *w, uint32_t len)
{
	size_t need = (len + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
	struct tx_batch *b;

	if (filling(w)->arena_used + need > WORKER_ARENA)
		end_batch(w);
	b = filling(w);
	b->arena_used += need;
	b->used = true;
	return b->arena + b->arena_used - need;
}

/* A place in the batch for a message of `len` bytes, otherwise like that one; NULL when
 * it is dropped. */
static struct tx_packet *reserve(struct worker *w, const struct tx_packet *like,
				 uint32_t len)
{
	const struct path *path = like->path;
	struct tx_batch *b;
	struct tx_packet *p;
	struct nic_frame frame = {0};
	uint8_t *message;

	if (filling(w)->batch.count == BATCH_SIZE)
		end_batch(w);
	if (path->nic && len <= path->max_message) {
		if (!take_frame(w, path->nic, &frame)) {
			worker_drop(w, DROP_tx_ring_full, 1);
			return NULL;
		}
		message = frame.data + path->header_len;
	} else {
		message = take_arena(w, len);
	}
	b = filling(w);
	p = &b->packets[b->batch.count++];
	*p = *like;
	p->message = message;
	p->len = len;
	p->frame = frame;
	return p;
}

/* Section 5.4.6: to a multiple of 16, but never beyond wg0's MTU, nor so that the
 * underlay would have to fragment for the padding's sake. */
static uint32_t padded_len(const struct dataplane *dp, const struct path *path,
			   uint32_t len)
{
	uint32_t most = atomic_load_explicit(&dp->mtu, memory_order_relaxed);
	uint32_t padded = (len + WG_PADDING - 1) & ~(WG_PADDING - 1U);

	if (path->max_datagram >= len + WG_DATA_OVERHEAD &&
	    path->max_datagram < most + WG_DATA_OVERHEAD)
		most = path->max_datagram - (uint32_t)WG_DATA_OVERHEAD;
	if (padded > most)
		padded = len > most ? len : most;
	return padded;
}

/* --- packets --- */

static void send_segments(struct worker *w, const struct tx_packet *like, struct gso *gso,
			  unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t len = (uint32_t)gso_segment_len(gso, i);
		uint32_t padded = padded_len(w->dp, like->path, len);
		struct tx_packet *p =
			reserve(w, like, padded + (uint32_t)WG_DATA_OVERHEAD);

		if (!p) {
			worker_drop(w, DROP_tx_ring_full, n - i - 1);
			return;
		}
		gso_next(gso, p->message + sizeof(struct wg_data));
		memset(p->message + sizeof(struct wg_data) + len, 0, padded - len);
	}
}

/* Tells the sender that nobody can take the packet. */
static void refuse(struct worker *w, const struct inner_packet *packet)
{
	struct icmp_error e;

	if (icmp_unreachable(&e, packet->data, packet->len) &&
	    icmp_limit_take(&w->dp->icmp, &e.to, packet->forwarded, w->now))
		icmp_send(&e, w->tap_fd);
}

/* A session that began while we were at it may have sent what waited just before this
 * packet joined the queue: hence the second look. */
static void stage(struct worker *w, struct peer *peer, const struct inner_packet *packet)
{
	worker_drop(w, DROP_staged_full, staged_push(&peer->staged, packet));
	atomic_thread_fence(memory_order_seq_cst);
	if (sending_keypair(w, peer))
		send_staged(w, peer);
	else
		ask_handshake(w, peer);
}

static void send_by_session(struct worker *w, const struct tx_packet *like,
			    const struct inner_packet *packet)
{
	struct tx_packet marked = *like;
	struct gso gso;
	int n = gso_begin(&gso, &packet->vh, packet->data, packet->len, ETH_HLEN);

	if (n < 0) {
		worker_drop(w, DROP_bad_gso, 1);
		return;
	}
	marked.tos = ip_ecn(packet->data); /* and none of its DSCP: that would tell */
	marked.ttl = packet->ttl;
	/* By UDP they leave undivided in one system call, and arrive so. */
	if (!like->path->nic && filling(w)->batch.count + (unsigned)n > BATCH_SIZE)
		end_batch(w);
	send_segments(w, &marked, &gso, (unsigned)n);
}

static void send_or_stage(struct worker *w, struct peer *peer,
			  const struct inner_packet *packet)
{
	struct tx_packet like = {
		.peer = peer,
		.keypair = sending_keypair(w, peer),
		.path = rcu_dereference(peer->path),
	};

	if (!like.path) {
		worker_drop(w, DROP_no_endpoint, 1);
		refuse(w, packet);
	} else if (!like.keypair) {
		stage(w, peer, packet);
	} else {
		send_by_session(w, &like, packet);
	}
}

/* What waits is older, where the session has begun but nobody has yet said so. */
static void send_packet(struct worker *w, struct peer *peer,
			const struct inner_packet *packet)
{
	if (!staged_empty(&peer->staged) && sending_keypair(w, peer))
		send_staged(w, peer);
	send_or_stage(w, peer, packet);
}

/* What TC egress wrote into the addresses: the slot, and what else it knows. */
static bool read_tags(const struct ethhdr *eth, uint32_t *slot,
		      struct inner_packet *packet)
{
	const uint8_t *to = eth->h_dest, *from = eth->h_source;

	*slot = (uint32_t)to[3] << 16 | (uint32_t)to[4] << 8 | to[5];
	packet->forwarded = from[3] & WG_FORWARDED;
	packet->ttl = from[5];
	return to[0] == WG_TAG_0 && to[1] == WG_TAG_1 && to[2] == WG_TAG_2;
}

static void send_frame(struct worker *w, const uint8_t *buffer, size_t len)
{
	const struct ethhdr *eth = (void *)(buffer + sizeof(struct virtio_net_hdr));
	struct inner_packet packet;
	struct peer *peer;
	uint32_t slot;

	if (len < sizeof(packet.vh) + ETH_HLEN) {
		worker_drop(w, DROP_bad_gso, 1);
		return;
	}
	memcpy(&packet.vh, buffer, sizeof(packet.vh));
	packet.data = (const uint8_t *)(eth + 1);
	packet.len = (uint32_t)(len - sizeof(packet.vh) - ETH_HLEN);
	if (!read_tags(eth, &slot, &packet))
		worker_drop(w, DROP_no_tag, 1);
	else if (slot == WG_SLOT_NONE) /* counted by TC egress */
		refuse(w, &packet);
	else if ((peer = peer_at(w->dp->peers, slot)))
		send_packet(w, peer, &packet);
	else
		worker_drop(w, DROP_no_tag, 1);
}

void send_from_wg0(struct worker *w)
{
	struct tap_reader *r = &w->reader;
	unsigned n, left = TAP_READS_A_ROUND;

	/* What comes while these are dealt with is to be in the same batch: it ends only where
	 * there is nothing. */
	for (; left && (n = tap_reader_read(r, left)); left -= n) {
		worker_count(w, tap_reads, n);
		worker_count(w, tap_read_calls, 1);
		for (unsigned i = 0; i < n; i++)
			send_frame(w, r->packets[i].data, r->packets[i].len);
	}
	w->tap_gone = r->gone;
	finish(w);
}

void send_staged(struct worker *w, struct peer *peer)
{
	struct staged_packet *p = staged_take(&peer->staged), *next;

	for (; p; p = next) {
		next = p->next;
		send_or_stage(w, peer, &p->packet);
		staged_free(p);
	}
	finish(w);
}

void send_keepalive(struct worker *w, struct peer *peer)
{
	struct tx_packet like = {
		.peer = peer,
		.keypair = sending_keypair(w, peer),
		.path = rcu_dereference(peer->path),
		.keepalive = true,
	};

	if (!like.keypair && like.path)
		ask_handshake(w, peer);
	if (!like.keypair || !like.path)
		return;
	reserve(w, &like, WG_DATA_OVERHEAD);
	finish(w);
}
