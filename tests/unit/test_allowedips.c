// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "allowedips.h"

#define OWNERS 5

static struct ip_addr ip(const char *text)
{
	struct ip_addr a = {0};

	a.family = strchr(text, ':') ? IP_V6 : IP_V4;
	assert_int_equal(inet_pton(a.family == IP_V6 ? AF_INET6 : AF_INET, text, a.bytes),
			 1);
	return a;
}

/* A mirror that records its calls, and fails one of them. */
struct notes {
	unsigned calls;
	unsigned refuse_at; /* 0: none */
	int err;
	struct ip_addr addr;
	uint8_t cidr;
	uint32_t slot;
	bool present;
};

static int note(void *ctx, const struct ip_addr *addr, uint8_t cidr, uint32_t slot,
		bool present)
{
	struct notes *n = ctx;

	if (++n->calls == n->refuse_at)
		return n->err;
	n->addr = *addr;
	n->cidr = cidr;
	n->slot = slot;
	n->present = present;
	return 0;
}

struct fixture {
	struct allowedips table;
	struct allowedips_owner owners[OWNERS];
	struct notes notes;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	uint32_t i;

	assert_non_null(f);
	assert_int_equal(allowedips_init(&f->table, note, &f->notes), 0);
	for (i = 0; i < OWNERS; i++)
		allowedips_owner_init(&f->owners[i], 100 + i);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	allowedips_destroy(&f->table);
	free(f);
	return 0;
}

static int insert(struct fixture *f, int owner, const char *addr, uint8_t cidr)
{
	struct ip_addr a = ip(addr);

	return allowedips_insert(&f->table, &f->owners[owner], &a, cidr, NULL);
}

static int removed(struct fixture *f, int owner, const char *addr, uint8_t cidr)
{
	struct ip_addr a = ip(addr);

	return allowedips_remove(&f->table, &f->owners[owner], &a, cidr);
}

/* Returns the number of the owner, or -1. */
static int lookup(struct fixture *f, const char *addr)
{
	struct ip_addr a = ip(addr);
	struct allowedips_owner *o = allowedips_lookup(&f->table, &a);

	return o ? (int)(o - f->owners) : -1;
}

static void assert_entry(const struct allowedips_owner *o, unsigned i, const char *addr,
			 uint8_t cidr)
{
	struct ip_addr a = ip(addr);
	struct allowedips_entry *e;

	cds_list_for_each_entry (e, &o->entries, of_owner) {
		if (i--)
			continue;
		assert_memory_equal(&e->addr, &a, sizeof(a));
		assert_int_equal(e->cidr, cidr);
		return;
	}
	fail_msg("too few entries");
}

static void test_mask(void **state)
{
	static const struct {
		const char *addr, *masked;
		unsigned cidr;
	} cases[] = {
		{"255.255.255.255", "0.0.0.0", 0},
		{"255.255.255.255", "128.0.0.0", 1},
		{"255.255.255.255", "254.0.0.0", 7},
		{"255.255.255.255", "255.0.0.0", 8},
		{"255.255.255.255", "255.128.0.0", 9},
		{"10.1.2.255", "10.1.2.252", 30},
		{"10.1.2.255", "10.1.2.254", 31},
		{"10.1.2.255", "10.1.2.255", 32},
		{"ffff:ffff::1", "::", 0},
		{"ffff:ffff::1", "ffff:fffe::", 31},
		{"2001:db8::1", "2001:db8::", 127},
		{"2001:db8::1", "2001:db8::1", 128},
	};
	struct ip_addr a, want;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		a = ip(cases[i].addr);
		want = ip(cases[i].masked);
		assert_true(ip_addr_mask(&a, cases[i].cidr));
		assert_memory_equal(&a, &want, sizeof(a));
	}
	a = want = ip("10.1.2.3");
	assert_false(ip_addr_mask(&a, 33));
	assert_memory_equal(&a, &want, sizeof(a));
	a = ip("::1");
	assert_false(ip_addr_mask(&a, 129));
	a.family = IP_NONE;
	assert_false(ip_addr_mask(&a, 0));
	/* Other bytes after an IPv4 address do not matter. */
	a = want = ip("10.1.2.3");
	a.bytes[4] = a.bytes[15] = 7;
	assert_true(ip_addr_mask(&a, 32));
	assert_memory_equal(&a, &want, sizeof(a));
}

