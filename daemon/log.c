// SPDX-License-Identifier: MIT
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

static const char *log_name = "wgxdp";
static bool use_syslog;

void log_init(const char *ifname)
{
	log_name = ifname;
}

void log_to_syslog(void)
{
	openlog("wgxdp", LOG_PID, LOG_DAEMON);
	use_syslog = true;
}

static void log_line(int priority, const char *fmt, va_list ap)
{
	char text[512];

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
