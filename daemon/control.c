// SPDX-License-Identifier: MIT
/*
 * Theory of operation: one thread owns all configuration and all timers. It sleeps
 * in epoll until somebody speaks (workers by events.h, handshake messages from AF_XDP
 * and from the UDP sockets, the kernel by rtnetlink, people by the UAPI socket, a
 * signal) or the next deadline, and then does a bounded share of each, so that none
 * can keep it from the others.
 */
#include "control.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <urcu-qsbr.h>

#include "device.h"
#include "handshake.h"
#include "log.h"
#include "outer.h"
#include "peer.h"
#include "uapi.h"

/* Handshake messages that are answered before looking elsewhere: for so long, but so many
 * at least. */
#define HANDSHAKES_NS	   NS_PER_MS
#define HANDSHAKES_A_ROUND 16
/* Taken from an AF_XDP ring at a time. */
#define COLLECT_BATCH 64
/* What rings leave free in the queue: for the UDP sockets. */
#define COLLECT_LEAVES (HANDSHAKE_QUEUE_LEN / 4)
/* A queue this long means that we cannot keep up (whitepaper section 5.3). */
#define LOAD_BACKLOG  64
#define LOAD_LASTS_NS NS_PER_SEC
/* Paths that are resolved as soon as their next hop changes; more follow in shares. */
#define NEIGH_PATHS_AT_ONCE 256
/* How often the next hop of a peer in use is confirmed. */
#define NEIGHBOUR_NS (10 * NS_PER_SEC)
/* Peers served in a round, by their timers and by what workers tell: many must not keep
 * people waiting. */
#define TIMERS_A_ROUND 16
#define EVENTS_A_ROUND 16
/* Many who want a session at once must not keep the answers to the first of them waiting,
 * until those try again and the answers are worthless. So while anything is unanswered
 * there is one for four that were answered: a flood does not keep us from having sessions. */
#define INITIATIONS_A_ROUND 16

/* --- handshake messages --- */

static bool note_load(struct device *dev, unsigned backlog, uint64_t now)
{
	if (backlog >= LOAD_BACKLOG)
		dev->under_load_until = now + LOAD_LASTS_NS;
	return now < dev->under_load_until;
}

/* Copied: what is checked must not change under our hands, and is aligned. */
static void collect_frame(struct device *dev, const struct nic *nic,
			  const struct nic_frame *frame)
{
	struct endpoint from;
	uint32_t len;
	const uint8_t *message = outer_parse(nic, frame, &from, &len);

	if (!outer_checksum_right(frame))
		device_drop(dev, DROP_bad_checksum, 1);
	else if (len > WG_HANDSHAKE_MAX)
		device_drop(dev, DROP_bad_length, 1);
	else if (!handshake_queue_put(&dev->handshakes, &from, 0, message, len))
		device_drop(dev, DROP_handshake_queue_full, 1);
}

/* Rings are short, and their frames are needed for data: many peers that come at once
 * wait in our own queue. */
static void collect_handshakes(struct device *dev, struct nic_queue *q, unsigned most)
{
	struct nic_frame frames[COLLECT_BATCH];
	unsigned n, want;

	do {
		want = most < COLLECT_BATCH ? most : COLLECT_BATCH;
		n = nic_receive_handshake(q, frames, want);
		for (unsigned i = 0; i < n; i++)
			collect_frame(dev, q->nic, &frames[i]);
		if (n)
			nic_release(q, frames, n);
		most -= n;
	} while (n == COLLECT_BATCH);
}

static unsigned count_rings(const struct device *dev)
{
	unsigned n = 0;

	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		n += dev->nics.list[i] ? dev->nics.list[i]->queue_count : 0;
	return n;
}

/* The same for each: a flood at one of them does not keep the others out. What finds no
 * room stays in its ring, and the kernel counts what that has none for. */
static unsigned share_of_a_ring(struct device *dev)
{
	unsigned rings = count_rings(dev);
	unsigned used = handshake_queue_backlog(&dev->handshakes) + COLLECT_LEAVES;

	if (!rings || used >= HANDSHAKE_QUEUE_LEN)
		return 0;
	return (HANDSHAKE_QUEUE_LEN - used + rings - 1) / rings;
}

/* Returns how many it took. */
static unsigned answer_handshakes(struct device *dev, uint64_t now)
{
	bool load = note_load(dev, handshake_queue_backlog(&dev->handshakes), now);
	uint64_t until = clock_now() + HANDSHAKES_NS;
	struct handshake_message m;
	unsigned n = 0;

	do {
		if (!handshake_queue_get(&dev->handshakes, &m)) {
			handshake_queue_quiet(&dev->handshakes);
			/* One may have come before it was quiet. */
			if (!handshake_queue_get(&dev->handshakes, &m))
				return n;
		}
		handshake_receive(dev, &m, load, now);
	} while (++n < HANDSHAKES_A_ROUND || clock_now() < until);
	return n;
}

