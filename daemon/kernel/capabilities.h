/* SPDX-License-Identifier: MIT */
#ifndef CAPABILITIES_H
#define CAPABILITIES_H

#include <stdbool.h>
#include <stddef.h>

/* Returns 0 if this process has all capabilities(7) that it needs. Otherwise returns -EPERM,
 * with one line in `why` that names the missing ones. */
int capabilities_check(char *why, size_t why_len);
/* Returns true if this process may lock any amount of memory. */
bool capabilities_lock_memory(void);

#endif
