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
	char name[IFNAMSIZ]; /* as created; it may be renamed later */
	uint32_t ifindex;
	bool uso; /* UDP segmentation offload too (kernel 6.2) */
};

/* Not empty, shorter than IFNAMSIZ, no '/', ':', '%' or white space, no "." or "..". */
bool tap_name_valid(const char *ifname);

/* The owner that tap_create() sets: no user has this uid, so that a queue can be attached only
 * with CAP_NET_ADMIN where the device is. */
#define TAP_OWNER 0xfffffffeU

/*
 * Makes the device, down, and returns its first queue: non-blocking, close-on-exec,
 * owned by the caller. -EINVAL: bad name; -EEXIST: a device of any kind has that
 * name; -ENOENT, -ENODEV: no /dev/net/tun; -EPERM, -EACCES: not allowed. On error
 * `why` gets a line for people, without line end.
 */
int tap_create(const char *ifname, struct tap *tap, char *why, size_t why_len);

/*
 * Whether the device is as tap_create() makes it. Until the owner was set, anybody could attach
 * a queue, set flags by that, and close it: how many queues there are is for the caller to ask
 * (struct rtnl_tun).
 */
bool tap_intact(int fd);

/* A further queue of it, likewise. -ENODEV where the device has gone. To be called in
 * the namespace of the device. */
int tap_add_queue(const struct tap *tap);

/*
 * Makes the BPF socket filter decide on every frame that the kernel hands to the device,
 * for all queues and in whatever namespace the device is. `fd` is any queue of it; the
 * device keeps the program.
 */
int tap_set_filter(int fd, int prog_fd);

/* Whether the device has been deleted under its queue; reads say EBADFD then. */
bool tap_gone(int fd);

/* Descriptor of the network namespace that the device is in, owned by the caller.
 * -EBADFD where the device has gone. Needs CAP_NET_ADMIN. */
int tap_netns(int fd);

#endif
