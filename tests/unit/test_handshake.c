// SPDX-License-Identifier: MIT
/*
 * Handshakes of two tunnels, A and B, over `lo`, without their control threads. So the
 * tests see each message, may change, lose or repeat it, and set the time and the load.
 * Workers run; they put messages from the sockets into the queue that the tests read.
 *
 * The process is in new network and mount namespaces.
 */
#include "namespaces.h"
#include "testutil.h"

#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "config.h"
#include "bpf_objects.h"
#include "identity.h"
#include "kernel_events.h"
#include "listen.h"
#include "paths.h"
#include "receive.h"
#include "tunnel.h"
#include "worker.h"
#include "handshake.h"
#include "peer.h"

#define PORT_A 4001
#define PORT_B 4002
#define YEAR   (365 * 86400LL)

struct end {
	struct tunnel tunnel;
	struct peer *peer; /* the other end */
	uint8_t private_key[WG_KEY_LEN];
	uint8_t public_key[WG_KEY_LEN];
};

struct fixture {
	struct end a, b;
	uint64_t now;
};

/* --- clocks --- */

/* Workers look at clocks, too. */
static _Atomic int64_t wall_step; /* s by which the wall clock was set */
static _Atomic int64_t suspended; /* s by which CLOCK_MONOTONIC stood still */

/* Replaces libc's. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	long err = syscall(SYS_clock_gettime, id, ts);

	if (id == CLOCK_REALTIME)
		ts->tv_sec += wall_step;
	if (id == CLOCK_BOOTTIME || id == CLOCK_REALTIME)
		ts->tv_sec += suspended;
	return (int)err;
}

/* --- devices --- */

static void open_end(struct end *e, const char *ifname, uint16_t port)
{
	static const struct nics none;
	char why[512];

	if (tunnel_open(&e->tunnel, ifname, &none, 1, why, sizeof(why)))
		fail_msg("%s", why);
	randombytes_buf(e->private_key, WG_KEY_LEN);
	assert_int_equal(tunnel_set_private_key(&e->tunnel, e->private_key), 0);
	memcpy(e->public_key, e->tunnel.identity.public_key, WG_KEY_LEN);
	assert_int_equal(tunnel_set_sockets(&e->tunnel, &port, NULL), 0);
	tunnel_set_up(&e->tunnel, true);
	assert_non_null(e->tunnel.dp.udp);
}

static struct endpoint at_port(uint16_t port)
{
	struct endpoint ep;

	memset(&ep, 0, sizeof(ep));
	ep.addr = (struct ip_addr){.family = IP_V4, .bytes = {127, 0, 0, 1}};
	ep.port = port;
	return ep;
}

/* A has an endpoint for B; B has none. */
static int setup(void **state)
{
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) / 64 * 64);
	struct endpoint b = at_port(PORT_B);

	assert_non_null(f);
	open_end(&f->a, "wgh0", PORT_A);
	open_end(&f->b, "wgh1", PORT_B);
	assert_int_equal(peer_create(&f->a.tunnel.peers, f->b.public_key, &f->a.peer), 0);
	assert_int_equal(peer_create(&f->b.tunnel.peers, f->a.public_key, &f->b.peer), 0);
	paths_set_endpoint(f->a.peer, &b);
	f->now = clock_now();
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	tunnel_close(&f->a.tunnel);
	tunnel_close(&f->b.tunnel);
	free(f);
	wall_step = suspended = 0;
	return 0;
}

static uint64_t dropped(const struct end *e, enum drop_reason reason)
{
	return drops_read(&e->tunnel.dp.stats[WG_CONTROL_STATS].drops, reason);
}

static uint64_t dropped_in_all(const struct end *e)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < DROP_REASONS; i++)
		sum += dropped(e, (enum drop_reason)i);
	return sum;
}

/* --- messages on their way --- */

static bool queued(struct end *e, struct handshake_message *m, int ms)
{
	struct pollfd p = {.fd = e->tunnel.dp.handshakes.fd, .events = POLLIN};

	do {
		if (handshake_queue_get(&e->tunnel.dp.handshakes, m))
			return true;
		handshake_queue_quiet(&e->tunnel.dp.handshakes);
		if (handshake_queue_get(&e->tunnel.dp.handshakes, m))
			return true;
	} while (poll(&p, 1, ms) == 1);
	return false;
}

/* Returns the next message that reaches this end, which must be of that type. */
static struct handshake_message arriving(struct end *e, enum wg_message_type type)
{
	struct handshake_message m;

	if (!queued(e, &m, 5000))
		fail_msg("no message of type %d came", type);
	assert_int_equal(le32toh(*(const uint32_t *)m.data), type);
	return m;
}

static void deliver_under(struct end *e, const struct handshake_message *m, bool load,
			  uint64_t now)
{
	handshake_receive(&e->tunnel, m, load, now);
}

static void deliver(struct end *e, const struct handshake_message *m, uint64_t now)
{
	deliver_under(e, m, false, now);
}

