// SPDX-License-Identifier: MIT
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <sodium.h>
#include <stdlib.h>

#include "endpoint.h"
#include "uapi_proto.h"

/* A part of the request, without a NUL at its end. In a line that was checked, it has no NUL. */
struct span {
	const char *s;
	size_t len;
};

/* Parses a value into op->value. Returns 0 or -errno. */
typedef int parse_value(struct span value, struct uapi_op *op);

struct key_spec {
	const char *name;
	enum uapi_key key;
	bool of_peer;
	parse_value *parse;
	const char *wanted; /* the reason for the log if parse() fails */
};

static bool span_is(struct span span, const char *text)
{
	return span.len == strlen(text) && !memcmp(span.s, text, span.len);
}

/* Copies the span to `buf` and ends it with a NUL. Returns false if it does not fit. */
static bool span_copy(struct span span, char *buf, size_t size)
{
	if (span.len >= size)
		return false;
	memcpy(buf, span.s, span.len);
	buf[span.len] = '\0';
	return true;
}

/* Splits the span at its last `c`. Returns false if there is none. */
static bool span_split(struct span span, char c, struct span *before, struct span *behind)
{
	const char *at = memrchr(span.s, c, span.len);

	if (!at)
		return false;
	*before = (struct span){span.s, (size_t)(at - span.s)};
	*behind = (struct span){at + 1, span.len - before->len - 1};
	return true;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

/* Takes nothing but digits, at least one. strtoul() would also take blanks and signs. */
static bool parse_number(struct span span, int base, uint32_t max, uint32_t *number)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < span.len; i++) {
		if (digit(span.s[i]) >= base)
			return false;
		n = n * (unsigned)base + (unsigned)digit(span.s[i]);
		if (n > max)
			return false;
	}
	*number = (uint32_t)n;
	return span.len > 0;
}

static int parse_key(struct span value, struct uapi_op *op)
{
	size_t len;

	if (value.len != 2 * sizeof(op->value.key) ||
	    sodium_hex2bin(op->value.key, sizeof(op->value.key), value.s, value.len, NULL,
			   &len, NULL) ||
	    len != sizeof(op->value.key))
		return -EINVAL;
	return 0;
}

static int parse_port(struct span value, struct uapi_op *op)
{
	uint32_t n;

	if (!parse_number(value, 10, UINT16_MAX, &n))
		return -EINVAL;
	op->value.port = (uint16_t)n;
	return 0;
}

static int parse_keepalive(struct span value, struct uapi_op *op)
{
	uint32_t n;

	if (!parse_number(value, 10, UINT16_MAX, &n))
		return -EINVAL;
	op->value.keepalive = (uint16_t)n;
	return 0;
}

static int parse_fwmark(struct span value, struct uapi_op *op)
{
	int base = 10;

	if (value.len > 2 && value.s[0] == '0' &&
	    (value.s[1] == 'x' || value.s[1] == 'X')) {
		value.s += 2;
		value.len -= 2;
		base = 16;
	}
	return parse_number(value, base, UINT32_MAX, &op->value.fwmark) ? 0 : -EINVAL;
}

static int parse_true(struct span value, struct uapi_op *op)
{
	return span_is(value, "true") ? 0 : -EINVAL;
}

static int parse_version(struct span value, struct uapi_op *op)
{
	uint32_t n;

	if (!parse_number(value, 10, UINT32_MAX, &n))
		return -EINVAL;
	return n == 1 ? 0 : -EPROTONOSUPPORT;
}

static bool parse_addr(struct span value, struct ip_addr *addr)
{
	char buf[INET6_ADDRSTRLEN];

	memset(addr, 0, sizeof(*addr));
	if (!span_copy(value, buf, sizeof(buf)))
		return false;
	addr->family = memchr(value.s, ':', value.len) ? IP_V6 : IP_V4;
	return inet_pton(addr->family == IP_V6 ? AF_INET6 : AF_INET, buf, addr->bytes) ==
	       1;
}

