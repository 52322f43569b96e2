// SPDX-License-Identifier: MIT
#include "pmtu.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_AT_ONCE 64

/* What it is about follows, from its IPv6 header on. */
struct too_big {
	struct icmp6_hdr icmp;
	struct ip6_hdr ip;
	struct udphdr udp;
} __attribute__((packed));

int pmtu_open(void)
{
	struct icmp6_filter filter;
	int err, fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
			     IPPROTO_ICMPV6);

	if (fd < 0)
		return -errno;
	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter);
	if (setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

bool pmtu_heard(int fd, uint16_t port)
{
	struct too_big m;
	bool heard = false;
	ssize_t len;

	for (unsigned i = 0; i < MESSAGES_AT_ONCE; i++) {
		len = recv(fd, &m, sizeof(m), MSG_DONTWAIT);
		if (len < 0)
			break;
		heard |= len == sizeof(m) && m.ip.ip6_nxt == IPPROTO_UDP &&
			 m.udp.source == htons(port);
	}
	return heard;
}
