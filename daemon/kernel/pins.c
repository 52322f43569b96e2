// SPDX-License-Identifier: MIT
#include "pins.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "log.h"
#include "thread.h"
#include "why.h"

#define BPFFS	 "/sys/fs/bpf"
#define PIN_ROOT BPFFS "/wgxdp"
/* How long pins_open() waits for a process that is ending. */
#define WAIT_MS	 5000
#define RETRY_MS 20
/* O_NOFOLLOW: a symbolic link in place of a directory is an error. */
#define OPEN_DIR   (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define OTHERS	   (S_IRWXG | S_IRWXO)
#define OTHERS_ADD (S_IWGRP | S_IWOTH)

static bool is_bpffs(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == BPF_FS_MAGIC;
}

/* If others may create files in a directory, only the sticky bit keeps them from renaming ours. */
static int check_bpffs(int fd, struct why why)
{
	struct stat st;

	if (fstat(fd, &st))
		return fail_errno(why, "look at", BPFFS);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return fail(why, -EPERM,
			    BPFFS " belongs to user %u, who could exchange the maps: "
				  "chown root " BPFFS,
			    st.st_uid);
	if ((st.st_mode & OTHERS_ADD) && !(st.st_mode & S_ISVTX))
		return fail(why, -EPERM,
			    "other users may rename files in " BPFFS
			    " (mode %04o): chmod 0700 " BPFFS,
			    st.st_mode & 07777);
	return 0;
}

static int open_bpffs(struct why why)
{
	int err, fd = open(BPFFS, OPEN_DIR);

	if (fd < 0 || !is_bpffs(fd)) {
		if (fd >= 0)
			close(fd);
		if (mount("bpf", BPFFS, "bpf", 0, "mode=0700"))
			return fail(why, -errno,
				    "cannot mount bpffs: %s "
				    "(mount -t bpf bpf " BPFFS " -o mode=0700)",
				    strerror(errno));
		fd = open(BPFFS, OPEN_DIR);
		if (fd < 0)
			return fail_errno(why, "open", BPFFS);
	}
	err = check_bpffs(fd, why);
	if (!err)
		return fd;
	close(fd);
	return err;
}

static const char *kind_of(mode_t mode)
{
	return S_ISLNK(mode) ? "symbolic link" : S_ISDIR(mode) ? "directory" : "file";
}

/* Reports what is there instead of wgxdp's directory. Returns -EPERM. */
static int refuse_pins(const struct stat *st, const char *path, struct why why)
{
	return fail(why, -EPERM,
		    "%s is not wgxdp's but a %s of user %u, mode %04o: remove it (rm -r "
		    "%s), and keep other users out (chmod 0700 " BPFFS ")",
		    path, kind_of(st->st_mode), st->st_uid, st->st_mode & 07777, path);
}

/* Reports why a directory could not be opened. Returns -errno. */
static int explain(int at, const char *name, const char *path, int err, struct why why)
{
	struct stat st;

	if (!fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) &&
	    (!S_ISDIR(st.st_mode) || st.st_uid != geteuid()))
		return refuse_pins(&st, path, why);
	errno = err;
	return fail_errno(why, "open", path);
}

/* Refuses a directory that others could write to, because it may hold anything. Closes one that
 * others could read, because opening a directory is enough to lock it. */
static int check_own(int fd, const char *path, struct why why)
{
	struct stat st;

	if (fstat(fd, &st))
		return fail_errno(why, "look at", path);
	if (st.st_uid != geteuid() || (st.st_mode & OTHERS_ADD))
		return refuse_pins(&st, path, why);
	if (!is_bpffs(fd))
		return fail(why, -EPERM, "%s is not on bpffs: umount %s", path, path);
	if ((st.st_mode & OTHERS) && fchmod(fd, 0700))
		return fail_errno(why, "chmod 0700", path);
	return 0;
}

