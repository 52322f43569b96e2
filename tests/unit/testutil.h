/* SPDX-License-Identifier: MIT */
/* What several unit tests need; includes cmocka with what it wants before it. */
#ifndef TESTUTIL_H
#define TESTUTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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

static inline void shell(const char *command)
{
	if (system(command) != 0)
		fail_msg("failed: %s", command);
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