/* Must be refused, and counted for this reason only. */
static void assert_refused(struct end *e, const struct handshake_message *m, uint64_t now,
			   enum drop_reason reason)
{
	uint64_t all = dropped_in_all(e), before = dropped(e, reason);

	deliver(e, m, now);
	assert_int_equal(dropped(e, reason), before + 1);
	assert_int_equal(dropped_in_all(e), all + 1);
}

/* Makes mac1 right for `to` after bytes were changed. */
static void sign_again(const struct end *to, struct handshake_message *m)
{
	struct cookie_maker maker;

	cookie_maker_init(&maker, to->public_key);
	cookie_maker_add_macs(&maker, m->data, m->len, 0);
}

/* Waits until a new timestamp is later: they have steps of 17 ms of real time. */
static void pass_time(struct fixture *f)
{
	const struct timespec step = {.tv_nsec = 17000000};

	nanosleep(&step, NULL);
	f->now += WG_REKEY_TIMEOUT * SEC_NS;
}

static struct handshake_message initiation(struct fixture *f)
{
	handshake_initiate(f->a.peer, f->now);
	return arriving(&f->b, WG_INITIATION);
}

/* Returns the response to an initiation of A's. */
static struct handshake_message response(struct fixture *f)
{
	struct handshake_message m = initiation(f);

	deliver(&f->b, &m, f->now);
	return arriving(&f->a, WG_RESPONSE);
}

static void complete(struct fixture *f)
{
	struct handshake_message m = response(f);

	deliver(&f->a, &m, f->now);
	assert_non_null(f->a.peer->current);
}

/* Both ends of one session. */
static void assert_joined(const struct keypair *initiator,
			  const struct keypair *responder)
{
	assert_true(initiator && responder);
	assert_true(initiator->initiator);
	assert_false(responder->initiator);
	assert_true(initiator->ready && responder->ready);
	assert_int_equal(initiator->remote_index, responder->local_index);
	assert_int_equal(responder->remote_index, initiator->local_index);
	assert_memory_equal(initiator->send_key, responder->receive_key, WG_KEY_LEN);
	assert_memory_equal(initiator->receive_key, responder->send_key, WG_KEY_LEN);
	assert_memory_not_equal(initiator->send_key, initiator->receive_key, WG_KEY_LEN);
}

/* --- the handshake --- */

static void test_handshake(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = initiation(f);

	assert_non_null(f->a.peer->pending);
	assert_false(f->a.peer->pending->ready);
	deliver(&f->b, &m, f->now);
	assert_non_null(f->b.peer->next);
	assert_null(f->b.peer->current); /* A has not confirmed it yet */
	assert_int_equal(f->b.peer->last_handshake, 0);
	m = arriving(&f->a, WG_RESPONSE);
	deliver(&f->a, &m, f->now);
	assert_null(f->a.peer->pending);
	assert_joined(f->a.peer->current, f->b.peer->next);
	assert_true(f->a.peer->last_handshake / SEC_NS + 5 > (uint64_t)time(NULL));
	assert_int_equal(dropped_in_all(&f->a) + dropped_in_all(&f->b), 0);
}

static void test_bytes_are_counted(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = response(f);

	assert_int_equal(f->a.peer->wire.tx_bytes, sizeof(struct wg_initiation));
	assert_int_equal(f->b.peer->wire.rx_bytes, sizeof(struct wg_initiation));
	assert_int_equal(f->b.peer->wire.tx_bytes, sizeof(struct wg_response));
	deliver(&f->a, &m, f->now);
	assert_int_equal(f->a.peer->wire.rx_bytes, sizeof(struct wg_response));
	assert_int_equal(f->a.peer->wire.rx_packets, 1);
}

/* And the local address that the peer sent to, to answer from it. */
static void test_responder_learns_the_endpoint(void **state)
{
	struct fixture *f = *state;
	struct endpoint want = at_port(PORT_A);

	want.source = want.addr;
	assert_false(f->b.peer->has_endpoint);
	response(f);
	assert_true(f->b.peer->has_endpoint);
	assert_memory_equal(&f->b.peer->endpoint, &want, sizeof(want));
}

static void test_response_moves_the_endpoint(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = response(f);

	m.from.port = 4009;
	deliver(&f->a, &m, f->now);
	assert_int_equal(f->a.peer->endpoint.port, 4009);
}

static void test_psk(void **state)
{
	struct fixture *f = *state;

	fill_sequence(f->a.peer->remote.psk, WG_KEY_LEN, 1);
	fill_sequence(f->b.peer->remote.psk, WG_KEY_LEN, 1);
	complete(f);
	assert_joined(f->a.peer->current, f->b.peer->next);
}

static void test_psk_of_one_end_only(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m;

	f->a.peer->remote.psk[0] = 1;
	m = response(f);
	assert_refused(&f->a, &m, f->now, DROP_bad_handshake);
	assert_null(f->a.peer->current);
}

