/* SPDX-License-Identifier: MIT */
/*
 * The answer to "status=1" on the UAPI socket: what `wgxdp status` (uapi/status_client.h) asks
 * for and prints. Control thread.
 */
#ifndef STATUS_H
#define STATUS_H

#include <stdio.h>

/*
 * Writes a snapshot of the tunnel and of each of its peers (snapshot.h) to `out`: one JSON
 * object, on one line, with the array "peers" as its last member; in parts, as the status of struct
 * uapi_ops (uapi.h). Apart from the text in `out`, memory does not grow with the number of peers.
 * `ctx` is a struct tunnel. Returns 1 if there are more parts, 0, or -ENOMEM with the object cut
 * short.
 */
int status_write(void *ctx, void **state, FILE *out);

#endif
