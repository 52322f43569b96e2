// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * Every test has two new network namespaces, which end with it: this process moves
 * into one ("near"), a child that only sleeps holds the other ("far").
 * A veth joins them: a0, 10.0.0.1/24 and fd00::1/64 here; b0, 10.0.0.2/24 and
 * fd00::2/64 there. ip(8) sets up everything; tests wait for conditions on the event
 * socket.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "route.h"
#include "routing.h"
#include "rtnl_events.h"
#include "rtnl_query.h"
#include "tap.h"
#include "testutil.h"

#define WAIT_SECONDS 8
#define LISTEN_PORT  51820

static const uint8_t near_mac[6] = {0x02, 0xaa, 0, 0, 0, 0x01};
static const uint8_t far_mac[6] = {0x02, 0xaa, 0, 0, 0, 0x02};

struct fixture {
	struct rtnl rtnl;
	struct routing routing;
	pid_t far;
	uint32_t a0;
	/* The result for the route in the test. */
	struct route route;
	bool affected;
	/* Counts of events. */
	int routes;
	int overruns;
	uint16_t neigh_state;
	bool link_present;
	int links;
	int links_gone;
	struct rtnl_link link;
	char watched[IFNAMSIZ];
	struct ip_addr addr;
	int addrs_added;
	int addrs_removed;
};

static int run(const char *fmt, va_list ap, const char *prefix)
{
	char cmd[512];
	int len = snprintf(cmd, sizeof(cmd), "%s", prefix);

	vsnprintf(cmd + len, sizeof(cmd) - len, fmt, ap);
	return system(cmd);
}

__attribute__((format(printf, 1, 2))) static void ip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	assert_int_equal(run(fmt, ap, "ip "), 0);
	va_end(ap);
}

__attribute__((format(printf, 2, 3))) static void far_ip(const struct fixture *f,
							 const char *fmt, ...)
{
	char prefix[64];
	va_list ap;

	snprintf(prefix, sizeof(prefix), "nsenter -t %d -n ip ", (int)f->far);
	va_start(ap, fmt);
	assert_int_equal(run(fmt, ap, prefix), 0);
	va_end(ap);
}

static void sysctl_set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, value, strlen(value)), (ssize_t)strlen(value));
	close(fd);
}

static struct ip_addr addr_of(const char *text)
{
	struct ip_addr a = {.family = strchr(text, ':') ? IP_V6 : IP_V4};

	assert_int_equal(inet_pton(a.family == IP_V4 ? AF_INET : AF_INET6, text, a.bytes),
			 1);
	return a;
}

static void assert_addr(const struct ip_addr *got, const char *want)
{
	struct ip_addr expected = addr_of(want);

	assert_memory_equal(got, &expected, sizeof(expected));
}

static struct endpoint endpoint_of(const char *text)
{
	struct endpoint ep;

	memset(&ep, 0, sizeof(ep));
	ep.addr = addr_of(text);
	ep.port = 51821;
	return ep;
}

static void on_link(void *ctx, bool present, const struct rtnl_link *link,
		    uint32_t ifindex)
{
	struct fixture *f = ctx;

	links_note(&f->routing.links, ifindex, present ? link : NULL);
	if (f->route.ifindex == ifindex)
		f->affected = true;
	if (strcmp(link->name, f->watched))
		return;
	f->links++;
	f->links_gone += !present;
	f->link_present = present;
	f->link = *link;
}

static void on_addr(void *ctx, bool added, const struct rtnl_addr *addr)
{
	struct fixture *f = ctx;

	f->affected = true;
	if (!ip_addr_equal(&addr->addr, &f->addr) || addr->ifindex != f->a0)
		return;
	if (added)
		f->addrs_added++;
	else
		f->addrs_removed++;
}

static void on_route(void *ctx)
{
	((struct fixture *)ctx)->routes++;
}

static void on_neigh(void *ctx, uint32_t ifindex, const struct ip_addr *addr,
		     uint16_t state, const uint8_t *mac)
{
	struct fixture *f = ctx;
	struct neighbour before = route_neighbour(&f->route);
	struct neighbour now = neighbour_heard(state, mac);

	neighbours_note(&f->routing.neighbours, ifindex, addr, state, mac);
	if (ifindex == f->route.ifindex && ip_addr_equal(addr, &f->route.nexthop))
		f->neigh_state = state;
	if (ifindex == f->route.ifindex && ip_addr_equal(addr, &f->route.nexthop) &&
	    neighbour_changed(&before, &now))
		f->affected = true;
}

static void on_overrun(void *ctx)
{
	((struct fixture *)ctx)->overruns++;
}

static const struct rtnl_handler handler = {.link = on_link,
					    .addr = on_addr,
					    .routes_changed = on_route,
					    .neigh = on_neigh,
					    .overrun = on_overrun};

static void drain(struct fixture *f)
{
	for (unsigned kind = 0; kind < RTNL_FEEDS; kind++)
		assert_int_equal(rtnl_dispatch(&f->rtnl, kind, &handler, f), 0);
}

/* Reads events until the condition holds; fails the test after WAIT_SECONDS. */
static void wait_for(struct fixture *f, bool (*condition)(const struct fixture *f))
{
	struct pollfd pfds[RTNL_FEEDS];
	time_t end = time(NULL) + WAIT_SECONDS;

	for (unsigned kind = 0; kind < RTNL_FEEDS; kind++)
		pfds[kind] = (struct pollfd){.fd = rtnl_event_fd(&f->rtnl, kind),
					     .events = POLLIN};
	drain(f);
	while (!condition(f)) {
		if (time(NULL) > end)
			fail_msg("condition did not come about");
		poll(pfds, RTNL_FEEDS, 100);
		drain(f);
	}
}

static bool is_affected(const struct fixture *f)
{
	return f->affected;
}

static void resolve(struct fixture *f, const struct endpoint *ep)
{
	drain(f); /* the tables are as of now */
	f->affected = false;
	assert_int_equal(route_resolve(&f->routing, ep, LISTEN_PORT, 0, &f->route), 0);
}

/* Does what the daemon does: resolves again on each relevant event, until l2 is known. */
static void resolve_l2(struct fixture *f, const struct endpoint *ep)
{
	resolve(f, ep);
	for (int i = 0; i < 10 && !f->route.l2_ok; i++) {
		wait_for(f, is_affected);
		resolve(f, ep);
	}
	assert_true(f->route.l2_ok);
}

static int resolve_error(struct fixture *f, const char *dst)
{
	static const struct route zero;
	struct endpoint ep = endpoint_of(dst);
	int err = route_resolve(&f->routing, &ep, LISTEN_PORT, 0, &f->route);

	assert_true(err < 0);
	assert_memory_equal(&f->route, &zero, sizeof(zero));
	return err;
}

