/* SPDX-License-Identifier: MIT */
/* Answers to UAPI requests (struct uapi_ops): `ctx` is the struct tunnel. Control thread. */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdio.h>

#include "uapi_proto.h"

/* Prints the configuration and counters as the UAPI defines, in parts. */
int config_get(void *ctx, void **state, FILE *out);
/* Ends an answer of config_get() or status_write() before its last part. */
void config_end_answer(void *ctx, void *state);
/* Carries out a share of a request that is well-formed. Returns 1 if there is more to do; 0; or
 * -errno, and then nothing has changed: -ENOMEM, -ENOSPC, or -EADDRINUSE and others of the sockets. */
int config_set(void *ctx, struct uapi_set *set);
/* Logs a request that was not well-formed. */
void config_refused(void *ctx, const struct uapi_error *error);

#endif
