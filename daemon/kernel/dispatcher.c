// SPDX-License-Identifier: MIT
#include "dispatcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "log.h"
#include "thread.h"
#include "wg_maps.h"

#include "nic.skel.h"

/* The dispatcher calls programs in the order of this number; libxdp's default is 50. Ours comes
 * after the others, because no later program sees the packets that it takes. */
#define RUN_PRIO 100
/* The number of programs that fit into a dispatcher. */
#define PROGRAMS_MAX 10
#define MAPS_MAX     32 /* of a program; it has fewer */
/* libxdp locks this directory while it changes a dispatcher. */
#define LOCKED_DIR "/sys/fs/bpf/xdp"
/* How often, and after how long each time, to try again while it is locked. */
#define LOCK_STEPS   20
#define LOCK_STEP_NS 10000000

struct dispatcher_place {
	uint32_t ifindex;
	uint32_t dispatcher; /* ID of the one that had our program last */
	enum xdp_attach_mode mode;
	struct nic_bpf *obj;
	struct xdp_program *prog;
};

/* --- looking at a dispatcher --- */

/* Returns the XDP programs of the device, which the caller closes. Returns NULL on error and sets
 * *err: -ENOENT if it has none. */
static struct xdp_multiprog *programs_of(uint32_t ifindex, int *err)
{
	struct xdp_multiprog *mp = xdp_multiprog__get_from_ifindex((int)ifindex);

	*err = (int)libxdp_get_error(mp);
	return *err ? NULL : mp;
}

bool dispatcher_is_on(uint32_t ifindex)
{
	assert_control_thread();
	int err;
	struct xdp_multiprog *mp = programs_of(ifindex, &err);
	bool is = mp && !xdp_multiprog__is_legacy(mp);

	xdp_multiprog__close(mp);
	return is;
}

static uint32_t main_id(const struct xdp_multiprog *mp)
{
	const struct xdp_program *prog = xdp_multiprog__main_prog(mp);

	return prog ? xdp_program__id(prog) : 0;
}

static bool has_program(const struct xdp_multiprog *mp, uint32_t id)
{
	const struct xdp_program *prog = NULL;

	if (xdp_multiprog__is_legacy(mp))
		return false;
	while ((prog = xdp_multiprog__next_prog(prog, mp)))
		if (xdp_program__id(prog) == id)
			return true;
	return false;
}

/* --- what a killed process left --- */

/* Returns true if the map is the `config` of a wgxdp process for this interface. */
static bool is_config_of(uint32_t map_id, const char *ifname)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info), key = 0;
	struct wg_config config = {0};
	int fd = bpf_map_get_fd_by_id(map_id);
	bool is;

	if (fd < 0)
		return false;
	is = !bpf_obj_get_info_by_fd(fd, &info, &len) && !strcmp(info.name, "config") &&
	     info.value_size == sizeof(config) &&
	     !bpf_map_lookup_elem(fd, &key, &config) &&
	     !strncmp(config.ifname, ifname, sizeof(config.ifname));
	close(fd);
	return is;
}

static bool is_leftover(const struct xdp_program *prog, const char *ifname)
{
	uint32_t maps[MAPS_MAX] = {0}, len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)maps};

	if (strncmp(xdp_program__name(prog), "wg_nic", 6) ||
	    bpf_obj_get_info_by_fd(xdp_program__fd(prog), &info, &len))
		return false;
	for (unsigned i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++)
		if (is_config_of(maps[i], ifname))
			return true;
	return false;
}

/* Returns the ID of a program that was left there, or 0 if there is none. */
static uint32_t find_leftover(const struct xdp_multiprog *mp, const char *ifname)
{
	const struct xdp_program *prog = NULL;

	while ((prog = xdp_multiprog__next_prog(prog, mp)))
		if (is_leftover(prog, ifname))
			return xdp_program__id(prog);
	return 0;
}

static int remove_program(uint32_t ifindex, uint32_t id, enum xdp_attach_mode mode)
{
	struct xdp_program *prog = xdp_program__from_id(id);
	int err = (int)libxdp_get_error(prog);

	if (err)
		return err;
	err = xdp_program__detach(prog, (int)ifindex, mode, 0);
	xdp_program__close(prog);
	return err;
}

/* Returns 1 if it removed a program, 0 if there is none to remove, or -errno. */
static int remove_leftover(uint32_t ifindex, const char *ifname)
{
	int err;
	struct xdp_multiprog *mp = programs_of(ifindex, &err);
	enum xdp_attach_mode mode;
	uint32_t id = 0;

	if (!mp)
		return err;
	if (!xdp_multiprog__is_legacy(mp))
		id = find_leftover(mp, ifname);
	mode = xdp_multiprog__attach_mode(mp);
	xdp_multiprog__close(mp);
	if (!id)
		return 0;
	err = remove_program(ifindex, id, mode);
	return err ? err : 1;
}

/* Returns true if another process is changing a dispatcher. libxdp would then wait, and block the
 * control thread. */
