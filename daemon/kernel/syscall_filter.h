/* SPDX-License-Identifier: MIT */
/*
 * Which system calls a thread may make, held by seccomp(2). The list is in syscall_list.h.
 */
#ifndef SYSCALL_FILTER_H
#define SYSCALL_FILTER_H

#include "thread.h"

/*
 * From now on the calling thread, and threads that it starts, can only make the calls that the list
 * has for its role. Other calls fail with EPERM, and the kernel's audit log names them. Sets
 * no_new_privs. Returns 0 or -errno; -EOPNOTSUPP if the kernel, or a container, has no seccomp
 * filters. Sanitizers need other calls, so their builds return 0 without a filter. Any thread.
 */
int syscall_filter_install(enum thread_role role);

#endif
