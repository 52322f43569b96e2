// SPDX-License-Identifier: MIT
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sodium.h>
#include <urcu-qsbr.h>

#include "config.h"
#include "log.h"
#include "peer.h"
#include "uapi.h"

#define KEY_BUCKETS 1024
/* Other devices' changes come in bursts. */
#define SETTLE_NS	(20 * NS_PER_MS)
#define LISTEN_RETRY_NS NS_PER_SEC
#define ADDRS_RETRY_NS	NS_PER_SEC
#define PATHS_A_ROUND	256

void device_drop(struct device *dev, enum drop_reason reason, uint64_t n)
{
	((uint64_t *)&dev->stats[WG_CONTROL_STATS].drops)[reason] += n;
}

uint16_t device_port(const struct device *dev)
{
	return dev->udp ? dev->udp->port : dev->listen_port;
}

/* --- making and ending --- */

static int init_tables(struct device *dev)
{
	int err;

	CDS_INIT_LIST_HEAD(&dev->peers);
	CDS_INIT_LIST_HEAD(&dev->dead_peers);
	CDS_INIT_LIST_HEAD(&dev->initiations);
	randombytes_buf(dev->hash_key, sizeof(dev->hash_key));
	timerq_init(&dev->timers);
	dev->paths_due = dev->listen_due = dev->addrs_due = UINT64_MAX;
	dev->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (dev->epoll_fd < 0)
		return -errno;
	dev->slots =
		mmap(NULL, WG_MAX_PEERS * sizeof(*dev->slots), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (dev->slots == MAP_FAILED) {
		dev->slots = NULL;
		return -errno;
	}
	dev->peers_by_key =
		cds_lfht_new(KEY_BUCKETS, KEY_BUCKETS, 0, CDS_LFHT_AUTO_RESIZE, NULL);
	if (!dev->peers_by_key)
		return -ENOMEM;
	err = sessions_init(&dev->sessions);
	if (!err)
		err = events_init(&dev->events);
	if (!err)
		err = handshake_queue_init(&dev->handshakes);
	ratelimit_init(&dev->ratelimit, HANDSHAKES_PER_SECOND, HANDSHAKES_BURST, 64);
	return err;
}

static int attach_named(struct device *dev, char *why, size_t why_len)
{
	for (unsigned i = 0; i < dev->nics.request_count; i++) {
		const struct nic_request *r = &dev->nics.requests[i];
		uint32_t ifindex = if_nametoindex(r->name);
		struct nic *nic;
		int err;

		if (!ifindex) {
			snprintf(why, why_len, "no device %s here (see `ip link`)",
				 r->name);
			return -ENODEV;
		}
		err = nic_attach(dev, ifindex, r->mode, &nic, why, why_len);
		if (err)
			return err;
	}
	return 0;
}

static const struct uapi_ops uapi_ops = {
	.get = config_get,
	.set = config_set,
	.status = config_status,
	.refused = config_refused,
};

static int open_parts(struct device *dev, unsigned workers, char *why, size_t why_len)
{
	int err;

	/* It names a socket and a directory of pins, too. */
	if (!tap_name_valid(dev->name)) {
		snprintf(why, why_len, "'%s' cannot be an interface's name", dev->name);
		return -EINVAL;
	}
	err = init_tables(dev);
	if (!err)
		err = rtnl_open(&dev->rtnl);
	if (!err)
		err = datapath_open(&dev->datapath, why, why_len);
	if (err)
		return err;
	dev->stats = datapath_worker_stats(dev->datapath);
	err = allowedips_init(&dev->allowed, datapath_set_allowed_ip, dev->datapath);
	if (!err)
		err = datapath_pin(dev->datapath, dev->name, why, why_len);
	if (!err)
		err = wgif_open(dev, workers, why, why_len);
	if (!err)
		err = uapi_open(&dev->uapi, NULL, dev->name, &uapi_ops, dev, why,
				why_len);
	if (!err)
		err = attach_named(dev, why, why_len);
	return err;
}

int device_open(struct device *dev, const char *ifname, const struct nics *nics,
		unsigned workers, char *why, size_t why_len)
{
	int err;

	memset(dev, 0, sizeof(*dev));
	wgif_init(&dev->wgif);
	dev->epoll_fd = dev->handshakes.fd = dev->pmtu.fd = -1;
	dev->events.urgent.fd = dev->events.lazy.fd = -1;
	snprintf(dev->name, sizeof(dev->name), "%s", ifname);
	dev->nics = *nics;
	dev->aead = aead_pick();
	why[0] = '\0';
	err = open_parts(dev, workers, why, why_len);
	if (err && !why[0])
		snprintf(why, why_len, "%s", strerror(-err));
	if (err) {
		device_close(dev);
		return err;
	}
	device_read_addrs(dev);
	pmtu_open(&dev->pmtu); /* a host without IPv6 has none */
	return 0;
}

static void remove_all_peers(struct device *dev)
{
	struct peer *peer, *next;

	if (!dev->peers.next)
		return;
	cds_list_for_each_entry_safe (peer, next, &dev->peers, list)
		peer_remove(peer);
	urcu_qsbr_synchronize_rcu();
	peers_reap(dev);
}

static void close_nics(struct device *dev)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (dev->nics.list[i])
			nic_detach(dev, dev->nics.list[i]);
}

