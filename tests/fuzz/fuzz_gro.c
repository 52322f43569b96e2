// SPDX-License-Identifier: MIT
/*
 * Decrypted packets are coalesced, and segmentation of what is written to wg0 gives them back: each
 * one, byte by byte, those of one flow in their order. The input says what packets: TCP and UDP as
 * tests/unit/packet.h builds them, then bytes of them changed.
 */
#include "stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t memory[MOST][ROOM]; /* what coalescing may write to */
	static struct stream s;
	static struct gro gro;
	struct input in = {data, len};
	struct spec spec = {.flags = 0x10};

	memset(&s, 0, sizeof(s));
	gro_init(&gro, emitted, &s);
	gro.udp_gso = take8(&in) & 1;
	while (s.count < MOST && in.left) {
		struct given *g = &s.given[s.count];
		uint8_t how = take8(&in);

		g->peer = how % 8 == 0;
		g->len = next_packet(&in, &spec, g->bytes);
		if (inner_packet_len(g->bytes, g->len) != (int)g->len)
			continue;
		memcpy(memory[s.count++], g->bytes, g->len);
		gro_receive(&gro, g->peer, memory[s.count - 1], g->len,
			    (uint32_t)g->len + 32);
		if (how / 8 == 1)
			gro_flush(&gro);
	}
	gro_flush(&gro);
	check_all_seen(&s);
	return 0;
}
