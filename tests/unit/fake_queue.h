/* SPDX-License-Identifier: MIT */
/* A queue of a NIC with rings in plain memory; the test plays the kernel. */
#ifndef FAKE_QUEUE_H
#define FAKE_QUEUE_H

#include "nic.h"

#define RING  2048
#define SPARE 1000 /* more frames than the TX ring holds */
#define BATCH 64
#define SIZE  2048

static struct fixture {
	struct nic nic;
	struct nic_queue q;
	uint32_t producer[3], consumer[3], flags;
	struct xdp_desc tx[RING];
	uint64_t fill[RING], completion[RING];
	uint64_t free[RING + SPARE];
	uint8_t area[(RING + SPARE) * SIZE];
} f;

static int set_up(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.nic.frame_size = SIZE;
	f.q.nic = &f.nic;
	f.q.area = f.area;
	f.q.frames = 4 * RING;
	f.q.free = f.free;
	pthread_mutex_init(&f.q.lock, NULL);
	f.q.tx = (struct xsk_ring_prod){.mask = RING - 1, .size = RING, .ring = f.tx};
	f.q.tx.cached_cons = RING;
	f.q.tx.producer = &f.producer[0];
	f.q.tx.consumer = &f.consumer[0];
	f.q.tx.flags = &f.flags;
	/* The fill ring is full, so that a frame that comes back stays free. */
	f.q.fill = (struct xsk_ring_prod){.mask = RING - 1, .size = RING, .ring = f.fill};
	f.q.fill.cached_prod = f.q.fill.cached_cons = f.producer[1] = RING;
	f.q.fill.producer = &f.producer[1];
	f.q.fill.consumer = &f.consumer[1];
	f.q.fill.flags = &f.flags;
	f.q.completion = (struct xsk_ring_cons){
		.mask = RING - 1, .size = RING, .ring = f.completion};
	f.q.completion.producer = &f.producer[2];
	f.q.completion.consumer = &f.consumer[2];
	f.q.completion.flags = &f.flags;
	while (f.q.free_count < RING + SPARE) {
		f.free[f.q.free_count] = (uint64_t)f.q.free_count * SIZE;
		f.q.free_count++;
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return pthread_mutex_destroy(&f.q.lock);
}

/* Takes all frames of the TX ring, and completes them. */
static void kernel_sends(void)
{
	while (f.consumer[0] != f.producer[0])
		f.completion[f.producer[2]++ % RING] = f.tx[f.consumer[0]++ % RING].addr;
}

#endif
