/* SPDX-License-Identifier: MIT */
/*
 * wg0 as an interface: where it is, whether it is up, its TC programs. Control thread.
 */
#ifndef WGIF_H
#define WGIF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "rtnl.h"
#include "tap.h"

struct device;

/* How often wg0 is looked at while it is in another namespace. */
#define WGIF_LOOK_NS (250 * 1000000ULL)

struct wgif {
	struct tap tap; /* ifindex: in the namespace where it is now */
	int fd;		/* a queue of it, to ask about it; a worker has a copy */
	int home;	/* the namespace of this process and its sockets */
	bool away;	/* it was moved to another one */
	dev_t ns_dev;	/* which one that is */
	ino_t ns_ino;
	bool settle;	       /* there, TC programs and the like are still to be made */
	struct rtnl_link link; /* as last seen there */
	int last_error;	       /* said already */
	uint64_t look_due;     /* ns; UINT64_MAX while it is at home */
};

/* Nothing open: so that wgif_close() may follow. */
void wgif_init(struct wgif *w);
/* Makes wg0, down, with TC programs, and starts the first worker on it. On error `why`
 * gets a line. */
int wgif_open(struct device *dev, unsigned workers, char *why, size_t why_len);
/* Closes our queue; wg0 goes with the last one. */
void wgif_close(struct device *dev);

/* Whether that link of our own namespace is wg0. */
bool wgif_is(const struct device *dev, uint32_t ifindex);
/* A further queue's descriptor, or -errno. */
int wgif_add_queue(struct device *dev);

/* News of wg0 at home: present with its link, or gone from there. */
/* A qdisc or filter was removed from it, ours perhaps: puts the programs back. */
void wgif_tc_gone(struct device *dev);
void wgif_link(struct device *dev, bool present, const struct rtnl_link *link);
/* Finds out anew where wg0 is and how: sets dev->ending if it is nowhere. To be called
 * when look_due comes. */
void wgif_look(struct device *dev, uint64_t now);

#endif
