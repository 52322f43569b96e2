// SPDX-License-Identifier: MIT
#include "capabilities.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <sys/capability.h>

/* What the control thread needs as long as it runs. */
static const cap_value_t needed[] = {
	CAP_NET_ADMIN, /* attach to a NIC, put TC programs back, add a queue, mark a socket */
	CAP_NET_RAW,  /* AF_XDP sockets of a NIC that comes late, ICMP errors */
	CAP_BPF,      /* change maps; programs and links of a NIC that comes late */
	CAP_PERFMON,  /* programs that compare packet pointers */
	CAP_IPC_LOCK, /* AF_XDP's memory; our own is locked as it is allocated */
	CAP_NET_BIND_SERVICE, /* a listen port below 1024 */
	CAP_NET_BROADCAST, /* to hear of wg0 at once when it is in another network namespace */
	CAP_SYS_ADMIN, /* follow wg0 into another namespace, join libxdp's dispatcher */
};

static bool have(cap_t caps, cap_value_t cap)
{
	cap_flag_value_t value = CAP_CLEAR;

	return !cap_get_flag(caps, cap, CAP_EFFECTIVE, &value) && value == CAP_SET;
}

/* CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON, which were split off from it. */
static bool have_bpf(cap_t caps, cap_value_t cap)
{
	return have(caps, cap) || have(caps, CAP_SYS_ADMIN);
}

static int check_effective(cap_t caps, char *why, size_t why_len)
{
	bool admin = have(caps, CAP_NET_ADMIN); /* wg0, TC, XDP */
	bool raw = have(caps, CAP_NET_RAW);	/* AF_XDP sockets */
	bool bpf = have_bpf(caps, CAP_BPF);
	/* BPF programs that compare packet pointers. */
	bool perfmon = have_bpf(caps, CAP_PERFMON);

	if (admin && raw && bpf && perfmon)
		return 0;
	snprintf(why, why_len, "missing%s%s%s%s: run as root, or with these capabilities",
		 admin ? "" : " CAP_NET_ADMIN", raw ? "" : " CAP_NET_RAW",
		 bpf ? "" : " CAP_BPF", perfmon ? "" : " CAP_PERFMON");
	return -EPERM;
}

int capabilities_check(char *why, size_t why_len)
{
	cap_t caps = cap_get_proc();
	int err;

	if (!caps) {
		err = -errno;
		snprintf(why, why_len, "cannot read our capabilities: %s",
			 strerror(-err));
		return err;
	}
	err = check_effective(caps, why, why_len);
	cap_free(caps);
	return err;
}

static bool is_needed(cap_value_t cap)
{
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (needed[i] == cap)
			return true;
	return false;
}

/* To lower the bound takes CAP_SETPCAP; whoever started us without it has lowered the bound. */
static int lower_bound(void)
{
	for (cap_value_t cap = 0; CAP_IS_SUPPORTED(cap); cap++)
		if (!is_needed(cap) && cap_get_bound(cap) == 1 && cap_drop_bound(cap) &&
		    errno != EPERM)
			return -errno;
	return 0;
}

/* Of `list`, sets those that `now` has. Ambient ones go with inheritable ones. */
static int set_of(cap_t now, const cap_value_t *list, size_t count)
{
	cap_t caps = cap_init();
	int err = caps ? 0 : -errno;

	for (size_t i = 0; !err && i < count; i++)
		if (have(now, list[i]) &&
		    (cap_set_flag(caps, CAP_PERMITTED, 1, &list[i], CAP_SET) ||
		     cap_set_flag(caps, CAP_EFFECTIVE, 1, &list[i], CAP_SET)))
			err = -errno;
	if (!err && cap_set_proc(caps))
		err = -errno;
	cap_free(caps);
	return err;
}

static int keep(const cap_value_t *list, size_t count)
{
	cap_t now = cap_get_proc();
	int err = now ? set_of(now, list, count) : -errno;

	cap_free(now);
	return err;
}

int capabilities_keep_needed(void)
{
	int err = lower_bound();

	if (!err && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		err = -errno;
	return err ? err : keep(needed, sizeof(needed) / sizeof(needed[0]));
}

static bool memory_unlimited(void)
{
	struct rlimit limit;

	return !getrlimit(RLIMIT_MEMLOCK, &limit) && limit.rlim_cur == RLIM_INFINITY;
}

int capabilities_drop_all(void)
{
	static const cap_value_t lock = CAP_IPC_LOCK;

	return keep(&lock, memory_unlimited() ? 0 : 1);
}

bool capabilities_lock_memory(void)
{
	cap_t caps = cap_get_proc();
	bool has = memory_unlimited() || (caps && have(caps, CAP_IPC_LOCK));

	cap_free(caps);
	return has;
}
