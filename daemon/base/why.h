/* SPDX-License-Identifier: MIT */
/*
 * The line of text that explains an error to the user. The function that knows the cause
 * and the cure writes it into the caller's buffer. Any thread.
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

/* Writes the line, without a newline, truncated to the buffer's size. Returns err. */
__attribute__((format(printf, 3, 4))) static inline int fail(struct why why, int err,
							     const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why.text, why.size, format, args);
	va_end(args);
	return err;
}

/* Writes "cannot WHAT PATH: " and the text of errno. Returns -errno. */
static inline int fail_errno(struct why why, const char *what, const char *path)
{
	int err = errno;

	return fail(why, -err, "cannot %s %s: %s", what, path, strerror(err));
}

#endif