static void initiate_handshakes(struct device *dev, unsigned answered, uint64_t now)
{
	unsigned most = INITIATIONS_A_ROUND;

	if (handshake_queue_backlog(&dev->handshakes) && 1 + answered / 4 < most)
		most = 1 + answered / 4;
	handshakes_initiate(dev, most, now);
}

static void serve_handshakes(struct device *dev, uint64_t now)
{
	unsigned share = share_of_a_ring(dev);

	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		struct nic *nic = dev->nics.list[i];

		for (unsigned j = 0; nic && j < nic->queue_count; j++)
			collect_handshakes(dev, nic->queues[j], share);
	}
	initiate_handshakes(dev, answer_handshakes(dev, now), now);
}

/* --- peers' events and timers --- */

struct stamp {
	uint64_t when;
	void (*event)(struct timers *t, uint64_t now);
};

static void add_stamp(struct stamp *stamps, unsigned *n, _Atomic uint64_t *when,
		      void (*event)(struct timers *t, uint64_t now))
{
	uint64_t t = atomic_exchange_explicit(when, 0, memory_order_relaxed);
	unsigned i = (*n);

	if (!t)
		return;
	for (; i > 0 && stamps[i - 1].when > t; i--)
		stamps[i] = stamps[i - 1];
	stamps[i] = (struct stamp){t, event};
	(*n)++;
}

/* What workers did since we last looked, told to the timers in the order of time. */
static void apply_activity(struct peer *peer)
{
	struct peer_activity *a = &peer->activity;
	struct stamp stamps[4];
	unsigned n = 0;

	add_stamp(stamps, &n, &a->data_sent, timers_data_sent);
	add_stamp(stamps, &n, &a->authenticated_sent, timers_authenticated_sent);
	add_stamp(stamps, &n, &a->authenticated_received, timers_authenticated_received);
	add_stamp(stamps, &n, &a->data_received, timers_data_received);
	for (unsigned i = 0; i < n; i++)
		stamps[i].event(&peer->timers, stamps[i].when);
}

/* The kernel does not see what workers send, and would let the neighbour go stale. */
static void keep_neighbour(struct peer *peer, uint64_t now)
{
	const struct path *path = rcu_dereference(peer->path);

	if (!path || !path->nic || now - peer->neighbour_kept < NEIGHBOUR_NS)
		return;
	peer->neighbour_kept = now;
	route_keep_neigh(&peer->dev->rtnl, &path->route);
}

static void handle_lazy(struct peer *peer, unsigned flags, uint64_t now)
{
	apply_activity(peer);
	keep_neighbour(peer, now);
	peer_reschedule(peer);
}

static void confirm_session(struct peer *peer, uint64_t now)
{
	if (!peer->next || !atomic_load(&peer->next->received) ||
	    !peer_confirm_session(peer, peer->next))
		return;
	peer_session_complete(peer, now);
	if (!staged_empty(&peer->staged))
		worker_command(peer->dev, peer, WORKER_SEND_STAGED);
}

static void roam(struct peer *peer)
{
	struct endpoint ep;

	pthread_mutex_lock(&peer->roam_lock);
	ep = peer->roamed;
	if (peer->roamed_by)
		peer->arrived_by = peer->roamed_by;
	pthread_mutex_unlock(&peer->roam_lock);
	/* Even if it is back where we thought: the worker's path is a makeshift. */
	peer_note_endpoint(peer, &ep);
	peer_resolve_path(peer);
}

/* What a worker asked for may have come true meanwhile: the packet that it could not
 * send crossed the one that confirmed the session. */
static bool needs_session(const struct peer *peer, uint64_t now)
{
	return !peer->current || !keypair_may_send(peer->current, now) ||
	       keypair_wants_rekey(peer->current, now);
}

static void want_handshake(struct peer *peer, uint64_t now)
{
	if (!needs_session(peer, now)) {
		if (!staged_empty(&peer->staged))
			worker_command(peer->dev, peer, WORKER_SEND_STAGED);
		return;
	}
	if (!staged_empty(&peer->staged))
		timers_session_wanted(&peer->timers);
	handshake_want(peer, now);
}

static void handle_urgent(struct peer *peer, unsigned flags, uint64_t now)
{
	if (flags & EVENT_BY_NIC)
		peer_set_socket_only(peer, false);
	if (flags & EVENT_ROAMED)
		roam(peer);
	if (flags & EVENT_CONFIRMED)
		confirm_session(peer, now);
	if (flags & EVENT_WANT_HANDSHAKE)
		want_handshake(peer, now);
	if (flags & EVENT_KEY_AGING)
		handshake_want(peer, now);
	peer_reschedule(peer);
}

