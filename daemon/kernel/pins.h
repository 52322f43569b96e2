/* SPDX-License-Identifier: MIT */
/*
 * The directory in which the maps of one interface are pinned: /sys/fs/bpf/wgxdp/IFNAME, on
 * bpffs. Control thread only.
 *
 * Theory of operation: bpffs is mounted if it is not. With its default mode, 1777, every user
 * may make files in it, so a user may have made these directories before wgxdp, or symbolic
 * links in their places. Each component is therefore opened relative to the one above, without
 * following links, and used only if it is on bpffs, belongs to this user, and is closed to
 * others. After that no other user can change what the descriptors lead to.
 */
#ifndef PINS_H
#define PINS_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

struct pins {
	int root; /* .../wgxdp */
	int dir; /* .../wgxdp/IFNAME, locked (flock) while this process lives; -1: not open */
	char ifname[IFNAMSIZ];
};

/* Opens nothing; pins_close() may be called afterwards. */
void pins_init(struct pins *p);
/* Makes and locks the directory, or takes over the one that a dead process left, with its
 * files. Waits up to five seconds for a process that is ending. Returns 0 or -errno, with one
 * line in `why` that names the cure; -EEXIST if a live process has the directory. */
int pins_open(struct pins *p, const char *ifname, char *why, size_t why_len);
/* Pins a map. Returns 0 or -errno; -EEXIST if the name is taken. */
int pins_add(const struct pins *p, const char *name, int map_fd);
/* Removes one pin, if it is there. */
void pins_remove(const struct pins *p, const char *name);
/* Calls `visit` with the map `name` of each other wgxdp whose interface is in this network
 * namespace, if the map's values have this size. `visit` does not keep map_fd. Returns true as soon
 * as `visit` does, or false after the last one. */
bool pins_visit(const struct pins *p, const char *name, size_t value_size,
		bool (*visit)(void *ctx, const char *ifname, int map_fd), void *ctx);
/* Logs if the directory is not empty: these files are not wgxdp's and are left alone. */
void pins_tell_strangers(const struct pins *p);
/* Removes the directory if it is empty, and unlocks it. */
void pins_close(struct pins *p);

#endif
