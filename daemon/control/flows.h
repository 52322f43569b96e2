/* SPDX-License-Identifier: MIT */
/*
 * Which flows the XDP program may take: those of which the kernel has lately delivered
 * something authentic to our UDP socket. All by the control thread. Times are clock_now()'s.
 */
#ifndef FLOWS_H
#define FLOWS_H

#include <stdbool.h>
#include <stdint.h>

#include "peers.h"

struct endpoint;
struct ip_addr;
struct nic;
struct peer;
struct tunnel;

/*
 * The kernel has delivered an authentic message of the peer by the device `ifindex`. The
 * source in `from` is the address of ours that it was sent to. If the device has AF_XDP, XDP
 * may take this flow from now on, and no longer the flow that the peer had before.
 */
void flows_admit(struct peer *peer, const struct endpoint *from, uint32_t ifindex,
		 uint64_t now);
/*
 * Returns true if NAT on this host may have translated a handshake message that came to the
 * UDP socket like this: XDP is on the device, and did not take it. It is so for a flow that XDP
 * does not know, too, because NAT rules may have come meanwhile: the first data by AF_XDP show
 * that there are none. Only a flow that XDP has just come to know tells nothing: the answer is
 * what it was.
 */
bool flows_may_be_translated(const struct peer *peer, const struct endpoint *from,
			     uint32_t ifindex, uint64_t now);
/* Serves EVENT_FLOW: data came by the UDP socket. Returns the ifindex of the device that they came
 * by; 0: that was forgotten meanwhile. */
uint32_t flows_serve(struct peer *peer, uint64_t now);
/* The peer is active: probes its flow if it is time to. */
void flows_keep(struct peer *peer, uint64_t now);
/* Probes may be sent, of all peers, for some milliseconds from now on. */
void flows_new_round(struct tunnel *tunnel);
/* Serves EVENT_PROBED: the kernel has delivered the probe of the peer's flow. */
void flows_renew(struct peer *peer, uint64_t now);
/* XDP was attached to a device: admits the flows of which the kernel has just delivered data by it.
 * For other peers the next data that come by it to the UDP socket are told of at once. If there are
 * many peers, flows_serve_nics() does the rest of them in the next rounds. */
void flows_note_nic(struct tunnel *tunnel);
/* Continues what flows_note_nic() began, with a share of the peers. */
void flows_serve_nics(struct tunnel *tunnel);
/* XDP takes nothing more of the peer until something authentic comes by the UDP socket. */
void flows_forget(struct peer *peer);
/* The same, for all peers: the port has changed, or the interface is down. Those that are many
 * follow by flows_serve_flush(), in the next rounds. */
void flows_flush(struct tunnel *tunnel);
void flows_serve_flush(struct tunnel *tunnel);
/* The same, for the peers that write to this address: it is no longer ours. If these are many,
 * for all peers. */
void flows_forget_addr(struct tunnel *tunnel, const struct ip_addr *addr);
/* The NIC of which XDP takes the peer's packets now; NULL: the kernel gets them. */
const struct nic *flows_nic(const struct peer *peer, uint64_t now);

#endif