/* Order: first nothing more comes in, then nobody works on it, then memory goes. */
void device_close(struct device *dev)
{
	if (dev->datapath)
		datapath_set_port(dev->datapath, 0);
	uapi_close(dev->uapi);
	workers_stop(dev);
	close_nics(dev);
	remove_all_peers(dev);
	wgif_close(dev);
	udp_close(dev->udp);
	free(dev->mac1);
	urcu_qsbr_barrier();
	sessions_destroy(&dev->sessions);
	if (dev->peers_by_key)
		cds_lfht_destroy(dev->peers_by_key, NULL);
	allowedips_destroy(&dev->allowed);
	datapath_close(dev->datapath);
	handshake_queue_destroy(&dev->handshakes);
	events_destroy(&dev->events);
	timerq_destroy(&dev->timers);
	rtnl_close(&dev->rtnl);
	if (dev->epoll_fd >= 0)
		close(dev->epoll_fd);
	pmtu_close(&dev->pmtu);
	if (dev->slots)
		munmap(dev->slots, WG_MAX_PEERS * sizeof(*dev->slots));
	noise_identity_wipe(&dev->identity);
	cookie_checker_wipe(&dev->cookies);
}

/* --- sockets, up and down --- */

void device_choose_gro(struct device *dev)
{
	bool generic = false;

	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		generic |= dev->nics.list[i] && !dev->nics.list[i]->native;
	if (dev->udp)
		udp_set_gro(dev->udp, !generic);
}

/* The old sockets must be gone for good, for the port may be wanted again at once. */
static void replace_udp(struct device *dev, struct udp *udp)
{
	struct udp *old = dev->udp;

	rcu_assign_pointer(dev->udp, udp);
	device_choose_gro(dev);
	datapath_set_port(dev->datapath, udp ? udp->port : 0);
	workers_settle(dev);
	udp_close(old);
	dev->paths_due = clock_now();
}

/* Somebody else may have the port; an interface that is up tries again. */
int device_listen(struct device *dev)
{
	struct udp *udp;
	int err = udp_open(&udp, dev->listen_port, dev->fwmark);

	dev->listen_due = err ? clock_now() + LISTEN_RETRY_NS : UINT64_MAX;
	if (err)
		return err;
	/* One that was picked is kept while down: peers know it by then. */
	dev->listen_port = udp->port;
	replace_udp(dev, udp);
	return 0;
}

static void peers_up(struct device *dev)
{
	uint64_t now = clock_now();
	struct peer *peer;

	cds_list_for_each_entry (peer, &dev->peers, list) {
		timers_set_persistent_keepalive(&peer->timers, peer->persistent_keepalive,
						now);
		peer_reschedule(peer);
	}
}

static void peers_down(struct device *dev)
{
	struct peer *peer;

	cds_list_for_each_entry (peer, &dev->peers, list) {
		peer_end_handshake(peer);
		peer_clear_sessions(peer);
		staged_clear(&peer->staged);
		timers_stop(&peer->timers);
		cds_list_del_init(&peer->initiate);
		peer_reschedule(peer);
	}
}

void device_set_up(struct device *dev, bool up)
{
	int err;

	if (dev->up == up)
		return;
	dev->up = up;
	if (!up) {
		dev->listen_due = UINT64_MAX;
		replace_udp(dev, NULL);
		peers_down(dev);
		return;
	}
	err = device_listen(dev);
	if (err)
		log_error("cannot listen on UDP port %u, trying again: %s (wg set %s "
			  "listen-port takes another one%s)",
			  dev->listen_port, strerror(-err), dev->name,
			  err == -EACCES ? "; below 1024 takes CAP_NET_BIND_SERVICE"
					 : "");
	peers_up(dev);
}

/* --- configuration --- */

