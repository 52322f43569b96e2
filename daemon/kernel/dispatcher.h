/* SPDX-License-Identifier: MIT */
/*
 * libxdp's dispatcher: the XDP program by which libxdp and xdp-loader(8) run several programs on
 * one NIC, in the order of their priorities.
 *
 * Theory of operation: a NIC has one XDP program. If that is a dispatcher, libxdp makes a new one
 * that also calls ours, and exchanges the two, so that no packet misses the programs that were
 * there. Programs in a dispatcher are pinned in bpffs, unlike a BPF link of our own: if this
 * process is killed, our program stays, without sockets, so it passes everything. The next start
 * recognizes it by the interface's name in its map `config`, and removes it.
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

/* Returns true if the XDP program on the device is a dispatcher. False if it cannot be asked. */
bool dispatcher_is_on(uint32_t ifindex);
/* Removes from the device's dispatcher what killed processes for the interface `ifname` left
 * there, or this one did. If nothing else is in it, the dispatcher goes, too. */
void dispatcher_clean(uint32_t ifindex, const char *ifname);
/* Adds our program, which uses the maps of `loaded`. 0 or -errno; -EAGAIN: another process is
 * changing a dispatcher. The caller owns *out. */
int dispatcher_join(const struct nic_bpf *loaded, uint32_t ifindex,
		    struct dispatcher_place **out);
/* Removes our program, and no other, and frees. NULL is allowed. May wait a moment for a process
 * that is changing a dispatcher. */
void dispatcher_leave(struct dispatcher_place *place);
/* Returns true if the device no longer has our program. False if it cannot be asked. */
bool dispatcher_lost(struct dispatcher_place *place);
/* Returns true if the dispatcher runs in the driver, false if generic. */
bool dispatcher_is_native(const struct dispatcher_place *place);

#endif
