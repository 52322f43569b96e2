// SPDX-License-Identifier: MIT
#include "nics.h"

#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include <urcu-qsbr.h>

#include "clock.h"
#include "log.h"
#include "flows.h"
#include "udp.h"
#include "bpf_objects.h"
#include "tunnel.h"

/* Whoever has the device may give it up without our being told. What else is wrong lasts, and
 * to try costs the device its queues for a moment: from time to time, more and more seldom. */
#define REFUSAL_NS     (30 * NS_PER_SEC)
#define REFUSAL_MAX_NS (3600 * NS_PER_SEC)

static int watch_handshakes(struct tunnel *tunnel, const struct nic *nic)
{
	for (unsigned i = 0; i < nic->queue_count; i++) {
		struct epoll_event ev = {
			.events = EPOLLIN,
			.data.fd = xsk_socket__fd(nic->queues[i]->handshake)};

		if (epoll_ctl(tunnel->epoll_fd, EPOLL_CTL_ADD, ev.data.fd, &ev))
			return -errno;
	}
	return 0;
}

/* The sockets' own counters end with them. */
static void keep_losses(struct tunnel *tunnel, const struct nic *nic)
{
	struct nic_losses l = nic_losses(nic);

	tunnel_drop(tunnel, DROP_rx_ring_full, l.data);
	tunnel_drop(tunnel, DROP_handshake_queue_full, l.handshake);
}

static int free_id(struct tunnel *tunnel)
{
	for (int i = 0; i < WG_MAX_NICS; i++)
		if (!tunnel->dp.nics[i])
			return i;
	return -ENOSPC;
}

static void publish(struct tunnel *tunnel, struct nic *nic)
{
	unsigned n = workers_grow(&tunnel->workers, nic->queue_count, wgif_add_queue,
				  &tunnel->wgif);

	tunnel->wgif.queues = n;
	for (unsigned i = 0; i < nic->queue_count; i++)
		nic->queues[i]->reader = i % n;
	rcu_assign_pointer(tunnel->dp.nics[nic->id], nic);
	tunnel_choose_gro(tunnel);
	flows_note_nic(tunnel, nic->ifindex);
	workers_wake(&tunnel->workers);
	log_info("%s: XDP %s, AF_XDP %s, %u queue%s", nic->name,
		 nic->native ? "native" : "generic",
		 nic->queues[0]->zerocopy ? "zero-copy" : "copy", nic->tx_queue_count,
		 nic->tx_queue_count == 1 ? "" : "s");
}

int nic_attach(struct tunnel *tunnel, uint32_t ifindex, enum nic_mode mode,
	       struct nic **out, char *why, size_t why_len)
{
	struct rtnl_link link;
	struct nic *nic;
	int id = free_id(tunnel), err = rtnl_link_get(&tunnel->rtnl, ifindex, &link);

	if (id < 0 || err) {
		snprintf(why, why_len, "%s",
			 id < 0 ? "too many devices" : strerror(-err));
		return id < 0 ? id : err;
	}
	err = nic_open(tunnel->bpf, ifindex, &link, (uint32_t)id, mode,
		       !tunnel->nics.automatic, &nic, why, why_len);
	if (err)
		return err;
	err = watch_handshakes(tunnel, nic);
	if (err) {
		snprintf(why, why_len, "%s: cannot wait for handshakes: %s", nic->name,
			 strerror(-err));
		nic_close(tunnel->bpf, nic);
		return err;
	}
	publish(tunnel, nic);
	*out = nic;
	return 0;
}

void nic_detach(struct tunnel *tunnel, struct nic *nic)
{
	rcu_assign_pointer(tunnel->dp.nics[nic->id], NULL);
	workers_wake(&tunnel->workers);
	urcu_qsbr_synchronize_rcu();
	keep_losses(tunnel, nic);
	nic_close(tunnel->bpf, nic);
	tunnel_choose_gro(tunnel);
}

struct nic *nic_find(struct tunnel *tunnel, uint32_t ifindex)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (tunnel->dp.nics[i] && tunnel->dp.nics[i]->ifindex == ifindex)
			return tunnel->dp.nics[i];
	return NULL;
}

