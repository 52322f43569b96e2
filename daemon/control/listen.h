/* SPDX-License-Identifier: MIT */
/* The UDP sockets and what goes with them: up and down, port, fwmark. By the control thread. */
#ifndef LISTEN_H
#define LISTEN_H

#include <stdbool.h>
#include <stdint.h>

struct tunnel;

/* The interface was set up or down: sockets are opened, sessions ended. */
void tunnel_set_up(struct tunnel *tunnel, bool up);
/* Configuration, by the control thread: 0 or -errno, on error nothing changed. */
int tunnel_set_listen_port(struct tunnel *tunnel, uint16_t port);
int tunnel_set_fwmark(struct tunnel *tunnel, uint32_t fwmark);
/* Opens the sockets of an interface that is up. 0 or -errno; tried again later. */
int tunnel_listen(struct tunnel *tunnel);

#endif
