/* SPDX-License-Identifier: MIT */
#ifndef LOOP_H
#define LOOP_H

struct tunnel;

/* The control thread's loop, until SIGTERM or SIGINT (on signal_fd), until wg0 is
 * deleted or the UAPI socket removed. The calling thread is registered with RCU.
 * 0, or -errno where it could not begin. */
int control_run(struct tunnel *tunnel, int signal_fd);

#endif
