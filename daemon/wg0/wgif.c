// SPDX-License-Identifier: MIT
/*
 * Theory of operation: wg0 is made in the namespace of this process. Somebody may move it to
 * another one; the sockets and NICs stay, which is what such a move is good for. The move
 * makes the kernel remove the TC programs. Without the egress program nothing leaves: the
 * TAP's filter moves along with wg0 (bpf/wgif.bpf.c). Without the ingress program the stack
 * drops what workers write, but a device stacked on wg0 (macvlan in passthru mode, a bridge)
 * would take it. So workers write nothing to wg0 (w->unguarded) from the moment the control
 * thread knows that a program is missing until both are back.
 *
 * After a move we ask the TAP where it is, visit that namespace and put the programs back. We
 * keep nothing open there: that namespace could not be deleted, with wg0 in it, as others can.
 * So events of that namespace do not reach us, and while wg0 is away we look at it a few times
 * a second. The control thread is back before it does anything else.
 *
 * wg0 is ours alone. If another process has, or had, a queue of it, the control thread deletes
 * wg0, and the daemon ends. It compares the number of queues at the creation, whenever it adds
 * one, whenever it looks at wg0, and in each link event of wg0. A process may attach, change
 * settings and close before we look. So each event and each look also puts back the filter
 * and the other settings that only a holder of a queue can change.
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
#include "icmp_queue.h"
#include "log.h"
#include "netns.h"
#include "thread.h"
#include "unreachable.h"
#include "wakeup.h"

#define WG0_MTU	     1420
#define CREATE_TRIES 8
/* A GSO packet of this length, with the outer headers and tags of its segments, still fits one
 * GSO packet of the UDP socket (64 KB): it goes from host to host whole. */
#define WG0_GSO_MAX 61440

#define ALL_REDIRECTS "/proc/sys/net/ipv4/conf/all/send_redirects"

#define NEEDS_SYS_ADMIN " (in another namespace that needs CAP_SYS_ADMIN)"

/* While something is put back again and again, the log says so at most SAID_MAX times; after
 * SAID_SPELL_NS without it, it counts from zero. */
#define SAID_MAX      5
#define SAID_SPELL_NS (60 * NS_PER_SEC)

#define TROUBLE_LASTS_NS NS_PER_SEC

/* Neither a peer's tag nor that of "no peer". */
static const uint8_t wg0_mac[6] = {WG_TAG_0, WG_TAG_1, WG_TAG_2, 0xff, 0xff, 0xfd};

void wgif_init(struct wgif *w, const char *name, struct rtnl *r, atomic_bool *unguarded)
{
	assert_control_thread();
	memset(w, 0, sizeof(*w));
	w->name = name;
	w->rtnl = r;
	w->unguarded = unguarded;
	w->fd = w->home = -1;
	w->look_due = w->tc_due = UINT64_MAX;
}

/*
 * Returns true if this error should be logged: once, and only if it has lasted. While wg0 is being
 * deleted or moved, tries fail before the kernel tells what happens.
 */
static bool is_trouble(struct wgif_trouble *t, int err, uint64_t now)
{
	if (!err || err != t->err)
		*t = (struct wgif_trouble){.err = err, .since = now};
	if (!err || t->said || now < t->since + TROUBLE_LASTS_NS)
		return false;
	t->said = true;
	return true;
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

/* Takes the outcome of a visit. If the thread could not return from there, it would make sockets in
 * a namespace that is not its own: then we end. */
static int returned(struct wgif *w, int err)
{
	if (err != -ENOTRECOVERABLE)
		return err;
	log_error("cannot return to our network namespace; ending");
	w->gone = w->failed = true;
	return err;
}

/* Calls fn(w) in the namespace where wg0 is, by the TAP's word. */
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
	return returned(w, err);
}

/* --- whose it is --- */

/* Returns true if `queues` are all that it has: others could read what is sent to peers, and write
 * as any of them. */
static bool is_ours(const struct rtnl_link *link, unsigned queues)
{
	return link->type == ARPHRD_ETHER && link->tun.queues == queues &&
	       link->tun.owner == TAP_OWNER && !link->tun.persist;
}

/* wg0 would outlive us with a foreign queue, and give it what is sent to peers. */
static void delete_attacked(struct wgif *w, struct rtnl *r, const struct rtnl_link *link,
			    unsigned queues)
{
	int err = rtnl_link_delete(r, w->tap.ifindex);

	log_error("another process attached to %s (%u queues, %u of them ours): %s%s; "
		  "`chmod 600 /dev/net/tun` keeps other users away",
		  w->name, link->tun.queues, queues,
		  err ? "cannot delete it: " : "deleted", err ? strerror(-err) : "");
}

