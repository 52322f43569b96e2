// SPDX-License-Identifier: MIT
/* Assertions of threads' roles, wake-ups between threads, and drop counters. */
#include "testutil.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "drops.h"
#include "thread.h"
#include "wakeup.h"

/* Returns how a process ends that asserts in a thread of this role that it is the control
 * thread. */
static int status_as(enum thread_role role)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		fclose(stderr);
		thread_become(role);
		assert_control_thread();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_roles(void **state)
{
	(void)state;
	assert_int_equal(status_as(THREAD_CONTROL), 0);
#ifdef THREAD_CHECKS
	assert_true(WIFSIGNALED(status_as(THREAD_WORKER)));
	assert_int_equal(WTERMSIG(status_as(THREAD_HELPER)), SIGABRT);
#else
	assert_int_equal(status_as(THREAD_WORKER), 0);
#endif
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void test_wakeup(void **state)
{
	int fd = wakeup_open();

	(void)state;
	assert_true(fd >= 0);
	assert_false(readable(fd));
	wakeup_quiet(fd); /* does not block */
	wakeup_raise(fd);
	wakeup_raise(fd);
	assert_true(readable(fd));
	wakeup_quiet(fd);
	assert_false(readable(fd));
	wakeup_close(&fd);
	assert_int_equal(fd, -1);
	wakeup_close(&fd);
}

static void test_drops(void **state)
{
	struct drops drops = {0};

	(void)state;
	drops_add(&drops, DROP_bad_mac, 2);
	drops_add(&drops, DROP_bad_mac, 3);
	drops_add(&drops, DROP_replay, 1);
	assert_int_equal(drops.bad_mac, 5);
	assert_int_equal(drops.replay, 1);
	assert_int_equal(drops_read(&drops, DROP_bad_mac), 5);
	assert_int_equal(drops_read(&drops, DROP_bad_tag), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roles),
		cmocka_unit_test(test_wakeup),
		cmocka_unit_test(test_drops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
