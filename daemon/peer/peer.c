// SPDX-License-Identifier: MIT
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bpf_objects.h"
#include "log.h"
#include "peers.h"
#include "thread.h"

/* --- keypairs --- */

static void retire(struct peer *peer, struct keypair *kp)
{
	if (!kp)
		return;
	bpf_objects_remove_session(peer->peers->bpf, kp->local_index);
	keypair_drop(&peer->peers->keypairs, kp);
}

/* The responder has the keys, so as initiator we send under them at once. The peer may still send
 * under a `next` that was not confirmed. */
static void begin_as_initiator(struct peer *peer, struct keypair *kp)
{
	struct keypair *previous = peer->previous, *current = peer->current;

	rcu_assign_pointer(peer->current, kp);
	retire(peer, previous);
	if (peer->next) {
		retire(peer, current);
		peer->previous = peer->next;
		rcu_assign_pointer(peer->next, NULL);
	} else {
		peer->previous = current;
	}
}

/* As responder we may not send under the keypair until the initiator has used it. */
static void begin_as_responder(struct peer *peer, struct keypair *kp)
{
	struct keypair *unused = peer->next;

	rcu_assign_pointer(peer->next, kp);
	retire(peer, unused);
	retire(peer, peer->previous);
	peer->previous = NULL;
}

int peer_use_keypair(struct peer *peer, struct keypair *kp, uint64_t now)
{
	assert_control_thread();
	int err = bpf_objects_add_session(peer->peers->bpf, kp->local_index, peer->slot);

	if (err) {
		log_error("no session with a peer, for now: BPF map: %s", strerror(-err));
		keypair_drop(&peer->peers->keypairs, kp);
		return err;
	}
	if (kp->initiator)
		begin_as_initiator(peer, kp);
	else
		begin_as_responder(peer, kp);
	timers_session_derived(&peer->timers, now);
	return 0;
}

bool peer_confirm_keypair(struct peer *peer, struct keypair *kp)
{
	assert_control_thread();
	if (!kp || kp != peer->next)
		return false;
	retire(peer, peer->previous);
	peer->previous = peer->current;
	rcu_assign_pointer(peer->current, kp);
	rcu_assign_pointer(peer->next, NULL);
	return true;
}

/* Forgets our own initiation if it was lost: its answer, if somebody held that back, must not make
 * a session that the peer has long forgotten. Initiations that cross are younger. */
static void end_stale_initiation(struct peer *peer, uint64_t now)
{
	if (!peer->pending || !timers_may_initiate(&peer->timers, now))
		return;
	keypair_drop(&peer->peers->keypairs, peer->pending);
	peer->pending = NULL;
	noise_handshake_clear(&peer->initiating);
}

void peer_handshake_complete(struct peer *peer, uint64_t now)
{
	struct timespec ts;

	assert_control_thread();
	clock_gettime(CLOCK_REALTIME, &ts);
	peer->last_handshake = (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
	end_stale_initiation(peer, now);
	timers_handshake_complete(&peer->timers, now);
	cds_list_del_init(&peer->initiate);
	peer_reschedule(peer);
}

void peer_end_handshake(struct peer *peer)
{
	assert_control_thread();
	keypair_drop(&peer->peers->keypairs, peer->pending);
	peer->pending = NULL;
	noise_handshake_clear(&peer->initiating);
	noise_handshake_clear(&peer->answering);
}

void peer_drop_keypairs(struct peer *peer)
{
	struct keypair *current = peer->current, *next = peer->next;

	assert_control_thread();
	rcu_assign_pointer(peer->current, NULL);
	rcu_assign_pointer(peer->next, NULL);
	retire(peer, current);
	retire(peer, peer->previous);
	retire(peer, next);
	peer->previous = NULL;
}

/* --- endpoint, path, counters --- */

void peer_publish_path(struct peer *peer, struct path *path)
{
	struct path *old;

	pthread_mutex_lock(&peer->roam_lock);
	old = peer->path;
	rcu_assign_pointer(peer->path, path);
	pthread_mutex_unlock(&peer->roam_lock);
	path_free_deferred(old);
}

void peer_note_endpoint(struct peer *peer, const struct endpoint *ep)
{
	assert_control_thread();
	/* An answer from the configured endpoint only adds which address of ours it is for. */
	if (!ip_addr_equal(&peer->endpoint.addr, &ep->addr) ||
	    peer->endpoint.port != ep->port)
		peer->configured = false;
	peer->endpoint = *ep;
	peer->has_endpoint = true;
}

void peer_resolve(struct peer *peer)
{
	assert_control_thread();
	if (cds_list_empty(&peer->resolve))
		cds_list_add_tail(&peer->resolve, &peer->peers->unresolved);
}

void peer_resolve_at(struct peer *peer, uint64_t when)
{
	struct timerq_node *node = &peer->resolve_later;

	assert_control_thread();
	if (node->index && node->deadline <= when)
		return;
	if (timerq_set(&peer->peers->resolutions, node, when))
		peer_resolve(peer);
}

void peer_reschedule(struct peer *peer)
{
	assert_control_thread();
	if (timerq_set(&peer->peers->timers, &peer->timer_node,
		       timers_next(&peer->timers)))
		log_error("no memory for a timer");
}