/* In the namespace where wg0 is. Returns -EUSERS if somebody else has a queue of it, or had one and
 * left something changed: wg0 is deleted then. */
static int check_ours(struct wgif *w, struct rtnl *r, unsigned queues,
		      struct rtnl_link *link)
{
	int err = rtnl_link_get(r, w->tap.ifindex, link);
	bool intact = false;

	if (!err)
		err = tap_intact(w->fd, &intact);
	if (err || (is_ours(link, queues) && intact))
		return err;
	delete_attacked(w, r, link, queues);
	return -EUSERS;
}

/* The same, of the wg0 that we have served: it was said why we end. */
static int check_still_ours(struct wgif *w, struct rtnl *r, unsigned queues,
			    struct rtnl_link *link)
{
	int err = check_ours(w, r, queues, link);

	w->failed |= err == -EUSERS;
	w->gone |= w->failed;
	return err;
}

/* Sets what somebody who had a queue for a moment may have changed, and what the kernel does not
 * tell. */
static int put_back(struct wgif *w)
{
	tap_put_back(w->fd);
	return tap_set_filter(w->fd, bpf_objects_filter_fd(w->bpf));
}

/* --- making it --- */

/* Whoever hears of a new device may attach a queue before the device has an owner. Once
 * check_ours() has found only our queue, nobody else can attach: what tap_reset() sets stays. */
static int make_device(struct wgif *w, char *why, size_t why_len)
{
	struct rtnl_link link;
	int err;

	w->fd = tap_make(&w->tap, why, why_len);
	if (w->fd < 0)
		return w->fd;
	err = check_ours(w, w->rtnl, 1, &link);
	if (!err)
		err = tap_reset(w->fd, &w->tap);
	if (!err)
		return 0;
	close(w->fd);
	w->fd = -1;
	snprintf(why, why_len, "cannot make %s: %s", w->name,
		 err == -EUSERS ? "other processes attach queues to it (`chmod 600 "
				  "/dev/net/tun` keeps them out)"
				: strerror(-err));
	return err;
}

static int create(struct wgif *w, char *why, size_t why_len)
{
	int err = -EUSERS;

	for (unsigned i = 0; err == -EUSERS && i < CREATE_TRIES; i++)
		err = make_device(w, why, why_len);
	if (err)
		return err;
	why[0] = '\0';
	memcpy(w->first_name, w->tap.name, sizeof(w->first_name));
	return tap_rename(&w->tap, w->name, why, why_len);
}

/* If a qdisc or filter of another kind is in the place of our filters, it is removed, with all
 * that belongs to it. tcx programs have no such place. */
static int attach_tc(struct wgif *w, struct rtnl *r)
{
	uint32_t ifindex = w->tap.ifindex;
	int err = bpf_objects_attach_tc(w->bpf, ifindex);

	if (err && err != -ENOMEM && bpf_objects_uses_clsact(w->bpf) &&
	    !rtnl_clsact_remove(r, ifindex))
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

/* Writes 0 to the sysctl, if that is not its value. Returns 0 or -errno; a kernel without the
 * sysctl needs nothing. */
static int write_zero(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	char now = '0';

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (read(fd, &now, 1) < 0)
		err = -errno;
	close(fd);
	if (err || now == '0')
		return err;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, "0", 1) != 1)
		err = -errno;
	close(fd);
	return err;
}

/*
 * Packets from peer to peer leave by wg0 as they came, and a peer can take no other way. The
 * kernel sends redirects by a link if the link's setting or that of "all" says so; so both must be
 * off. Other links have their own setting, which stays.
 */
static void stop_redirects(struct wgif *w)
{
	int err = write_zero(ALL_REDIRECTS);

	if (err && err != w->redirects_error)
		log_info("peers that speak to each other get ICMP redirects: cannot "
			 "write " ALL_REDIRECTS ": %s; set it to 0",
			 strerror(-err));
	w->redirects_error = err;
}

static int set_up_link(struct wgif *w, char *why, size_t why_len)
{
	int err = rtnl_link_setup(w->rtnl, w->tap.ifindex, wg0_mac, WG0_MTU, WG0_GSO_MAX);

	if (err)
		snprintf(why, why_len, "cannot set up %s: %s %s", w->name, strerror(-err),
			 rtnl_error(w->rtnl));
	if (err)
		return err;
	stop_redirects(w);
	return attach_first_tc(w, why, why_len);
}

/* Before the interface can be up. */
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

	assert_control_thread();
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
	tap_announce(&w->tap);
	w->mtu = WG0_MTU;
	w->queues = w->queues_ever = 1;
	copy = fcntl(w->fd, F_DUPFD_CLOEXEC, 0);
	return copy < 0 ? -errno : copy;
}

