// SPDX-License-Identifier: MIT
#include "flood.h"

#include "bpf_objects.h"
#include "clock.h"
#include "thread.h"
#include "tunnel.h"

/* A queue this long means that the daemon cannot keep up. */
#define LOAD_BACKLOG 64
#define COOKIE_NS    (WG_COOKIE_LIFETIME * NS_PER_SEC)

bool flood_note_backlog(struct tunnel *tunnel, unsigned backlog, uint64_t now)
{
	uint64_t *until = (uint64_t *)&bpf_objects_defence(tunnel->bpf)->load_until;

	assert_control_thread();
	if (backlog >= LOAD_BACKLOG)
		__atomic_store_n(until, now + WG_LOAD_LASTS_NS, __ATOMIC_RELAXED);
	return now < __atomic_load_n(until, __ATOMIC_RELAXED);
}

void flood_note_worthless(struct tunnel *tunnel, const struct ip_addr *source,
			  uint64_t now)
{
	assert_control_thread();
	if (!ratelimit_allow(&tunnel->worthless, source, now))
		bpf_objects_set_suspect(tunnel->bpf, source, now + WG_SUSPECT_NS);
}

bool flood_is_suspicious(struct tunnel *tunnel, const struct ip_addr *source,
			 uint64_t now)
{
	assert_control_thread();
	return ratelimit_exceeded(&tunnel->worthless, source, now);
}

void flood_publish_secret(struct tunnel *tunnel)
{
	const struct cookie_checker *c = &tunnel->cookies;
	uint64_t until = c->have_secret ? c->secret_time + COOKIE_NS : 0;

	assert_control_thread();
	if (bpf_objects_defence(tunnel->bpf)->cookie_until != until)
		bpf_objects_set_cookie_secret(tunnel->bpf,
					      c->have_secret ? c->secret : NULL, until);
}
