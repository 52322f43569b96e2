/* SPDX-License-Identifier: MIT */
/*
 * The control thread's part in the defence against floods of handshake messages; the BPF programs
 * do the rest (bpf/flood.h). All by the control thread. Times are clock_now()'s.
 */
#ifndef FLOOD_H
#define FLOOD_H

#include <stdbool.h>
#include <stdint.h>

struct ip_addr;
struct tunnel;

/* So many messages wait. Returns true if we cannot keep up (whitepaper section 5.3), or could not a
 * moment ago; the programs know it then, too. */
bool flood_note_backlog(struct tunnel *tunnel, unsigned backlog, uint64_t now);
/* An initiation from this source was worth nothing. Its source is a suspect if that is often so. */
void flood_note_worthless(struct tunnel *tunnel, const struct ip_addr *source,
			  uint64_t now);
/* A peer is, or should be, at this source: its next initiation is answered, by a cookie at least,
 * whatever others send. */
void flood_note_friend(struct tunnel *tunnel, const struct ip_addr *source, uint64_t now);
/* Gives the programs the secret of the cookies, if it has changed. */
void flood_publish_secret(struct tunnel *tunnel);

#endif
