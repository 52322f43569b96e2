// SPDX-License-Identifier: MIT
/*
 * Packets through a queue of a TAP: all of them, unchanged and in order; several per
 * system call if the kernel can, otherwise one by one.
 */
#include "testutil.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tap.h"
#include "tap_queue.h"
#include "thread.h"

#define ETHERTYPE 0x88b5 /* for experiments: not used by others */

static int tap_fd, wire_fd;
static struct tap_reader reader;
static struct tap_writer writer;

/* Opens a packet socket: the TAP's reader gets its frames, and it gets the writer's. */
static int wire_open(void)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETHERTYPE),
		.sll_ifindex = (int)if_nametoindex("wg0"),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETHERTYPE));

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void queues_begin(void)
{
	memset(&reader, 0, sizeof(reader));
	memset(&writer, 0, sizeof(writer));
	assert_int_equal(tap_reader_init(&reader, tap_fd), 0);
	tap_writer_init(&writer, tap_fd);
}

static int set_up(void **state)
{
	char why[256];
	struct tap tap;

	if (getuid())
		return 0;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	shell("! [ -e /proc/sys/net/ipv6 ] || echo 1 "
	      ">/proc/sys/net/ipv6/conf/default/disable_ipv6");
	tap_fd = tap_create("wg0", &tap, why, sizeof(why));
	if (tap_fd < 0)
		fail_msg("%s", why);
	shell("ip link set wg0 mtu 65000 up");
	wire_fd = wire_open();
	queues_begin();
	return 0;
}

/* Allows no more descriptors, so that the ring cannot be made. */
static int set_up_without_ring(void **state)
{
	struct rlimit before, none = {0};

	if (getuid())
		return 0;
	set_up(state);
	tap_reader_destroy(&reader);
	tap_writer_destroy(&writer);
	getrlimit(RLIMIT_NOFILE, &before);
	none.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_NOFILE, &none);
	queues_begin();
	setrlimit(RLIMIT_NOFILE, &before);
	assert_false(reader.ring.works);
	assert_false(writer.ring.works);
	return 0;
}

static int tear_down(void **state)
{
	if (getuid())
		return 0;
	tap_reader_destroy(&reader);
	tap_writer_destroy(&writer);
	close(wire_fd);
	close(tap_fd);
	return 0;
}

/* Makes the whole frame depend on its number. */
static void fill(uint8_t *frame, size_t len, unsigned n)
{
	struct ethhdr *eth = (struct ethhdr *)frame;

	memset(frame, (int)n, len);
	memset(eth->h_dest, 0xff, sizeof(eth->h_dest));
	eth->h_source[0] = 2;
	eth->h_proto = htons(ETHERTYPE);
}

static void send_to_reader(unsigned n, size_t len)
{
	uint8_t frame[65536];

	fill(frame, len, n);
	assert_int_equal(send(wire_fd, frame, len, 0), len);
}

static void check_packet(const struct tap_packet *p, unsigned n, size_t len)
{
	uint8_t frame[65536];

	fill(frame, len, n);
	assert_int_equal(p->len, sizeof(struct virtio_net_hdr) + len);
	assert_memory_equal(p->data + sizeof(struct virtio_net_hdr), frame, len);
}

static size_t len_of(unsigned n)
{
	return 60 + n % 7 * 200;
}

/* Reads all; returns the greatest number that one call returned. */
static unsigned read_numbered(unsigned count)
{
	unsigned seen = 0, most = 0, n;

	while ((n = tap_reader_read(&reader, TAP_BATCH))) {
		for (unsigned i = 0; i < n; i++, seen++)
			check_packet(&reader.packets[i], seen, len_of(seen));
		if (most < n)
			most = n;
	}
	assert_int_equal(seen, count);
	return most;
}

static unsigned send_and_read(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		send_to_reader(i, len_of(i));
	return read_numbered(count);
}

static void reads_many_in_order(void **state)
{
	needs_root();
	send_and_read(200);
	send_and_read(3);
	send_and_read(200);
}

/* Returns true if TAP devices take requests that do not wait. */
static bool kernel_has_it(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	uname(&u);
	sscanf(u.release, "%d.%d", &major, &minor);
	return major > 6 || (major == 6 && minor >= 4);
}

static bool has_io_uring(void)
{
	struct io_uring ring;

	if (io_uring_queue_init(1, &ring, 0))
		return false;
	io_uring_queue_exit(&ring);
	return true;
}

static void needs_ring(void)
{
	needs_root();
	if (!kernel_has_it() || !has_io_uring()) {
		print_message("needs Linux 6.4 and io_uring\n");
		skip();
	}
	assert_true(reader.ring.works);
	assert_true(writer.ring.works);
}

static void reads_several_by_one_call(void **state)
{
	needs_ring();
	assert_int_equal(send_and_read(200), TAP_BATCH);
}

static void reads_one_by_one(void **state)
{
	needs_root();
	assert_int_equal(send_and_read(200), 1);
}

static void reads_no_more_than_asked(void **state)
{
	unsigned seen = 0, n;

	needs_root();
	send_and_read(100);
	for (unsigned i = 0; i < 20; i++)
		send_to_reader(i, 60);
	while ((n = tap_reader_read(&reader, 5))) {
		assert_in_range(n, 1, 5);
		seen += n;
	}
	assert_int_equal(seen, 20);
}