/* The peer is silent: perhaps because of the address that we write from. */
static void forget_source(struct peer *peer)
{
	struct endpoint ep = peer->endpoint;

	memset(&ep.source, 0, sizeof(ep.source));
	if (peer->has_endpoint)
		peer_set_endpoint(peer, &ep);
}

static void run_timers(struct peer *peer, uint64_t now)
{
	unsigned actions;

	apply_activity(peer);
	actions = timers_expire(&peer->timers, now);
	if (actions & TIMER_ZERO_KEYS) {
		peer_end_handshake(peer);
		peer_clear_sessions(peer);
	}
	if (actions & TIMER_DROP_STAGED) {
		device_drop(peer->dev, DROP_staged_expired, staged_clear(&peer->staged));
		/* It may have been in line for long: a try may end before it is sent. */
		cds_list_del_init(&peer->initiate);
	}
	if (actions & (TIMER_NEW_INITIATION | TIMER_SEND_INITIATION)) {
		forget_source(peer);
		handshake_want(peer, now);
	}
	if (actions & (TIMER_SEND_KEEPALIVE | TIMER_SEND_PERSISTENT_KEEPALIVE))
		worker_command(peer->dev, peer, WORKER_SEND_KEEPALIVE);
	peer_reschedule(peer);
}

static void serve_timers(struct device *dev, uint64_t now)
{
	for (unsigned i = 0; i < TIMERS_A_ROUND; i++) {
		struct timerq_node *node = timerq_first(&dev->timers);

		if (!node || node->deadline > now)
			return;
		run_timers(caa_container_of(node, struct peer, timer_node), now);
	}
}

static void serve_events(struct device *dev, uint64_t now)
{
	events_serve_urgent(&dev->events, handle_urgent, now, EVENTS_A_ROUND);
	if (dev->lazy_pending && now >= dev->events.lazy_due) {
		dev->lazy_pending = false;
		events_drain_lazy(&dev->events, handle_lazy, now);
	}
}

static void reap(struct device *dev)
{
	if (cds_list_empty(&dev->dead_peers))
		return;
	urcu_qsbr_synchronize_rcu();
	events_forget_dead(&dev->events);
	peers_reap(dev);
}

/* --- the kernel's news --- */

static void drop_paths_of(struct device *dev, const struct nic *nic)
{
	struct peer *peer;

	cds_list_for_each_entry (peer, &dev->peers, list) {
		const struct path *path = rcu_dereference(peer->path);

		if (path && path->nic == nic)
			peer_publish_path(peer, path_new(&peer->endpoint));
	}
}

static void detach(struct device *dev, struct nic *nic, const char *why)
{
	log_info("%s: %s; AF_XDP ends there", nic->name, why);
	drop_paths_of(dev, nic);
	nic_detach(dev, nic);
}

static void on_link(void *ctx, bool present, const struct rtnl_link *link,
		    uint32_t ifindex)
{
	struct device *dev = ctx;
	struct nic *nic = nic_find(dev, ifindex);

	if (wgif_is(dev, ifindex)) {
		wgif_link(dev, present, link);
		return;
	}
	nic_link_changed(dev, ifindex, present ? link : NULL);
	if (nic && !present)
		detach(dev, nic, "device is gone");
	else if (nic && link && !nic_fits(nic, link->mtu))
		detach(dev, nic, "MTU changed");
	device_paths_changed(dev);
}

static void on_addr(void *ctx, bool added, const struct rtnl_addr *addr)
{
	struct device *dev = ctx;

	/* One that went may be on another link still. */
	if (added)
		device_add_addr(dev, addr);
	else
		dev->addrs_due = 0;
	device_paths_changed(dev);
}

static void on_route(void *ctx)
{
	device_paths_changed(ctx);
}

static void on_neigh(void *ctx, uint32_t ifindex, const struct ip_addr *addr,
		     uint16_t state, const uint8_t *mac)
{
	struct device *dev = ctx;
	struct peer *peer;
	unsigned share = NEIGH_PATHS_AT_ONCE;

	cds_list_for_each_entry (peer, &dev->peers, list) {
		const struct path *path = rcu_dereference(peer->path);

		if (!path ||
		    !route_affected_by_neigh(&path->route, ifindex, addr, state, mac))
			continue;
		if (!share--) { /* a gateway of many */
			device_paths_changed(dev);
			return;
		}
		peer_resolve_path(peer);
	}
}

static void read_nic_links(struct device *dev)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		struct nic *nic = dev->nics.list[i];
		struct rtnl_link link;
		int err = nic ? rtnl_link_get(&dev->rtnl, nic->ifindex, &link) : 0;

		if (nic)
			on_link(dev, err != -ENODEV, err ? NULL : &link, nic->ifindex);
	}
}

