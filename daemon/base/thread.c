// SPDX-License-Identifier: MIT
#include "thread.h"

#ifdef THREAD_CHECKS

#include <stdio.h>
#include <stdlib.h>

static _Thread_local enum thread_role current_role = THREAD_CONTROL;

static const char *const role_names[] = {
	[THREAD_CONTROL] = "control",
	[THREAD_WORKER] = "worker",
	[THREAD_HELPER] = "helper",
};

void thread_become(enum thread_role role)
{
	current_role = role;
}

void thread_assert(enum thread_role role, const char *function)
{
	if (current_role == role)
		return;
	fprintf(stderr, "%s(): called by a %s thread, belongs to a %s thread\n", function,
		role_names[current_role], role_names[role]);
	abort();
}

#else

typedef int thread_checks_are_off; /* ISO C wants something in a file */

#endif
