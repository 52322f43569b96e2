/* SPDX-License-Identifier: MIT */
/*
 * The server side of the cross-platform userspace API: the socket at
 * /var/run/wireguard/<interface>.sock, which wg(8) connects to.
 * Source: https://www.wireguard.com/xplatform/
 *
 * Control thread, in its poll loop. No call blocks.
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
 * Writes a part of an answer. *state is NULL at the first call, and then what the call before left
 * there. Returns 1 if more parts follow; 0 or -errno if not, and then *state is no longer needed.
 */
typedef int uapi_answer(void *ctx, void **state, FILE *out);

/*
 * What requests do. uapi_dispatch() calls these; they must not call the functions below, and each
 * call is to take a few milliseconds at most. The "errno=" line has the value of the last call
 * unchanged, because wg(8) expects a negative one. If the value is an error, what that call wrote
 * to `out` is discarded.
 */
struct uapi_ops {
	/* Writes the lines that answer "get=1", without the errno and the blank line. */
	uapi_answer *get;
	/* Carries out a share of a request, all of whose lines are valid, from set->next on.
	 * Returns 1 if there is more to do, else 0 or -errno. The set stays the caller's. */
	int (*set)(void *ctx, struct uapi_set *set);
	/* Writes the answer to "status=1", a request of wgxdp's own: one JSON document on one
	 * line. */
	uapi_answer *status;
	/* Frees the state of an answer whose client has gone before its end; it may be NULL. */
	void (*end)(void *ctx, void *state);
	/* "release=NIC" and "attach=NIC", requests of wgxdp's own. May be NULL. */
	int (*nic)(void *ctx, const char *name, bool attach);
	/* Logs that a "set=1" was refused as invalid. May be NULL. */
	void (*refused)(void *ctx, const struct uapi_error *error);
};

/*
 * Makes the directory `dir` (NULL: UAPI_DIR; its parent must exist) and the socket <ifname>.sock
 * in it, with mode 0600. A socket that a dead process left is replaced. `ops` must outlive the
 * server.
 * Returns 0 and the server in *uapi; or -errno and one line of explanation in `why`:
 * -EADDRINUSE if another process serves that socket, or if that file is no socket; -EINVAL if
 * `ifname` cannot be an interface's name; -ENOTDIR if the directory is a link or another file;
 * -EPERM if another user owns the directory or may write to it; or what a system call returned.
 */
int uapi_open(struct uapi **uapi, const char *dir, const char *ifname,
	      const struct uapi_ops *ops, void *ctx, char *why, size_t why_len);

/* Returns an epoll descriptor, which is readable when uapi_dispatch() has work. It stays the
 * server's. */
int uapi_fd(const struct uapi *uapi);

/*
 * Serves the clients that are ready, and ends those that were idle too long. `now`: nanoseconds
 * of a clock that does not go back. Returns 1 if somebody removed or replaced the socket's file,
 * which is one way for an administrator to end the daemon; else 0.
 */
int uapi_dispatch(struct uapi *uapi, uint64_t now);

/* Returns the time at which uapi_dispatch() must be called even if nothing is readable, ns;
 * 0: at once; UINT64_MAX: there is none. */
uint64_t uapi_next_deadline(const struct uapi *uapi);

/* Ends all clients, and removes the socket's file if it is still ours. NULL is allowed. */
void uapi_close(struct uapi *uapi);

#endif
