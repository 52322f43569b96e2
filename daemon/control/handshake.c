// SPDX-License-Identifier: MIT
#include "handshake.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <sodium.h>

#include "clock.h"
#include "flood.h"
#include "log.h"
#include "paths.h"
#include "peer.h"
#include "thread.h"
#include "tunnel.h"
#include "udp.h"

/* Initiations and responses are marked AF41 (RFC 2597), as the kernel's WireGuard does, so that a
 * full link does not cost the session. Data and cookies are not marked. */
#define HANDSHAKE_TOS 0x88

static void count_sent(struct peer *peer, size_t len)
{
	atomic_fetch_add(&peer->wire.tx_bytes, len);
	atomic_fetch_add(&peer->wire.tx_packets, 1);
}

static void count_received(struct peer *peer, size_t len)
{
	atomic_fetch_add(&peer->wire.rx_bytes, len);
	atomic_fetch_add(&peer->wire.rx_packets, 1);
}

/* Fills in the macs and sends to the peer's endpoint by the UDP socket: handshakes are few, and
 * the kernel learns from them that the neighbour is in use. */
static void send_to_peer(struct peer *peer, void *message, size_t len, uint64_t now)
{
	struct tunnel *tunnel = tunnel_of(peer);
	bool stale = routing_news_pending(&tunnel->dp.news);
	const struct path *path = rcu_dereference(peer->path);

	cookie_maker_add_macs(&peer->cookie, message, len, now);
	if (!tunnel->dp.udp || !path ||
	    udp_send(tunnel->dp.udp, path, stale, HANDSHAKE_TOS, message, len)) {
		tunnel_drop(tunnel, path ? DROP_udp_send_error : DROP_no_endpoint, 1);
		return;
	}
	count_sent(peer, len);
	timers_authenticated_sent(&peer->timers, now);
}

/* Writes "90 s" or "3650 days" to `out`, rounded. */
static void format_duration(uint64_t ns, char *out, size_t size)
{
	const uint64_t seconds = (ns + NS_PER_SEC / 2) / NS_PER_SEC, day = 86400;

	if (seconds < 2 * day)
		snprintf(out, size, "%" PRIu64 " s", seconds);
	else
		snprintf(out, size, "%" PRIu64 " days", (seconds + day / 2) / day);
}

static void log_clock_step(const struct wall_look *look)
{
	char by[32], lead[32];

	format_duration(look->by, by, sizeof(by));
	format_duration(look->lead, lead, sizeof(lead));
	if (look->step == WALL_FORWARD)
		log_info("the wall clock was set forward by %s: peers remember the "
			 "latest time of our handshakes, and after a restart they refuse "
			 "earlier ones; if the new time is wrong, set the clock right at "
			 "once (a peer that refuses has to remove us and add us again)",
			 by);
	else if (look->step == WALL_BACKWARD)
		log_info("the wall clock was set back by %s: handshakes go on, with "
			 "times up to %s ahead of it; after a restart peers refuse them "
			 "until the clock shows the latest time that they know, so set "
			 "the clock right before a restart",
			 by, lead);
}