static void on_tc_changed(void *ctx, uint32_t ifindex)
{
	struct device *dev = ctx;

	/* Once for all events that are there: somebody may add thousands of filters. */
	if (wgif_is(dev, ifindex))
		dev->wgif.tc_due = 0;
}

static void on_overrun(void *ctx)
{
	struct device *dev = ctx;

	dev->addrs_due = 0;
	wgif_look(dev, clock_now());
	read_nic_links(dev);
	device_paths_changed(dev);
}

static void serve_kernel(struct device *dev, uint64_t now)
{
	static const struct rtnl_handler handler = {
		.link = on_link,
		.addr = on_addr,
		.route = on_route,
		.neigh = on_neigh,
		.tc_changed = on_tc_changed,
		.overrun = on_overrun,
	};

	rtnl_dispatch(&dev->rtnl, &handler, dev);
	if (now >= dev->wgif.tc_due)
		wgif_check_tc(dev, now);
	if (pmtu_heard(&dev->pmtu, device_port(dev)))
		device_paths_due(dev, pmtu_schedule(&dev->pmtu, now));
	if (now >= dev->wgif.look_due)
		wgif_look(dev, now);
	if (now >= dev->addrs_due)
		device_read_addrs(dev);
	device_resolve_paths(dev, now);
	if (now >= dev->listen_due)
		device_listen(dev);
}

/* --- the loop --- */

static uint64_t next_deadline(struct device *dev)
{
	struct timerq_node *node = timerq_first(&dev->timers);
	uint64_t next = node ? node->deadline : UINT64_MAX;

	if (dev->next_path || handshake_queue_backlog(&dev->handshakes) ||
	    events_urgent_left(&dev->events) || !cds_list_empty(&dev->initiations))
		return 0; /* more than a round's share */
	if (dev->paths_due < next)
		next = dev->paths_due;
	if (dev->wgif.look_due < next)
		next = dev->wgif.look_due;
	if (dev->wgif.tc_due < next)
		next = dev->wgif.tc_due;
	if (dev->listen_due < next)
		next = dev->listen_due;
	if (dev->addrs_due < next)
		next = dev->addrs_due;
	if (dev->lazy_pending && dev->events.lazy_due < next)
		next = dev->events.lazy_due;
	if (uapi_next_deadline(dev->uapi) < next)
		next = uapi_next_deadline(dev->uapi);
	return next;
}

static int timeout_ms(uint64_t next, uint64_t now)
{
	uint64_t ms;

	if (next == UINT64_MAX)
		return -1;
	if (next <= now)
		return 0;
	ms = (next - now) / NS_PER_MS + 1;
	return ms > 3600 * 1000 ? 3600 * 1000 : (int)ms;
}

/* What is readable does not matter, but for the lazy queue's eventfd: to look at
 * each is cheap. That one is edge-triggered, for it stays readable until its time. */
static void wait_for_news(struct device *dev)
{
	struct epoll_event ready[16];
	int n;

	urcu_qsbr_thread_offline();
	n = epoll_wait(dev->epoll_fd, ready, 16,
		       timeout_ms(next_deadline(dev), clock_now()));
	urcu_qsbr_thread_online();
	for (int i = 0; i < n; i++) {
		if (ready[i].data.fd == dev->events.lazy.fd)
			dev->lazy_pending = true;
		else if (ready[i].data.fd == dev->signal_fd)
			dev->ending = true;
	}
}

static int watch(struct device *dev, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	return epoll_ctl(dev->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int watch_all(struct device *dev)
{
	int fds[] = {dev->signal_fd, dev->events.urgent.fd, dev->handshakes.fd,
		     uapi_fd(dev->uapi), rtnl_event_fd(&dev->rtnl)};
	int err = watch(dev, dev->events.lazy.fd, EPOLLIN | EPOLLET);

	for (unsigned i = 0; !err && i < sizeof(fds) / sizeof(fds[0]); i++)
		err = watch(dev, fds[i], EPOLLIN);
	if (!err && dev->pmtu.fd >= 0)
		err = watch(dev, dev->pmtu.fd, EPOLLIN);
	return err;
}

int control_run(struct device *dev, int signal_fd)
{
	int err;

	dev->signal_fd = signal_fd;
	err = watch_all(dev);
	if (err)
		return err;
	wgif_look(dev, clock_now());
	while (!dev->ending) {
		uint64_t now;

		wait_for_news(dev);
		now = clock_now();
		serve_kernel(dev, now);
		serve_events(dev, now);
		serve_timers(dev, now);
		serve_handshakes(dev, now);
		if (uapi_dispatch(dev->uapi, now))
			dev->ending = true;
		reap(dev);
	}
	return 0;
}
