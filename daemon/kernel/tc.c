// SPDX-License-Identifier: MIT
#include "tc.h"

#include <errno.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "thread.h"

/* Linux 6.6; the headers of Debian 12 are older. */
#define TCX_INGRESS 46	      /* BPF_TCX_INGRESS */
#define TCX_EGRESS  47	      /* BPF_TCX_EGRESS */
#define TCX_BEFORE  (1U << 3) /* BPF_F_BEFORE: without a relative, before all others */
#define TCX_MAX	    64	      /* programs of a device and direction */

static const enum bpf_attach_type tcx_types[] = {
	[TC_OUT] = (enum bpf_attach_type)TCX_EGRESS,
	[TC_IN] = (enum bpf_attach_type)TCX_INGRESS,
};

static const enum bpf_tc_attach_point clsact_points[] = {
	[TC_OUT] = BPF_TC_EGRESS,
	[TC_IN] = BPF_TC_INGRESS,
};

/* Returns the kernel's ID of a loaded program, or 0. */
static uint32_t prog_id(int fd)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

void tc_init(struct tc *tc)
{
	assert_control_thread();
	*tc = (struct tc){.links = {-1, -1}};
}

void tc_use(struct tc *tc, int egress_fd, int ingress_fd)
{
	assert_control_thread();
	tc->progs[TC_OUT] = egress_fd;
	tc->progs[TC_IN] = ingress_fd;
	for (int i = 0; i < TC_DIRECTIONS; i++)
		tc->ids[i] = prog_id(tc->progs[i]);
}

static void close_link(struct tc *tc, enum tc_direction to)
{
	if (tc->links[to] >= 0)
		close(tc->links[to]);
	tc->links[to] = -1;
}

void tc_close(struct tc *tc)
{
	assert_control_thread();
	for (int i = 0; i < TC_DIRECTIONS; i++)
		close_link(tc, (enum tc_direction)i);
}

/* --- tcx --- */

/* Sets *id to that of the program that runs first, 0 if there is none. 0 or -errno. */
static int first_tcx(uint32_t ifindex, enum tc_direction to, uint32_t *id)
{
	uint32_t ids[TCX_MAX] = {0};
	DECLARE_LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = ids,
			    .prog_cnt = TCX_MAX);
	int err = bpf_prog_query_opts((int)ifindex, tcx_types[to], &opts);

	*id = err ? 0 : ids[0];
	return err;
}

static bool has_tcx(const struct tc *tc, uint32_t ifindex, enum tc_direction to)
{
	uint32_t id;

	return tc->ids[to] && !first_tcx(ifindex, to, &id) && id == tc->ids[to];
}

/* A link cannot be moved in the list, and the list takes a program only once: so the old link is
 * closed first; but not if the kernel has no memory to tell whether that is needed. */
static int attach_tcx(struct tc *tc, uint32_t ifindex, enum tc_direction to)
{
	DECLARE_LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = TCX_BEFORE);

	uint32_t id;
	int err = first_tcx(ifindex, to, &id);

	if (err == -ENOMEM || (!err && tc->ids[to] && id == tc->ids[to]))
		return err;
	close_link(tc, to);
	tc->links[to] =
		bpf_link_create(tc->progs[to], (int)ifindex, tcx_types[to], &opts);
	return tc->links[to] < 0 ? tc->links[to] : 0;
}

/* --- clsact --- */

/* Returns the ID of the program with our handle and priority, or 0 if there is none. */
static uint32_t clsact_id(uint32_t ifindex, enum tc_direction to)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
			    .attach_point = clsact_points[to]);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1);

	return bpf_tc_query(&hook, &opts) ? 0 : opts.prog_id;
}

static bool has_clsact(const struct tc *tc, uint32_t ifindex, enum tc_direction to)
{
	return tc->ids[to] && clsact_id(ifindex, to) == tc->ids[to];
}

static int attach_clsact(const struct tc *tc, uint32_t ifindex, enum tc_direction to)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
			    .attach_point = clsact_points[to]);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1,
			    .prog_fd = tc->progs[to], .flags = BPF_TC_F_REPLACE);

	return bpf_tc_attach(&hook, &opts);
}

static int attach_all_clsact(const struct tc *tc, uint32_t ifindex)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
			    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	int err = bpf_tc_hook_create(&hook);

	if (err && err != -EEXIST)
		return err;
	err = attach_clsact(tc, ifindex, TC_OUT);
	if (!err)
		err = attach_clsact(tc, ifindex, TC_IN);
	if (err)
		return err;
	/* An ingress qdisc, unlike clsact, accepts egress filters but keeps one list for both
	 * directions: the second attachment has replaced the first. */
	return clsact_id(ifindex, TC_OUT) == tc->ids[TC_IN] ? -EEXIST : 0;
}

/* --- both --- */

static int attach_all_tcx(struct tc *tc, uint32_t ifindex)
{
	int err = attach_tcx(tc, ifindex, TC_OUT);

	return err ? err : attach_tcx(tc, ifindex, TC_IN);
}

/* Kernels without tcx do not know its attach type. Which kind is used is decided once, by the
 * first attachment. */
int tc_attach(struct tc *tc, uint32_t ifindex)
{
	bool first = !tc->clsact && tc->links[TC_OUT] < 0 && tc->links[TC_IN] < 0;
	int err;

	assert_control_thread();
	if (tc->clsact)
		return attach_all_clsact(tc, ifindex);
	err = attach_all_tcx(tc, ifindex);
	if (err != -EINVAL || !first)
		return err;
	tc->clsact = true;
	return attach_all_clsact(tc, ifindex);
}

bool tc_has(const struct tc *tc, uint32_t ifindex)
{
	assert_control_thread();
	for (int i = 0; i < TC_DIRECTIONS; i++) {
		enum tc_direction to = (enum tc_direction)i;

		if (!(tc->clsact ? has_clsact : has_tcx)(tc, ifindex, to))
			return false;
	}
	return true;
}
