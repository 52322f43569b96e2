// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * The LPM tries in the kernel match packets; this table does not. It must be quick
 * at other things: to find, add, move and remove exact prefixes, up to a million of
 * them, and all prefixes of one peer. So it is a hash table with (family, address,
 * length) as key, and the entries of each owner are on a list. The longest-prefix
 * lookup is rare; it probes the lengths that are in use, longest first.
 *
 * The table is written here because no container of Debian 12 fits. cds_lfht pays
 * for concurrency that one thread does not need (read-side critical sections,
 * deferred freeing), and hsearch(3) can neither remove nor grow. The hash is keyed
 * (SipHash) because prefixes may come from a configuration that others write.
 *
 * What a request will insert is announced first, so that a lack of memory shows before anything has
 * changed. Memory is reserved for prefixes that are not in the table. Those that are may leave it
 * before the request inserts them: while insertions are awaited, entries that leave the table go to
 * the reserve.
 *
 * A mirror in the kernel may have no memory for a moment. So it cannot refuse a change:
 * what it could not follow is on a list, late, and it is told again.
 */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "allowedips.h"

#define MIN_BUCKETS 64

struct prefix {
	struct ip_addr addr;
	uint8_t cidr;
};

/* prefix_hash() hashes the struct as bytes, so it must have no padding. */
_Static_assert(sizeof(struct prefix) == 18, "a prefix has no padding");
_Static_assert(sizeof(((struct allowedips *)0)->hash_key) == crypto_shorthash_KEYBYTES,
	       "SipHash key");

static bool prefix_set(struct prefix *p, const struct ip_addr *addr, uint8_t cidr)
{
	p->addr = *addr;
	p->cidr = cidr;
	return ip_addr_mask(&p->addr, cidr);
}

static uint32_t *length_count(struct allowedips *table, const struct allowedips_entry *e)
{
	return e->addr.family == IP_V4 ? &table->count4[e->cidr]
				       : &table->count6[e->cidr];
}

static uint32_t prefix_hash(const struct allowedips *table, const struct prefix *p)
{
	uint64_t hash;

	_Static_assert(sizeof(hash) == crypto_shorthash_BYTES, "SipHash result");
	crypto_shorthash((uint8_t *)&hash, (const uint8_t *)p, sizeof(*p),
			 table->hash_key);
	return (uint32_t)hash;
}

static struct allowedips_entry *find_entry(const struct allowedips *table,
					   const struct prefix *p, uint32_t hash)
{
	struct allowedips_entry *e;

	for (e = table->buckets[hash & table->mask]; e; e = e->next)
		if (e->hash == hash && e->cidr == p->cidr &&
		    ip_addr_equal(&e->addr, &p->addr))
			return e;
	return NULL;
}

static void bucket_push(struct allowedips_entry **buckets, size_t mask,
			struct allowedips_entry *e)
{
	struct allowedips_entry **head = &buckets[e->hash & mask];

	e->next = *head;
	*head = e;
}

/* Doubles the number of buckets, which keeps the average at one entry per bucket or less.
 * If there is no memory for that, the chains get longer. */
static void grow(struct allowedips *table)
{
	size_t mask = table->mask * 2 + 1, i;
	struct allowedips_entry **buckets, *e, *next;

	buckets = calloc(mask + 1, sizeof(*buckets));
	if (!buckets)
		return;
	for (i = 0; i <= table->mask; i++) {
		for (e = table->buckets[i]; e; e = next) {
			next = e->next;
			bucket_push(buckets, mask, e);
		}
	}
	free(table->buckets);
	table->buckets = buckets;
	table->mask = mask;
}

static void own(struct allowedips_owner *owner, struct allowedips_entry *e)
{
	e->owner = owner;
	e->generation = owner->generation;
	cds_list_add_tail(&e->of_owner, &owner->entries);
	owner->count++;
}

/* Moves the walks that would come to the entry past it. What its owner gets later is behind the
 * last one of a walk. */
static void leave_walks(struct allowedips *table, struct allowedips_entry *e)
{
	struct allowedips_walk *walk, *after;

	cds_list_for_each_entry_safe (walk, after, &table->walks, link) {
		if (walk->next == &e->of_owner)
			allowedips_walk_next(walk);
		else if (walk->last == &e->of_owner)
			walk->last = e->of_owner.prev;
	}
}

static void disown(struct allowedips *table, struct allowedips_entry *e)
{
	if (!e->owner)
		return;
	leave_walks(table, e);
	cds_list_del(&e->of_owner);
	e->owner->count--;
	e->owner = NULL;
}