/* `value`: the name of an interface, or its index. */
static bool parse_scope(struct span value, uint32_t *index)
{
	char name[IF_NAMESIZE];

	if (parse_number(value, 10, INT32_MAX, index))
		return *index != 0;
	if (!span_copy(value, name, sizeof(name)))
		return false;
	*index = if_nametoindex(name);
	return *index != 0;
}

/* `host`: the text between the brackets, an IPv6 address with or without a scope. */
static bool parse_host6(struct span host, struct endpoint *ep)
{
	struct span addr, scope;

	if (!span_split(host, '%', &addr, &scope))
		return parse_addr(host, &ep->addr) && ep->addr.family == IP_V6;
	if (!parse_addr(addr, &ep->addr) || !parse_scope(scope, &ep->scope_id))
		return false;
	/* Another address needs no scope, and equal endpoints must compare as equal. */
	if (!ip_addr_link_local(&ep->addr))
		ep->scope_id = 0;
	return ep->addr.family == IP_V6;
}

static int parse_endpoint(struct span value, struct uapi_op *op)
{
	struct endpoint *ep = &op->value.endpoint;
	struct span host, port;
	uint32_t n;

	if (!span_split(value, ':', &host, &port) ||
	    !parse_number(port, 10, UINT16_MAX, &n) || !n)
		return -EINVAL;
	ep->port = (uint16_t)n;
	if (host.len >= 2 && host.s[0] == '[' && host.s[host.len - 1] == ']') {
		host.s++;
		host.len -= 2;
		return parse_host6(host, ep) ? 0 : -EINVAL;
	}
	return parse_addr(host, &ep->addr) && ep->addr.family == IP_V4 ? 0 : -EINVAL;
}

static int parse_allowed_ip(struct span value, struct uapi_op *op)
{
	struct span addr = value, length = {NULL, 0};
	uint32_t cidr = 0;
	bool bare;

	op->value.allowed_ip.remove = addr.s[0] == '-';
	if (op->value.allowed_ip.remove) {
		addr.s++;
		addr.len--;
	}
	bare = !span_split(addr, '/', &addr, &length);
	if (!parse_addr(addr, &op->value.allowed_ip.addr))
		return -EINVAL;
	if (bare)
		cidr = ip_addr_len(&op->value.allowed_ip.addr) * 8;
	else if (!parse_number(length, 10, 128, &cidr))
		return -EINVAL;
	op->value.allowed_ip.cidr = (uint8_t)cidr;
	return ip_addr_mask(&op->value.allowed_ip.addr, cidr) ? 0 : -EINVAL;
}

#define WANT_KEY    "not 64 hexadecimal digits"
#define WANT_NUMBER "not a number from 0 to 65535"
#define WANT_TRUE   "the only value is \"true\""

/* Length of the shortest valid line, "fwmark=0\n", with its newline. */
#define SHORTEST_LINE 9

static const struct key_spec key_specs[] = {
	{"private_key", UAPI_PRIVATE_KEY, false, parse_key, WANT_KEY},
	{"listen_port", UAPI_LISTEN_PORT, false, parse_port, WANT_NUMBER},
	{"fwmark", UAPI_FWMARK, false, parse_fwmark, "not a number of 32 bits"},
	{"replace_peers", UAPI_REPLACE_PEERS, false, parse_true, WANT_TRUE},
	{"public_key", UAPI_PUBLIC_KEY, true, parse_key, WANT_KEY},
	{"remove", UAPI_REMOVE, true, parse_true, WANT_TRUE},
	{"update_only", UAPI_UPDATE_ONLY, true, parse_true, WANT_TRUE},
	{"preshared_key", UAPI_PRESHARED_KEY, true, parse_key, WANT_KEY},
	{"endpoint", UAPI_ENDPOINT, true, parse_endpoint,
	 "not an address and a port, or no such scope"},
	{"persistent_keepalive_interval", UAPI_PERSISTENT_KEEPALIVE_INTERVAL, true,
	 parse_keepalive, WANT_NUMBER},
	{"replace_allowed_ips", UAPI_REPLACE_ALLOWED_IPS, true, parse_true, WANT_TRUE},
	{"allowed_ip", UAPI_ALLOWED_IP, true, parse_allowed_ip,
	 "not an address and a length"},
	{"protocol_version", UAPI_PROTOCOL_VERSION, true, parse_version,
	 "the only protocol version is 1"},
};

