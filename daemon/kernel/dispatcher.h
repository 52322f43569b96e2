/* SPDX-License-Identifier: MIT */
/*
 * libxdp's dispatcher: the XDP program by which libxdp and xdp-loader(8) run several programs on
 * one NIC, in the order of their priorities.
 *
 * Theory of operation: a NIC has one XDP program. If that is a dispatcher, libxdp makes a new one
 * that also calls our program, and exchanges the two, so that no packet misses the other programs.
 * libxdp pins the programs of a dispatcher in bpffs. So if this process is killed, our program
 * stays; it passes everything, because it has no sockets. The next start recognizes it by the
 * interface's name in its map `config`, and removes it.
 *
 * libxdp needs CAP_SYS_ADMIN, and the bpffs in which the dispatcher was pinned. Control thread only.
 */
#ifndef DISPATCHER_H
#define DISPATCHER_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

struct nic_bpf;
/* The place of our program in the dispatcher of a NIC. */
struct dispatcher_place;

/* Returns true if the XDP program on the device is a dispatcher, false also on error. */
bool dispatcher_is_on(uint32_t ifindex);
/* Removes the programs that wgxdp processes for the interface `ifname` left in the device's
 * dispatcher: killed ones, or this one. libxdp removes a dispatcher that is then empty. An error
 * leaves the rest there. */
void dispatcher_clean(uint32_t ifindex, const char *ifname);
/* Adds our program to the device's dispatcher. It uses the maps of `loaded`. Returns 0 or -errno;
 * -EAGAIN: another process is changing a dispatcher. The caller ends *out by dispatcher_leave(). */
int dispatcher_join(const struct nic_bpf *loaded, uint32_t ifindex,
		    struct dispatcher_place **out);
/* Removes our program, and no other, from the dispatcher, and frees `place`. NULL is allowed. Waits
 * up to 0.2 seconds for a process that is changing a dispatcher; after that the program stays. */
void dispatcher_leave(struct dispatcher_place *place);
/* Returns true if the device no longer has our program, false also on error. */
bool dispatcher_lost(struct dispatcher_place *place);
/* Returns true if the dispatcher runs in the driver, false if it is generic XDP. */
bool dispatcher_is_native(const struct dispatcher_place *place);

#endif
