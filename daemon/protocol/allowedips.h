/* SPDX-License-Identifier: MIT */
/*
 * Allowed IPs: which peer a prefix belongs to (whitepaper section 2, "cryptokey
 * routing"). This table is authoritative; the BPF maps mirror it. Only the control
 * thread may call these functions.
 */
#ifndef ALLOWEDIPS_H
#define ALLOWEDIPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <urcu/list.h>

#include "endpoint.h"

/*
 * Embedded in a peer: the list of the peer's prefixes (struct allowedips_entry,
 * linked by of_owner) in the order in which it got them, and their number.
 */
struct allowedips_owner {
	struct cds_list_head entries;
	size_t count;
	uint32_t slot;
	/* allowedips_replace_begin() begins a new one. Prefixes of earlier generations are at the
	 * head of `entries`, and are removed. */
	uint32_t generation;
};

/* One prefix. Other files may only read it, and only addr and cidr. */
struct allowedips_entry {
	struct cds_list_head of_owner;
	struct cds_list_head late; /* in the table's list of that name, or empty */
	/* NULL: nobody, but the mirror could not be told yet. */
	struct allowedips_owner *owner;
	struct allowedips_entry *next; /* in the same bucket */
	uint32_t hash;
	struct ip_addr addr; /* host bits are zero */
	uint8_t cidr;
	uint32_t generation; /* the owner's when it got the prefix */
};

/*
 * The table calls this when it has changed. If `present`, the prefix belongs to the peer
 * of `slot`, otherwise to no peer. Returns 0, or -errno if the mirror cannot follow now.
 */
typedef int allowedips_mirror(void *ctx, const struct ip_addr *addr, uint8_t cidr,
			      uint32_t slot, bool present);

struct allowedips {
	struct allowedips_entry **buckets;
	size_t mask; /* number of buckets (a power of two) minus one */
	size_t count;
	struct cds_list_head late;  /* entries that the mirror does not have right */
	struct cds_list_head walks; /* struct allowedips_walk */
	size_t late_count;
	uint8_t hash_key[16];
	uint32_t count4[33]; /* number of prefixes of each length */
	uint32_t count6[129];
	struct allowedips_entry *spare; /* reserved, linked by `next` */
	size_t spare_count;
	size_t awaited; /* insertions that were announced */
	allowedips_mirror *mirror;
	void *mirror_ctx;
};

/* A walk over the prefixes that an owner has when it begins, in shares. They may be removed, or move
 * to another owner, meanwhile; then it leaves them out. A zeroed walk is at its end. */
struct allowedips_walk {
	struct cds_list_head link; /* in the table's list */
	struct cds_list_head *next,
		*last; /* in the owner's list; next NULL: at its end */
};

/* `mirror` may be NULL. Returns 0 or -ENOMEM. */
int allowedips_init(struct allowedips *table, allowedips_mirror *mirror,
		    void *mirror_ctx);

/* Frees all entries without telling the mirror; the owners are left empty. */
void allowedips_destroy(struct allowedips *table);

/* Makes an owner without prefixes. While it has any, it must not move in memory and
 * must not be freed. */
void allowedips_owner_init(struct allowedips_owner *owner, uint32_t slot);

/*
 * Gives a prefix to an owner. If another owner has it, the prefix moves and
 * *previous is set to that owner; otherwise *previous is set to NULL. If this owner
 * has it already, it keeps it. Host bits of `addr` are ignored; `previous` may be
 * NULL. Returns 0, -EINVAL if the prefix is impossible, or -ENOMEM. After an error
 * the table is unchanged.
 */
int allowedips_insert(struct allowedips *table, struct allowedips_owner *owner,
		      const struct ip_addr *addr, uint8_t cidr,
		      struct allowedips_owner **previous);

/*
 * Announces an insertion of this prefix, which then cannot fail for lack of memory, even if the
 * prefix is removed before. Returns 0, -EINVAL or -ENOMEM.
 */
int allowedips_reserve(struct allowedips *table, const struct ip_addr *addr,
		       uint8_t cidr);
/* Ends all announcements, and frees up to `max` of what is left of the reserve. Returns true if
 * there is more to free. */
bool allowedips_release(struct allowedips *table, size_t max);

/*
 * Takes a prefix from its owner. Returns 0, -EINVAL if the prefix is impossible, or
 * -ENOENT if it does not belong to that owner.
 */
int allowedips_remove(struct allowedips *table, struct allowedips_owner *owner,
		      const struct ip_addr *addr, uint8_t cidr);

/* Takes all prefixes from an owner, in time proportional to their number. */
void allowedips_remove_owner(struct allowedips *table, struct allowedips_owner *owner);
/* Takes up to `max` prefixes from an owner. Returns true if it has more. */
bool allowedips_remove_some(struct allowedips *table, struct allowedips_owner *owner,
			    size_t max);

/*
 * Replaces all prefixes of an owner by those that are inserted between _begin() and
 * _end(). A prefix that stays is not removed even for a moment, so that its traffic
 * goes on. _end() removes up to `max` of the other prefixes. It returns true if there are
 * more: it is to be called again before anything else is done to the owner. Without a
 * _begin() it does nothing.
 */
void allowedips_replace_begin(struct allowedips_owner *owner);
bool allowedips_replace_end(struct allowedips *table, struct allowedips_owner *owner,
			    size_t max);

/*
 * Tells the mirror of up to `max` changes that it could not follow before, and ends at
 * the first one that it still cannot follow. Returns 0, or that error.
 */
int allowedips_catch_up(struct allowedips *table, size_t max);

/* Begins a walk that is at its end. */
void allowedips_walk_begin(struct allowedips *table, struct allowedips_owner *owner,
			   struct allowedips_walk *walk);
/* Returns the next prefix, valid until the table changes; NULL at the end. */
const struct allowedips_entry *allowedips_walk_next(struct allowedips_walk *walk);
void allowedips_walk_end(struct allowedips_walk *walk);
/* Returns true if there are more. */
static inline bool allowedips_walk_goes_on(const struct allowedips_walk *walk)
{
	return walk->next;
}

/* Returns the owner of the longest prefix that covers the address, or NULL. */
struct allowedips_owner *allowedips_lookup(const struct allowedips *table,
					   const struct ip_addr *addr);

#endif
