/* SPDX-License-Identifier: MIT */
/*
 * Worker threads: they move and en-/decrypt packets.
 *
 * Theory of operation: a worker owns one queue of wg0's TAP and reads the data
 * rings of the NIC queues given to it; the first one also reads the UDP sockets. It
 * sleeps in poll(), then takes from whatever is ready a batch at a time:
 * receive.c: open, check, coalesce, write to wg0; send.c: read from wg0, segment,
 * seal, transmit. It holds no lock while asleep and passes an RCU quiescent state
 * between rounds. The control thread asks it by commands to send what waits.
 *
 * A worker that no longer gets to sleep has helpers en- or decrypt its batches, and
 * deliver them (batch.h), while it reads the next ones. All that it read is delivered
 * when its round ends. What batches' deliver() touches of the worker is only its: the
 * worker leaves it alone in the meantime.
 */
#ifndef WORKER_H
#define WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <urcu/wfcqueue.h>

#include "aead.h"
#include "batch.h"
#include "gro.h"
#include "nic.h"
#include "tap_queue.h"
#include "udp.h"
#include "wg_maps.h"

struct dataplane;
struct peer;
struct keypair;
struct poll_set;

/* So many rounds without sleep, and it has helpers. */
#define WORKER_BUSY_ROUNDS 4
#define WORKER_ARENA	   (BATCH_SIZE * 2048 + TAP_BUFFER)

/* A message on its way out: plaintext, then sealed in place. */
struct tx_packet {
	struct peer *peer;
	struct keypair *keypair;
	struct path *path;
	uint8_t *message;
	uint32_t len; /* of the whole message */
	uint8_t tos;  /* of the outer IP header */
	uint8_t ttl;  /* likewise, by the UDP socket; 0: the route's */
	bool keepalive;
	bool sent;
	struct nic_frame frame; /* data is NULL: by the UDP socket */
};

struct tx_batch {
	struct batch batch;
	struct tx_packet packets[BATCH_SIZE];
	uint8_t *arena; /* for what goes by UDP */
	size_t arena_used;
	bool used; /* the arena, ever */
};

struct worker_tx {
	struct tx_batch list[BATCHES];
	struct batches batches;
	struct nic_queue *queue; /* whose frames these are */
	struct nic_frame spare[BATCH_SIZE];
	unsigned spare_count;
};

/* A transport message that came in, still where it was received. */
struct rx_packet {
	struct keypair *keypair;
	struct endpoint source;
	uint32_t ifindex; /* of the device; 0: it came by AF_XDP */
	uint8_t *message;
	uint32_t len;
	uint8_t ecn; /* of the outer IP header */
};

struct rx_batch {
	struct batch batch;
	struct rx_packet packets[BATCH_SIZE];
	struct nic_queue *queue; /* NULL: by the UDP socket */
	struct nic_frame frames[BATCH_SIZE];
	unsigned frame_count;
};

struct worker_rx {
	struct rx_batch list[BATCHES];
	struct batches batches;
};

struct worker {
	struct dataplane *dp;
	unsigned index;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint rounds; /* begun */
	uint64_t now;	    /* ns, read once a round */
	unsigned busy;	    /* rounds since it had nothing to do */
	bool spins;	    /* before it sleeps */
	int tap_fd;
	bool tap_gone; /* wg0 was deleted under us */
	int wake_fd;
	struct poll_set *poll_set;
	struct worker_stats *stats;
	struct cds_wfcq_head commands;
	struct cds_wfcq_tail commands_tail;

	struct aead aead;
	struct worker_tx tx;
	struct worker_rx rx;
	struct gro gro;
	struct udp_reader udp_reader;
	struct tap_reader reader;
	struct tap_writer writer; /* whoever delivers what was received */
};

/* Whether it gets no sleep. */
static inline bool worker_is_busy(const struct worker *w)
{
	return w->busy >= WORKER_BUSY_ROUNDS;
}

/* One writer at a time; who reads them for display takes them as they are. */
#define worker_count(w, field, n)                                               \
	__atomic_store_n(&(w)->stats->field, (w)->stats->field + (uint64_t)(n), \
			 __ATOMIC_RELAXED)

/* Also by a helper that delivers for it. */
static inline void worker_drop(struct worker *w, enum drop_reason reason, unsigned n)
{
	__atomic_fetch_add(&((uint64_t *)&w->stats->drops)[reason], n, __ATOMIC_RELAXED);
}

#endif
