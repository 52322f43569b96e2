/* SPDX-License-Identifier: MIT */
/* For several unit tests; includes cmocka and the headers that it needs. */
#ifndef TESTUTIL_H
#define TESTUTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define MSEC_NS 1000000ULL
#define SEC_NS	1000000000ULL

static inline void needs_root(void)
{
	if (getuid()) {
		print_message("needs root, for network namespaces\n");
		skip();
	}
}

/* Ends the program by SIGALRM after `seconds` times PATIENCE, as in the shell tests. */
static inline void end_after(unsigned seconds)
{
	const char *patience = getenv("PATIENCE");
	unsigned factor = patience ? (unsigned)strtoul(patience, NULL, 10) : 1;

	alarm(seconds * (factor ? factor : 1));
}

static inline void shell(const char *command)
{
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

/* Waits until the kernel can use an IPv6 address that was added to a device. After ip(8)
 * has ended, a work queue of the kernel still has to clear its tentative flag, also with
 * nodad, and then adds its local route; on a loaded machine that takes milliseconds.
 * netns: a process in the device's namespace, or 0 for the caller's. */
static inline void wait_for_address(int netns, const char *addr, const char *dev)
{
	char command[320], enter[40] = "";

	if (netns)
		snprintf(enter, sizeof(enter), "nsenter -t %d -n ", netns);
	snprintf(command, sizeof(command),
		 "timeout 10 %ssh -c 'until ip -6 route show table local %s dev %s | "
		 "grep -q .; do sleep 0.01; done'",
		 enter, addr, dev);
	shell(command);
}

/* first, first + 1, first + 2... */
static inline void fill_sequence(uint8_t *out, size_t len, uint8_t first)
{
	size_t i;

	for (i = 0; i < len; i++)
		out[i] = first + i;
}

static inline bool is_zero(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	size_t i;

	for (i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

/* The same numbers in every run (xorshift64); the state must not be 0. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
