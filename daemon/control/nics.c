// SPDX-License-Identifier: MIT
#include "nics.h"

#include <errno.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include <urcu-qsbr.h>

#include "bpf_objects.h"
#include "clock.h"
#include "log.h"
#include "flows.h"
#include "thread.h"
#include "tunnel.h"
#include "udp.h"

/* Errors last, and each try costs the device its queues for a moment, so tries become more and more
 * seldom. Whoever has the device with an XDP program may give it up. The kernel sends no event if a
 * BPF link is detached, but asking costs the device nothing. */
#define LOOK_NS	     NS_PER_SEC
#define REFUSAL_NS   (30 * NS_PER_SEC)
#define MOMENTARY_NS NS_PER_SEC
/* So many tries the system may be short of something. */
#define MOMENTARY_TRIES 8
#define REFUSAL_MAX_NS	(3600 * NS_PER_SEC)
/* Whoever detaches our program twice within this time has his way for a while. */
#define LOST_AGAIN_NS (30 * NS_PER_SEC)

/* --- attached NICs --- */

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

/* The kernel's counters of a socket end with the socket. */
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

struct nic *nics_find(const struct tunnel *tunnel, uint32_t ifindex)
{
	assert_control_thread();
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (tunnel->dp.nics[i] && tunnel->dp.nics[i]->ifindex == ifindex)
			return tunnel->dp.nics[i];
	return NULL;
}

static void publish_queues(struct tunnel *tunnel, struct nic *nic)
{
	unsigned n = workers_grow(&tunnel->workers, nic->queue_count, wgif_add_queue,
				  &tunnel->wgif);

	tunnel->wgif.queues = n;
	tunnel->ending |= tunnel->wgif.gone;
	for (unsigned i = 0; i < nic->queue_count; i++)
		nic->queues[i]->reader = i % n;
	rcu_assign_pointer(tunnel->dp.nics[nic->id], nic);
	nics_choose_gro(tunnel);
	flows_note_nic(tunnel);
	workers_wake(&tunnel->workers);
	log_info("%s: XDP %s, AF_XDP %s, %u queue%s", nic->name,
		 nic->native ? "native" : "generic",
		 nic->queues[0]->zerocopy ? "zero-copy" : "copy", nic->tx_queue_count,
		 nic->tx_queue_count == 1 ? "" : "s");
}

static void publish_filter(struct tunnel *tunnel, struct nic *nic)
{
	rcu_assign_pointer(tunnel->dp.nics[nic->id], nic);
	log_info("%s: XDP %s, filter only; the UDP socket has all packets", nic->name,
		 nic->native ? "native" : "generic");
}

int nics_attach(struct tunnel *tunnel, uint32_t ifindex, enum nic_mode mode,
		struct nic **out, char *why, size_t why_len)
{
	assert_control_thread();
	const struct rtnl_link *link = links_find(&tunnel->routing.links, ifindex);
	int id = free_id(tunnel), err = id < 0 ? id : link ? 0 : -ENODEV;
	struct nic *nic;

	if (err) {
		snprintf(why, why_len, "%s",
			 id < 0 ? "too many devices" : strerror(-err));
		return err;
	}
	err = nic_open(tunnel->bpf, ifindex, link, (uint32_t)id, mode,
		       tunnel->nics.frames ? tunnel->nics.frames : NIC_FRAMES,
		       !tunnel->nics.automatic, &nic, why, why_len);
	if (err)
		return err;
	err = watch_handshakes(tunnel, nic);
	if (err) {
		snprintf(why, why_len, "%s: cannot wait for handshakes: %s", nic->name,
			 strerror(-err));
		nic_close(tunnel->bpf, nic);
		nic_free_deferred(nic);
		return err;
	}
	if (nic_is_filter(nic))
		publish_filter(tunnel, nic);
	else
		publish_queues(tunnel, nic);
	*out = nic;
	return 0;
}

void nics_detach(struct tunnel *tunnel, struct nic *nic)
{
	assert_control_thread();
	rcu_assign_pointer(tunnel->dp.nics[nic->id], NULL);
	workers_wake(&tunnel->workers);
	urcu_qsbr_synchronize_rcu();
	keep_losses(tunnel, nic);
	nic_close(tunnel->bpf, nic);
	nic->next_closed = tunnel->nics.closed;
	tunnel->nics.closed = nic;
	nics_choose_gro(tunnel);
}

void nics_free_closed(struct tunnel *tunnel)
{
	struct nic *nic;

	assert_control_thread();
	while ((nic = tunnel->nics.closed)) {
		tunnel->nics.closed = nic->next_closed;
		nic_free_deferred(nic);
	}
}

void nics_choose_gro(struct tunnel *tunnel)
{
	bool generic = false;

	assert_control_thread();
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		generic |= tunnel->dp.nics[i] && !tunnel->dp.nics[i]->native;
	if (tunnel->dp.udp)
		udp_set_gro(tunnel->dp.udp, !generic);
}