/* The child ends with its parent, even if that is killed. */
static pid_t far_namespace(void)
{
	int ready[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void lay_out(struct fixture *f)
{
	ip("link set lo up");
	ip("link add a0 numrxqueues 3 numtxqueues 2 address 02:aa:00:00:00:01 type veth "
	   "peer name b0 address 02:aa:00:00:00:02 netns %d",
	   (int)f->far);
	ip("link set a0 addrgenmode none up");
	far_ip(f, "link set b0 addrgenmode none up");
	ip("addr add 10.0.0.1/24 dev a0");
	ip("addr add fd00::1/64 dev a0 nodad");
	ip("addr add fe80::1/64 dev a0 nodad");
	far_ip(f, "addr add 10.0.0.2/24 dev b0");
	far_ip(f, "addr add fd00::2/64 dev b0 nodad");
	far_ip(f, "addr add fe80::2/64 dev b0 nodad");
	f->a0 = if_nametoindex("a0");
	assert_int_not_equal(f->a0, 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	f->far = far_namespace();
	lay_out(f);
	assert_int_equal(rtnl_open(&f->rtnl), 0);
	assert_int_equal(routing_open(&f->routing, &f->rtnl, 0), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	routing_close(&f->routing);
	rtnl_close(&f->rtnl);
	kill(f->far, SIGKILL);
	waitpid(f->far, NULL, 0);
	free(f);
	return 0;
}

/* The far end gets that address only after the first look-up has failed. */
static void test_on_link_v4(void **state)
{
	static const uint8_t l2[14] = {0x02, 0xaa, 0, 0, 0,    0x02, 0x02,
				       0xaa, 0,	   0, 0, 0x01, 0x08, 0x00};
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.66");
	static const uint8_t none[14];

	resolve(f, &ep);
	assert_false(f->route.l2_ok);
	assert_memory_equal(f->route.l2, none, 14);
	far_ip(f, "addr add 10.0.0.66/24 dev b0");
	resolve_l2(f, &ep);
	assert_memory_equal(f->route.l2, l2, 14);
	assert_int_equal(f->route.ifindex, f->a0);
	assert_addr(&f->route.nexthop, "10.0.0.66");
	assert_addr(&f->route.source, "10.0.0.1");
	assert_int_equal(f->route.mtu, 1500);
	assert_int_equal(f->route.ttl, 64);
	assert_false(f->route.source_gone);
}

static void test_on_link_v6(void **state)
{
	static const uint8_t l2[14] = {0x02, 0xaa, 0, 0, 0,    0x02, 0x02,
				       0xaa, 0,	   0, 0, 0x01, 0x86, 0xdd};
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("fd00::66");

	resolve(f, &ep);
	assert_false(f->route.l2_ok);
	far_ip(f, "addr add fd00::66/64 dev b0 nodad");
	resolve_l2(f, &ep);
	assert_memory_equal(f->route.l2, l2, 14);
	assert_int_equal(f->route.ifindex, f->a0);
	assert_addr(&f->route.nexthop, "fd00::66");
	assert_addr(&f->route.source, "fd00::1");
	assert_int_equal(f->route.mtu, 1500);
	assert_int_equal(f->route.ttl, 64);
}

static void test_gateway_v4(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("192.0.2.7");

	ip("route add 192.0.2.0/24 via 10.0.0.2 mtu 1300 hoplimit 33");
	resolve_l2(f, &ep);
	assert_memory_equal(f->route.l2, far_mac, 6);
	assert_addr(&f->route.nexthop, "10.0.0.2");
	assert_addr(&f->route.source, "10.0.0.1");
	assert_int_equal(f->route.mtu, 1300);
	assert_int_equal(f->route.ttl, 33);
}

static void test_gateway_v6(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("2001:db8::7");

	ip("route add 2001:db8::/32 via fe80::2 dev a0 mtu 1400 hoplimit 200");
	resolve_l2(f, &ep);
	assert_memory_equal(f->route.l2, far_mac, 6);
	assert_addr(&f->route.nexthop, "fe80::2");
	assert_addr(&f->route.source, "fd00::1");
	assert_int_equal(f->route.mtu, 1400);
	assert_int_equal(f->route.ttl, 200);
}

static void write_sysctl(const char *path, const char *value)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(value, f);
	assert_int_equal(fclose(f), 0);
}

/* The host's default, if the route has none. */
static void test_default_ttl(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep4 = endpoint_of("10.0.0.2"), ep6 = endpoint_of("fd00::2");

	write_sysctl("/proc/sys/net/ipv4/ip_default_ttl", "99");
	write_sysctl("/proc/sys/net/ipv6/conf/a0/hop_limit", "77");
	resolve(f, &ep4);
	assert_int_equal(f->route.ttl, 64); /* there is no event */
	routing_refresh(&f->routing, ROUTING_MAX_AGE_NS - 1);
	resolve(f, &ep4);
	assert_int_equal(f->route.ttl, 64);
	routing_refresh(&f->routing, ROUTING_MAX_AGE_NS);
	resolve(f, &ep4);
	assert_int_equal(f->route.ttl, 99);
	resolve(f, &ep6);
	assert_int_equal(f->route.ttl, 77);
	ip("route add 192.0.2.0/24 via 10.0.0.2 hoplimit 33");
	ep4 = endpoint_of("192.0.2.7");
	resolve(f, &ep4);
	assert_int_equal(f->route.ttl, 33);
}

static void test_v4_route_by_v6_gateway(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("198.51.100.1");

	ip("route add 198.51.100.0/24 via inet6 fd00::2 dev a0");
	resolve_l2(f, &ep);
	assert_addr(&f->route.nexthop, "fd00::2");
	assert_addr(&f->route.source, "10.0.0.1");
	assert_memory_equal(f->route.l2, far_mac, 6);
	assert_int_equal(f->route.l2[12], 0x08);
	assert_int_equal(f->route.l2[13], 0x00);
}

static void test_device_mtu_below_route_mtu(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("192.0.2.7");

	ip("route add 192.0.2.0/24 via 10.0.0.2 mtu 1450");
	ip("link set a0 mtu 1400");
	resolve(f, &ep);
	assert_int_equal(f->route.mtu, 1400);
}

static void test_fwmark(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep4 = endpoint_of("192.0.2.7");
	struct endpoint ep6 = endpoint_of("2001:db8::7");

	ip("rule add fwmark 0x51 lookup 77");
	ip("-6 rule add fwmark 0x51 lookup 77");
	ip("route add 192.0.2.0/24 via 10.0.0.3 table 77");
	ip("route add 2001:db8::/32 via fd00::3 table 77");
	assert_int_equal(resolve_error(f, "192.0.2.7"), -ENETUNREACH);
	assert_int_equal(resolve_error(f, "2001:db8::7"), -ENETUNREACH);
	assert_int_equal(route_resolve(&f->routing, &ep4, LISTEN_PORT, 0x51, &f->route),
			 0);
	assert_addr(&f->route.nexthop, "10.0.0.3");
	assert_int_equal(route_resolve(&f->routing, &ep6, LISTEN_PORT, 0x51, &f->route),
			 0);
	assert_addr(&f->route.nexthop, "fd00::3");
}

static void test_rules_by_port(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("192.0.2.7");

	ip("route add 192.0.2.0/24 via 10.0.0.2");
	ip("route add 192.0.2.0/24 via 10.0.0.3 table 77");
	ip("rule add ipproto 17 sport 51820 dport 51821 lookup 77");
	resolve(f, &ep);
	assert_addr(&f->route.nexthop, "10.0.0.3");
	assert_int_equal(route_resolve(&f->routing, &ep, 51821, 0, &f->route), 0);
	assert_addr(&f->route.nexthop, "10.0.0.2");
	assert_int_equal(route_resolve(&f->routing, &ep, 0, 0, &f->route), 0);
	assert_addr(&f->route.nexthop, "10.0.0.2");
}

static void source_comes_and_goes(struct fixture *f, const char *dst, const char *first,
				  const char *other)
{
	struct endpoint ep = endpoint_of(dst);

	ep.source = addr_of(other);
	resolve(f, &ep);
	assert_addr(&f->route.source, other);
	assert_false(f->route.source_gone);
	drain(f);

	f->affected = false;
	ip("addr del %s/128 dev a0", other);
	wait_for(f, is_affected);
	resolve(f, &ep);
	assert_addr(&f->route.source, first);
	assert_true(f->route.source_gone);
	assert_int_equal(f->route.ifindex, f->a0);
	drain(f);

	f->affected = false;
	ip("addr add %s/128 dev a0 nodad", other);
	wait_for(f, is_affected);
	wait_for_address(0, other, "a0");
	resolve(f, &ep);
	assert_addr(&f->route.source, other);
	assert_false(f->route.source_gone);
}

/* The kernel would choose the sticky source by itself, too; and the same way with it. */
static void test_source_default(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");

	ip("addr add 10.0.0.9/24 dev a0");
	resolve(f, &ep);
	assert_false(f->route.source_default);
	ep.source = addr_of("10.0.0.1");
	resolve(f, &ep);
	assert_true(f->route.source_default);
	ep.source = addr_of("10.0.0.9");
	resolve(f, &ep);
	assert_false(f->route.source_default);
	assert_false(f->route.source_gone);
	ip("route add 10.0.0.2 dev a0 src 10.0.0.9");
	resolve(f, &ep);
	assert_true(f->route.source_default);
	ip("route add default via 10.0.0.3 table 77");
	ip("rule add from 10.0.0.9 lookup 77");
	resolve(f, &ep);
	assert_addr(&f->route.nexthop, "10.0.0.3");
	assert_false(f->route.source_default);
}

static void test_source_default_v6(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("fd00::2");
	uint32_t before;

	ep.source = addr_of("fd00::1");
	resolve_l2(f, &ep);
	before = f->rtnl.seq;
	resolve(f, &ep);
	assert_true(f->route.source_default);
	assert_int_equal(f->rtnl.seq - before, 2);
}

static void test_source_v4(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");

	ep.source = addr_of("10.0.0.9");
	resolve(f, &ep);
	assert_true(f->route.source_gone);
	drain(f);

	f->affected = false;
	ip("addr add 10.0.0.9/32 dev a0");
	wait_for(f, is_affected);
	resolve(f, &ep);
	assert_addr(&f->route.source, "10.0.0.9");
	assert_false(f->route.source_gone);
	drain(f);

	f->affected = false;
	ip("addr del 10.0.0.9/32 dev a0");
	wait_for(f, is_affected);
	resolve(f, &ep);
	assert_addr(&f->route.source, "10.0.0.1");
	assert_true(f->route.source_gone);
}

static void test_source_v6(void **state)
{
	ip("addr add fd00::9/128 dev a0 nodad");
	wait_for_address(0, "fd00::9", "a0");
	/* A /128 is deprecated for source selection here, so that fd00::1 is first. */
	ip("addr change fd00::9/128 dev a0 nodad preferred_lft 0");
	source_comes_and_goes(*state, "fd00::2", "fd00::1", "fd00::9");
}

static void left_source(struct fixture *f, const char *dst, const char *ours,
			const char *on_lo)
{
	struct endpoint ep = endpoint_of(dst);

	assert_false(route_left_source(&f->routing, &ep, f->a0, 0)); /* there is none */
	ep.source = addr_of(ours);
	assert_true(route_left_source(&f->routing, &ep, f->a0, f->a0 + 100));
	assert_true(route_left_source(&f->routing, &ep, f->a0, 0));
	assert_false(route_left_source(&f->routing, &ep, f->a0, f->a0));
	assert_false(route_left_source(&f->routing, &ep, 0, f->a0));
	assert_false(route_left_source(&f->routing, &ep, f->a0 + 100, f->a0));
	ep.source = addr_of(on_lo);
	assert_false(route_left_source(&f->routing, &ep, f->a0, f->a0 + 100));
	assert_false(route_left_source(&f->routing, &ep, f->a0, 0));
}

static void test_source_left_behind(void **state)
{
	struct fixture *f = *state;

	ip("link set lo up");
	ip("addr add 10.9.9.9/32 dev lo");
	ip("addr add fd99::9/128 dev lo");
	left_source(f, "10.0.0.2", "10.0.0.1", "10.9.9.9");
	left_source(f, "fd00::2", "fd00::1", "fd99::9");
}

static void test_link_of_address(void **state)
{
	struct fixture *f = *state;
	struct ip_addr addr = addr_of("10.0.0.1");
	uint32_t ifindex;

	assert_int_equal(rtnl_addr_link(&f->rtnl, &addr, &ifindex), 0);
	assert_int_equal(ifindex, f->a0);
	addr = addr_of("fd00::1");
	assert_int_equal(rtnl_addr_link(&f->rtnl, &addr, &ifindex), 0);
	assert_int_equal(ifindex, f->a0);
	addr = addr_of("10.0.0.2");
	assert_int_equal(rtnl_addr_link(&f->rtnl, &addr, &ifindex), -EADDRNOTAVAIL);
	assert_int_equal(ifindex, 0);
	addr = addr_of("fd00::2");
	assert_int_equal(rtnl_addr_link(&f->rtnl, &addr, &ifindex), -EADDRNOTAVAIL);
	memset(&addr, 0, sizeof(addr));
	assert_int_equal(rtnl_addr_link(&f->rtnl, &addr, &ifindex), -EAFNOSUPPORT);
}

/* If a rule forbids a source address to reach the endpoint, it is not used. */
static void test_source_without_route(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");

	ip("addr add 10.0.0.9/32 dev a0");
	ip("rule add from 10.0.0.9 unreachable");
	ep.source = addr_of("10.0.0.9");
	resolve(f, &ep);
	assert_addr(&f->route.source, "10.0.0.1");
	assert_true(f->route.source_gone);
}

static void test_refusing_routes(void **state)
{
	struct fixture *f = *state;

	ip("route add blackhole 192.0.2.1");
	ip("route add unreachable 192.0.2.2");
	ip("route add prohibit 192.0.2.3");
	ip("-6 route add blackhole 2001:db8::1");
	ip("-6 route add unreachable 2001:db8::2");
	ip("-6 route add prohibit 2001:db8::3");
	assert_int_equal(resolve_error(f, "192.0.2.1"), -EINVAL);
	assert_int_equal(resolve_error(f, "192.0.2.2"), -EHOSTUNREACH);
	assert_int_equal(resolve_error(f, "192.0.2.3"), -EACCES);
	assert_int_equal(resolve_error(f, "192.0.2.4"), -ENETUNREACH);
	assert_int_equal(resolve_error(f, "2001:db8::1"), -EINVAL);
	assert_int_equal(resolve_error(f, "2001:db8::2"), -EHOSTUNREACH);
	assert_int_equal(resolve_error(f, "2001:db8::3"), -EACCES);
	assert_int_equal(resolve_error(f, "2001:db8::4"), -ENETUNREACH);
}

static void test_no_address(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep;

	memset(&ep, 0, sizeof(ep));
	assert_int_equal(route_resolve(&f->routing, &ep, LISTEN_PORT, 0, &f->route),
			 -EAFNOSUPPORT);
}

static void test_link_local_scope(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("fe80::2");

	ip("link add d0 type veth peer name e0");
	ip("link set e0 addrgenmode none up");
	ip("link set d0 addrgenmode none up");
	ip("addr add fe80::d/64 dev d0 nodad");
	wait_for_address(0, "fe80::d", "d0");
	assert_int_equal(resolve_error(f, "fe80::2"), -EINVAL);

	ep.scope_id = if_nametoindex("d0");
	resolve(f, &ep);
	assert_int_equal(f->route.ifindex, if_nametoindex("d0"));
	assert_addr(&f->route.source, "fe80::d");

	ep.scope_id = f->a0;
	ep.source = addr_of("fe80::1");
	resolve_l2(f, &ep);
	assert_int_equal(f->route.ifindex, f->a0);
	assert_addr(&f->route.source, "fe80::1");
	assert_false(f->route.source_gone);
	assert_memory_equal(f->route.l2, far_mac, 6);

	/* That one is on the other device. */
	ep.source = addr_of("fe80::d");
	resolve(f, &ep);
	assert_addr(&f->route.source, "fe80::1");
	assert_true(f->route.source_gone);
}

static void test_local_route(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep4 = endpoint_of("10.0.0.1");
	struct endpoint ep6 = endpoint_of("fd00::1");

	resolve(f, &ep4);
	assert_int_equal(f->route.ifindex, if_nametoindex("lo"));
	assert_false(f->route.l2_ok);
	resolve(f, &ep6);
	assert_int_equal(f->route.ifindex, if_nametoindex("lo"));
	assert_false(f->route.l2_ok);
}

static void test_broadcast_and_multicast_have_no_l2(void **state)
{
	struct fixture *f = *state;
	struct endpoint bc = endpoint_of("10.0.0.255");
	struct endpoint mc = endpoint_of("224.1.2.3");

	ip("route add 224.0.0.0/4 dev a0");
	resolve(f, &bc);
	assert_false(f->route.l2_ok);
	resolve(f, &mc);
	assert_false(f->route.l2_ok);
}

static void test_neighbour_fails(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");

	ip("neigh add 10.0.0.2 lladdr 02:aa:00:00:00:02 dev a0 nud permanent");
	resolve(f, &ep);
	assert_true(f->route.l2_ok);
	drain(f);

	f->affected = false;
	ip("neigh replace 10.0.0.2 lladdr 02:aa:00:00:00:02 dev a0 nud failed");
	wait_for(f, is_affected);
	/* With the far end silent it stays so. */
	far_ip(f, "link set b0 arp off");
	resolve(f, &ep);
	assert_false(f->route.l2_ok);
}

static bool neigh_failed(const struct fixture *f)
{
	return f->neigh_state == NUD_FAILED;
}

/* No host has 10.0.0.77: there is one probe, and its failure causes no other. */
static void test_dead_neighbour_is_not_asked_again(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.77");

	sysctl_set("/proc/sys/net/ipv4/neigh/a0/mcast_solicit", "1");
	sysctl_set("/proc/sys/net/ipv4/neigh/a0/retrans_time_ms", "50");
	resolve(f, &ep);
	wait_for(f, neigh_failed);
	assert_false(f->affected);
	assert_false(f->route.l2_ok);
}

static bool neigh_reachable(const struct fixture *f)
{
	return f->neigh_state == NUD_REACHABLE;
}

/* The kernel would leave it stale, because it does not see the workers' packets. */
static void test_stale_neighbour_is_confirmed(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");

	sysctl_set("/proc/sys/net/ipv4/neigh/a0/delay_first_probe_time", "0");
	ip("neigh add 10.0.0.2 lladdr 02:aa:00:00:00:02 dev a0 nud stale");
	drain(f);
	resolve(f, &ep);
	assert_true(f->route.l2_ok);
	assert_int_equal(route_keep_neigh(&f->routing, &f->route), 0);
	wait_for(f, neigh_reachable);
}

static void assert_neigh(const char *options)
{
	char cmd[160];

	snprintf(cmd, sizeof(cmd), "ip neigh show 10.0.0.2 dev a0 | grep -q '%s'",
		 options);
	assert_int_equal(system(cmd), 0);
}

/* NTF_USE would turn it into an ordinary entry, which the network can change. */
static void test_entries_of_others_are_kept(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");
	static const uint8_t mac[6] = {0x02, 0xaa, 0, 0, 0, 0x44};

	ip("neigh add 10.0.0.2 lladdr 02:aa:00:00:00:44 dev a0 nud permanent");
	resolve(f, &ep);
	assert_true(f->route.l2_ok);
	assert_memory_equal(f->route.l2, mac, 6);
	assert_int_equal(route_keep_neigh(&f->routing, &f->route), 0);
	assert_neigh("02:aa:00:00:00:44 PERMANENT");

	ip("neigh replace 10.0.0.2 lladdr 02:aa:00:00:00:44 dev a0 nud stale "
	   "extern_learn");
	resolve(f, &ep);
	assert_neigh("extern_learn");

	ip("neigh replace 10.0.0.2 dev a0 managed");
	resolve(f, &ep);
	assert_neigh("managed");
}

static void test_far_mac_changes(void **state)
{
	static const uint8_t changed[6] = {0x02, 0xaa, 0, 0, 0, 0x99};
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");
	struct route before;

	resolve_l2(f, &ep);
	before = f->route;
	drain(f);

	f->affected = false;
	ip("neigh replace 10.0.0.2 lladdr 02:aa:00:00:00:99 dev a0 nud reachable");
	wait_for(f, is_affected);
	resolve(f, &ep);
	assert_true(f->route.l2_ok);
	assert_memory_equal(f->route.l2, changed, 6);
	assert_memory_not_equal(&f->route, &before, sizeof(before));
}

static void test_own_mac_and_mtu_change(void **state)
{
	static const uint8_t changed[6] = {0x02, 0xaa, 0, 0, 0, 0x55};
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");

	ip("neigh add 10.0.0.2 lladdr 02:aa:00:00:00:02 dev a0 nud permanent");
	resolve(f, &ep);
	assert_memory_equal(f->route.l2 + 6, near_mac, 6);
	drain(f);

	f->affected = false;
	ip("link set a0 address 02:aa:00:00:00:55");
	wait_for(f, is_affected);
	/* It made the kernel forget the neighbour. */
	resolve_l2(f, &ep);
	assert_memory_equal(f->route.l2 + 6, changed, 6);
	drain(f);

	f->affected = false;
	ip("link set a0 mtu 1440");
	wait_for(f, is_affected);
	resolve(f, &ep);
	assert_int_equal(f->route.mtu, 1440);
}

static void test_other_neighbours_do_not_matter(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");

	ip("link add d0 type veth peer name e0");
	ip("neigh add 10.0.0.2 lladdr 02:aa:00:00:00:02 dev a0 nud permanent");
	drain(f);
	resolve(f, &ep);
	ip("neigh add 10.0.0.4 lladdr 02:aa:00:00:00:04 dev a0");
	ip("neigh add 10.0.0.2 lladdr 02:aa:00:00:00:02 dev d0");
	drain(f);
	assert_false(f->affected);
}

static bool routes_changed(const struct fixture *f)
{
	return f->routes > 0;
}

static void test_route_events(void **state)
{
	static const char *const commands[] = {
		"route add 192.0.2.0/24 via 10.0.0.2",	"route del 192.0.2.0/24",
		"route add 2001:db8::/32 via fd00::2",	"route del 2001:db8::/32",
		"rule add fwmark 7 lookup 77",		"-6 rule add fwmark 7 lookup 77",
		"nexthop add id 5 via 10.0.0.2 dev a0",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		drain(f);
		f->routes = 0;
		ip("%s", commands[i]);
		wait_for(f, routes_changed);
		assert_int_equal(f->routes, 1);
	}
}

struct prefix {
	struct ip_addr addr;
	unsigned len;
};

static void on_prefix(void *ctx, const struct ip_addr *addr, unsigned len)
{
	*(struct prefix *)ctx = (struct prefix){.addr = *addr, .len = len};
}

static void test_route_events_name_the_prefix(void **state)
{
	static const struct {
		const char *command, *addr;
		unsigned len;
	} cases[] = {
		{"route add 192.0.2.0/25 via 10.0.0.2", "192.0.2.0", 25},
		{"route del 192.0.2.0/25", "192.0.2.0", 25},
		{"route add 2001:db8::/32 via fd00::2", "2001:db8::", 32},
		{"route add default via 10.0.0.2", "0.0.0.0", 0},
		{"-6 route add default via fd00::2", "::", 0},
	};
	static const struct rtnl_handler prefixes = {.route = on_prefix};
	struct fixture *f = *state;
	struct prefix got;

	drain(f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&got, 0, sizeof(got));
		ip("%s", cases[i].command);
		assert_int_equal(rtnl_dispatch(&f->rtnl, RTNL_ROUTING, &prefixes, &got),
				 0);
		assert_addr(&got.addr, cases[i].addr);
		assert_int_equal(got.len, cases[i].len);
	}
}

static bool link_gone(const struct fixture *f)
{
	return f->links && !f->link_present;
}

static void test_device_removed(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");
	struct rtnl_link link;
	uint8_t mac[6];

	resolve_l2(f, &ep);
	drain(f);
	strcpy(f->watched, "a0");
	f->affected = false;
	ip("link del a0");
	wait_for(f, link_gone);
	assert_true(f->affected);
	assert_int_equal(resolve_error(f, "10.0.0.2"), -ENETUNREACH);
	assert_int_equal(rtnl_link_get(&f->rtnl, f->a0, &link), -ENODEV);
	assert_true(rtnl_neigh_get(&f->rtnl, f->a0, &ep.addr, mac) < 0);
	assert_true(rtnl_neigh_probe(&f->rtnl, f->a0, &ep.addr) < 0);
}

static void test_not_ethernet(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("192.0.2.7");

	ip("tuntap add t0 mode tun");
	ip("link set t0 up");
	ip("route add 192.0.2.0/24 dev t0");
	resolve(f, &ep);
	assert_int_equal(f->route.ifindex, if_nametoindex("t0"));
	assert_false(f->route.l2_ok);
}

static void test_route_with_encapsulation(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("192.0.2.7");

	if (system("ip route add 192.0.2.0/24 encap ip id 1 dst 10.0.0.2 via 10.0.0.2 "
		   "dev a0 2>/dev/null")) {
		print_message("needs a kernel with LWTUNNEL\n");
		skip();
	}
	ip("neigh add 10.0.0.2 lladdr 02:aa:00:00:00:02 dev a0 nud permanent");
	resolve(f, &ep);
	assert_addr(&f->route.nexthop, "10.0.0.2");
	assert_false(f->route.l2_ok);
}

static void test_device_without_arp(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("192.0.2.7");

	ip("link add d0 address 02:aa:00:00:00:0d type veth peer name e0");
	ip("link set e0 up");
	ip("link set d0 up arp off");
	ip("addr add 192.0.2.1/24 dev d0");
	resolve(f, &ep);
	assert_true(f->route.l2_ok);
}

/* Without a local address a worker has no source for the header. */
static void test_no_source(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");

	ip("addr flush dev a0");
	ip("route add 10.0.0.0/24 dev a0");
	ip("neigh add 10.0.0.2 lladdr 02:aa:00:00:00:02 dev a0 nud permanent");
	resolve(f, &ep);
	assert_int_equal(f->route.source.family, IP_NONE);
	assert_false(f->route.l2_ok);
}

static void test_route_get_values(void **state)
{
	static const struct ip_addr none;
	struct fixture *f = *state;
	struct ip_addr dst = addr_of("192.0.2.7"), src = addr_of("10.0.0.1");
	struct ip_addr foreign = addr_of("10.0.0.200"), v6 = addr_of("fd00::1");
	struct rtnl_route rt;

	ip("route add 192.0.2.0/24 via 10.0.0.2");
	assert_int_equal(rtnl_route_get(&f->rtnl, &dst, &none, 0, 0, 1, 2, &rt), 0);
	assert_int_equal(rt.type, RTN_UNICAST);
	assert_int_equal(rt.mtu, 0);
	assert_int_equal(rt.hoplimit, 0);
	assert_false(rt.encap);
	assert_int_equal(rtnl_route_get(&f->rtnl, &src, &none, 0, 0, 1, 2, &rt), 0);
	assert_int_equal(rt.type, RTN_LOCAL);
	/* Which error depends on the kernel. */
	assert_true(rtnl_route_get(&f->rtnl, &dst, &foreign, 0, 0, 1, 2, &rt) < 0);
	assert_int_equal(rtnl_route_get(&f->rtnl, &dst, &v6, 0, 0, 1, 2, &rt),
			 -EAFNOSUPPORT);
}

static void test_neigh_states(void **state)
{
	static const struct {
		const char *name;
		int result;
	} cases[] = {
		{"permanent", 0},    {"noarp", 0},	{"reachable", 0},
		{"stale", 0},	     {"delay", 0},	{"probe", 0},
		{"failed", -ENOENT}, {"none", -ENOENT}, {"incomplete", -ENOENT},
	};
	struct fixture *f = *state;
	struct ip_addr addr = addr_of("10.0.0.50");
	uint8_t mac[6];

	assert_int_equal(rtnl_neigh_get(&f->rtnl, f->a0, &addr, mac), -ENOENT);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static const uint8_t want[6] = {0x02, 0xaa, 0, 0, 0, 0x50};
		static const uint8_t zero[6];

		ip("neigh replace 10.0.0.50 lladdr 02:aa:00:00:00:50 dev a0 nud %s",
		   cases[i].name);
		assert_int_equal(rtnl_neigh_get(&f->rtnl, f->a0, &addr, mac),
				 cases[i].result);
		assert_memory_equal(mac, cases[i].result ? zero : want, 6);
	}
}

static bool link_seen(const struct fixture *f)
{
	return f->links && f->link_present;
}

static void test_link_values(void **state)
{
	struct fixture *f = *state;
	struct rtnl_link link;

	ip("link add br0 type bridge");
	ip("link set a0 mtu 1444 master br0");
	assert_int_equal(rtnl_link_get(&f->rtnl, f->a0, &link), 0);
	assert_string_equal(link.name, "a0");
	assert_string_equal(link.kind, "veth");
	assert_memory_equal(link.mac, near_mac, 6);
	assert_int_equal(link.mtu, 1444);
	assert_int_equal(link.type, ARPHRD_ETHER);
	assert_int_equal(link.rx_queues, 3);
	assert_int_equal(link.tx_queues, 2);
	assert_int_equal(link.master, if_nametoindex("br0"));
	assert_true(link.flags & IFF_UP);
	assert_int_equal(rtnl_link_get(&f->rtnl, if_nametoindex("lo"), &link), 0);
	assert_int_equal(link.type, ARPHRD_LOOPBACK);
	assert_string_equal(link.kind, "");
	assert_int_equal(link.master, 0);
	assert_int_equal(rtnl_link_get(&f->rtnl, 0, &link), -ENODEV);
	assert_int_equal(rtnl_link_get(&f->rtnl, 9999, &link), -ENODEV);
}

/* --- tables that events keep --- */

static unsigned count_links(const struct links *t)
{
	unsigned n = 0;

	for (uint32_t ifindex = 1; ifindex < 2000; ifindex++)
		n += links_find(t, ifindex) != NULL;
	return n;
}

static void test_links_are_read(void **state)
{
	struct fixture *f = *state;
	const struct links *t = &f->routing.links;
	const struct rtnl_link *link = links_find(t, f->a0);
	struct rtnl_link asked;

	assert_non_null(link);
	assert_int_equal(rtnl_link_get(&f->rtnl, f->a0, &asked), 0);
	assert_string_equal(link->name, asked.name);
	assert_string_equal(link->kind, "veth");
	assert_memory_equal(link->mac, near_mac, 6);
	assert_int_equal(link->mtu, asked.mtu);
	assert_int_equal(link->mtu6, asked.mtu6);
	assert_int_equal(link->hop_limit, asked.hop_limit);
	assert_int_equal(link->type, ARPHRD_ETHER);
	assert_int_equal(link->rx_queues, 3);
	assert_true(link->flags & IFF_UP);
	link = links_find(t, if_nametoindex("lo"));
	assert_non_null(link);
	assert_int_equal(link->type, ARPHRD_LOOPBACK);
	assert_null(links_find(t, 0));
	assert_null(links_find(t, 9999));
}

static void test_links_follow_events(void **state)
{
	struct fixture *f = *state;
	const struct links *t = &f->routing.links;
	uint32_t d0;

	drain(f);
	ip("link add d0 type veth peer name e0");
	d0 = if_nametoindex("d0");
	assert_null(links_find(t, d0));
	drain(f);
	assert_string_equal(links_find(t, d0)->name, "d0");
	ip("link set d0 name d7");
	ip("link set a0 mtu 1400");
	ip("link set a0 down");
	drain(f);
	assert_string_equal(links_find(t, d0)->name, "d7");
	assert_int_equal(links_find(t, f->a0)->mtu, 1400);
	assert_false(links_find(t, f->a0)->flags & IFF_UP);
	ip("link del d7");
	drain(f);
	assert_null(links_find(t, d0));
	assert_non_null(links_find(t, f->a0));
}

/* More links than buckets; a read removes links whose deletion was not seen. */
static void test_links_are_read_again(void **state)
{
	struct fixture *f = *state;
	struct links *t = &f->routing.links;
	unsigned before = count_links(t);
	struct rtnl_link link = {.name = "ghost"};

	for (uint32_t i = 1000; i < 1000 + 2 * LINKS_BUCKETS; i++)
		assert_int_equal(links_note(t, i, &link), 0);
	assert_int_equal(count_links(t), before + 2 * LINKS_BUCKETS);
	assert_int_equal(links_note(t, 1000 + LINKS_BUCKETS, NULL), 0);
	assert_int_equal(links_note(t, 1000 + LINKS_BUCKETS, NULL), 0);
	assert_int_equal(count_links(t), before + 2 * LINKS_BUCKETS - 1);
	assert_int_equal(routing_read(&f->routing, 1), 0);
	assert_int_equal(count_links(t), before);
	assert_string_equal(links_find(t, f->a0)->name, "a0");
}

static void test_links_stay_if_they_cannot_be_read(void **state)
{
	struct fixture *f = *state;
	struct rtnl closed = {0};

	assert_int_equal(rtnl_open(&closed), 0);
	close(mnl_socket_get_fd(closed.query));
	assert_true(links_read(&f->routing.links, &closed) < 0);
	assert_non_null(links_find(&f->routing.links, f->a0));
	rtnl_close(&closed); /* frees the socket that has no descriptor any more, too */
}

/* One netlink exchange per path: the route itself. */
static void test_exchanges_per_path(void **state)
{
	struct fixture *f = *state;
	struct endpoint ep = endpoint_of("10.0.0.2");
	uint32_t before;

	resolve_l2(f, &ep);
	before = f->rtnl.seq;
	for (int i = 0; i < 5; i++)
		resolve(f, &ep);
	assert_true(f->route.l2_ok);
	assert_int_equal(f->rtnl.seq - before, 5);
}

static void test_neighbours_follow_events(void **state)
{
	struct fixture *f = *state;
	struct neighbours *t = &f->routing.neighbours;
	struct ip_addr asked = addr_of("10.0.0.50");
	uint8_t mac[6];
	uint32_t before;

	ip("neigh add 10.0.0.50 lladdr 02:aa:00:00:00:50 dev a0 nud permanent");
	ip("neigh add 10.0.0.51 lladdr 02:aa:00:00:00:51 dev a0 nud permanent");
	drain(f);
	assert_int_equal(t->count, 0); /* no look-up asked for them */
	assert_int_equal(neighbours_get(t, &f->rtnl, f->a0, &asked, mac), 0);
	assert_int_equal(t->count, 1);

	ip("neigh replace 10.0.0.50 lladdr 02:aa:00:00:00:99 dev a0 nud permanent");
	drain(f);
	before = f->rtnl.seq;
	assert_int_equal(neighbours_get(t, &f->rtnl, f->a0, &asked, mac), 0);
	assert_int_equal(mac[5], 0x99);
	assert_int_equal(f->rtnl.seq, before);

	ip("neigh del 10.0.0.50 dev a0");
	drain(f);
	assert_int_equal(t->count, 0);
}

static void test_neighbours_go_with_the_link(void **state)
{
	struct fixture *f = *state;
	struct neighbours *t = &f->routing.neighbours;
	struct ip_addr addr = addr_of("10.0.0.50");
	uint8_t mac[6];

	ip("neigh add 10.0.0.50 lladdr 02:aa:00:00:00:50 dev a0 nud permanent");
	drain(f);
	assert_int_equal(neighbours_get(t, &f->rtnl, f->a0, &addr, mac), 0);
	ip("link del a0");
	drain(f);
	assert_int_equal(t->count, 0);
}

static void test_neighbours_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct neighbours *t = &f->routing.neighbours;
	struct ip_addr addr = addr_of("10.1.0.0");
	uint8_t mac[6];
	char cmd[256];

	/* Permanent ones do not count towards the kernel's own limit. */
	snprintf(
		cmd, sizeof(cmd),
		"for i in $(seq 0 %d); do echo neigh add 10.1.$((i / 256)).$((i %% 256)) "
		"lladdr 02:aa:00:00:00:50 dev a0 nud permanent; done | ip -batch -",
		NEIGHBOURS_MAX + 9);
	assert_int_equal(system(cmd), 0);
	for (unsigned i = 0; i < NEIGHBOURS_MAX + 10; i++) {
		addr.bytes[2] = (uint8_t)(i >> 8);
		addr.bytes[3] = (uint8_t)i;
		assert_int_equal(neighbours_get(t, &f->rtnl, f->a0, &addr, mac), 0);
		assert_true(t->count <= NEIGHBOURS_MAX);
	}
	assert_int_equal(t->count, 10);
}

