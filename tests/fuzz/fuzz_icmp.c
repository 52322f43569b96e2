// SPDX-License-Identifier: MIT
/* A packet for which there is no peer is answered with an ICMP error, or not: any bytes. */
#include "fuzz.h"
#include "icmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *packet = exact(data, len);
	struct icmp_error e, again;

	if (icmp_unreachable(&e, packet, len)) {
		CHECK(e.len > ICMP_HEADER_LEN && e.len <= sizeof(e.message));
		CHECK(e.to.family == e.about.family);
		CHECK(e.to.family == packet[0] >> 4);
		/* What it quotes is the packet's own beginning. */
		CHECK(e.len - ICMP_HEADER_LEN <= len);
		CHECK(!memcmp(e.message + ICMP_HEADER_LEN, packet,
			      e.len - ICMP_HEADER_LEN));
		/* It keeps no state. */
		CHECK(icmp_unreachable(&again, packet, len));
		CHECK(again.len == e.len && !memcmp(again.message, e.message, e.len));
	}
	free(packet);
	return 0;
}