static void test_longest_prefix(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(lookup(f, "10.0.0.1"), -1);
	assert_int_equal(insert(f, 0, "0.0.0.0", 0), 0);
	assert_int_equal(insert(f, 1, "10.0.0.0", 8), 0);
	assert_int_equal(insert(f, 2, "10.1.0.0", 16), 0);
	assert_int_equal(insert(f, 3, "10.1.2.3", 32), 0);
	assert_int_equal(lookup(f, "192.168.0.1"), 0);
	assert_int_equal(lookup(f, "10.2.0.1"), 1);
	assert_int_equal(lookup(f, "10.1.2.4"), 2);
	assert_int_equal(lookup(f, "10.1.2.3"), 3);
	assert_int_equal(lookup(f, "11.1.2.3"), 0);
	/* The families are separate, for /0 and for equal bit patterns. */
	assert_int_equal(lookup(f, "::1"), -1);
	assert_int_equal(lookup(f, "a01:203::"), -1);
	assert_int_equal(insert(f, 4, "::", 0), 0);
	assert_int_equal(lookup(f, "a01:203::"), 4);
	assert_int_equal(lookup(f, "10.2.0.1"), 1);
	assert_int_equal(insert(f, 2, "2001:db8::", 32), 0);
	assert_int_equal(insert(f, 3, "2001:db8::1", 128), 0);
	assert_int_equal(lookup(f, "2001:db8::2"), 2);
	assert_int_equal(lookup(f, "2001:db8::1"), 3);
	assert_int_equal(lookup(f, "2001:db9::1"), 4);
	/* Without the longer prefix the shorter one matches. */
	assert_int_equal(removed(f, 3, "10.1.2.3", 32), 0);
	assert_int_equal(lookup(f, "10.1.2.3"), 2);
	assert_int_equal(removed(f, 0, "0.0.0.0", 0), 0);
	assert_int_equal(lookup(f, "192.168.0.1"), -1);
}

static void test_lookup_of_nothing(void **state)
{
	struct fixture *f = *state;
	struct ip_addr none = {0};

	assert_int_equal(insert(f, 0, "0.0.0.0", 0), 0);
	assert_int_equal(insert(f, 0, "::", 0), 0);
	assert_null(allowedips_lookup(&f->table, &none));
}

static void test_move(void **state)
{
	struct fixture *f = *state;
	struct allowedips_owner *previous = &f->owners[4];
	struct ip_addr a = ip("10.0.0.77");

	assert_int_equal(allowedips_insert(&f->table, &f->owners[0], &a, 24, &previous),
			 0);
	assert_null(previous);
	assert_int_equal(insert(f, 0, "10.0.1.0", 24), 0);
	/* Host bits are ignored. */
	a = ip("10.0.0.1");
	assert_int_equal(allowedips_insert(&f->table, &f->owners[1], &a, 24, &previous),
			 0);
	assert_ptr_equal(previous, &f->owners[0]);
	assert_int_equal(f->table.count, 2);
	assert_int_equal(f->owners[0].count, 1);
	assert_int_equal(f->owners[1].count, 1);
	assert_entry(&f->owners[0], 0, "10.0.1.0", 24);
	assert_entry(&f->owners[1], 0, "10.0.0.0", 24);
	assert_int_equal(lookup(f, "10.0.0.200"), 1);
	assert_int_equal(f->notes.slot, 101);
	assert_true(f->notes.present);
	assert_int_equal(f->notes.cidr, 24);
	/* It is not the first owner's any more. */
	assert_int_equal(removed(f, 0, "10.0.0.0", 24), -ENOENT);
	/* Nothing changes if the same owner gets it again. */
	assert_int_equal(f->notes.calls, 3);
	assert_int_equal(allowedips_insert(&f->table, &f->owners[1], &a, 24, &previous),
			 0);
	assert_null(previous);
	assert_int_equal(f->notes.calls, 3);
	assert_int_equal(f->owners[1].count, 1);
}

