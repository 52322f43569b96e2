// SPDX-License-Identifier: MIT
#include "wakeup.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define STUMBLE_NS 2000000

int wakeup_open(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void wakeup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void wakeup_raise(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return; /* the counter is full, so fd is readable */
}

void wakeup_quiet(int fd)
{
	uint64_t count;

	/* EAGAIN: it was quiet */
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		wakeup_stumble();
}

void wakeup_stumble(void)
{
	const struct timespec moment = {.tv_nsec = STUMBLE_NS};

	nanosleep(&moment, NULL);
}
