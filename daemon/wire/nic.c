// SPDX-License-Identifier: MIT
#include "nic.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf_objects.h"
#include "clock.h"
#include "rtnl_query.h"
#include "thread.h"

/* Bytes that the kernel reserves in front of a packet. */
#define KERNEL_HEADROOM 256
#define FRAME_OVERHEAD	(ETH_HLEN + KERNEL_HEADROOM)
#define FRAME_SIZE_MAX	4096

/* How long to wait for a queue. The kernel takes a closed socket off its queue in a work item, and
 * a restart may come before. */
#define BUSY_WAIT_NS NS_PER_SEC

struct nic_losses nic_losses(const struct nic *nic)
{
	struct nic_losses sum = {0};

	for (unsigned i = 0; i < nic->queue_count; i++) {
		struct nic_losses l = nic_queue_losses(nic->queues[i]);

		sum.data += l.data;
		sum.handshake += l.handshake;
	}
	return sum;
}

struct nic_queue *nic_tx_queue(const struct nic *nic, unsigned worker)
{
	return nic->queues[worker % nic->tx_queue_count];
}

/* --- set-up and tear-down; control thread --- */

/* Copy flags to try, best first, ended by -1. */
static const int *copy_flags(const struct nic *nic, unsigned index)
{
	static const int any[] = {XDP_ZEROCOPY, XDP_COPY, -1};
	static const int zerocopy[] = {XDP_ZEROCOPY, -1};
	static const int copy[] = {XDP_COPY, -1};

	if (index >= nic->tx_queue_count)
		return copy;
	if (nic->mode == NIC_ZEROCOPY)
		return zerocopy;
	return nic->mode == NIC_ANY && nic->native ? any : copy;
}

/* Some Intel drivers (igb, igc) use only the whole kilobytes of a zero-copy frame that are left
 * beside the headroom, which is one of 2048 bytes, and lose larger packets. */
static uint32_t choose_frame_size(const struct nic *nic, int copy_flag)
{
	if (copy_flag == XDP_ZEROCOPY || nic->mtu + FRAME_OVERHEAD > 2048)
		return FRAME_SIZE_MAX;
	return 2048;
}

/* Opens a queue. All queues get frames of the size that the first one needs. */
static int queue_open(struct nic *nic, unsigned index, uint64_t until,
		      struct nic_queue **out)
{
	int err = -EINVAL;

	for (const int *flag = copy_flags(nic, index); *flag >= 0; flag++) {
		if (index == 0)
			nic->frame_size = choose_frame_size(nic, *flag);
		err = nic_queue_open(nic, nic->name, nic->frame_size, nic->frames, index,
				     (uint16_t)*flag, until, out);
		if (!err || err == -EBUSY || err == -ENOMEM)
			break;
	}
	return err;
}

/* Asks for the channels of a device. 0 or -errno, and then all are zero. */
static int ask_channels(const char *name, struct ethtool_channels *channels)
{
	struct ifreq ifr = {.ifr_data = (void *)channels};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

	*channels = (struct ethtool_channels){.cmd = ETHTOOL_GCHANNELS};
	if (fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, name, IFNAMSIZ);
	if (ioctl(fd, SIOCETHTOOL, &ifr)) {
		err = -errno;
		memset(channels, 0, sizeof(*channels));
	}
	close(fd);
	return err;
}

/* The channels of a device; all zero if its driver does not tell. */
static struct ethtool_channels channels_of(const char *name)
{
	struct ethtool_channels channels;

	ask_channels(name, &channels);
	return channels;
}

/* Limits n to 1 ... WG_MAX_QUEUES. */
static unsigned bounded(unsigned n)
{
	if (n > WG_MAX_QUEUES)
		return WG_MAX_QUEUES;
	return n ? n : 1;
}

static unsigned count_rx_queues(const char *name)
{
	struct ethtool_channels c = channels_of(name);

	return bounded(c.combined_count + c.rx_count);
}

bool nic_queues_changed(const struct nic *nic)
{
	struct ethtool_channels c;

	return !nic_is_filter(nic) && !ask_channels(nic->name, &c) &&
	       bounded(c.combined_count + c.rx_count) != nic->queue_count;
}

/* Counts the queues that receive and send. The kernel also binds a socket to a queue that only
 * receives, and then sends nothing of what the socket is given. */
static unsigned count_tx_queues(const char *name)
{
	struct ethtool_channels c = channels_of(name);

	return bounded(c.combined_count +
		       (c.rx_count < c.tx_count ? c.rx_count : c.tx_count));
}

/* Returns true if another kind of program may be attached where this error came. */
static bool is_refusal(int err)
{
	return err && err != -EBUSY && err != -ENOMEM;
}

