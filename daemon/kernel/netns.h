/* SPDX-License-Identifier: MIT */
/*
 * Network namespaces: the calling thread goes to another one for a moment and returns. A
 * namespace is named by a descriptor of it, which its caller owns. Any thread.
 */
#ifndef NETNS_H
#define NETNS_H

#include <stdbool.h>
#include <sys/types.h>

/* Identifies a namespace for as long as it exists, without keeping it. */
struct netns_id {
	dev_t dev;
	ino_t ino;
};

/* Returns a descriptor of the calling thread's namespace, owned by the caller, or -errno. */
int netns_current(void);

/* Returns 0 or -errno; *id is zeroed then. */
int netns_identify(int ns, struct netns_id *id);
/* Returns true if both are the same namespace. */
bool netns_same(const struct netns_id *a, const struct netns_id *b);

/*
 * Calls fn(ctx) with the calling thread in `ns`, and returns what fn returns. `home` is the
 * thread's namespace before and afterwards. If both are the same the thread stays where it
 * is; otherwise it needs CAP_SYS_ADMIN over both. Returns -errno, without calling fn, if the
 * thread cannot enter `ns`. Returns -ENOTRECOVERABLE if it cannot return to `home`: whatever
 * it opens from then on belongs to `ns`.
 */
int netns_visit(int ns, int home, int (*fn)(void *ctx), void *ctx);

#endif