/* Both initiate at once; each end must have the keypair that the other uses. */
static void test_initiations_cross(void **state)
{
	struct endpoint a = at_port(PORT_A);
	struct fixture *f = *state;
	struct handshake_message to_a, to_b;

	paths_set_endpoint(f->b.peer, &a);
	handshake_initiate(f->a.peer, f->now);
	handshake_initiate(f->b.peer, f->now);
	to_b = arriving(&f->b, WG_INITIATION);
	to_a = arriving(&f->a, WG_INITIATION);
	deliver(&f->b, &to_b, f->now);
	deliver(&f->a, &to_a, f->now);
	to_a = arriving(&f->a, WG_RESPONSE);
	to_b = arriving(&f->b, WG_RESPONSE);
	deliver(&f->a, &to_a, f->now);
	deliver(&f->b, &to_b, f->now);
	assert_joined(f->a.peer->current,
		      keypairs_find(&f->b.tunnel.peers.keypairs,
				    f->a.peer->current->remote_index));
	assert_joined(f->b.peer->current,
		      keypairs_find(&f->a.tunnel.peers.keypairs,
				    f->b.peer->current->remote_index));
}

/* --- paths --- */

static bool has_unresolved(struct end *e)
{
	return !cds_list_empty(&e->tunnel.peers.unresolved);
}

/* Returns the number of netlink exchanges so far. */
static uint32_t exchanges(const struct fixture *f)
{
	return f->a.tunnel.rtnl.seq + f->b.tunnel.rtnl.seq;
}

/* B has no path to A: it answers at once by a provisional one, and looks the path up
 * later. */
static void test_handshake_asks_the_kernel_nothing(void **state)
{
	struct fixture *f = *state;
	uint32_t before;

	paths_serve(&f->a.tunnel, f->now);
	assert_false(has_unresolved(&f->a));
	before = exchanges(f);
	complete(f);
	assert_int_equal(exchanges(f), before);
	assert_non_null(f->b.peer->path);
	assert_int_equal(f->b.peer->path->route.ifindex, 0);
	assert_true(has_unresolved(&f->b));
	assert_int_equal(paths_deadline(&f->b.tunnel), 0);

	paths_serve(&f->b.tunnel, f->now);
	assert_true(exchanges(f) > before);
	assert_int_equal(f->b.peer->path->route.ifindex, 1); /* lo */
	assert_false(has_unresolved(&f->b));
}

static void test_handshake_from_the_same_endpoint_leaves_the_path(void **state)
{
	struct fixture *f = *state;
	const struct path *path_a, *path_b;

	complete(f);
	paths_serve(&f->a.tunnel, f->now);
	paths_serve(&f->b.tunnel, f->now);
	path_a = f->a.peer->path;
	path_b = f->b.peer->path;
	pass_time(f);
	complete(f);
	assert_ptr_equal(f->a.peer->path, path_a);
	assert_ptr_equal(f->b.peer->path, path_b);
	assert_false(has_unresolved(&f->a));
	assert_false(has_unresolved(&f->b));
}

/* A path MTU that the kernel learnt has expired, for which there is no event. */
static void test_handshake_has_an_old_path_looked_up(void **state)
{
	struct fixture *f = *state;
	uint32_t before;

	complete(f);
	paths_serve(&f->a.tunnel, f->now);
	paths_serve(&f->b.tunnel, f->now);
	before = exchanges(f);
	f->now += 600 * SEC_NS;
	pass_time(f);
	complete(f);
	assert_int_equal(exchanges(f), before);
	assert_true(has_unresolved(&f->a));
	assert_true(has_unresolved(&f->b));
}

static void test_removed_peer_leaves_the_queue(void **state)
{
	struct fixture *f = *state;

	assert_true(has_unresolved(&f->a));
	paths_want(f->a.peer); /* is queued only once */
	peer_remove(f->a.peer);
	assert_false(has_unresolved(&f->a));
}

/* --- in line --- */

static struct peer *another_peer(struct end *e)
{
	struct endpoint nobody = at_port(9);
	uint8_t key[WG_KEY_LEN];
	struct peer *peer;

	randombytes_buf(key, sizeof(key));
	assert_int_equal(peer_create(&e->tunnel.peers, key, &peer), 0);
	paths_set_endpoint(peer, &nobody);
	return peer;
}

static void test_initiations_in_line(void **state)
{
	struct fixture *f = *state;
	struct peer *second = another_peer(&f->a);

	handshake_want(f->a.peer, f->now);
	handshake_want(second, f->now);
	handshake_want(f->a.peer, f->now);
	handshakes_initiate(&f->a.tunnel, 1, f->now);
	assert_int_equal(f->a.peer->wire.tx_packets, 1);
	assert_int_equal(second->wire.tx_packets, 0);
	handshake_want(f->a.peer, f->now); /* due in five seconds */
	handshakes_initiate(&f->a.tunnel, 9, f->now);
	assert_int_equal(f->a.peer->wire.tx_packets, 1);
	assert_int_equal(second->wire.tx_packets, 1);
	assert_true(cds_list_empty(&f->a.tunnel.peers.initiations));
}

