// SPDX-License-Identifier: MIT
#include "default_routes.h"

#include <sys/socket.h>

#include "clock.h"
#include "nics.h"
#include "rtnl_query.h"
#include "thread.h"
#include "tunnel.h"

/* After an error of the look-up itself. */
#define RETRY_NS NS_PER_SEC

void default_routes_changed(struct tunnel *tunnel)
{
	assert_control_thread();
	uint64_t due = clock_now() + SETTLE_NS;

	if (due < tunnel->default_routes_due)
		tunnel->default_routes_due = due;
}

static int want_devices(struct tunnel *tunnel, int family)
{
	struct rtnl_hops hops;
	int err = rtnl_default_hops(&tunnel->rtnl, family, tunnel->fwmark, &hops);

	for (unsigned i = 0; i < hops.count; i++)
		nics_want(tunnel, hops.links[i]);
	return err;
}

void default_routes_serve(struct tunnel *tunnel, uint64_t now)
{
	int v4, v6;

	assert_control_thread();
	if (now < default_routes_deadline(tunnel))
		return;
	v4 = want_devices(tunnel, AF_INET);
	v6 = want_devices(tunnel, AF_INET6);
	tunnel->default_routes_due = v4 || v6 ? now + RETRY_NS : UINT64_MAX;
}

uint64_t default_routes_deadline(const struct tunnel *tunnel)
{
	assert_control_thread();
	return tunnel->up && tunnel->nics.automatic ? tunnel->default_routes_due
						    : UINT64_MAX;
}
