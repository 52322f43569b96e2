// SPDX-License-Identifier: MIT
/*
 * Theory of operation: a thread that starts another one must be allowed what that one calls,
 * because a filter is inherited and can only be narrowed. So the control thread, which starts
 * workers late, has the lists of all.
 *
 * The filter looks at the number of a call only, not at its arguments: for such filters the kernel
 * keeps a bitmap of the calls that are allowed, and does not run the filter for them.
 */
#include "syscall_filter.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include <seccomp.h>

#include "syscall_list.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define CONTROL (1U << THREAD_CONTROL)
#define PACKETS (1U << THREAD_WORKER | 1U << THREAD_HELPER)
#define RCU	(1U << THREAD_RCU)

static const struct {
	int number;
	unsigned roles;
} calls[] = {
#define CALL(name, roles, why) {SCMP_SYS(name), roles},
	SYSCALL_LIST(CALL, CALL)
#undef CALL
};

static bool is_allowed(unsigned roles, enum thread_role role)
{
	return role == THREAD_CONTROL || roles & (1U << role);
}

/* Returns 0 or -errno. A call is in the list more than once if kinds of threads make it for several
 * reasons. */
static int add_calls(scmp_filter_ctx filter, enum thread_role role)
{
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (is_allowed(calls[i].roles, role))
			err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i].number,
					       0);
		if (err == -EEXIST)
			err = 0;
	}
	return err;
}

/* Returns 0 or -errno. */
static int load(scmp_filter_ctx filter, enum thread_role role)
{
	int err = add_calls(filter, role);

	/* As a tree; in the order of the list it would be tried call by call. */
	if (!err)
		err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!err)
		err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
	if (!err)
		err = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
	return err ? err : seccomp_load(filter);
}

int syscall_filter_install(enum thread_role role)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	scmp_filter_ctx filter;
	int err = -ENOMEM;

	if (SANITIZED)
		return 0;
	/* libseccomp does not say that threads may use it at the same time. */
	pthread_mutex_lock(&lock);
	filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (filter) {
		err = load(filter, role);
		seccomp_release(filter);
	}
	pthread_mutex_unlock(&lock);
	/* EPERM: by a filter of whoever started us */
	return err == -EINVAL || err == -ENOSYS || err == -EPERM ? -EOPNOTSUPP : err;
}
