/* SPDX-License-Identifier: MIT */
/*
 * The engines, each in a file of that name.
 *
 * To add an engine: daemon/aead/NAME.c, a line here and one in the table of pick.c. The unit test
 * tests each usable engine of that table.
 */
#ifndef AEAD_ENGINES_H
#define AEAD_ENGINES_H

#include "aead.h"

extern const struct aead_engine aead_sodium; /* always built in */
/* Built in if the build found the library. */
extern const struct aead_engine aead_ipsec_mb; /* x86 only */
extern const struct aead_engine aead_boringssl;
/* What aead_ipsec_mb uses on a CPU without AVX-512. Not in the table: for tests and benchmarks. */
extern const struct aead_engine aead_ipsec_mb_avx2;

#endif
