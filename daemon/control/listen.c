// SPDX-License-Identifier: MIT
#include "listen.h"

#include <errno.h>
#include <string.h>

#include <urcu-qsbr.h>

#include "bpf_objects.h"
#include "clock.h"
#include "default_routes.h"
#include "flows.h"
#include "log.h"
#include "paths.h"
#include "thread.h"
#include "tunnel.h"
#include "udp.h"

#define LISTEN_RETRY_NS NS_PER_SEC
/* Peers per round of the control loop that go up, and that go down. */
#define PEERS_A_ROUND 512

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

/* The log gets each error once, not at each try that ends with the same one. */
static void note_error(struct tunnel *tunnel, int err)
{
	if (err != tunnel->listen_error)
		log_error("cannot listen on UDP port %u, trying again: %s (wg set %s "
			  "listen-port takes another one%s)",
			  tunnel->listen_port, strerror(-err), tunnel->name,
			  err == -EACCES ? "; below 1024 takes CAP_NET_BIND_SERVICE"
					 : "");
	tunnel->listen_error = err;
}

/* Workers drop what the filter would, but each packet wakes one. */
static void note_filter(struct tunnel *tunnel, int err)
{
	if (err && err != tunnel->filter_error)
		log_error(
			"the UDP sockets lack the filter against floods: %s (%s`ip link "
			"set %s down` and `up` tries again)",
			strerror(-err),
			err == -ENOMEM ? "raise the sysctl net.core.optmem_max; " : "",
			tunnel->name);
	tunnel->filter_error = err;
}

/* Listens by these sockets. A port that the kernel chose is kept while wg0 is down, because peers
 * know it. */
static void listen_by(struct tunnel *tunnel, struct udp *udp)
{
	if (tunnel->listen_error)
		log_info("listening on UDP port %u now", udp->port);
	tunnel->listen_error = 0;
	tunnel->listen_due = UINT64_MAX;
	tunnel->listen_port = udp->port;
	note_filter(tunnel, udp->filter_error);
	replace_udp(tunnel, udp);
}

int tunnel_listen(struct tunnel *tunnel)
{
	assert_control_thread();
	struct udp *udp;
	int err = udp_open(&udp, tunnel->listen_port, tunnel->fwmark,
			   bpf_objects_socket_filter_fd(tunnel->bpf));

	if (!err) {
		listen_by(tunnel, udp);
		return 0;
	}
	note_error(tunnel, err);
	tunnel->listen_due = clock_now() + LISTEN_RETRY_NS;
	return err;
}

/* --- up and down --- */

static void start_peer(struct peer *peer)
{
	timers_set_persistent_keepalive(&peer->timers, peer->persistent_keepalive,
					clock_now());
	peer_reschedule(peer);
}

static void stop_peer(struct peer *peer)
{
	peer_end_handshake(peer);
	peer_drop_keypairs(peer);
	timers_stop(&peer->timers);
	/* If wg0 is up again, packets wait there already, for the next session. */
	if (!tunnel_of(peer)->up_wanted) {
		staged_clear(&peer->staged);
		cds_list_del_init(&peer->initiate);
	}
	peer_reschedule(peer);
}

static void serve_peers(struct tunnel *tunnel)
{
	peer_sweep_share(&tunnel->peers, &tunnel->going_up, PEERS_A_ROUND, start_peer);
	peer_sweep_share(&tunnel->peers, &tunnel->going_down, PEERS_A_ROUND, stop_peer);
}

static void go_up(struct tunnel *tunnel)
{
	tunnel->up = true;
	tunnel_listen(tunnel);
	peer_sweep_want(&tunnel->peers, &tunnel->going_up);
}

static void go_down(struct tunnel *tunnel)
{
	tunnel->up = false;
	tunnel->listen_due = UINT64_MAX;
	tunnel->listen_error = 0;
	replace_udp(tunnel, NULL);
	peer_sweep_end(&tunnel->going_up);
	peer_sweep_want(&tunnel->peers, &tunnel->going_down);
}

/* The tunnel goes up only after all peers have gone down, because going down would end the new
 * sessions, too. */
static void follow_wanted(struct tunnel *tunnel)
{
	if (tunnel->up == tunnel->up_wanted ||
	    (!tunnel->up && peer_sweep_goes_on(&tunnel->going_down)))
		return;
	if (tunnel->up_wanted)
		go_up(tunnel);
	else
		go_down(tunnel);
	serve_peers(tunnel);
}

void tunnel_set_up(struct tunnel *tunnel, bool up)
{
	assert_control_thread();
	tunnel->up_wanted = up;
	follow_wanted(tunnel);
}

void listen_serve(struct tunnel *tunnel, uint64_t now)
{
	assert_control_thread();
	serve_peers(tunnel);
	follow_wanted(tunnel);
	if (now >= tunnel->listen_due)
		tunnel_listen(tunnel);
}

/* Returns true if nothing has to be opened for this port: it is open, or wg0 is down and the port
 * was accepted before. */
static bool is_set(const struct tunnel *tunnel, uint16_t port)
{
	if (tunnel->up)
		return port && tunnel->dp.udp && tunnel->dp.udp->port == port;
	return !port || tunnel->listen_port == port;
}

/* Opens sockets for a port that is not open yet, with that mark. Also if wg0 is down, and they are
 * closed again, to see if that is possible: `ip link set up` cannot fail, so this is the last time
 * to refuse a port that is in use. */
static int open_for(struct tunnel *tunnel, const uint16_t *port, uint32_t fwmark,
		    struct udp **udp)
{
	int err = 0;

	*udp = NULL;
	if (port && !is_set(tunnel, *port))
		err = udp_open(udp, *port, fwmark,
			       bpf_objects_socket_filter_fd(tunnel->bpf));
	if (err)
		log_info("configuration refused, nothing changed: UDP port %u: %s", *port,
			 strerror(-err));
	return err;
}

/* Of the sockets that are open: of both or of none. */
static int mark_sockets(struct tunnel *tunnel, uint32_t fwmark)
{
	struct udp *udp = tunnel->dp.udp;
	int err = udp ? udp_set_fwmark(udp, fwmark) : 0;

	if (!err)
		return 0;
	udp_set_fwmark(udp, tunnel->fwmark);
	log_info("configuration refused, nothing changed: fwmark: %s", strerror(-err));
	return err;
}

static void use_fwmark(struct tunnel *tunnel, uint32_t fwmark)
{
	tunnel->fwmark = fwmark;
	paths_due(tunnel, clock_now());
	default_routes_changed(tunnel);
}

int tunnel_set_sockets(struct tunnel *tunnel, const uint16_t *port,
		       const uint32_t *fwmark)
{
	assert_control_thread();
	struct udp *udp;
	int err = open_for(tunnel, port, fwmark ? *fwmark : tunnel->fwmark, &udp);

	if (!err && fwmark && !(udp && tunnel->up))
		err = mark_sockets(tunnel, *fwmark);
	if (err) {
		udp_close(udp);
		return err;
	}
	if (fwmark)
		use_fwmark(tunnel, *fwmark);
	if (udp && tunnel->up) {
		listen_by(tunnel, udp);
		return 0;
	}
	udp_close(udp);
	if (port)
		tunnel->listen_port = *port;
	return 0;
}
