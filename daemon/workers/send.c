// SPDX-License-Identifier: MIT
/*
 * From wg0 to the wire: read ▸ segment ▸ seal ▸ transmit.
 *
 * Theory of operation: each inner packet is written, padded, into memory of the carrier that
 * its message will leave by (carrier.h). A batch of messages gets counters, is sealed in place
 * by the AEAD engine (with the help of helpers if the worker cannot keep up) and is sent after
 * the batches before it. A packet without a session waits in its peer's staged queue.
 *
 * Functions that append a message may end the batch that is being filled; those called end_...
 * and send_... do.
 */
#include "send.h"

#include <endian.h>
#include <linux/if_ether.h>
#include <string.h>

#include "carrier.h"
#include "clock.h"
#include "dataplane.h"
#include "ecn.h"
#include "gso.h"
#include "icmp.h"
#include "peer.h"
#include "thread.h"
#include "worker.h"

/* Packets that the worker reads from wg0 before it serves its other queues. */
#define TAP_READS_A_ROUND 32
/* A worker asks for a peer's handshake at most this often. */
#define ASK_INTERVAL_NS (50 * NS_PER_MS)

_Static_assert(BATCH_SIZE <= CARRIER_BATCH, "a carrier sends a batch in one call");

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

/* Returns the keypair to send under, or NULL. A `next` that the peer has used is in use before the
 * control thread makes it current: the answer to the peer's first packet must not go under the
 * old keypair, which a restarted peer no longer has. */
static struct keypair *sending_keypair(struct worker *w, struct peer *peer)
{
	struct keypair *kp = rcu_dereference(peer->next);

	if (!kp || !atomic_load_explicit(&kp->received, memory_order_relaxed))
		kp = rcu_dereference(peer->current);
	return kp && keypair_may_send(kp, w->now) ? kp : NULL;
}

/* --- a batch: counters, seal, transmit --- */

/* Removes `n` messages, the batch's number `first` and those after it, because their keypair has
 * no counters left for them. */
static void drop_unnumbered(struct worker *w, struct tx_batch *b, unsigned first,
			    unsigned n)
{
	unsigned end = first + n, after = b->batch.count - end;

	ask_handshake(w, b->packets[first].peer);
	for (unsigned i = first; i < end; i++) {
		struct carrier carrier = b->packets[i].carrier;

		carrier.ops->drop(carrier.to, &b->messages[i], 1);
	}
	memmove(&b->packets[first], &b->packets[end], after * sizeof(b->packets[0]));
	memmove(&b->messages[first], &b->messages[end], after * sizeof(b->messages[0]));
	b->batch.count -= n;
	worker_drop(w, DROP_key_expired, n);
}

/* Gives consecutive counters to the messages from `first` on that share a keypair. Returns how
 * many got one. */
static unsigned number_run(struct worker *w, struct tx_batch *b, unsigned first)
{
	struct keypair *kp = b->packets[first].keypair;
	unsigned n, run = 1;
	uint64_t counter;

	while (first + run < b->batch.count && b->packets[first + run].keypair == kp)
		run++;
	n = keypair_take_counters(kp, run, &counter);
	if (n < run)
		drop_unnumbered(w, b, first + n, run - n);
	for (unsigned i = 0; i < n; i++) {
		const struct message *m = &b->messages[first + i];
		struct wg_data *header = (struct wg_data *)m->data;
		struct aead_op *op = &b->batch.ops[first + i];

		header->type = htole32(WG_DATA);
		header->receiver = kp->remote_index;
		header->counter = htole64(counter + i);
		op->key = kp->send_key;
		op->counter = counter + i;
		op->src = op->dst = m->data + sizeof(*header);
		op->len = m->len - (uint32_t)WG_DATA_OVERHEAD;
	}
	return n;
}

static void number(struct worker *w, struct tx_batch *b)
{
	for (unsigned i = 0; i < b->batch.count;)
		i += number_run(w, b, i);
}