void wgif_close(struct wgif *w)
{
	assert_control_thread();
	if (w->fd >= 0)
		close(w->fd);
	if (w->home >= 0)
		close(w->home);
	w->fd = w->home = -1;
}

/* clsact has events, wg0 in another namespace is looked at anyway, and one that is down has
 * no packets. */
static bool looks_for_tcx(const struct wgif *w)
{
	return w->up && !w->away && !bpf_objects_uses_clsact(w->bpf);
}

bool wgif_tc_due(const struct wgif *w, uint64_t now)
{
	assert_control_thread();
	return now >= w->tc_due ||
	       (looks_for_tcx(w) && now >= w->tc_looked + WGIF_TC_LOOK_NS);
}

uint64_t wgif_tc_deadline(const struct wgif *w)
{
	assert_control_thread();
	uint64_t look =
		looks_for_tcx(w) ? w->tc_looked + WGIF_TC_IDLE_LOOK_NS : UINT64_MAX;

	return w->tc_due < look ? w->tc_due : look;
}

bool wgif_is(const struct wgif *w, uint32_t ifindex)
{
	assert_control_thread();
	return !w->away && ifindex == w->tap.ifindex;
}

static int add_queue(void *ctx)
{
	struct wgif *w = ctx;
	unsigned queues = w->queues + 1;
	struct rtnl_link link;
	struct rtnl r = {0};
	int fd, err;

	/* Events tell of a queue, too, that is not kept. */
	if (w->queues_ever < queues)
		w->queues_ever = queues;
	fd = tap_add_queue(&w->tap);
	if (fd < 0)
		return fd;
	err = rtnl_open(&r);
	if (!err)
		err = check_still_ours(w, &r, queues, &link);
	rtnl_close(&r);
	if (err) {
		close(fd);
		return err;
	}
	w->queues = queues;
	return fd;
}

int wgif_add_queue(void *w)
{
	assert_control_thread();
	return visit(w, add_queue);
}

void wgif_send_errors(struct wgif *w, struct icmp_queue *errors)
{
	struct icmp_error e;

	assert_control_thread();
	wakeup_quiet(errors->fd);
	while (!w->gone && icmp_queue_get(errors, &e))
		returned(w, icmp_send(&e, w->fd, w->home));
}

/* --- following it --- */

/* Its index may differ between namespaces. */
static int find_index(struct wgif *w)
{
	struct ifreq ifr = {0};

	if (ioctl(w->fd, TUNGETIFF, &ifr))
		return -errno;
	w->tap.ifindex = if_nametoindex(ifr.ifr_name);
	return w->tap.ifindex ? 0 : -ENODEV;
}

/* In the namespace where wg0 is. Restores what the move took away. */
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
	if (!err)
		stop_redirects(w);
	return err;
}

/* Returns true if wg0 has both TC programs; workers write to it only then. */
static bool check_tc(struct wgif *w)
{
	bool has = bpf_objects_has_tc(w->bpf, w->tap.ifindex);

	atomic_store(w->unguarded, !has);
	return has;
}

/* Returns how a log line about this ends, or NULL if it is not to be logged again. */
static const char *say(struct wgif_said *said)
{
	uint64_t now = clock_now();

	if (now >= said->last + SAID_SPELL_NS)
		said->times = 0;
	said->last = now;
	if (said->times >= SAID_MAX)
		return NULL;
	return ++said->times == SAID_MAX ? " (not said again until that ends)" : "";
}

static void note_put_back(struct wgif *w)
{
	const char *end = say(&w->tc_said);

	atomic_store(w->unguarded, false);
	if (end)
		log_info("TC programs of the interface were removed or preceded: put "
			 "back%s",
			 end);
}

static void apply_link(struct wgif *w, const struct rtnl_link *link)
{
	w->mtu = link->mtu;
	w->up = link->flags & IFF_UP;
}

/* --- what is no Ethernet device, although it is a TAP --- */

#define NO_ETHERNET \
	"it carries IP packets, not Ethernet frames; use routes, or VXLAN in the tunnel"

/* A VRF is for layer 3. */
static int leave_bridge(struct wgif *w, struct rtnl *r, uint32_t master)
{
	struct rtnl_link link;
	const char *end;
	int err = rtnl_link_get(r, master, &link);

	if (err || !strcmp(link.kind, "vrf"))
		return 0;
	err = rtnl_link_leave(r, w->tap.ifindex);
	end = say(&w->port_said);
	if (end)
		log_error("the interface was made a port of %s: %s%s; " NO_ETHERNET "%s",
			  link.name, err ? "cannot take it out: " : "taken out",
			  err ? strerror(-err) : "", end);
	return 0;
}

