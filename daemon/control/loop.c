// SPDX-License-Identifier: MIT
/*
 * Theory of operation: one thread owns all configuration and all timers. It sleeps
 * in epoll until somebody speaks (workers by events.h, handshake messages from AF_XDP
 * and from the UDP sockets, the kernel by rtnetlink, people by the UAPI socket, a
 * signal) or the next deadline, and then does a bounded share of each, so that none
 * can keep it from the others.
 */
#include "loop.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <urcu-qsbr.h>

#include "clock.h"
#include "handshake_intake.h"
#include "kernel_events.h"
#include "peer_events.h"
#include "tunnel.h"
#include "uapi.h"

static uint64_t next_deadline(struct tunnel *tunnel)
{
	struct timerq_node *node = timerq_first(&tunnel->peers.timers);
	uint64_t next = node ? node->deadline : UINT64_MAX;

	if (tunnel->peers.next_path || handshake_queue_backlog(&tunnel->dp.handshakes) ||
	    events_urgent_left(&tunnel->dp.events) ||
	    !cds_list_empty(&tunnel->peers.initiations))
		return 0; /* more than a round's share */
	if (tunnel->paths_due < next)
		next = tunnel->paths_due;
	if (tunnel->wgif.look_due < next)
		next = tunnel->wgif.look_due;
	if (tunnel->wgif.tc_due < next)
		next = tunnel->wgif.tc_due;
	if (tunnel->listen_due < next)
		next = tunnel->listen_due;
	if (tunnel->lazy_pending && tunnel->dp.events.lazy_due < next)
		next = tunnel->dp.events.lazy_due;
	if (uapi_next_deadline(tunnel->uapi) < next)
		next = uapi_next_deadline(tunnel->uapi);
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
static void wait_for_news(struct tunnel *tunnel)
{
	struct epoll_event ready[16];
	int n;

	urcu_qsbr_thread_offline();
	n = epoll_wait(tunnel->epoll_fd, ready, 16,
		       timeout_ms(next_deadline(tunnel), clock_now()));
	urcu_qsbr_thread_online();
	for (int i = 0; i < n; i++) {
		if (ready[i].data.fd == tunnel->dp.events.lazy.fd)
			tunnel->lazy_pending = true;
		else if (ready[i].data.fd == tunnel->signal_fd)
			tunnel->ending = true;
	}
}

static int watch(struct tunnel *tunnel, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	return epoll_ctl(tunnel->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int watch_all(struct tunnel *tunnel)
{
	int fds[] = {tunnel->signal_fd, tunnel->dp.events.urgent.fd,
		     tunnel->dp.handshakes.fd, uapi_fd(tunnel->uapi),
		     rtnl_event_fd(&tunnel->rtnl)};
	int err = watch(tunnel, tunnel->dp.events.lazy.fd, EPOLLIN | EPOLLET);

	for (unsigned i = 0; !err && i < sizeof(fds) / sizeof(fds[0]); i++)
		err = watch(tunnel, fds[i], EPOLLIN);
	if (!err && tunnel->pmtu.fd >= 0)
		err = watch(tunnel, tunnel->pmtu.fd, EPOLLIN);
	return err;
}

int control_run(struct tunnel *tunnel, int signal_fd)
{
	int err;

	tunnel->signal_fd = signal_fd;
	err = watch_all(tunnel);
	if (err)
		return err;
	kernel_look_at_wg0(tunnel);
	while (!tunnel->ending) {
		uint64_t now;

		wait_for_news(tunnel);
		now = clock_now();
		kernel_events_serve(tunnel, now);
		peer_events_serve(tunnel, now);
		peer_timers_serve(tunnel, now);
		handshake_intake_serve(tunnel, now);
		if (uapi_dispatch(tunnel->uapi, now))
			tunnel->ending = true;
		peer_events_reap(tunnel);
	}
	return 0;
}
