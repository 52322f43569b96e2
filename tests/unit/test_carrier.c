// SPDX-License-Identifier: MIT
/* Carriers: how one is chosen, and where its memory is afterwards. */
#include "testutil.h"

#include "carrier.h"
#include "fake_queue.h"
#include "path.h"
#include "udp.h"

#define ROOM 1400

static struct path path;
static struct carrier_memory memory;

static int set_up_carrier(void **state)
{
	set_up(state);
	memset(&path, 0, sizeof(path));
	memset(&memory, 0, sizeof(memory));
	f.nic.queues[0] = &f.q;
	f.nic.queue_count = f.nic.tx_queue_count = 1;
	path.endpoint.addr.family = IP_V4;
	path.nic = &f.nic;
	path.max_message = ROOM;
	path.header_len = 14 + 20 + 8;
	return carrier_memory_init(&memory);
}

static int tear_down_carrier(void **state)
{
	carrier_memory_destroy(&memory);
	return tear_down(state);
}

static unsigned held(void)
{
	return RING + SPARE - f.q.free_count;
}

/* Takes memory for n messages of this length. Returns how many got some. */
static unsigned take(struct carrier c, struct message *m, unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++) {
		m[i] = (struct message){.path = &path, .len = len};
		if (!c.ops->take(c.to, &memory, &m[i]))
			return i;
		memset(m[i].data, 0xa5, len);
	}
	return n;
}

static void test_choice(void **state)
{
	struct udp udp;

	(void)state;
	assert_ptr_equal(carrier_for(&path, ROOM, 0, &udp).to, &f.q);
	assert_ptr_equal(carrier_for(&path, ROOM + 1, 0, &udp).to, &udp);
	assert_true(carrier_for(&path, ROOM + 1, 0, &udp).ops->joins);
	assert_false(carrier_equal(carrier_for(&path, ROOM, 0, &udp),
				   carrier_for(&path, ROOM + 1, 0, &udp)));
	assert_true(carrier_equal(carrier_for(&path, 1, 0, &udp),
				  carrier_for(&path, 2, 1, &udp)));
	path.nic = NULL;
	assert_ptr_equal(carrier_for(&path, 1, 0, &udp).to, &udp);
}

static void test_queue_takes_a_frame_each(void **state)
{
	struct carrier c = carrier_for(&path, ROOM, 0, NULL);
	struct message m[10];

	(void)state;
	assert_int_equal(take(c, m, 10, ROOM), 10);
	for (unsigned i = 0; i < 10; i++) {
		assert_ptr_equal(m[i].data, f.area + m[i].frame + path.header_len);
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(m[i].frame, m[j].frame);
	}
	carrier_memory_end(&memory); /* returns what was taken in advance */
	assert_int_equal(held(), 10);
	c.ops->drop(c.to, m, 10);
	assert_int_equal(held(), 0);
	assert_int_equal(f.q.tx_held, 0);
}

static void test_queue_sends_with_headers(void **state)
{
	struct carrier c = carrier_for(&path, ROOM, 0, NULL);
	struct worker_stats stats = {0};
	struct message m[CARRIER_BATCH];

	(void)state;
	assert_int_equal(take(c, m, CARRIER_BATCH, 100), CARRIER_BATCH);
	assert_int_equal(c.ops->send(c.to, m, CARRIER_BATCH), CARRIER_BATCH);
	for (unsigned i = 0; i < CARRIER_BATCH; i++) {
		assert_true(m[i].sent);
		assert_int_equal(f.tx[i].addr, m[i].frame);
		assert_int_equal(f.tx[i].len, path.header_len + 100);
		assert_int_equal(f.area[m[i].frame + 14 + 20 + 5], 108); /* UDP length */
	}
	kernel_sends();
	nic_queue_push(&f.q);
	assert_int_equal(held(), 0);
	c.ops->count(&stats, 3, 300);
	assert_int_equal(stats.tx_xdp_packets, 3);
	assert_int_equal(stats.tx_xdp_bytes, 300);
	assert_int_equal(stats.tx_udp_packets, 0);
}