/* Sends messages of one carrier. */
static void transmit_run(struct worker *w, const struct carrier *carrier,
			 struct message *m, unsigned n)
{
	unsigned sent = carrier->ops->send(carrier->to, m, n);
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += m[i].sent ? m[i].len : 0;
	if (sent < n)
		worker_drop(w, carrier->ops->refused, n - sent);
	carrier->ops->count(w->stats, sent, bytes);
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

/* Updates the counters and timers of each peer in the batch, once per run of a keypair. */
static void account(struct worker *w, const struct tx_batch *b)
{
	const struct tx_packet *p = b->packets;

	for (unsigned i = 0, end; i < b->batch.count; i = end) {
		struct peer *peer = p[i].peer;
		uint64_t bytes = 0;
		unsigned sent = 0;
		bool data = false;

		for (end = i; end < b->batch.count && p[end].keypair == p[i].keypair;
		     end++) {
			const struct message *m = &b->messages[end];

			bytes += m->sent ? m->len : 0;
			sent += m->sent;
			data |= !p[end].keepalive;
		}
		atomic_fetch_add_explicit(&peer->wire.tx_bytes, bytes,
					  memory_order_relaxed);
		atomic_fetch_add_explicit(&peer->wire.tx_packets, sent,
					  memory_order_relaxed);
		/* Also for messages that could not be sent: the timers find out why. */
		stamp_sent(w, peer, data);
		if (keypair_wants_rekey(p[i].keypair, w->now))
			ask_handshake(w, peer);
	}
}

/* Sends a sealed batch, in its order even if its messages leave by several carriers. */
static void transmit(void *worker, struct batch *batch)
{
	struct worker *w = worker;
	struct tx_batch *b = (struct tx_batch *)batch;

	for (unsigned i = 0, end; i < batch->count; i = end) {
		const struct carrier *carrier = &b->packets[i].carrier;

		end = i + 1;
		while (end < batch->count &&
		       carrier_equal(b->packets[end].carrier, *carrier))
			end++;
		transmit_run(w, carrier, &b->messages[i], end - i);
	}
	account(w, b);
	batch->count = 0;
	carrier_memory_reset(&b->memory);
}

int send_init(struct worker *w)
{
	struct batch_ring *ring = &w->tx.ring;
	int err = 0;

	assert_control_thread();
	ring->work = WORK_SEAL;
	ring->helpers = &w->dp->helpers;
	ring->aead = &w->aead;
	ring->deliver = transmit;
	ring->arg = w;
	batch_ring_init(ring, w->tx.list, sizeof(w->tx.list[0]));
	for (unsigned i = 0; i < BATCH_RING_LEN && !err; i++)
		err = carrier_memory_init(&w->tx.list[i].memory);
	return err;
}

void send_destroy(struct worker *w)
{
	assert_control_thread();
	for (unsigned i = 0; i < BATCH_RING_LEN; i++)
		carrier_memory_destroy(&w->tx.list[i].memory);
	batch_ring_destroy(&w->tx.ring);
}

static struct tx_batch *filling(struct worker *w)
{
	return (struct tx_batch *)batch_ring_filling(&w->tx.ring);
}

static void end_batch(struct worker *w)
{
	struct tx_batch *b = filling(w);

	carrier_memory_end(&b->memory);
	if (!b->batch.count)
		return;
	number(w, b);
	if (b->batch.count)
		batch_ring_end_batch(&w->tx.ring, worker_is_busy(w));
	else
		carrier_memory_reset(&b->memory);
}

/* Ends the batch and waits until all batches are sent. At the end of a round, because neither
 * memory of a carrier nor a keypair may be held beyond it. */
static void end_round(struct worker *w)
{
	end_batch(w);
	batch_ring_drain(&w->tx.ring);
}

/* --- appending a message --- */

static struct carrier carrier_of(struct worker *w, const struct message *m)
{
	if (w->stale)
		return (struct carrier){&stale_carrier, rcu_dereference(w->dp->udp)};
	return dataplane_carrier(w->dp, m->path, m->len, w->index);
}

static bool take_memory(struct worker *w, struct carrier carrier, struct message *m)
{
	if (carrier.ops->take(carrier.to, &filling(w)->memory, m))
		return true;
	/* The next batch has another arena; once all batches are sent, frames are free. */
	end_batch(w);
	if (carrier.ops->take(carrier.to, &filling(w)->memory, m))
		return true;
	end_round(w);
	return carrier.ops->take(carrier.to, &filling(w)->memory, m);
}

/* Appends a message to the batch, or to the next one if that is full: copies of `prototype` and
 * `m`, with memory for m.len bytes. Returns that memory, or NULL if there is none. */
static uint8_t *append_message(struct worker *w, const struct tx_packet *prototype,
			       struct message m)
{
	struct carrier carrier = carrier_of(w, &m);
	struct tx_packet *p;
	struct tx_batch *b;