static int attach_kind(struct bpf_objects *bpf, struct nic *nic, enum xdp_kind kind)
{
	nic->native = kind != XDP_KIND_GENERIC;
	nic->frags = kind == XDP_KIND_FRAGS;
	return bpf_objects_attach_xdp(bpf, nic->ifindex, kind, &nic->xdp);
}

/* `frags`: try the program for several buffers first. Generic XDP sees packets after the kernel has
 * merged them (GRO), and copies them twice, so it is used only if it is asked for. */
static int attach_alone(struct bpf_objects *bpf, struct nic *nic, bool generic,
			bool frags)
{
	int err = -EOPNOTSUPP;

	if (nic->mode == NIC_SKB)
		return attach_kind(bpf, nic, XDP_KIND_GENERIC);
	if (frags)
		err = attach_kind(bpf, nic, XDP_KIND_FRAGS);
	if (is_refusal(err))
		err = attach_kind(bpf, nic, XDP_KIND_PLAIN);
	if (is_refusal(err) && nic->mode == NIC_ANY && generic)
		err = attach_kind(bpf, nic, XDP_KIND_GENERIC);
	/* Native beside generic, or the other way round. */
	return err == -EEXIST ? -EBUSY : err;
}

/* Returns true if the requested mode allows XDP of this kind. `generic`: NIC_ANY allows generic
 * XDP. */
static bool mode_allows(const struct nic *nic, bool native, bool generic)
{
	switch (nic->mode) {
	case NIC_ANY:
		return native || generic;
	case NIC_SKB:
		return !native;
	default:
		return native;
	}
}

/* Adds the program to libxdp's dispatcher on the device. */
static int attach_beside(struct bpf_objects *bpf, struct nic *nic, bool generic)
{
	int err = bpf_objects_join_xdp(bpf, nic->ifindex, &nic->xdp, &nic->native);

	nic->frags = false;
	if (err || mode_allows(nic, nic->native, generic))
		return err;
	bpf_objects_detach_xdp(&nic->xdp);
	return -EOPNOTSUPP;
}

static int attach_xdp(struct bpf_objects *bpf, struct nic *nic, bool generic, bool frags,
		      const char **step)
{
	int err = attach_alone(bpf, nic, generic, frags);

	*step = "XDP";
	if (err != -EBUSY || !bpf_objects_can_join(bpf, nic->ifindex))
		return err;
	/* If the dispatcher had only a killed process's program, the device is free now. */
	err = attach_alone(bpf, nic, generic, frags);
	if (err != -EBUSY)
		return err;
	if (!nic_is_filter(nic))
		*step = "AF_XDP sockets";
	if (bpf_objects_others_serve(bpf, nic->ifindex, nic->mac))
		return -EBUSY;
	*step = "libxdp's dispatcher";
	return attach_beside(bpf, nic, generic);
}

void nic_close(struct bpf_objects *bpf, struct nic *nic)
{
	assert_control_thread();
	bpf_objects_set_nic(bpf, nic->ifindex, NULL);
	bpf_objects_detach_xdp(&nic->xdp);
	for (unsigned i = 0; i < nic->queue_count; i++)
		nic_queue_close(nic->queues[i]);
	nic->queue_count = 0;
}

static void nic_free(struct rcu_head *head)
{
	free(caa_container_of(head, struct nic, rcu));
}

void nic_free_deferred(struct nic *nic)
{
	assert_control_thread();
	urcu_qsbr_call_rcu(&nic->rcu, nic_free);
}

static int open_queues(struct bpf_objects *bpf, struct nic *nic)
{
	unsigned n = count_rx_queues(nic->name);
	uint32_t first = nic->id * WG_MAX_QUEUES;
	uint64_t until = clock_now() + BUSY_WAIT_NS; /* for all queues together */
	int err = 0;

	if (nic->tx_queue_count > n)
		nic->tx_queue_count = n;
	for (unsigned i = 0; i < n && !err; i++) {
		struct nic_queue *q;

		err = queue_open(nic, i, until, &q);
		if (err)
			break;
		nic->queues[nic->queue_count++] = q;
		err = bpf_objects_set_xsk(bpf, first + i, xsk_socket__fd(q->data),
					  xsk_socket__fd(q->handshake));
	}
	return err;
}

int nic_serve_queues(struct bpf_objects *bpf, struct nic *nic)
{
	uint32_t room = nic_is_filter(nic) ? 0 : nic->frame_size - KERNEL_HEADROOM,
		 mtu_frame = nic->mtu + ETH_HLEN;
	struct nic_entry entry = {
		.first_key = nic->id * WG_MAX_QUEUES,
		.count = nic->queue_count,
		.max_frame = mtu_frame < room ? mtu_frame : room,
	};
	int err;

	memcpy(entry.mac, nic->mac, sizeof(entry.mac));
	err = bpf_objects_set_nic(bpf, nic->ifindex, &entry);
	nic->late = err;
	return err;
}

