// SPDX-License-Identifier: MIT
/*
 * Theory of operation: wg0 is born in the namespace of this process. Somebody may move
 * it to another one; the sockets and NICs stay where they are, which is the use of it.
 * The kernel takes the TC programs off at that. Without the egress program nothing
 * leaves: the TAP's filter moves along with wg0 (bpf/wgif.bpf.c). Without the ingress
 * program the stack drops what workers write, but a device stacked on wg0 (macvlan in
 * passthru mode, a bridge) would take it. So workers write nothing to wg0
 * (w->dp.unguarded) from the moment the control thread knows that a program is missing
 * until both are back.
 *
 * When wg0 leaves, we ask the TAP where it is, go there for a moment and put the programs
 * back. We keep nothing open there, or that namespace could not be deleted, with wg0 in
 * it, as others can: while wg0 is away we look at it a few times a second instead of
 * being told. The control thread alone changes namespaces, and is back before it does
 * anything else.
 */
#include "wgif.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bpf_objects.h"
#include "clock.h"
#include "log.h"
#include "netns.h"

#define WG0_MTU	     1420
#define CREATE_TRIES 8
/* The outer packets of a full GSO packet, headers and tags added, still make one of the
 * UDP socket's (64 KB): it goes from host to host whole. */
#define WG0_GSO_MAX 61440

/* The log is told so often that programs were put back, if it goes on and on. */
#define TC_SAID_MAX 5
#define TC_SPELL_NS (60 * NS_PER_SEC)

/* Neither a peer's tag nor that of "no peer". */
static const uint8_t wg0_mac[6] = {WG_TAG_0, WG_TAG_1, WG_TAG_2, 0xff, 0xff, 0xfd};

void wgif_init(struct wgif *w, const char *name, struct rtnl *r, atomic_bool *unguarded)
{
	memset(w, 0, sizeof(*w));
	w->name = name;
	w->rtnl = r;
	w->unguarded = unguarded;
	w->fd = w->home = -1;
	w->look_due = w->tc_due = UINT64_MAX;
}

/* --- namespaces --- */

/* Reads which namespace wg0 is in. *changed: another one than at the last call. */
static int note_namespace(struct wgif *w, bool *changed)
{
	struct netns_id there, home;
	int err, ns = tap_netns(w->fd);

	if (ns < 0)
		return ns;
	err = netns_identify(ns, &there);
	if (!err)
		err = netns_identify(w->home, &home);
	close(ns);
	if (err)
		return err;
	*changed = !netns_same(&there, &w->there);
	w->there = there;
	w->away = !netns_same(&there, &home);
	return 0;
}

/*
 * Calls fn(w) in the namespace where wg0 is, by the TAP's word. If the thread could not return
 * from there, it would make sockets in a namespace that is not its own: then we end.
 */
static int visit(struct wgif *w, int (*fn)(void *w))
{
	int err, ns;

	if (!w->away)
		return fn(w);
	ns = tap_netns(w->fd);
	if (ns < 0)
		return ns;
	err = netns_visit(ns, w->home, fn, w);
	close(ns);
	if (err != -ENOTRECOVERABLE)
		return err;
	log_error("cannot return to our network namespace; ending");
	w->gone = true;
	return err;
}

/* --- whose it is --- */

/* `queues` are ours. Everybody else's could read what is sent to peers, and write as any of
 * them. */
static bool is_ours(const struct rtnl_link *link, unsigned queues)
{
	return link->type == ARPHRD_ETHER && link->tun.queues == queues &&
	       link->tun.owner == TAP_OWNER && !link->tun.persist;
}

/* In the namespace where wg0 is. -EPERM if somebody else has a queue of it: deleted then, for
 * it would outlive ours. */
static int check_ours(struct wgif *w, struct rtnl *r, unsigned queues,
		      struct rtnl_link *link)
{
	uint32_t ifindex = w->tap.ifindex;
	int err = rtnl_link_get(r, ifindex, link);

	if (err || (is_ours(link, queues) && tap_intact(w->fd)))
		return err;
	log_error("another process attached to %s (%u queues, %u of them ours): deleting "
		  "it; "
		  "`chmod 600 /dev/net/tun` keeps other users away",
		  w->name, link->tun.queues, queues);
	err = rtnl_link_delete(r, ifindex);
	if (err)
		log_error("cannot delete %s: %s", w->name, strerror(-err));
	return -EPERM;
}

