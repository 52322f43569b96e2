/* SPDX-License-Identifier: MIT */
/* From wg0 to the wire. The worker's own thread. */
#ifndef SEND_H
#define SEND_H

struct peer;
struct worker;

void send_init(struct worker *w);
/* Reads from wg0 until it is empty or a round's share is taken; sends. */
void send_from_wg0(struct worker *w);
/* Sends what waits for a session of this peer; what cannot be sent yet waits again. */
void send_staged(struct worker *w, struct peer *peer);
/* Sends a keepalive, or asks for a handshake if there is no session for it. */
void send_keepalive(struct worker *w, struct peer *peer);

#endif