/* The kernel then sends RTM_DELLINK, too, but of family AF_BRIDGE. */
static void test_link_leaves_bridge(void **state)
{
	struct fixture *f = *state;

	ip("link add br0 type bridge");
	ip("link set a0 master br0");
	drain(f);
	strcpy(f->watched, "a0");
	f->links = 0;
	ip("link set a0 nomaster");
	wait_for(f, link_seen);
	assert_int_equal(f->links_gone, 0);
	assert_int_equal(f->link.master, 0);
}

struct addr_list {
	struct ip_addr addrs[16], broadcasts[16];
	uint32_t ifindexes[16];
	size_t count;
};

static void collect(void *ctx, const struct rtnl_addr *addr)
{
	struct addr_list *list = ctx;

	assert_true(list->count < 16);
	list->broadcasts[list->count] = addr->broadcast;
	list->addrs[list->count] = addr->addr;
	list->ifindexes[list->count++] = addr->ifindex;
}

static bool listed(const struct addr_list *list, const char *text, uint32_t ifindex)
{
	struct ip_addr a = addr_of(text);

	for (size_t i = 0; i < list->count; i++)
		if (ip_addr_equal(&list->addrs[i], &a) && list->ifindexes[i] == ifindex)
			return true;
	return false;
}

/* Returns the only address on that device. */
static size_t find_on(const struct addr_list *list, const char *device)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->ifindexes[i] == if_nametoindex(device))
			return i;
	fail_msg("no address on %s", device);
	return 0;
}

