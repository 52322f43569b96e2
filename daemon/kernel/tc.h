/* SPDX-License-Identifier: MIT */
/*
 * The TC programs of wg0: attached before all others, in both directions. Control thread.
 *
 * Theory of operation
 *
 * From Linux 6.6 on each program hangs on a tcx link. tcx programs run before the filters of
 * clsact, and ours are put before all other tcx programs. A link survives a move of the device to
 * another network namespace, and is not part of a qdisc: `tc` cannot remove it, and the user may
 * have clsact or ingress qdiscs as on any other device. The kernel sends no events for tcx. So
 * whoever asks tc_has() has to do so from time to time.
 *
 * On older kernels the programs are filters of a clsact qdisc, with handle 1 at priority 1. The
 * user's filters, which come after them, need another priority.
 */
#ifndef TC_H
#define TC_H

#include <stdbool.h>
#include <stdint.h>

enum tc_direction { TC_OUT, TC_IN, TC_DIRECTIONS };

struct tc {
	int progs[TC_DIRECTIONS];    /* owned by the caller */
	uint32_t ids[TC_DIRECTIONS]; /* the kernel's of the programs */
	int links[TC_DIRECTIONS];    /* tcx; -1: none */
	bool clsact;		     /* this kernel has no tcx */
};

/* Nothing is attached yet, so that tc_close() may follow. */
void tc_init(struct tc *tc);
/* Names the programs, which must be loaded and stay so until tc_close(). */
void tc_use(struct tc *tc, int egress_fd, int ingress_fd);
/* Attaches the programs that are not attached, or not before all others. Returns 0 or -errno;
 * if tc->clsact is set then: -EEXIST, -EINVAL and others if a qdisc or filter of another kind
 * has their place. */
int tc_attach(struct tc *tc, uint32_t ifindex);
/* Returns true if both programs are attached before all others, and (clsact) not others in their
 * place. */
bool tc_has(const struct tc *tc, uint32_t ifindex);
/* Detaches what hangs on links. */
void tc_close(struct tc *tc);

#endif
