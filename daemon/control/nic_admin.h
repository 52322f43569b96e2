/* SPDX-License-Identifier: MIT */
/*
 * What an administrator does with a NIC that is attached.
 *
 * Theory of operation: the kernel refuses to take a queue away that has an AF_XDP socket, so
 * `wgxdp release` detaches from the NIC until `wgxdp attach`. Queues that are added get no
 * sockets. The kernel sends no event for that, nor if somebody detaches our XDP program. So each
 * NIC is looked at every second: if the number of its queues has changed, it is attached again; if
 * our program is gone, its peers go by the UDP sockets until nics_serve() has it back.
 *
 * All functions are for the control thread.
 */
#ifndef NIC_ADMIN_H
#define NIC_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

struct nic;
struct tunnel;

/* Takes the paths off the NIC, and detaches from it. `why` is for the log. */
void nic_admin_leave(struct tunnel *tunnel, struct nic *nic, const char *why);
/* A UAPI request (struct uapi_ops): lets go of the device or attaches to it. 0 or -errno: -ENODEV,
 * -EACCES if it may not be attached. */
int nic_admin_request(void *tunnel, const char *name, bool attach);
/* Looks at the attached NICs if it is time. */
void nic_admin_look(struct tunnel *tunnel, uint64_t now);
/* When nic_admin_look() has something to do, ns; UINT64_MAX: no NIC is attached. */
uint64_t nic_admin_deadline(const struct tunnel *tunnel);

#endif