static void test_addr_dump(void **state)
{
	struct fixture *f = *state;
	struct addr_list list = {.count = 0};
	uint32_t lo = if_nametoindex("lo");

	ip("addr add 10.9.0.1 peer 10.9.0.2 dev a0");
	ip("addr add fd09::1 peer fd09::2 dev a0 nodad");
	assert_int_equal(rtnl_addr_dump(&f->rtnl, collect, &list), 0);
	assert_int_equal(list.count, 7);
	assert_true(listed(&list, "127.0.0.1", lo));
	assert_true(listed(&list, "::1", lo));
	assert_true(listed(&list, "10.0.0.1", f->a0));
	assert_true(listed(&list, "10.9.0.1", f->a0));
	assert_true(listed(&list, "fd00::1", f->a0));
	assert_true(listed(&list, "fd09::1", f->a0));
	assert_true(listed(&list, "fe80::1", f->a0));
}

/* The subnet's broadcast address; none for one or two addresses, none in IPv6. */
static void test_addr_broadcast(void **state)
{
	static const char *const subnets[] = {"10.8.1.7/24", "10.8.2.7/31", "10.8.3.7/32",
					      "10.8.4.7/12", "fd08::1/64"};
	static const char *const last[] = {"10.8.1.255", NULL, NULL, "10.15.255.255",
					   NULL};
	struct fixture *f = *state;
	char command[64];

	for (size_t i = 0; i < 5; i++) {
		struct addr_list list = {.count = 0};
		struct ip_addr want = {0};

		snprintf(command, sizeof(command), "addr add %s dev e1", subnets[i]);
		ip("link add e1 type veth peer name e2");
		ip(command);
		assert_int_equal(rtnl_addr_dump(&f->rtnl, collect, &list), 0);
		if (last[i])
			want = addr_of(last[i]);
		assert_true(list.count > 0);
		assert_true(ip_addr_equal(&list.broadcasts[find_on(&list, "e1")], &want));
		ip("link del e1");
	}
}