static const struct key_spec *key_spec(struct span name)
{
	size_t i;

	for (i = 0; i < sizeof(key_specs) / sizeof(key_specs[0]); i++)
		if (span_is(name, key_specs[i].name))
			return &key_specs[i];
	return NULL;
}

static int refuse(const char **reason, const char *text)
{
	*reason = text;
	return -EINVAL;
}

/* Parses one line into one op. `in_peer`: a public_key came before it. */
static int parse_line(struct span line, bool in_peer, struct uapi_op *op,
		      const char **reason)
{
	const struct key_spec *spec;
	struct span name, value;
	const char *eq;

	if (line.len > UAPI_LINE_MAX)
		return refuse(reason, "line too long");
	if (memchr(line.s, '\0', line.len))
		return refuse(reason, "NUL in a line");
	eq = memchr(line.s, '=', line.len);
	if (!eq)
		return refuse(reason, "no \"=\" in a line");
	name = (struct span){line.s, (size_t)(eq - line.s)};
	value = (struct span){eq + 1, line.len - name.len - 1};
	spec = key_spec(name);
	if (!spec)
		return refuse(reason, "unknown key");
	if (!value.len)
		return refuse(reason, "empty value");
	if (spec->of_peer && spec->key != UAPI_PUBLIC_KEY && !in_peer)
		return refuse(reason, "key of a peer before any public_key");
	if (!spec->of_peer && in_peer)
		return refuse(reason, "key of the interface after a public_key");
	memset(op, 0, sizeof(*op));
	op->key = spec->key;
	*reason = spec->wanted;
	return spec->parse(value, op);
}

/* Takes the next line off `rest`. Returns false if there is no complete one. */
static bool next_line(struct span *rest, struct span *line)
{
	const char *end = memchr(rest->s, '\n', rest->len);

	if (!end)
		return false;
	*line = (struct span){rest->s, (size_t)(end - rest->s)};
	rest->s += line->len + 1;
	rest->len -= line->len + 1;
	return true;
}

/* Parses the next line into the set. Returns 0 after the blank line, 1 if there are more lines, or
 * -errno. */
static int parse_next(struct uapi_parser *p)
{
	struct span rest = {p->text, p->len}, line;
	struct uapi_set *set = p->set;
	struct uapi_op *op;
	int err;

	p->error.line++;
	if (!next_line(&rest, &line))
		return refuse(&p->error.reason, "no blank line at the end");
	p->text = rest.s;
	p->len = rest.len;
	if (!line.len && rest.len)
		return refuse(&p->error.reason, "text after the blank line");
	if (!line.len)
		return 0;
	op = &set->ops[set->count];
	/* Counted before it is parsed, so that a half-parsed key is wiped, too. */
	set->count++;
	err = parse_line(line, p->in_peer, op, &p->error.reason);
	if (err)
		return err;
	if (op->key == UAPI_PROTOCOL_VERSION)
		set->count--;
	p->in_peer |= op->key == UAPI_PUBLIC_KEY;
	return 1;
}

int uapi_parse_begin(struct uapi_parser *p, const char *text, size_t len,
		     struct uapi_set *out)
{
	struct span rest = {text, len}, line;