	if (filling(w)->batch.count == BATCH_SIZE)
		end_batch(w);
	if (!take_memory(w, carrier, &m))
		return NULL;
	b = filling(w);
	p = &b->packets[b->batch.count];
	*p = *prototype;
	p->carrier = carrier;
	b->messages[b->batch.count++] = m;
	return m.data;
}

/* The length of an inner packet with padding (whitepaper section 5.4.6): a multiple of 16, but
 * not beyond wg0's MTU, and not so long that only the padding makes the underlay fragment. */
static uint32_t padded_len(const struct dataplane *dp, const struct path *path,
			   uint32_t len)
{
	uint32_t max = atomic_load_explicit(&dp->mtu, memory_order_relaxed);
	uint32_t padded = (len + WG_PADDING - 1) & ~(WG_PADDING - 1U);

	if (path->max_datagram >= len + WG_DATA_OVERHEAD &&
	    path->max_datagram < max + WG_DATA_OVERHEAD)
		max = path->max_datagram - (uint32_t)WG_DATA_OVERHEAD;
	if (padded > max)
		padded = len > max ? len : max;
	return padded;
}

/* --- packets --- */

static void append_segments(struct worker *w, const struct tx_packet *prototype,
			    const struct message *message, struct gso *gso, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t len = (uint32_t)gso_segment_len(gso, i);
		uint32_t padded = padded_len(w->dp, message->path, len);
		struct message m = *message;
		uint8_t *inner;

		m.len = padded + (uint32_t)WG_DATA_OVERHEAD;
		inner = append_message(w, prototype, m);
		if (!inner) {
			worker_drop(w, carrier_of(w, &m).ops->refused, n - i);
			return;
		}
		inner += sizeof(struct wg_data);
		gso_next(gso, inner);
		memset(inner + len, 0, padded - len);
	}
}

/* Tells the sender that nobody can take the packet. */
static void tell_unreachable(struct worker *w, const struct inner_packet *packet)
{
	struct icmp_error e;

	if (icmp_unreachable(&e, packet->data, packet->len) &&
	    icmp_limit_take(&w->dp->icmp, &e.to, packet->forwarded, w->now))
		icmp_queue_put(&w->dp->icmp_errors, &e);
}

static void append_packet(struct worker *w, const struct tx_packet *prototype,
			  struct path *path, const struct inner_packet *packet)
{
	struct message m = {
		.path = path,
		.tos = ip_ecn(packet->data), /* without the DSCP, which would tell */
		.ttl = packet->ttl,
	};
	struct gso gso;
	int n = gso_begin(&gso, &packet->vh, packet->data, packet->len, ETH_HLEN);

	if (n < 0) {
		worker_drop(w, DROP_bad_gso, 1);
		return;
	}
	/* All segments in one batch leave undivided in one system call, and arrive so. */
	if (filling(w)->batch.count + (unsigned)n > BATCH_SIZE &&
	    carrier_of(w, &m).ops->joins)
		end_batch(w);
	append_segments(w, prototype, &m, &gso, (unsigned)n);
}

static void append_staged(struct worker *w, struct peer *peer);

/* Puts the packet into the staged queue. A session that began just before may have sent what was
 * in the queue without this packet, hence the second look at the keypair. */
static void stage(struct worker *w, struct peer *peer, const struct inner_packet *packet)
{
	worker_drop(w, DROP_staged_full, staged_push(&peer->staged, packet));
	atomic_thread_fence(memory_order_seq_cst);
	if (sending_keypair(w, peer))
		append_staged(w, peer);
	else
		ask_handshake(w, peer);
}

