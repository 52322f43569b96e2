/* SPDX-License-Identifier: MIT */
/*
 * The line for people that goes with an error: written where the cause and the cure are
 * known, into the caller's buffer. Any thread.
 */
#ifndef WHY_H
#define WHY_H

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct why {
	char *text;
	size_t size;
};

/* Writes the line, without line end, cut where the buffer ends. Returns err. */
__attribute__((format(printf, 3, 4))) static inline int fail(struct why why, int err,
							     const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why.text, why.size, format, args);
	va_end(args);
	return err;
}

/* "cannot WHAT PATH", and errno in words. Returns -errno. */
static inline int fail_errno(struct why why, const char *what, const char *path)
{
	int err = errno;

	return fail(why, -err, "cannot %s %s: %s", what, path, strerror(err));
}

#endif
