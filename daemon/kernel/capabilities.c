// SPDX-License-Identifier: MIT
#include "capabilities.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sys/capability.h>

static bool have(cap_value_t cap)
{
	cap_flag_value_t value = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	if (caps && cap_get_flag(caps, cap, CAP_EFFECTIVE, &value))
		value = CAP_CLEAR;
	cap_free(caps);
	return value == CAP_SET;
}

/* CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON, which were split off from it. */
static bool have_bpf(cap_value_t cap)
{
	return have(cap) || have(CAP_SYS_ADMIN);
}

int capabilities_check(char *why, size_t why_len)
{
	bool admin = have(CAP_NET_ADMIN); /* wg0, TC, XDP */
	bool raw = have(CAP_NET_RAW);	  /* AF_XDP sockets */
	bool bpf = have_bpf(CAP_BPF);
	bool perfmon =
		have_bpf(CAP_PERFMON); /* BPF programs that compare packet pointers */

	if (admin && raw && bpf && perfmon)
		return 0;
	snprintf(why, why_len, "missing%s%s%s%s: run as root, or with these capabilities",
		 admin ? "" : " CAP_NET_ADMIN", raw ? "" : " CAP_NET_RAW",
		 bpf ? "" : " CAP_BPF", perfmon ? "" : " CAP_PERFMON");
	return -EPERM;
}

bool capabilities_lock_memory(void)
{
	return have(CAP_IPC_LOCK);
}
