/* SPDX-License-Identifier: MIT */
#ifndef CONTROL_H
#define CONTROL_H

struct device;

/* The control thread's loop, until SIGTERM or SIGINT (on signal_fd), until wg0 is
 * deleted or the UAPI socket removed. The calling thread is registered with RCU.
 * 0, or -errno where it could not begin. */
int control_run(struct device *dev, int signal_fd);

#endif
