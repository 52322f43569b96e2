/* SPDX-License-Identifier: MIT */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>

/* Lines go to stderr until log_to_syslog() is called, then to syslog (daemon). */
void log_init(const char *ifname);
void log_to_syslog(void);

/* One line each, without a newline. Any thread. */
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
