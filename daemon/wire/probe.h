/* SPDX-License-Identifier: MIT */
/*
 * Probes: what we give the kernel as if a peer had sent it, to see whether the kernel delivers
 * what that peer sends (control/flows.c). A probe looks like a keepalive, with a counter that no
 * session reaches (whitepaper section 6.2), and has a random tag by which it is known.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "path.h"
#include "wg_proto.h"

struct endpoint;
struct nic;

/* One that arrives later counts for nothing: somebody may have kept it. */
#define PROBE_LIFE_NS NS_PER_SEC

#define PROBE_MESSAGE_LEN WG_DATA_OVERHEAD
#define PROBE_FRAME_MAX	  (PATH_HEADER_MAX + PROBE_MESSAGE_LEN)

/*
 * Writes the Ethernet frame of a probe that comes from this endpoint, to the address of ours
 * that is its source and the port `listen_port` (host order), by the NIC, from the link-layer
 * address `mac`. `receiver` is the index of a session of the peer, as on the wire. Returns the
 * frame's length in bytes.
 */
uint32_t probe_write(uint8_t frame[PROBE_FRAME_MAX], const struct endpoint *from,
		     struct nic *nic, const uint8_t mac[6], uint16_t listen_port,
		     uint32_t receiver, const uint8_t tag[WG_TAG_LEN]);

/* Returns true if a data message of this length looks like a probe. */
bool probe_is(const uint8_t *message, uint32_t len);
/* The tag of such a message. */
static inline const uint8_t *probe_tag(const uint8_t *message)
{
	return message + sizeof(struct wg_data);
}

#endif
