// SPDX-License-Identifier: MIT
/*
 * A WireGuard client that only sends initiations: for tests of a responder that gets
 * many initiations, replayed or forged ones, or ones with a cookie.
 *
 * Theory of operation: all initiations are made before the first is sent, because making
 * one costs more than sending a hundred. They differ only in their timestamps, which
 * rise, and their sender indices, which identify the answers. Each is sent by one of
 * several sockets, because a cookie is for one address and port.
 *
 * Prints name=value lines. Exits with 0 if it could send; the answers do not matter.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "clock.h"
#include "cookie.h"
#include "noise.h"
#include "wg_proto.h"

#define MAX_SOCKETS 64
#define MAX_COUNT   1000000
#define BATCH	    64
/* No more answers are expected after so long without one. */
#define QUIET_MS 300
/* Responders refuse a second initiation of a peer within 20 ms. */
#define INTERVAL_MS 50
/* How long to wait for an answer, and how often to try. */
#define ANSWER_MS 200
#define ATTEMPTS  5

enum answer { ANSWER_NONE, ANSWER_RESPONSE, ANSWER_COOKIE, ANSWER_OTHER, ANSWERS };

static const char *const answer_names[ANSWERS] = {"none", "response", "cookie", "other"};

/* An initiation, and what is needed to read its answer. */
struct shot {
	struct wg_initiation message;
	struct noise_handshake handshake;
};

struct options {
	const char *server, *port, *public_key, *key_file, *from, *from_port, *mode;
	unsigned sockets, count, seconds, burst, interval_ms;
	bool bad_mac, cookie_replies;
};

struct client {
	struct noise_identity identity;
	struct noise_remote server;
	struct cookie_maker plain; /* never takes a cookie */
	int fds[MAX_SOCKETS];
	unsigned sockets;
	struct shot *shots;
	unsigned count; /* of shots made; the next sender index */
	size_t length;	/* of each message that a flood sends */
	struct timespec began;

	uint64_t sent, refused;
	uint64_t answers[ANSWERS];
	uint32_t answered;	       /* the sender index that the latest answer named */
	struct wg_cookie_reply cookie; /* the first one */
	unsigned cookie_socket;
};

static void die(const char *what)
{
	fprintf(stderr, "flood: %s\n", what);
	exit(1);
}

static void die_errno(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- keys --- */

static bool parse_key(const char *text, uint8_t key[WG_KEY_LEN])
{
	size_t len;

	return !sodium_base642bin(key, WG_KEY_LEN, text, strlen(text), "\n", &len, NULL,
				  sodium_base64_VARIANT_ORIGINAL) &&
	       len == WG_KEY_LEN;
}

static void read_identity(struct client *c, const char *path)
{
	uint8_t key[WG_KEY_LEN];
	FILE *f = fopen(path, "re");
	char text[64];

	if (!f || !fgets(text, sizeof(text), f))
		die_errno(path);
	fclose(f);
	if (!parse_key(text, key) || noise_identity_set(&c->identity, key))
		die("no key in that file");
	sodium_memzero(key, sizeof(key));
	sodium_memzero(text, sizeof(text));
}

static void read_keys(struct client *c, const struct options *o)
{
	uint8_t key[WG_KEY_LEN];

	read_identity(c, o->key_file);
	if (!parse_key(o->public_key, key))
		die("the server's public key is none");
	noise_remote_init(&c->server, key);
	if (noise_remote_precompute(&c->server, &c->identity))
		die("the server's public key does not do");
	cookie_maker_init(&c->plain, key);
}

/* --- sockets --- */

static struct addrinfo *resolve(const char *host, const char *port)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = SOCK_DGRAM,
	};
	struct addrinfo *found;

	if (getaddrinfo(host, port, &hints, &found))
		die("want a numeric address and port");
	return found;
}

