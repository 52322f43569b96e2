/* SPDX-License-Identifier: MIT */
/*
 * A worker: a thread that moves, encrypts and decrypts packets.
 *
 * Theory of operation: a worker owns one queue of wg0's TAP and reads the data rings of the NIC
 * queues given to it; the first worker also reads the UDP sockets. It sleeps in poll(), then
 * serves each queue that is ready, a batch at a time. receive.c: open, check, coalesce, write to
 * wg0; send.c: read from wg0, segment, seal, transmit. It holds no lock while asleep and passes
 * an RCU quiescent state between rounds. The control thread tells it by commands to send staged
 * packets.
 *
 * If a worker no longer gets to sleep, helpers encrypt or decrypt its batches and deliver them
 * (batch.h) while it reads the next ones. All that it read in a round is delivered when the
 * round ends. Until then only the thread that delivers touches what transmit() and accept_batch()
 * use of the worker: gro, writer, and the counters of what was sent.
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
#include "carrier.h"
#include "drops.h"
#include "gro.h"
#include "nic.h"
#include "tap_queue.h"
#include "udp.h"
#include "wg_maps.h"

struct dataplane;
struct peer;
struct keypair;
struct poll_set;

/* After this many rounds without sleep a worker lets helpers share its work. */
#define WORKER_BUSY_ROUNDS 4

/* What a worker knows of a message that it sends; its text is in the batch's messages. */
struct tx_packet {
	struct peer *peer;
	struct keypair *keypair;
	struct carrier carrier;
	bool keepalive;
};

/* Entry i of ops, packets and messages is about the same message. */
struct tx_batch {
	struct batch batch;
	struct tx_packet packets[BATCH_SIZE];
	struct message messages[BATCH_SIZE]; /* plaintext, then sealed in place */
	struct carrier_memory memory;	     /* that they lie in */
};

struct worker_tx {
	struct tx_batch list[BATCH_RING_LEN];
	struct batch_ring ring;
};

/* A received data message, in the memory that it was received in. */
struct rx_packet {
	struct keypair *keypair;
	struct endpoint source;
	uint32_t ifindex; /* of the receiving device; 0: received by AF_XDP */
	uint8_t *message;
	uint32_t len;
	uint8_t ecn; /* of the outer IP header */
};

struct rx_batch {
	struct batch batch;
	struct rx_packet packets[BATCH_SIZE];
	struct nic_queue *queue; /* that the frames are from; NULL: the UDP sockets */
	struct nic_frame frames[BATCH_SIZE];
	unsigned frame_count;
};

struct worker_rx {
	struct rx_batch list[BATCH_RING_LEN];
	struct batch_ring ring;
};

struct worker {
	struct dataplane *dp;
	unsigned index;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint rounds; /* begun so far */
	uint64_t now;	    /* ns, read once per round */
	unsigned busy;	    /* rounds since the worker had nothing to do */
	bool spins;	    /* looks for work for a moment before it sleeps */
	bool stale;	    /* paths may be, in this round (routing_news.h) */
	int tap_fd;
	bool tap_gone; /* wg0 was deleted */
	int wake_fd;   /* wakeup.h */
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
	struct tap_writer writer;
};

enum worker_command {
	WORKER_CONFIRM, /* send the staged packets, or a keepalive if there are none */
	WORKER_SEND_STAGED, /* send the staged packets, if there are any left */
	WORKER_SEND_KEEPALIVE,
};

/* All of these: the control thread. */

/* A worker that is not running, on `tap_fd`, which is the worker's from then on, also if it
 * fails. 0 or -errno. */
int worker_new(struct dataplane *dp, unsigned index, int tap_fd, struct worker **out);
/* Starts the thread. 0 or -errno. */
int worker_start(struct worker *w);
/* Makes the thread end soon; the caller wakes the worker, and joins w->thread. */
void worker_stop(struct worker *w);
/* Wipes and frees a worker whose thread has ended, or never began. NULL is allowed. */
void worker_free(struct worker *w);
/* Makes the worker run a round. */
void worker_wake(struct worker *w);
/* Makes the worker run a command for the peer in this slot, if there is one then. Lost without
 * memory: the peer's timers try again. */
void worker_add_command(struct worker *w, uint32_t slot, enum worker_command command);

/* Returns true if the worker has had no sleep for some rounds. */
static inline bool worker_is_busy(const struct worker *w)
{
	return w->busy >= WORKER_BUSY_ROUNDS;
}

/* Adds n to a counter of the worker's line. One writer at a time: the worker, or the helper that
 * delivers for it. Readers take no lock and may see the value of a moment ago. */
#define worker_count(w, field, n)                                               \
	__atomic_store_n(&(w)->stats->field, (w)->stats->field + (uint64_t)(n), \
			 __ATOMIC_RELAXED)

/* Counts n drops. The worker, and helpers that deliver for it. */
static inline void worker_drop(struct worker *w, enum drop_reason reason, unsigned n)
{
	drops_add(&w->stats->drops, reason, n);
}

#endif