/* The ring is full, although frames are left; their memory is returned. */
static void test_queue_refuses(void **state)
{
	struct carrier c = carrier_for(&path, ROOM, 0, NULL);
	struct message m[CARRIER_BATCH];

	(void)state;
	assert_int_equal(take(c, m, CARRIER_BATCH, 100), CARRIER_BATCH);
	f.producer[0] = f.q.tx.cached_prod = RING - 10;
	assert_int_equal(c.ops->send(c.to, m, CARRIER_BATCH), 10);
	for (unsigned i = 0; i < CARRIER_BATCH; i++)
		assert_int_equal(m[i].sent, i < 10);
	assert_int_equal(held(), 10);
	assert_int_equal(c.ops->refused, DROP_tx_ring_full);
}

static void test_queue_without_frames(void **state)
{
	static struct message m[RING + 1];
	struct carrier c = carrier_for(&path, ROOM, 0, NULL);

	(void)state;
	assert_int_equal(take(c, m, RING + 1, 100), RING);
	for (unsigned i = 0; i < RING; i += CARRIER_BATCH)
		assert_int_equal(c.ops->send(c.to, m + i, CARRIER_BATCH), CARRIER_BATCH);
	assert_int_equal(take(c, m, 1, 100), 0);
	kernel_sends();
	assert_int_equal(take(c, m, 1, 100), 1);
}

/* Frames that were taken in advance are returned to their queue. */
static void test_two_queues_in_turn(void **state)
{
	static struct fixture other;
	struct carrier c = carrier_for(&path, ROOM, 0, NULL), d = c;
	struct message m;

	(void)state;
	other = f;
	pthread_mutex_init(&other.q.lock, NULL);
	other.q.free = other.free;
	other.q.area = other.area;
	other.q.tx.producer = &other.producer[0];
	other.q.tx.consumer = &other.consumer[0];
	other.q.completion.producer = &other.producer[2];
	other.q.completion.consumer = &other.consumer[2];
	other.q.fill.producer = &other.producer[1];
	other.q.fill.consumer = &other.consumer[1];
	d.to = &other.q;
	assert_int_equal(take(c, &m, 1, 100), 1);
	assert_int_equal(take(d, &m, 1, 100), 1);
	assert_ptr_equal(m.data, other.area + m.frame + path.header_len);
	assert_int_equal(held(), 1);
	assert_int_equal(f.q.tx_held, 1);
	carrier_memory_end(&memory);
	assert_int_equal(other.q.tx_held, 1);
	pthread_mutex_destroy(&other.q.lock);
}

static void test_arena(void **state)
{
	struct carrier c = carrier_for(&path, ROOM + 1, 0, NULL);
	unsigned max = CARRIER_ARENA / 2048;
	struct message m[CARRIER_ARENA / 2048 + 1];

	(void)state;
	assert_int_equal(take(c, m, max + 1, 2000), max);
	for (unsigned i = 1; i < max; i++)
		assert_true(m[i].data >= m[i - 1].data + m[i - 1].len);
	assert_true(m[max - 1].data + 2000 <= memory.arena + CARRIER_ARENA);
	assert_int_equal(take(c, m, 1, 2000), 0);
	carrier_memory_reset(&memory);
	assert_int_equal(take(c, m, 1, 2000), 1);
	assert_int_equal(held(), 0);
}

/* While the interface is down there are no sockets. */
static void test_no_sockets(void **state)
{
	struct carrier c = carrier_for(&path, ROOM + 1, 0, NULL);
	struct worker_stats stats = {0};
	struct message m[2];

	(void)state;
	assert_int_equal(take(c, m, 2, 100), 2);
	assert_int_equal(c.ops->send(c.to, m, 2), 0);
	assert_false(m[0].sent || m[1].sent);
	assert_int_equal(c.ops->refused, DROP_udp_send_error);
	c.ops->count(&stats, 2, 200);
	assert_int_equal(stats.tx_udp_packets, 2);
	assert_int_equal(stats.tx_udp_bytes, 200);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up_carrier, tear_down_carrier)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_choice),
		T(test_queue_takes_a_frame_each),
		T(test_queue_sends_with_headers),
		T(test_queue_refuses),
		T(test_queue_without_frames),
		T(test_two_queues_in_turn),
		T(test_arena),
		T(test_no_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
