// SPDX-License-Identifier: MIT
/*
 * bad_link IFNAME IFNAME SEED LENGTH: a link that damages what it carries.
 *
 * Passes all frames between two network devices. It damages UDP over IPv4, by pseudo-random numbers
 * from SEED: it loses, corrupts, truncates, duplicates, delays and thereby reorders frames. Half of
 * the corrupted and truncated frames get right lengths and checksums, so that only WireGuard can
 * notice the damage. It counts what it did, per direction, and separately for marked frames: those
 * with a UDP payload of LENGTH bytes and ECT(0) in the outer packet. A frame is destroyed if no
 * intact copy of it is passed on. SIGUSR1 prints the counts as a line of JSON, SIGTERM ends it.
 *
 * A frame that the receiving device does not take, because its link is down, counts as refused.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Of 10,000 frames. */
#define LOST	   100
#define CORRUPTED  50
#define TRUNCATED  50
#define DUPLICATED 100
#define DELAYED	   200
#define DELAY_MS   30 /* at most */

#define FRAME_MAX 2048
#define WAITING	  4096
#define HEADERS	  (14 + 20 + 8)
#define ECT0	  2

struct counts {
	uint64_t frames, lost, corrupted, truncated, duplicated, delayed, refused;
	uint64_t marked, marked_destroyed;
};

struct end {
	int fd;
	struct counts counts; /* of frames that come in here */
};

struct waiting {
	uint64_t due; /* ms; 0: free */
	unsigned to;
	size_t len;
	uint8_t frame[FRAME_MAX];
};

static struct end ends[2];
static struct waiting waiting[WAITING];
static uint64_t seed;
static size_t marked_length;

