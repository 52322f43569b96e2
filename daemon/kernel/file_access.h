/* SPDX-License-Identifier: MIT */
/*
 * Which files a thread may open, held by Landlock (Linux 5.13). What it has open already stays so.
 */
#ifndef FILE_ACCESS_H
#define FILE_ACCESS_H

/*
 * From now on the calling thread, and threads that it starts, can open, make, remove or execute no
 * file, and can use no TCP port if the kernel can refuse that (Linux 6.7). This holds for io_uring,
 * too, which system call filters do not see. Needs no_new_privs or CAP_SYS_ADMIN. Returns 0 or -errno;
 * -EOPNOTSUPP if the kernel, or a container, has no Landlock. Any thread.
 */
int file_access_deny(void);

#endif