static bool addr_removed(const struct fixture *f)
{
	return f->addrs_removed > 0;
}

static void test_addr_events(void **state)
{
	static const char *const addrs[] = {"10.7.0.1", "fd07::1"};
	struct fixture *f = *state;

	for (int i = 0; i < 2; i++) {
		f->addr = addr_of(addrs[i]);
		f->addrs_added = f->addrs_removed = 0;
		ip("addr add %s dev a0", addrs[i]);
		ip("addr del %s/%d dev a0", addrs[i], i ? 128 : 32);
		wait_for(f, addr_removed);
		assert_int_equal(f->addrs_added, 1);
		assert_int_equal(f->addrs_removed, 1);
	}
}

static bool overran(const struct fixture *f)
{
	return f->overruns > 0;
}

static void add_routes(int count)
{
	char cmd[160];

	snprintf(cmd, sizeof(cmd),
		 "for i in $(seq 0 %d); do echo route add 192.$((i / 200)).$((i %% "
		 "200)).1 "
		 "via 10.0.0.2; done | ip -batch -",
		 count - 1);
	assert_int_equal(system(cmd), 0);
}

static void set_event_buffer(struct fixture *f, int size)
{
	drain(f);
	f->routes = 0;
	assert_int_equal(setsockopt(rtnl_event_fd(&f->rtnl, RTNL_ROUTING), SOL_SOCKET,
				    SO_RCVBUFFORCE, &size, sizeof(size)),
			 0);
}

