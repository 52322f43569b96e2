/* SPDX-License-Identifier: MIT */
/*
 * Paths to peers: which path a peer has, and when it is looked up again.
 *
 * Theory of operation: to resolve a path is to ask the kernel for the route to the peer's
 * endpoint and to make headers and a choice of NIC from it. That takes a netlink exchange, so it
 * is never done where a packet, a handshake or a request waits for it. Instead paths_want() puts
 * the peer in a queue, in which it is at most once, and paths_serve(), a step of the control loop,
 * resolves a share of the queue per round. An event of the kernel makes it resolve also the peers
 * that the event concerns (stale_paths.h), a share per round. If something changed that any path
 * may depend on (paths_changed()), it walks all peers, a share per round.
 *
 * A peer whose endpoint changes can be sent to at once: until paths_serve() has its turn it has
 * a makeshift path, which goes by the UDP socket and lets the kernel route each packet. If that
 * route leads into the tunnel itself, the packets of that moment enter it once more; then
 * paths_serve() finds the loop, and the peer has no path.
 *
 * Who publishes a path: these functions, and a worker that sees a peer move (a makeshift path).
 * All functions are for the control thread.
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

/* --- one peer --- */

/* Moves the peer to this endpoint: a makeshift path now, the resolved one by paths_serve(). */
void paths_set_endpoint(struct peer *peer, const struct endpoint *ep);
/* The same for an endpoint that the administrator set: XDP may be attached to the device that the
 * route leads to. */
void paths_configure_endpoint(struct peer *peer, const struct endpoint *ep);
/* A handshake message of the peer is authentic: the peer is where it came from. */
void paths_note_way(struct peer *peer, const struct handshake_message *m);
/* A worker saw the peer move to peer->roamed, and published a makeshift path. */
void paths_roam(struct peer *peer);
/* Authentic data of the peer came to the UDP socket by this device: if the peer's path leads there
 * without AF_XDP, XDP may be attached to it. 0: not by a device. */
void paths_note_arrival(struct peer *peer, uint32_t ifindex);
/*
 * Sets whether answers must go by the UDP socket. NAT on this host may have translated what the
 * peer sends (for example a port that is redirected to ours), and must see the answers to
 * translate them back. Anything that comes by AF_XDP shows that it has not.
 */
void paths_set_socket_only(struct peer *peer, bool yes);
/* The peer is silent, perhaps because of the address that we write from: forgets that. */
void paths_forget_source(struct peer *peer);
/* Keeps the next hop's neighbour entry alive while the peer is in use. */
void paths_keep_neighbour(struct peer *peer, uint64_t now);
/* Queues the peer: its path is to be resolved again. */
void paths_want(struct peer *peer);
/* The same if the path has not been looked up for ten minutes: a path MTU that was learnt comes
 * and expires without an event. */
void paths_refresh(struct peer *peer, uint64_t now);

/* --- many --- */

/* What paths are made of has changed: resolves all of them soon. */
void paths_changed(struct tunnel *tunnel);
/* Resolves all of them at that time, ns, or earlier. */
void paths_due(struct tunnel *tunnel, uint64_t when);
/* Marks the NIC as gone: what is sent after the next grace period does not leave by it. Replaces a
 * share of the paths that name it; paths_serve() replaces the others, and then frees the NIC if
 * nics_detach() has closed it. */
void paths_drop_nic(struct tunnel *tunnel, struct nic *nic);
/* Resolves a share of the paths that are queued, of those that events concern, and of all of them
 * if they are due. */
void paths_serve(struct tunnel *tunnel, uint64_t now);
/* Returns true if no event is left whose paths have not been resolved again. */
bool paths_settled(struct tunnel *tunnel);
/* When paths_serve() has something to do, ns; 0: now, UINT64_MAX: nothing. */
uint64_t paths_deadline(struct tunnel *tunnel);

#endif
