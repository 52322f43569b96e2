/* SPDX-License-Identifier: MIT */
/*
 * The NICs of the default routes, to which `--nic auto` attaches without waiting for a peer.
 *
 * Theory of operation: a server whose peers have no endpoints would otherwise attach after the
 * first handshake, and behave differently from then on. While wg0 is up, and after each event that
 * may concern a default route, the control loop asks the kernel for the two default routes that
 * the tunnel's own packets would take, and queues their devices (nics_want()).
 *
 * All functions are for the control thread.
 */
#ifndef DEFAULT_ROUTES_H
#define DEFAULT_ROUTES_H

#include <stdint.h>

struct tunnel;

/* A default route, or what decides about it, may have changed. */
void default_routes_changed(struct tunnel *tunnel);
/* Queues the devices of the default routes if it is time. */
void default_routes_serve(struct tunnel *tunnel, uint64_t now);
/* When default_routes_serve() has something to do, ns; UINT64_MAX: nothing. */
uint64_t default_routes_deadline(const struct tunnel *tunnel);

#endif