int device_set_listen_port(struct device *dev, uint16_t port)
{
	struct udp *udp;
	int err;

	if (dev->up && !(dev->udp && port && dev->udp->port == port)) {
		err = udp_open(&udp, port, dev->fwmark);
		if (err)
			return err;
		port = udp->port;
		dev->listen_due = UINT64_MAX;
		replace_udp(dev, udp);
	}
	dev->listen_port = port;
	return 0;
}

int device_set_fwmark(struct device *dev, uint32_t fwmark)
{
	int err = dev->udp ? udp_set_fwmark(dev->udp, fwmark) : 0;

	if (err)
		return err;
	dev->fwmark = fwmark;
	dev->paths_due = clock_now();
	return 0;
}

/* Nothing is sent under what the old key made; and the first initiation by the new one
 * does not wait because the last one by the old one was a moment ago. */
static void forget_old_key(struct peer *peer)
{
	peer_end_handshake(peer);
	peer_clear_sessions(peer);
	peer->timers.initiated = false;
}

static void mac1_free(struct rcu_head *head)
{
	free(caa_container_of(head, struct mac1_check, rcu));
}

/* To workers and to the XDP program. `check` is theirs from here on; NULL: none. */
static int publish_mac1(struct device *dev, struct mac1_check *check)
{
	struct mac1_check *old = dev->mac1;

	rcu_assign_pointer(dev->mac1, check);
	if (old)
		urcu_qsbr_call_rcu(&old->rcu, mac1_free);
	return datapath_set_mac1_key(dev->datapath, check ? check->key : NULL);
}

/* A peer with our own public key would be ourselves: it goes. */
int device_set_private_key(struct device *dev, const uint8_t key[WG_KEY_LEN])
{
	struct mac1_check *check = malloc(sizeof(*check));
	struct peer *peer;
	int err;

	if (!check)
		return -ENOMEM;
	noise_identity_set(&dev->identity, key);
	cookie_checker_init(&dev->cookies, dev->identity.public_key);
	memcpy(check->key, dev->cookies.mac1_key, sizeof(check->key));
	if (!dev->identity.set) {
		free(check);
		check = NULL;
	}
	err = publish_mac1(dev, check);
	if (err)
		log_error("handshakes go by the UDP socket: BPF map: %s", strerror(-err));
	if (dev->identity.set) {
		peer = peer_find(dev, dev->identity.public_key);
		if (peer)
			peer_remove(peer);
	}
	cds_list_for_each_entry (peer, &dev->peers, list) {
		noise_remote_precompute(&peer->remote, &dev->identity);
		forget_old_key(peer);
	}
	return 0;
}

/* --- surroundings --- */

/* A share of them a call, so that many peers do not keep the control thread. After a change
 * meanwhile all of them follow once more; it does not begin anew, or where changes never
 * stop the last ones would never have their turn. */
void device_resolve_paths(struct device *dev, uint64_t now)
{
	unsigned share = PATHS_A_ROUND;

	if (!dev->next_path && now >= dev->paths_due) {
		dev->paths_due = UINT64_MAX;
		dev->next_path = dev->peers.next;
	}
	while (dev->next_path && dev->next_path != &dev->peers && share--) {
		struct peer *peer = cds_list_entry(dev->next_path, struct peer, list);

		dev->next_path = dev->next_path->next;
		if (peer->has_endpoint)
			peer_resolve_path(peer);
	}
	if (dev->next_path == &dev->peers)
		dev->next_path = NULL;
}

void device_paths_due(struct device *dev, uint64_t when)
{
	if (when < dev->paths_due)
		dev->paths_due = when;
}

void device_paths_changed(struct device *dev)
{
	device_paths_due(dev, clock_now() + SETTLE_NS);
}

void device_add_addr(void *ctx, const struct rtnl_addr *addr)
{
	struct device *dev = ctx;

	if (addr->broadcast.family != IP_NONE)
		datapath_set_local_addr(dev->datapath, &addr->broadcast,
					WG_ADDR_BROADCAST);
	datapath_set_local_addr(dev->datapath, &addr->addr, WG_ADDR_LOCAL);
}

/* While the map is being filled again, packets go by the UDP socket. */
void device_read_addrs(struct device *dev)
{
	dev->addrs_due = UINT64_MAX;
	datapath_clear_local_addrs(dev->datapath);
	if (!rtnl_addr_dump(&dev->rtnl, device_add_addr, dev))
		return;
	log_error(
		"cannot read this host's addresses, trying again: packets go by the UDP "
		"socket");
	dev->addrs_due = clock_now() + ADDRS_RETRY_NS;
}
