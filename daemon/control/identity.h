/* SPDX-License-Identifier: MIT */
/* The tunnel's own private key. By the control thread. */
#ifndef IDENTITY_H
#define IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "wg_proto.h"

struct tunnel;

/* Configuration, by the control thread: 0 or -errno, on error nothing changed. */
int tunnel_set_private_key(struct tunnel *tunnel, const uint8_t key[WG_KEY_LEN]);

#endif