static bool is_stale(const struct allowedips_entry *e)
{
	return e->generation != e->owner->generation;
}

static void set_late(struct allowedips *table, struct allowedips_entry *e, bool late)
{
	if (late == !cds_list_empty(&e->late))
		return;
	if (late)
		cds_list_add_tail(&e->late, &table->late);
	else
		cds_list_del_init(&e->late);
	table->late_count += late ? 1 : -1;
}

static void spare_entry(struct allowedips *table, struct allowedips_entry *e)
{
	e->next = table->spare;
	table->spare = e;
	table->spare_count++;
}

/* Returns a reserved entry, or NULL. */
static struct allowedips_entry *take_spare(struct allowedips *table)
{
	struct allowedips_entry *e = table->spare;

	if (!e)
		return NULL;
	table->spare = e->next;
	table->spare_count--;
	return e;
}

/* Takes an entry that is nobody's out of the table, and frees it if it is not awaited. */
static void drop_entry(struct allowedips *table, struct allowedips_entry *e)
{
	struct allowedips_entry **link = &table->buckets[e->hash & table->mask];

	while (*link != e)
		link = &(*link)->next;
	*link = e->next;
	table->count--;
	--*length_count(table, e);
	set_late(table, e, false);
	if (table->spare_count < table->awaited)
		spare_entry(table, e);
	else
		free(e);
}

/* Tells the mirror whose the entry is. One that is nobody's is freed, unless the mirror still
 * has it. `slot`: of its owner, or of the last one. */
static int tell_mirror(struct allowedips *table, struct allowedips_entry *e,
		       uint32_t slot)
{
	int err = !table->mirror ? 0
				 : table->mirror(table->mirror_ctx, &e->addr, e->cidr,
						 slot, e->owner != NULL);

	if (!err && !e->owner)
		drop_entry(table, e);
	else
		set_late(table, e, err);
	return err;
}

static void take_away(struct allowedips *table, struct allowedips_entry *e)
{
	uint32_t slot = e->owner->slot;

	disown(table, e);
	tell_mirror(table, e, slot);
}

int allowedips_init(struct allowedips *table, allowedips_mirror *mirror, void *mirror_ctx)
{
	memset(table, 0, sizeof(*table));
	CDS_INIT_LIST_HEAD(&table->late);
	CDS_INIT_LIST_HEAD(&table->walks);
	table->buckets = calloc(MIN_BUCKETS, sizeof(struct allowedips_entry *));
	if (!table->buckets)
		return -ENOMEM;
	table->mask = MIN_BUCKETS - 1;
	table->mirror = mirror;
	table->mirror_ctx = mirror_ctx;
	randombytes_buf(table->hash_key, sizeof(table->hash_key));
	return 0;
}

void allowedips_destroy(struct allowedips *table)
{
	struct allowedips_entry *e, *next;
	size_t i;

	for (i = 0; table->buckets && i <= table->mask; i++) {
		for (e = table->buckets[i]; e; e = next) {
			next = e->next;
			disown(table, e);
			free(e);
		}
	}
	allowedips_release(table, SIZE_MAX);
	free(table->buckets);
	memset(table, 0, sizeof(*table));
}

void allowedips_owner_init(struct allowedips_owner *owner, uint32_t slot)
{
	CDS_INIT_LIST_HEAD(&owner->entries);
	owner->count = 0;
	owner->slot = slot;
	owner->generation = 0;
}

static int insert_new(struct allowedips *table, struct allowedips_owner *owner,
		      const struct prefix *p, uint32_t hash)
{
	struct allowedips_entry *e = take_spare(table);

	if (!e)
		e = malloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->hash = hash;
	e->addr = p->addr;
	e->cidr = p->cidr;
	CDS_INIT_LIST_HEAD(&e->late);
	if (table->count > table->mask)
		grow(table);
	bucket_push(table->buckets, table->mask, e);
	table->count++;
	++*length_count(table, e);
	own(owner, e);
	tell_mirror(table, e, owner->slot);
	return 0;
}

int allowedips_insert(struct allowedips *table, struct allowedips_owner *owner,
		      const struct ip_addr *addr, uint8_t cidr,
		      struct allowedips_owner **previous)
{
	struct allowedips_owner *before;
	struct allowedips_entry *e;
	struct prefix p;
	uint32_t hash;

