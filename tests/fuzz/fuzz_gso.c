// SPDX-License-Identifier: MIT
/* What wg0 hands over, a virtio-net header and a packet, is split into segments: any bytes. */
#include "fuzz.h"
#include "gso.h"

#define LINK_LEN 14
#define MOST	 65536

/* The segments together have the packet's payload, and headers for each. */
static void check_segments(struct gso *gso, unsigned n, size_t len)
{
	size_t total = 0, got;

	for (unsigned i = 0; i < n; i++) {
		size_t want = gso_segment_len(gso, i);
		uint8_t *segment = malloc(want);

		CHECK(want && want <= len && segment);
		got = gso_next(gso, segment);
		CHECK(got == want);
		total += got - (n > 1 ? gso->header_len : 0);
		free(segment);
	}
	CHECK(!gso_segment_len(gso, n));
	CHECK(total <= len);
	CHECK(n == 1 || total == gso->payload_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	struct virtio_net_hdr vh;
	uint8_t *packet;
	struct gso gso;
	int n;

	take(&in, &vh, sizeof(vh));
	if (in.left > MOST)
		return 0;
	packet = exact(in.at, in.left);
	n = gso_begin(&gso, &vh, packet, in.left, LINK_LEN);
	CHECK(n != 0);
	if (n > 0)
		check_segments(&gso, n, in.left);
	free(packet);
	return 0;
}
