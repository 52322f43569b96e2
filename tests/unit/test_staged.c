// SPDX-License-Identifier: MIT
/*
 * The queue of packets that wait for a session. Each packet here begins with its
 * number, so that the tests see which ones are there and in which order.
 */
#include "testutil.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "staged.h"

#define SMALL 64

static int setup(void **state)
{
	struct staged *q = malloc(sizeof(*q));

	assert_non_null(q);
	memset(q, 0xa5, sizeof(*q)); /* init must not rely on zeros */
	staged_init(q);
	*state = q;
	return 0;
}

static int teardown(void **state)
{
	staged_destroy(*state);
	free(*state);
	return 0;
}

/* The header's fields follow from the number, too. */
static struct virtio_net_hdr header_of(uint32_t number)
{
	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = (uint16_t)number,
		.csum_start = (uint16_t)(number + 1),
	};
}

static unsigned push(struct staged *q, uint32_t number, size_t len)
{
	uint8_t *data = malloc(len);
	struct inner_packet packet = {.vh = header_of(number),
				      .data = data,
				      .len = (uint32_t)len,
				      .ttl = (uint8_t)number,
				      .forwarded = number & 1};
	unsigned lost;

	assert_non_null(data);
	fill_sequence(data, len, (uint8_t)number);
	memcpy(data, &number, sizeof(number));
	lost = staged_push(q, &packet);
	memset(data, 0, len); /* the queue must have a copy */
	free(data);
	return lost;
}

static void push_all(struct staged *q, uint32_t first, uint32_t count, size_t len)
{
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(push(q, first + i, len), 0);
}

static void assert_packet(const struct staged_packet *p, uint32_t number, size_t len)
{
	struct virtio_net_hdr vh = header_of(number);
	uint8_t *want = malloc(len);

	assert_non_null(want);
	fill_sequence(want, len, (uint8_t)number);
	memcpy(want, &number, sizeof(number));
	assert_int_equal(p->packet.len, len);
	assert_int_equal(p->packet.ttl, (uint8_t)number);
	assert_int_equal(p->packet.forwarded, number & 1);
	assert_memory_equal(&p->packet.vh, &vh, sizeof(vh));
	assert_memory_equal(p->packet.data, want, len);
	free(want);
}

/* Takes all packets, which must be first, first + 1 ... and no other. */
static void assert_holds(struct staged *q, uint32_t first, uint32_t count, size_t len)
{
	struct staged_packet *p = staged_take(q), *next;
	uint32_t number = first;

	for (; p; p = next) {
		next = p->next;
		assert_packet(p, number++, len);
		staged_free(p);
	}
	assert_int_equal(number - first, count);
}

static void test_new_is_empty(void **state)
{
	struct staged *q = *state;

	assert_true(staged_empty(q));
	assert_null(staged_take(q));
	assert_int_equal(staged_clear(q), 0);
}

static void test_order_and_contents(void **state)
{
	struct staged *q = *state;

	push_all(q, 0, 10, SMALL);
	assert_false(staged_empty(q));
	assert_holds(q, 0, 10, SMALL);
	assert_true(staged_empty(q));
}

/* Taken packets are not in the queue any more, and it can be filled again. */
static void test_use_after_take(void **state)
{
	struct staged *q = *state;

	for (uint32_t round = 0; round < 3; round++) {
		push_all(q, round * 200, STAGED_MAX_PACKETS, SMALL);
		assert_holds(q, round * 200, STAGED_MAX_PACKETS, SMALL);
		assert_null(staged_take(q));
	}
}

static void test_packet_bound(void **state)
{
	struct staged *q = *state;

	push_all(q, 0, STAGED_MAX_PACKETS, SMALL);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(push(q, STAGED_MAX_PACKETS + i, SMALL), 1);
	assert_holds(q, 5, STAGED_MAX_PACKETS, SMALL);
}

/* Sixteen packets of 64 KB are exactly 1 MB; the next one displaces one. */
static void test_byte_bound(void **state)
{
	const size_t large = STAGED_MAX_BYTES / 16;
	struct staged *q = *state;

	push_all(q, 0, 16, large);
	assert_int_equal(push(q, 16, large), 1);
	assert_holds(q, 1, 16, large);
}

static void test_one_byte_too_many(void **state)
{
	const size_t half = STAGED_MAX_BYTES / 2;
	struct staged *q = *state;

	assert_int_equal(push(q, 0, half), 0);
	assert_int_equal(push(q, 1, half + 1), 1);
	assert_holds(q, 1, 1, half + 1);
}

