// SPDX-License-Identifier: MIT
#include "kernel_events.h"

#include <errno.h>

#include "clock.h"
#include "flows.h"
#include "listen.h"
#include "log.h"
#include "paths.h"
#include "tunnel.h"

/* Paths that are resolved as soon as their next hop changes; more follow in shares. */
#define NEIGH_PATHS_AT_ONCE 256

/* --- wg0 --- */

/* To the rest of the daemon: what was seen of wg0. */
static void apply_wgif(struct tunnel *tunnel)
{
	const struct wgif *w = &tunnel->wgif;

	tunnel->ending |= w->gone;
	atomic_store(&tunnel->dp.mtu, w->mtu);
	tunnel_set_up(tunnel, w->up);
}

void kernel_look_at_wg0(struct tunnel *tunnel)
{
	wgif_look(&tunnel->wgif, clock_now());
	apply_wgif(tunnel);
}

/* --- events --- */

static void detach(struct tunnel *tunnel, struct nic *nic, const char *why)
{
	log_info("%s: %s; AF_XDP ends there", nic->name, why);
	paths_drop_nic(tunnel, nic);
	nic_detach(tunnel, nic);
}

static void on_link(void *ctx, bool present, const struct rtnl_link *link,
		    uint32_t ifindex)
{
	struct tunnel *tunnel = ctx;
	struct nic *nic = nic_find(tunnel, ifindex);

	if (wgif_is(&tunnel->wgif, ifindex)) {
		wgif_link(&tunnel->wgif, present, link);
		apply_wgif(tunnel);
		return;
	}
	nic_link_changed(tunnel, ifindex, present ? link : NULL);
	if (nic && !present)
		detach(tunnel, nic, "device is gone");
	else if (nic && link && !nic_fits(nic, link->mtu))
		detach(tunnel, nic, "MTU changed");
	paths_changed(tunnel);
}

static void on_addr(void *ctx, bool added, const struct rtnl_addr *addr)
{
	struct tunnel *tunnel = ctx;

	/* If it is on another link still, the kernel delivers what is sent to it. */
	if (!added)
		flows_forget_addr(tunnel, &addr->addr);
	paths_changed(tunnel);
}

static void on_route(void *ctx)
{
	paths_changed(ctx);
}

static void on_neigh(void *ctx, uint32_t ifindex, const struct ip_addr *addr,
		     uint16_t state, const uint8_t *mac)
{
	struct tunnel *tunnel = ctx;
	struct peer *peer;
	unsigned share = NEIGH_PATHS_AT_ONCE;

	cds_list_for_each_entry (peer, &tunnel->peers.list, list) {
		const struct path *path = rcu_dereference(peer->path);

		if (!path ||
		    !route_affected_by_neigh(&path->route, ifindex, addr, state, mac))
			continue;
		if (!share--) { /* a gateway of many */
			paths_changed(tunnel);
			return;
		}
		paths_resolve(peer);
	}
}

static void read_nic_links(struct tunnel *tunnel)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		struct nic *nic = tunnel->dp.nics[i];
		struct rtnl_link link;
		int err = nic ? rtnl_link_get(&tunnel->rtnl, nic->ifindex, &link) : 0;

		if (nic)
			on_link(tunnel, err != -ENODEV, err ? NULL : &link, nic->ifindex);
	}
}

static void on_tc_changed(void *ctx, uint32_t ifindex)
{
	struct tunnel *tunnel = ctx;

	/* Once for all events that are there: somebody may add thousands of filters. */
	if (wgif_is(&tunnel->wgif, ifindex))
		tunnel->wgif.tc_due = 0;
}

static void on_overrun(void *ctx)
{
	struct tunnel *tunnel = ctx;

	flows_flush(tunnel);
	kernel_look_at_wg0(tunnel);
	read_nic_links(tunnel);
	paths_changed(tunnel);
}

void kernel_events_serve(struct tunnel *tunnel, uint64_t now)
{
	static const struct rtnl_handler handler = {
		.link = on_link,
		.addr = on_addr,
		.route = on_route,
		.neigh = on_neigh,
		.tc_changed = on_tc_changed,
		.overrun = on_overrun,
	};

	rtnl_dispatch(&tunnel->rtnl, &handler, tunnel);
	if (now >= tunnel->wgif.tc_due)
		wgif_check_tc(&tunnel->wgif, now);
	if (pmtu_heard(&tunnel->pmtu, tunnel_port(tunnel)))
		paths_due(tunnel, pmtu_schedule(&tunnel->pmtu, now));
	if (now >= tunnel->wgif.look_due)
		kernel_look_at_wg0(tunnel);
	paths_serve(tunnel, now);
	if (now >= tunnel->listen_due)
		tunnel_listen(tunnel);
}