static void fail(const char *what)
{
	fprintf(stderr, "bad_link: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* xorshift64; returns a number below n. */
static uint64_t draw(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int open_end(const char *name)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1, size = 16 << 20;
	struct sockaddr_ll addr = {.sll_family = AF_PACKET,
				   .sll_protocol = htons(ETH_P_ALL),
				   .sll_ifindex = (int)if_nametoindex(name)};

	if (fd < 0 || !addr.sll_ifindex ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		fail(name);
	return fd;
}

static bool is_udp(const uint8_t *frame, size_t len)
{
	return len > HEADERS && frame[12] == 8 && frame[13] == 0 && frame[14] == 0x45 &&
	       frame[23] == IPPROTO_UDP;
}

static bool is_marked(const uint8_t *frame)
{
	return (frame[15] & 3) == ECT0 &&
	       (size_t)(frame[38] << 8 | frame[39]) == 8 + marked_length;
}

static void put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* Makes lengths and checksums right again, by leaving out the UDP checksum. */
static void repair(uint8_t *frame, size_t len)
{
	uint32_t sum = 0;

	put16(frame + 16, len - 14);
	put16(frame + 38, len - 34);
	put16(frame + 40, 0);
	put16(frame + 24, 0);
	for (int i = 14; i < 34; i += 2)
		sum += (uint32_t)(frame[i] << 8 | frame[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(frame + 24, ~(sum + (sum >> 16)) & 0xffff);
}

static void pass(unsigned from, const uint8_t *frame, size_t len)
{
	if (send(ends[!from].fd, frame, len, 0) < 0)
		ends[from].counts.refused++;
}

static void pass_later(unsigned from, const uint8_t *frame, size_t len)
{
	for (unsigned i = 0; i < WAITING; i++) {
		struct waiting *w = &waiting[i];

		if (w->due)
			continue;
		w->due = now_ms() + 1 + draw(DELAY_MS);
		w->to = !from;
		w->len = len;
		memcpy(w->frame, frame, len);
		return;
	}
	pass(from, frame, len);
}

static void pass_due(void)
{
	uint64_t now = now_ms();

	for (unsigned i = 0; i < WAITING; i++) {
		struct waiting *w = &waiting[i];

		if (!w->due || w->due > now)
			continue;
		w->due = 0;
		pass(!w->to, w->frame, w->len);
	}
}

/* Corrupts or truncates the frame, or neither. Returns true if it did. */
static bool damage(struct counts *c, uint8_t *frame, size_t *len)
{
	uint64_t luck = draw(10000);

	if (luck < CORRUPTED) {
		frame[HEADERS + draw(*len - HEADERS)] ^= (uint8_t)(1 << draw(8));
		c->corrupted++;
	} else if (luck < CORRUPTED + TRUNCATED) {
		*len = HEADERS + draw(*len - HEADERS);
		c->truncated++;
	} else {
		return false;
	}
	if (draw(2))
		repair(frame, *len);
	return true;
}

/* Decides what happens to a UDP packet, and does it. */
static void mistreat(unsigned from, uint8_t *frame, size_t len)
{
	struct counts *c = &ends[from].counts;
	bool marked = is_marked(frame), destroyed = false;

	c->frames++;
	c->marked += marked;
	if (draw(10000) < LOST) {
		c->lost++;
		c->marked_destroyed += marked;
		return;
	}
	destroyed = damage(c, frame, &len);
	c->marked_destroyed += marked && destroyed;
	if (draw(10000) < DUPLICATED) {
		c->duplicated++;
		pass_later(from, frame, len);
	}
	if (draw(10000) < DELAYED) {
		c->delayed++;
		pass_later(from, frame, len);
	} else {
		pass(from, frame, len);
	}
}

static void receive(unsigned from)
{
	uint8_t frame[FRAME_MAX];
	ssize_t len;

	while ((len = recv(ends[from].fd, frame, sizeof(frame),
			   MSG_DONTWAIT | MSG_TRUNC)) > 0) {
		if ((size_t)len > sizeof(frame)) {
			fprintf(stderr, "bad_link: a frame of %zd bytes\n", len);
			exit(1);
		}
		if (is_udp(frame, (size_t)len))
			mistreat(from, frame, (size_t)len);
		else
			pass(from, frame, (size_t)len);
	}
}

/* Returns how many frames the socket had no room for since the last call. */
static unsigned overrun(int fd)
{
	struct tpacket_stats stats = {0};
	socklen_t len = sizeof(stats);

	getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len);
	return stats.tp_drops;
}

static void print_counts(void)
{
	printf("[");
	for (unsigned i = 0; i < 2; i++) {
		const struct counts *c = &ends[i].counts;

		printf("%s{\"frames\": %llu, \"lost\": %llu, \"corrupted\": %llu, "
		       "\"truncated\": %llu, \"duplicated\": %llu, \"delayed\": %llu, "
		       "\"refused\": %llu, \"overrun\": %u, \"marked\": %llu, "
		       "\"destroyed\": %llu}",
		       i ? ", " : "", (unsigned long long)c->frames,
		       (unsigned long long)c->lost, (unsigned long long)c->corrupted,
		       (unsigned long long)c->truncated,
		       (unsigned long long)c->duplicated, (unsigned long long)c->delayed,
		       (unsigned long long)c->refused, overrun(ends[i].fd),
		       (unsigned long long)c->marked,
		       (unsigned long long)c->marked_destroyed);
	}
	printf("]\n");
	fflush(stdout);
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	struct signalfd_siginfo info = {0};
	struct pollfd fds[3];

	if (argc != 5) {
		fprintf(stderr, "usage: bad_link IFNAME IFNAME SEED LENGTH\n");
		return 2;
	}
	for (unsigned i = 0; i < 2; i++) {
		ends[i].fd = open_end(argv[1 + i]);
		fds[i] = (struct pollfd){.fd = ends[i].fd, .events = POLLIN};
	}
	seed = strtoull(argv[3], NULL, 10) * 2 + 1;
	marked_length = strtoul(argv[4], NULL, 10);
	fds[2] = (struct pollfd){.fd = open_signals(), .events = POLLIN};
	print_counts();
	while (info.ssi_signo != SIGTERM) {
		if (poll(fds, 3, 1) < 0)
			fail("poll");
		receive(0);
		receive(1);
		pass_due();
		if (fds[2].revents & POLLIN &&
		    read(fds[2].fd, &info, sizeof(info)) == sizeof(info))
			print_counts();
	}
	return 0;
}
