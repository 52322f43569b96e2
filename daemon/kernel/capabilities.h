/* SPDX-License-Identifier: MIT */
#ifndef CAPABILITIES_H
#define CAPABILITIES_H

#include <stdbool.h>
#include <stddef.h>

/* Whether this process may do what it has to (capabilities(7)); if not, -EPERM and a
 * line that names what is missing in `why`. */
int capabilities_check(char *why, size_t why_len);
/* Whether it may lock any amount of memory. */
bool capabilities_lock_memory(void);

#endif
