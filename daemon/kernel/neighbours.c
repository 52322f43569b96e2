// SPDX-License-Identifier: MIT
#include "neighbours.h"

#include <stdlib.h>
#include <string.h>

#include "thread.h"

struct neighbours_entry {
	struct neighbours_entry *next;
	uint32_t ifindex;
	struct ip_addr addr;
	uint8_t mac[6];
};

/* FNV-1a. An attacker on the link who makes addresses collide slows down look-ups of at most
 * NEIGHBOURS_MAX entries, and only those that some path goes by. */
static unsigned bucket_of(uint32_t ifindex, const struct ip_addr *addr)
{
	uint32_t hash = 2166136261U ^ ifindex;

	for (unsigned i = 0; i < sizeof(addr->bytes); i++)
		hash = (hash ^ addr->bytes[i]) * 16777619U;
	return hash % NEIGHBOURS_BUCKETS;
}

/* The pointer to the entry, or to the NULL at the end of its bucket. */
static struct neighbours_entry **find_place(struct neighbours *t, uint32_t ifindex,
					    const struct ip_addr *addr)
{
	struct neighbours_entry **place = &t->buckets[bucket_of(ifindex, addr)];

	while (*place &&
	       ((*place)->ifindex != ifindex || !ip_addr_equal(&(*place)->addr, addr)))
		place = &(*place)->next;
	return place;
}

static void remove_at(struct neighbours *t, struct neighbours_entry **place)
{
	struct neighbours_entry *entry = *place;

	*place = entry->next;
	free(entry);
	t->count--;
}

/* Without memory the next look-up asks the kernel again. */
static void add_entry(struct neighbours *t, uint32_t ifindex, const struct ip_addr *addr,
		      const uint8_t mac[6])
{
	struct neighbours_entry *entry, **place;

	if (t->count >= NEIGHBOURS_MAX)
		neighbours_clear(t);
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return;
	entry->ifindex = ifindex;
	entry->addr = *addr;
	memcpy(entry->mac, mac, sizeof(entry->mac));
	place = find_place(t, ifindex, addr);
	*place = entry;
	t->count++;
}

int neighbours_get(struct neighbours *t, struct rtnl *r, uint32_t ifindex,
		   const struct ip_addr *addr, uint8_t mac[6])
{
	assert_control_thread();
	const struct neighbours_entry *entry = *find_place(t, ifindex, addr);
	int err;

	if (entry) {
		memcpy(mac, entry->mac, sizeof(entry->mac));
		return 0;
	}
	err = rtnl_neigh_get(r, ifindex, addr, mac);
	if (err) {
		/* The UDP socket asks as well, so an error of the probe costs nothing. */
		rtnl_neigh_probe(r, ifindex, addr);
		/* On a device without ARP the probe makes an entry that is usable at once,
		 * and no event follows. */
		err = rtnl_neigh_get(r, ifindex, addr, mac);
	}
	if (!err)
		add_entry(t, ifindex, addr, mac);
	return err;
}

struct neighbour neighbour_heard(uint16_t state, const uint8_t *mac)
{
	struct neighbour n = {.usable = rtnl_neigh_usable(state) && mac};

	if (n.usable)
		memcpy(n.mac, mac, sizeof(n.mac));
	return n;
}

void neighbours_note(struct neighbours *t, uint32_t ifindex, const struct ip_addr *addr,
		     uint16_t state, const uint8_t *mac)
{
	assert_control_thread();
	struct neighbours_entry **place = find_place(t, ifindex, addr);

	if (!*place)
		return;
	if (rtnl_neigh_usable(state) && mac)
		memcpy((*place)->mac, mac, sizeof((*place)->mac));
	else
		remove_at(t, place);
}

void neighbours_clear(struct neighbours *t)
{
	assert_control_thread();
	for (unsigned i = 0; i < NEIGHBOURS_BUCKETS; i++)
		while (t->buckets[i])
			remove_at(t, &t->buckets[i]);
}
