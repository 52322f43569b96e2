// SPDX-License-Identifier: MIT
/*
 * Theory of operation: the kernel is given only the ICMP message. It finds the route to
 * the sender (who may be behind another device) and with it the source address, as for
 * errors of its own, and tells the sender's socket if that is on this host. That has to
 * happen where wg0 is, which may be another network namespace than ours: a socket is
 * made there for each message. None is kept, for it would keep that namespace from
 * being deleted; and with the rate limit a socket a message is cheap.
 */
#include "icmp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checksum.h"
#include "clock.h"
#include "endpoint.h"
#include "inet.h"
#include "tap.h"

#define TOKEN_NS (NS_PER_SEC / ICMP_PER_SECOND)

/* --- whether --- */

static bool is_v4_error(const uint8_t *icmp)
{
	switch (icmp[0]) {
	case ICMP_DEST_UNREACH:
	case ICMP_SOURCE_QUENCH:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETERPROB:
		return true;
	default:
		return icmp[0] > NR_ICMP_TYPES; /* who knows */
	}
}

static bool may_be_about_v4(const uint8_t *packet, size_t len)
{
	const uint8_t *from = packet + IPV4_ADDRS, *to = from + 4;
	size_t header = ip_header_len(packet);

	if (from[0] == 0 || from[0] == 127 || IN_MULTICAST(get_be32(from)) ||
	    get_be32(from) == INADDR_BROADCAST)
		return false;
	if (IN_MULTICAST(get_be32(to)) || get_be32(to) == INADDR_BROADCAST)
		return false;
	if (get_be16(packet + IPV4_FRAG) & IPV4_OFFSET_MASK)
		return false;
	if (packet[IPV4_PROTO] != IPPROTO_ICMP)
		return true;
	return len > header && !is_v4_error(packet + header);
}

static bool is_extension(uint8_t kind)
{
	return kind == IPPROTO_HOPOPTS || kind == IPPROTO_ROUTING ||
	       kind == IPPROTO_DSTOPTS || kind == IPPROTO_FRAGMENT || kind == IPPROTO_AH;
}

static size_t extension_len(uint8_t kind, const uint8_t *header)
{
	if (kind == IPPROTO_FRAGMENT)
		return 8;
	return kind == IPPROTO_AH ? (header[1] + 2U) * 4 : (header[1] + 1U) * 8;
}

/* False where the chain of headers is cut short, or leads into a later fragment or to
 * an ICMPv6 error. */
static bool may_be_about_payload(const uint8_t *packet, size_t len)
{
	uint8_t kind = packet[IPV6_NEXT_HEADER];
	size_t at = IPV6_HEADER_LEN;

	while (is_extension(kind)) {
		const uint8_t *header = packet + at;

		if (at + 8 > len)
			return false;
		if (kind == IPPROTO_FRAGMENT && get_be16(header + 2) & 0xfff8)
			return false;
		at += extension_len(kind, header);
		kind = header[0];
	}
	if (kind != IPPROTO_ICMPV6)
		return true;
	return at < len && packet[at] & ICMP6_INFOMSG_MASK && packet[at] != ND_REDIRECT;
}

static bool may_be_about_v6(const uint8_t *packet, size_t len)
{
	static const uint8_t any[16];
	const uint8_t *from = packet + IPV6_ADDRS, *to = from + 16;

	if (from[0] == 0xff || to[0] == 0xff || !memcmp(from, any, sizeof(any)))
		return false;
	return may_be_about_payload(packet, len);
}

/* --- what --- */

static void quote(struct icmp_error *e, const uint8_t *packet, size_t len, size_t most)
{
	if (len > most)
		len = most;
	memset(e->message, 0, ICMP_HEADER_LEN);
	memcpy(e->message + ICMP_HEADER_LEN, packet, len);
	e->len = ICMP_HEADER_LEN + len;
}

static void take_addrs(struct icmp_error *e, uint8_t family, const uint8_t *addrs)
{
	memset(&e->to, 0, sizeof(e->to));
	memset(&e->about, 0, sizeof(e->about));
	e->to.family = e->about.family = family;
	memcpy(e->to.bytes, addrs, ip_addr_len(&e->to));
	memcpy(e->about.bytes, addrs + ip_addr_len(&e->to), ip_addr_len(&e->to));
}