static void test_insertion_order(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(insert(f, 0, "10.0.0.3", 32), 0);
	assert_int_equal(insert(f, 0, "::", 0), 0);
	assert_int_equal(insert(f, 0, "10.0.0.1", 32), 0);
	assert_int_equal(insert(f, 0, "10.0.0.2", 32), 0);
	assert_int_equal(insert(f, 0, "10.0.0.3", 32), 0);
	assert_int_equal(removed(f, 0, "10.0.0.1", 32), 0);
	assert_int_equal(f->owners[0].count, 3);
	assert_entry(&f->owners[0], 0, "10.0.0.3", 32);
	assert_entry(&f->owners[0], 1, "::", 0);
	assert_entry(&f->owners[0], 2, "10.0.0.2", 32);
}

static void test_impossible(void **state)
{
	struct fixture *f = *state;
	struct ip_addr none = {0};

	assert_int_equal(insert(f, 0, "10.0.0.0", 33), -EINVAL);
	assert_int_equal(insert(f, 0, "::", 129), -EINVAL);
	assert_int_equal(removed(f, 0, "10.0.0.0", 33), -EINVAL);
	assert_int_equal(allowedips_insert(&f->table, &f->owners[0], &none, 0, NULL),
			 -EINVAL);
	assert_int_equal(removed(f, 0, "10.0.0.0", 8), -ENOENT);
	assert_int_equal(f->table.count, 0);
	assert_int_equal(f->notes.calls, 0);
}

/* A mirror without memory does not refuse a change: it hears of it again. */
static void test_mirror_is_late(void **state)
{
	struct fixture *f = *state;

	f->notes.refuse_at = 1;
	f->notes.err = -ENOMEM;
	assert_int_equal(insert(f, 0, "10.0.0.0", 8), 0);
	assert_int_equal(lookup(f, "10.0.0.1"), 0);
	assert_int_equal(f->table.late_count, 1);
	f->notes.refuse_at = 2;
	assert_int_equal(allowedips_catch_up(&f->table, 10), -ENOMEM);
	assert_int_equal(f->table.late_count, 1);
	assert_int_equal(allowedips_catch_up(&f->table, 10), 0);
	assert_int_equal(f->table.late_count, 0);
	assert_true(f->notes.present);
	assert_int_equal(f->notes.slot, 100);

	/* It is told whose the prefix is by then. */
	f->notes.refuse_at = 4;
	assert_int_equal(insert(f, 1, "10.0.0.0", 8), 0);
	assert_int_equal(lookup(f, "10.0.0.1"), 1);
	f->notes.refuse_at = 5;
	assert_int_equal(insert(f, 2, "10.0.0.0", 8), 0);
	assert_int_equal(f->table.late_count, 1);
	assert_int_equal(allowedips_catch_up(&f->table, 10), 0);
	assert_int_equal(f->notes.slot, 102);
	assert_int_equal(f->notes.calls, 6);
}

/* What is taken away is gone at once, and from the mirror when that can follow. */
static void test_late_removal(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(insert(f, 0, "10.0.0.0", 8), 0);
	f->notes.refuse_at = 2;
	f->notes.err = -ENOMEM;
	assert_int_equal(removed(f, 0, "10.0.0.0", 8), 0);
	assert_int_equal(lookup(f, "10.0.0.1"), -1);
	assert_int_equal(f->owners[0].count, 0);
	assert_int_equal(removed(f, 0, "10.0.0.0", 8), -ENOENT);
	assert_int_equal(allowedips_catch_up(&f->table, 10), 0);
	assert_false(f->notes.present);
	assert_int_equal(f->table.count, 0);

	/* It comes back before the mirror has heard that it was gone. */
	assert_int_equal(insert(f, 0, "10.0.0.0", 8), 0);
	f->notes.refuse_at = 5;
	assert_int_equal(removed(f, 0, "10.0.0.0", 8), 0);
	assert_int_equal(insert(f, 1, "10.0.0.0", 8), 0);
	assert_int_equal(f->table.late_count, 0);
	assert_int_equal(lookup(f, "10.0.0.1"), 1);
	assert_int_equal(f->notes.slot, 101);

	/* The table may end before. */
	f->notes.refuse_at = 7;
	allowedips_remove_owner(&f->table, &f->owners[1]);
	assert_int_equal(f->table.late_count, 1);
}

