// SPDX-License-Identifier: MIT
/*
 * CPU time in ns per packet of each stage of the data path, alone and with all data in
 * the CPU's caches. micro_bpf.c measures the stages in the kernel.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>
#include <urcu-qsbr.h>

#include "../unit/packet.h"
#include "engines.h"
#include "gro.h"
#include "gso.h"
#include "measure.h"
#include "pick.h"
#include "replay.h"
#include "rtnl.h"
#include "keypair.h"
#include "tap.h"
#include "tap_queue.h"
#include "thread.h"
#include "wakeup.h"

#define BATCH	 32
#define SEGMENT	 1368
#define SEGMENTS 44
#define ROOM	 2048

/* --- AEAD --- */

struct aead_bench {
	struct aead aead;
	struct aead_op seal[BATCH], open[BATCH];
	uint8_t sealed[BATCH][ROOM], opened[BATCH][ROOM];
	uint8_t key[WG_KEY_LEN];
};

static void seal(void *ctx)
{
	struct aead_bench *b = ctx;

	aead_seal(&b->aead, b->seal, BATCH);
}

/* Decrypts to another buffer, so that the next call finds the same ciphertext. */
static void open_(void *ctx)
{
	struct aead_bench *b = ctx;

	aead_open(&b->aead, b->open, BATCH);
}

static void bench_engine(struct aead_bench *b, uint32_t len)
{
	const char *engine = b->aead.engine->name;
	char name[64];

	for (unsigned i = 0; i < BATCH; i++) {
		b->seal[i] = (struct aead_op){.key = b->key,
					      .counter = i,
					      .src = b->sealed[i],
					      .dst = b->sealed[i],
					      .len = len};
		b->open[i] = b->seal[i];
		b->open[i].dst = b->opened[i];
	}
	snprintf(name, sizeof(name), "seal_%s_%u", engine, len);
	measure(name, seal, b, BATCH);
	snprintf(name, sizeof(name), "open_%s_%u", engine, len);
	measure(name, open_, b, BATCH);
	if (!b->open[0].ok || !b->open[BATCH - 1].ok)
		abort();
}

static void bench_lens(const struct aead_engine *engine)
{
	static const uint32_t lens[] = {64, 256, 512, 1024, 1420};
	static struct aead_bench b;

	if (!engine->usable() || aead_begin(&b.aead, engine))
		return;
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
		bench_engine(&b, lens[i]);
	aead_end(&b.aead);
}

static void bench_aead(void)
{
	for (const struct aead_engine *const *e = aead_engines; *e; e++)
		bench_lens(*e);
#ifdef HAVE_IPSEC_MB
	bench_lens(&aead_ipsec_mb_avx2);
#endif
}

/* --- segmentation and coalescing --- */

struct packets_bench {
	struct virtio_net_hdr vh;
	uint8_t whole[65536];
	uint32_t whole_len;
	uint8_t pieces[SEGMENTS][ROOM];
	uint32_t lens[SEGMENTS];
	struct gro gro;
	unsigned emitted;
};

static void segment(void *ctx)
{
	struct packets_bench *b = ctx;
	struct gso gso;
	int n = gso_begin(&gso, &b->vh, b->whole, b->whole_len, GRO_LINK_LEN);

	for (int i = 0; i < n; i++)
		gso_next(&gso, b->pieces[i]);
}

static void emit(void *ctx, uint32_t slot, const struct virtio_net_hdr *vh,
		 struct iovec *iov, int iovcnt, unsigned packets, uint32_t wire)
{
	struct packets_bench *b = ctx;

	b->emitted++;
}

/* Restores the first packet's headers afterwards, because coalescing writes into them. */
static void coalesce(void *ctx)
{
	struct packets_bench *b = ctx;
	uint8_t head[60];

	memcpy(head, b->pieces[0], sizeof(head));
	for (unsigned i = 0; i < SEGMENTS; i++)
		gro_receive(&b->gro, 0, b->pieces[i], b->lens[i], b->lens[i] + 32);
	gro_flush(&b->gro);
	memcpy(b->pieces[0], head, sizeof(head));
}

