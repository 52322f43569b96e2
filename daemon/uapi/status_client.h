/* SPDX-License-Identifier: MIT */
#ifndef STATUS_CLIENT_H
#define STATUS_CLIENT_H

#include <stdbool.h>

/* `wgxdp status`: asks the running process of that interface (NULL: of all) over its
 * UAPI socket, and prints for people or as JSON. Returns an exit status. */
int status_main(const char *ifname, bool json);

#endif
