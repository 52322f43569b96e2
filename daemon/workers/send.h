/* SPDX-License-Identifier: MIT */
/*
 * From wg0 to the wire. The functions are for the worker's own thread. What they encrypt, it
 * transmits, or a helper does in its place (batch.h), one thread at a time. Each call ends with
 * nothing of a carrier or a keypair held, by either.
 */
#ifndef SEND_H
#define SEND_H

struct peer;
struct worker;

/* Sets up w->tx. 0 or -ENOMEM. The control thread, before the worker runs. */
int send_init(struct worker *w);
/* Frees and wipes w->tx, also if zeroed. The control thread, after the worker has ended. */
void send_destroy(struct worker *w);
/* Reads packets from wg0 until it is empty or a round's share is taken, and sends them. */
void send_from_wg0(struct worker *w);
/* Sends the peer's staged packets; those that cannot be sent yet are staged again. */
void send_staged(struct worker *w, struct peer *peer);
/* Sends a keepalive, or asks for a handshake if there is no session for it. */
void send_keepalive(struct worker *w, struct peer *peer);

#endif