static void test_overrun(void **state)
{
	struct fixture *f = *state;

	set_event_buffer(f, 1);
	add_routes(200);
	wait_for(f, overran);
	assert_int_equal(f->overruns, 1);
	assert_int_equal(f->routes, 1);
	drain(f);
	assert_int_equal(f->overruns, 1);
}

/* Until the buffer is empty, the kernel drops events without reporting it again, so what
 * the caller reads before that may be incomplete. */
static void test_overrun_is_told_when_all_is_read(void **state)
{
	struct fixture *f = *state;

	set_event_buffer(f, 600000);
	add_routes(3000);
	drain(f);
	assert_int_equal(f->overruns, 0);
	assert_int_equal(f->routes, 1);
	wait_for(f, overran);
	assert_int_equal(f->overruns, 1);
}

/* A flood of events is read in parts; the next call reads the rest. */
static void test_dispatch_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct pollfd pfd = {.fd = rtnl_event_fd(&f->rtnl, RTNL_ROUTING),
			     .events = POLLIN};

	drain(f);
	add_routes(700);
	drain(f);
	assert_int_equal(poll(&pfd, 1, 0), 1);
	drain(f);
	assert_int_equal(poll(&pfd, 1, 0), 0);
	assert_int_equal(f->overruns, 0);
}