static int open_socket(const struct addrinfo *to, const struct addrinfo *from)
{
	int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int size = 8 << 20;

	if (fd < 0 || (from && bind(fd, from->ai_addr, from->ai_addrlen)) ||
	    connect(fd, to->ai_addr, to->ai_addrlen))
		die_errno("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return fd;
}

static void open_sockets(struct client *c, const struct options *o)
{
	struct addrinfo *to = resolve(o->server, o->port);
	struct addrinfo *from = o->from ? resolve(o->from, o->from_port) : NULL;

	for (c->sockets = 0; c->sockets < o->sockets; c->sockets++)
		c->fds[c->sockets] = open_socket(to, from);
	freeaddrinfo(to);
	if (from)
		freeaddrinfo(from);
}

/* --- making --- */

/* A different TAI64N label each time, not rounded, because they must rise. */
static void put_timestamp(const struct client *c, uint8_t out[WG_TIMESTAMP_LEN])
{
	uint64_t ns = (uint64_t)c->began.tv_nsec + c->count;
	uint64_t seconds =
		htobe64((1ULL << 62) + 10 + (uint64_t)c->began.tv_sec + ns / NS_PER_SEC);
	uint32_t rest = htobe32((uint32_t)(ns % NS_PER_SEC));

	memcpy(out, &seconds, sizeof(seconds));
	memcpy(out + sizeof(seconds), &rest, sizeof(rest));
}

/* Makes an initiation with mac1, and with mac2 if the maker has a cookie. */
static struct shot *make_shot(struct client *c, struct cookie_maker *maker)
{
	struct shot *s = &c->shots[c->count];
	uint8_t timestamp[WG_TIMESTAMP_LEN];

	put_timestamp(c, timestamp);
	if (noise_create_initiation(&s->handshake, &c->identity, &c->server, timestamp,
				    htole32(c->count), &s->message))
		die("cannot make an initiation");
	cookie_maker_add_macs(maker, &s->message, sizeof(s->message), clock_now());
	c->count++;
	return s;
}

/* Allocates a few more than it makes, because some modes send more initiations. */
static void make_shots(struct client *c, const struct options *o)
{
	c->shots = calloc(o->count + 8 * ATTEMPTS, sizeof(*c->shots));
	if (!c->shots)
		die("no memory");
	clock_gettime(CLOCK_REALTIME, &c->began);
	c->length = o->cookie_replies ? sizeof(struct wg_cookie_reply)
				      : sizeof(struct wg_initiation);
	while (c->count < o->count) {
		struct shot *s = make_shot(c, &c->plain);

		if (o->bad_mac)
			s->message.mac1[c->count % WG_MAC_LEN] ^= 1;
		if (o->cookie_replies) /* to an unknown receiver index */
			s->message.type = htole32(WG_COOKIE_REPLY);
	}
}

/* --- receiving --- */

/* Returns true if the response is authentic. */
static bool is_response(struct client *c, const struct wg_response *r)
{
	uint32_t index = le32toh(r->receiver);
	struct noise_handshake copy;

	if (index >= c->count)
		return false;
	copy = c->shots[index].handshake;
	return !noise_consume_response(&copy, &c->identity, &c->server, r);
}

/* Gives the cookie to `maker`, after setting it up as if it had sent the initiation. */
static bool take_cookie(struct client *c, const struct wg_cookie_reply *r,
			struct cookie_maker *maker)
{
	uint32_t index = le32toh(r->receiver);
	struct wg_initiation message;

	if (index >= c->count)
		return false;
	message = c->shots[index].message;
	cookie_maker_init(maker, c->server.public_key);
	cookie_maker_add_macs(maker, &message, sizeof(message), clock_now());
	return !cookie_maker_consume_reply(maker, r, clock_now());
}

static enum answer classify(struct client *c, const void *message, size_t len)
{
	uint32_t type = len >= sizeof(type) ? le32toh(*(const uint32_t *)message) : 0;

	if (type == WG_RESPONSE && len == sizeof(struct wg_response)) {
		c->answered = le32toh(((const struct wg_response *)message)->receiver);
		return is_response(c, message) ? ANSWER_RESPONSE : ANSWER_OTHER;
	}
	if (type == WG_COOKIE_REPLY && len == sizeof(struct wg_cookie_reply)) {
		c->answered =
			le32toh(((const struct wg_cookie_reply *)message)->receiver);
		return ANSWER_COOKIE;
	}
	return ANSWER_OTHER;
}

static void keep_first_cookie(struct client *c, const void *message, unsigned socket)
{
	if (c->answers[ANSWER_COOKIE])
		return;
	memcpy(&c->cookie, message, sizeof(c->cookie));
	c->cookie_socket = socket;
	printf("under_load=yes\n");
	fflush(stdout);
}

/* Returns the next answer of a socket. */
static enum answer receive_one(struct client *c, unsigned socket)
{
	uint8_t message[2048] __attribute__((aligned(8)));
	ssize_t n;
	enum answer a;

	do {
		n = recv(c->fds[socket], message, sizeof(message), 0);
	} while (n < 0 && errno == ECONNREFUSED);
	if (n < 0)
		return ANSWER_NONE;
	a = classify(c, message, (size_t)n);
	if (a == ANSWER_COOKIE)
		keep_first_cookie(c, message, socket);
	c->answers[a]++;
	return a;
}

static void receive_all(struct client *c)
{
	for (unsigned i = 0; i < c->sockets; i++)
		while (receive_one(c, i) != ANSWER_NONE)
			;
}

/* Receives answers until none arrives for so long. */
static void receive_until_quiet(struct client *c, int ms)
{
	struct pollfd fds[MAX_SOCKETS];

	for (unsigned i = 0; i < c->sockets; i++)
		fds[i] = (struct pollfd){.fd = c->fds[i], .events = POLLIN};
	do {
		receive_all(c);
	} while (poll(fds, c->sockets, ms) > 0);
}

/* --- sending --- */

/* Sends up to BATCH from shots[first] on by one socket; refused ones are not repeated. */
static unsigned send_batch(struct client *c, unsigned first, unsigned n, int fd)
{
	struct mmsghdr mm[BATCH];
	struct iovec iov[BATCH];
	int sent;

	for (unsigned i = 0; i < n; i++) {
		iov[i].iov_base = &c->shots[first + i].message;
		iov[i].iov_len = c->length;
		mm[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
	sent = sendmmsg(fd, mm, n, 0);
	if (sent < 0)
		sent = 0;
	c->sent += (unsigned)sent;
	c->refused += n - (unsigned)sent;
	return n;
}

static void pause_ms(unsigned ms)
{
	if (ms)
		usleep(ms * 1000);
}

/* Sends every shot once, with a pause after each burst, if there are bursts. */
static void send_round(struct client *c, const struct options *o)
{
	unsigned burst = o->burst ? o->burst : o->count, socket = 0;

	for (unsigned i = 0, n; i < o->count; i += n) {
		unsigned left = burst - i % burst;

		n = left < BATCH ? left : BATCH;
		if (n > o->count - i)
			n = o->count - i;
		send_batch(c, i, n, c->fds[socket++ % c->sockets]);
		receive_all(c);
		if (!((i + n) % burst))
			pause_ms(o->interval_ms);
	}
}

static void send_all(struct client *c, const struct options *o)
{
	uint64_t begin = clock_now(), end = begin + o->seconds * NS_PER_SEC;

	do {
		send_round(c, o);
	} while (clock_now() < end);
	printf("milliseconds=%llu\n",
	       (unsigned long long)((clock_now() - begin) / NS_PER_MS));
}

/* --- questions: one message, one answer --- */

/* Returns the answer to this shot; skips answers to the flood. */
static enum answer await(struct client *c, const struct shot *s, unsigned socket)
{
	struct pollfd p = {.fd = c->fds[socket], .events = POLLIN};
	uint64_t end = clock_now() + ANSWER_MS * NS_PER_MS, now;
	enum answer a;

	while ((now = clock_now()) < end) {
		if (poll(&p, 1, (int)((end - now) / NS_PER_MS) + 1) < 1)
			return ANSWER_NONE;
		a = receive_one(c, socket);
		if (a != ANSWER_NONE && c->answered == (uint32_t)(s - c->shots))
			return a;
	}
	return ANSWER_NONE;
}

static enum answer ask(struct client *c, const struct shot *s, unsigned socket)
{
	if (send(c->fds[socket], &s->message, sizeof(s->message), 0) < 0)
		die_errno("send");
	c->sent++;
	return await(c, s, socket);
}

/* Sends new initiations with the maker's macs until there is an answer. */
static enum answer ask_anew(struct client *c, struct cookie_maker *maker, unsigned socket)
{
	enum answer a = ANSWER_NONE;

	for (unsigned i = 0; i < ATTEMPTS && a == ANSWER_NONE; i++)
		a = ask(c, make_shot(c, maker), socket);
	return a;
}

/* Under the load of the flood: sends an initiation with a cookie from another port than
 * the one that got it, with the cookie from that port, and without a cookie. */
static void ask_with_cookie(struct client *c)
{
	struct cookie_maker maker;
	unsigned own = c->cookie_socket;

	/* Stops at the first cookie, so that the load does not end. */
	for (unsigned ms = 0; ms <= QUIET_MS && !c->answers[ANSWER_COOKIE]; ms += 10)
		receive_until_quiet(c, 10);
	receive_until_quiet(c, 10);
	if (!c->answers[ANSWER_COOKIE] || !take_cookie(c, &c->cookie, &maker)) {
		printf("cookie=none\n");
		return;
	}
	printf("cookie=authentic\n");
	if (c->sockets > 1)
		printf("foreign=%s\n",
		       answer_names[ask_anew(c, &maker, (own + 1) % c->sockets)]);
	printf("own=%s\n", answer_names[ask_anew(c, &maker, own)]);
	printf("plain=%s\n", answer_names[ask_anew(c, &c->plain, own)]);
}

/* Sends the same bytes twice, the second time when a new initiation would be accepted. */
static void ask_twice(struct client *c)
{
	struct shot *s = make_shot(c, &c->plain);

	printf("first=%s\n", answer_names[ask(c, s, 0)]);
	pause_ms(INTERVAL_MS);
	printf("again=%s\n", answer_names[ask(c, s, 0)]);
}

/* --- the command line --- */

static const char usage[] =
	"usage: flood [OPTIONS] ADDRESS PORT PUBLIC_KEY PRIVATE_KEY_FILE\n"
	"  --count N      initiations to make and send (1)\n"
	"  --from ADDRESS --sockets N\n"
	"                 own address, and ports (1)\n"
	"  --from-port N  of that address, for one socket\n"
	"  --seconds N    send them over and over for so long\n"
	"  --burst N --interval MS\n"
	"                 a pause after each N\n"
	"  --bad-mac      with a wrong mac1\n"
	"  --cookie-replies\n"
	"                 made to look like cookie replies, which answer nothing\n"
	"  --mode flood   only send and count answers (default)\n"
	"  --mode cookie  then take a cookie and use it\n"
	"  --mode replay  send one initiation twice, instead\n";

static unsigned number(const char *text, unsigned max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!*text || *end || n > max)
		die("a number is none, or too large");
	return (unsigned)n;
}

static bool set_option(struct options *o, int c)
{
	switch (c) {
	case 'c':
		return (o->count = number(optarg, MAX_COUNT)) > 0;
	case 'f':
		o->from = optarg;
		return true;
	case 'p':
		o->from_port = optarg;
		return true;
	case 's':
		return (o->sockets = number(optarg, MAX_SOCKETS)) > 0;
	case 't':
		o->seconds = number(optarg, 3600);
		return true;
	case 'b':
		o->burst = number(optarg, MAX_COUNT);
		return true;
	case 'i':
		o->interval_ms = number(optarg, 60000);
		return true;
	case 'x':
		o->bad_mac = true;
		return true;
	case 'r':
		o->cookie_replies = true;
		return true;
	case 'm':
		o->mode = optarg;
		return true;
	default:
		return false;
	}
}

static bool parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"count", required_argument, NULL, 'c'},
		{"from", required_argument, NULL, 'f'},
		{"from-port", required_argument, NULL, 'p'},
		{"sockets", required_argument, NULL, 's'},
		{"seconds", required_argument, NULL, 't'},
		{"burst", required_argument, NULL, 'b'},
		{"interval", required_argument, NULL, 'i'},
		{"bad-mac", no_argument, NULL, 'x'},
		{"cookie-replies", no_argument, NULL, 'r'},
		{"mode", required_argument, NULL, 'm'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (!set_option(o, c))
			return false;
	if (optind + 4 != argc)
		return false;
	o->server = argv[optind];
	o->port = argv[optind + 1];
	o->public_key = argv[optind + 2];
	o->key_file = argv[optind + 3];
	return true;
}

static bool run(struct client *c, const struct options *o)
{
	if (!strcmp(o->mode, "replay")) {
		ask_twice(c);
	} else if (!strcmp(o->mode, "cookie")) {
		send_all(c, o);
		ask_with_cookie(c);
	} else if (!strcmp(o->mode, "flood")) {
		send_all(c, o);
	} else {
		return false;
	}
	receive_until_quiet(c, QUIET_MS);
	return true;
}

static void report(const struct client *c)
{
	printf("sent=%llu\nrefused=%llu\nresponses=%llu\ncookie_replies=%llu\nother=%"
	       "llu\n",
	       (unsigned long long)c->sent, (unsigned long long)c->refused,
	       (unsigned long long)c->answers[ANSWER_RESPONSE],
	       (unsigned long long)c->answers[ANSWER_COOKIE],
	       (unsigned long long)c->answers[ANSWER_OTHER]);
}

int main(int argc, char **argv)
{
	struct options o = {.sockets = 1, .count = 1, .from_port = "0", .mode = "flood"};
	static struct client c;

	if (!parse_options(argc, argv, &o))
		return fputs(usage, stderr), 2;
	if (sodium_init() < 0)
		die("libsodium does not work here");
	read_keys(&c, &o);
	open_sockets(&c, &o);
	make_shots(&c, &o);
	if (!run(&c, &o))
		return fputs(usage, stderr), 2;
	report(&c);
	return 0;
}
