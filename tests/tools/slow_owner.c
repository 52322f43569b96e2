// SPDX-License-Identifier: MIT
/*
 * slow_owner COMMAND...: becomes COMMAND, whose first thread waits 100 ms before each
 * TUNSETOWNER, so that other processes can attach to a new TUN device before it has an
 * owner.
 */
#include <errno.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_US 100000

static void delay(pid_t pid)
{
	struct __ptrace_syscall_info info = {0};

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info) > 0 &&
	    info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_ioctl &&
	    (unsigned)info.entry.args[1] == TUNSETOWNER)
		usleep(WAIT_US);
}

/* Returns the signal that stopped the tracee and must be delivered, or 0. */
static int signal_of(pid_t pid, int status)
{
	if (WSTOPSIG(status) != (SIGTRAP | 0x80))
		return status >> 16 ? 0 : WSTOPSIG(status);
	delay(pid);
	return 0;
}

static void trace(pid_t pid, int ready)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD) ||
	    ptrace(PTRACE_INTERRUPT, pid, 0, 0)) {
		perror("ptrace");
		exit(1);
	}
	close(ready);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
		ptrace(PTRACE_SYSCALL, pid, 0, (long)signal_of(pid, status));
	exit(0);
}

int main(int argc, char **argv)
{
	pid_t self = getpid(), tracer;
	int ready[2];
	char byte;

	if (argc < 2 || pipe(ready))
		return 2;
	tracer = fork();
	if (tracer < 0)
		return 1;
	if (!tracer) {
		close(ready[0]);
		trace(self, ready[1]);
	}
	close(ready[1]);
	while (read(ready[0], &byte, 1) < 0 && errno == EINTR)
		;
	close(ready[0]);
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 1;
}