/* The response arrives while the initiation waits to be sent again. */
static void test_session_ends_the_wait(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = response(f);

	handshake_want(f->a.peer, f->now + 5 * SEC_NS);
	assert_false(cds_list_empty(&f->a.tunnel.peers.initiations));
	deliver(&f->a, &m, f->now);
	assert_true(cds_list_empty(&f->a.tunnel.peers.initiations));
}

static void test_removed_peer_leaves_the_line(void **state)
{
	struct fixture *f = *state;
	struct peer *second = another_peer(&f->a);

	handshake_want(second, f->now);
	handshake_want(f->a.peer, f->now);
	peer_remove(second);
	handshakes_initiate(&f->a.tunnel, 1, f->now);
	assert_int_equal(f->a.peer->wire.tx_packets, 1);
	assert_true(cds_list_empty(&f->a.tunnel.peers.initiations));
}

static void test_down_clears_the_line(void **state)
{
	struct fixture *f = *state;

	handshake_want(f->a.peer, f->now);
	tunnel_set_up(&f->a.tunnel, false);
	tunnel_set_up(&f->a.tunnel, true);
	handshakes_initiate(&f->a.tunnel, 1, f->now);
	assert_int_equal(f->a.peer->wire.tx_packets, 0);
}

static void test_down_clears_the_queue(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = initiation(f);

	tunnel_set_up(&f->b.tunnel, false);
	deliver(&f->b, &m, f->now);
	assert_null(f->b.peer->next);
	assert_int_equal(f->b.peer->wire.rx_bytes, 0);
}

/* --- what is not sent --- */

static void test_one_initiation_in_five_seconds(void **state)
{
	struct fixture *f = *state;
	struct keypair *pending;
	uint32_t index;

	initiation(f);
	pending = f->a.peer->pending;
	index = pending->local_index;
	handshake_initiate(f->a.peer, f->now);
	handshake_initiate(f->a.peer, f->now + 5 * SEC_NS - 1);
	assert_ptr_equal(f->a.peer->pending, pending);
	assert_int_equal(f->a.peer->wire.tx_packets, 1);
	f->now += 5 * SEC_NS;
	initiation(f);
	assert_ptr_not_equal(f->a.peer->pending, pending);
	assert_null(keypairs_find(&f->a.tunnel.peers.keypairs, index));
	assert_int_equal(f->a.peer->wire.tx_packets, 2);
}

static void test_nothing_is_sent_while_down(void **state)
{
	struct fixture *f = *state;

	tunnel_set_up(&f->a.tunnel, false);
	handshake_initiate(f->a.peer, f->now);
	assert_null(f->a.peer->pending);
	assert_int_equal(f->a.peer->wire.tx_packets, 0);
	assert_int_equal(timers_next(&f->a.peer->timers), UINT64_MAX);
}

/* An initiation that cannot be sent must be tried again. */
static void assert_not_sent(struct fixture *f, struct end *e, enum drop_reason reason)
{
	uint64_t next;

	handshake_initiate(e->peer, f->now);
	assert_int_equal(e->peer->wire.tx_packets, 0);
	if (reason != DROP_REASONS)
		assert_int_equal(dropped(e, reason), 1);
	next = timers_next(&e->peer->timers);
	assert_in_range(next, f->now + 5 * SEC_NS, f->now + 6 * SEC_NS);
	assert_ptr_equal(timerq_first(&e->tunnel.peers.timers), &e->peer->timer_node);
}

static void test_no_endpoint(void **state)
{
	struct fixture *f = *state;

	assert_not_sent(f, &f->b, DROP_no_endpoint);
}

static void test_no_route(void **state)
{
	struct endpoint far = at_port(PORT_B);
	struct fixture *f = *state;

	far.addr = (struct ip_addr){.family = IP_V4, .bytes = {198, 51, 100, 1}};
	paths_set_endpoint(f->a.peer, &far);
	assert_not_sent(f, &f->a, DROP_udp_send_error);
}

static void test_no_key(void **state)
{
	static const uint8_t none[WG_KEY_LEN];
	struct fixture *f = *state;

	tunnel_set_private_key(&f->a.tunnel, none);
	assert_not_sent(f, &f->a, DROP_REASONS);
	assert_null(f->a.peer->pending);
}

/* --- what is refused --- */

/* The received messages must have had no effect on B. */
static void assert_b_untouched(struct fixture *f)
{
	struct handshake_message m;

	assert_null(f->b.peer->next);
	assert_false(f->b.peer->has_endpoint);
	assert_int_equal(f->b.peer->wire.rx_packets, 0);
	assert_int_equal(f->b.peer->wire.tx_packets, 0);
	assert_int_equal(timers_next(&f->b.peer->timers), UINT64_MAX);
	assert_false(queued(&f->a, &m, 0));
}

