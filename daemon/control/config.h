/* SPDX-License-Identifier: MIT */
/*
 * What the UAPI asks of a device (struct uapi_ops; ctx is the struct tunnel).
 * Control thread.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdio.h>

#include "uapi_proto.h"

int config_get(void *ctx, FILE *out);
int config_set(void *ctx, const struct uapi_set *set);
void config_refused(void *ctx, const struct uapi_error *error);

#endif
