// SPDX-License-Identifier: MIT
/* hold_queue DEVICE: holds an AF_XDP socket on the device's first queue, like a program
 * that the kernel has not cleaned up, until 150 ms after another process attaches an XDP
 * program there, for a minute at most. Prints "held" when it has the socket. */
#include <bpf/libbpf.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xdp/xsk.h>

#define FRAMES 64

static int wait_for_program(const char *device)
{
	int ifindex = (int)if_nametoindex(device);
	uint32_t id = 0;

	for (unsigned ms = 0; ms < 60000 && !id; ms++) {
		usleep(1000);
		if (bpf_xdp_query_id(ifindex, 0, &id))
			return 1;
	}
	usleep(150000);
	return id ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct xsk_socket_config config = {
		.rx_size = FRAMES, .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD};
	static const struct xsk_umem_config umem_config = {
		.fill_size = FRAMES, .comp_size = FRAMES, .frame_size = 4096};
	static struct xsk_ring_prod fill;
	static struct xsk_ring_cons completion, rx;
	void *area = aligned_alloc(4096, FRAMES * 4096);
	struct xsk_umem *umem;
	struct xsk_socket *xsk;
	int err;

	if (argc != 2 || !area)
		return 2;
	err = xsk_umem__create(&umem, area, FRAMES * 4096, &fill, &completion,
			       &umem_config);
	if (!err)
		err = xsk_socket__create(&xsk, argv[1], 0, umem, &rx, NULL, &config);
	if (err) {
		fprintf(stderr, "hold_queue: %s: %s\n", argv[1], strerror(-err));
		return 1;
	}
	puts("held");
	fflush(stdout);
	return wait_for_program(argv[1]);
}
