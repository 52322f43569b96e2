/* SPDX-License-Identifier: MIT */
#ifndef CAPABILITIES_H
#define CAPABILITIES_H

#include <stdbool.h>
#include <stddef.h>

/* Returns 0 if this process has all capabilities(7) that it needs. Otherwise returns -EPERM,
 * with one line in `why` that names the missing ones. */
int capabilities_check(char *why, size_t why_len);
/*
 * Gives up all capabilities, also as a bound on what a program that we execute could get, except
 * those that the control thread needs as long as it runs, if it has them (capabilities.c). Sets
 * no_new_privs. Threads that are started later inherit all that. Returns 0 or -errno.
 */
int capabilities_keep_needed(void);
/*
 * Gives up all capabilities of the calling thread, except CAP_IPC_LOCK if the memory that a process
 * may lock is limited: all memory that this process allocates is locked at once. Returns 0 or
 * -errno.
 */
int capabilities_drop_all(void);
/* Returns true if this process may lock any amount of memory. */
bool capabilities_lock_memory(void);

#endif
