// SPDX-License-Identifier: MIT
#include "privileges.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "capabilities.h"
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

void privileges_drop(enum thread_role role)
{
	int err = capabilities_drop_all();

	if (!err)
		err = syscall_filter_install(role);
	if (err && err != -EOPNOTSUPP)
		log_error("a thread keeps privileges that it does not need: %s",
			  strerror(-err));
}
