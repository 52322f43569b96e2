/* SPDX-License-Identifier: MIT */
/*
 * The TAP device behind wg0 (kernel documentation, networking/tuntap). It lives for
 * as long as one of its queues is open, and is made in the network namespace of the
 * calling thread. Any thread; calls return a descriptor or 0, or -errno.
 */
#ifndef TAP_H
#define TAP_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In front of each frame, both ways: struct virtio_net_hdr, host byte order. */
#define TAP_VNET_HDR_LEN 10

struct tap {
	char name[IFNAMSIZ]; /* as we named it; others may rename it */
	uint32_t ifindex;
	bool uso; /* UDP segmentation offload too (kernel 6.2) */
};

/* Not empty, shorter than IFNAMSIZ, no '/', ':', '%' or white space, no "." or "..". */
bool tap_name_valid(const char *ifname);

/* The owner and group of the device: ids that no user and no group has, so that a queue can be
 * attached only with CAP_NET_ADMIN where the device is, or with CAP_SETUID and CAP_SETGID. */
#define TAP_OWNER 0xfffffffeU

/*
 * Makes the device, down, under a random name, and returns its first queue: non-blocking,
 * close-on-exec, owned by the caller. Before TAP_OWNER was set, anybody could attach a queue and
 * change the device's settings. So the caller reads the number of queues (struct rtnl_tun), and if
 * it is one, calls tap_reset(). -ENOENT, -ENODEV: no /dev/net/tun; -EPERM, -EACCES: not allowed.
 * On error `why` gets one line, without a newline.
 */
int tap_make(struct tap *tap, char *why, size_t why_len);

/* Sets everything that a holder of a queue can set as tap_make() wants it. */
int tap_reset(int fd, struct tap *tap);

/* -EINVAL: bad name; -EEXIST: a device of any kind has that name. `why` as above. */
int tap_rename(struct tap *tap, const char *ifname, char *why, size_t why_len);

/* All of these: for callers alone in their network namespace. On error *tap is zeroed. */
int tap_create(const char *ifname, struct tap *tap, char *why, size_t why_len);

/*
 * Makes udev act as on a device that appeared under its present name: it applies the sysctl.d
 * settings of that name then, and does not do so on a renaming. Has no effect if /sys is
 * read-only or of another network namespace. To be called after the device got its address: udev
 * gives one to a device whose address is random.
 */
void tap_announce(const struct tap *tap);

/* Sets *intact if what the kernel tells about the device's settings is as tap_make() set it. Only
 * a holder of a queue can change these. 0 or -errno. */
int tap_intact(int fd, bool *intact);

/* Sets again what only a holder of a queue can change, except offloads and carrier, which other
 * processes may set, too. The kernel does not tell most of these settings, so they are set unasked.
 * Causes no events. */
void tap_put_back(int fd);

/* Returns a further queue, like the first. -ENODEV: the device has gone. To be called in the
 * namespace of the device. */
int tap_add_queue(const struct tap *tap);

/*
 * Makes the BPF socket filter decide on every frame that the kernel hands to the device,
 * for all queues and in whatever namespace the device is. `fd` is any queue of it; the
 * device keeps the program. The kernel does not tell which one it has.
 */
int tap_set_filter(int fd, int prog_fd);

/* Returns true if the device was deleted under its queue; reads say EBADFD then. */
bool tap_gone(int fd);

/* Descriptor of the network namespace that the device is in, owned by the caller.
 * -EBADFD: the device has gone. Needs CAP_NET_ADMIN. */
int tap_netns(int fd);

#endif