/* --- refused devices --- */

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

/* How long to wait after this error. r: the refusal before; NULL: there was none. */
static uint64_t refusal_wait(const struct nic_refusal *r, int err)
{
	uint64_t before = r ? r->wait : 0;

	if (rtnl_is_momentary(err) && (!r || r->momentary < MOMENTARY_TRIES))
		return MOMENTARY_NS;
	if (!before || err == -EBUSY)
		return REFUSAL_NS;
	return before < REFUSAL_MAX_NS / 2 ? before * 2 : REFUSAL_MAX_NS;
}

/* Writes to `holder` which XDP program the device has, or "" if it has none. */
static void look_up_holder(const struct tunnel *tunnel, uint32_t ifindex,
			   char holder[XDP_HOLDER_TEXT])
{
	const struct rtnl_link *link = links_find(&tunnel->routing.links, ifindex);

	holder[0] = 0;
	if (link)
		bpf_objects_xdp_holder(tunnel->bpf, ifindex, link->mac, holder);
}

/* Logs `why`, unless the last try with this device ended for the same reason. */
static void remember_refusal(struct tunnel *tunnel, uint32_t ifindex, int err,
			     const char *why)
{
	const struct rtnl_link *link = links_find(&tunnel->routing.links, ifindex);
	struct nic_refusal *r = find_refusal(tunnel, ifindex);
	uint64_t wait = refusal_wait(r, err), now = clock_now();
	unsigned momentary = rtnl_is_momentary(err) ? (r ? r->momentary : 0) + 1 : 0;

	if (!r || strcmp(r->why, why) != 0)
		log_info("%s; using the UDP socket", why);
	if (!r)
		r = &tunnel->nics.refused[tunnel->nics.refused_next++ % WG_MAX_NICS];
	*r = (struct nic_refusal){.ifindex = ifindex,
				  .mtu = link ? link->mtu : 0,
				  .up = link && link->flags & IFF_UP,
				  .err = err,
				  .momentary = momentary,
				  .wait = wait,
				  .until = now + wait};
	snprintf(r->why, sizeof(r->why), "%s", why);
	if (err == -EBUSY)
		look_up_holder(tunnel, ifindex, r->holder);
	if (r->holder[0])
		r->look = now + LOOK_NS;
}

/* Returns true if the program that kept us from the device is gone, or if another one is there,
 * which may be libxdp's dispatcher. Looks once per LOOK_NS. */
static bool was_released(const struct tunnel *tunnel, struct nic_refusal *r, uint64_t now)
{
	char holder[XDP_HOLDER_TEXT];

	if (!r->look || now < r->look)
		return false;
	r->look = now + LOOK_NS;
	look_up_holder(tunnel, r->ifindex, holder);
	return strcmp(holder, r->holder) != 0;
}

static void forget_refusal(struct tunnel *tunnel, uint32_t ifindex)
{
	struct nic_refusal *r = find_refusal(tunnel, ifindex);

	if (r)
		r->ifindex = 0;
}

/* A device whose time is over, which is said once; 0: none. */
static uint32_t end_refusal(struct tunnel *tunnel, uint64_t now)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		struct nic_refusal *r = &tunnel->nics.refused[i];

		if (!r->ifindex || r->over)
			continue;
		if (now >= r->until || was_released(tunnel, r, now)) {
			r->over = true;
			r->until = 0;
			return r->ifindex;
		}
	}
	return 0;
}

static uint32_t *find_released(struct tunnel *tunnel, uint32_t ifindex)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (tunnel->nics.released[i] == ifindex)
			return &tunnel->nics.released[i];
	return NULL;
}

static void forget_released(struct tunnel *tunnel, uint32_t ifindex)
{
	uint32_t *released = find_released(tunnel, ifindex);

	if (released)
		*released = 0;
}

int nics_release(struct tunnel *tunnel, uint32_t ifindex)
{
	uint32_t *released = find_released(tunnel, ifindex);

	assert_control_thread();
	if (!released)
		released = find_released(tunnel, 0);
	if (!released)
		return -ENOSPC;
	*released = ifindex;
	return 0;
}

void nics_link_changed(struct tunnel *tunnel, uint32_t ifindex,
		       const struct rtnl_link *link)
{
	assert_control_thread();
	struct nic_refusal *r = find_refusal(tunnel, ifindex);
	struct nic *nic = nics_find(tunnel, ifindex);

	if (!link)
		forget_released(tunnel, ifindex);
	if (nic && link)
		nic_set_link(tunnel->bpf, nic, link);
	if (r && (!link || link->mtu != r->mtu || r->up != !!(link->flags & IFF_UP)))
		r->ifindex = 0;
}

/* --- wanted devices --- */

/* A TAP or TUN is a tunnel itself, perhaps ours: XDP there gains nothing. */
static bool suits(const struct tunnel *tunnel, uint32_t ifindex,
		  const struct rtnl_link *link)
{
	return !wgif_is(&tunnel->wgif, ifindex) && link->type == ARPHRD_ETHER &&
	       strcmp(link->kind, "tun") && (link->flags & IFF_UP);
}

