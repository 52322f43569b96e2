// SPDX-License-Identifier: MIT
#include "privileges.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "capabilities.h"
#include "file_access.h"
#include "log.h"
#include "syscall_filter.h"

int privileges_begin(char *why, size_t why_len)
{
	int err = capabilities_keep_needed();

	assert_control_thread();
	if (err)
		snprintf(why, why_len, "cannot give up capabilities: %s", strerror(-err));
	return err;
}

int privileges_settle(char *why, size_t why_len)
{
	int err = syscall_filter_install(THREAD_CONTROL);

	assert_control_thread();
	if (err == -EOPNOTSUPP) {
		log_info("system calls are not limited: no seccomp here");
		return 0;
	}
	if (err)
		snprintf(why, why_len, "cannot limit our system calls: %s",
			 strerror(-err));
	return err;
}

/* Returns 0 too if the kernel lacks what the step needs. */
static int unless_unsupported(int err)
{
	return err == -EOPNOTSUPP ? 0 : err;
}

void privileges_drop(enum thread_role role)
{
	int err = capabilities_drop_all();

	/* liburcu reads in /sys how many CPUs there are. */
	if (!err && role != THREAD_RCU)
		err = unless_unsupported(file_access_deny());
	if (!err)
		err = unless_unsupported(syscall_filter_install(role));
	if (err)
		log_error("a thread keeps privileges that it does not need: %s",
			  strerror(-err));
}