static void test_wrong_mac1(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = initiation(f);

	m.data[offsetof(struct wg_initiation, mac1)] ^= 1;
	assert_refused(&f->b, &m, f->now, DROP_bad_mac);
	assert_b_untouched(f);
}

/* With a correct mac1, so that only the handshake can detect it. */
static void test_every_byte_of_an_initiation_counts(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = initiation(f), changed;

	for (size_t i = offsetof(struct wg_initiation, ephemeral);
	     i < offsetof(struct wg_initiation, mac1); i++) {
		changed = m;
		changed.data[i] ^= 0x10;
		sign_again(&f->b, &changed);
		assert_refused(&f->b, &changed, f->now, DROP_bad_handshake);
		/* Faster ones would make their source a suspect, which is answered by cookies. */
		f->now += SEC_NS / WORTHLESS_PER_SECOND;
	}
	assert_b_untouched(f);
	deliver(&f->b, &m, f->now); /* the right one is still accepted */
	assert_non_null(f->b.peer->next);
}

static void test_stranger(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = initiation(f);

	peer_remove(f->b.peer);
	assert_refused(&f->b, &m, f->now, DROP_unknown_peer);
	assert_false(queued(&f->a, &m, 0));
}

static void test_responder_without_key(void **state)
{
	static const uint8_t none[WG_KEY_LEN];
	struct fixture *f = *state;
	struct handshake_message m = initiation(f);

	tunnel_set_private_key(&f->b.tunnel, none);
	assert_refused(&f->b, &m, f->now, DROP_bad_mac);
	/* Even with the mac1 of a key of zeros. */
	memset(f->b.public_key, 0, WG_KEY_LEN);
	sign_again(&f->b, &m);
	assert_refused(&f->b, &m, f->now, DROP_bad_handshake);
	assert_b_untouched(f);
}

static void test_replayed_initiation(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = initiation(f);
	struct keypair *next;

	deliver(&f->b, &m, f->now);
	next = f->b.peer->next;
	m.from.port = 4009; /* must not move the endpoint */
	assert_refused(&f->b, &m, f->now + 60 * SEC_NS, DROP_replayed_initiation);
	assert_ptr_equal(f->b.peer->next, next);
	assert_int_equal(f->b.peer->endpoint.port, PORT_A);
	assert_int_equal(f->b.peer->wire.tx_packets, 1);
}

static void test_older_initiation(void **state)
{
	struct fixture *f = *state;
	struct handshake_message first = initiation(f), second;

	pass_time(f);
	second = initiation(f);
	deliver(&f->b, &second, f->now);
	assert_refused(&f->b, &first, f->now + SEC_NS, DROP_replayed_initiation);
}

static void test_initiations_too_frequent(void **state)
{
	struct fixture *f = *state;
	struct handshake_message first = initiation(f), second;

	pass_time(f);
	second = initiation(f);
	deliver(&f->b, &first, f->now);
	assert_refused(&f->b, &second, f->now + 20 * MSEC_NS - 1, DROP_initiation_flood);
	deliver(&f->b, &second, f->now + 20 * MSEC_NS);
	assert_int_equal(f->b.peer->wire.tx_packets, 2);
}

static void test_every_byte_of_a_response_counts(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = response(f), changed;

	for (size_t i = offsetof(struct wg_response, receiver);
	     i < offsetof(struct wg_response, mac1); i++) {
		changed = m;
		changed.data[i] ^= 0x10;
		sign_again(&f->a, &changed);
		assert_refused(&f->a, &changed, f->now, DROP_bad_handshake);
	}
	assert_null(f->a.peer->current);
	assert_int_equal(f->a.peer->wire.rx_packets, 0);
	deliver(&f->a, &m, f->now);
	assert_joined(f->a.peer->current, f->b.peer->next);
}

static void test_replayed_response(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = response(f);
	struct keypair *current;

	deliver(&f->a, &m, f->now);
	current = f->a.peer->current;
	assert_refused(&f->a, &m, f->now, DROP_bad_handshake);
	assert_ptr_equal(f->a.peer->current, current);
	assert_null(f->a.peer->previous);
}

/* A response to an initiation that was replaced by another one. */
static void test_late_response(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = response(f);

	pass_time(f);
	initiation(f);
	assert_refused(&f->a, &m, f->now, DROP_bad_handshake);
	assert_null(f->a.peer->current);
	assert_non_null(f->a.peer->pending);
}

/* The response is delayed, and the peer's own initiation makes a session meanwhile. */
static void test_answer_kept_back(void **state)
{
	struct fixture *f = *state;
	struct endpoint a = at_port(PORT_A);
	struct handshake_message kept = response(f), m;

	pass_time(f);
	paths_set_endpoint(f->b.peer, &a);
	handshake_initiate(f->b.peer, f->now);
	m = arriving(&f->a, WG_INITIATION);
	deliver(&f->a, &m, f->now);
	assert_non_null(f->a.peer->pending);
	assert_true(peer_confirm_keypair(f->a.peer, f->a.peer->next));
	peer_handshake_complete(f->a.peer, f->now);
	assert_null(f->a.peer->pending);
	assert_refused(&f->a, &kept, f->now, DROP_bad_handshake);
}

