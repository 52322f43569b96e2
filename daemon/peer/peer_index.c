// SPDX-License-Identifier: MIT
#include "peer_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "thread.h"

/* As memcmp(). */
static int compare(const struct peer_group *group, const struct peer_key *key)
{
	const struct peer_key *own = &group->key;
	int order;

	if (own->ifindex != key->ifindex)
		return own->ifindex < key->ifindex ? -1 : 1;
	order = memcmp(&own->addr, &key->addr, sizeof(key->addr));
	return order ? order : (int)own->port - (int)key->port;
}

static struct peer_group **child(struct peer_group *group, const struct peer_key *key)
{
	return compare(group, key) < 0 ? &group->right : &group->left;
}

/* --- the tree: no child has a higher priority than its parent --- */

/* Divides a tree into the groups before the key and those after it. */
static void split(struct peer_group *tree, const struct peer_group *key,
		  struct peer_group **before, struct peer_group **after)
{
	while (tree) {
		if (compare(tree, &key->key) < 0) {
			*before = tree;
			before = &tree->right;
			tree = tree->right;
		} else {
			*after = tree;
			after = &tree->left;
			tree = tree->left;
		}
	}
	*before = *after = NULL;
}

/* The opposite. */
static void join(struct peer_group **place, struct peer_group *before,
		 struct peer_group *after)
{
	while (before && after) {
		if (before->priority > after->priority) {
			*place = before;
			place = &before->right;
			before = before->right;
		} else {
			*place = after;
			place = &after->left;
			after = after->left;
		}
	}
	*place = before ? before : after;
}

static void insert(struct peer_index *index, struct peer_group *group)
{
	struct peer_group **place = &index->root;

	while (*place && (*place)->priority >= group->priority)
		place = child(*place, &group->key);
	split(*place, group, &group->left, &group->right);
	*place = group;
}

static void remove_group(struct peer_index *index, struct peer_group *group)
{
	struct peer_group **place = &index->root;

	while (*place != group)
		place = child(*place, &group->key);
	join(place, group->left, group->right);
	cds_list_del(&group->stale);
	free(group);
}

static struct peer_group *add_group(struct peer_index *index, const struct peer_key *key)
{
	struct peer_group *group = calloc(1, sizeof(*group));

	if (!group)
		return NULL;
	group->priority = randombytes_random();
	group->key = *key;
	CDS_INIT_LIST_HEAD(&group->members);
	CDS_INIT_LIST_HEAD(&group->stale);
	insert(index, group);
	return group;
}

/* --- finding --- */

struct peer_group *peer_index_from(const struct peer_index *index,
				   const struct peer_key *key)
{
	struct peer_group *at = index->root, *found = NULL;

	assert_control_thread();
	while (at) {
		if (compare(at, key) < 0) {
			at = at->right;
		} else {
			found = at;
			at = at->left;
		}
	}
	return found;
}

struct peer_group *peer_index_find(const struct peer_index *index,
				   const struct peer_key *key)
{
	assert_control_thread();
	struct peer_group *group = peer_index_from(index, key);

	return group && !compare(group, key) ? group : NULL;
}

struct peer_group *peer_index_after(const struct peer_index *index,
				    const struct peer_group *group)
{
	struct peer_group *at = index->root, *found = NULL;

	assert_control_thread();
	while (at) {
		if (compare(at, &group->key) <= 0) {
			at = at->right;
		} else {
			found = at;
			at = at->left;
		}
	}
	return found;
}

/* --- members --- */

static void leave(struct peer_member *member)
{
	if (!member->group)
		return;
	cds_list_del(&member->list);
	member->group->count--;
	member->group = NULL;
}

void peer_index_drop(struct peer_index *index, struct peer_member *member)
{
	struct peer_group *group = member->group;

	assert_control_thread();
	leave(member);
	if (group && !group->count)
		remove_group(index, group);
}

int peer_index_put(struct peer_index *index, struct peer_member *member,
		   const struct peer_key *key)
{
	struct peer_group *group = member->group;

	assert_control_thread();
	if (group && !compare(group, key)) {
		leave(member);
	} else {
		peer_index_drop(index, member);
		group = peer_index_find(index, key);
	}
	if (!group)
		group = add_group(index, key);
	if (!group)
		return -ENOMEM;
	cds_list_add_tail(&member->list, &group->members);
	group->count++;
	member->group = group;
	return 0;
}
