// SPDX-License-Identifier: MIT
#include "pmtu.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "endpoint.h"
#include "thread.h"

#define MESSAGES_AT_ONCE 64
#define INTERVAL_NS	 NS_PER_SEC

/* An ICMPv6 "packet too big" and the beginning of the packet that it quotes. */
struct too_big {
	struct icmp6_hdr icmp;
	struct ip6_hdr ip;
	struct udphdr udp;
} __attribute__((packed));

int pmtu_open(struct pmtu *p)
{
	struct icmp6_filter filter;

	assert_control_thread();
	p->fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6);
	if (p->fd < 0)
		return -errno;
	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter);
	if (setsockopt(p->fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter))) {
		int err = -errno;

		pmtu_close(p);
		return err;
	}
	return 0;
}

void pmtu_close(struct pmtu *p)
{
	assert_control_thread();
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

static void parse_quote(const struct too_big *m, struct endpoint *quoted)
{
	memset(quoted, 0, sizeof(*quoted));
	quoted->addr.family = quoted->source.family = IP_V6;
	memcpy(quoted->addr.bytes, &m->ip.ip6_dst, 16);
	memcpy(quoted->source.bytes, &m->ip.ip6_src, 16);
	quoted->port = ntohs(m->udp.dest);
}

void pmtu_read(struct pmtu *p, uint16_t port, pmtu_heard_fn *heard, void *ctx)
{
	struct endpoint quoted;
	struct too_big m;

	assert_control_thread();
	for (unsigned i = 0; p->fd >= 0 && i < MESSAGES_AT_ONCE; i++) {
		ssize_t len = recv(p->fd, &m, sizeof(m), MSG_DONTWAIT);

		if (len < 0)
			break;
		if (len != sizeof(m) || m.ip.ip6_nxt != IPPROTO_UDP ||
		    m.udp.source != htons(port))
			continue;
		parse_quote(&m, &quoted);
		heard(ctx, &quoted);
	}
}

uint64_t pmtu_schedule(uint64_t *due, uint64_t now)
{
	assert_control_thread();
	if (*due < now)
		*due = *due + INTERVAL_NS < now ? now : *due + INTERVAL_NS;
	return *due;
}