void wgif_other_link(struct wgif *w, uint32_t ifindex, const struct rtnl_link *link)
{
	const char *end;
	int err;

	assert_control_thread();
	if (w->away || link->lower != w->tap.ifindex ||
	    (strcmp(link->kind, "macvlan") && strcmp(link->kind, "macvtap")))
		return;
	err = rtnl_link_delete(w->rtnl, ifindex);
	end = err == -ENODEV ? NULL : say(&w->port_said);
	if (end)
		log_error("%s is a %s on the interface: %s%s; " NO_ETHERNET "%s",
			  link->name, link->kind, err ? "cannot delete it: " : "deleted",
			  err ? strerror(-err) : "", end);
}

/* With ARP the kernel would ask for neighbours, and nobody answers. Frames to wg0's own address
 * would need no word of the TC program. */
static bool has_settings(const struct rtnl_link *link)
{
	return (link->flags & IFF_NOARP) && !memcmp(link->mac, wg0_mac, sizeof(wg0_mac));
}

static int put_settings_back(struct wgif *w, struct rtnl *r, const struct rtnl_link *link)
{
	int err = rtnl_link_setup(r, w->tap.ifindex, wg0_mac, link->mtu, 0);
	const char *end = say(&w->settings_said);

	if (end)
		log_info("ARP was turned on or the Ethernet address was changed, and "
			 "the tunnel does not work like that: %s%s%s",
			 err ? "cannot put it back: " : "put back",
			 err ? strerror(-err) : "", end);
	return err;
}

/* In the namespace where wg0 is. Asks for its present state: an event may be out of date. */
static int mend_link(struct wgif *w, struct rtnl *r)
{
	struct rtnl_link link;
	int err = rtnl_link_get(r, w->tap.ifindex, &link);

	if (!err && link.master)
		err = leave_bridge(w, r, link.master);
	if (!err && !has_settings(&link))
		err = put_settings_back(w, r, &link);
	return err;
}

static bool needs_mending(const struct rtnl_link *link)
{
	return link->master || !has_settings(link);
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
		err = check_still_ours(w, r, w->queues, &link);
	if (!err)
		err = put_back(w);
	if (!err && needs_mending(&link))
		err = mend_link(w, r);
	if (!err)
		w->link = link;
	return err;
}

static int look_where_it_is(void *ctx)
{
	struct wgif *w = ctx;
	struct rtnl r = {0};
	int err = rtnl_open(&r);

	if (!err)
		err = look(w, &r, w->settle);
	rtnl_close(&r);
	return err;
}

static int find_device(struct wgif *w)
{
	bool changed;
	int err = note_namespace(w, &changed);

	if (err)
		return err;
	w->settle |= changed;
	if (w->settle)
		atomic_store(w->unguarded, true);
	err = visit(w, look_where_it_is);
	if (err)
		return err;
	if (w->settle)
		log_info("now in %s network namespace", w->away ? "another" : "our own");
	w->settle = false;
	apply_link(w, &w->link);
	return 0;
}

/* After an error it only tries again: until wg0 is settled nothing passes. */
void wgif_look(struct wgif *w, uint64_t now)
{
	assert_control_thread();
	int err = find_device(w);

	w->gone |= tap_gone(w->fd);
	if (is_trouble(&w->look_trouble, w->gone ? 0 : err, now))
		log_error("cannot look after the interface: %s%s; trying again",
			  strerror(-err), err == -EPERM ? NEEDS_SYS_ADMIN : "");
	w->look_due = w->away || err ? now + WGIF_LOOK_NS : UINT64_MAX;
}

/* The event of our own attachment calls this once more, and it finds the programs. */
void wgif_check_tc(struct wgif *w, uint64_t now)
{
	int err;

	assert_control_thread();
	w->tc_due = UINT64_MAX;
	w->tc_looked = now;
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
	if (is_trouble(&w->tc_trouble, err, now))
		log_error("cannot put the TC programs back: %s; trying again",
			  strerror(-err));
	if (err)
		w->tc_due = w->tc_next;
}

/*
 * An event shows the link as it was when the kernel sent it. Events with the first name are from
 * before wg0 was found to be ours. Later ones may show fewer queues than there are now. If one
 * shows more queues than were ever ours at a time, somebody else attached one, although it may be
 * closed again.
 */
void wgif_link(struct wgif *w, bool present, const struct rtnl_link *link)
{
	bool intact;

	assert_control_thread();
	if (w->gone || (present && !strcmp(link->name, w->first_name)))
		return;
	if (present && link->tun.queues > w->queues_ever) {
		delete_attacked(w, w->rtnl, link, w->queues);
		w->gone = w->failed = true;
	} else if (present && is_ours(link, w->queues) && !tap_intact(w->fd, &intact) &&
		   intact && !put_back(w)) {
		apply_link(w, link);
		if (needs_mending(link))
			mend_link(w, w->rtnl);
	} else {
		wgif_look(w, clock_now());
	}
}
