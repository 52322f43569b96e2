// SPDX-License-Identifier: MIT
/* The index, compared with a plain array of what it must contain. */
#include "testutil.h"

#include <sodium.h>

#include "peer_index.h"

#define MEMBERS 2000
#define ROUNDS	20000

struct item {
	struct peer_member member;
	struct peer_key key; /* ifindex 0: in no group */
};

static struct item items[MEMBERS];
static struct peer_index index_;

static struct ip_addr addr_number(unsigned n)
{
	struct ip_addr a = {.family = n % 2 ? IP_V4 : IP_V6};

	a.bytes[0] = (uint8_t)(n >> 8);
	a.bytes[3] = (uint8_t)n;
	return a;
}

static bool has_key(const struct item *it, const struct peer_key *key)
{
	return it->key.ifindex == key->ifindex && it->key.port == key->port &&
	       ip_addr_equal(&it->key.addr, &key->addr);
}

static unsigned count_items(const struct peer_key *key)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MEMBERS; i++)
		n += has_key(&items[i], key);
	return n;
}

static bool is_before(const struct peer_group *a, const struct peer_group *b)
{
	int order = memcmp(&a->key.addr, &b->key.addr, sizeof(a->key.addr));

	if (a->key.ifindex != b->key.ifindex)
		return a->key.ifindex < b->key.ifindex;
	return order ? order < 0 : a->key.port < b->key.port;
}

static unsigned count_members(struct peer_group *group)
{
	struct peer_member *member;
	unsigned n = 0;

	cds_list_for_each_entry (member, &group->members, list) {
		assert_ptr_equal(member->group, group);
		n++;
	}
	return n;
}

/* Every group must be in order, have its members and be found; no other may exist. */
static void check(void)
{
	static const struct peer_key first;
	struct peer_group *group = peer_index_from(&index_, &first), *next;
	unsigned total = 0, in = 0;

	for (; group; group = next) {
		next = peer_index_after(&index_, group);
		assert_true(!next || is_before(group, next));
		assert_int_equal(count_members(group), group->count);
		assert_int_equal(count_items(&group->key), group->count);
		assert_ptr_equal(peer_index_find(&index_, &group->key), group);
		total += group->count;
	}
	for (unsigned i = 0; i < MEMBERS; i++)
		in += items[i].key.ifindex != 0;
	assert_int_equal(total, in);
}

static void change(struct item *it)
{
	if (randombytes_uniform(3) == 0) {
		peer_index_drop(&index_, &it->member);
		it->key.ifindex = 0;
		return;
	}
	it->key.ifindex = 1 + randombytes_uniform(2);
	it->key.addr = addr_number(randombytes_uniform(400));
	it->key.port = (uint16_t)randombytes_uniform(2);
	assert_int_equal(peer_index_put(&index_, &it->member, &it->key), 0);
}

static void test_random_changes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		change(&items[randombytes_uniform(MEMBERS)]);
		if (i % 2000 == 0)
			check();
	}
	check();
	for (unsigned i = 0; i < MEMBERS; i++)
		peer_index_drop(&index_, &items[i].member);
	assert_null(index_.root);
}

/* With addresses in ascending order, a tree that is not balanced would be a list. */
static unsigned depth(const struct peer_group *at)
{
	unsigned left, right;

	if (!at)
		return 0;
	left = depth(at->left);
	right = depth(at->right);
	return 1 + (left > right ? left : right);
}

static void test_tree_is_flat(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MEMBERS; i++) {
		struct peer_key key = {.addr = addr_number(2 * i)};

		assert_int_equal(peer_index_put(&index_, &items[i].member, &key), 0);
	}
	assert_true(depth(index_.root) < 60);
	for (unsigned i = 0; i < MEMBERS; i++)
		peer_index_drop(&index_, &items[i].member);
}

static void test_nothing_in_it(void **state)
{
	struct peer_key key = {.addr = addr_number(1)};
	struct peer_member none = {0};

	(void)state;
	assert_null(peer_index_find(&index_, &key));
	assert_null(peer_index_from(&index_, &key));
	peer_index_drop(&index_, &none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_in_it),
		cmocka_unit_test(test_random_changes),
		cmocka_unit_test(test_tree_is_flat),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
