// SPDX-License-Identifier: MIT
/*
 * Many peers at once, as after a restart of their gateway.
 *
 *   storm peers COUNT                             prints [Peer] sections for `wg setconf`
 *   storm send ADDRESS PORT PUBLIC_KEY COUNT SECONDS
 *                                                 all initiate, until all have a session
 *                                                 or the time is over
 *   storm latency ADDRESS PORT PUBLIC_KEY COUNT SECONDS
 *                                                 they initiate one after the other, ten
 *                                                 per second; prints how long each waits
 *                                                 for its session
 *   storm answer ADDRESS PORT PUBLIC_KEY COUNT SECONDS
 *                                                 all answer, for so long after `ready`
 *
 * Theory of operation: a peer's key and address follow from its number. The addresses,
 * 198.18.0.0/16, are local to this host, so one socket sends and receives for all peers.
 * A peer is identified by its sender index, or by the destination address. Initiators
 * behave as WireGuard does: they try again after 5 s and some jitter, with a cookie if
 * they have one, and confirm the session by an empty message. The first initiations are
 * made before the clock starts. Responders only answer. Prints name=value lines.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
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

#define MAX_COUNT    65536
#define FIRST_SOURCE 0xc6120000U /* 198.18.0.0 */
#define SOURCE_PORT  51820
#define NEVER	     UINT64_MAX
/* Answers are received after each BURST of initiations. */
#define BURST	 64
#define PAUSE_US 2000

struct storm_peer {
	struct noise_identity identity;
	struct noise_remote server;
	struct noise_handshake handshake;
	struct cookie_maker cookies;
	struct wg_initiation message;
	uint64_t due; /* when an initiation is to be sent */
};

struct storm {
	struct storm_peer *peers;
	unsigned count, sessions;
	struct sockaddr_in server;
	int fd;
	uint64_t began, half, last; /* ns: of the sessions */
	uint64_t sent, cookies, answers;
};

