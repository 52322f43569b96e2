// SPDX-License-Identifier: MIT
/* What Landlock refuses a thread. */
#include "testutil.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "file_access.h"

enum { DENIED = 0, NO_LANDLOCK = 1, ALLOWED = 2 };

static int try_files(int open_before)
{
	char byte;
	int err;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    open("/proc/self/comm", O_RDONLY) < 0)
		return ALLOWED;
	err = file_access_deny();
	if (err == -EOPNOTSUPP)
		return NO_LANDLOCK;
	if (err || open("/proc/self/comm", O_RDONLY) >= 0 || errno != EACCES)
		return ALLOWED;
	if (!mkdir("/tmp/wgxdp-test-file-access", 0700) || errno != EACCES)
		return ALLOWED;
	return read(open_before, &byte, 1) == 1 ? DENIED : ALLOWED;
}

/* In a child, because there is no way back. */
static void test_deny(void **state)
{
	int status, before = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
	pid_t pid = fork();

	(void)state;
	if (!pid)
		_exit(try_files(before));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(before);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_LANDLOCK) {
		puts("# this kernel has no Landlock");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), DENIED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deny),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
