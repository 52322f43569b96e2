/* SPDX-License-Identifier: MIT */
/*
 * What an administrator does with a NIC that is attached.
 *
 * Theory of operation: the kernel refuses to take a queue away that has an AF_XDP socket, so
 * `wgxdp release` detaches from the NIC until `wgxdp attach`. Queues that are added get no
 * sockets, and the kernel sends no event: the number of queues is looked at every few seconds, and
 * if it is another one the NIC is attached anew.
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
/* Looks at the number of queues if it is time. */
void nic_admin_look(struct tunnel *tunnel, uint64_t now);
/* When nic_admin_look() has something to do, ns; UINT64_MAX: no NIC is attached. */
uint64_t nic_admin_deadline(const struct tunnel *tunnel);

#endif