static void die(const char *what)
{
	fprintf(stderr, "storm: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- peers --- */

static void identity_of(unsigned number, struct noise_identity *id)
{
	uint8_t key[WG_KEY_LEN] = {1};

	memcpy(key + 1, &number, sizeof(number));
	if (noise_identity_set(id, key))
		die("key");
}

static uint32_t source_of(unsigned number)
{
	return FIRST_SOURCE + number;
}

static int print_peers(unsigned count)
{
	char text[sodium_base64_ENCODED_LEN(WG_KEY_LEN, sodium_base64_VARIANT_ORIGINAL)];
	struct noise_identity id;

	for (unsigned i = 0; i < count; i++) {
		identity_of(i, &id);
		sodium_bin2base64(text, sizeof(text), id.public_key, WG_KEY_LEN,
				  sodium_base64_VARIANT_ORIGINAL);
		printf("[Peer]\nPublicKey = %s\nAllowedIPs = 10.64.%u.%u/32\n", text,
		       i >> 8, i & 255);
	}
	return 0;
}

/* --- initiations --- */

static void make_initiation(struct storm *s, unsigned number)
{
	struct storm_peer *p = &s->peers[number];
	uint8_t timestamp[WG_TIMESTAMP_LEN];
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	tai64n_format((uint64_t)t.tv_sec, (uint32_t)t.tv_nsec, timestamp);
	if (noise_create_initiation(&p->handshake, &p->identity, &p->server, timestamp,
				    htole32(number), &p->message))
		die("initiation");
	cookie_maker_add_macs(&p->cookies, &p->message, sizeof(p->message), clock_now());
}

static void make_peers(struct storm *s, const uint8_t server_key[WG_KEY_LEN])
{
	s->peers = calloc(s->count, sizeof(*s->peers));
	if (!s->peers)
		die("memory");
	for (unsigned i = 0; i < s->count; i++) {
		struct storm_peer *p = &s->peers[i];

		identity_of(i, &p->identity);
		noise_remote_init(&p->server, server_key);
		if (noise_remote_precompute(&p->server, &p->identity))
			die("the server's key");
		cookie_maker_init(&p->cookies, server_key);
	}
}

/* --- sending, from the peer's own address --- */

/* Ignores errors: a message that does not fit the buffer is lost, like any packet. */
static void send_from(struct storm *s, unsigned number, void *message, size_t len)
{
	struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(source_of(number))};
	uint8_t control[CMSG_SPACE(sizeof(info))] __attribute__((aligned(8))) = {0};
	struct iovec iov = {.iov_base = message, .iov_len = len};
	struct msghdr m = {.msg_name = &s->server,
			   .msg_namelen = sizeof(s->server),
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
	if (sendmsg(s->fd, &m, 0) < 0 && errno != EAGAIN && errno != ENOBUFS)
		die("send");
}

static uint64_t next_try(void)
{
	return clock_now() + WG_REKEY_TIMEOUT * NS_PER_SEC +
	       randombytes_uniform(WG_REKEY_TIMEOUT_JITTER_MS) * NS_PER_MS;
}

static void send_initiation(struct storm *s, unsigned number)
{
	struct storm_peer *p = &s->peers[number];

	if (p->due != s->began)
		make_initiation(s, number);
	send_from(s, number, &p->message, sizeof(p->message));
	p->due = next_try();
	s->sent++;
}

/* Sends the empty message that confirms the session to the responder. */
static void confirm(struct storm *s, unsigned number, const struct noise_keys *keys)
{
	static const uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
	uint8_t message[WG_DATA_OVERHEAD];
	struct wg_data head = {.type = htole32(WG_DATA), .receiver = keys->remote_index};

	memcpy(message, &head, sizeof(head));
	crypto_aead_chacha20poly1305_ietf_encrypt(message + sizeof(head), NULL, NULL, 0,
						  NULL, 0, NULL, nonce, keys->send);
	send_from(s, number, message, sizeof(message));
}

/* --- receiving --- */

static void note_session(struct storm *s)
{
	s->last = clock_now() - s->began;
	if (++s->sessions == (s->count + 1) / 2)
		s->half = s->last;
}

/* A response to an initiation before the latest one is not authentic. */
static void take_response(struct storm *s, const struct wg_response *r)
{
	uint32_t number = le32toh(r->receiver);
	struct storm_peer *p = &s->peers[number];
	struct noise_keys keys;

	if (number >= s->count || p->due == NEVER ||
	    noise_consume_response(&p->handshake, &p->identity, &p->server, r) ||
	    noise_derive_keys(&p->handshake, &keys))
		return;
	p->due = NEVER;
	confirm(s, number, &keys);
	note_session(s);
}

static void take_cookie(struct storm *s, const struct wg_cookie_reply *r)
{
	uint32_t number = le32toh(r->receiver);

	if (number < s->count &&
	    !cookie_maker_consume_reply(&s->peers[number].cookies, r, clock_now()))
		s->cookies++;
}

static void receive_all(struct storm *s)
{
	uint8_t m[2048] __attribute__((aligned(8)));
	ssize_t n;

	while ((n = recv(s->fd, m, sizeof(m), MSG_DONTWAIT)) > 0) {
		if (m[0] == WG_RESPONSE && n == sizeof(struct wg_response))
			take_response(s, (const struct wg_response *)m);
		else if (m[0] == WG_COOKIE_REPLY && n == sizeof(struct wg_cookie_reply))
			take_cookie(s, (const struct wg_cookie_reply *)m);
	}
}

/* --- answers --- */

static void answer(struct storm *s, unsigned number, const struct wg_initiation *m)
{
	struct storm_peer *p = &s->peers[number];
	struct wg_response response;
	struct noise_peek peek;

	if (noise_open_initiation(&p->identity, m, &peek) ||
	    noise_consume_initiation(&p->handshake, &p->server, &peek, m, clock_now()) ||
	    noise_create_response(&p->handshake, &p->server, htole32(number), &response))
		return;
	cookie_maker_add_macs(&p->cookies, &response, sizeof(response), clock_now());
	send_from(s, number, &response, sizeof(response));
	s->answers++;
}

/* Returns the number of the peer that it was sent to, or MAX_COUNT. */
static unsigned receiver_of(struct msghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	struct in_pktinfo info;

	if (!c || c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_PKTINFO)
		return MAX_COUNT;
	memcpy(&info, CMSG_DATA(c), sizeof(info));
	return ntohl(info.ipi_addr.s_addr) - FIRST_SOURCE;
}

static void answer_one(struct storm *s)
{
	uint8_t text[2048] __attribute__((aligned(8)));
	uint8_t control[CMSG_SPACE(sizeof(struct in_pktinfo))]
		__attribute__((aligned(8)));
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	unsigned number;

	if (recvmsg(s->fd, &m, 0) != sizeof(struct wg_initiation) ||
	    text[0] != WG_INITIATION)
		return;
	number = receiver_of(&m);
	if (number < s->count)
		answer(s, number, (const struct wg_initiation *)text);
}

static void answer_all(struct storm *s, uint64_t seconds)
{
	const struct timeval wait = {.tv_usec = 100000};
	uint64_t until = clock_now() + seconds * NS_PER_SEC;
	int yes = 1;

	if (setsockopt(s->fd, IPPROTO_IP, IP_PKTINFO, &yes, sizeof(yes)) ||
	    setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)))
		die("socket");
	puts("ready");
	fflush(stdout);
	while (clock_now() < until)
		answer_one(s);
	printf("answers=%" PRIu64 "\n", s->answers);
}

/* --- the storm --- */

static void open_socket(struct storm *s)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(SOURCE_PORT)};
	int size = 32 << 20;

	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&any, sizeof(any)))
		die("socket");
	setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
}