static void reads_nothing(void **state)
{
	needs_root();
	assert_int_equal(tap_reader_read(&reader, TAP_BATCH), 0);
	assert_false(reader.gone);
}

/* So that they use the same buffer, which is in the CPU's cache. */
static void reads_large_ones_one_by_one(void **state)
{
	needs_root();
	send_and_read(200);
	send_to_reader(0, 60000);
	assert_int_equal(tap_reader_read(&reader, TAP_BATCH), 1);
	check_packet(&reader.packets[0], 0, 60000);
	for (unsigned i = 0; i < 10; i++)
		send_to_reader(i, 60000);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(tap_reader_read(&reader, TAP_BATCH), 1);
		check_packet(&reader.packets[0], i, 60000);
		assert_ptr_equal(reader.packets[0].data, reader.area);
	}
}

static void says_that_the_device_is_gone(void **state)
{
	needs_root();
	send_and_read(100);
	shell("ip link del wg0");
	assert_int_equal(tap_reader_read(&reader, TAP_BATCH), 0);
	assert_true(reader.gone);
}

/* Writes the frame with its payload in `pieces` of an iovec after the header. */
static void write_numbered(unsigned n, uint8_t *memory, size_t len, int pieces)
{
	struct tap_header header = {0};
	struct iovec iov[1 + 8];
	size_t payload = len - ETH_HLEN, each = payload / (size_t)pieces;

	fill(memory, len, n);
	memcpy(&header.eth, memory, ETH_HLEN);
	for (int i = 0; i < pieces; i++)
		iov[1 + i] = (struct iovec){memory + ETH_HLEN + (size_t)i * each,
					    i == pieces - 1 ? payload - (size_t)i * each
							    : each};
	tap_writer_add(&writer, &header, iov, 1 + pieces, (unsigned)pieces);
}

static void hear(unsigned n, size_t len)
{
	struct pollfd ready = {.fd = wire_fd, .events = POLLIN};
	uint8_t got[65536], frame[65536];

	assert_int_equal(poll(&ready, 1, 2000), 1);
	assert_int_equal(recv(wire_fd, got, sizeof(got), 0), len);
	fill(frame, len, n);
	assert_memory_equal(got, frame, len);
}

/* Writes frames and receives them; number `many` of each ten has many pieces. */
static void write_and_hear(unsigned many)
{
	static uint8_t memory[100][2048];

	for (unsigned i = 0; i < 100; i++)
		write_numbered(i, memory[i], len_of(i), i % 10 == many ? 5 : 1);
	tap_writer_flush(&writer);
	for (unsigned i = 0; i < 100; i++)
		hear(i, len_of(i));
	assert_int_equal(writer.writes, 100);
	assert_int_equal(writer.lost, 0);
}

static void writes_in_order(void **state)
{
	needs_root();
	write_and_hear(6);
}

static void writes_several_by_one_call(void **state)
{
	needs_ring();
	write_and_hear(10);
	assert_int_equal(writer.calls, (100 + TAP_BATCH - 1) / TAP_BATCH);
}

/* Replaces the ring's descriptor, as if the kernel did not accept requests any more. */
static void break_ring(struct tap_ring *ring)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_true(null >= 0);
	assert_int_equal(dup2(null, ring->uring.ring_fd), ring->uring.ring_fd);
	close(null);
}

static void a_ring_that_breaks_loses_nothing(void **state)
{
	needs_ring();
	send_and_read(100);
	break_ring(&reader.ring);
	break_ring(&writer.ring);
	send_and_read(100);
	write_and_hear(6);
	assert_false(reader.ring.works);
	assert_false(writer.ring.works);
}

static void writes_two(void **state)
{
	uint8_t memory[2][100];

	needs_root();
	write_numbered(0, memory[0], 60, 1);
	write_numbered(1, memory[1], 100, 1);
	tap_writer_flush(&writer);
	tap_writer_flush(&writer);
	hear(0, 60);
	hear(1, 100);
	assert_int_equal(writer.writes, 2);
}

static void counts_what_is_lost(void **state)
{
	static uint8_t memory[50][64];

	needs_root();
	shell("ip link set wg0 down");
	for (unsigned i = 0; i < 50; i++)
		write_numbered(i, memory[i], 60, i < 40 ? 1 : 5);
	tap_writer_flush(&writer);
	assert_int_equal(writer.writes, 0);
	assert_int_equal(writer.lost, 40 + 10 * 5);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define WITHOUT(test)                                                                \
	{                                                                            \
		"without a ring: " #test, test, set_up_without_ring, tear_down, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(reads_many_in_order),
		WITH(reads_several_by_one_call),
		WITH(writes_several_by_one_call),
		WITH(a_ring_that_breaks_loses_nothing),
		WITH(reads_no_more_than_asked),
		WITH(reads_nothing),
		WITH(reads_large_ones_one_by_one),
		WITH(says_that_the_device_is_gone),
		WITH(writes_in_order),
		WITH(writes_two),
		WITH(counts_what_is_lost),
		WITHOUT(reads_many_in_order),
		WITHOUT(reads_one_by_one),
		WITHOUT(reads_nothing),
		WITHOUT(says_that_the_device_is_gone),
		WITHOUT(writes_in_order),
		WITHOUT(counts_what_is_lost),
	};

	thread_become(THREAD_WORKER);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
