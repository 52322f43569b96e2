/* SPDX-License-Identifier: MIT */
/* The tunnel's own private key, and what is derived from it: peers' shared secrets, and the key by
 * which workers and the XDP program check mac1. */
#ifndef IDENTITY_H
#define IDENTITY_H

#include <stdint.h>

#include "wg_proto.h"

struct tunnel;

/* Configuration. Ends all sessions, and removes a peer whose public key is ours. 0 or -errno; on
 * error nothing has changed. Control thread. */
int tunnel_set_private_key(struct tunnel *tunnel, const uint8_t key[WG_KEY_LEN]);

#endif
