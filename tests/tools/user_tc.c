// SPDX-License-Identifier: MIT
/*
 * user_tc DEVICE ingress|egress before|after|filter RESULT [MARK]: attaches a program as
 * a user of the device may: by tcx, before or after all others, or as a filter of clsact
 * for which the kernel chooses the priority. The program writes the mark and returns
 * RESULT. Prints "attached" when it is attached. A tcx program stays until this process
 * ends.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

/* Linux 6.6; the headers of Debian 12 are older. */
#define TCX_INGRESS 46
#define TCX_EGRESS  47
#define TCX_BEFORE  (1U << 3)
#define TCX_AFTER   (1U << 4)

static int die(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(err));
	exit(1);
}

static int load(int result, int mark)
{
	const struct bpf_insn insns[] = {
		{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_2, 0, 0, mark},
		{BPF_STX | BPF_MEM | BPF_W, BPF_REG_1, BPF_REG_2,
		 offsetof(struct __sk_buff, mark), 0},
		{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, result},
		{BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "user", "GPL", insns,
			       sizeof(insns) / sizeof(insns[0]), NULL);

	return fd < 0 ? die("program", -fd) : fd;
}

static void add_filter(int ifindex, bool ingress, int prog)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
			    .attach_point = ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog);
	int err = bpf_tc_attach(&hook, &opts);

	if (err)
		die("filter", -err);
}

static void add_tcx(int ifindex, bool ingress, bool before, int prog)
{
	union bpf_attr attr = {0};

	attr.link_create.prog_fd = (uint32_t)prog;
	attr.link_create.target_fd = (uint32_t)ifindex;
	attr.link_create.attach_type = ingress ? TCX_INGRESS : TCX_EGRESS;
	attr.link_create.flags = before ? TCX_BEFORE : TCX_AFTER;
	if (syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr)) < 0)
		die("tcx", errno);
}

int main(int argc, char **argv)
{
	int ifindex, prog;
	bool ingress;

	if (argc < 5 || argc > 6)
		return 2;
	ifindex = (int)if_nametoindex(argv[1]);
	if (!ifindex)
		die(argv[1], errno);
	ingress = !strcmp(argv[2], "ingress");
	prog = load(atoi(argv[4]), argc == 6 ? atoi(argv[5]) : 0);
	if (!strcmp(argv[3], "filter")) {
		add_filter(ifindex, ingress, prog);
		return 0;
	}
	add_tcx(ifindex, ingress, !strcmp(argv[3], "before"), prog);
	puts("attached");
	fflush(stdout);
	pause();
	return 0;
}
