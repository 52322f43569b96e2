// SPDX-License-Identifier: MIT
#include "carrier.h"

#include <errno.h>
#include <stdlib.h>

#include <sodium.h>

#include "udp.h"

/* A message takes a multiple of this in the arena. */
#define ARENA_ALIGN 64

/* One writer at a time; readers take no lock and may see the value of a moment ago. */
static void count(__u64 *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* --- a queue of a NIC --- */

static bool queue_take(void *to, struct carrier_memory *memory, struct message *m)
{
	const struct nic_frame *f;

	if (memory->queue != to)
		carrier_memory_end(memory);
	if (!memory->spare_count) {
		memory->queue = to;
		memory->spare_count = nic_queue_alloc(to, memory->spare, CARRIER_BATCH);
		if (!memory->spare_count)
			return false;
	}
	f = &memory->spare[--memory->spare_count];
	m->frame = f->addr;
	m->data = f->data + m->path->header_len;
	return true;
}

/* The frames that hold the messages and, in front of them, their headers. */
static void frames_of(const struct message *m, struct nic_frame *frames, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		frames[i] = (struct nic_frame){
			.addr = m[i].frame,
			.len = m[i].path->header_len + m[i].len,
		};
}

static void queue_drop(void *to, const struct message *m, unsigned n)
{
	struct nic_frame frames[CARRIER_BATCH] = {0};

	frames_of(m, frames, n);
	nic_queue_unalloc(to, frames, n);
}

/* Writes the headers of those of n messages that go along the path of the first one. Returns
 * how many these are. */
static unsigned write_headers(const struct message *m, unsigned n)
{
	struct path *path = m->path;
	unsigned run = 1;
	uint16_t ip_id;

	while (run < n && m[run].path == path)
		run++;
	ip_id = path_take_ids(path, run);
	for (unsigned i = 0; i < run; i++)
		path_write_headers(path, m[i].data - path->header_len, m[i].len, ip_id++,
				   m[i].tos);
	return run;
}

static unsigned queue_send(void *to, struct message *m, unsigned n)
{
	struct nic_frame frames[CARRIER_BATCH] = {0};
	unsigned sent;

	for (unsigned i = 0; i < n;)
		i += write_headers(&m[i], n - i);
	frames_of(m, frames, n);
	sent = nic_queue_send(to, frames, n);
	if (sent < n)
		nic_queue_unalloc(to, frames + sent, n - sent);
	for (unsigned i = 0; i < n; i++)
		m[i].sent = i < sent;
	return sent;
}

static void queue_count(struct worker_stats *stats, unsigned packets, uint64_t bytes)
{
	count(&stats->tx_xdp_packets, packets);
	count(&stats->tx_xdp_bytes, bytes);
}

const struct carrier_ops queue_carrier = {
	.take = queue_take,
	.drop = queue_drop,
	.send = queue_send,
	.count = queue_count,
	.refused = DROP_tx_ring_full,
};

/* --- the UDP sockets --- */

static bool udp_take(void *to, struct carrier_memory *memory, struct message *m)
{
	size_t need = (m->len + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;

	if (need > CARRIER_ARENA - memory->arena_used)
		return false;
	m->data = memory->arena + memory->arena_used;
	memory->arena_used += need;
	memory->arena_dirty = true;
	return true;
}

static void udp_drop(void *to, const struct message *m, unsigned n)
{
}

static unsigned udp_carrier_send(void *to, struct message *m, unsigned n)
{
	return to ? udp_send_batch(to, m, n, false) : 0;
}

static unsigned udp_carrier_send_stale(void *to, struct message *m, unsigned n)
{
	return to ? udp_send_batch(to, m, n, true) : 0;
}

static void udp_count(struct worker_stats *stats, unsigned packets, uint64_t bytes)
{
	count(&stats->tx_udp_packets, packets);
	count(&stats->tx_udp_bytes, bytes);
}

const struct carrier_ops udp_carrier = {
	.take = udp_take,
	.drop = udp_drop,
	.send = udp_carrier_send,
	.count = udp_count,
	.refused = DROP_udp_send_error,
	.joins = true,
};

const struct carrier_ops stale_carrier = {
	.take = udp_take,
	.drop = udp_drop,
	.send = udp_carrier_send_stale,
	.count = udp_count,
	.refused = DROP_udp_send_error,
	.joins = true,
};

/* --- memory --- */

int carrier_memory_init(struct carrier_memory *memory)
{
	memory->arena = calloc(1, CARRIER_ARENA);
	return memory->arena ? 0 : -ENOMEM;
}

/* An arena that was never used has no pages yet, and wiping it would give it some. */
void carrier_memory_destroy(struct carrier_memory *memory)
{
	if (memory->arena && memory->arena_dirty)
		sodium_memzero(memory->arena, CARRIER_ARENA);
	free(memory->arena);
	memory->arena = NULL;
}

void carrier_memory_end(struct carrier_memory *memory)
{
	if (memory->spare_count)
		nic_queue_unalloc(memory->queue, memory->spare, memory->spare_count);
	memory->spare_count = 0;
	memory->queue = NULL;
}
