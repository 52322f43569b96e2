// SPDX-License-Identifier: MIT
/*
 * Attaches queues to a TAP, as any user may who can open NODE, a /dev/net/tun.
 *
 * steal_queue NODE DEVICE: tries until standard input ends, 300 s at most, and keeps the
 * queues. Then prints "attached N read M": N queues, M packets.
 *
 * steal_queue NODE watch [N]: the same, but attaches to each new device as soon as the
 * kernel reports it, to N at most.
 *
 * steal_queue NODE spoil [N]: the same as watch, but changes all settings of the device
 * so that nothing passes, and closes the queue at once.
 *
 * steal_queue NODE DEVICE once: tries once to attach, and to change settings. Prints
 * "attach ERRNO persist ERRNO mac ERRNO header ERRNO", 0 for success. Keeps the queue
 * until standard input ends.
 *
 * steal_queue NODE DEVICE strip: removes the device's filter and closes the queue at
 * once. Prints "attach ERRNO strip ERRNO".
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HELD	128
#define SECONDS 300

static int attach(int fd, const char *device)
{
	struct ifreq ifr = {.ifr_flags =
				    IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE};

	strncpy(ifr.ifr_name, device, IFNAMSIZ - 1);
	return ioctl(fd, TUNSETIFF, &ifr) ? errno : 0;
}

static int set_mac(int fd)
{
	struct ifreq ifr = {
		.ifr_hwaddr = {.sa_family = ARPHRD_ETHER, .sa_data = {2, 0, 0, 0, 0, 1}}};

	return ioctl(fd, SIOCSIFHWADDR, &ifr) ? errno : 0;
}

static bool told_to_end(time_t until, int ms)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&in, 1, ms) > 0 || time(NULL) >= until;
}

static int once(const char *node, const char *device)
{
	int fd = open(node, O_RDWR | O_NONBLOCK), header = 12, attached;

	if (fd < 0) {
		perror(node);
		return 1;
	}
	attached = attach(fd, device);
	printf("attach %d persist %d mac %d header %d\n", attached,
	       ioctl(fd, TUNSETPERSIST, 1UL) ? errno : 0, set_mac(fd),
	       ioctl(fd, TUNSETVNETHDRSZ, &header) ? errno : 0);
	fflush(stdout);
	told_to_end(0, SECONDS * 1000);
	return 0;
}

static int strip(const char *node, const char *device)
{
	int fd = open(node, O_RDWR | O_NONBLOCK), none = -1, attached;

	if (fd < 0) {
		perror(node);
		return 1;
	}
	attached = attach(fd, device);
	printf("attach %d strip %d\n", attached,
	       ioctl(fd, TUNSETFILTEREBPF, &none) ? errno : 0);
	close(fd);
	return 0;
}

/* --- many attempts --- */

struct loot {
	int held[HELD];
	unsigned n, attached, packets;
};

/* Returns false if the descriptor's device was deleted. */
static bool read_from(int fd, unsigned *packets)
{
	static char buffer[65536];
	ssize_t len = read(fd, buffer, sizeof(buffer));

	*packets += len > 0;
	return len >= 0 || errno == EAGAIN;
}

static void read_all(struct loot *l)
{
	for (unsigned i = 0; i < l->n; i++)
		if (!read_from(l->held[i], &l->packets)) {
			close(l->held[i]);
			l->held[i--] = l->held[--l->n];
		}
}

static int say(const struct loot *l)
{
	printf("attached %u read %u\n", l->attached, l->packets);
	return 0;
}

static int spin(const char *node, const char *device)
{
	struct loot l = {.n = 0};
	int fd = -1;
	time_t until = time(NULL) + SECONDS;

	puts("spinning");
	fflush(stdout);
	while (!told_to_end(until, 0)) {
		if (fd < 0)
			fd = open(node, O_RDWR | O_NONBLOCK);
		if (fd >= 0 && l.n < HELD && !attach(fd, device)) {
			l.attached++;
			ioctl(fd, TUNSETPERSIST, 1UL);
			l.held[l.n++] = fd;
			fd = -1;
		}
		read_all(&l);
	}
	return say(&l);
}

/* --- new devices --- */

static int open_events(void)
{
	struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		perror("netlink");
		exit(1);
	}
	return fd;
}

/* Returns the name if the message is about a link with a greater index than *newest. */
static const char *new_link(const struct nlmsghdr *nlh, int *newest)
{
	const struct ifinfomsg *ifi = NLMSG_DATA(nlh);
	int len = (int)IFLA_PAYLOAD(nlh);

	if (nlh->nlmsg_type != RTM_NEWLINK || ifi->ifi_index <= *newest)
		return NULL;
	*newest = ifi->ifi_index;
	for (const struct rtattr *a = IFLA_RTA(ifi); RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == IFLA_IFNAME)
			return RTA_DATA(a);
	return NULL;
}

/* Sets a filter that drops all, a header of another size, and no room to write. */
static void spoil(int fd)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog drop = {.len = 1, .filter = &nothing};
	int header = 12, limit = 1;

	ioctl(fd, TUNATTACHFILTER, &drop);
	ioctl(fd, TUNSETVNETHDRSZ, &header);
	ioctl(fd, TUNSETSNDBUF, &limit);
}

static void take(struct loot *l, const char *node, const char *device, bool keep)
{
	int fd = open(node, O_RDWR | O_NONBLOCK);

	if (fd < 0 || l->n == HELD || attach(fd, device)) {
		close(fd);
		return;
	}
	l->attached++;
	if (keep) {
		l->held[l->n++] = fd;
		return;
	}
	spoil(fd);
	close(fd);
}

static int watch(const char *node, unsigned most, bool keep)
{
	_Alignas(struct nlmsghdr) char buf[32768];
	int events = open_events(), newest = 0;
	struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
			       {.fd = events, .events = POLLIN}};
	struct loot l = {.n = 0};

	puts("watching");
	fflush(stdout);
	while (poll(fds, 2, keep ? 10 : -1) >= 0 && !fds[0].revents) {
		int len = (int)recv(events, buf, sizeof(buf), MSG_DONTWAIT);
		const struct nlmsghdr *nlh = (const void *)buf;

		for (; len > 0 && NLMSG_OK(nlh, len); nlh = NLMSG_NEXT(nlh, len)) {
			const char *name = new_link(nlh, &newest);

			if (name && l.attached < most)
				take(&l, node, name, keep);
		}
		read_all(&l);
	}
	return say(&l);
}

int main(int argc, char **argv)
{
	const char *how = argc > 2 ? argv[2] : "";

	if (!strcmp(how, "watch") || !strcmp(how, "spoil"))
		return watch(argv[1], argc == 4 ? (unsigned)atoi(argv[3]) : UINT_MAX,
			     !strcmp(how, "watch"));
	if (argc == 4 && !strcmp(argv[3], "once"))
		return once(argv[1], argv[2]);
	if (argc == 4 && !strcmp(argv[3], "strip"))
		return strip(argv[1], argv[2]);
	return argc == 3 ? spin(argv[1], argv[2]) : 2;
}
