// SPDX-License-Identifier: MIT
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

static const char *log_name = "wgxdp";
static bool use_syslog;
static int log_max = LOG_INFO; /* the least important priority logged; -1: none */

/* LOG_LEVEL=error and =silent work as in wireguard-go; anything else means info. */
void log_init(const char *ifname)
{
	const char *level = getenv("LOG_LEVEL");

	log_name = ifname;
	if (level && !strcmp(level, "silent"))
		log_max = -1;
	else if (level && !strcmp(level, "error"))
		log_max = LOG_ERR;
}

void log_to_syslog(void)
{
	openlog("wgxdp", LOG_PID, LOG_DAEMON);
	use_syslog = true;
}

static void log_line(int priority, const char *fmt, va_list ap)
{
	char text[512];

	if (priority > log_max)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	if (use_syslog)
		syslog(priority, "%s: %s", log_name, text);
	else
		fprintf(stderr, "wgxdp: %s: %s\n", log_name, text);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(LOG_INFO, fmt, ap);
	va_end(ap);
}

void log_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(LOG_ERR, fmt, ap);
	va_end(ap);
}
