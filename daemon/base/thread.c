// SPDX-License-Identifier: MIT
#include "thread.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

void thread_name(const char *kind, unsigned number)
{
	char name[16];

	snprintf(name, sizeof(name), "%.8s/%u", kind, number);
	pthread_setname_np(pthread_self(), name);
}

#ifdef THREAD_CHECKS

static _Thread_local enum thread_role current_role = THREAD_CONTROL;

static const char *const role_names[] = {
	[THREAD_CONTROL] = "control",
	[THREAD_WORKER] = "worker",
	[THREAD_HELPER] = "helper",
	[THREAD_RCU] = "rcu",
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

#endif
