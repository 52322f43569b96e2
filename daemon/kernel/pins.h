/* SPDX-License-Identifier: MIT */
/*
 * The directory that the maps of one interface are pinned in:
 * /sys/fs/bpf/wgxdp/IFNAME, on bpffs, which is mounted if it is not.
 *
 * Every user may make files in a bpffs that has its default mode, 1777: a user may have
 * made these directories before us, or links in their places. So each component is
 * opened relative to the one above without following links, and used only if it is on
 * bpffs, ours, and closed to others. From then on nobody else can change what the
 * descriptors lead to.
 *
 * Control thread only.
 */
#ifndef PINS_H
#define PINS_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

struct pins {
	int root; /* .../wgxdp */
	int dir;  /* .../wgxdp/IFNAME, locked (flock) while we live; -1: not open */
	char ifname[IFNAMSIZ];
};

/* Nothing is open: pins_close() may be called. */
void pins_init(struct pins *p);
/* Makes the directory, or takes the one that a dead process left, with what is in it.
 * Waits some seconds for a process that is ending. 0 or -errno, with one line in `why`
 * that names the cure. -EEXIST: a live process has it. */
int pins_open(struct pins *p, const char *ifname, char *why, size_t why_len);
/* Pins a map. 0 or -errno. */
int pins_add(const struct pins *p, const char *name, int map_fd);
/* Removes one pin, if it is there. */
void pins_remove(const struct pins *p, const char *name);
/* Logs if the directory is not empty: those files are not ours, and stay. */
void pins_tell_strangers(const struct pins *p);
/* Removes the directory, if it is empty, and lets others have it. */
void pins_close(struct pins *p);

#endif
