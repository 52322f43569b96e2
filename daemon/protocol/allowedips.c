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
 * The table asks the mirror after everything that can fail here has succeeded, and
 * before anything has changed. So there is nothing to undo if the mirror refuses.
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

static struct allowedips_entry *find(const struct allowedips *table,
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

static int tell_mirror(struct allowedips *table, const struct ip_addr *addr, uint8_t cidr,
		       const struct allowedips_owner *owner, bool present)
{
	if (!table->mirror)
		return 0;
	return table->mirror(table->mirror_ctx, addr, cidr, owner->slot, present);
}

static void own(struct allowedips_owner *owner, struct allowedips_entry *e)
{
	e->owner = owner;
	e->stale = false;
	cds_list_add_tail(&e->of_owner, &owner->entries);
	owner->count++;
}

static void disown(struct allowedips_entry *e)
{
	cds_list_del(&e->of_owner);
	e->owner->count--;
}

/* Takes an entry out of the table and out of its owner's list, and frees it. */
static void drop(struct allowedips *table, struct allowedips_entry *e)
{
	struct allowedips_entry **link = &table->buckets[e->hash & table->mask];

	while (*link != e)
		link = &(*link)->next;
	*link = e->next;
	table->count--;
	--*length_count(table, e);
	disown(e);
	free(e);
}

int allowedips_init(struct allowedips *table, allowedips_mirror *mirror, void *mirror_ctx)
{
	memset(table, 0, sizeof(*table));
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
			disown(e);
			free(e);
		}
	}
	free(table->buckets);
	memset(table, 0, sizeof(*table));
}

void allowedips_owner_init(struct allowedips_owner *owner, uint32_t slot)
{
	CDS_INIT_LIST_HEAD(&owner->entries);
	owner->count = 0;
	owner->slot = slot;
}

static int insert_new(struct allowedips *table, struct allowedips_owner *owner,
		      const struct prefix *p, uint32_t hash)
{
	struct allowedips_entry *e = malloc(sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	err = tell_mirror(table, &p->addr, p->cidr, owner, true);
	if (err) {
		free(e);
		return err;
	}
	e->hash = hash;
	e->addr = p->addr;
	e->cidr = p->cidr;
	if (table->count > table->mask)
		grow(table);
	bucket_push(table->buckets, table->mask, e);
	table->count++;
	++*length_count(table, e);
	own(owner, e);
	return 0;
}

int allowedips_insert(struct allowedips *table, struct allowedips_owner *owner,
		      const struct ip_addr *addr, uint8_t cidr,
		      struct allowedips_owner **previous)
{
	struct allowedips_entry *e;
	struct prefix p;
	uint32_t hash;
	int err;

	if (previous)
		*previous = NULL;
	if (!prefix_set(&p, addr, cidr))
		return -EINVAL;
	hash = prefix_hash(table, &p);
	e = find(table, &p, hash);
	if (!e)
		return insert_new(table, owner, &p, hash);
	if (e->owner == owner && !e->stale)
		return 0;
	err = e->owner == owner ? 0 : tell_mirror(table, &e->addr, e->cidr, owner, true);
	if (err)
		return err;
	if (previous && e->owner != owner)
		*previous = e->owner;
	disown(e);
	own(owner, e);
	return 0;
}

int allowedips_remove(struct allowedips *table, struct allowedips_owner *owner,
		      const struct ip_addr *addr, uint8_t cidr)
{
	struct allowedips_entry *e;
	struct prefix p;
	int err;

	if (!prefix_set(&p, addr, cidr))
		return -EINVAL;
	e = find(table, &p, prefix_hash(table, &p));
	if (!e || e->owner != owner)
		return -ENOENT;
	err = tell_mirror(table, &e->addr, e->cidr, owner, false);
	if (!err)
		drop(table, e);
	return err;
}

static int remove_some(struct allowedips *table, struct allowedips_owner *owner,
		       bool only_stale)
{
	struct allowedips_entry *e, *next;
	int err, first = 0;

	cds_list_for_each_entry_safe (e, next, &owner->entries, of_owner) {
		if (only_stale && !e->stale)
			continue;
		err = tell_mirror(table, &e->addr, e->cidr, owner, false);
		if (!first)
			first = err;
		drop(table, e);
	}
	return first;
}

int allowedips_remove_owner(struct allowedips *table, struct allowedips_owner *owner)
{
	return remove_some(table, owner, false);
}

void allowedips_replace_begin(struct allowedips_owner *owner)
{
	struct allowedips_entry *e;

	cds_list_for_each_entry (e, &owner->entries, of_owner)
		e->stale = true;
}

int allowedips_replace_end(struct allowedips *table, struct allowedips_owner *owner)
{
	return remove_some(table, owner, true);
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
		e = find(table, &p, prefix_hash(table, &p));
		if (e)
			return e->owner;
	}
	return NULL;
}