/* Returns true if our program is on the device. */
static bool is_attached(const struct nic *nic)
{
	return nic->xdp.link_fd >= 0 || nic->xdp.place;
}

static void explain_error(const struct bpf_objects *bpf, char *why, size_t len,
			  const struct nic *nic, const char *step, int err)
{
	char holder[XDP_HOLDER_TEXT];
	const char *hint = "";

	if (err == -EBUSY && !is_attached(nic) &&
	    bpf_objects_xdp_holder(bpf, nic->ifindex, nic->mac, holder)) {
		snprintf(why, len,
			 "%s: %s: %s (another program has it: XDP program %s; --nic none "
			 "does without)",
			 nic->name, step, strerror(-err), holder);
		return;
	}
	if (err == -EBUSY)
		hint = " (another program has it: see `ip link show`; --nic none does "
		       "without)";
	else if (err == -ENOBUFS)
		hint = " (its memory counts as locked: needs CAP_IPC_LOCK or a larger "
		       "`ulimit -l`)";
	else if (err == -ERANGE)
		hint = " (its MTU is too large for XDP: some 3500 is the most)";
	else if (err == -EPERM && !is_attached(nic))
		hint = " (needs CAP_SYS_ADMIN, and a kernel that loads BPF extensions)";
	else if (nic->mode == NIC_ZEROCOPY)
		hint = " (zero-copy needs a driver that has it: use :copy, or no suffix)";
	else if (nic->mode == NIC_FILTER)
		hint = " (:filter needs a driver with native XDP: --nic none does "
		       "without, and floods are dropped at the UDP socket)";
	else if (nic->mode == NIC_COPY)
		hint = " (native XDP needs a driver that has it: use :skb, or no suffix)";
	snprintf(why, len, "%s: %s: %s%s", nic->name, step, strerror(-err), hint);
}

static struct nic *nic_new(uint32_t ifindex, const struct rtnl_link *link, uint32_t id,
			   enum nic_mode mode)
{
	struct nic *nic = calloc(1, sizeof(*nic));

	if (!nic)
		return NULL;
	memcpy(nic->name, link->name, IFNAMSIZ);
	nic->mtu = link->mtu;
	memcpy(nic->mac, link->mac, sizeof(nic->mac));
	nic->mode = mode;
	nic->xdp = XDP_NOT_ATTACHED;
	nic->id = id;
	nic->ifindex = ifindex;
	if (!nic_is_filter(nic))
		nic->tx_queue_count = count_tx_queues(nic->name);
	return nic;
}

static int attach(struct bpf_objects *bpf, struct nic *nic, bool generic, bool frags,
		  const char **step)
{
	int err = attach_xdp(bpf, nic, generic, frags, step);

	if (err)
		return err;
	if (nic_is_filter(nic))
		return nic_serve_queues(bpf, nic);
	*step = "AF_XDP sockets";
	err = open_queues(bpf, nic);
	return err ? err : nic_serve_queues(bpf, nic);
}

bool nic_fits(const struct nic *nic, uint32_t mtu)
{
	return mtu + FRAME_OVERHEAD <= nic->frame_size ||
	       nic->frame_size == FRAME_SIZE_MAX || nic_is_filter(nic);
}

int nic_open(struct bpf_objects *bpf, uint32_t ifindex, const struct rtnl_link *link,
	     uint32_t id, enum nic_mode mode, unsigned frames, bool generic,
	     struct nic **out, char *why, size_t why_len)
{
	assert_control_thread();
	struct nic *nic = nic_new(ifindex, link, id, mode);
	const char *step;
	int err;

	if (!nic) {
		snprintf(why, why_len, "%s: %s", link->name, strerror(ENOMEM));
		return -ENOMEM;
	}
	nic->frames = frames;
	err = attach(bpf, nic, generic, true, &step);
	/* A driver may refuse zero-copy sockets beside a program for several buffers. */
	if (is_refusal(err) && nic->frags) {
		nic_close(bpf, nic);
		err = attach(bpf, nic, generic, false, &step);
	}
	if (err) {
		explain_error(bpf, why, why_len, nic, step, err);
		nic_close(bpf, nic);
		free(nic);
		return err;
	}
	*out = nic;
	return 0;
}

void nic_set_link(struct bpf_objects *bpf, struct nic *nic, const struct rtnl_link *link)
{
	assert_control_thread();
	memcpy(nic->name, link->name, sizeof(nic->name));
	if (nic->mtu == link->mtu && !memcmp(nic->mac, link->mac, 6))
		return;
	nic->mtu = link->mtu;
	memcpy(nic->mac, link->mac, sizeof(nic->mac));
	nic_serve_queues(bpf, nic);
}
