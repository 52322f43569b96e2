/* SPDX-License-Identifier: MIT */
/*
 * The UDP sockets and what goes with them: up and down, port, fwmark.
 *
 * Theory of operation: the sockets are open while wg0 is up. To replace them is to open the new
 * ones, publish them to workers, wait until no worker uses the old ones, and close those. A port
 * that is in use is refused when it is configured, also while wg0 is down. If somebody else has the
 * port when wg0 comes up, opening is tried again every second.
 *
 * All functions are for the control thread.
 */
#ifndef LISTEN_H
#define LISTEN_H

#include <stdbool.h>
#include <stdint.h>

struct tunnel;

/* wg0 was set up: opens the sockets and starts timers. Or down: closes them and ends sessions. If
 * there are many peers, listen_serve() does the rest of them in shares. If wg0 is set up before all
 * sessions have ended, the tunnel goes up after that. */
void tunnel_set_up(struct tunnel *tunnel, bool up);
/* Configuration. Sets the listen port (host order) and the mark of what the sockets send; NULL: it
 * stays. 0 or -errno; on error nothing has changed. */
int tunnel_set_sockets(struct tunnel *tunnel, const uint16_t *port,
		       const uint32_t *fwmark);
/* Opens the sockets of an interface that is up. 0 or -errno, and then listen_serve() tries again
 * later: somebody else may have the port. */
int tunnel_listen(struct tunnel *tunnel);
/* Tries to listen again, if that is due, and lets a share of the peers go up or down. */
void listen_serve(struct tunnel *tunnel, uint64_t now);

#endif
