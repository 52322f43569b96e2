// SPDX-License-Identifier: MIT
#include "handshake_intake.h"

#include "clock.h"
#include "flood.h"
#include "handshake.h"
#include "outer.h"
#include "thread.h"
#include "tunnel.h"

/* A round answers messages for this long, and at least this many. */
#define HANDSHAKES_NS	   NS_PER_MS
#define HANDSHAKES_A_ROUND 16
/* Frames taken from an AF_XDP ring at a time. */
#define COLLECT_BATCH 64
/* Messages from rings leave this much of the queue free for the UDP sockets. */
#define COLLECT_LEAVES (HANDSHAKE_QUEUE_LEN / 4)
/* If many peers want a session at once, our initiations must not delay the answers to the first of
 * them until we initiate again and the answers are worthless. So while messages wait, a round sends
 * one initiation, plus one per four messages that it answered: a flood of messages does not keep us
 * from having sessions. */
#define INITIATIONS_A_ROUND 16

/* Returns false for a response to no handshake of ours. Workers check those that come by UDP. */
static bool answers_us(struct tunnel *tunnel, const uint8_t *message, uint32_t len)
{
	const struct wg_response *response = (const void *)message;

	return len != sizeof(*response) ||
	       keypairs_find(&tunnel->peers.keypairs, response->receiver);
}

/* The message is copied, so that nobody changes it after the check, and it is aligned. */
static void collect_frame(struct tunnel *tunnel, const struct nic *nic,
			  const struct nic_frame *frame)
{
	struct endpoint from;
	uint32_t len;
	const uint8_t *message = outer_parse(nic, frame, &from, &len);

	if (!outer_checksum_right(frame))
		tunnel_drop(tunnel, DROP_bad_checksum, 1);
	else if (len > WG_HANDSHAKE_MAX)
		tunnel_drop(tunnel, DROP_bad_length, 1);
	else if (!answers_us(tunnel, message, len))
		tunnel_drop(tunnel, DROP_bad_handshake, 1);
	else if (!handshake_queue_put(&tunnel->dp.handshakes, &from, 0, message, len))
		tunnel_drop(tunnel, DROP_handshake_queue_full, 1);
}

/* Moves at most `limit` messages from a ring to the queue. */
static void collect_handshakes(struct tunnel *tunnel, struct nic_queue *q, unsigned limit)
{
	struct nic_frame frames[COLLECT_BATCH];
	unsigned n, want;

	do {
		want = limit < COLLECT_BATCH ? limit : COLLECT_BATCH;
		n = nic_queue_receive_handshake(q, frames, want);
		for (unsigned i = 0; i < n; i++)
			collect_frame(tunnel, q->nic, &frames[i]);
		if (n)
			nic_queue_release(q, frames, n);
		limit -= n;
	} while (n == COLLECT_BATCH);
}

static unsigned count_rings(const struct tunnel *tunnel)
{
	unsigned n = 0;

	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		n += tunnel->dp.nics[i] ? tunnel->dp.nics[i]->queue_count : 0;
	return n;
}

/* How many messages each ring may add. All have the same share, so that a flood at one does not
 * keep the others out. What finds no room stays in its ring; the kernel counts what finds no room
 * there. */
static unsigned room_per_ring(struct tunnel *tunnel)
{
	unsigned rings = count_rings(tunnel);
	unsigned used = handshake_queue_backlog(&tunnel->dp.handshakes) + COLLECT_LEAVES;

	if (!rings || used >= HANDSHAKE_QUEUE_LEN)
		return 0;
	return (HANDSHAKE_QUEUE_LEN - used + rings - 1) / rings;
}

/* Returns how many messages it took from the queue. */
static unsigned answer_handshakes(struct tunnel *tunnel, uint64_t now)
{
	bool load = flood_note_backlog(
		tunnel, handshake_queue_backlog(&tunnel->dp.handshakes), now);
	uint64_t until = clock_now() + HANDSHAKES_NS;
	struct handshake_message m;
	unsigned n = 0;

	do {
		if (!handshake_queue_get(&tunnel->dp.handshakes, &m)) {
			handshake_queue_quiet(&tunnel->dp.handshakes);
			/* A message may have come just before. */
			if (!handshake_queue_get(&tunnel->dp.handshakes, &m))
				return n;
		}
		handshake_receive(tunnel, &m, load, now);
	} while (++n < HANDSHAKES_A_ROUND || clock_now() < until);
	return n;
}

static void initiate_handshakes(struct tunnel *tunnel, unsigned answered, uint64_t now)
{
	unsigned limit = INITIATIONS_A_ROUND;

	if (handshake_queue_backlog(&tunnel->dp.handshakes) && 1 + answered / 4 < limit)
		limit = 1 + answered / 4;
	handshakes_initiate(tunnel, limit, now);
}

void handshake_intake_serve(struct tunnel *tunnel, uint64_t now)
{
	assert_control_thread();
	unsigned share = room_per_ring(tunnel);

	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		struct nic *nic = tunnel->dp.nics[i];

		for (unsigned j = 0; nic && j < nic->queue_count; j++)
			collect_handshakes(tunnel, nic->queues[j], share);
	}
	initiate_handshakes(tunnel, answer_handshakes(tunnel, now), now);
}
