/* SPDX-License-Identifier: MIT */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>

/* Lines go to stderr until log_to_syslog() is called, and then to syslog (facility
 * daemon). Each line contains ifname, which must stay valid. */
void log_init(const char *ifname);
void log_to_syslog(void);

/* Each logs one line. `fmt` has no newline at its end. Any thread. */
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