/* A response with the index of a session instead of a handshake in progress. */
static void test_response_to_a_session(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = response(f);
	struct wg_response *r = (struct wg_response *)m.data;

	deliver(&f->a, &m, f->now);
	pass_time(f);
	initiation(f);
	r->receiver = f->a.peer->current->local_index;
	sign_again(&f->a, &m);
	assert_refused(&f->a, &m, f->now, DROP_bad_handshake);
}

/* --- the wall clock is set --- */

/* A's next handshake must succeed. */
static void assert_answered(struct fixture *f)
{
	struct keypair *before = f->a.peer->current;

	pass_time(f);
	complete(f);
	assert_ptr_not_equal(f->a.peer->current, before);
}

static void test_clock_set_back(void **state)
{
	static const int64_t steps[] = {-1, -3600, -10 * YEAR};
	struct fixture *f = *state;
	unsigned i;

	complete(f);
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		wall_step = steps[i];
		assert_answered(f);
		assert_answered(f);
	}
	wall_step = 10 - time(NULL); /* 1970, before the machine started */
	assert_answered(f);
	wall_step = 0;
	assert_answered(f);
	assert_int_equal(dropped_in_all(&f->b), 0);
}

static void test_clock_set_forward_and_back(void **state)
{
	struct fixture *f = *state;

	complete(f);
	wall_step = 10 * YEAR;
	assert_answered(f);
	wall_step = 0;
	assert_answered(f);
	assert_int_equal(dropped_in_all(&f->b), 0);
}

/* B, which has not seen the wrong time, must not get it later. */
static void test_clock_error_is_not_passed_on(void **state)
{
	struct fixture *f = *state;
	uint8_t latest[WG_TIMESTAMP_LEN];
	struct timespec ts;

	complete(f);
	wall_step = 10 * YEAR;
	pass_time(f);
	initiation(f); /* lost */
	wall_step = 0;
	f->a.peer->timestamp_sent = 0; /* as for another peer */
	assert_answered(f);
	clock_gettime(CLOCK_REALTIME, &ts);
	tai64n_format((uint64_t)ts.tv_sec + 2 * 86400, 0, latest);
	assert_true(memcmp(f->b.peer->answering.latest_timestamp, latest,
			   sizeof(latest)) < 0);
}

/* B remembers timestamps that A has forgotten. */
static void test_clock_set_back_and_peer_made_anew(void **state)
{
	struct endpoint b = at_port(PORT_B);
	struct fixture *f = *state;

	complete(f);
	wall_step = -3600;
	peer_remove(f->a.peer);
	assert_int_equal(peer_create(&f->a.tunnel.peers, f->b.public_key, &f->a.peer), 0);
	paths_set_endpoint(f->a.peer, &b);
	assert_answered(f);
	assert_int_equal(dropped_in_all(&f->b), 0);
}

/* A machine without a battery clock, until it gets the time. */
static void test_clock_that_starts_wrong(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m;

	complete(f);
	f->a.tunnel.wall = (struct wall_clock){0}; /* as at its start */
	f->a.peer->timestamp_sent = 0;
	wall_step = 10 - time(NULL);
	pass_time(f);
	m = initiation(f);
	assert_refused(&f->b, &m, f->now, DROP_replayed_initiation);
	wall_step = 0;
	assert_answered(f);
}

/* If they were later than the clock, those after a restart would be earlier. */
static void test_timestamps_do_not_run_ahead(void **state)
{
	struct fixture *f = *state;
	uint8_t later[WG_TIMESTAMP_LEN];
	struct timespec ts;

	for (int i = 0; i < 5; i++)
		assert_answered(f);
	pass_time(f);
	clock_gettime(CLOCK_REALTIME, &ts);
	tai64n_format((uint64_t)ts.tv_sec, (uint32_t)ts.tv_nsec, later);
	assert_true(memcmp(f->b.peer->answering.latest_timestamp, later, sizeof(later)) <
		    0);
}

static void test_suspend_makes_sessions_old(void **state)
{
	struct fixture *f = *state;

	complete(f);
	assert_true(keypair_may_send(f->a.peer->current, clock_now()));
	suspended = WG_REJECT_AFTER_TIME;
	assert_false(keypair_may_send(f->a.peer->current, clock_now()));
	f->now = clock_now();
	complete(f);
	assert_true(keypair_may_send(f->a.peer->current, clock_now()));
	assert_int_equal(dropped_in_all(&f->b), 0);
}

/* --- the end of a session --- */

/* Waits, because workers run in other threads. */
#define assert_eventually(condition)                                \
	do {                                                        \
		const struct timespec step = {.tv_nsec = 10000000}; \
                                                                    \
		for (int i = 0; i < 500 && !(condition); i++)       \
			nanosleep(&step, NULL);                     \
		assert_true(condition);                             \
	} while (0)

