/* SPDX-License-Identifier: MIT */
/*
 * The ways to peers: which, when to look for them anew. All by the control thread.
 */
#ifndef PATHS_H
#define PATHS_H

#include <stdbool.h>
#include <stdint.h>

struct endpoint;
struct handshake_message;
struct nic;
struct peer;
struct tunnel;

/* Moves the peer to this endpoint and resolves the way there. */
void paths_set_endpoint(struct peer *peer, const struct endpoint *ep);
/* The same, by who administers the interface: XDP may be attached to whatever leads there. */
void paths_configure_endpoint(struct peer *peer, const struct endpoint *ep);
/*
 * Whether answers must go by the UDP socket: NAT on this host may have translated what the
 * peer sends (a port that is redirected to ours, say), and must see the answers to translate
 * them back. Whatever comes by AF_XDP shows that it has not.
 */
void paths_set_socket_only(struct peer *peer, bool yes);
/* Builds the path anew: something that it was made of has changed. */
void paths_resolve(struct peer *peer);
/* Resolves peers' paths again, if that is due: a share of them. */
void paths_serve(struct tunnel *tunnel, uint64_t now);
/* Has that done soon: what paths are made of has changed. */
void paths_changed(struct tunnel *tunnel);
/* Has that done by then, ns. */
void paths_due(struct tunnel *tunnel, uint64_t when);
/* Where the message came from is where the peer is. */
void paths_note_way(struct peer *peer, const struct handshake_message *m);
/* Data of the peer came to the UDP socket by this device. If the peer's path leads there and
 * has no AF_XDP yet, this attaches XDP if it may: once per device, because it is costly. */
void paths_note_arrival(struct peer *peer, uint32_t ifindex);
/* A worker saw the peer move: resolves the path there. */
void paths_roam(struct peer *peer);
/* The peer is silent: forgets the address that we write from. */
void paths_forget_source(struct peer *peer);
/* Keeps the next hop's neighbour entry alive while the peer is in use. */
void paths_keep_neighbour(struct peer *peer, uint64_t now);
/* No path goes by this NIC any more. */
void paths_drop_nic(struct tunnel *tunnel, const struct nic *nic);

#endif