static struct nic_refusal *find_refusal(struct tunnel *tunnel, uint32_t ifindex)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (tunnel->nics.refused[i].ifindex == ifindex)
			return &tunnel->nics.refused[i];
	return NULL;
}

static bool is_refused(struct tunnel *tunnel, uint32_t ifindex)
{
	const struct nic_refusal *r = find_refusal(tunnel, ifindex);

	return r && clock_now() < r->until;
}

/* How long, after having waited so long (0: never). */
static uint64_t refusal_wait(uint64_t before, int err)
{
	if (!before || err == -EBUSY)
		return REFUSAL_NS;
	return before < REFUSAL_MAX_NS / 2 ? before * 2 : REFUSAL_MAX_NS;
}

static void refuse(struct tunnel *tunnel, uint32_t ifindex, int err)
{
	struct nic_refusal *r = find_refusal(tunnel, ifindex);
	uint64_t wait = refusal_wait(r ? r->wait : 0, err);
	struct rtnl_link link = {0};

	if (!r)
		r = &tunnel->nics.refused[tunnel->nics.refused_next++ % WG_MAX_NICS];
	rtnl_link_get(&tunnel->rtnl, ifindex, &link);
	*r = (struct nic_refusal){.ifindex = ifindex,
				  .mtu = link.mtu,
				  .up = link.flags & IFF_UP,
				  .wait = wait,
				  .until = clock_now() + wait};
}

static void forget_refusal(struct tunnel *tunnel, uint32_t ifindex)
{
	struct nic_refusal *r = find_refusal(tunnel, ifindex);

	if (r)
		r->ifindex = 0;
}

void nic_link_changed(struct tunnel *tunnel, uint32_t ifindex,
		      const struct rtnl_link *link)
{
	struct nic_refusal *r = find_refusal(tunnel, ifindex);
	struct nic *nic = nic_find(tunnel, ifindex);

	if (nic && link)
		nic_set_link(tunnel->bpf, nic, link);
	if (r && (!link || link->mtu != r->mtu || r->up != !!(link->flags & IFF_UP)))
		r->ifindex = 0;
}

/* A TAP or TUN is a tunnel of its own (perhaps ours): XDP there gains nothing. */
static bool suits(struct tunnel *tunnel, uint32_t ifindex)
{
	struct rtnl_link link;

	return !wgif_is(&tunnel->wgif, ifindex) &&
	       !rtnl_link_get(&tunnel->rtnl, ifindex, &link) &&
	       link.type == ARPHRD_ETHER && strcmp(link.kind, "tun") &&
	       (link.flags & IFF_UP);
}

/* Whether the device was asked for, or any is welcome; and in which mode. */
static bool wanted(struct tunnel *tunnel, uint32_t ifindex, enum nic_mode *mode)
{
	char name[IFNAMSIZ];

	*mode = NIC_ANY;
	if (tunnel->nics.automatic)
		return suits(tunnel, ifindex);
	for (unsigned i = 0; i < tunnel->nics.request_count; i++) {
		*mode = tunnel->nics.requests[i].mode;
		if (if_indextoname(ifindex, name) &&
		    !strcmp(name, tunnel->nics.requests[i].name))
			return true;
	}
	return false;
}

struct nic *nic_for_route(struct tunnel *tunnel, uint32_t ifindex)
{
	struct nic *nic = nic_find(tunnel, ifindex);
	enum nic_mode mode;
	char why[256];
	int err;

	if (nic || is_refused(tunnel, ifindex) || !wanted(tunnel, ifindex, &mode))
		return nic;
	err = nic_attach(tunnel, ifindex, mode, &nic, why, sizeof(why));
	if (err) {
		refuse(tunnel, ifindex, err);
		log_info("%s; using the UDP socket", why);
		return NULL;
	}
	forget_refusal(tunnel, ifindex);
	return nic;
}

void tunnel_choose_gro(struct tunnel *tunnel)
{
	bool generic = false;

	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		generic |= tunnel->dp.nics[i] && !tunnel->dp.nics[i]->native;
	if (tunnel->dp.udp)
		udp_set_gro(tunnel->dp.udp, !generic);
}
