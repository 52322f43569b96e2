// SPDX-License-Identifier: MIT
#include "ecn.h"

#include "checksum.h"

/* Updates the header checksum by the difference (RFC 1624), so that a wrong one stays wrong. */
static void set_ecn_v4(uint8_t *packet, uint8_t ecn)
{
	uint64_t sum = csum_sub16((uint16_t)~load16(packet + IPV4_CHECK), load16(packet));

	packet[IPV4_TOS] = (uint8_t)((packet[IPV4_TOS] & ~ECN_MASK) | ecn);
	store16(packet + IPV4_CHECK, csum_finish(sum + load16(packet)));
}

static void set_ecn(uint8_t *packet, uint8_t ecn)
{
	if (ip_version(packet) == 4)
		set_ecn_v4(packet, ecn);
	else
		packet[1] = (uint8_t)((packet[1] & ~(ECN_MASK << 4)) | ecn << 4);
}

/* RFC 6040 section 4.2. A sender that does not use ECN (not-ECT) learns of congestion only by
 * loss, so its packet is dropped if the network marked the outer one. */
bool outer_ecn_to_inner(uint8_t outer, uint8_t *packet)
{
	uint8_t inner;

	if (outer != ECN_CE && outer != ECN_ECT1)
		return true;
	inner = ip_ecn(packet);
	if (inner == ECN_NOT_ECT)
		return outer != ECN_CE;
	if (outer == ECN_CE || inner == ECN_ECT0)
		set_ecn(packet, outer);
	return true;
}
