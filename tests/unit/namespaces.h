/* SPDX-License-Identifier: MIT */
/* For tests of a whole tunnel: runs them in new network and mount namespaces, on a thread
 * that is registered with RCU. If that is not allowed, they count as one skipped test. */
#ifndef NAMESPACES_H
#define NAMESPACES_H

#include <sched.h>
#include <sys/mount.h>
#include <sodium.h>
#include <urcu-qsbr.h>

#include "testutil.h"

static const char *namespaces_refused;

/* Returns NULL, or why it is not allowed. */
static inline const char *enter_namespaces(void)
{
	if (geteuid())
		return "needs root, for interfaces and BPF";
	if (unshare(CLONE_NEWNET | CLONE_NEWNS))
		return "needs leave to make namespaces";
	return NULL;
}

static inline int furnish_namespaces(void **state)
{
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("tmpfs", "/run", "tmpfs", 0, NULL), 0);
	assert_int_equal(mount("sysfs", "/sys", "sysfs", 0, NULL), 0);
	assert_int_equal(mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL), 0);
	shell("ip link set lo up");
	urcu_qsbr_register_thread();
	return sodium_init() < 0;
}

static inline int leave_namespaces(void **state)
{
	urcu_qsbr_unregister_thread();
	return 0;
}

static inline void test_namespaces_refused(void **state)
{
	print_message("%s\n", namespaces_refused);
	skip();
}

/* Runs an array of tests; returns the exit code of the program. */
#define run_in_namespaces(tests)                                                       \
	({                                                                             \
		static const struct CMUnitTest refused[] = {                           \
			cmocka_unit_test(test_namespaces_refused)};                    \
                                                                                       \
		namespaces_refused = enter_namespaces();                               \
		end_after(120); /* a device that does not close ends the test */       \
		namespaces_refused ? cmocka_run_group_tests(refused, NULL, NULL)       \
				   : cmocka_run_group_tests(tests, furnish_namespaces, \
							    leave_namespaces);         \
	})

#endif
