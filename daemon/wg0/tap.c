// SPDX-License-Identifier: MIT
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "tap.h"

#define TUN_PATH      "/dev/net/tun"
#define TAP_IFF_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE)
#define TAP_OFFLOADS  (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)

/* Kernel 6.2; the headers of Debian 12 are older. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

_Static_assert(sizeof(struct virtio_net_hdr) == TAP_VNET_HDR_LEN,
	       "header of a TAP frame");

bool tap_name_valid(const char *ifname)
{
	size_t len = strnlen(ifname, IFNAMSIZ);

	if (len == 0 || len == IFNAMSIZ || !strcmp(ifname, ".") || !strcmp(ifname, ".."))
		return false;
	for (size_t i = 0; i < len; i++)
		/* The kernel would take "wg%d" for a pattern. */
		if (strchr("/:%", ifname[i]) || isspace((unsigned char)ifname[i]))
			return false;
	return true;
}

__attribute__((format(printf, 3, 4))) static void explain(char *why, size_t why_len,
							  const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, why_len, fmt, ap);
	va_end(ap);
}

static void explain_open(int err, char *why, size_t why_len)
{
	switch (-err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		explain(why, why_len,
			"no " TUN_PATH
			": run \"modprobe tun\", or give the container that "
			"device");
		break;
	case EACCES:
	case EPERM:
		explain(why, why_len,
			"not allowed to open " TUN_PATH ": run as root, or allow the "
			"container that device");
		break;
	default:
		explain(why, why_len, TUN_PATH ": %s", strerror(-err));
	}
}

/* Returns true if that is a TUN or TAP device, which may be a tunnel's, not somebody's NIC. */
static bool is_tun(const char *ifname)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq ifr = {.ifr_data = (char *)&info};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool yes;

	if (fd < 0)
		return false;
	memcpy(ifr.ifr_name, ifname, strlen(ifname));
	yes = !ioctl(fd, SIOCETHTOOL, &ifr) && !strcmp(info.driver, "tun");
	close(fd);
	return yes;
}

static void explain_create(const char *ifname, int err, char *why, size_t why_len)
{
	switch (-err) {
	case EEXIST:
		if (is_tun(ifname))
			explain(why, why_len,
				"there is a network device of that name already "
				"(\"ip link del %s\" removes it)",
				ifname);
		else
			explain(why, why_len,
				"there is a network device of that name already, which "
				"is not a tunnel: take another name");
		break;
	case EPERM:
		explain(why, why_len,
			"making a TAP device needs CAP_NET_ADMIN in this network "
			"namespace");
		break;
	default:
		explain(why, why_len, "cannot make a TAP device: %s", strerror(-err));
	}
}

static int tun_open(void)
{
	int fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int set_iff(int fd, const char *ifname, unsigned flags)
{
	struct ifreq ifr = {.ifr_flags = (short)flags};

	memcpy(ifr.ifr_name, ifname, strlen(ifname));
	return ioctl(fd, TUNSETIFF, &ifr) ? -errno : 0;
}

/*
 * If a multi-queue TAP has no owner, Linux lets every user who can open /dev/net/tun attach a
 * queue and set whatever belongs to the device. With an owner and a group it takes both, or
 * CAP_NET_ADMIN.
 */
static int set_owner(int fd)
{
	return ioctl(fd, TUNSETOWNER, (unsigned long)TAP_OWNER) ||
			       ioctl(fd, TUNSETGROUP, (unsigned long)TAP_OWNER)
		       ? -errno
		       : 0;
}

/* The errors are those of kernels that do not have the setting. */
void tap_put_back(int fd)
{
	struct tun_filter all = {0};
	int none = -1, no_limit = INT_MAX, header = TAP_VNET_HDR_LEN, native = 0;

	ioctl(fd, TUNDETACHFILTER, NULL);
	ioctl(fd, TUNSETSTEERINGEBPF, &none);
	ioctl(fd, TUNSETTXFILTER, &all);
	ioctl(fd, TUNSETSNDBUF, &no_limit);
	ioctl(fd, TUNSETVNETHDRSZ, &header);
	ioctl(fd, TUNSETVNETLE, &native);
}

/* Offloads belong to the device: all queues have them. */
static int set_offloads(int fd, bool *uso)
{
	*uso = !ioctl(fd, TUNSETOFFLOAD, TAP_OFFLOADS | TUN_F_USO4 | TUN_F_USO6);
	if (!*uso && ioctl(fd, TUNSETOFFLOAD, TAP_OFFLOADS))
		return -errno;
	return 0;
}

static int rename_to(const char *from, const char *to)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;
	struct ifreq ifr = {0};

	if (fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, from, strlen(from));
	memcpy(ifr.ifr_newname, to, strlen(to));
	if (ioctl(fd, SIOCSIFNAME, &ifr))
		err = -errno;
	close(fd);
	return err;
}

/* Until the device has an owner, it has a name that nobody can guess: a user who tries to attach
 * to a known name all the time is faster than TUNSETOWNER. */