static int open_present(int at, const char *name, const char *path, struct why why)
{
	int err, fd = openat(at, name, OPEN_DIR);

	if (fd < 0)
		return errno == ENOENT ? -EAGAIN : explain(at, name, path, errno, why);
	err = check_own(fd, path, why);
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* Opens the directory `name` in `at`, and makes it if it is not there (*made). `path` is for
 * messages. Returns a descriptor or -errno, and then there is no new directory; -EAGAIN if
 * another process removed the directory meanwhile. */
static int open_own(int at, const char *name, const char *path, bool *made,
		    struct why why)
{
	int fd;

	*made = !mkdirat(at, name, 0700);
	if (!*made && errno != EEXIST)
		return fail_errno(why, "make", path);
	fd = open_present(at, name, path, why);
	if (fd < 0 && *made)
		unlinkat(at, name, AT_REMOVEDIR);
	return fd;
}

/* Returns 0; -EAGAIN if another process has locked the directory, or removed it; or -errno. */
static int lock(int fd, const char *path, struct why why)
{
	struct stat st;

	if (flock(fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? -EAGAIN : fail_errno(why, "lock", path);
	if (fstat(fd, &st))
		return fail_errno(why, "look at", path);
	return st.st_nlink ? 0 : -EAGAIN;
}

/* Opens and locks the directory of the interface. Returns a descriptor or -errno; -EAGAIN if
 * another process has locked it, or removed it meanwhile. */
static int open_locked(const struct pins *p, const char *path, struct why why)
{
	bool made;
	int err, fd = open_own(p->root, p->ifname, path, &made, why);

	if (fd < 0)
		return fd;
	err = lock(fd, path, why);
	if (!err)
		return fd;
	if (made && err != -EAGAIN)
		unlinkat(p->root, p->ifname, AT_REMOVEDIR);
	close(fd);
	return err;
}

static int explain_busy(const char *ifname, const char *path, struct why why)
{
	if (if_nametoindex(ifname))
		return fail(why, -EEXIST, "%s is there already, and a wgxdp runs it",
			    ifname);
	return fail(why, -EEXIST,
		    "%s belongs to a running wgxdp (an interface of this name in another "
		    "network namespace? Give that process a bpffs of its own: unshare "
		    "--mount, mount -t bpf bpf " BPFFS " -o mode=0700)",
		    path);
}

/*
 * As open_locked(), but waits for the directory's owner to end if its interface is gone:
 * `wg-quick down` returns as soon as the interface is deleted, so after a restart the old
 * process may still be detaching from its NICs.
 */
static int wait_for_lock(const struct pins *p, struct why why)
{
	const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
	char path[sizeof(PIN_ROOT) + IFNAMSIZ];
	int fd;

	snprintf(path, sizeof(path), PIN_ROOT "/%s", p->ifname);
	for (unsigned ms = 0;; ms += RETRY_MS) {
		fd = open_locked(p, path, why);
		if (fd != -EAGAIN)
			return fd;
		if (ms >= WAIT_MS || if_nametoindex(p->ifname))
			return explain_busy(p->ifname, path, why);
		nanosleep(&pause, NULL);
	}
}

void pins_init(struct pins *p)
{
	assert_control_thread();
	*p = (struct pins){.root = -1, .dir = -1};
}

int pins_open(struct pins *p, const char *ifname, char *why_text, size_t why_len)
{
	assert_control_thread();
	struct why why = {why_text, why_len};
	int fd, bpffs = open_bpffs(why);
	bool made;

	if (bpffs < 0)
		return bpffs;
	snprintf(p->ifname, sizeof(p->ifname), "%s", ifname);
	fd = p->root = open_own(bpffs, "wgxdp", PIN_ROOT, &made, why);
	close(bpffs);
	if (fd >= 0)
		fd = p->dir = wait_for_lock(p, why);
	if (fd >= 0)
		return 0;
	pins_close(p);
	return fd;
}

/* bpf(2) accepts a path relative to a descriptor only since Linux 6.6, hence /proc. */
int pins_add(const struct pins *p, const char *name, int map_fd)
{
	char path[128];

	assert_control_thread();
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", p->dir, name);
	return bpf_obj_pin(map_fd, path);
}

void pins_remove(const struct pins *p, const char *name)
{
	assert_control_thread();
	unlinkat(p->dir, name, 0);
}

/* Opens a directory for readdir(). Returns NULL on error. */
static DIR *open_entries(int at)
{
	int fd = openat(at, ".", OPEN_DIR);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

/* Opens a map that another process pinned. Returns a descriptor, or less than zero if there is
 * none, or if its name or value size is another one. */
static int open_map(const struct pins *p, const char *ifname, const char *name,
		    size_t value_size)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s/%s", p->root, ifname, name);
	fd = bpf_obj_get(path);
	if (fd < 0 || (!bpf_obj_get_info_by_fd(fd, &info, &len) &&
		       !strcmp(info.name, name) && info.value_size == value_size))
		return fd;
	close(fd);
	return -EINVAL;
}

bool pins_visit(const struct pins *p, const char *name, size_t value_size,
		bool (*visit)(void *ctx, const char *ifname, int map_fd), void *ctx)
{
	assert_control_thread();
	DIR *dir = open_entries(p->root);
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		int fd;

		/* The interface of a process that died is gone, but not its pins. */
		if (!strcmp(entry->d_name, p->ifname) || !if_nametoindex(entry->d_name))
			continue;
		fd = open_map(p, entry->d_name, name, value_size);
		if (fd < 0)
			continue;
		found = visit(ctx, entry->d_name, fd);
		close(fd);
	}
	if (dir)
		closedir(dir);
	return found;
}

void pins_tell_strangers(const struct pins *p)
{
	assert_control_thread();
	DIR *dir = open_entries(p->dir);
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)) && entry->d_name[0] == '.')
		;
	if (entry)
		log_info(PIN_ROOT "/%s holds files that are not ours, and stay: %s",
			 p->ifname, entry->d_name);
	closedir(dir);
}

void pins_close(struct pins *p)
{
	assert_control_thread();
	if (p->dir >= 0) {
		unlinkat(p->root, p->ifname, AT_REMOVEDIR);
		close(p->dir);
	}
	if (p->root >= 0)
		close(p->root);
	pins_init(p);
}