/* Stages packets, all of which are checked before the first takes a counter. */
static void stage_packets(struct peer *peer, unsigned n)
{
	uint8_t bytes[64] = {0x45, 0, 0, sizeof(bytes)};
	const struct inner_packet packet = {.data = bytes, .len = sizeof(bytes)};

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(staged_push(&peer->staged, &packet), 0);
	worker_command(&tunnel_of(peer)->workers, peer, WORKER_SEND_STAGED);
}

/* Waits for the keepalive that confirms the session: a worker sends it, and it takes a counter. */
static void complete_and_confirm(struct fixture *f)
{
	complete(f);
	/* The initiation and the keepalive. */
	assert_eventually(atomic_load(&f->a.peer->wire.tx_packets) == 2);
}

static bool expired(const struct end *e, uint64_t n)
{
	return __atomic_load_n(&e->tunnel.dp.stats[0].drops.key_expired,
			       __ATOMIC_RELAXED) == n;
}

static void test_no_counter_beyond_the_last(void **state)
{
	struct fixture *f = *state;
	struct peer *peer = f->a.peer;
	const uint64_t sent = 2;

	complete_and_confirm(f);
	assert_int_equal(atomic_load(&peer->wire.tx_packets), sent);
	atomic_store(&peer->current->send_counter, WG_REJECT_AFTER_MESSAGES - 3);
	stage_packets(peer, 10);
	assert_eventually(expired(&f->a, 7));
	assert_eventually(atomic_load(&peer->wire.tx_packets) == sent + 3);
	assert_int_equal(atomic_load(&peer->current->send_counter),
			 WG_REJECT_AFTER_MESSAGES);
	assert_true(atomic_load(&peer->events_urgent) & EVENT_WANT_HANDSHAKE);
}

/* The first batch has 64 packets and one counter. A packet that was checked before begins
 * the second batch, which has no counter. Later packets wait for the next session. */
static void test_no_counter_left_for_a_batch(void **state)
{
	struct fixture *f = *state;
	struct peer *peer = f->a.peer;

	complete_and_confirm(f);
	atomic_store(&peer->current->send_counter, WG_REJECT_AFTER_MESSAGES - 1);
	stage_packets(peer, STAGED_MAX_PACKETS);
	assert_eventually(expired(&f->a, BATCH_SIZE));
	assert_eventually(atomic_load(&peer->staged.count) ==
			  STAGED_MAX_PACKETS - BATCH_SIZE - 1);
	atomic_store(&peer->current->send_counter, 0); /* the next session */
	stage_packets(peer, 1);
	assert_eventually(staged_empty(&peer->staged));
	assert_true(expired(&f->a, BATCH_SIZE));
}

/* --- under load --- */

/* B is under load; A must get a cookie and nothing else. */
static void take_cookie(struct fixture *f)
{
	struct handshake_message m = initiation(f);

	deliver_under(&f->b, &m, true, f->now);
	m = arriving(&f->a, WG_COOKIE_REPLY);
	assert_b_untouched(f);
	assert_int_equal(dropped_in_all(&f->b), 0);
	deliver(&f->a, &m, f->now);
	assert_int_equal(dropped_in_all(&f->a), 0);
}

static void test_cookie(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m;

	take_cookie(f);
	assert_int_equal(f->a.peer->wire.rx_bytes, 0); /* as the kernel counts */
	assert_non_null(f->a.peer->pending);	       /* it will try again */
	pass_time(f);
	m = initiation(f);
	deliver_under(&f->b, &m, true, f->now);
	m = arriving(&f->a, WG_RESPONSE);
	deliver(&f->a, &m, f->now);
	assert_joined(f->a.peer->current, f->b.peer->next);
}

/* Returns how many cookie replies workers have refused before queueing. */
static uint64_t refused_cookies(const struct end *e)
{
	return drops_read(&e->tunnel.dp.stats[0].drops, DROP_bad_cookie);
}

static void test_cookie_of_another_port(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m;

	take_cookie(f);
	pass_time(f);
	m = initiation(f);
	m.from.port =
		PORT_B; /* so B's cookie reply goes to B, which knows no such keypair */
	deliver_under(&f->b, &m, true, f->now);
	assert_null(f->b.peer->next);
	assert_eventually(refused_cookies(&f->b) == 1);
}

static void test_wrong_mac1_under_load(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = initiation(f);

	m.data[offsetof(struct wg_initiation, mac1)] ^= 1;
	deliver_under(&f->b, &m, true, f->now);
	assert_int_equal(dropped(&f->b, DROP_bad_mac), 1);
	assert_b_untouched(f);
}

/* 5 at once and 20 per second from one address. Uses replays, which are cheap to send. */
static void test_rate_limit(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m;

	take_cookie(f);
	pass_time(f);
	m = initiation(f);
	for (int i = 0; i < 8; i++)
		deliver_under(&f->b, &m, true, f->now);
	assert_int_equal(dropped(&f->b, DROP_replayed_initiation), 4);
	assert_int_equal(dropped(&f->b, DROP_rate_limited), 3);
	f->now += SEC_NS;
	deliver_under(&f->b, &m, true, f->now);
	assert_int_equal(dropped(&f->b, DROP_replayed_initiation), 5);
	assert_int_equal(dropped(&f->b, DROP_rate_limited), 3);
}

