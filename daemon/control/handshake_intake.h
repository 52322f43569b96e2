/* SPDX-License-Identifier: MIT */
/* Handshake messages from AF_XDP rings and the UDP sockets: a share of them at a time. By the control thread. */
#ifndef HANDSHAKE_INTAKE_H
#define HANDSHAKE_INTAKE_H

#include <stdbool.h>
#include <stdint.h>

struct tunnel;

/* Answers a share of what has come, and sends a share of the initiations that are wanted. */
void handshake_intake_serve(struct tunnel *tunnel, uint64_t now);

#endif
