// SPDX-License-Identifier: MIT
#include "file_access.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <linux/landlock.h>
#include <sys/syscall.h>

/* What Debian 12's header lacks: the second word of the ruleset, and the bits of later versions. */
struct ruleset {
	uint64_t files;
	uint64_t ports;
};

/* The accesses that a version of Landlock can refuse: all bits up to the one given here. */
static const struct {
	unsigned file_bits, port_bits;
} versions[] = {{13, 0}, {14, 0}, {15, 0}, {15, 2}, {16, 2}};

static struct ruleset everything(long version)
{
	const size_t count = sizeof(versions) / sizeof(versions[0]);
	size_t i = (size_t)version < count ? (size_t)version - 1 : count - 1;

	return (struct ruleset){
		.files = (UINT64_C(1) << versions[i].file_bits) - 1,
		.ports = (UINT64_C(1) << versions[i].port_bits) - 1,
	};
}

/* Returns the number of the newest version that the kernel has, or -errno. */
static long landlock_version(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
			       LANDLOCK_CREATE_RULESET_VERSION);

	if (version > 0)
		return version;
	/* EPERM: refused by a container's filter */
	return !version || errno == ENOSYS || errno == EPERM ? -EOPNOTSUPP : -errno;
}

int file_access_deny(void)
{
	struct ruleset ruleset;
	long version = landlock_version(), fd;
	int err = 0;

	if (version < 0)
		return (int)version;
	ruleset = everything(version);
	fd = syscall(SYS_landlock_create_ruleset, &ruleset,
		     version < 4 ? sizeof(ruleset.files) : sizeof(ruleset), 0);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_landlock_restrict_self, fd, 0))
		err = -errno;
	close((int)fd);
	return err;
}