static void test_remove_owner(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(insert(f, 0, "10.0.0.0", 8), 0);
	assert_int_equal(insert(f, 1, "10.1.0.0", 16), 0);
	assert_int_equal(insert(f, 1, "2001:db8::", 32), 0);
	assert_int_equal(insert(f, 1, "192.168.0.0", 16), 0);
	f->notes.refuse_at = 5;
	f->notes.err = -EBUSY;
	allowedips_remove_owner(&f->table, &f->owners[1]);
	assert_int_equal(f->notes.calls, 7);
	assert_false(f->notes.present);
	assert_int_equal(f->notes.slot, 101);
	assert_int_equal(f->owners[1].count, 0);
	assert_true(cds_list_empty(&f->owners[1].entries));
	assert_int_equal(f->table.late_count, 1);
	assert_int_equal(allowedips_catch_up(&f->table, 10), 0);
	assert_int_equal(f->table.count, 1);
	assert_int_equal(lookup(f, "10.1.0.1"), 0);
	assert_int_equal(lookup(f, "192.168.0.1"), -1);
	assert_int_equal(lookup(f, "2001:db8::1"), -1);
	allowedips_remove_owner(&f->table, &f->owners[1]);
}

static void test_destroy_empties_owners(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(insert(f, 0, "10.0.0.0", 8), 0);
	assert_int_equal(insert(f, 0, "10.0.0.0", 9), 0);
	allowedips_destroy(&f->table);
	assert_int_equal(f->owners[0].count, 0);
	assert_true(cds_list_empty(&f->owners[0].entries));
	assert_int_equal(f->notes.calls, 2);
}

/*
 * The model: an array of prefixes that is searched linearly and compared bit by bit. The
 * mirror has another one, so that it is checked against the model, too.
 */
#define MODEL_MAX 512
#define STEPS	  20000

struct model {
	struct {
		struct ip_addr addr;
		unsigned cidr;
		int owner; /* -1: not in use */
	} p[MODEL_MAX];
};