static void build_packets(struct packets_bench *b, bool udp)
{
	static uint8_t payload[SEGMENT * SEGMENTS];
	struct spec whole = {.udp = udp,
			     .df = true,
			     .partial = true,
			     .tcp_options = udp ? 0 : 12,
			     .port = 80,
			     .seq = 1,
			     .flags = 0x10};
	struct gso gso;

	memset(b, 0, sizeof(*b));
	gro_init(&b->gro, emit, b);
	b->gro.udp_gso = true;
	b->whole_len = (uint32_t)build(b->whole, &whole, payload, sizeof(payload));
	b->vh = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = udp ? VIRTIO_NET_HDR_GSO_UDP_L4 : VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = SEGMENT,
		.csum_start = GRO_LINK_LEN + 20,
		.csum_offset = udp ? 6 : 16,
	};
	if (gso_begin(&gso, &b->vh, b->whole, b->whole_len, GRO_LINK_LEN) != SEGMENTS)
		abort();
	for (unsigned i = 0; i < SEGMENTS; i++)
		b->lens[i] = (uint32_t)gso_segment_len(&gso, i);
}

static void bench_packets(const char *of, bool udp)
{
	static struct packets_bench b;
	char name[64];

	build_packets(&b, udp);
	snprintf(name, sizeof(name), "segment_%s", of);
	measure(name, segment, &b, SEGMENTS);
	b.emitted = 0;
	coalesce(&b);
	if (b.emitted != 1)
		abort();
	snprintf(name, sizeof(name), "coalesce_%s", of);
	measure(name, coalesce, &b, SEGMENTS);
}

/* --- sessions and the replay window --- */

struct session_bench {
	struct keypairs sessions;
	struct keypair **keypairs;
	unsigned count, next;
	struct replay replay;
	uint64_t counter;
	uintptr_t sink;
};

static void look_up(void *ctx)
{
	struct session_bench *b = ctx;

	for (unsigned i = 0; i < BATCH; i++) {
		/* A large odd step, so that the next one is far away in memory. */
		b->next = (b->next + 7919) % b->count;
		b->sink += (uintptr_t)keypairs_find(&b->sessions,
						    b->keypairs[b->next]->local_index);
	}
}

static void check_replay(void *ctx)
{
	struct session_bench *b = ctx;

	for (unsigned i = 0; i < BATCH; i++)
		b->sink += replay_check_and_update(&b->replay, b->counter++);
}

static void bench_sessions(unsigned count)
{
	static struct session_bench b;
	char name[64];

	memset(&b, 0, sizeof(b));
	b.count = count;
	b.keypairs = calloc(count, sizeof(struct keypair *));
	if (keypairs_init(&b.sessions) || !b.keypairs)
		abort();
	for (unsigned i = 0; i < count; i++)
		b.keypairs[i] = keypair_new(&b.sessions, (struct peer *)&b);
	snprintf(name, sizeof(name), "session_look_up_%u", count);
	measure(name, look_up, &b, BATCH);
	if (count == 1)
		measure("replay_check", check_replay, &b, BATCH);
	for (unsigned i = 0; i < count; i++)
		keypair_drop(&b.sessions, b.keypairs[i]);
	urcu_qsbr_barrier();
	keypairs_destroy(&b.sessions);
	free(b.keypairs);
}

/* --- a worker's look for work, with and without one for changes of routes --- */

struct poll_bench {
	struct pollfd fds[5];
	unsigned count;
};

static void look(void *ctx)
{
	struct poll_bench *b = ctx;

	if (poll(b->fds, b->count, 0))
		abort();
}

static void bench_look(void)
{
	struct poll_bench b = {.count = 4};
	struct rtnl rtnl;

	if (rtnl_open(&rtnl))
		abort();
	for (unsigned i = 0; i < 4; i++)
		b.fds[i] = (struct pollfd){.fd = i ? socket(AF_INET, SOCK_DGRAM, 0)
						   : wakeup_open(),
					   .events = POLLIN};
	b.fds[4] = (struct pollfd){.fd = rtnl_event_fd(&rtnl, RTNL_ROUTING),
				   .events = POLLIN};
	measure("look_for_work", look, &b, 1);
	b.count = 5;
	measure("look_for_work_and_news", look, &b, 1);
	for (unsigned i = 0; i < 4; i++)
		close(b.fds[i].fd);
	rtnl_close(&rtnl);
}

/* --- a TAP's queue --- */