/* --- making it --- */

/* Somebody who hears of new devices may still attach before there is an owner. */
static int create(struct wgif *w, char *why, size_t why_len)
{
	struct rtnl_link link;
	int err = -EPERM;

	for (unsigned i = 0; err == -EPERM && i < CREATE_TRIES; i++) {
		w->fd = tap_create(w->name, &w->tap, why, why_len);
		if (w->fd < 0)
			return w->fd;
		err = check_ours(w, w->rtnl, 1, &link);
		if (err) {
			close(w->fd);
			w->fd = -1;
		}
	}
	if (err)
		snprintf(
			why, why_len,
			"cannot keep %s to ourselves: %s (`chmod 600 /dev/net/tun` keeps "
			"other users away)",
			w->name, strerror(-err));
	return err;
}

/* A qdisc or filter of another kind that keeps ours out goes, with what belongs to it. */
static int attach_tc(struct wgif *w, struct rtnl *r)
{
	uint32_t ifindex = w->tap.ifindex;
	int err = bpf_objects_attach_tc(w->bpf, ifindex);

	if (err && err != -ENOMEM && !rtnl_clsact_remove(r, ifindex))
		err = bpf_objects_attach_tc(w->bpf, ifindex);
	return err;
}

static int attach_first_tc(struct wgif *w, char *why, size_t why_len)
{
	int err = attach_tc(w, w->rtnl);

	if (err)
		snprintf(why, why_len,
			 "cannot attach TC programs to %s: %s (the kernel needs "
			 "CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF)",
			 w->name, strerror(-err));
	return err;
}

static int set_up_link(struct wgif *w, char *why, size_t why_len)
{
	int err = rtnl_link_setup(w->rtnl, w->tap.ifindex, wg0_mac, WG0_MTU, WG0_GSO_MAX);

	if (err)
		snprintf(why, why_len, "cannot set up %s: %s %s", w->name, strerror(-err),
			 rtnl_error(w->rtnl));
	return err ? err : attach_first_tc(w, why, why_len);
}

/* Before the interface can be up: the filter belongs to the device for good. */
static int set_filter(struct wgif *w, char *why, size_t why_len)
{
	int err = tap_set_filter(w->fd, bpf_objects_filter_fd(w->bpf));

	if (err)
		snprintf(why, why_len, "cannot set the filter of %s: %s", w->name,
			 strerror(-err));
	return err;
}

int wgif_open(struct wgif *w, char *why, size_t why_len)
{
	bool changed;
	int err, copy;

	w->home = netns_current();
	if (w->home < 0)
		return w->home;
	err = create(w, why, why_len);
	if (!err)
		err = set_filter(w, why, why_len);
	if (!err)
		err = set_up_link(w, why, why_len);
	if (!err)
		err = note_namespace(w, &changed);
	if (err)
		return err;
	w->mtu = WG0_MTU;
	w->queues = 1;
	copy = fcntl(w->fd, F_DUPFD_CLOEXEC, 0);
	return copy < 0 ? -errno : copy;
}

void wgif_close(struct wgif *w)
{
	if (w->fd >= 0)
		close(w->fd);
	if (w->home >= 0)
		close(w->home);
	w->fd = w->home = -1;
}

bool wgif_is(const struct wgif *w, uint32_t ifindex)
{
	return !w->away && ifindex == w->tap.ifindex;
}

static int add_queue(void *ctx)
{
	struct wgif *w = ctx;
	unsigned queues = w->queues + 1;
	struct rtnl_link link;
	struct rtnl r = {0};
	int fd = tap_add_queue(&w->tap), err;

	if (fd < 0)
		return fd;
	err = rtnl_open(&r);
	if (!err)
		err = check_ours(w, &r, queues, &link);
	rtnl_close(&r);
	if (!err) {
		w->queues = queues;
		return fd;
	}
	close(fd);
	w->gone |= err == -EPERM;
	return err;
}

int wgif_add_queue(void *w)
{
	return visit(w, add_queue);
}

/* --- following it --- */

/* Its index may be another one there. */
static int find_index(struct wgif *w)
{
	struct ifreq ifr = {0};

	if (ioctl(w->fd, TUNGETIFF, &ifr))
		return -errno;
	w->tap.ifindex = if_nametoindex(ifr.ifr_name);
	return w->tap.ifindex ? 0 : -ENODEV;
}

