/* SPDX-License-Identifier: MIT */
/*
 * Friends: the sources of the peers' endpoints, in the BPF map `friends`. Their initiations are
 * answered, at least by a cookie, even if others flood the port (bpf/flood.h).
 *
 * Theory of operation: a source is an IPv4 address or the /64 of an IPv6 address. Each peer counts
 * for one source, that of its latest endpoint, so the peers bound the map. peers->by_source groups
 * the peers by source, because several may share one: the first peer of a group adds the entry, and
 * the last one removes it.
 *
 * Control thread only. Nothing fails: without memory a source is treated like any other, until the
 * peer's next handshake.
 */
#ifndef FRIENDS_H
#define FRIENDS_H

struct ip_addr;
struct peer;

/* The peer's endpoint has this address now: its source is a friend, and the one before is not any
 * more if it has no other peer. */
void friends_move(struct peer *peer, const struct ip_addr *addr);
/* The peer is being removed. */
void friends_leave(struct peer *peer);

#endif