/* A large packet displaces as many small ones as it needs. */
static void test_several_make_room(void **state)
{
	const size_t quarter = STAGED_MAX_BYTES / 4;
	struct staged *q = *state;
	struct staged_packet *p;

	push_all(q, 0, 4, quarter);
	assert_int_equal(push(q, 4, 2 * quarter + 1), 3);
	p = staged_take(q);
	assert_packet(p, 3, quarter);
	assert_packet(p->next, 4, 2 * quarter + 1);
	assert_null(p->next->next);
	staged_free(p->next);
	staged_free(p);
}

/* Packets that leave give back their bytes; otherwise the queue would shrink. */
static void test_bytes_are_given_back(void **state)
{
	const size_t large = STAGED_MAX_BYTES / 16;
	struct staged *q = *state;

	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(push(q, i, large), i < 16 ? 0 : 1);
	assert_int_equal(staged_clear(q), 16);
	push_all(q, 0, 16, large);
	assert_holds(q, 0, 16, large);
	push_all(q, 0, 16, large);
	assert_int_equal(staged_clear(q), 16);
}

/* A single packet above the bound is kept. */
static void test_larger_than_the_bound(void **state)
{
	struct staged *q = *state;

	push_all(q, 0, 2, SMALL);
	assert_int_equal(push(q, 2, STAGED_MAX_BYTES + 1), 2);
	assert_holds(q, 2, 1, STAGED_MAX_BYTES + 1);
}

static void test_clear(void **state)
{
	struct staged *q = *state;

	push_all(q, 0, 7, SMALL);
	assert_int_equal(staged_clear(q), 7);
	assert_true(staged_empty(q));
	assert_int_equal(staged_clear(q), 0);
	push_all(q, 0, 1, SMALL);
	assert_holds(q, 0, 1, SMALL);
}

#define PUSHERS 4
#define PUSHES	5000

struct pusher {
	struct staged *q;
	atomic_uint *running;
	pthread_t thread;
	uint32_t first, lost;
};

static void *push_many(void *arg)
{
	struct pusher *p = arg;

	for (uint32_t i = 0; i < PUSHES; i++)
		p->lost += push(p->q, p->first + i, SMALL);
	atomic_fetch_sub(p->running, 1);
	return NULL;
}

/* Takes all packets; those of each pusher must be in order. */
static uint32_t take_in_order(struct staged *q, uint32_t next_of[PUSHERS])
{
	uint32_t taken = 0, number;

	for (struct staged_packet *p = staged_take(q), *next; p; p = next, taken++) {
		next = p->next;
		memcpy(&number, p->data, sizeof(number));
		assert_packet(p, number, SMALL);
		assert_true(number / PUSHES < PUSHERS);
		assert_true(number >= next_of[number / PUSHES]);
		next_of[number / PUSHES] = number + 1;
		staged_free(p);
	}
	return taken;
}

/* Every packet is either taken once, or counted as lost once. */
static void test_many_threads(void **state)
{
	uint32_t next_of[PUSHERS] = {0}, taken = 0, lost = 0;
	struct pusher pushers[PUSHERS] = {0};
	atomic_uint running = PUSHERS;

	for (uint32_t i = 0; i < PUSHERS; i++) {
		pushers[i].q = *state;
		pushers[i].running = &running;
		pushers[i].first = i * PUSHES;
		assert_int_equal(
			pthread_create(&pushers[i].thread, NULL, push_many, &pushers[i]),
			0);
	}
	while (atomic_load(&running))
		taken += take_in_order(*state, next_of);
	for (uint32_t i = 0; i < PUSHERS; i++) {
		pthread_join(pushers[i].thread, NULL);
		lost += pushers[i].lost;
	}
	taken += take_in_order(*state, next_of);
	assert_int_equal(taken + lost, PUSHERS * PUSHES);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_new_is_empty),
		T(test_order_and_contents),
		T(test_use_after_take),
		T(test_packet_bound),
		T(test_byte_bound),
		T(test_one_byte_too_many),
		T(test_several_make_room),
		T(test_bytes_are_given_back),
		T(test_larger_than_the_bound),
		T(test_clear),
		T(test_many_threads),
	};

	end_after(60); /* a list that is a ring ends the test */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
