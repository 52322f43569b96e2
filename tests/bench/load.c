// SPDX-License-Identifier: MIT
/*
 * Sends UDP datagrams as fast as possible or at a rate, and counts them at the other end.
 *
 *   load count PORT                       until a second passes without a datagram
 *   load send ADDRESS PORT SIZE SECONDS [RATE]
 *
 * Theory of operation: each datagram begins with its number, by which the receiver counts
 * those that came late. Both use batches, because they share the machine with what is
 * measured. The receiver's rate is over the time from its first to its last datagram.
 * Prints name=value lines.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH	   64
#define MAX_SIZE   1500
#define NS	   1000000000ULL
#define SILENCE_MS 1000

struct batch {
	uint8_t data[BATCH][MAX_SIZE];
	struct iovec iov[BATCH];
	struct mmsghdr messages[BATCH];
};

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

static struct batch *batch_new(size_t size)
{
	struct batch *b = calloc(1, sizeof(*b));

	if (!b)
		die("memory");
	for (unsigned i = 0; i < BATCH; i++) {
		b->iov[i] = (struct iovec){.iov_base = b->data[i], .iov_len = size};
		b->messages[i].msg_hdr =
			(struct msghdr){.msg_iov = &b->iov[i], .msg_iovlen = 1};
	}
	return b;
}

/* --- counting --- */

struct tally {
	uint64_t packets, bytes, reordered, next;
	uint64_t first, last; /* ns */
};

static void add(struct tally *t, const struct batch *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t number;

		memcpy(&number, b->data[i], sizeof(number));
		if (number < t->next)
			t->reordered++;
		else
			t->next = number + 1;
		t->bytes += b->messages[i].msg_len;
	}
	t->last = now();
	if (!t->packets)
		t->first = t->last;
	t->packets += n;
}

static int listen_on(const char *port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6,
				   .sin6_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET6, SOCK_DGRAM, 0), size = 8 << 20;

	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)))
		die("bind");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return fd;
}

static int count(const char *port)
{
	struct pollfd p = {.fd = listen_on(port), .events = POLLIN};
	struct batch *b = batch_new(MAX_SIZE);
	struct tally t = {0};

	while (poll(&p, 1, t.packets ? SILENCE_MS : 60000) > 0) {
		int n = recvmmsg(p.fd, b->messages, BATCH, MSG_DONTWAIT, NULL);

		if (n > 0)
			add(&t, b, (unsigned)n);
	}
	printf("packets=%" PRIu64 "\nbytes=%" PRIu64 "\nreordered=%" PRIu64 "\n",
	       t.packets, t.bytes, t.reordered);
	printf("pps=%.0f\n", t.last > t.first
				     ? (double)t.packets * NS / (double)(t.last - t.first)
				     : 0);
	return 0;
}

/* --- sending --- */

static int connect_to(const char *address, const char *port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6,
				 .sin6_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	char mapped[64];

	snprintf(mapped, sizeof(mapped), "%s%s",
		 strchr(address, ':') ? "" : "::ffff:", address);
	if (fd < 0 || inet_pton(AF_INET6, mapped, &a.sin6_addr) != 1 ||
	    connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die(address);
	return fd;
}

static void sleep_until(uint64_t when)
{
	struct timespec t = {.tv_sec = (time_t)(when / NS), .tv_nsec = (long)(when % NS)};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* Returns how many datagrams to send at once: at a given rate at most those of 1 ms. */
static unsigned batch_size(uint64_t rate)
{
	uint64_t n = rate / 1000;

	return !rate || n > BATCH ? BATCH : n ? (unsigned)n : 1;
}

static int send_all(const char *address, const char *port, size_t size, double seconds,
		    uint64_t rate)
{
	int fd = connect_to(address, port);
	unsigned most = batch_size(rate);
	struct batch *b = batch_new(size);
	uint64_t began = now(), end = began + (uint64_t)(seconds * NS);
	uint64_t number = 0, refused = 0;

	while (now() < end) {
		int n;

		for (unsigned i = 0; i < most; i++) {
			uint64_t mine = number + i;

			memcpy(b->data[i], &mine, sizeof(mine));
		}
		n = sendmmsg(fd, b->messages, most, 0);
		if (n < 0)
			refused++;
		else
			number += (unsigned)n;
		if (rate)
			sleep_until(began + number * NS / rate);
	}
	printf("sent=%" PRIu64 "\nrefused=%" PRIu64 "\n", number, refused);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "count"))
		return count(argv[2]);
	if ((argc == 6 || argc == 7) && !strcmp(argv[1], "send")) {
		size_t size = strtoul(argv[4], NULL, 10);

		if (size >= sizeof(uint64_t) && size <= MAX_SIZE)
			return send_all(argv[2], argv[3], size, atof(argv[5]),
					argc == 7 ? strtoull(argv[6], NULL, 10) : 0);
	}
	fputs("usage: load count PORT\n"
	      "       load send ADDRESS PORT SIZE SECONDS [RATE]   (size: 8 to 1500)\n",
	      stderr);
	return 2;
}
