/* SPDX-License-Identifier: MIT */
/*
 * What the process and each of its threads give up once they do not need it.
 *
 * Theory of operation: before there are threads, the process keeps the capabilities that the
 * control thread needs, and no others. Each other thread gives up these, too, as the first thing
 * that it does, and all calls that the list (syscall_list.h) does not have for its role. Threads that
 * handle packets also give up access to files. The control thread gives up calls when the interface
 * is ready. Nothing given up can come back: no_new_privs is set, and no thread may execute a
 * program.
 */
#ifndef PRIVILEGES_H
#define PRIVILEGES_H

#include <stddef.h>

#include "thread.h"

/* Gives up the capabilities that are not needed any more. To be called before another thread is
 * started. Returns 0, or -errno with a line in `why`. */
int privileges_begin(char *why, size_t why_len);
/* Gives up the calls that the start alone needs. Control thread, when the interface is ready.
 * Returns 0, or -errno with a line in `why`. A kernel that cannot hold threads to a list of calls is
 * no error, but logged. */
int privileges_settle(char *why, size_t why_len);
/* Gives up all that the calling thread does not need, in a thread of this role which has just
 * started. Logs an error: nothing else can be done about it there. */
void privileges_drop(enum thread_role role);

#endif
