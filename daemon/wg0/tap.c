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

/* Linux lets everybody who may open /dev/net/tun attach a queue to a multi-queue TAP without an
 * owner, and then set whatever belongs to the device. */
static int set_owner(int fd)
{
	return ioctl(fd, TUNSETOWNER, (unsigned long)TAP_OWNER) ? -errno : 0;
}

/* What somebody may have set before there was an owner. The errors are of kernels that do not
 * have what is reset. */
static void reset(int fd)
{
	struct tun_filter all = {0};
	int none = -1, no_limit = INT_MAX, on = 1;

	ioctl(fd, TUNSETSTEERINGEBPF, &none);
	ioctl(fd, TUNSETTXFILTER, &all);
	ioctl(fd, TUNSETSNDBUF, &no_limit);
	ioctl(fd, TUNSETCARRIER, &on);
}

/* Header size and offloads belong to the device: all queues have them. */
static int set_offloads(int fd, bool *uso)
{
	int header = TAP_VNET_HDR_LEN;

	if (ioctl(fd, TUNSETVNETHDRSZ, &header))
		return -errno;
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

/* Until it has an owner it has a name that nobody can guess: somebody who tries all the time
 * to attach to `ifname` would be faster than TUNSETOWNER. */
static int create_owned(int fd)
{
	char name[IFNAMSIZ];
	int err;

	snprintf(name, sizeof(name), "wgxdp%08x", randombytes_random());
	/* Without IFF_TUN_EXCL this would become one more queue of a TAP that is there. */
	err = set_iff(fd, name, TAP_IFF_FLAGS | IFF_TUN_EXCL);
	return err ? err : set_owner(fd);
}

static int take_name(int fd, const char *ifname)
{
	struct ifreq ifr = {0};

	if (ioctl(fd, TUNGETIFF, &ifr))
		return -errno;
	return rename_to(ifr.ifr_name, ifname);
}

static int set_up(int fd, const char *ifname, struct tap *tap)
{
	int err = create_owned(fd);

	if (err)
		return err;
	reset(fd);
	err = set_offloads(fd, &tap->uso);
	if (!err)
		err = take_name(fd, ifname);
	if (err)
		return err;
	tap->ifindex = if_nametoindex(ifname);
	if (!tap->ifindex)
		return -errno;
	memcpy(tap->name, ifname, strlen(ifname));
	return 0;
}

int tap_create(const char *ifname, struct tap *tap, char *why, size_t why_len)
{
	int fd, err;

	memset(tap, 0, sizeof(*tap));
	explain(why, why_len, "%s", "");
	if (!tap_name_valid(ifname)) {
		explain(why, why_len, "\"%s\" is not a name for a network device",
			ifname);
		return -EINVAL;
	}
	fd = tun_open();
	if (fd < 0) {
		explain_open(fd, why, why_len);
		return fd;
	}
	err = set_up(fd, ifname, tap);
	if (err) {
		explain_create(ifname, err, why, why_len);
		memset(tap, 0, sizeof(*tap));
		close(fd);
		return err;
	}
	return fd;
}

bool tap_intact(int fd)
{
	const short flags = (short)(TAP_IFF_FLAGS | IFF_PERSIST);
	struct ifreq ifr = {0};

	return !ioctl(fd, TUNGETIFF, &ifr) && (ifr.ifr_flags & flags) == TAP_IFF_FLAGS;
}

/*
 * TUNSETIFF goes by name, and makes a device where there is none. So the name is
 * asked for first and the index compared afterwards; a device made by mistake goes
 * again with its descriptor.
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