static int create_owned(int fd)
{
	char name[IFNAMSIZ];
	int err;

	snprintf(name, sizeof(name), "wgxdp%08x", randombytes_random());
	/* Without IFF_TUN_EXCL this would become one more queue of a TAP that is there. */
	err = set_iff(fd, name, TAP_IFF_FLAGS | IFF_TUN_EXCL);
	return err ? err : set_owner(fd);
}

static int note_name(int fd, struct tap *tap)
{
	struct ifreq ifr = {0};

	if (ioctl(fd, TUNGETIFF, &ifr))
		return -errno;
	memcpy(tap->name, ifr.ifr_name, sizeof(tap->name));
	tap->ifindex = if_nametoindex(tap->name);
	return tap->ifindex ? 0 : -errno;
}

int tap_reset(int fd, struct tap *tap)
{
	int on = 1;

	tap_put_back(fd);
	ioctl(fd, TUNSETCARRIER, &on);
	return set_offloads(fd, &tap->uso);
}

static int make_tap(int fd, struct tap *tap)
{
	int err = create_owned(fd);

	if (!err)
		err = tap_reset(fd, tap);
	return err ? err : note_name(fd, tap);
}

int tap_make(struct tap *tap, char *why, size_t why_len)
{
	int fd, err;

	memset(tap, 0, sizeof(*tap));
	explain(why, why_len, "%s", "");
	fd = tun_open();
	if (fd < 0) {
		explain_open(fd, why, why_len);
		return fd;
	}
	err = make_tap(fd, tap);
	if (!err)
		return fd;
	explain_create(tap->name, err, why, why_len);
	close(fd);
	return err;
}

int tap_rename(struct tap *tap, const char *ifname, char *why, size_t why_len)
{
	int err;

	if (!tap_name_valid(ifname)) {
		explain(why, why_len, "\"%s\" is not a name for a network device",
			ifname);
		return -EINVAL;
	}
	err = rename_to(tap->name, ifname);
	if (err) {
		explain_create(ifname, err, why, why_len);
		return err;
	}
	memset(tap->name, 0, sizeof(tap->name));
	memcpy(tap->name, ifname, strlen(ifname));
	return 0;
}

int tap_create(const char *ifname, struct tap *tap, char *why, size_t why_len)
{
	int fd = tap_make(tap, why, why_len), err;

	if (fd < 0)
		return fd;
	err = tap_rename(tap, ifname, why, why_len);
	if (!err)
		return fd;
	memset(tap, 0, sizeof(*tap));
	close(fd);
	return err;
}

/* Of another network namespace's sysfs, a device of the same name may be seen there. */
static bool is_in_sysfs(const struct tap *tap)
{
	char path[64], line[16] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/net/%s/ifindex", tap->name);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	return strtoul(line, NULL, 10) == tap->ifindex;
}

void tap_announce(const struct tap *tap)
{
	static const char add[] = "add";
	char path[64];
	int fd;

	if (!is_in_sysfs(tap))
		return;
	snprintf(path, sizeof(path), "/sys/class/net/%s/uevent", tap->name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, add, strlen(add)) < 0)
		errno = 0; /* nobody hears of it then */
	close(fd);
}

int tap_intact(int fd, bool *intact)
{
	const short flags = (short)(TAP_IFF_FLAGS | IFF_PERSIST);
	struct ifreq ifr = {0};
	int header, limit;

	if (ioctl(fd, TUNGETIFF, &ifr) || ioctl(fd, TUNGETVNETHDRSZ, &header) ||
	    ioctl(fd, TUNGETSNDBUF, &limit))
		return -errno;
	*intact = (ifr.ifr_flags & flags) == TAP_IFF_FLAGS &&
		  header == TAP_VNET_HDR_LEN && limit == INT_MAX;
	return 0;
}

/*
 * TUNSETIFF goes by name, and makes a device if there is none. So the name is asked for
 * first and the index compared afterwards; a device made by mistake goes again with its
 * descriptor.
 */
int tap_add_queue(const struct tap *tap)
{
	char name[IF_NAMESIZE];
	int fd, err;

	if (!if_indextoname(tap->ifindex, name))
		return -ENODEV;
	fd = tun_open();
	if (fd < 0)
		return fd;
	err = set_iff(fd, name, TAP_IFF_FLAGS);
	if (!err && if_nametoindex(name) != tap->ifindex)
		err = -ENODEV;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int tap_set_filter(int fd, int prog_fd)
{
	return ioctl(fd, TUNSETFILTEREBPF, &prog_fd) ? -errno : 0;
}

bool tap_gone(int fd)
{
	struct ifreq ifr = {0};

	return ioctl(fd, TUNGETIFF, &ifr) && errno == EBADFD;
}

int tap_netns(int fd)
{
	int ns = ioctl(fd, TUNGETDEVNETNS);

	return ns < 0 ? -errno : ns;
}
