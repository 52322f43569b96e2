/* SPDX-License-Identifier: MIT */
/*
 * BPF maps that could not follow a change.
 *
 * Theory of operation: the daemon's own state is what counts, and maps mirror it. The kernel may
 * have no memory for an element at the moment. Then the change is kept as late where it belongs
 * (allowed IPs, peers, NICs, configuration), and the control loop writes it again until the kernel
 * takes it. So a request is never left half done. Control thread.
 */
#ifndef LATE_MAPS_H
#define LATE_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tunnel;

struct late_maps {
	uint64_t next;	/* ns, not before that is it tried again */
	uint64_t since; /* ns, when the first of them became late; 0: there are none */
	bool said;
};

/* Writes late changes again, a share of them. */
void late_maps_serve(struct tunnel *tunnel, uint64_t now);
/* When to call that, ns; UINT64_MAX: nothing is late. */
uint64_t late_maps_deadline(const struct tunnel *tunnel);
/* Returns how many changes are late. */
size_t late_maps_count(const struct tunnel *tunnel);

#endif
