// SPDX-License-Identifier: MIT
/* A "set" request of the userspace API: any bytes. */
#include <errno.h>

#include "fuzz.h"
#include "uapi_proto.h"

/* What uapi_peer_end() and uapi_peer_has() say of a peer is within the request. */
static void check_peer(const struct uapi_set *set, size_t i)
{
	size_t end = uapi_peer_end(set, i);

	CHECK(end > i && end <= set->count);
	CHECK(end == set->count || set->ops[end].key == UAPI_PUBLIC_KEY);
	CHECK(uapi_peer_has(set, i, UAPI_PUBLIC_KEY));
	uapi_peer_has(set, i, UAPI_REMOVE);
}

static void check_op(const struct uapi_op *op)
{
	if (op->key == UAPI_ALLOWED_IP)
		CHECK(op->value.allowed_ip.cidr <=
		      (op->value.allowed_ip.addr.family == IP_V4 ? 32 : 128));
	CHECK(op->key < UAPI_PROTOCOL_VERSION);
}

/* Prints what was parsed, and parses that again: the same op. */
static void check_round_trip(const struct uapi_op *op)
{
	static const uint8_t key[32] = {1};
	struct uapi_set again;
	struct uapi_error err;
	char *text = NULL;
	size_t len;
	FILE *f;

	if (op->key != UAPI_ALLOWED_IP && op->key != UAPI_ENDPOINT)
		return;
	f = open_memstream(&text, &len);
	CHECK(f);
	fputs("set=1\n", f);
	uapi_put_key(f, "public_key", key);
	if (op->key == UAPI_ENDPOINT)
		uapi_put_endpoint(f, &op->value.endpoint);
	else
		uapi_put_allowed_ip(f, &op->value.allowed_ip.addr,
				    op->value.allowed_ip.cidr);
	fputc('\n', f);
	fclose(f);
	CHECK(uapi_parse_set(text, len, &again, &err) == 0);
	CHECK(again.count == 2 && again.ops[1].key == op->key);
	CHECK(op->key == UAPI_ENDPOINT
		      ? endpoint_equal(&again.ops[1].value.endpoint, &op->value.endpoint)
		      : ip_addr_equal(&again.ops[1].value.allowed_ip.addr,
				      &op->value.allowed_ip.addr));
	uapi_set_free(&again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = exact(data, len);
	struct uapi_set set;
	struct uapi_error err;
	int ret = uapi_parse_set(text, len, &set, &err);

	if (ret) {
		CHECK(ret == -EINVAL || ret == -EPROTONOSUPPORT || ret == -ENOMEM);
		CHECK(err.reason && !set.ops && !set.count);
	}
	for (size_t i = 0; i < set.count; i++) {
		check_op(&set.ops[i]);
		check_round_trip(&set.ops[i]);
		if (set.ops[i].key == UAPI_PUBLIC_KEY)
			check_peer(&set, i);
	}
	uapi_set_free(&set);
	free(text);
	return 0;
}