	if (previous)
		*previous = NULL;
	if (!prefix_set(&p, addr, cidr))
		return -EINVAL;
	hash = prefix_hash(table, &p);
	e = find_entry(table, &p, hash);
	table->awaited -= table->awaited > 0;
	if (!e)
		return insert_new(table, owner, &p, hash);
	before = e->owner;
	if (before == owner && !is_stale(e))
		return 0;
	disown(table, e);
	own(owner, e);
	if (before == owner)
		return 0;
	if (previous)
		*previous = before;
	tell_mirror(table, e, owner->slot);
	return 0;
}

int allowedips_reserve(struct allowedips *table, const struct ip_addr *addr, uint8_t cidr)
{
	struct allowedips_entry *e;
	struct prefix p;

	if (!prefix_set(&p, addr, cidr))
		return -EINVAL;
	if (!find_entry(table, &p, prefix_hash(table, &p))) {
		e = malloc(sizeof(*e));
		if (!e)
			return -ENOMEM;
		spare_entry(table, e);
	}
	table->awaited++;
	return 0;
}

bool allowedips_release(struct allowedips *table, size_t max)
{
	table->awaited = 0;
	while (table->spare && max--)
		free(take_spare(table));
	return table->spare;
}

int allowedips_remove(struct allowedips *table, struct allowedips_owner *owner,
		      const struct ip_addr *addr, uint8_t cidr)
{
	struct allowedips_entry *e;
	struct prefix p;

	if (!prefix_set(&p, addr, cidr))
		return -EINVAL;
	e = find_entry(table, &p, prefix_hash(table, &p));
	if (!e || e->owner != owner)
		return -ENOENT;
	take_away(table, e);
	return 0;
}

static struct allowedips_entry *first_of(struct allowedips_owner *owner)
{
	return cds_list_empty(&owner->entries)
		       ? NULL
		       : cds_list_first_entry(&owner->entries, struct allowedips_entry,
					      of_owner);
}

bool allowedips_remove_some(struct allowedips *table, struct allowedips_owner *owner,
			    size_t max)
{
	struct allowedips_entry *e;

	while ((e = first_of(owner)) && max--)
		take_away(table, e);
	return e;
}

void allowedips_remove_owner(struct allowedips *table, struct allowedips_owner *owner)
{
	allowedips_remove_some(table, owner, SIZE_MAX);
}

void allowedips_replace_begin(struct allowedips_owner *owner)
{
	owner->generation++;
}

bool allowedips_replace_end(struct allowedips *table, struct allowedips_owner *owner,
			    size_t max)
{
	struct allowedips_entry *e;

	while ((e = first_of(owner)) && is_stale(e) && max--)
		take_away(table, e);
	return e && is_stale(e);
}

int allowedips_catch_up(struct allowedips *table, size_t max)
{
	struct allowedips_entry *e, *next;
	int err = 0;

	cds_list_for_each_entry_safe (e, next, &table->late, late) {
		if (err || !max--)
			break;
		err = tell_mirror(table, e, e->owner ? e->owner->slot : 0);
	}
	return err;
}

void allowedips_walk_begin(struct allowedips *table, struct allowedips_owner *owner,
			   struct allowedips_walk *walk)
{
	if (cds_list_empty(&owner->entries))
		return;
	walk->next = owner->entries.next;
	walk->last = owner->entries.prev;
	cds_list_add(&walk->link, &table->walks);
}

const struct allowedips_entry *allowedips_walk_next(struct allowedips_walk *walk)
{
	struct cds_list_head *at = walk->next;

	if (!at)
		return NULL;
	if (at == walk->last)
		allowedips_walk_end(walk);
	else
		walk->next = at->next;
	return cds_list_entry(at, struct allowedips_entry, of_owner);
}

void allowedips_walk_end(struct allowedips_walk *walk)
{
	if (walk->next)
		cds_list_del(&walk->link);
	walk->next = NULL;
}

struct allowedips_owner *allowedips_lookup(const struct allowedips *table,
					   const struct ip_addr *addr)
{
	const uint32_t *count = addr->family == IP_V4 ? table->count4 : table->count6;
	int cidr = (int)ip_addr_len(addr) * 8;
	struct allowedips_entry *e;
	struct prefix p;

	for (; cidr >= 0; cidr--) {
		if (!count[cidr] || !prefix_set(&p, addr, (uint8_t)cidr))
			continue;
		e = find_entry(table, &p, prefix_hash(table, &p));
		if (e && e->owner)
			return e->owner;
	}
	return NULL;
}
