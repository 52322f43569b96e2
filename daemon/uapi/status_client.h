/* SPDX-License-Identifier: MIT */
#ifndef STATUS_CLIENT_H
#define STATUS_CLIENT_H

#include <stdbool.h>

/* `wgxdp status`: asks the process that serves the interface (NULL: each one) over its UAPI
 * socket, and prints its answer (control/status.h) to standard output, as JSON or for people.
 * Messages go to standard error. Returns the exit status: 0, or 1 if one did not answer. */
int status_main(const char *ifname, bool json);

/* `wgxdp release` and `wgxdp attach`: tells the process that serves the interface to let go of the
 * NIC, or to take it. Returns the exit status: 0, or 1 after a message. */
int nic_main(const char *ifname, const char *nic, bool attach);

#endif