static const struct nic_request *find_request(const struct tunnel *tunnel,
					      const char *name)
{
	for (unsigned i = 0; i < tunnel->nics.request_count; i++)
		if (!strcmp(name, tunnel->nics.requests[i].name))
			return &tunnel->nics.requests[i];
	return NULL;
}

/* Returns true if the administrator asked for the device, or leaves the choice to routes and the
 * device is suitable; and in which mode. */
static bool is_allowed(const struct tunnel *tunnel, uint32_t ifindex, enum nic_mode *mode)
{
	const struct rtnl_link *link = links_find(&tunnel->routing.links, ifindex);
	const struct nic_request *request;

	*mode = NIC_ANY;
	if (!link)
		return false;
	if (tunnel->nics.automatic)
		return suits(tunnel, ifindex, link);
	request = find_request(tunnel, link->name);
	if (request)
		*mode = request->mode;
	return request != NULL;
}

static bool may_attach(struct tunnel *tunnel, uint32_t ifindex, enum nic_mode *mode)
{
	return !nics_find(tunnel, ifindex) && !is_refused(tunnel, ifindex) &&
	       !find_released(tunnel, ifindex) && is_allowed(tunnel, ifindex, mode);
}

void nics_want(struct tunnel *tunnel, uint32_t ifindex)
{
	struct nics *nics = &tunnel->nics;
	enum nic_mode mode;

	assert_control_thread();
	for (unsigned i = 0; i < nics->wanted_count; i++)
		if (nics->wanted[i] == ifindex)
			return;
	if (nics->wanted_count < NICS_WANTED_MAX && may_attach(tunnel, ifindex, &mode))
		nics->wanted[nics->wanted_count++] = ifindex;
}

void nics_note_lost(struct tunnel *tunnel, uint32_t ifindex, uint64_t now)
{
	const struct rtnl_link *link = links_find(&tunnel->routing.links, ifindex);
	struct nics *nics = &tunnel->nics;
	char why[NIC_WHY];

	assert_control_thread();
	snprintf(why, sizeof(why), "%s: somebody detached the XDP program again",
		 link ? link->name : "?");
	if (nics->lost == ifindex && now < nics->lost_at + LOST_AGAIN_NS)
		remember_refusal(tunnel, ifindex, -ECANCELED, why);
	nics->lost = ifindex;
	nics->lost_at = now;
	nics_want(tunnel, ifindex);
}

/* The first of the queue; 0: it is empty. */
static uint32_t take_wanted(struct nics *nics)
{
	uint32_t ifindex = nics->wanted[0];

	if (!nics->wanted_count)
		return 0;
	nics->wanted_count--;
	memmove(nics->wanted, nics->wanted + 1,
		nics->wanted_count * sizeof(nics->wanted[0]));
	return ifindex;
}

static int attach_in_mode(struct tunnel *tunnel, uint32_t ifindex, enum nic_mode mode)
{
	struct nic *nic;
	char why[NIC_WHY];
	int err = nics_attach(tunnel, ifindex, mode, &nic, why, sizeof(why));

	if (err)
		remember_refusal(tunnel, ifindex, err, why);
	else
		forget_refusal(tunnel, ifindex);
	return err;
}

/* Returns true if the device is attached now. What held when it was queued may not any more. */
static bool attach_wanted(struct tunnel *tunnel, uint32_t ifindex)
{
	enum nic_mode mode;

	return may_attach(tunnel, ifindex, &mode) &&
	       !attach_in_mode(tunnel, ifindex, mode);
}

int nics_take(struct tunnel *tunnel, uint32_t ifindex)
{
	enum nic_mode mode;

	assert_control_thread();
	forget_released(tunnel, ifindex);
	if (nics_find(tunnel, ifindex))
		return 0;
	if (!is_allowed(tunnel, ifindex, &mode))
		return -EACCES;
	return attach_in_mode(tunnel, ifindex, mode);
}

uint32_t nics_serve(struct tunnel *tunnel, uint64_t now)
{
	assert_control_thread();
	uint32_t ifindex = take_wanted(&tunnel->nics);

	if (ifindex && attach_wanted(tunnel, ifindex))
		return ifindex;
	return end_refusal(tunnel, now);
}

uint64_t nics_deadline(const struct tunnel *tunnel)
{
	uint64_t next = UINT64_MAX;

	assert_control_thread();
	if (tunnel->nics.wanted_count)
		return 0;
	for (unsigned i = 0; i < WG_MAX_NICS; i++) {
		const struct nic_refusal *r = &tunnel->nics.refused[i];

		if (!r->ifindex || r->over)
			continue;
		if (r->until < next)
			next = r->until;
		if (r->look && r->look < next)
			next = r->look;
	}
	return next;
}
