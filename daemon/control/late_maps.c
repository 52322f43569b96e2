// SPDX-License-Identifier: MIT
#include "late_maps.h"

#include <string.h>

#include "bpf_objects.h"
#include "clock.h"
#include "log.h"
#include "thread.h"
#include "tunnel.h"

#define RETRY_NS (20 * NS_PER_MS)
/* Shorter shortages are not logged. */
#define LASTS_NS NS_PER_SEC

size_t late_maps_count(const struct tunnel *tunnel)
{
	size_t n = peers_late(&tunnel->peers) + bpf_objects_config_late(tunnel->bpf);

	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		n += tunnel->dp.nics[i] && tunnel->dp.nics[i]->late;
	return n;
}

static int serve_late_nics(struct tunnel *tunnel)
{
	int err = 0;

	for (unsigned i = 0; !err && i < WG_MAX_NICS; i++)
		if (tunnel->dp.nics[i] && tunnel->dp.nics[i]->late)
			err = nic_serve_queues(tunnel->bpf, tunnel->dp.nics[i]);
	return err;
}

static int catch_up(struct tunnel *tunnel)
{
	int err = 0;

	if (bpf_objects_config_late(tunnel->bpf))
		err = bpf_objects_write_config(tunnel->bpf);
	if (!err)
		err = serve_late_nics(tunnel);
	return err ? err : peers_catch_up(&tunnel->peers);
}

static void note_count(struct tunnel *tunnel, size_t count, int err, uint64_t now)
{
	struct late_maps *late = &tunnel->late_maps;

	if (err && !late->said && now >= late->since + LASTS_NS) {
		late->said = true;
		log_error("BPF maps lack %zu changes, trying again: %s", count,
			  strerror(-err));
	} else if (!count && late->said) {
		log_info("BPF maps have all changes now");
	}
	if (!count)
		*late = (struct late_maps){0};
}

void late_maps_serve(struct tunnel *tunnel, uint64_t now)
{
	struct late_maps *late = &tunnel->late_maps;
	int err;

	assert_control_thread();
	if (now < late_maps_deadline(tunnel))
		return;
	if (!late->since)
		late->since = now;
	err = catch_up(tunnel);
	late->next = err ? now + RETRY_NS : now;
	note_count(tunnel, late_maps_count(tunnel), err, now);
}

uint64_t late_maps_deadline(const struct tunnel *tunnel)
{
	return late_maps_count(tunnel) ? tunnel->late_maps.next : UINT64_MAX;
}
