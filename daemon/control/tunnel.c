// SPDX-License-Identifier: MIT
#include "tunnel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <urcu-qsbr.h>

#include "bpf_objects.h"
#include "clock.h"
#include "config.h"
#include "identity.h"
#include "kernel_events.h"
#include "nic_admin.h"
#include "peer.h"
#include "pick.h"
#include "status.h"
#include "thread.h"
#include "uapi.h"

/* --- making and ending --- */

static int init_tables(struct tunnel *tunnel)
{
	int err;

	tunnel->paths_due = tunnel->listen_due = UINT64_MAX;
	tunnel->links_due = UINT64_MAX;
	stale_paths_init(&tunnel->stale);
	tunnel->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (tunnel->epoll_fd < 0)
		return -errno;
	err = peers_init(&tunnel->peers, &tunnel->identity);
	if (!err)
		err = events_init(&tunnel->dp.events);
	if (!err)
		err = handshake_queue_init(&tunnel->dp.handshakes);
	if (!err)
		err = icmp_queue_init(&tunnel->dp.icmp_errors);
	ratelimit_init(&tunnel->ratelimit, HANDSHAKES_PER_SECOND, HANDSHAKES_BURST, 64);
	ratelimit_init(&tunnel->worthless, WORTHLESS_PER_SECOND, WORTHLESS_BURST, 64);
	return err;
}

static int attach_named(struct tunnel *tunnel, char *why, size_t why_len)
{
	for (unsigned i = 0; i < tunnel->nics.request_count; i++) {
		const struct nic_request *r = &tunnel->nics.requests[i];
		uint32_t ifindex = if_nametoindex(r->name);
		struct nic *nic;
		int err;

		if (!ifindex) {
			snprintf(why, why_len, "no device %s here (see `ip link`)",
				 r->name);
			return -ENODEV;
		}
		err = nics_attach(tunnel, ifindex, r->mode, &nic, why, why_len);
		if (err)
			return err;
	}
	return 0;
}

static const struct uapi_ops uapi_ops = {
	.get = config_get,
	.set = config_set,
	.status = status_write,
	.end = config_end_answer,
	.nic = nic_admin_request,
	.refused = config_refused,
};

static int open_wg0(struct tunnel *tunnel, unsigned workers, char *why, size_t why_len)
{
	int queue = wgif_open(&tunnel->wgif, why, why_len);

	if (queue < 0)
		return queue;
	atomic_store(&tunnel->dp.mtu, tunnel->wgif.mtu);
	tunnel->dp.uso = tunnel->wgif.tap.uso;
	return workers_start(&tunnel->workers, &tunnel->dp, workers, queue);
}

static int open_parts(struct tunnel *tunnel, unsigned workers, char *why, size_t why_len)
{
	int err;

	/* The name is also that of the UAPI socket and of the directory of pins. */
	if (!tap_name_valid(tunnel->name)) {
		snprintf(why, why_len, "'%s' cannot be an interface's name",
			 tunnel->name);
		return -EINVAL;
	}
	err = init_tables(tunnel);
	if (!err)
		err = rtnl_open(&tunnel->rtnl);
	if (!err)
		err = routing_open(&tunnel->routing, &tunnel->rtnl, clock_now());
	if (!err)
		err = bpf_objects_open(&tunnel->bpf, why, why_len);
	if (err)
		return err;
	routing_news_init(&tunnel->dp.news, rtnl_event_fd(&tunnel->rtnl, RTNL_ROUTING));
	tunnel->peers.bpf = tunnel->wgif.bpf = tunnel->bpf;
	tunnel->dp.peers = &tunnel->peers;
	tunnel->dp.stats = bpf_objects_worker_stats(tunnel->bpf);
	err = allowedips_init(&tunnel->peers.allowed, bpf_objects_set_allowed_ip,
			      tunnel->bpf);
	if (!err)
		err = bpf_objects_pin(tunnel->bpf, tunnel->name, why, why_len);
	if (!err)
		err = open_wg0(tunnel, workers, why, why_len);
	if (!err)
		err = uapi_open(&tunnel->uapi, NULL, tunnel->name, &uapi_ops, tunnel, why,
				why_len);
	if (!err)
		err = attach_named(tunnel, why, why_len);
	return err;
}

int tunnel_open(struct tunnel *tunnel, const char *ifname, const struct nics *nics,
		unsigned workers, char *why, size_t why_len)
{
	int err;

	assert_control_thread();
	memset(tunnel, 0, sizeof(*tunnel));
	wgif_init(&tunnel->wgif, tunnel->name, &tunnel->rtnl, &tunnel->dp.unguarded);
	tunnel->epoll_fd = tunnel->dp.handshakes.fd = tunnel->pmtu.fd = -1;
	tunnel->dp.icmp_errors.fd = -1;
	tunnel->dp.events.urgent.fd = tunnel->dp.events.lazy.fd = -1;
	snprintf(tunnel->name, sizeof(tunnel->name), "%s", ifname);
	tunnel->nics = *nics;
	tunnel->opened = clock_now();
	tunnel->dp.aead = aead_pick();
	why[0] = '\0';
	err = open_parts(tunnel, workers, why, why_len);
	if (err && !why[0])
		snprintf(why, why_len, "%s", strerror(-err));
	if (err) {
		tunnel_close(tunnel);
		return err;
	}
	pmtu_open(&tunnel->pmtu); /* a host without IPv6 has none */
	return 0;
}

static void remove_all_peers(struct tunnel *tunnel)
{
	struct peer *peer, *next;

	if (!tunnel->peers.list.next)
		return;
	cds_list_for_each_entry_safe (peer, next, &tunnel->peers.list, list)
		peer_remove(peer);
	urcu_qsbr_synchronize_rcu();
	peers_reap(&tunnel->peers);
}

static void close_nics(struct tunnel *tunnel)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (tunnel->dp.nics[i])
			nics_detach(tunnel, tunnel->dp.nics[i]);
}

/* The order: first packets stop coming in, then the workers end, then memory is freed. */
void tunnel_close(struct tunnel *tunnel)
{
	assert_control_thread();
	if (tunnel->bpf)
		bpf_objects_set_port(tunnel->bpf, 0);
	uapi_close(tunnel->uapi);
	workers_stop(&tunnel->workers);
	close_nics(tunnel);
	remove_all_peers(tunnel);
	nics_free_closed(tunnel);
	wgif_close(&tunnel->wgif);
	udp_close(tunnel->dp.udp);
	if (tunnel->bpf)
		bpf_objects_set_cookie_secret(tunnel->bpf, NULL, 0);
	free(tunnel->dp.mac1);
	tunnel_release_keys(tunnel);
	urcu_qsbr_barrier();
	peers_destroy(&tunnel->peers);
	bpf_objects_close(tunnel->bpf);
	icmp_queue_destroy(&tunnel->dp.icmp_errors);
	handshake_queue_destroy(&tunnel->dp.handshakes);
	events_destroy(&tunnel->dp.events);
	routing_close(&tunnel->routing);
	rtnl_close(&tunnel->rtnl);
	if (tunnel->epoll_fd >= 0)
		close(tunnel->epoll_fd);
	pmtu_close(&tunnel->pmtu);
	far_links_close(&tunnel->far_links);
	noise_identity_wipe(&tunnel->identity);
	cookie_checker_wipe(&tunnel->cookies);
}
