// SPDX-License-Identifier: MIT
#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

int netns_current(void)
{
	int ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	return ns < 0 ? -errno : ns;
}

int netns_identify(int ns, struct netns_id *id)
{
	struct stat st = {0};
	int err = fstat(ns, &st) ? -errno : 0;

	id->dev = st.st_dev;
	id->ino = st.st_ino;
	return err;
}

bool netns_same(const struct netns_id *a, const struct netns_id *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

static int visit_other(int ns, int home, int (*fn)(void *ctx), void *ctx)
{
	int err;

	if (setns(ns, CLONE_NEWNET))
		return -errno;
	err = fn(ctx);
	return setns(home, CLONE_NEWNET) ? -ENOTRECOVERABLE : err;
}

int netns_visit(int ns, int home, int (*fn)(void *ctx), void *ctx)
{
	struct netns_id there, here;
	int err = netns_identify(ns, &there);

	if (!err)
		err = netns_identify(home, &here);
	if (err)
		return err;
	return netns_same(&there, &here) ? fn(ctx) : visit_other(ns, home, fn, ctx);
}