struct tap_bench {
	int fd, wire; /* the TAP; a packet socket whose frames are read from it */
	struct tap_reader reader;
	struct tap_writer writer;
	struct mmsghdr messages[TAP_BATCH];
	struct iovec iov;
	uint8_t frame[ETH_HLEN + 92];
};

static int wire_open(const struct tap *tap)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_ifindex = (int)tap->ifindex,
	};
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		abort();
	return fd;
}

/* Without IPv6, so that the kernel sends no frames of its own by it. */
static bool tap_made(struct tap_bench *b, struct tap *tap)
{
	char why[256];

	b->fd = tap_create("wg0", tap, why, sizeof(why));
	if (b->fd < 0) {
		fprintf(stderr, "micro: no figures of a TAP: %s\n", why);
		return false;
	}
	return !system("sysctl -qw net.ipv6.conf.wg0.disable_ipv6=1; ip link set wg0 up");
}

static void tap_begin(struct tap_bench *b, const struct tap *tap)
{
	b->wire = wire_open(tap);
	if (tap_reader_init(&b->reader, b->fd))
		abort();
	tap_writer_init(&b->writer, b->fd);
	((struct ethhdr *)b->frame)->h_proto = htons(ETH_P_802_EX1);
	b->iov = (struct iovec){b->frame, sizeof(b->frame)};
	for (unsigned i = 0; i < TAP_BATCH; i++)
		b->messages[i].msg_hdr =
			(struct msghdr){.msg_iov = &b->iov, .msg_iovlen = 1};
}

/* Returns the CPU time that reading TAP_BATCH frames takes, without sending them. */
static double tap_read_all(struct tap_bench *b)
{
	uint64_t began;
	unsigned n = 0, some;

	if (sendmmsg(b->wire, b->messages, TAP_BATCH, 0) != TAP_BATCH)
		abort();
	thread_become(THREAD_WORKER);
	began = measure_cpu_ns();
	while (n < TAP_BATCH && (some = tap_reader_read(&b->reader, TAP_BATCH - n)))
		n += some;
	if (n != TAP_BATCH)
		abort();
	thread_become(THREAD_CONTROL);
	return (double)(measure_cpu_ns() - began);
}

static void measure_tap_read(const char *name, struct tap_bench *b)
{
	double best = 1e18, sum;

	for (unsigned round = 0; round < MEASURE_ROUNDS; round++) {
		sum = 0;
		for (unsigned i = 0; i < 100; i++)
			sum += tap_read_all(b);
		if (sum < best)
			best = sum;
	}
	printf("%s %.1f\n", name, best / 100 / TAP_BATCH);
}

static void tap_write_all(void *ctx)
{
	struct tap_bench *b = ctx;
	struct tap_header header = {.eth.h_proto = htons(ETH_P_802_EX1)};

	for (unsigned i = 0; i < TAP_BATCH; i++) {
		struct iovec iov[2] = {{0}, {b->frame + ETH_HLEN, 92}};

		tap_writer_add(&b->writer, &header, iov, 2, 1);
	}
	tap_writer_flush(&b->writer);
}

/* Must be the last benchmark, because it moves the process to a new network namespace. */
static void bench_tap(void)
{
	static struct tap_bench b;
	struct tap tap;

	if (unshare(CLONE_NEWNET)) {
		fprintf(stderr, "micro: no figures of a TAP without root\n");
		return;
	}
	if (!tap_made(&b, &tap))
		return;
	bench_look();
	tap_begin(&b, &tap);
	if (b.reader.ring.works) {
		measure_tap_read("tap_read_batch", &b);
		measure("tap_write_batch", tap_write_all, &b, TAP_BATCH);
	}
	b.reader.ring.works = b.writer.ring.works = false;
	measure_tap_read("tap_read_one_by_one", &b);
	measure("tap_write_one_by_one", tap_write_all, &b, TAP_BATCH);
	tap_reader_destroy(&b.reader);
	close(b.wire);
	close(b.fd);
}

int main(void)
{
	if (sodium_init() < 0)
		return 1;
	urcu_qsbr_register_thread();
	bench_aead();
	bench_packets("tcp", false);
	bench_packets("udp", true);
	bench_sessions(1);
	bench_sessions(100000);
	bench_tap();
	urcu_qsbr_unregister_thread();
	return 0;
}
