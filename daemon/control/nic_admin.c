// SPDX-License-Identifier: MIT
#include "nic_admin.h"

#include <errno.h>
#include <net/if.h>

#include "bpf_objects.h"
#include "clock.h"
#include "log.h"
#include "nics.h"
#include "paths.h"
#include "stale_paths.h"
#include "thread.h"
#include "tunnel.h"

/* How often NICs are looked at: while the control thread is awake anyway, and while it would
 * sleep. Until then the UDP socket has what comes by a queue that was added. */
#define LOOK_NS	     NS_PER_SEC
#define IDLE_LOOK_NS (1500 * NS_PER_MS)

void nic_admin_leave(struct tunnel *tunnel, struct nic *nic, const char *why)
{
	assert_control_thread();
	log_info("%s: %s; %s ends there", nic->name, why,
		 nic_is_filter(nic) ? "the filter" : "AF_XDP");
	paths_drop_nic(tunnel, nic);
	nics_detach(tunnel, nic);
}

static int release(struct tunnel *tunnel, uint32_t ifindex)
{
	struct nic *nic = nics_find(tunnel, ifindex);
	int err = nics_release(tunnel, ifindex);

	if (!err && nic)
		nic_admin_leave(tunnel, nic, "released, as told");
	return err;
}

int nic_admin_request(void *ctx, const char *name, bool attach)
{
	struct tunnel *tunnel = ctx;
	uint32_t ifindex = if_nametoindex(name);
	int err;

	assert_control_thread();
	if (!ifindex)
		return -ENODEV;
	if (!attach)
		return release(tunnel, ifindex);
	err = nics_take(tunnel, ifindex);
	if (!err)
		stale_paths_by_link(tunnel, ifindex);
	return err;
}

static void look_at(struct tunnel *tunnel, struct nic *nic, uint64_t now)
{
	uint32_t ifindex = nic->ifindex;

	if (bpf_objects_lost_xdp(&nic->xdp)) {
		nic_admin_leave(tunnel, nic, "somebody detached the XDP program");
		nics_note_lost(tunnel, ifindex, now);
		stale_paths_by_link(tunnel, ifindex);
	} else if (nic_queues_changed(nic)) {
		nic_admin_leave(tunnel, nic, "its queues were changed");
		nics_want(tunnel, ifindex);
	}
}

void nic_admin_look(struct tunnel *tunnel, uint64_t now)
{
	assert_control_thread();
	if (now < tunnel->nics.looked + LOOK_NS)
		return;
	tunnel->nics.looked = now;
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (tunnel->dp.nics[i])
			look_at(tunnel, tunnel->dp.nics[i], now);
}

uint64_t nic_admin_deadline(const struct tunnel *tunnel)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (tunnel->dp.nics[i])
			return tunnel->nics.looked + IDLE_LOOK_NS;
	return UINT64_MAX;
}
