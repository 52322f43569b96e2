// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * The kernel is given only the ICMP message. As for its own errors, it looks up the route to
 * the sender, which may be behind another interface, chooses the source address by that, and
 * tells the sender's socket if the sender is on this host. If this host has translated the
 * packet's source (masquerade), the message goes to the host that had sent it, and quotes the
 * packet as that host sent it.
 *
 * This must happen in wg0's network namespace, which may be another one than that of this
 * process. A socket belongs to the namespace in which it was made, so each message gets a
 * new socket, made there and closed at once: a socket that is kept would also keep that
 * namespace from being deleted. The rate limit bounds the cost.
 */
#include "unreachable.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "conntrack.h"
#include "inet.h"
#include "netns.h"
#include "tap.h"

/* The defaults of the kernel's sysctls icmp_msgs_per_sec, icmp_msgs_burst and icmp_ratelimit.
 * The kernel does not apply them to messages that leave by a raw socket. */
#define PER_SECOND	1000
#define BURST		50
#define HOST_PER_SECOND 1
#define HOST_BURST	6
#define TOKEN_NS	(NS_PER_SEC / PER_SECOND)

/* --- sending --- */

/* Returns a raw ICMP socket, or -errno. */
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

/* Returns true if addr is a subnet's broadcast address. Only the routing table knows these:
 * without SO_BROADCAST the kernel refuses to connect to one. The socket is disconnected again,
 * because a connected socket keeps its source address. */
static bool is_broadcast(int fd, const struct ip_addr *addr)
{
	const struct sockaddr disconnect = {.sa_family = AF_UNSPEC};
	const struct endpoint ep = {.addr = *addr};
	struct sockaddr_storage sa;
	socklen_t len;
	bool refused;

	if (addr->family != IP_V4)
		return false;
	endpoint_to_sockaddr(&ep, &sa, &len);
	refused = connect(fd, (struct sockaddr *)&sa, len) && errno == EACCES;
	(void)connect(fd, &disconnect, sizeof(disconnect));
	return refused;
}

/* Returns the scope of a sender's address: 0, or the ifindex of wg0 if the address is
 * link-local, because such a sender can only be on wg0 itself. Must be called in wg0's
 * namespace. */
static uint32_t tap_scope_of(const struct ip_addr *addr, int tap_fd)
{
	struct ifreq ifr = {0};

	if (!ip_addr_link_local(addr) || ioctl(tap_fd, TUNGETIFF, &ifr))
		return 0;
	return if_nametoindex(ifr.ifr_name);
}

/* Fills in what conntrack knows the quoted packet by. *port_at: where in the message its source port
 * is, or the identifier of an echo request. Returns false for other packets. */
static bool quoted_flow(const struct icmp_error *e, struct conntrack_flow *flow,
			size_t *port_at)
{
	size_t l4 = icmp_quoted_l4(e, UDP_HEADER_LEN); /* as long as ICMP's */

	if (!l4)
		return false;
	*flow = (struct conntrack_flow){.proto = ip_proto(e->message + ICMP_HEADER_LEN),
					.src = e->to,
					.dst = e->about};
	if (flow->proto == IPPROTO_ICMP || flow->proto == IPPROTO_ICMPV6) {
		*port_at = l4 + 4;
		flow->src_port = flow->dst_port = load16(e->message + *port_at);
		return e->message[l4] == ICMP_ECHO ||
		       e->message[l4] == ICMP6_ECHO_REQUEST;
	}
	*port_at = l4;
	flow->src_port = load16(e->message + l4);
	flow->dst_port = load16(e->message + l4 + 2);
	return flow->proto == IPPROTO_TCP || flow->proto == IPPROTO_UDP;
}

/* Without conntrack, or if it does not know the packet, nothing was translated. */
static void undo_nat(struct icmp_error *e)
{
	struct conntrack_flow flow;
	size_t port_at;

	if (quoted_flow(e, &flow, &port_at) && !conntrack_undo_source(&flow) &&
	    !ip_addr_equal(&flow.src, &e->to))
		icmp_set_sender(e, &flow.src, port_at, flow.src_port);
}

/* What send_here() is given while the thread is in the namespace of wg0. */
struct send_args {
	struct icmp_error *error;
	int tap_fd;
};

/* ctx: struct send_args. Returns 0 or -errno. */
static int send_here(void *ctx)
{
	const struct send_args *args = ctx;
	struct icmp_error *e = args->error;
	struct endpoint ep = {0};
	struct sockaddr_storage to;
	socklen_t to_len;
	int err = 0, fd = open_raw(e->to.family);

	if (fd < 0)
		return fd;
	undo_nat(e);
	ep.addr = e->to;
	ep.scope_id = tap_scope_of(&e->to, args->tap_fd);
	endpoint_to_sockaddr(&ep, &to, &to_len);
	if (is_broadcast(fd, &e->about))
		err = -EACCES;
	else if (sendto(fd, e->message, e->len, 0, (struct sockaddr *)&to, to_len) < 0)
		err = -errno;
	close(fd);
	return err;
}

int icmp_send(struct icmp_error *e, int tap_fd, int home)
{
	struct send_args args = {.error = e, .tap_fd = tap_fd};
	int err, ns = tap_netns(tap_fd);

	if (ns < 0)
		return ns;
	err = netns_visit(ns, home, send_here, &args);
	close(ns);
	return err;
}

/* --- limits --- */

void icmp_limit_init(struct icmp_limit *l)
{
	pthread_mutex_init(&l->lock, NULL);
	l->full_at = 0;
	ratelimit_init(&l->hosts, HOST_PER_SECOND, HOST_BURST, 128);
}

void icmp_limit_destroy(struct icmp_limit *l)
{
	pthread_mutex_destroy(&l->lock);
}

/* Takes a token of the limit for all hosts together. Returns false if none is left. */
static bool take_of_all(struct icmp_limit *l, uint64_t now)
{
	uint64_t from = l->full_at > now ? l->full_at : now;

	if (from - now > (BURST - 1) * TOKEN_NS)
		return false;
	l->full_at = from + TOKEN_NS;
	return true;
}

/* The host's own limit is taken first, so that a host that exceeds it does not use up the
 * limit of all. */
bool icmp_limit_take(struct icmp_limit *l, const struct ip_addr *to, bool forwarded,
		     uint64_t now)
{
	bool ok;

	pthread_mutex_lock(&l->lock);
	ok = (!forwarded || ratelimit_allow(&l->hosts, to, now)) && take_of_all(l, now);
	pthread_mutex_unlock(&l->lock);
	return ok;
}
