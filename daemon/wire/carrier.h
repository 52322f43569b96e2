/* SPDX-License-Identifier: MIT */
/*
 * What a message leaves by: a queue of a NIC, by AF_XDP, or the UDP sockets.
 *
 * Theory of operation: carrier_for() chooses; while routes may have changed, it is
 * stale_carrier for all paths (routing_news.h). The sender takes memory from the carrier, writes
 * and seals the message in it, and sends it by the same carrier, a batch at a time. A message
 * for a NIC queue lies in one of the queue's UMEM frames, behind room for the outer headers, which
 * sending fills in. A message for the sockets lies in an arena. A batch takes its memory from a
 * struct carrier_memory, which holds the arena, and frames that were taken from a queue in advance,
 * so that the queue's lock is taken once per batch.
 *
 * A carrier is a value. It is good until the thread's next quiescent state, because what it
 * names is published under RCU.
 */
#ifndef CARRIER_H
#define CARRIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"
#include "nic.h"
#include "path.h"
#include "wg_maps.h"
#include "xsk.h"

struct udp;

#define CARRIER_BATCH 64 /* messages that are sent in one call */
/* Holds a batch of full-sized messages, or the segments of one packet of 64 KB. */
#define CARRIER_ARENA (CARRIER_BATCH * 2048 + 65536)

struct carrier_memory;

struct carrier_ops {
	/* Takes memory for m->len bytes on m->path; sets m->data. Returns false if there is none
	 * until messages that lie in this carrier's memory have been sent. */
	bool (*take)(void *to, struct carrier_memory *memory, struct message *m);
	/* Gives back the memory of messages that will not be sent. */
	void (*drop)(void *to, const struct message *m, unsigned n);
	/* Sends up to CARRIER_BATCH messages, or gives back their memory; sets m->sent of each.
	 * Returns how many were sent. Does not wait. */
	unsigned (*send)(void *to, struct message *m, unsigned n);
	/* Adds to the carrier's own counters in `stats`, which the caller alone writes. */
	void (*count)(struct worker_stats *stats, unsigned packets, uint64_t bytes);
	enum drop_reason refused; /* of messages that could not be sent */
	/* Sends several messages of one path and size as one packet, which arrives undivided:
	 * the segments of a packet should be in one batch. */
	bool joins;
};

/* stale_carrier: the sockets, for messages whose path may be stale (udp_send()). */
extern const struct carrier_ops queue_carrier, udp_carrier, stale_carrier;

struct carrier {
	const struct carrier_ops *ops;
	void *to; /* struct nic_queue, or struct udp, which may be NULL: nothing is sent */
};

/* The memory for the messages of one batch. One thread at a time. */
struct carrier_memory {
	uint8_t *arena;		 /* CARRIER_ARENA bytes */
	size_t arena_used;	 /* since the last batch was sent */
	bool arena_dirty;	 /* ever used */
	struct nic_queue *queue; /* of the spare frames */
	struct nic_frame spare[CARRIER_BATCH];
	unsigned spare_count;
};

/* 0 or -ENOMEM. `memory` is zeroed. */
int carrier_memory_init(struct carrier_memory *memory);
/* Wipes and frees. Also of a zeroed struct. */
void carrier_memory_destroy(struct carrier_memory *memory);
/* Gives back what was taken from a queue in advance and not used. To be called when the batch
 * ends, and before the thread's next quiescent state. */
void carrier_memory_end(struct carrier_memory *memory);
/* All messages of the batch have been sent or dropped: the arena is free again. */
static inline void carrier_memory_reset(struct carrier_memory *memory)
{
	memory->arena_used = 0;
}

/* The carrier of a message of `len` bytes along the path: the queue that worker number `worker`
 * sends by, of the path's NIC, if there is one and the message fits; else the sockets `udp`,
 * which may be NULL. Any RCU thread. */
static inline struct carrier carrier_for(const struct path *path, uint32_t len,
					 unsigned worker, struct udp *udp)
{
	if (nic_may_send(path->nic) && len <= path->max_message)
		return (struct carrier){&queue_carrier, nic_tx_queue(path->nic, worker)};
	return (struct carrier){&udp_carrier, udp};
}

/* Kicks the queue of this NIC that worker number `worker` sends by, if packets are left in it
 * because the driver's queue was full. Returns true if it should be called again soon. Any RCU
 * thread. */
static inline bool carrier_push(struct nic *nic, unsigned worker)
{
	struct nic_queue *q = nic_tx_queue(nic, worker);

	return nic_queue_tx_pending(q) && nic_queue_push(q);
}

static inline bool carrier_equal(struct carrier a, struct carrier b)
{
	return a.ops == b.ops && a.to == b.to;
}

#endif