static bool same_bits(const struct ip_addr *a, const struct ip_addr *b, unsigned bits)
{
	unsigned i;

	if (a->family != b->family)
		return false;
	for (i = 0; i < bits; i++)
		if ((a->bytes[i / 8] ^ b->bytes[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static int model_find(const struct model *m, const struct ip_addr *addr, unsigned cidr)
{
	int i;

	for (i = 0; i < MODEL_MAX; i++)
		if (m->p[i].owner >= 0 && m->p[i].cidr == cidr &&
		    same_bits(&m->p[i].addr, addr, cidr))
			return i;
	return -1;
}

/* `owner` -1 removes the prefix. */
static void model_set(struct model *m, const struct ip_addr *addr, unsigned cidr,
		      int owner)
{
	int i = model_find(m, addr, cidr);

	if (i < 0)
		for (i = 0; m->p[i].owner >= 0; i++)
			assert_true(i < MODEL_MAX - 1);
	m->p[i].addr = *addr;
	m->p[i].cidr = cidr;
	m->p[i].owner = owner;
}

static int model_lookup(const struct model *m, const struct ip_addr *addr)
{
	int i, best = -1, owner = -1;

	for (i = 0; i < MODEL_MAX; i++) {
		if (m->p[i].owner < 0 || (int)m->p[i].cidr <= best ||
		    !same_bits(&m->p[i].addr, addr, m->p[i].cidr))
			continue;
		best = (int)m->p[i].cidr;
		owner = m->p[i].owner;
	}
	return owner;
}

static unsigned model_count(const struct model *m, int owner)
{
	unsigned i, n = 0;

	for (i = 0; i < MODEL_MAX; i++)
		n += m->p[i].owner == owner;
	return n;
}

static void model_clear(struct model *m)
{
	int i;

	for (i = 0; i < MODEL_MAX; i++)
		m->p[i].owner = -1;
}

static int mirror_model(void *ctx, const struct ip_addr *addr, uint8_t cidr,
			uint32_t slot, bool present)
{
	model_set(ctx, addr, cidr, present ? (int)slot : -1);
	return 0;
}

static uint32_t random_state;

static uint32_t draw(uint32_t below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % below;
}

/* Few bits differ, so that prefixes collide and nest. */
static void draw_prefix(struct ip_addr *addr, unsigned *cidr)
{
	static const unsigned lengths4[] = {0, 1, 8, 9, 15, 16, 31, 32};
	static const unsigned lengths6[] = {0, 1, 8, 9, 64, 65, 127, 128};
	unsigned i;

	memset(addr, 0, sizeof(*addr));
	addr->family = draw(2) ? IP_V4 : IP_V6;
	for (i = 0; i < ip_addr_len(addr); i++)
		addr->bytes[i] = draw(4) ? 0 : (uint8_t)(0x81 * draw(2));
	*cidr = addr->family == IP_V4 ? lengths4[draw(8)] : lengths6[draw(8)];
}

static void random_step(struct allowedips *t, struct allowedips_owner *owners,
			struct model *m)
{
	struct allowedips_owner *previous, *want;
	int o = (int)draw(OWNERS), i, held;
	struct ip_addr addr;
	unsigned cidr;

	draw_prefix(&addr, &cidr);
	i = model_find(m, &addr, cidr);
	held = i < 0 ? -1 : m->p[i].owner;
	if (!draw(200)) {
		allowedips_remove_owner(t, &owners[o]);
		for (i = 0; i < MODEL_MAX; i++)
			if (m->p[i].owner == o)
				m->p[i].owner = -1;
	} else if (draw(3)) {
		want = held < 0 || held == o ? NULL : &owners[held];
		assert_int_equal(
			allowedips_insert(t, &owners[o], &addr, (uint8_t)cidr, &previous),
			0);
		assert_ptr_equal(previous, want);
		model_set(m, &addr, cidr, o);
	} else {
		assert_int_equal(allowedips_remove(t, &owners[o], &addr, (uint8_t)cidr),
				 held == o ? 0 : -ENOENT);
		if (held == o)
			model_set(m, &addr, cidr, -1);
	}
}

static void test_against_model(void **state)
{
	static struct model model, mirror;
	struct allowedips_owner owners[OWNERS], *found;
	struct allowedips t;
	struct ip_addr addr;
	unsigned cidr, hits = 0;
	int i, o, want;

	model_clear(&model);
	model_clear(&mirror);
	random_state = 20240611;
	assert_int_equal(allowedips_init(&t, mirror_model, &mirror), 0);
	for (o = 0; o < OWNERS; o++)
		allowedips_owner_init(&owners[o], (uint32_t)o);
	for (i = 0; i < STEPS; i++) {
		random_step(&t, owners, &model);
		draw_prefix(&addr, &cidr);
		want = model_lookup(&model, &addr);
		found = allowedips_lookup(&t, &addr);
		assert_ptr_equal(found, want < 0 ? NULL : &owners[want]);
		assert_int_equal(model_lookup(&mirror, &addr), want);
		hits += want >= 0;
	}
	/* Many look-ups must find a prefix, or this test would show little. */
	assert_in_range(hits, STEPS / 4, STEPS);
	for (o = 0; o < OWNERS; o++) {
		assert_int_equal(owners[o].count, model_count(&model, o));
		assert_int_equal(owners[o].count, model_count(&mirror, o));
	}
	allowedips_destroy(&t);
}

static void insert_many(struct allowedips *t, struct allowedips_owner *owner,
			uint32_t first, uint32_t n)
{
	struct ip_addr a = {.family = IP_V4};
	uint32_t i, net;

	for (i = first; i < first + n; i++) {
		net = htonl(i);
		memcpy(a.bytes, &net, 4);
		if (allowedips_insert(t, owner, &a, 32, NULL))
			fail_msg("insert %u", i);
	}
}

/* While the table grows, and after one owner's prefixes are removed. */
static void test_many(void **state)
{
	struct allowedips_owner big, other;
	struct ip_addr a = ip("0.2.0.5");
	struct allowedips t;

	assert_int_equal(allowedips_init(&t, NULL, NULL), 0);
	allowedips_owner_init(&big, 1);
	allowedips_owner_init(&other, 2);
	insert_many(&t, &other, 1U << 24, 20000);
	insert_many(&t, &big, 0, 150000);
	assert_int_equal(t.count, 170000);
	assert_int_equal(big.count, 150000);
	assert_ptr_equal(allowedips_lookup(&t, &a), &big);
	allowedips_remove_owner(&t, &big);
	assert_null(allowedips_lookup(&t, &a));
	assert_int_equal(t.count, 20000);
	a = ip("1.0.78.31");
	assert_ptr_equal(allowedips_lookup(&t, &a), &other);
	a = ip("1.0.78.32");
	assert_null(allowedips_lookup(&t, &a));
	allowedips_destroy(&t);
}

/* The mirror is called only for prefixes that are removed or added. */
static void test_replace(void **state)
{
	struct fixture *f = *state;
	struct ip_addr goes = ip("10.1.0.0"), stays = ip("10.2.0.0"),
		       comes = ip("fd00::");
	struct allowedips_owner *o = &f->owners[1], *previous = o;

	assert_int_equal(allowedips_insert(&f->table, o, &goes, 16, NULL), 0);
	assert_int_equal(allowedips_insert(&f->table, o, &stays, 16, NULL), 0);
	f->notes.calls = 0;

	allowedips_replace_begin(o);
	assert_ptr_equal(allowedips_lookup(&f->table, &stays), o);
	assert_int_equal(allowedips_insert(&f->table, o, &stays, 16, &previous), 0);
	assert_null(previous);
	assert_int_equal(f->notes.calls, 0);
	assert_int_equal(allowedips_insert(&f->table, o, &comes, 64, NULL), 0);
	assert_int_equal(f->notes.calls, 1);
	allowedips_replace_end(&f->table, o, SIZE_MAX);
	assert_int_equal(f->notes.calls, 2);
	assert_false(f->notes.present);
	assert_memory_equal(&f->notes.addr, &goes, sizeof(goes));

	assert_int_equal(o->count, 2);
	assert_null(allowedips_lookup(&f->table, &goes));
	assert_ptr_equal(allowedips_lookup(&f->table, &stays), o);
	/* A second end removes nothing. */
	allowedips_replace_end(&f->table, o, SIZE_MAX);
	assert_int_equal(o->count, 2);
}

/* The end does not remove a prefix that another owner got meanwhile. */
static void test_replace_and_move(void **state)
{
	struct fixture *f = *state;
	struct ip_addr a = ip("10.1.0.0");

	assert_int_equal(allowedips_insert(&f->table, &f->owners[1], &a, 16, NULL), 0);
	allowedips_replace_begin(&f->owners[1]);
	assert_int_equal(allowedips_insert(&f->table, &f->owners[2], &a, 16, NULL), 0);
	allowedips_replace_end(&f->table, &f->owners[1], SIZE_MAX);
	allowedips_replace_end(&f->table, &f->owners[2], SIZE_MAX);
	assert_ptr_equal(allowedips_lookup(&f->table, &a), &f->owners[2]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mask),
		cmocka_unit_test_setup_teardown(test_longest_prefix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lookup_of_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_move, setup, teardown),
		cmocka_unit_test_setup_teardown(test_insertion_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_impossible, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mirror_is_late, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_removal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_remove_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replace_and_move, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destroy_empties_owners, setup,
						teardown),
		cmocka_unit_test(test_against_model),
		cmocka_unit_test(test_many),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
