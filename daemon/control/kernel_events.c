// SPDX-License-Identifier: MIT
#include "kernel_events.h"

#include <errno.h>
#include <sys/epoll.h>

#include "bpf_objects.h"
#include "clock.h"
#include "default_routes.h"
#include "flows.h"
#include "listen.h"
#include "log.h"
#include "nic_admin.h"
#include "nics.h"
#include "paths.h"
#include "rtnl_events.h"
#include "stale_paths.h"
#include "thread.h"
#include "tunnel.h"
#include "wakeup.h"

/* After links could not be read. */
#define RETRY_NS NS_PER_SEC

/* --- wg0 --- */

/* Passes on to the rest of the daemon what was seen of wg0. */
static void apply_wgif(struct tunnel *tunnel)
{
	const struct wgif *w = &tunnel->wgif;

	tunnel->ending |= w->gone;
	atomic_store(&tunnel->dp.mtu, w->mtu);
	tunnel_set_up(tunnel, w->up);
}

/* Events that came before it listens are missed, so wg0 is looked at once more at once. Without
 * it, wg0 is looked at a few times a second (wgif.h). */
static void listen_far(struct tunnel *tunnel)
{
	struct epoll_event ev = {.events = EPOLLIN};

	if (far_links_open(&tunnel->far_links))
		return;
	ev.data.fd = far_links_fd(&tunnel->far_links);
	if (epoll_ctl(tunnel->epoll_fd, EPOLL_CTL_ADD, ev.data.fd, &ev))
		far_links_close(&tunnel->far_links);
	else
		tunnel->wgif.look_due = 0;
}

static void follow_wgif(struct tunnel *tunnel)
{
	if (!tunnel->wgif.away)
		far_links_close(&tunnel->far_links);
	else if (!tunnel->far_links.socket)
		listen_far(tunnel);
}

void kernel_look_at_wg0(struct tunnel *tunnel)
{
	assert_control_thread();
	wgif_look(&tunnel->wgif, clock_now());
	apply_wgif(tunnel);
}

/* --- events --- */

/* `link` is NULL if the link is gone. */
static void note_link(struct tunnel *tunnel, uint32_t ifindex,
		      const struct rtnl_link *link)
{
	struct nic *nic = nics_find(tunnel, ifindex);

	nics_link_changed(tunnel, ifindex, link);
	if (nic && !link)
		nic_admin_leave(tunnel, nic, "device is gone");
	else if (nic && !nic_fits(nic, link->mtu))
		nic_admin_leave(tunnel, nic, "MTU changed");
}

static void on_link(void *ctx, bool present, const struct rtnl_link *link,
		    uint32_t ifindex)
{
	struct tunnel *tunnel = ctx;

	if (links_note(&tunnel->routing.links, ifindex, present ? link : NULL))
		tunnel->links_due = 0;
	if (wgif_is(&tunnel->wgif, ifindex)) {
		wgif_link(&tunnel->wgif, present, link);
		apply_wgif(tunnel);
		return;
	}
	if (present)
		wgif_other_link(&tunnel->wgif, ifindex, link);
	note_link(tunnel, ifindex, present ? link : NULL);
	paths_changed(tunnel);
	default_routes_changed(tunnel);
}

static void on_addr(void *ctx, bool added, const struct rtnl_addr *addr)
{
	struct tunnel *tunnel = ctx;

	/* If it is on another link still, the kernel delivers what is sent to it. */
	if (!added)
		flows_forget_addr(tunnel, &addr->addr);
	paths_changed(tunnel);
}

static void on_route(void *ctx, const struct ip_addr *prefix, unsigned len)
{
	stale_paths_by_prefix(ctx, prefix, len);
	if (!len)
		default_routes_changed(ctx);
}

static void on_routes_changed(void *ctx)
{
	paths_changed(ctx);
	default_routes_changed(ctx);
}

static void on_neigh(void *ctx, uint32_t ifindex, const struct ip_addr *addr,
		     uint16_t state, const uint8_t *mac)
{
	struct neighbour now = neighbour_heard(state, mac);
	struct tunnel *tunnel = ctx;

	neighbours_note(&tunnel->routing.neighbours, ifindex, addr, state, mac);
	stale_paths_by_neighbour(tunnel, ifindex, addr, &now);
}

/* --- what serves all --- */

/* After events of links were lost. */
static void read_links(struct tunnel *tunnel, uint64_t now)
{
	tunnel->links_due = UINT64_MAX;
	paths_changed(tunnel);
	default_routes_changed(tunnel);
	if (routing_read(&tunnel->routing, now)) {
		tunnel->links_due = now + RETRY_NS;
		return;
	}
	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		const struct nic *nic = tunnel->dp.nics[i];

		if (nic)
			note_link(tunnel, nic->ifindex,
				  links_find(&tunnel->routing.links, nic->ifindex));
	}
}

static void on_tc_changed(void *ctx, uint32_t ifindex)
{
	struct tunnel *tunnel = ctx;

	/* The check is made once for all events, because there may be thousands. */
	if (wgif_is(&tunnel->wgif, ifindex))
		tunnel->wgif.tc_due = 0;
}

static void on_overrun(void *ctx)
{
	struct tunnel *tunnel = ctx;

	tunnel->links_due = 0;
	flows_flush(tunnel);
	kernel_look_at_wg0(tunnel);
}

static void on_too_big(void *ctx, const struct endpoint *quoted)
{
	stale_paths_by_quote(ctx, quoted, clock_now());
}

void kernel_events_serve(struct tunnel *tunnel, uint64_t now)
{
	static const struct rtnl_handler handler = {
		.link = on_link,
		.addr = on_addr,
		.route = on_route,
		.routes_changed = on_routes_changed,
		.neigh = on_neigh,
		.tc_changed = on_tc_changed,
		.overrun = on_overrun,
	};

	assert_control_thread();
	if (routing_news_begin(&tunnel->dp.news) &&
	    rtnl_dispatch(&tunnel->rtnl, RTNL_ROUTING, &handler, tunnel))
		wakeup_stumble();
	if (rtnl_dispatch(&tunnel->rtnl, RTNL_OTHER, &handler, tunnel))
		wakeup_stumble();
	if (now >= tunnel->links_due)
		read_links(tunnel, now);
	if (wgif_tc_due(&tunnel->wgif, now))
		wgif_check_tc(&tunnel->wgif, now);
	pmtu_read(&tunnel->pmtu, tunnel_port(tunnel), on_too_big, tunnel);
	if (far_links_heard(&tunnel->far_links, tunnel->wgif.tap.ifindex) ||
	    now >= tunnel->wgif.look_due)
		kernel_look_at_wg0(tunnel);
	follow_wgif(tunnel);
}

void kernel_events_end(struct tunnel *tunnel)
{
	assert_control_thread();
	if (paths_settled(tunnel))
		routing_news_end(&tunnel->dp.news);
}

uint64_t kernel_events_deadline(const struct tunnel *tunnel)
{
	assert_control_thread();
	const uint64_t due[] = {tunnel->wgif.look_due, wgif_tc_deadline(&tunnel->wgif),
				tunnel->links_due};
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < sizeof(due) / sizeof(due[0]); i++)
		if (due[i] < next)
			next = due[i];
	return next;
}
