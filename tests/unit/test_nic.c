// SPDX-License-Identifier: MIT
/* Frames of a queue with rings in plain memory; the test plays the kernel. */
#include "testutil.h"

#include "fake_queue.h"

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

/* Does what a worker does: takes a batch, uses some of it, returns the rest. */
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
