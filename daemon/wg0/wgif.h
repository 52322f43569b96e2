/* SPDX-License-Identifier: MIT */
/*
 * wg0 as an interface: where it is, whether it is up, its TC programs. Control thread.
 */
#ifndef WGIF_H
#define WGIF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nanoseconds.h"
#include "netns.h"
#include "rtnl_query.h"
#include "tap.h"

struct bpf_objects;
struct icmp_queue;

/* How often wg0 is looked at while it is in another namespace. */
#define WGIF_LOOK_NS (250 * 1000000ULL)
/* The least time between two repairs of its TC programs: somebody may remove them each time. */
#define WGIF_TC_PAUSE_NS (100 * 1000000ULL)
/* How often tcx programs are looked for, because the kernel sends no event for them: while the
 * control thread is awake anyway, and while it would sleep. */
#define WGIF_TC_LOOK_NS	     NS_PER_SEC
#define WGIF_TC_IDLE_LOOK_NS 1500000000ULL

/* What somebody may do again and again is not logged each time. */
struct wgif_said {
	uint64_t last; /* ns, when it happened */
	unsigned times;
};

/* An error of what is tried again until it succeeds. */
struct wgif_trouble {
	int err; /* of the latest try; 0: none */
	uint64_t since;
	bool said;
};

struct wgif {
	const char *name;  /* at its creation */
	struct rtnl *rtnl; /* in our namespace */
	struct bpf_objects *bpf;
	atomic_bool *unguarded; /* told to workers: wg0 is known to lack a TC program */
	unsigned queues;	/* that are ours */
	unsigned queues_ever;	/* the most that were ours at a time */
	char first_name[IFNAMSIZ]; /* a random one, until it was found to be ours */

	/* As last seen. */
	bool gone;   /* deleted: the daemon must end */
	bool failed; /* gone because of an error, which was told */
	bool up;
	uint32_t mtu;

	struct tap tap;	       /* ifindex: in the namespace where it is now */
	int fd;		       /* a queue of it, to ask about it; a worker has a copy */
	int home;	       /* the namespace of this process and its sockets */
	bool away;	       /* it was moved to another one */
	struct netns_id there; /* where it is */
	bool settle;	       /* what the move took away is still to be restored */
	struct rtnl_link link; /* as last seen there */
	struct wgif_trouble look_trouble;
	uint64_t look_due;   /* ns; UINT64_MAX while it is at home */
	int redirects_error; /* said already */

	/* TC programs, while it is at home. */
	uint64_t
		tc_due; /* ns, when to look whether they are there; UINT64_MAX: they are */
	uint64_t tc_looked; /* ns, the last time */
	uint64_t tc_next;   /* ns, not before that are they put back again */
	struct wgif_trouble tc_trouble;
	/* Everywhere. */
	struct wgif_said tc_said;	/* TC programs were put back */
	struct wgif_said settings_said; /* settings were put back */
	struct wgif_said port_said; /* it was taken out of a bridge, or macvlans off it */
};

/* Nothing open: so that wgif_close() may follow. */
void wgif_init(struct wgif *w, const char *name, struct rtnl *r, atomic_bool *unguarded);
/* Makes wg0, down, with TC programs (`bpf` is set by then). Returns the descriptor of its
 * first queue, which is the caller's, or -errno; on error `why` gets a line. */
int wgif_open(struct wgif *w, char *why, size_t why_len);
/* Closes our queue; wg0 goes with the last one. */
void wgif_close(struct wgif *w);

/* Returns true if that link of our own namespace is wg0. */
bool wgif_is(const struct wgif *w, uint32_t ifindex);
/* The descriptor of a further queue, which is the caller's, or -errno. `w` is a struct wgif.
 * A queue that is closed again must be taken off `queues`. */
int wgif_add_queue(void *w);

/* Sends what workers could not forward for ICMP errors, in the namespace where wg0 is. */
void wgif_send_errors(struct wgif *w, struct icmp_queue *errors);

/* Takes an event of wg0 at home: present with its link, or gone from there. */
void wgif_link(struct wgif *w, bool present, const struct rtnl_link *link);
/* Takes an event of another link at home. If that is a macvlan on wg0, it is deleted. */
void wgif_other_link(struct wgif *w, uint32_t ifindex, const struct rtnl_link *link);
/*
 * Looks whether wg0, at home, has our TC programs. If it has not, stops workers from writing to
 * it (`unguarded`) and puts the programs back, at most every WGIF_TC_PAUSE_NS. To be called when
 * wgif_tc_due() says so.
 */
void wgif_check_tc(struct wgif *w, uint64_t now);
/* Returns true if it is time to do so. */
bool wgif_tc_due(const struct wgif *w, uint64_t now);
/* Returns when that must be asked next: ns, or UINT64_MAX. */
uint64_t wgif_tc_deadline(const struct wgif *w);
/* Reads in which namespace wg0 is, its flags and MTU, and puts back what it lacks. Sets `gone` if
 * it was deleted or is not ours alone. To be called when look_due comes. */
void wgif_look(struct wgif *w, uint64_t now);

#endif