bool icmp_unreachable(struct icmp_error *e, const uint8_t *packet, size_t len)
{
	int total = inner_packet_len(packet, len);

	if (total < 0)
		return false;
	if (ip_version(packet) == 4) {
		if (!may_be_about_v4(packet, (size_t)total))
			return false;
		take_addrs(e, IP_V4, packet + IPV4_ADDRS);
		quote(e, packet, (size_t)total, ICMP_QUOTE_V4);
		e->message[0] = ICMP_DEST_UNREACH;
		e->message[1] = ICMP_HOST_UNREACH;
		store16(e->message + 2, csum_finish(csum_add(0, e->message, e->len)));
	} else {
		if (!may_be_about_v6(packet, (size_t)total))
			return false;
		take_addrs(e, IP_V6, packet + IPV6_ADDRS);
		quote(e, packet, (size_t)total, ICMP_QUOTE_V6);
		e->message[0] = ICMP6_DST_UNREACH;
		e->message[1] = ICMP6_DST_UNREACH_ADDR;
		/* The checksum needs the source address, and so is the kernel's. */
	}
	return true;
}

/* --- sending --- */

static int open_raw(uint8_t family)
{
	int tos = IPTOS_PREC_INTERNETCONTROL; /* RFC 1812 section 4.3.2.5 */
	int fd = family == IP_V4
			 ? socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
				  IPPROTO_ICMP)
			 : socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
				  IPPROTO_ICMPV6);

	if (fd < 0)
		return -errno;
	if (family == IP_V4)
		setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	return fd;
}

/* Only routing knows a subnet's broadcast address: without SO_BROADCAST the kernel
 * refuses to connect to one. The connection's source address must not stay. */
static bool is_broadcast(int fd, const struct ip_addr *addr)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	const struct endpoint ep = {.addr = *addr};
	struct sockaddr_storage sa;
	socklen_t len;
	bool refused;

	if (addr->family != IP_V4)
		return false;
	endpoint_to_sockaddr(&ep, &sa, &len);
	refused = connect(fd, (struct sockaddr *)&sa, len) && errno == EACCES;
	connect(fd, &nobody, sizeof(nobody));
	return refused;
}

/* Only on wg0 itself can a link-local sender be. In its namespace. */
static uint32_t scope_of(const struct ip_addr *addr, int tap_fd)
{
	struct ifreq ifr = {0};

	if (!ip_addr_link_local(addr) || ioctl(tap_fd, TUNGETIFF, &ifr))
		return 0;
	return if_nametoindex(ifr.ifr_name);
}

static int send_here(const struct icmp_error *e, int tap_fd)
{
	struct endpoint ep = {.addr = e->to, .scope_id = scope_of(&e->to, tap_fd)};
	struct sockaddr_storage to;
	socklen_t to_len;
	int err = 0, fd = open_raw(e->to.family);

	if (fd < 0)
		return fd;
	endpoint_to_sockaddr(&ep, &to, &to_len);
	if (is_broadcast(fd, &e->about))
		err = -EACCES;
	else if (sendto(fd, e->message, e->len, 0, (struct sockaddr *)&to, to_len) < 0)
		err = -errno;
	close(fd);
	return err;
}

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return !fstat(a, &sa) && !fstat(b, &sb) && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

/* At home nothing is entered: that needs a capability more. */
int icmp_send(const struct icmp_error *e, int tap_fd)
{
	int err, ns, home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (home < 0)
		return -errno;
	ns = tap_netns(tap_fd);
	if (ns < 0) {
		err = ns;
	} else if (same_file(ns, home)) {
		err = send_here(e, tap_fd);
	} else if (setns(ns, CLONE_NEWNET)) {
		err = -errno;
	} else {
		err = send_here(e, tap_fd);
		if (setns(home, CLONE_NEWNET))
			err = -errno;
	}
	if (ns >= 0)
		close(ns);
	close(home);
	return err;
}

/* --- how many --- */

void icmp_limit_init(struct icmp_limit *l)
{
	pthread_mutex_init(&l->lock, NULL);
	l->full_at = 0;
	ratelimit_init(&l->hosts, ICMP_HOST_PER_SECOND, ICMP_HOST_BURST, 128);
}

void icmp_limit_destroy(struct icmp_limit *l)
{
	pthread_mutex_destroy(&l->lock);
}

static bool take_of_all(struct icmp_limit *l, uint64_t now)
{
	uint64_t from = l->full_at > now ? l->full_at : now;

	if (from - now > (ICMP_BURST - 1) * TOKEN_NS)
		return false;
	l->full_at = from + TOKEN_NS;
	return true;
}

/* The host's own first: one that sends without end must not use up the others'. */
bool icmp_limit_take(struct icmp_limit *l, const struct ip_addr *to, bool forwarded,
		     uint64_t now)
{
	bool ok;

	pthread_mutex_lock(&l->lock);
	ok = (!forwarded || ratelimit_allow(&l->hosts, to, now)) && take_of_all(l, now);
	pthread_mutex_unlock(&l->lock);
	return ok;
}
