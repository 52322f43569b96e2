/* SPDX-License-Identifier: MIT */
/*
 * The control thread's part of the defence against floods of handshake messages. The BPF programs
 * do the rest (bpf/flood.h has the theory of operation): they read what these functions write to
 * maps.
 *
 * Control thread only. Times are those of clock_now(). Nothing fails: if the kernel has no memory
 * for a source, it is treated like any other.
 */
#ifndef FLOOD_H
#define FLOOD_H

#include <stdbool.h>
#include <stdint.h>

struct ip_addr;
struct tunnel;

/* Returns true if the daemon is under load (whitepaper section 5.3): `backlog`, the number of
 * handshake messages that wait, is too large, or was so within WG_LOAD_LASTS_NS. Tells the
 * programs. */
bool flood_note_backlog(struct tunnel *tunnel, unsigned backlog, uint64_t now);
/* Notes that an initiation from this source was worthless. Many of them make it a suspect. */
void flood_note_worthless(struct tunnel *tunnel, const struct ip_addr *source,
			  uint64_t now);
/* Returns true if the source has sent so many of them lately that its next initiation must have a
 * cookie. */
bool flood_is_suspicious(struct tunnel *tunnel, const struct ip_addr *source,
			 uint64_t now);
/* Gives the programs the secret that cookies are made of, if it has changed. */
void flood_publish_secret(struct tunnel *tunnel);

#endif