/* In the namespace where wg0 is: what the move took away. */
static int restore(struct wgif *w, struct rtnl *r)
{
	struct rtnl_link link;
	int err = find_index(w);

	if (!err)
		err = rtnl_link_get(r, w->tap.ifindex, &link);
	if (!err)
		err = rtnl_link_setup(r, w->tap.ifindex, wg0_mac, link.mtu, 0);
	if (!err)
		err = attach_tc(w, r);
	return err;
}

/* Tells the workers whether wg0 has both TC programs, and returns that. */
static bool check_tc(struct wgif *w)
{
	bool has = bpf_objects_has_tc(w->bpf, w->tap.ifindex);

	atomic_store(w->unguarded, !has);
	return has;
}

/* Somebody may remove the programs again and again: that is not said each time. */
static void note_put_back(struct wgif *w)
{
	uint64_t now = clock_now();

	atomic_store(w->unguarded, false);
	if (now >= w->tc_put_back + TC_SPELL_NS)
		w->tc_said = 0;
	w->tc_put_back = now;
	if (w->tc_said < TC_SAID_MAX)
		log_info("TC programs of the interface were removed or replaced: put "
			 "back%s",
			 ++w->tc_said == TC_SAID_MAX ? " (not said again until that ends)"
						     : "");
}

static void apply_link(struct wgif *w, const struct rtnl_link *link)
{
	w->mtu = link->mtu;
	w->up = link->flags & IFF_UP;
}

/* --- looking, in its namespace --- */

static int look(struct wgif *w, struct rtnl *r, bool settle)
{
	struct rtnl_link link;
	int err = 0;

	if (settle || !check_tc(w)) {
		err = restore(w, r);
		if (!err && settle)
			atomic_store(w->unguarded, false);
		else if (!err)
			note_put_back(w);
	}
	if (!err)
		err = check_ours(w, r, w->queues, &link);
	if (!err)
		w->link = link;
	return err;
}

static int look_there(void *ctx)
{
	struct wgif *w = ctx;
	struct rtnl r = {0};
	int err = rtnl_open(&r);

	if (!err)
		err = look(w, &r, w->settle);
	rtnl_close(&r);
	return err;
}

static int find(struct wgif *w)
{
	bool changed;
	int err = note_namespace(w, &changed);

	if (err)
		return err;
	w->settle |= changed;
	if (w->settle)
		atomic_store(w->unguarded, true);
	err = visit(w, look_there);
	if (err)
		return err;
	if (w->settle)
		log_info("now in %s network namespace", w->away ? "another" : "our own");
	w->settle = false;
	apply_link(w, &w->link);
	return 0;
}

/* Until it is settled again nothing passes, so an error is only tried again. */
void wgif_look(struct wgif *w, uint64_t now)
{
	int err = find(w);

	if (tap_gone(w->fd))
		w->gone = true;
	else if (err && err != w->last_error)
		log_error("cannot look after the interface: %s%s; trying again",
			  strerror(-err),
			  err == -EPERM ? " (in another namespace that needs "
					  "CAP_SYS_ADMIN)"
					: "");
	w->last_error = err;
	w->look_due = w->away || err ? now + WGIF_LOOK_NS : UINT64_MAX;
}

/* The event of our own attachment leads here once more, and finds them. */
void wgif_check_tc(struct wgif *w, uint64_t now)
{
	int err;

	w->tc_due = UINT64_MAX;
	if (w->gone || w->away || check_tc(w))
		return;
	if (now < w->tc_next) {
		w->tc_due = w->tc_next;
		return;
	}
	w->tc_next = now + WGIF_TC_PAUSE_NS;
	err = attach_tc(w, w->rtnl);
	if (!err)
		note_put_back(w);
	else if (err != w->tc_error)
		log_error("cannot put the TC programs back: %s; trying again",
			  strerror(-err));
	w->tc_error = err;
	if (err)
		w->tc_due = w->tc_next;
}

void wgif_link(struct wgif *w, bool present, const struct rtnl_link *link)
{
	/* What the event says of queues may be from before the latest ones of ours. */
	if (present && is_ours(link, w->queues))
		apply_link(w, link);
	else
		wgif_look(w, clock_now());
}