	*out = (struct uapi_set){0};
	*p = (struct uapi_parser){.set = out, .error = {0, "request too long"}};
	if (len > UAPI_REQUEST_MAX)
		return -EINVAL;
	p->error.line = 1;
	if (!next_line(&rest, &line) || !span_is(line, "set=1"))
		return refuse(&p->error.reason, "not a request to set");
	/*
	 * Allocated at once, because growing it would leave copies of keys in freed memory. There
	 * is room for as many valid lines as the text can hold, and for one that is invalid.
	 */
	out->ops = malloc((rest.len / SHORTEST_LINE + 1) * sizeof(*out->ops));
	if (!out->ops) {
		p->error = (struct uapi_error){0, "out of memory"};
		return -ENOMEM;
	}
	p->text = rest.s;
	p->len = rest.len;
	return 0;
}

int uapi_parse_some(struct uapi_parser *p, size_t lines)
{
	int ret = 1;

	while (ret == 1 && lines--)
		ret = parse_next(p);
	if (ret < 0)
		uapi_set_free(p->set);
	return ret;
}

int uapi_parse_set(const char *text, size_t len, struct uapi_set *out,
		   struct uapi_error *err)
{
	struct uapi_parser p;
	int ret = uapi_parse_begin(&p, text, len, out);

	if (!ret)
		ret = uapi_parse_some(&p, SIZE_MAX);
	*err = ret ? p.error : (struct uapi_error){0, NULL};
	return ret;
}

void uapi_set_free(struct uapi_set *set)
{
	if (set->ops)
		sodium_memzero(set->ops, set->count * sizeof(*set->ops));
	free(set->ops);
	*set = (struct uapi_set){0};
}

size_t uapi_peer_end(const struct uapi_set *set, size_t i)
{
	for (i++; i < set->count && set->ops[i].key != UAPI_PUBLIC_KEY; i++)
		;
	return i;
}

bool uapi_peer_has(const struct uapi_set *set, size_t i, enum uapi_key key)
{
	for (i++; i < set->count && set->ops[i].key != UAPI_PUBLIC_KEY; i++)
		if (set->ops[i].key == key)
			return true;
	return false;
}

void uapi_put_key(FILE *f, const char *name, const uint8_t key[32])
{
	char hex[65];

	sodium_bin2hex(hex, sizeof(hex), key, 32);
	fprintf(f, "%s=", name);
	/* fputs() would search the text, which may be a secret, for its end. */
	fwrite(hex, 1, sizeof(hex) - 1, f);
	fputc('\n', f);
	sodium_memzero(hex, sizeof(hex));
}

void uapi_put_number(FILE *f, const char *name, uint64_t number)
{
	fprintf(f, "%s=%" PRIu64 "\n", name, number);
}

static const char *addr_text(const struct ip_addr *addr, char buf[INET6_ADDRSTRLEN])
{
	return inet_ntop(addr->family == IP_V6 ? AF_INET6 : AF_INET, addr->bytes, buf,
			 INET6_ADDRSTRLEN);
}

const char *uapi_endpoint_text(const struct endpoint *ep, char out[UAPI_ENDPOINT_TEXT])
{
	char addr[INET6_ADDRSTRLEN];

	addr_text(&ep->addr, addr);
	if (ep->addr.family != IP_V6)
		snprintf(out, UAPI_ENDPOINT_TEXT, "%s:%u", addr, ep->port);
	else if (ep->scope_id)
		snprintf(out, UAPI_ENDPOINT_TEXT, "[%s%%%" PRIu32 "]:%u", addr,
			 ep->scope_id, ep->port);
	else
		snprintf(out, UAPI_ENDPOINT_TEXT, "[%s]:%u", addr, ep->port);
	return out;
}

void uapi_put_endpoint(FILE *f, const struct endpoint *endpoint)
{
	char text[UAPI_ENDPOINT_TEXT];

	fprintf(f, "endpoint=%s\n", uapi_endpoint_text(endpoint, text));
}

void uapi_put_allowed_ip(FILE *f, const struct ip_addr *addr, uint8_t cidr)
{
	char buf[INET6_ADDRSTRLEN];

	fprintf(f, "allowed_ip=%s/%u\n", addr_text(addr, buf), cidr);
}