static void test_no_handlers(void **state)
{
	static const struct rtnl_handler nothing;
	struct fixture *f = *state;

	ip("link set a0 mtu 1400");
	ip("addr add 10.7.0.1 dev a0");
	ip("route add 192.0.2.0/24 via 10.0.0.2");
	ip("neigh add 10.0.0.2 lladdr 02:aa:00:00:00:02 dev a0");
	for (unsigned kind = 0; kind < RTNL_FEEDS; kind++)
		assert_int_equal(rtnl_dispatch(&f->rtnl, kind, &nothing, NULL), 0);
}

static void test_sockets_stay_in_their_namespace(void **state)
{
	struct fixture *f = *state;
	struct rtnl_link link;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	assert_int_equal(if_nametoindex("a0"), 0);
	assert_int_equal(rtnl_link_get(&f->rtnl, f->a0, &link), 0);
	assert_string_equal(link.name, "a0");
}

static void test_ipv6_disabled(void **state)
{
	static const uint8_t mac[6] = {0x02, 0x57, 0x47, 0xff, 0xff, 0xff};
	struct fixture *f = *state;
	struct addr_list list = {.count = 0};
	struct endpoint ep = endpoint_of("10.0.0.2");
	struct routing routing = {0};
	struct rtnl r;

	sysctl_set("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	assert_int_equal(rtnl_open(&r), 0);
	assert_int_equal(rtnl_addr_dump(&r, collect, &list), 0);
	assert_int_equal(list.count, 2);
	assert_int_equal(routing_open(&routing, &r, 0), 0);
	assert_int_equal(route_resolve(&routing, &ep, LISTEN_PORT, 0, &f->route), 0);
	routing_close(&routing);
	assert_true(resolve_error(f, "fd00::2") < 0);
	ip("link add d0 type veth peer name e0");
	assert_int_equal(rtnl_link_setup(&r, if_nametoindex("d0"), mac, 1420, 61440), 0);
	rtnl_close(&r);
	rtnl_close(&r);
}

static int make_tap(const char *name, struct tap *tap)
{
	char why[160];
	int fd = tap_create(name, tap, why, sizeof(why));

	if (fd < 0)
		fail_msg("%s", why);
	assert_string_equal(why, "");
	return fd;
}

static bool link_is_up(const struct fixture *f)
{
	return f->links && (f->link.flags & IFF_UP) && (f->link.flags & IFF_RUNNING);
}

static void test_link_setup(void **state)
{
	static const uint8_t mac[6] = {0x02, 0x57, 0x47, 0xff, 0xff, 0xff};
	struct fixture *f = *state;
	struct addr_list list = {.count = 0};
	struct rtnl_link link;
	struct tap tap;
	int fd = make_tap("wg0", &tap);

	assert_int_equal(rtnl_link_setup(&f->rtnl, tap.ifindex, mac, 1420, 61440), 0);
	assert_int_equal(rtnl_link_get(&f->rtnl, tap.ifindex, &link), 0);
	assert_memory_equal(link.mac, mac, 6);
	assert_int_equal(link.mtu, 1420);
	assert_int_equal(link.flags & (IFF_UP | IFF_NOARP | IFF_MULTICAST), IFF_NOARP);

	strcpy(f->watched, "wg0");
	ip("link set wg0 up");
	wait_for(f, link_is_up);
	assert_int_equal(rtnl_addr_dump(&f->rtnl, collect, &list), 0);
	for (size_t i = 0; i < list.count; i++)
		assert_int_not_equal(list.ifindexes[i], tap.ifindex);

	assert_int_equal(rtnl_link_setup(&f->rtnl, tap.ifindex, mac, 1000000, 61440),
			 -EINVAL);
	assert_string_equal(rtnl_error(&f->rtnl), "mtu greater than device maximum");
	assert_int_equal(rtnl_link_setup(&f->rtnl, tap.ifindex, mac, 1300, 61440), 0);
	assert_string_equal(rtnl_error(&f->rtnl), "");
	assert_int_equal(rtnl_link_setup(&f->rtnl, 9999, mac, 1300, 61440), -ENODEV);
	close(fd);
}

static void test_tap_create(void **state)
{
	struct fixture *f = *state;
	struct ifreq ifr = {0};
	struct rtnl_link link;
	struct tap tap;
	int header = 0;
	char byte[2048];
	ssize_t n;
	int fd = make_tap("wg0", &tap);

	assert_string_equal(tap.name, "wg0");
	assert_int_equal(tap.ifindex, if_nametoindex("wg0"));
	assert_int_equal(ioctl(fd, TUNGETIFF, &ifr), 0);
	assert_int_equal((unsigned short)ifr.ifr_flags &
				 (IFF_TAP | IFF_TUN | IFF_NO_PI | IFF_VNET_HDR |
				  IFF_MULTI_QUEUE | IFF_PERSIST),
			 IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
	assert_int_equal(ioctl(fd, TUNGETVNETHDRSZ, &header), 0);
	assert_int_equal(header, 10);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(rtnl_link_get(&f->rtnl, tap.ifindex, &link), 0);
	assert_int_equal(link.flags & IFF_UP, 0);
	assert_string_equal(link.kind, "tun");
	ip("link set wg0 addrgenmode none up");
	/* The kernel may already have sent a multicast listener report. */
	do
		n = read(fd, byte, sizeof(byte));
	while (n > 0);
	assert_int_equal(n, -1);
	assert_int_equal(errno, EAGAIN);
	close(fd);
	assert_int_equal(if_nametoindex("wg0"), 0);
}

static bool feature_on(const char *feature)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "ethtool -k wg0 | grep -Eq '(^|\t)%s: on$'", feature);
	return !system(cmd);
}

