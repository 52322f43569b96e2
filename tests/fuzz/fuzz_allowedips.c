// SPDX-License-Identifier: MIT
/* Allowed IPs against a list that is searched from end to end (whitepaper section 2). */
#include <errno.h>

#include "allowedips.h"
#include "fuzz.h"

#define OWNERS 4
#define MOST   256 /* prefixes */

struct prefix {
	struct ip_addr addr;
	uint8_t cidr;
	unsigned owner;
	bool stale;
};

struct model {
	struct prefix prefixes[MOST];
	size_t count;
};

static bool covers(const struct prefix *p, const struct ip_addr *addr)
{
	struct ip_addr masked = *addr;

	return p->addr.family == addr->family && ip_addr_mask(&masked, p->cidr) &&
	       ip_addr_equal(&masked, &p->addr);
}

static struct prefix *model_find(struct model *m, const struct ip_addr *addr,
				 uint8_t cidr)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->prefixes[i].cidr == cidr &&
		    ip_addr_equal(&m->prefixes[i].addr, addr))
			return &m->prefixes[i];
	return NULL;
}

static int model_lookup(const struct model *m, const struct ip_addr *addr)
{
	const struct prefix *best = NULL;

	for (size_t i = 0; i < m->count; i++)
		if (covers(&m->prefixes[i], addr) &&
		    (!best || m->prefixes[i].cidr > best->cidr))
			best = &m->prefixes[i];
	return best ? (int)best->owner : -1;
}

static void model_remove(struct model *m, struct prefix *p)
{
	*p = m->prefixes[--m->count];
}

static void model_remove_owner(struct model *m, unsigned owner, bool only_stale)
{
	for (size_t i = m->count; i--;)
		if (m->prefixes[i].owner == owner &&
		    (!only_stale || m->prefixes[i].stale))
			model_remove(m, &m->prefixes[i]);
}

/* Few different bytes, so that prefixes often cover one another. */
static struct ip_addr take_addr(struct input *in)
{
	struct ip_addr addr = {.family = take8(in) % 2 ? IP_V6 : IP_V4};

	take(in, addr.bytes, ip_addr_len(&addr) / 4);
	addr.bytes[ip_addr_len(&addr) - 1] = take8(in);
	return addr;
}

struct state {
	struct allowedips table;
	struct allowedips_owner owners[OWNERS];
	struct model model;
};

static void insert(struct state *s, unsigned owner, struct ip_addr addr, uint8_t cidr)
{
	int ret = allowedips_insert(&s->table, &s->owners[owner], &addr, cidr, NULL);
	struct prefix *p;

	if (!ip_addr_mask(&addr, cidr)) {
		CHECK(ret == -EINVAL);
		return;
	}
	CHECK(!ret);
	p = model_find(&s->model, &addr, cidr);
	if (!p)
		p = &s->model.prefixes[s->model.count++];
	*p = (struct prefix){addr, cidr, owner, false};
}

static void remove_one(struct state *s, unsigned owner, struct ip_addr addr, uint8_t cidr)
{
	int ret = allowedips_remove(&s->table, &s->owners[owner], &addr, cidr);
	struct prefix *p;

	if (!ip_addr_mask(&addr, cidr)) {
		CHECK(ret == -EINVAL);
		return;
	}
	p = model_find(&s->model, &addr, cidr);
	CHECK(ret == (p && p->owner == owner ? 0 : -ENOENT));
	if (!ret)
		model_remove(&s->model, p);
}

static void replace(struct state *s, unsigned owner, struct input *in)
{
	for (size_t i = 0; i < s->model.count; i++)
		s->model.prefixes[i].stale = s->model.prefixes[i].owner == owner;
	allowedips_replace_begin(&s->owners[owner]);
	for (unsigned n = take8(in) % 4; n && s->model.count < MOST; n--) {
		struct ip_addr addr = take_addr(in);

		insert(s, owner, addr, take8(in) % 129);
	}
	allowedips_replace_end(&s->table, &s->owners[owner], SIZE_MAX);
	model_remove_owner(&s->model, owner, true);
}

static void check_counts(const struct state *s)
{
	size_t counts[OWNERS] = {0};

	for (size_t i = 0; i < s->model.count; i++)
		counts[s->model.prefixes[i].owner]++;
	for (unsigned i = 0; i < OWNERS; i++)
		CHECK(s->owners[i].count == counts[i]);
	CHECK(s->table.count == s->model.count);
}

static void step(struct state *s, struct input *in)
{
	uint8_t what = take8(in);
	unsigned owner = what / 8 % OWNERS;
	struct ip_addr addr = take_addr(in);
	struct allowedips_owner *found;
	uint8_t cidr;

	switch (what % 8) {
	case 0:
		allowedips_remove_owner(&s->table, &s->owners[owner]);
		model_remove_owner(&s->model, owner, false);
		break;
	case 1:
		cidr = take8(in);
		remove_one(s, owner, addr, cidr);
		break;
	case 2:
		replace(s, owner, in);
		break;
	default:
		cidr = take8(in);
		insert(s, owner, addr, cidr);
	}
	found = allowedips_lookup(&s->table, &addr);
	CHECK((found ? found - s->owners : -1) == model_lookup(&s->model, &addr));
	check_counts(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct state s;
	struct input in = {data, len};

	s.model.count = 0;
	CHECK(!allowedips_init(&s.table, NULL, NULL));
	for (unsigned i = 0; i < OWNERS; i++)
		allowedips_owner_init(&s.owners[i], i);
	while (in.left && s.model.count < MOST - 4)
		step(&s, &in);
	allowedips_destroy(&s.table);
	return 0;
}
