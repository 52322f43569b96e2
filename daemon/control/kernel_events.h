/* SPDX-License-Identifier: MIT */
/* What the kernel tells of links, addresses, routes and neighbours. By the control thread. */
#ifndef KERNEL_EVENTS_H
#define KERNEL_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

struct tunnel;

/* Reads the events, and does what is due because of them. */
void kernel_events_serve(struct tunnel *tunnel, uint64_t now);
/* Finds out where wg0 is and how, and acts on it. */
void kernel_look_at_wg0(struct tunnel *tunnel);

#endif
