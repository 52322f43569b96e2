// SPDX-License-Identifier: MIT
#include "links.h"

#include <errno.h>
#include <stdlib.h>

#include "thread.h"

struct links_entry {
	struct links_entry *next;
	uint32_t ifindex;
	struct rtnl_link link;
};

/* The pointer to the link's entry, or to the NULL at the end of its bucket. */
static struct links_entry **find_place(const struct links *t, uint32_t ifindex)
{
	struct links_entry *const *place = &t->buckets[ifindex % LINKS_BUCKETS];

	while (*place && (*place)->ifindex != ifindex)
		place = &(*place)->next;
	return (struct links_entry **)place;
}

static void remove_at(struct links_entry **place)
{
	struct links_entry *entry = *place;

	if (!entry)
		return;
	*place = entry->next;
	free(entry);
}

int links_note(struct links *t, uint32_t ifindex, const struct rtnl_link *link)
{
	assert_control_thread();
	struct links_entry **place = find_place(t, ifindex);

	if (!link) {
		remove_at(place);
		return 0;
	}
	if (!*place) {
		*place = calloc(1, sizeof(**place));
		if (!*place)
			return -ENOMEM;
		(*place)->ifindex = ifindex;
	}
	(*place)->link = *link;
	return 0;
}

const struct rtnl_link *links_find(const struct links *t, uint32_t ifindex)
{
	assert_control_thread();
	struct links_entry *entry = *find_place(t, ifindex);

	return entry ? &entry->link : NULL;
}

void links_clear(struct links *t)
{
	assert_control_thread();
	for (unsigned i = 0; i < LINKS_BUCKETS; i++)
		while (t->buckets[i])
			remove_at(&t->buckets[i]);
}

struct reading {
	struct links table;
	int err;
};

static void read_link(void *ctx, uint32_t ifindex, const struct rtnl_link *link)
{
	struct reading *reading = ctx;
	int err = links_note(&reading->table, ifindex, link);

	if (err)
		reading->err = err;
}

int links_read(struct links *t, struct rtnl *r)
{
	assert_control_thread();
	struct reading reading = {.err = 0};
	int err = rtnl_link_dump(r, read_link, &reading);

	if (!err)
		err = reading.err;
	if (err) {
		links_clear(&reading.table);
		return err;
	}
	links_clear(t);
	*t = reading.table;
	return 0;
}
