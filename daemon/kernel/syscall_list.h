/* SPDX-License-Identifier: MIT */
/*
 * The system calls that each kind of thread makes after its start, and what for. `make
 * check-syscalls` compares the list with what the threads call in tests, in both directions.
 *
 * CALL(name, kinds, why): the tests show that each of these kinds calls it. RARE(name, kinds, why):
 * they need not, because it takes a fault, a file of the administrator's, or another kernel, C
 * library or machine. PACKETS are workers and helpers, RCU are the threads of liburcu. The control
 * thread may call all of it (syscall_filter.c).
 */
#ifndef SYSCALL_LIST_H
#define SYSCALL_LIST_H

/* clang-format off */
#define SYSCALL_LIST(CALL, RARE)                                                         \
	/* Packets. */                                                                   \
	CALL(poll, CONTROL | PACKETS | RCU, "sleep")                                     \
	CALL(read, CONTROL | PACKETS | RCU, "wg0, eventfds, files of /proc and /sys")    \
	CALL(write, CONTROL | PACKETS, "wg0, eventfds, UAPI, sysctls")                   \
	CALL(writev, PACKETS, "wg0")                                                     \
	CALL(recvmmsg, PACKETS, "the UDP sockets")                                       \
	CALL(sendmmsg, PACKETS, "the UDP sockets")                                       \
	CALL(sendmsg, CONTROL | PACKETS, "the UDP sockets, netlink")                     \
	CALL(sendto, CONTROL | PACKETS, "kick AF_XDP, netlink, syslog")                  \
	RARE(recvfrom, PACKETS, "AF_XDP with zero-copy: wake the driver")                \
	CALL(io_uring_enter, PACKETS, "wg0, many frames at once")                        \
	RARE(io_uring_setup, CONTROL | PACKETS, "a new ring after an error")             \
	RARE(io_uring_register, CONTROL | PACKETS, "liburing, for a ring")               \
	RARE(sched_yield, PACKETS | RCU, "let the others run while it spins")            \
	/* Memory, locks, time: libc, liburcu. */                                        \
	CALL(futex, CONTROL | PACKETS | RCU, "locks, and threads that are joined")       \
	CALL(mmap, CONTROL | RCU, "malloc(), stacks, AF_XDP's rings")                    \
	CALL(munmap, CONTROL | RCU, "free()")                                            \
	CALL(mprotect, RCU, "malloc(), guard pages of stacks")                           \
	CALL(madvise, CONTROL | PACKETS | RCU, "free(), stacks of threads that ended")   \
	CALL(brk, CONTROL, "malloc()")                                                   \
	RARE(mmap, PACKETS, "malloc(), a new ring")                                      \
	RARE(munmap, PACKETS, "free(), a ring that failed")                              \
	RARE(mprotect, CONTROL | PACKETS, "malloc(), stacks")                            \
	RARE(mremap, CONTROL | PACKETS | RCU, "realloc()")                               \
	RARE(clock_gettime, CONTROL | PACKETS | RCU, "where the vDSO has no clock")      \
	RARE(gettimeofday, CONTROL | PACKETS | RCU, "where the vDSO has no clock")       \
	RARE(time, CONTROL | PACKETS | RCU, "where the vDSO has no clock")               \
	CALL(clock_nanosleep, CONTROL, "wait for a worker")                              \
	RARE(clock_nanosleep, PACKETS | RCU, "pause after an error")                     \
	RARE(nanosleep, CONTROL | PACKETS | RCU, "another libc's clock_nanosleep")       \
	RARE(restart_syscall, CONTROL | PACKETS | RCU, "sleep, after a stop")            \
	RARE(sched_getaffinity, CONTROL | PACKETS | RCU, "malloc() counts CPUs")         \
	CALL(rt_sigprocmask, PACKETS | RCU, "start and end of threads")                  \
	RARE(rt_sigprocmask, CONTROL, "start of threads")                                \
	RARE(rt_sigreturn, CONTROL | PACKETS | RCU, "end of a signal handler")           \
	RARE(rt_sigaction, CONTROL | PACKETS | RCU, "abort()")                           \
	RARE(tgkill, CONTROL | PACKETS | RCU, "abort()")                                 \
	RARE(gettid, CONTROL | PACKETS | RCU, "abort(), debug builds")                   \
	CALL(getpid, CONTROL, "status, syslog")                                          \
	RARE(getpid, PACKETS | RCU, "abort(), syslog")                                   \
	CALL(exit, PACKETS | RCU, "end of threads")                                      \
	CALL(exit_group, CONTROL, "end")                                                 \
	RARE(exit_group, PACKETS | RCU, "abort()")                                       \
	/* Threads: workers of a NIC that comes late, resizing of hash tables. */        \
	CALL(clone3, RCU, "resize a hash table with several threads")                    \
	RARE(clone3, CONTROL, "a worker")                                                \
	RARE(clone, CONTROL | RCU, "clone3 of an older libc")                            \
	CALL(set_robust_list, RCU, "start of threads")                                   \
	CALL(rseq, RCU, "start of threads")                                              \
	RARE(set_robust_list, CONTROL, "start of threads")                               \
	RARE(rseq, CONTROL, "start of threads")                                          \
	RARE(prctl, CONTROL, "a worker names itself, sets no_new_privs")                 \
	RARE(capget, CONTROL, "a worker gives up its capabilities")                      \
	RARE(capset, CONTROL, "a worker gives up its capabilities")                      \
	RARE(seccomp, CONTROL, "a worker limits itself")                                 \
	RARE(landlock_create_ruleset, CONTROL, "a worker gives up access to files")      \
	RARE(landlock_restrict_self, CONTROL, "a worker gives up access to files")       \
	RARE(prlimit64, CONTROL, "a worker's stack, its memory limit")                   \
	/* Files: sysctls, sysfs, /dev/net/tun, pins, CPUs for liburcu. */               \
	CALL(openat, CONTROL | RCU, "files")                                             \
	CALL(close, CONTROL | RCU, "files, sockets")                                     \
	RARE(close, PACKETS, "a ring that failed")                                       \
	CALL(newfstatat, CONTROL, "namespaces, directories, stdio")                      \
	RARE(newfstatat, RCU, "stdio")                                                   \
	RARE(fstat, CONTROL | RCU, "another libc's newfstatat")                          \
	RARE(statx, CONTROL, "another libc's newfstatat")                                \
	RARE(fstatfs, CONTROL, "is it bpffs?")                                           \
	RARE(statfs, CONTROL, "libbpf and libxdp: is it bpffs?")                         \
	RARE(lseek, CONTROL, "stdio")                                                    \
	RARE(pread64, CONTROL, "libbpf reads the kernel's types")                        \
	RARE(readlinkat, CONTROL, "libxdp")                                              \
	RARE(faccessat2, CONTROL, "libbpf asks for files")                               \
	RARE(faccessat, CONTROL, "libbpf asks for files")                                \
	RARE(access, CONTROL, "libbpf asks for files")                                   \
	RARE(uname, CONTROL, "libbpf asks for the kernel's version")                     \
	CALL(getdents64, CONTROL, "directories of pins")                                 \
	CALL(unlinkat, CONTROL, "pins and the UAPI socket, at the end")                  \
	RARE(unlink, CONTROL, "libxdp's pins")                                           \
	RARE(mkdir, CONTROL, "libxdp's pins")                                            \
	RARE(rmdir, CONTROL, "libxdp's pins")                                            \
	RARE(flock, CONTROL, "libxdp's lock")                                            \
	RARE(dup3, CONTROL, "libbpf: maps of a program for libxdp's dispatcher")         \
	RARE(geteuid, CONTROL, "libbpf")                                                 \
	CALL(dup2, CONTROL, "into the background, once it is ready")                     \
	CALL(fcntl, CONTROL, "copies of descriptors")                                    \
	CALL(ioctl, CONTROL, "wg0, NICs, namespaces")                                    \
	CALL(setns, CONTROL, "where wg0 was moved")                                      \
	/* Sockets: netlink, UAPI, AF_XDP, UDP, ICMP errors. */                          \
	CALL(socket, CONTROL, "all of them")                                             \
	CALL(bind, CONTROL, "all of them")                                               \
	CALL(accept4, CONTROL, "UAPI")                                                   \
	CALL(recvmsg, CONTROL, "netlink, UDP")                                           \
	CALL(recvfrom, CONTROL, "UAPI")                                                  \
	CALL(setsockopt, CONTROL, "all of them")                                         \
	CALL(getsockopt, CONTROL, "AF_XDP's counters, who asks on UAPI")                 \
	CALL(getsockname, CONTROL, "netlink")                                            \
	RARE(connect, CONTROL, "syslog, is it a broadcast address?")                     \
	RARE(shutdown, CONTROL, "UAPI")                                                  \
	/* The rest of the control thread's. */                                          \
	CALL(epoll_wait, CONTROL, "sleep")                                               \
	CALL(epoll_ctl, CONTROL, "UAPI's connections")                                   \
	RARE(epoll_create1, CONTROL, "UAPI")                                             \
	RARE(inotify_add_watch, CONTROL, "is the UAPI socket removed?")                  \
	RARE(eventfd2, CONTROL, "a worker's wake-up")                                    \
	CALL(bpf, CONTROL, "maps, programs, links")                                      \
	CALL(getrandom, CONTROL, "keys")
/* clang-format on */

#endif