static void send_due(struct storm *s)
{
	uint64_t now = clock_now();
	unsigned sent = 0;

	for (unsigned i = 0; i < s->count; i++) {
		if (s->peers[i].due > now)
			continue;
		send_initiation(s, i);
		if (!(++sent % BURST))
			receive_all(s);
	}
}

static void run(struct storm *s, uint64_t seconds)
{
	for (unsigned i = 0; i < s->count; i++)
		make_initiation(s, i);
	s->began = clock_now();
	for (unsigned i = 0; i < s->count; i++)
		s->peers[i].due = s->began;
	while (s->sessions < s->count && clock_now() < s->began + seconds * NS_PER_SEC) {
		send_due(s);
		receive_all(s);
		usleep(PAUSE_US);
	}
}

static void report(const struct storm *s)
{
	printf("sessions=%u\ninitiations=%" PRIu64 "\ncookies=%" PRIu64 "\n", s->sessions,
	       s->sent, s->cookies);
	if (s->half)
		printf("half_s=%.2f\n", (double)s->half / NS_PER_SEC);
	if (s->sessions == s->count)
		printf("all_s=%.2f\n", (double)s->last / NS_PER_SEC);
}

/* --- how long one waits --- */

#define LATENCY_PAUSE_US 100000
#define LATENCY_TRIES	 3600
/* Who has no session by then has lost. */
#define LATENCY_MAX_NS (5 * NS_PER_SEC)

/* One initiation, which is not sent again. */
static uint64_t latency_of(struct storm *s, unsigned number)
{
	unsigned before = s->sessions;

	make_initiation(s, number);
	s->began = clock_now();
	s->peers[number].due = 0;
	send_from(s, number, &s->peers[number].message, sizeof(s->peers[number].message));
	s->sent++;
	while (s->sessions == before) {
		if (clock_now() - s->began >= LATENCY_MAX_NS)
			return LATENCY_MAX_NS;
		usleep(PAUSE_US / 10);
		receive_all(s);
	}
	return s->last;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void measure(struct storm *s, uint64_t seconds)
{
	uint64_t until = clock_now() + seconds * NS_PER_SEC, took[LATENCY_TRIES], median;
	unsigned n = 0;

	for (; n < LATENCY_TRIES && clock_now() < until; n++) {
		took[n] = latency_of(s, n % s->count);
		usleep(LATENCY_PAUSE_US);
	}
	qsort(took, n, sizeof(took[0]), compare);
	median = took[n / 2];
	printf("handshakes=%u\nlost=%u\nmedian_ms=%.2f\nmax_ms=%.2f\n", n,
	       n - s->sessions, (double)median / NS_PER_MS,
	       (double)took[n - 1] / NS_PER_MS);
}

static bool parse_server(struct storm *s, char **argv, uint8_t key[WG_KEY_LEN])
{
	size_t len;

	s->server.sin_family = AF_INET;
	s->server.sin_port = htons((uint16_t)atoi(argv[1]));
	return inet_pton(AF_INET, argv[0], &s->server.sin_addr) == 1 &&
	       !sodium_base642bin(key, WG_KEY_LEN, argv[2], strlen(argv[2]), NULL, &len,
				  NULL, sodium_base64_VARIANT_ORIGINAL) &&
	       len == WG_KEY_LEN;
}

static unsigned parse_count(const char *text)
{
	unsigned long n = strtoul(text, NULL, 10);

	return n <= MAX_COUNT ? (unsigned)n : 0;
}

static int serve(struct storm *s, const char *mode, const char *seconds)
{
	if (!strcmp(mode, "answer")) {
		answer_all(s, strtoul(seconds, NULL, 10));
		return 0;
	}
	if (!strcmp(mode, "latency")) {
		measure(s, strtoul(seconds, NULL, 10));
		return 0;
	}
	run(s, strtoul(seconds, NULL, 10));
	report(s);
	return 0;
}

static bool is_mode(const char *text)
{
	return !strcmp(text, "send") || !strcmp(text, "latency") ||
	       !strcmp(text, "answer");
}

int main(int argc, char **argv)
{
	static struct storm s;
	uint8_t key[WG_KEY_LEN];

	if (sodium_init() < 0)
		die("libsodium");
	if (argc == 3 && !strcmp(argv[1], "peers"))
		return print_peers(parse_count(argv[2]));
	if (argc == 7 && is_mode(argv[1]) && parse_server(&s, argv + 2, key) &&
	    (s.count = parse_count(argv[5]))) {
		open_socket(&s);
		make_peers(&s, key);
		return serve(&s, argv[1], argv[6]);
	}
	fputs("usage: storm peers COUNT\n"
	      "       storm send|latency|answer ADDRESS PORT PUBLIC_KEY COUNT SECONDS\n"
	      "(COUNT to 65536)\n",
	      stderr);
	return 2;
}
