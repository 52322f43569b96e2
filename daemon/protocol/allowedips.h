/* SPDX-License-Identifier: MIT */
/*
 * Allowed IPs: which peer a prefix belongs to (whitepaper section 2, "cryptokey
 * routing"). The control thread's own table, and the truth that the BPF maps
 * mirror. No function here is for another thread.
 */
#ifndef ALLOWEDIPS_H
#define ALLOWEDIPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <urcu/list.h>

#include "endpoint.h"

/*
 * Embedded in a peer: the prefixes that it has, in the order in which it got
 * them (struct allowedips_entry, linked by of_owner), and how many they are.
 */
struct allowedips_owner {
	struct cds_list_head entries;
	size_t count;
	uint32_t slot;
};

/* One prefix. The table's own: others read addr and cidr, and only those. */
struct allowedips_entry {
	struct cds_list_head of_owner;
	struct allowedips_owner *owner;
	struct allowedips_entry *next; /* in its bucket */
	uint32_t hash;
	struct ip_addr addr; /* host bits are zero */
	uint8_t cidr;
	bool stale; /* between allowedips_replace_begin() and _end() */
};

/*
 * Called before the table changes: the prefix is about to belong to `slot`
 * (present) or to nobody. Returns 0, or -errno to refuse the change.
 */
typedef int allowedips_mirror(void *ctx, const struct ip_addr *addr, uint8_t cidr,
			      uint32_t slot, bool present);

struct allowedips {
	struct allowedips_entry **buckets;
	size_t mask; /* number of buckets, a power of two, less one */
	size_t count;
	uint8_t hash_key[16];
	uint32_t count4[33]; /* prefixes of each length */
	uint32_t count6[129];
	allowedips_mirror *mirror;
	void *mirror_ctx;
};

/* `mirror` may be NULL. Returns 0 or -ENOMEM. */
int allowedips_init(struct allowedips *table, allowedips_mirror *mirror,
		    void *mirror_ctx);

/* Frees all entries without telling the mirror; the owners are left empty. */
void allowedips_destroy(struct allowedips *table);

/* An owner with entries must not move in memory, nor be freed. */
void allowedips_owner_init(struct allowedips_owner *owner, uint32_t slot);

/*
 * Gives a prefix to an owner; host bits of `addr` are ignored. Where another
 * owner had it, it moves, and *previous (which may be NULL) is that owner;
 * otherwise *previous is NULL. What the owner has already is left alone.
 * Returns 0; -EINVAL for an impossible prefix, -ENOMEM, or what the mirror
 * returned: then nothing has changed.
 */
int allowedips_insert(struct allowedips *table, struct allowedips_owner *owner,
		      const struct ip_addr *addr, uint8_t cidr,
		      struct allowedips_owner **previous);

/*
 * Takes a prefix from its owner. Returns 0; -EINVAL for an impossible prefix,
 * -ENOENT if it is not that owner's, or what the mirror returned: then nothing
 * has changed.
 */
int allowedips_remove(struct allowedips *table, struct allowedips_owner *owner,
		      const struct ip_addr *addr, uint8_t cidr);

/*
 * Takes all prefixes from an owner, in time proportional to their number. The
 * owner is empty afterwards whatever the mirror says, because it is about to go
 * away; returns 0 or the mirror's first error, which means that the mirror still
 * holds a prefix and its slot must not be used again.
 */
int allowedips_remove_owner(struct allowedips *table, struct allowedips_owner *owner);

/*
 * Replaces all that an owner has by what is inserted in between: what stays is never
 * away, not for a moment, so that traffic goes on. _end() returns 0 or the mirror's
 * first error, as allowedips_remove_owner() does.
 */
void allowedips_replace_begin(struct allowedips_owner *owner);
int allowedips_replace_end(struct allowedips *table, struct allowedips_owner *owner);

/* The owner of the longest prefix that covers the address, or NULL. */
struct allowedips_owner *allowedips_lookup(const struct allowedips *table,
					   const struct ip_addr *addr);

#endif
