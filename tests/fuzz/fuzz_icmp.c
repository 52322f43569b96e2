// SPDX-License-Identifier: MIT
/* A packet for which there is no peer is answered with an ICMP error, or not: any bytes. */
#include "fuzz.h"
#include "icmp.h"

/* Another sender changes addresses, ports and checksums, and the first one restores them. */
static void check_sender(struct icmp_error *e, size_t len)
{
	struct ip_addr other = {.family = e->to.family, .bytes = {10, 9, 8, 7}},
		       was = e->to;
	size_t l4 = icmp_quoted_l4(e, 8);
	struct icmp_error again = *e;
	uint16_t port = 0;

	CHECK(!l4 || l4 + 8 <= e->len);
	if (l4)
		memcpy(&port, e->message + l4, sizeof(port));
	icmp_set_sender(&again, &other, l4, port);
	CHECK(again.len == e->len && again.len - ICMP_HEADER_LEN <= len);
	CHECK(!memcmp(&again.to, &other, sizeof(other)));
	icmp_set_sender(e, &was, l4, port);
	icmp_set_sender(&again, &was, l4, port);
	CHECK(!memcmp(again.message, e->message, e->len));
}

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
		check_sender(&e, len);
	}
	free(packet);
	return 0;
}
