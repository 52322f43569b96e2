// SPDX-License-Identifier: MIT
#include "listen.h"

#include <errno.h>
#include <string.h>

#include <urcu-qsbr.h>

#include "bpf_objects.h"
#include "clock.h"
#include "flows.h"
#include "log.h"
#include "paths.h"
#include "thread.h"
#include "tunnel.h"
#include "udp.h"

#define LISTEN_RETRY_NS NS_PER_SEC

/* Closes the old sockets before it returns, because their port may be wanted again at once. */
static void replace_udp(struct tunnel *tunnel, struct udp *udp)
{
	struct udp *old = tunnel->dp.udp;

	rcu_assign_pointer(tunnel->dp.udp, udp);
	nics_choose_gro(tunnel);
	bpf_objects_set_port(tunnel->bpf, udp ? udp->port : 0);
	workers_settle(&tunnel->workers);
	/* No worker tells any more of what came by the old sockets. */
	flows_flush(tunnel);
	udp_close(old);
	paths_due(tunnel, clock_now());
}

int tunnel_listen(struct tunnel *tunnel)
{
	struct udp *udp;
	int err = udp_open(&udp, tunnel->listen_port, tunnel->fwmark);

	assert_control_thread();
	tunnel->listen_due = err ? clock_now() + LISTEN_RETRY_NS : UINT64_MAX;
	if (err)
		return err;
	/* A port that the kernel chose is kept while wg0 is down, because peers know it. */
	tunnel->listen_port = udp->port;
	replace_udp(tunnel, udp);
	return 0;
}

void listen_serve(struct tunnel *tunnel, uint64_t now)
{
	assert_control_thread();
	if (now >= tunnel->listen_due)
		tunnel_listen(tunnel);
}

static void peers_up(struct tunnel *tunnel)
{
	uint64_t now = clock_now();
	struct peer *peer;

	cds_list_for_each_entry (peer, &tunnel->peers.list, list) {
		timers_set_persistent_keepalive(&peer->timers, peer->persistent_keepalive,
						now);
		peer_reschedule(peer);
	}
}

static void peers_down(struct tunnel *tunnel)
{
	struct peer *peer;

	cds_list_for_each_entry (peer, &tunnel->peers.list, list) {
		peer_end_handshake(peer);
		peer_drop_keypairs(peer);
		staged_clear(&peer->staged);
		timers_stop(&peer->timers);
		cds_list_del_init(&peer->initiate);
		peer_reschedule(peer);
	}
}

void tunnel_set_up(struct tunnel *tunnel, bool up)
{
	int err;

	assert_control_thread();
	if (tunnel->up == up)
		return;
	tunnel->up = up;
	if (!up) {
		tunnel->listen_due = UINT64_MAX;
		replace_udp(tunnel, NULL);
		peers_down(tunnel);
		return;
	}
	err = tunnel_listen(tunnel);
	if (err)
		log_error("cannot listen on UDP port %u, trying again: %s (wg set %s "
			  "listen-port takes another one%s)",
			  tunnel->listen_port, strerror(-err), tunnel->name,
			  err == -EACCES ? "; below 1024 takes CAP_NET_BIND_SERVICE"
					 : "");
	peers_up(tunnel);
}

int tunnel_set_listen_port(struct tunnel *tunnel, uint16_t port)
{
	struct udp *udp;
	int err;

	assert_control_thread();
	if (tunnel->up && !(tunnel->dp.udp && port && tunnel->dp.udp->port == port)) {
		err = udp_open(&udp, port, tunnel->fwmark);
		if (err)
			return err;
		port = udp->port;
		tunnel->listen_due = UINT64_MAX;
		replace_udp(tunnel, udp);
	}
	tunnel->listen_port = port;
	return 0;
}

int tunnel_set_fwmark(struct tunnel *tunnel, uint32_t fwmark)
{
	int err = tunnel->dp.udp ? udp_set_fwmark(tunnel->dp.udp, fwmark) : 0;

	assert_control_thread();
	if (err)
		return err;
	tunnel->fwmark = fwmark;
	paths_due(tunnel, clock_now());
	return 0;
}
