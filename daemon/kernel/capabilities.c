// SPDX-License-Identifier: MIT
#include "capabilities.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sys/capability.h>

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

bool capabilities_lock_memory(void)
{
	cap_t caps = cap_get_proc();
	bool has = caps && have(caps, CAP_IPC_LOCK);

	cap_free(caps);
	return has;
}
