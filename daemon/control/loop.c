// SPDX-License-Identifier: MIT
/*
 * Theory of operation: one thread owns all configuration and all timers. It sleeps in epoll until
 * there is something to read (events from workers, handshake messages from AF_XDP and from the UDP
 * sockets, rtnetlink events, UAPI requests, a signal) or until the next deadline. Then it takes
 * the steps of a round in a fixed order, and does a bounded share of each, so that none can keep
 * it from the others.
 *
 * Work that takes long or asks the kernel is a separate step, with a queue: attaching to NICs
 * (nics.h) and resolving paths (paths.h). Other steps only put something into these queues.
 */
#include "loop.h"

#include <errno.h>
#include <sys/epoll.h>

#include <urcu-qsbr.h>

#include "clock.h"
#include "default_routes.h"
#include "flows.h"
#include "handshake_intake.h"
#include "kernel_events.h"
#include "late_maps.h"
#include "listen.h"
#include "nic_admin.h"
#include "nics.h"
#include "paths.h"
#include "peer_events.h"
#include "stale_paths.h"
#include "thread.h"
#include "tunnel.h"
#include "uapi.h"
#include "wakeup.h"

/* Returns true if a round left something undone because its share was used up. */
static bool has_backlog(struct tunnel *tunnel)
{
	return handshake_queue_backlog(&tunnel->dp.handshakes) ||
	       events_urgent_left(&tunnel->dp.events) ||
	       !cds_list_empty(&tunnel->peers.initiations) ||
	       peer_sweep_goes_on(&tunnel->flush) ||
	       peer_sweep_goes_on(&tunnel->admission) ||
	       peer_sweep_goes_on(&tunnel->going_up) ||
	       peer_sweep_goes_on(&tunnel->going_down);
}

static uint64_t first_timer(struct tunnel *tunnel)
{
	struct timerq_node *node = timerq_first(&tunnel->peers.timers);

	return node ? node->deadline : UINT64_MAX;
}

/* When the next round has something to do, ns; 0: now. */
static uint64_t next_deadline(struct tunnel *tunnel)
{
	const uint64_t deadlines[] = {
		first_timer(tunnel),
		kernel_events_deadline(tunnel),
		default_routes_deadline(tunnel),
		nic_admin_deadline(tunnel),
		nics_deadline(tunnel),
		paths_deadline(tunnel),
		late_maps_deadline(tunnel),
		tunnel->listen_due,
		tunnel->lazy_pending ? tunnel->dp.events.lazy_due : UINT64_MAX,
		uapi_next_deadline(tunnel->uapi),
	};
	uint64_t next = UINT64_MAX;

	if (has_backlog(tunnel))
		return 0;
	for (unsigned i = 0; i < sizeof(deadlines) / sizeof(deadlines[0]); i++)
		if (deadlines[i] < next)
			next = deadlines[i];
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

/* Which descriptors are readable does not matter, because each step looks at its own and that
 * is cheap. The exceptions: the signal, and the lazy queue's eventfd, which is edge-triggered
 * because it stays readable until the queue's time has come. */
static void wait_for_news(struct tunnel *tunnel)
{
	struct epoll_event ready[16];
	int n;

	urcu_qsbr_thread_offline();
	n = epoll_wait(tunnel->epoll_fd, ready, 16,
		       timeout_ms(next_deadline(tunnel), clock_now()));
	if (n < 0)
		wakeup_stumble();
	urcu_qsbr_thread_online();
	for (int i = 0; i < n; i++) {
		if (ready[i].data.fd == tunnel->dp.events.lazy.fd)
			tunnel->lazy_pending = true;
		else if (ready[i].data.fd == tunnel->signal_fd)
			tunnel->ending = true;
	}
}

/* Attaches what is wanted; the paths that lead there are resolved in the next step. */
static void serve_nics(struct tunnel *tunnel, uint64_t now)
{
	uint32_t ifindex;

	nic_admin_look(tunnel, now);
	default_routes_serve(tunnel, now);
	ifindex = nics_serve(tunnel, now);
	if (!ifindex)
		return;
	stale_paths_by_link(tunnel, ifindex);
	default_routes_changed(tunnel);
}

static int watch_fd(struct tunnel *tunnel, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	return epoll_ctl(tunnel->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int watch_all(struct tunnel *tunnel)
{
	int fds[] = {tunnel->signal_fd,
		     tunnel->dp.events.urgent.fd,
		     tunnel->dp.handshakes.fd,
		     tunnel->dp.icmp_errors.fd,
		     uapi_fd(tunnel->uapi),
		     rtnl_event_fd(&tunnel->rtnl, RTNL_ROUTING),
		     rtnl_event_fd(&tunnel->rtnl, RTNL_OTHER)};
	int err = watch_fd(tunnel, tunnel->dp.events.lazy.fd, EPOLLIN | EPOLLET);

	for (unsigned i = 0; !err && i < sizeof(fds) / sizeof(fds[0]); i++)
		err = watch_fd(tunnel, fds[i], EPOLLIN);
	if (!err && tunnel->pmtu.fd >= 0)
		err = watch_fd(tunnel, tunnel->pmtu.fd, EPOLLIN);
	return err;
}

int control_begin(struct tunnel *tunnel, int signal_fd)
{
	assert_control_thread();
	tunnel->signal_fd = signal_fd;
	return watch_all(tunnel);
}

int control_run(struct tunnel *tunnel)
{
	assert_control_thread();
	kernel_look_at_wg0(tunnel);
	while (!tunnel->ending) {
		uint64_t now;

		wait_for_news(tunnel);
		now = clock_now();
		kernel_events_serve(tunnel, now);
		listen_serve(tunnel, now);
		flows_serve_flush(tunnel);
		flows_serve_nics(tunnel);
		serve_nics(tunnel, now);
		paths_serve(tunnel, now);
		kernel_events_end(tunnel);
		peer_events_serve(tunnel, now);
		peer_timers_serve(tunnel, now);
		handshake_intake_serve(tunnel, now);
		if (uapi_dispatch(tunnel->uapi, now))
			tunnel->ending = true;
		wgif_send_errors(&tunnel->wgif, &tunnel->dp.icmp_errors);
		tunnel->ending |= tunnel->wgif.gone;
		late_maps_serve(tunnel, now);
		peer_events_reap(tunnel);
	}
	return tunnel->wgif.failed ? -EIO : 0;
}