static void test_tap_offloads(void **state)
{
	struct tap tap;
	int fd;

	(void)state;
	if (system("command -v ethtool >/dev/null")) {
		print_message("needs ethtool\n");
		skip();
	}
	fd = make_tap("wg0", &tap);
	assert_true(feature_on("tx-checksum-ip-generic"));
	assert_true(feature_on("tx-tcp-segmentation"));
	assert_true(feature_on("tx-tcp6-segmentation"));
	assert_true(feature_on("tx-tcp-ecn-segmentation"));
	assert_int_equal(tap.uso, feature_on("tx-udp-segmentation"));
	close(fd);
}

static void refused(const char *name, int err, const char *line)
{
	struct tap tap;
	char why[160];

	assert_int_equal(tap_create(name, &tap, why, sizeof(why)), err);
	assert_string_equal(why, line);
	assert_int_equal(tap.ifindex, 0);
}

static void test_tap_name_in_use(void **state)
{
	struct tap tap;
	int fd;

	(void)state;
	ip("link add d0 type veth peer name e0");
	ip("tuntap add p0 mode tap multi_queue vnet_hdr");
	/* The message must not advise to delete a NIC. */
	refused("d0", -EEXIST,
		"there is a network device of that name already, which is not a tunnel: "
		"take another name");
	refused("lo", -EEXIST,
		"there is a network device of that name already, which is not a tunnel: "
		"take another name");
	refused("p0", -EEXIST,
		"there is a network device of that name already (\"ip link del p0\" "
		"removes it)");
	fd = make_tap("wg0", &tap);
	refused("wg0", -EEXIST,
		"there is a network device of that name already (\"ip link del "
		"wg0\" "
		"removes it)");
	close(fd);
}

static void test_tap_names(void **state)
{
	(void)state;
	assert_true(tap_name_valid("wg0"));
	assert_true(tap_name_valid("123456789012345"));
	assert_false(tap_name_valid("1234567890123456"));
	assert_false(tap_name_valid(""));
	assert_false(tap_name_valid("."));
	assert_false(tap_name_valid(".."));
	assert_false(tap_name_valid("a/b"));
	assert_false(tap_name_valid("a:b"));
	assert_false(tap_name_valid("a b"));
	assert_false(tap_name_valid("a\tb"));
	assert_false(tap_name_valid("wg%d"));
	refused("wg%d", -EINVAL, "\"wg%d\" is not a name for a network device");
}

static void test_tap_queues(void **state)
{
	struct tap tap;
	int fds[3], before;

	(void)state;
	fds[0] = make_tap("wg0", &tap);
	fds[1] = tap_add_queue(&tap);
	assert_true(fds[1] >= 0);
	assert_int_equal(fcntl(fds[1], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	ip("link set wg0 name wg7");
	fds[2] = tap_add_queue(&tap);
	assert_true(fds[2] >= 0);
	assert_int_equal(if_nametoindex("wg0"), 0);
	/* It exists as long as any of them is open. */
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(if_nametoindex("wg7"), tap.ifindex);
	assert_false(tap_gone(fds[2]));
	ip("link del wg7");
	assert_true(tap_gone(fds[2]));
	before = fds[2];
	assert_int_equal(tap_add_queue(&tap), -ENODEV);
	assert_int_equal(if_nametoindex("wg0"), 0);
	close(before);
}

static void test_tap_netns(void **state)
{
	struct fixture *f = *state;
	struct stat here, far, got;
	char path[64];
	struct tap tap;
	int fd = make_tap("wg0", &tap), ns;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)f->far);
	assert_int_equal(stat("/proc/self/ns/net", &here), 0);
	assert_int_equal(stat(path, &far), 0);
	ns = tap_netns(fd);
	assert_true(ns >= 0);
	assert_int_equal(fcntl(ns, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fstat(ns, &got), 0);
	assert_int_equal(got.st_ino, here.st_ino);
	close(ns);

	ip("link set wg0 netns %d", (int)f->far);
	assert_false(tap_gone(fd));
	ns = tap_netns(fd);
	assert_true(ns >= 0);
	assert_int_equal(fstat(ns, &got), 0);
	assert_int_equal(got.st_ino, far.st_ino);
	close(ns);

	far_ip(f, "link del wg0");
	assert_int_equal(tap_netns(fd), -EBADFD);
	close(fd);
}

static void test_needs_root(void **state)
{
	(void)state;
	print_message("needs root, and leave to make network namespaces\n");
	skip();
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest cannot[] = {cmocka_unit_test(test_needs_root)};
	static const struct CMUnitTest tests[] = {
		T(test_on_link_v4),
		T(test_on_link_v6),
		T(test_gateway_v4),
		T(test_gateway_v6),
		T(test_default_ttl),
		T(test_v4_route_by_v6_gateway),
		T(test_device_mtu_below_route_mtu),
		T(test_fwmark),
		T(test_rules_by_port),
		T(test_source_default),
		T(test_source_default_v6),
		T(test_source_v4),
		T(test_source_v6),
		T(test_source_left_behind),
		T(test_link_of_address),
		T(test_source_without_route),
		T(test_refusing_routes),
		T(test_no_address),
		T(test_link_local_scope),
		T(test_local_route),
		T(test_broadcast_and_multicast_have_no_l2),
		T(test_neighbour_fails),
		T(test_dead_neighbour_is_not_asked_again),
		T(test_stale_neighbour_is_confirmed),
		T(test_entries_of_others_are_kept),
		T(test_far_mac_changes),
		T(test_own_mac_and_mtu_change),
		T(test_other_neighbours_do_not_matter),
		T(test_route_events),
		T(test_route_events_name_the_prefix),
		T(test_device_removed),
		T(test_not_ethernet),
		T(test_route_with_encapsulation),
		T(test_device_without_arp),
		T(test_no_source),
		T(test_route_get_values),
		T(test_neigh_states),
		T(test_link_values),
		T(test_links_are_read),
		T(test_links_follow_events),
		T(test_links_are_read_again),
		T(test_links_stay_if_they_cannot_be_read),
		T(test_exchanges_per_path),
		T(test_neighbours_follow_events),
		T(test_neighbours_go_with_the_link),
		T(test_neighbours_are_bounded),
		T(test_link_leaves_bridge),
		T(test_addr_dump),
		T(test_addr_broadcast),
		T(test_addr_events),
		T(test_overrun),
		T(test_overrun_is_told_when_all_is_read),
		T(test_dispatch_is_bounded),
		T(test_no_handlers),
		T(test_sockets_stay_in_their_namespace),
		T(test_ipv6_disabled),
		T(test_link_setup),
		T(test_tap_create),
		T(test_tap_offloads),
		T(test_tap_name_in_use),
		T(test_tap_names),
		T(test_tap_queues),
		T(test_tap_netns),
	};

	if (geteuid() || unshare(CLONE_NEWNET))
		return cmocka_run_group_tests_name("route", cannot, NULL, NULL);
	return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
