// SPDX-License-Identifier: MIT
/*
 * steal_queue NODE DEVICE: attaches queues to a TAP, as any user may who can open NODE, a
 * /dev/net/tun. Goes on until standard input ends, or 300 s; keeps what it got. Then says
 * "attached N read M": how often it got in, and how many packets it read.
 *
 * steal_queue NODE DEVICE once: one attempt, and what else belongs to the device: says
 * "attach ERRNO persist ERRNO mac ERRNO header ERRNO", 0 for what succeeded; keeps what it
 * got likewise.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
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

/* Whether the descriptor is still of use: its device may have been deleted. */
static bool read_from(int fd, unsigned *packets)
{
	static char buffer[65536];
	ssize_t len = read(fd, buffer, sizeof(buffer));

	*packets += len > 0;
	return len >= 0 || errno == EAGAIN;
}

static int spin(const char *node, const char *device)
{
	int held[HELD], fd = -1;
	unsigned n = 0, attached = 0, packets = 0;
	time_t until = time(NULL) + SECONDS;

	puts("spinning");
	fflush(stdout);
	while (!told_to_end(until, 0)) {
		if (fd < 0)
			fd = open(node, O_RDWR | O_NONBLOCK);
		if (fd >= 0 && n < HELD && !attach(fd, device)) {
			attached++;
			ioctl(fd, TUNSETPERSIST, 1UL);
			held[n++] = fd;
			fd = -1;
		}
		for (unsigned i = 0; i < n; i++)
			if (!read_from(held[i], &packets)) {
				close(held[i]);
				held[i--] = held[--n];
			}
	}
	printf("attached %u read %u\n", attached, packets);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[3], "once"))
		return once(argv[1], argv[2]);
	return argc == 3 ? spin(argv[1], argv[2]) : 2;
}
