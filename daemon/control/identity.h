/* SPDX-License-Identifier: MIT */
/* The tunnel's own private key, and what is derived from it: peers' shared secrets, and the key by
 * which workers and the XDP program check mac1. */
#ifndef IDENTITY_H
#define IDENTITY_H

#include <stdint.h>

#include "wg_proto.h"

struct tunnel;

/* Control thread, all. */

/* Reserves what one call of tunnel_set_private_key() allocates. 0 or -ENOMEM. */
int tunnel_reserve_key(struct tunnel *tunnel);
/* Frees what is reserved. */
void tunnel_release_keys(struct tunnel *tunnel);

/* Configuration. Ends all sessions, and removes a peer whose public key is ours. Returns 0; 1 if
 * there are peers left that tunnel_rekey_peers() is to see to; or -ENOMEM if nothing was reserved,
 * and then nothing has changed. */
int tunnel_set_private_key(struct tunnel *tunnel, const uint8_t key[WG_KEY_LEN]);
/* Ends the sessions of so many peers more. Returns 1 if there may still be others, else 0. */
int tunnel_rekey_peers(struct tunnel *tunnel, unsigned max);

#endif
