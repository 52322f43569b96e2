/* SPDX-License-Identifier: MIT */
/*
 * Handshake messages from AF_XDP rings and UDP sockets, a share of them per round.
 *
 * Theory of operation: workers put what the UDP sockets receive into one queue. The control thread
 * copies messages from the AF_XDP rings to the same queue, because rings are short and their frames
 * are needed for data. It answers messages for a millisecond, then sends some initiations. If the
 * queue is long, the daemon is under load, and senders have to prove their address.
 */
#ifndef HANDSHAKE_INTAKE_H
#define HANDSHAKE_INTAKE_H

#include <stdint.h>

struct tunnel;

/* Answers a share of the messages and sends a share of the initiations that are wanted. Control
 * thread; `now` in ns. */
void handshake_intake_serve(struct tunnel *tunnel, uint64_t now);

#endif
