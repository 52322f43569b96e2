// SPDX-License-Identifier: MIT
/* Frames of a queue whose rings are in memory, and the kernel's end of them is here. */
#include "testutil.h"

#include "nic.h"

#define RING  2048
#define SPARE 1000 /* frames beyond what the TX ring holds */
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
	f.q.free = f.free;
	pthread_mutex_init(&f.q.lock, NULL);
	f.q.tx = (struct xsk_ring_prod){.mask = RING - 1, .size = RING, .ring = f.tx};
	f.q.tx.cached_cons = RING;
	f.q.tx.producer = &f.producer[0];
	f.q.tx.consumer = &f.consumer[0];
	f.q.tx.flags = &f.flags;
	/* Full from the start: a frame that comes back is free. */
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

/* The kernel takes all that is in the TX ring, and says that it has gone. */
static void kernel_sends(void)
{
	while (f.consumer[0] != f.producer[0])
		f.completion[f.producer[2]++ % RING] = f.tx[f.consumer[0]++ % RING].addr;
}

/* Takes frames until there are none, a batch at a time. */
static unsigned alloc_all(struct nic_frame *out)
{
	unsigned n, count = 0;

	while ((n = nic_queue_alloc(&f.q, out + count, BATCH)))
		count += n;
	return count;
}

static void test_no_more_is_held_than_the_ring_takes(void **state)
{
	static struct nic_frame frames[RING + SPARE];

	(void)state;
	assert_int_equal(alloc_all(frames), RING);
	assert_int_equal(f.q.free_count, SPARE);
	assert_int_equal(nic_queue_send(&f.q, frames, RING), RING);
	assert_int_equal(alloc_all(frames), 0);
	kernel_sends();
	assert_int_equal(alloc_all(frames), RING);
}

static void test_what_is_not_sent_comes_back(void **state)
{
	static struct nic_frame frames[RING + SPARE];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(alloc_all(frames), RING);
		nic_queue_unalloc(&f.q, frames, RING);
		assert_int_equal(f.q.free_count, RING + SPARE);
	}
}

/* As a worker does it: takes a batch, uses some of it, brings back the rest. */
static void test_sending_never_ends(void **state)
{
	struct nic_frame frames[BATCH];

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		unsigned used = i % (BATCH + 1);

		assert_int_equal(nic_queue_alloc(&f.q, frames, BATCH), BATCH);
		assert_int_equal(nic_queue_send(&f.q, frames, used), used);
		nic_queue_unalloc(&f.q, frames + used, BATCH - used);
		kernel_sends();
	}
	nic_queue_push(&f.q);
	assert_int_equal(f.q.tx_held, 0);
	assert_int_equal(f.q.free_count, RING + SPARE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_no_more_is_held_than_the_ring_takes,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_not_sent_comes_back, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_sending_never_ends, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