static bool is_locked(void)
{
	int fd = open(LOCKED_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool locked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;

	if (fd >= 0)
		close(fd);
	return locked;
}

void dispatcher_clean(uint32_t ifindex, const char *ifname)
{
	assert_control_thread();
	for (unsigned i = 0; i < PROGRAMS_MAX && !is_locked(); i++) {
		int err = remove_leftover(ifindex, ifname);

		if (err <= 0)
			return;
		log_info("removed the XDP program that a killed wgxdp left in libxdp's "
			 "dispatcher");
	}
}

/* --- our program --- */

/* Makes the copy of the object use the maps of the loaded one. */
static int share_maps(const struct nic_bpf *loaded, const struct nic_bpf *copy)
{
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map(map, copy->obj)
	{
		const struct bpf_map *first =
			bpf_object__find_map_by_name(loaded->obj, bpf_map__name(map));

		if (!err && first && !bpf_map__is_internal(map))
			err = bpf_map__reuse_fd(map, bpf_map__fd(first));
	}
	return err;
}

/* Opens a copy of the object, because a program is loaded for one dispatcher, which it extends.
 * `frags`: take the program for frames in several buffers. */
static int open_program(struct dispatcher_place *place, const struct nic_bpf *loaded,
			bool frags)
{
	DECLARE_LIBXDP_OPTS(xdp_program_opts, opts,
			    .prog_name = frags ? "wg_nic" : "wg_nic_plain");
	struct bpf_program *prog;
	int err;

	opts.obj = NULL;
	place->obj = nic_bpf__open();
	if (!place->obj)
		return -errno;
	bpf_object__for_each_program(prog, place->obj->obj)
	{
		bpf_program__set_autoload(
			prog, !strcmp(bpf_program__name(prog), opts.prog_name));
	}
	err = share_maps(loaded, place->obj);
	if (err)
		return err;
	opts.obj = place->obj->obj;
	place->prog = xdp_program__create(&opts);
	err = (int)libxdp_get_error(place->prog);
	if (err) {
		place->prog = NULL;
		return err;
	}
	err = xdp_program__set_run_prio(place->prog, RUN_PRIO);
	return err ? err
		   : xdp_program__set_chain_call_enabled(place->prog, XDP_PASS, true);
}

static void place_free(struct dispatcher_place *place)
{
	if (place->prog)
		xdp_program__close(place->prog);
	nic_bpf__destroy(place->obj);
	free(place);
}

static int add_program(struct dispatcher_place *place, const struct nic_bpf *loaded,
		       bool frags)
{
	int err = open_program(place, loaded, frags);
	struct xdp_multiprog *mp;

	if (!err)
		err = xdp_program__attach(place->prog, (int)place->ifindex, place->mode,
					  0);
	if (err)
		return err;
	mp = programs_of(place->ifindex, &err);
	place->dispatcher = mp ? main_id(mp) : 0;
	xdp_multiprog__close(mp);
	return 0;
}

int dispatcher_join(const struct nic_bpf *loaded, uint32_t ifindex,
		    struct dispatcher_place **out)
{
	assert_control_thread();
	int err;
	struct xdp_multiprog *mp = programs_of(ifindex, &err);
	struct dispatcher_place *place = calloc(1, sizeof(*place));
	bool frags = mp && xdp_multiprog__xdp_frags_support(mp);

	if (!place || !mp || is_locked()) {
		err = !place ? -ENOMEM : mp ? -EAGAIN : err;
		xdp_multiprog__close(mp);
		free(place);
		return err;
	}
	place->ifindex = ifindex;
	place->mode = xdp_multiprog__attach_mode(mp);
	xdp_multiprog__close(mp);
	err = add_program(place, loaded, frags);
	if (err) {
		place_free(place);
		return err;
	}
	*out = place;
	return 0;
}

void dispatcher_leave(struct dispatcher_place *place)
{
	const struct timespec step = {.tv_nsec = LOCK_STEP_NS};
	int err = -EBUSY;

	assert_control_thread();
	if (!place)
		return;
	for (unsigned i = 0; i < LOCK_STEPS && is_locked(); i++)
		nanosleep(&step, NULL);
	/* If the directory is still locked, our program stays, like that of a killed process, until
	 * dispatcher_clean(). */
	if (!is_locked())
		err = xdp_program__detach(place->prog, (int)place->ifindex, place->mode,
					  0);
	if (err)
		log_error("the XDP program of interface %u stays in libxdp's dispatcher: "
			  "%s",
			  place->ifindex, strerror(-err));
	place_free(place);
}

bool dispatcher_lost(struct dispatcher_place *place)
{
	assert_control_thread();
	uint32_t id = 0;
	struct xdp_multiprog *mp;
	bool lost;
	int err;

	if (bpf_xdp_query_id((int)place->ifindex, 0, &id) || id == place->dispatcher)
		return false;
	mp = programs_of(place->ifindex, &err);
	if (!mp)
		return err == -ENOENT;
	lost = !has_program(mp, xdp_program__id(place->prog));
	if (!lost)
		place->dispatcher = main_id(mp);
	xdp_multiprog__close(mp);
	return lost;
}

bool dispatcher_is_native(const struct dispatcher_place *place)
{
	return place->mode == XDP_MODE_NATIVE;
}
