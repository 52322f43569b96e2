/* SPDX-License-Identifier: MIT */
/*
 * The server end of the cross-platform userspace API: the socket that wg(8) finds
 * at /var/run/wireguard/<interface>.sock.
 * Source: https://www.wireguard.com/xplatform/
 *
 * For one thread, the control thread, in its poll loop. No call blocks.
 */
#ifndef UAPI_H
#define UAPI_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "uapi_proto.h"

#define UAPI_DIR	  "/var/run/wireguard"
#define UAPI_CLIENTS_MAX  64
#define UAPI_IDLE_TIMEOUT 60 /* seconds without progress */

struct uapi;

/*
 * What requests do. Called from within uapi_dispatch(); they must not call the
 * functions below. Each returns 0 or -errno, which becomes the "errno=" line as it is:
 * wg(8) wants it negative. What was written to `out` before an error is discarded.
 */
struct uapi_ops {
	/* Writes the lines of "get=1", without the errno and the blank line. */
	int (*get)(void *ctx, FILE *out);
	/* Applies a request that is valid as a whole. The set is the caller's. */
	int (*set)(void *ctx, const struct uapi_set *set);
	/* Writes one JSON document on one line, in answer to our own "status=1". */
	int (*status)(void *ctx, FILE *out);
	/* Told of each "set=1" that was refused as invalid, for the log. May be NULL. */
	void (*refused)(void *ctx, const struct uapi_error *error);
};

/*
 * Makes `dir` (NULL: UAPI_DIR; its parent must exist), and in it <ifname>.sock of
 * mode 0600, in the place of one that a dead process left. `ops` must outlive the
 * server. Returns 0 and the server in *uapi; or -errno and one line of explanation
 * in `why`: -EADDRINUSE if something lives there, -EINVAL for a name that is
 * none, -ENOTDIR or -EPERM for a directory that is a link or that another user could write
 * to, or what a system call returned.
 */
int uapi_open(struct uapi **uapi, const char *dir, const char *ifname,
	      const struct uapi_ops *ops, void *ctx, char *why, size_t why_len);

/* An epoll descriptor, readable where uapi_dispatch() has work. Not the caller's. */
int uapi_fd(const struct uapi *uapi);

/*
 * Does what is ready, and ends clients whose time is up. `now` in nanoseconds, of
 * a clock that does not go back. Returns 1 once the socket's file was removed or
 * replaced by somebody else, which is how an administrator ends the daemon; else 0.
 */
int uapi_dispatch(struct uapi *uapi, uint64_t now);

/* When to call uapi_dispatch() although nothing is readable; UINT64_MAX: never. */
uint64_t uapi_next_deadline(const struct uapi *uapi);

/* Ends all clients and removes the socket, if it is still ours. NULL is fine. */
void uapi_close(struct uapi *uapi);

#endif
