/* SPDX-License-Identifier: MIT */
/*
 * What the kernel tells of links, addresses, routes and neighbours, and what follows from it.
 *
 * Theory of operation: each event is looked at once. It updates the tables in struct routing, and
 * the parts of the tunnel that depend on it: wg0 (wgif.h), NICs (nics.h), the XDP program's list
 * of this host's addresses. Paths are not resolved here: they are queued (paths.h). If events
 * were lost, everything is read again; what cannot be read is tried again after a second.
 *
 * All functions are for the control thread.
 */
#ifndef KERNEL_EVENTS_H
#define KERNEL_EVENTS_H

#include <stdint.h>

struct tunnel;

/* Reads the events that are there, a bounded number, and does what is due because of them. */
void kernel_events_serve(struct tunnel *tunnel, uint64_t now);
/* Later in the round, after paths_serve(): workers may rely on paths again if those that events
 * concern have been published. */
void kernel_events_end(struct tunnel *tunnel);
/* Reads wg0's network namespace, flags and MTU, and acts on them. Sets tunnel->ending if wg0 was
 * deleted. */
void kernel_look_at_wg0(struct tunnel *tunnel);
/* When kernel_events_serve() has something to do without an event, ns; UINT64_MAX: nothing. */
uint64_t kernel_events_deadline(const struct tunnel *tunnel);

#endif