/* An initiator under load accepts a response, because it has asked for it. */
static void test_response_under_load(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = response(f);

	deliver_under(&f->a, &m, true, f->now);
	assert_joined(f->a.peer->current, f->b.peer->next);
}

static void test_response_with_wrong_mac1(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = response(f), wrong = m;

	wrong.data[offsetof(struct wg_response, mac1)] ^= 1;
	deliver_under(&f->a, &wrong, false, f->now);
	deliver_under(&f->a, &wrong, true, f->now);
	assert_int_equal(dropped(&f->a, DROP_bad_mac), 2);
	assert_int_equal(dropped_in_all(&f->a), 2);
	deliver_under(&f->a, &m, true, f->now);
	assert_joined(f->a.peer->current, f->b.peer->next);
}

/* After a response that may be forged, the next one needs a cookie. */
static void test_forged_response_under_load(void **state)
{
	struct fixture *f = *state;
	struct handshake_message m = response(f), forged = m;

	forged.data[offsetof(struct wg_response, encrypted_nothing)] ^= 1;
	sign_again(&f->a, &forged);
	deliver_under(&f->a, &forged, true, f->now);
	assert_int_equal(dropped(&f->a, DROP_bad_handshake), 1);
	deliver_under(&f->a, &m, true, f->now);
	assert_null(f->a.peer->current);
	m = arriving(&f->b, WG_COOKIE_REPLY);
	deliver(&f->b, &m, f->now);
	assert_int_equal(dropped_in_all(&f->b), 0);
	pass_time(f);
	m = response(f);
	deliver_under(&f->a, &m, true, f->now);
	assert_joined(f->a.peer->current, f->b.peer->next);
}

static void test_cookie_replies_refused(void **state)
{
	struct fixture *f = *state;
	struct handshake_message right = initiation(f), m;
	struct wg_cookie_reply *r = (struct wg_cookie_reply *)m.data;

	deliver_under(&f->b, &right, true, f->now);
	right = m = arriving(&f->a, WG_COOKIE_REPLY);
	r->receiver ^= 1;
	assert_refused(&f->a, &m, f->now, DROP_bad_cookie);
	m = right;
	r->encrypted_cookie[0] ^= 1;
	assert_refused(&f->a, &m, f->now, DROP_bad_cookie);
	assert_int_equal(f->a.peer->wire.rx_packets, 0);
	deliver(&f->a, &right, f->now); /* still accepted */
	assert_true(f->a.peer->cookie.have_cookie);
	assert_refused(&f->a, &right, f->now, DROP_bad_cookie); /* accepted only once */
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
	T(test_handshake),
	T(test_bytes_are_counted),
	T(test_responder_learns_the_endpoint),
	T(test_response_moves_the_endpoint),
	T(test_psk),
	T(test_psk_of_one_end_only),
	T(test_initiations_cross),
	T(test_handshake_asks_the_kernel_nothing),
	T(test_handshake_from_the_same_endpoint_leaves_the_path),
	T(test_handshake_has_an_old_path_looked_up),
	T(test_removed_peer_leaves_the_queue),
	T(test_initiations_in_line),
	T(test_session_ends_the_wait),
	T(test_removed_peer_leaves_the_line),
	T(test_down_clears_the_line),
	T(test_down_clears_the_queue),
	T(test_one_initiation_in_five_seconds),
	T(test_nothing_is_sent_while_down),
	T(test_no_endpoint),
	T(test_no_route),
	T(test_no_key),
	T(test_wrong_mac1),
	T(test_every_byte_of_an_initiation_counts),
	T(test_stranger),
	T(test_responder_without_key),
	T(test_replayed_initiation),
	T(test_older_initiation),
	T(test_initiations_too_frequent),
	T(test_every_byte_of_a_response_counts),
	T(test_replayed_response),
	T(test_late_response),
	T(test_answer_kept_back),
	T(test_response_to_a_session),
	T(test_clock_set_back),
	T(test_clock_set_forward_and_back),
	T(test_clock_error_is_not_passed_on),
	T(test_clock_set_back_and_peer_made_anew),
	T(test_clock_that_starts_wrong),
	T(test_timestamps_do_not_run_ahead),
	T(test_suspend_makes_sessions_old),
	T(test_no_counter_beyond_the_last),
	T(test_no_counter_left_for_a_batch),
	T(test_cookie),
	T(test_cookie_of_another_port),
	T(test_wrong_mac1_under_load),
	T(test_rate_limit),
	T(test_response_under_load),
	T(test_response_with_wrong_mac1),
	T(test_forged_response_under_load),
	T(test_cookie_replies_refused),
};

int main(void)
{
	return run_in_namespaces(tests);
}