static void append_or_stage(struct worker *w, struct peer *peer,
			    const struct inner_packet *packet)
{
	struct path *path = rcu_dereference(peer->path);
	struct tx_packet prototype = {
		.peer = peer,
		.keypair = sending_keypair(w, peer),
	};

	if (!path) {
		worker_drop(w, DROP_no_endpoint, 1);
		tell_unreachable(w, packet);
	} else if (!prototype.keypair) {
		stage(w, peer, packet);
	} else {
		append_packet(w, &prototype, path, packet);
	}
}

static void append_staged(struct worker *w, struct peer *peer)
{
	struct staged_packet *p = staged_take(&peer->staged), *next;

	for (; p; p = next) {
		next = p->next;
		append_or_stage(w, peer, &p->packet);
		staged_free(p);
	}
}

/* Staged packets are older: they go first if the session has begun but the control thread has not
 * yet told the worker. */
static void take_packet(struct worker *w, struct peer *peer,
			const struct inner_packet *packet)
{
	if (!staged_empty(&peer->staged) && sending_keypair(w, peer))
		append_staged(w, peer);
	append_or_stage(w, peer, packet);
}

/* Reads what TC egress wrote into the Ethernet addresses: the peer slot, and into the source
 * address facts about the packet. Returns false if it is not the egress program's. */
static bool read_tags(const struct ethhdr *eth, uint32_t *slot,
		      struct inner_packet *packet)
{
	const uint8_t *to = eth->h_dest, *from = eth->h_source;

	*slot = (uint32_t)to[3] << 16 | (uint32_t)to[4] << 8 | to[5];
	packet->forwarded = from[0] & WG_FORWARDED;
	packet->ttl = from[5];
	return to[0] == WG_TAG_0 && to[1] == WG_TAG_1 && to[2] == WG_TAG_2;
}

static void take_frame(struct worker *w, const uint8_t *buffer, size_t len)
{
	const struct ethhdr *eth = (void *)(buffer + sizeof(struct virtio_net_hdr));
	struct inner_packet packet;
	struct peer *peer;
	uint32_t slot;
	bool tagged;

	if (len < sizeof(packet.vh) + ETH_HLEN) {
		worker_drop(w, DROP_bad_gso, 1);
		return;
	}
	memcpy(&packet.vh, buffer, sizeof(packet.vh));
	packet.data = (const uint8_t *)(eth + 1);
	packet.len = (uint32_t)(len - sizeof(packet.vh) - ETH_HLEN);
	tagged = read_tags(eth, &slot, &packet);
	if (tagged && slot == WG_SLOT_NONE) /* counted by TC egress */
		tell_unreachable(w, &packet);
	else if (tagged && (peer = peer_at(w->dp->peers, slot)))
		take_packet(w, peer, &packet);
	else
		worker_drop(w, tagged ? DROP_removed_peer : DROP_no_tag, 1);
}

void send_from_wg0(struct worker *w)
{
	struct tap_reader *r = &w->reader;
	unsigned n, left = TAP_READS_A_ROUND;

	assert_worker_thread();
	/* Packets that arrive meanwhile join the batch, which ends only when wg0 is empty. */
	for (; left && (n = tap_reader_read(r, left)); left -= n) {
		worker_count(w, tap_reads, n);
		worker_count(w, tap_read_calls, 1);
		for (unsigned i = 0; i < n; i++)
			take_frame(w, r->packets[i].data, r->packets[i].len);
	}
	w->tap_gone = r->gone;
	end_round(w);
}

void send_staged(struct worker *w, struct peer *peer)
{
	assert_worker_thread();
	append_staged(w, peer);
	end_round(w);
}

void send_keepalive(struct worker *w, struct peer *peer)
{
	assert_worker_thread();
	struct tx_packet prototype = {
		.peer = peer,
		.keypair = sending_keypair(w, peer),
		.keepalive = true,
	};
	struct message m = {
		.path = rcu_dereference(peer->path),
		.len = WG_DATA_OVERHEAD,
	};

	if (!prototype.keypair && m.path)
		ask_handshake(w, peer);
	if (!prototype.keypair || !m.path)
		return;
	if (!append_message(w, &prototype, m))
		worker_drop(w, carrier_of(w, &m).ops->refused, 1);
	end_round(w);
}