static void timestamp_now(struct peer *peer, uint8_t out[WG_TIMESTAMP_LEN])
{
	struct wall_look look;
	struct timespec ts;
	uint64_t wall, t;

	/* The wall clock first: if it were second, a pause between the two would make our
	 * timestamps run ahead of it. */
	clock_gettime(CLOCK_REALTIME, &ts);
	wall = (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
	look = wall_clock_look(&tunnel_of(peer)->wall, wall, clock_now());
	log_clock_step(&look);
	t = wall_clock_after(&peer->timestamp_sent, look.timestamp);
	tai64n_format(t / NS_PER_SEC, (uint32_t)(t % NS_PER_SEC), out);
}

/* --- as initiator --- */

static int create_initiation(struct peer *peer, struct wg_initiation *msg)
{
	struct tunnel *tunnel = tunnel_of(peer);
	uint8_t timestamp[WG_TIMESTAMP_LEN];
	struct keypair *kp = keypair_new(&tunnel->peers.keypairs, peer);
	int err;

	if (!kp)
		return -ENOMEM;
	timestamp_now(peer, timestamp);
	err = noise_create_initiation(&peer->initiating, &tunnel->identity, &peer->remote,
				      timestamp, kp->local_index, msg);
	if (err) {
		keypair_drop(&tunnel->peers.keypairs, kp);
		return err;
	}
	keypair_drop(&tunnel->peers.keypairs, peer->pending);
	peer->pending = kp;
	peer->got_wrong_response = false;
	return 0;
}

void handshake_initiate(struct peer *peer, uint64_t now)
{
	struct wg_initiation msg;

	assert_control_thread();
	if (!tunnel_of(peer)->up || !timers_may_initiate(&peer->timers, now))
		return;
	timers_handshake_initiated(&peer->timers, now);
	if (!create_initiation(peer, &msg))
		send_to_peer(peer, &msg, sizeof(msg), now);
	sodium_memzero(&msg, sizeof(msg));
	peer_reschedule(peer);
}

void handshake_want(struct peer *peer, uint64_t now)
{
	assert_control_thread();
	if (cds_list_empty(&peer->initiate) && timers_may_initiate(&peer->timers, now))
		cds_list_add_tail(&peer->initiate, &peer->peers->initiations);
}

void handshakes_initiate(struct tunnel *tunnel, unsigned limit, uint64_t now)
{
	assert_control_thread();
	if (!tunnel->up && tunnel->up_wanted) /* they wait for it */
		return;
	while (limit-- && !cds_list_empty(&tunnel->peers.initiations)) {
		struct peer *peer = cds_list_first_entry(&tunnel->peers.initiations,
							 struct peer, initiate);

		cds_list_del_init(&peer->initiate);
		handshake_initiate(peer, now);
	}
}

/* The handshake under way that a response answers, or NULL. */
static struct keypair *find_handshake(struct tunnel *tunnel,
				      const struct handshake_message *m)
{
	const struct wg_response *msg = (const void *)m->data;
	struct keypair *kp = keypairs_find(&tunnel->peers.keypairs, msg->receiver);

	return kp && kp == kp->peer->pending ? kp : NULL;
}

static void receive_response(struct tunnel *tunnel, const struct handshake_message *m,
			     struct keypair *kp, uint64_t now)
{
	const struct wg_response *msg = (const void *)m->data;
	struct peer *peer = kp->peer;
	struct noise_keys keys;

	if (noise_consume_response(&peer->initiating, &tunnel->identity, &peer->remote,
				   msg) ||
	    noise_derive_keys(&peer->initiating, &keys)) {
		peer->got_wrong_response = true;
		tunnel_drop(tunnel, DROP_bad_handshake, 1);
		return;
	}
	keypair_activate(kp, &keys, now);
	sodium_memzero(&keys, sizeof(keys));
	peer->pending = NULL;
	count_received(peer, sizeof(*msg));
	timers_authenticated_received(&peer->timers, now);
	paths_note_way(peer, m);
	if (peer_use_keypair(peer, kp, now))
		return;
	paths_refresh(peer, now);
	peer_handshake_complete(peer, now);
	worker_command(&tunnel->workers, peer, WORKER_CONFIRM);
}

/* --- as responder --- */

static enum drop_reason drop_reason_of(int err)
{
	return err == -ESTALE  ? DROP_replayed_initiation
	       : err == -EBUSY ? DROP_initiation_flood
			       : DROP_bad_handshake;
}

/* Sends the response. The session begins as the peer's `next` keypair, until the initiator uses
 * it. */
static void respond(struct peer *peer, uint64_t now)
{
	struct tunnel *tunnel = tunnel_of(peer);
	struct keypair *kp = keypair_new(&tunnel->peers.keypairs, peer);
	struct wg_response response;
	struct noise_keys keys;

	if (!kp)
		return;
	if (noise_create_response(&peer->answering, &peer->remote, kp->local_index,
				  &response) ||
	    noise_derive_keys(&peer->answering, &keys)) {
		tunnel_drop(tunnel, DROP_bad_handshake, 1);
		keypair_drop(&tunnel->peers.keypairs, kp);
		return;
	}
	keypair_activate(kp, &keys, now);
	sodium_memzero(&keys, sizeof(keys));
	if (peer_use_keypair(peer, kp, now))
		return;
	paths_refresh(peer, now);
	send_to_peer(peer, &response, sizeof(response), now);
}

/* An initiation that comes too soon after another one of its peer may be good, so it does not count
 * against its source. */
static void drop_initiation(struct tunnel *tunnel, const struct handshake_message *m,
			    enum drop_reason reason, uint64_t now)
{
	tunnel_drop(tunnel, reason, 1);
	if (reason != DROP_initiation_flood)
		flood_note_worthless(tunnel, &m->from.addr, now);
}

static void receive_initiation(struct tunnel *tunnel, const struct handshake_message *m,
			       uint64_t now)
{
	const struct wg_initiation *msg = (const void *)m->data;
	struct noise_peek peek;
	struct peer *peer;
	int err;

	if (noise_open_initiation(&tunnel->identity, msg, &peek)) {
		drop_initiation(tunnel, m, DROP_bad_handshake, now);
		return;
	}
	peer = peer_find(&tunnel->peers, peek.remote_static);
	if (!peer) {
		drop_initiation(tunnel, m, DROP_unknown_peer, now);
		goto out;
	}
	err = noise_consume_initiation(&peer->answering, &peer->remote, &peek, msg, now);
	if (err) {
		drop_initiation(tunnel, m, drop_reason_of(err), now);
		goto out;
	}
	count_received(peer, sizeof(*msg));
	timers_authenticated_received(&peer->timers, now);
	paths_note_way(peer, m);
	respond(peer, now);
	peer_reschedule(peer);
out:
	sodium_memzero(&peek, sizeof(peek));
}

/* --- cookies --- */

static void receive_cookie_reply(struct tunnel *tunnel, const struct handshake_message *m,
				 uint64_t now)
{
	const struct wg_cookie_reply *msg = (const void *)m->data;
	struct keypair *kp = keypairs_find(&tunnel->peers.keypairs, msg->receiver);

	if (!kp || cookie_maker_consume_reply(&kp->peer->cookie, msg, now))
		tunnel_drop(tunnel, DROP_bad_cookie, 1);
}

static void send_cookie(struct tunnel *tunnel, const struct handshake_message *m,
			uint64_t now)
{
	const struct endpoint *from = &m->from;
	uint32_t sender = ((const struct wg_initiation *)m->data)->sender;
	struct wg_cookie_reply reply;
	struct path path;

	path_init(&path, from);
	if (!cookie_reply_create(&tunnel->cookies, m->data, m->len, sender, &from->addr,
				 from->port, now, &reply) &&
	    tunnel->dp.udp &&
	    udp_send(tunnel->dp.udp, &path, false, 0, &reply, sizeof(reply)))
		tunnel_drop(tunnel, DROP_udp_send_error, 1);
	flood_publish_secret(tunnel);
}

/* Replays that are answered by cookies are not recognised. Who sends them uses none of these cookies,
 * so it becomes or remains a suspect. */
static void note_no_cookie(struct tunnel *tunnel, const struct handshake_message *m,
			   uint64_t now)
{
	if (le32toh(*(const uint32_t *)m->data) == WG_INITIATION)
		flood_note_worthless(tunnel, &m->from.addr, now);
}

/* Returns true if the message may cost more work than the check of its macs (section 5.3).
 * `wants_cookie`: only if it has a cookie, else it is answered with one. */
static bool admit(struct tunnel *tunnel, const struct handshake_message *m,
		  bool wants_cookie, uint64_t now)
{
	const struct endpoint *from = &m->from;
	enum cookie_verdict verdict = cookie_check(&tunnel->cookies, m->data, m->len,
						   &from->addr, from->port, now);

	if (verdict == COOKIE_BAD_MAC1) {
		tunnel_drop(tunnel, DROP_bad_mac, 1);
		return false;
	}
	if (!wants_cookie)
		return true;
	if (verdict == COOKIE_MAC1_OK) {
		send_cookie(tunnel, m, now);
		note_no_cookie(tunnel, m, now);
		return false;
	}
	if (!ratelimit_allow(&tunnel->ratelimit, &from->addr, now)) {
		tunnel_drop(tunnel, DROP_rate_limited, 1);
		return false;
	}
	return true;
}

static void serve_response(struct tunnel *tunnel, const struct handshake_message *m,
			   bool under_load, uint64_t now)
{
	struct keypair *kp = find_handshake(tunnel, m);

	if (!admit(tunnel, m, under_load && kp && kp->peer->got_wrong_response, now))
		return;
	if (kp)
		receive_response(tunnel, m, kp, now);
	else
		tunnel_drop(tunnel, DROP_bad_handshake, 1);
}

void handshake_receive(struct tunnel *tunnel, const struct handshake_message *m,
		       bool under_load, uint64_t now)
{
	assert_control_thread();
	uint32_t type = le32toh(*(const uint32_t *)m->data);

	if (!tunnel->up) /* the message was queued before wg0 went down */
		return;
	if (type == WG_COOKIE_REPLY)
		receive_cookie_reply(tunnel, m, now);
	else if (type == WG_RESPONSE)
		serve_response(tunnel, m, under_load, now);
	else if (admit(tunnel, m,
		       under_load || flood_is_suspicious(tunnel, &m->from.addr, now),
		       now))
		receive_initiation(tunnel, m, now);
}
