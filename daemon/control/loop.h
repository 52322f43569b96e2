/* SPDX-License-Identifier: MIT */
#ifndef LOOP_H
#define LOOP_H

struct tunnel;

/* What control_run() waits for: signals by signal_fd, which the caller owns, and all else. 0 or
 * -errno. */
int control_begin(struct tunnel *tunnel, int signal_fd);
/* The control thread's loop, until SIGTERM or SIGINT, until wg0 is deleted or the UAPI socket
 * removed. The calling thread is registered with RCU. Returns 0, or -EIO if it ends because of
 * an error, which was told. */
int control_run(struct tunnel *tunnel);

#endif
