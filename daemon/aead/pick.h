/* SPDX-License-Identifier: MIT */
/* The choice of an engine: all that were built in, and the fastest of them on this CPU. */
#ifndef AEAD_PICK_H
#define AEAD_PICK_H

#include "aead.h"

/* All engines that were built in; NULL ends the table. */
extern const struct aead_engine *const aead_engines[];

/* Returns the usable engine that is the fastest with packets of full size. Measures for some
 * milliseconds. Cannot fail. sodium_init() must have succeeded before. */
const struct aead_engine *aead_pick(void);

#endif
