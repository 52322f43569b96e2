// SPDX-License-Identifier: MIT
#include "nic.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <linux/sockios.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>
#include <urcu-qsbr.h>

#include "device.h"
#include "log.h"

#define RX_RING	       2048
#define TX_RING	       2048
#define HANDSHAKE_RING 512
#define FILL_RING      2048
/* All rings full at once, and received batches in a worker's hands. */
#define FRAMES (RX_RING + TX_RING + HANDSHAKE_RING + FILL_RING + 1536)
/* What the kernel keeps for itself in front of a packet. */
#define KERNEL_HEADROOM 256
#define FRAME_OVERHEAD	(ETH_HLEN + KERNEL_HEADROOM)
#define FRAME_SIZE_MAX	4096
/* Copy mode charges each packet under way to the socket: room for a full ring. */
#define SEND_BUFFER (TX_RING * 4096)
/* Copy mode sends at most 32 packets a call. */
#define TX_KICKS (TX_RING / 32)
/* Whoever has the device may give it up without our being told. What else is wrong lasts, and
 * to try costs the device its queues for a moment: from time to time, more and more seldom. */
#define REFUSAL_NS     (30 * NS_PER_SEC)
#define REFUSAL_MAX_NS (3600 * NS_PER_SEC)

/* The kernel takes a closed socket off its queue in a work item of its own: a restart
 * may come before. */
#define BUSY_WAIT_NS NS_PER_SEC
#define BUSY_STEP_NS (10 * NS_PER_MS)

/* --- frames; the queue's lock is held --- */

static uint64_t frame_base(const struct nic_queue *q, uint64_t addr)
{
	return addr & ~((uint64_t)q->nic->frame_size - 1);
}

static void put_free(struct nic_queue *q, uint64_t addr)
{
	q->free[q->free_count++] = frame_base(q, addr);
}

static void reap_completions(struct nic_queue *q)
{
	uint32_t idx, n = xsk_ring_cons__peek(&q->completion, TX_RING, &idx);

	for (uint32_t i = 0; i < n; i++)
		put_free(q, *xsk_ring_cons__comp_addr(&q->completion, idx + i));
	xsk_ring_cons__release(&q->completion, n);
	q->tx_held -= n;
}

/* Puts back into the fill ring what was taken out of it by reception. */
static void refill(struct nic_queue *q)
{
	uint32_t idx, n = xsk_prod_nb_free(&q->fill, FILL_RING);

	if (n > q->free_count)
		n = q->free_count;
	if (!n || xsk_ring_prod__reserve(&q->fill, n, &idx) != n)
		return;
	for (uint32_t i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&q->fill, idx + i) = q->free[--q->free_count];
	xsk_ring_prod__submit(&q->fill, n);
}

static void wake_receiver(struct nic_queue *q)
{
	if (xsk_ring_prod__needs_wakeup(&q->fill) &&
	    recvfrom(xsk_socket__fd(q->data), NULL, 0, MSG_DONTWAIT, NULL, NULL) < 0)
		return; /* nothing to do about it: poll() wakes the driver, too */
}

/* One call moves up to 32 packets in copy mode; goes on while it gets anywhere. -errno where
 * the device is down or gone. Any thread, with or without the lock. */
static int kick(struct nic_queue *q)
{
	int fd = xsk_socket__fd(q->data);

	if (!xsk_ring_prod__needs_wakeup(&q->tx))
		return 0;
	for (unsigned i = 0; i < TX_KICKS; i++) {
		uint32_t before = __atomic_load_n(q->tx.consumer, __ATOMIC_ACQUIRE);

		if (before == __atomic_load_n(q->tx.producer, __ATOMIC_ACQUIRE))
			return 0;
		if (sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN &&
		    errno != EBUSY && errno != ENOBUFS)
			return -errno;
		if (__atomic_load_n(q->tx.consumer, __ATOMIC_ACQUIRE) == before)
			return 0;
	}
	return 0;
}

/* --- packets --- */

static unsigned receive(struct nic_queue *q, struct xsk_ring_cons *ring,
			struct nic_frame *out, unsigned max)
{
	uint32_t idx, n = xsk_ring_cons__peek(ring, max, &idx);

	for (uint32_t i = 0; i < n; i++) {
		const struct xdp_desc *d = xsk_ring_cons__rx_desc(ring, idx + i);

		out[i].addr = d->addr;
		out[i].data = xsk_umem__get_data(q->area, d->addr);
		out[i].len = d->len;
	}
	if (n)
		xsk_ring_cons__release(ring, n);
	return n;
}

unsigned nic_receive(struct nic_queue *q, struct nic_frame *out, unsigned max)
{
	return receive(q, &q->data_rx, out, max);
}

unsigned nic_receive_handshake(struct nic_queue *q, struct nic_frame *out, unsigned max)
{
	return receive(q, &q->handshake_rx, out, max);
}

static struct xdp_statistics socket_statistics(const struct xsk_socket *xsk)
{
	struct xdp_statistics s = {0};
	socklen_t len = sizeof(s);

	getsockopt(xsk_socket__fd(xsk), SOL_XDP, XDP_STATISTICS, &s, &len);
	return s;
}

struct nic_losses nic_losses(const struct nic *nic)
{
	struct nic_losses sum = {0};

	for (unsigned i = 0; i < nic->queue_count; i++) {
		struct xdp_statistics data = socket_statistics(nic->queues[i]->data);
		struct xdp_statistics hs = socket_statistics(nic->queues[i]->handshake);

		sum.data += data.rx_dropped + data.rx_ring_full;
		sum.handshake += hs.rx_dropped + hs.rx_ring_full;
	}
	return sum;
}

void nic_release(struct nic_queue *q, const struct nic_frame *frames, unsigned n)
{
	pthread_mutex_lock(&q->lock);
	for (unsigned i = 0; i < n; i++)
		put_free(q, frames[i].addr);
	refill(q);
	pthread_mutex_unlock(&q->lock);
	wake_receiver(q);
}

void nic_unalloc(struct nic_queue *q, const struct nic_frame *frames, unsigned n)
{
	pthread_mutex_lock(&q->lock);
	q->tx_held -= n;
	pthread_mutex_unlock(&q->lock);
	nic_release(q, frames, n);
}

bool nic_tx_pending(struct nic_queue *q)
{
	return __atomic_load_n(q->tx.consumer, __ATOMIC_ACQUIRE) !=
	       __atomic_load_n(q->tx.producer, __ATOMIC_ACQUIRE);
}

bool nic_push(struct nic_queue *q)
{
	bool usable;

	usable = !kick(q);
	pthread_mutex_lock(&q->lock);
	reap_completions(q);
	pthread_mutex_unlock(&q->lock);
	return usable && nic_tx_pending(q);
}

unsigned nic_alloc(struct nic_queue *q, struct nic_frame *out, unsigned n)
{
	pthread_mutex_lock(&q->lock);
	reap_completions(q);
	if (q->tx_held + n > TX_RING) {
		kick(q);
		reap_completions(q);
	}
	/* No more in hands and under way than the TX ring holds: so it has room for what
	 * is sealed, and the rest is for reception. */
	if (n > TX_RING - q->tx_held)
		n = TX_RING - q->tx_held;
	if (n > q->free_count)
		n = q->free_count;
	for (unsigned i = 0; i < n; i++) {
		out[i].addr = q->free[--q->free_count];
		out[i].data = xsk_umem__get_data(q->area, out[i].addr);
		out[i].len = 0;
	}
	q->tx_held += n;
	pthread_mutex_unlock(&q->lock);
	return n;
}

unsigned nic_send(struct nic_queue *q, const struct nic_frame *frames, unsigned n)
{
	uint32_t idx, room;

	pthread_mutex_lock(&q->lock);
	room = xsk_prod_nb_free(&q->tx, n);
	if (room < n) {
		kick(q);
		room = xsk_prod_nb_free(&q->tx, n);
	}
	if (n > room)
		n = room;
	if (n && xsk_ring_prod__reserve(&q->tx, n, &idx) == n) {
		for (unsigned i = 0; i < n; i++)
			*xsk_ring_prod__tx_desc(&q->tx, idx + i) = (struct xdp_desc){
				.addr = frames[i].addr, .len = frames[i].len};
		xsk_ring_prod__submit(&q->tx, n);
	}
	pthread_mutex_unlock(&q->lock);
	/* Without the lock: where this copies, whoever reads wg0 need not wait for it. */
	kick(q);
	return n;
}

struct nic_queue *nic_tx_queue(const struct nic *nic, unsigned worker)
{
	return nic->queues[worker % nic->tx_queue_count];
}

/* --- set-up and tear-down; control thread --- */

static int map_umem(struct nic_queue *q)
{
	struct xsk_umem_config cfg = {
		.fill_size = FILL_RING,
		.comp_size = TX_RING,
		.frame_size = q->nic->frame_size,
	};
	void *area;

	q->area_len = (size_t)FRAMES * q->nic->frame_size;
	area = mmap(NULL, q->area_len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return -errno;
	q->area = area;
	madvise(area, q->area_len, MADV_HUGEPAGE);
	q->free = calloc(FRAMES, sizeof(*q->free));
	if (!q->free)
		return -ENOMEM;
	for (unsigned i = FRAMES; i > 0; i--)
		q->free[q->free_count++] = (uint64_t)(i - 1) * q->nic->frame_size;
	return xsk_umem__create(&q->umem, area, q->area_len, &q->fill, &q->completion,
				&cfg);
}

static bool is_zerocopy(struct nic_queue *q)
{
	struct xdp_options opts = {0};
	socklen_t len = sizeof(opts);

	return !getsockopt(xsk_socket__fd(q->data), SOL_XDP, XDP_OPTIONS, &opts, &len) &&
	       (opts.flags & XDP_OPTIONS_ZEROCOPY);
}

/* Until `until` the queue is waited for. Nothing under RCU is in our hands meanwhile, and
 * nobody has to wait for us. */
static int bind_data(struct nic_queue *q, const struct xsk_socket_config *cfg,
		     uint64_t until)
{
	const struct timespec step = {.tv_nsec = BUSY_STEP_NS};
	int err;

	while ((err = xsk_socket__create(&q->data, q->nic->name, q->index, q->umem,
					 &q->data_rx, &q->tx, cfg)) == -EBUSY &&
	       clock_now() < until) {
		urcu_qsbr_thread_offline();
		nanosleep(&step, NULL);
		urcu_qsbr_thread_online();
	}
	return err;
}

static int bind_sockets(struct nic_queue *q, uint16_t copy_flag, uint64_t until)
{
	struct xsk_socket_config cfg = {
		.rx_size = RX_RING,
		.tx_size = TX_RING,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = XDP_USE_NEED_WAKEUP | copy_flag,
	};
	int err = bind_data(q, &cfg, until);

	if (err)
		return err;
	cfg.rx_size = HANDSHAKE_RING;
	cfg.bind_flags = 0; /* a further socket on the same queue takes them over */
	return xsk_socket__create_shared(&q->handshake, q->nic->name, q->index, q->umem,
					 &q->handshake_rx, NULL, NULL, NULL, &cfg);
}

static void raise_send_buffer(struct nic_queue *q)
{
	int fd = xsk_socket__fd(q->data), size = SEND_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static void queue_close(struct nic_queue *q)
{
	if (!q)
		return;
	if (q->handshake)
		xsk_socket__delete(q->handshake);
	if (q->data)
		xsk_socket__delete(q->data);
	if (q->umem)
		xsk_umem__delete(q->umem);
	if (q->area) { /* messages were opened in it */
		sodium_memzero(q->area, q->area_len);
		munmap(q->area, q->area_len);
	}
	free(q->free);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

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

static int queue_try(struct nic *nic, unsigned index, uint16_t copy_flag, uint64_t until,
		     struct nic_queue **out)
{
	struct nic_queue *q = calloc(1, sizeof(*q));
	int err;

	if (!q)
		return -ENOMEM;
	q->nic = nic;
	q->index = index;
	pthread_mutex_init(&q->lock, NULL);
	err = map_umem(q);
	if (!err)
		err = bind_sockets(q, copy_flag, until);
	if (err) {
		queue_close(q);
		return err;
	}
	raise_send_buffer(q);
	q->zerocopy = is_zerocopy(q);
	refill(q);
	*out = q;
	return 0;
}

/* Drivers of Intel's (igb, igc) take of a zero-copy frame the whole kilobytes that are left
 * beside the headroom, and lose packets that are larger: of 2048 bytes just one. */
static uint32_t choose_frame_size(const struct nic *nic, int copy_flag)
{
	if (copy_flag == XDP_ZEROCOPY || nic->mtu + FRAME_OVERHEAD > 2048)
		return FRAME_SIZE_MAX;
	return 2048;
}

/* All queues have frames of the size that the first one needs. */
static int queue_open(struct nic *nic, unsigned index, uint64_t until,
		      struct nic_queue **out)
{
	int err = -EINVAL;

	for (const int *flag = copy_flags(nic, index); *flag >= 0; flag++) {
		if (index == 0)
			nic->frame_size = choose_frame_size(nic, *flag);
		err = queue_try(nic, index, (uint16_t)*flag, until, out);
		if (!err || err == -EBUSY || err == -ENOMEM)
			break;
	}
	return err;
}

/* All zero where the driver does not say. */
static struct ethtool_channels channels_of(const char *name)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq ifr = {.ifr_data = (void *)&channels};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return channels;
	memcpy(ifr.ifr_name, name, IFNAMSIZ);
	if (ioctl(fd, SIOCETHTOOL, &ifr))
		memset(&channels, 0, sizeof(channels));
	close(fd);
	return channels;
}

/* At least one. */
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

/* Those that can do both. The kernel binds a socket to a queue that only receives, too,
 * and then sends nothing of it. */
static unsigned count_tx_queues(const char *name)
{
	struct ethtool_channels c = channels_of(name);

	return bounded(c.combined_count +
		       (c.rx_count < c.tx_count ? c.rx_count : c.tx_count));
}

/* 0 if there is none. */
static int rp_filter(const char *conf)
{
	char path[64], text[8] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/rp_filter", conf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return atoi(text);
}

/* XDP cannot ask by which device the way back to a source leads. The kernel takes the greater
 * of both settings; 2 is for sources that no route leads to at all. */
static bool is_strict(const char *name)
{
	int all = rp_filter("all"), own = rp_filter(name);

	return (all > own ? all : own) == 1;
}

/* Whether that is news. */
static bool note_strict(struct nic *nic)
{
	bool before = nic->strict;

	nic->strict = is_strict(nic->name);
	if (nic->strict && !before)
		log_info("%s: rp_filter=1 there: IPv4 is received by the UDP socket "
			 "(rp_filter=2 or 0, then down and up, gives it to AF_XDP)",
			 nic->name);
	return nic->strict != before;
}

/* Generic XDP sees packets after the kernel has merged them (GRO), and copies them
 * twice: nobody gets that without asking. */
static int attach_xdp(struct device *dev, struct nic *nic)
{
	if (nic->mode != NIC_SKB) {
		nic->native = true;
		nic->link_fd = datapath_attach_xdp(dev->datapath, nic->ifindex, true);
		if (nic->link_fd >= 0)
			return 0;
		if (nic->mode != NIC_ANY || dev->nics.automatic || nic->link_fd == -EBUSY)
			return nic->link_fd;
	}
	nic->native = false;
	nic->link_fd = datapath_attach_xdp(dev->datapath, nic->ifindex, false);
	return nic->link_fd < 0 ? nic->link_fd : 0;
}

/* The sockets' own counters end with them. */
static void keep_losses(struct device *dev, const struct nic *nic)
{
	struct nic_losses l = nic_losses(nic);

	device_drop(dev, DROP_rx_ring_full, l.data);
	device_drop(dev, DROP_handshake_queue_full, l.handshake);
}

static void close_all(struct device *dev, struct nic *nic)
{
	datapath_set_nic(dev->datapath, nic->ifindex, NULL);
	if (nic->link_fd >= 0)
		close(nic->link_fd);
	for (unsigned i = 0; i < nic->queue_count; i++)
		queue_close(nic->queues[i]);
	free(nic);
}

static int watch_handshakes(struct device *dev, struct nic_queue *q)
{
	struct epoll_event ev = {.events = EPOLLIN,
				 .data.fd = xsk_socket__fd(q->handshake)};

	return epoll_ctl(dev->epoll_fd, EPOLL_CTL_ADD, ev.data.fd, &ev) ? -errno : 0;
}

static int open_queues(struct device *dev, struct nic *nic)
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
		err = datapath_set_xsk(dev->datapath, first + i, xsk_socket__fd(q->data),
				       xsk_socket__fd(q->handshake));
		if (!err)
			err = watch_handshakes(dev, q);
	}
	return err;
}

/* The XDP program may redirect to them from here on. */
static int serve_queues(struct device *dev, const struct nic *nic)
{
	uint32_t room = nic->frame_size - KERNEL_HEADROOM,
		 mtu_frame = nic->mtu + ETH_HLEN;
	struct nic_queues queues = {
		.first_key = nic->id * WG_MAX_QUEUES,
		.count = nic->queue_count,
		.max_frame = mtu_frame < room ? mtu_frame : room,
	};

	memcpy(queues.mac, nic->mac, sizeof(queues.mac));
	queues.strict = nic->strict;
	return datapath_set_nic(dev->datapath, nic->ifindex, &queues);
}

static void say_why(char *why, size_t len, const struct nic *nic, const char *step,
		    int err)
{
	const char *hint = "";

	if (err == -EBUSY)
		hint = " (another program has it: see `ip link show`; --nic none does "
		       "without)";
	else if (err == -ENOBUFS)
		hint = " (its memory counts as locked: needs CAP_IPC_LOCK or a larger "
		       "`ulimit -l`)";
	else if (err == -ERANGE)
		hint = " (its MTU is too large for XDP: some 3500 is the most)";
	else if (nic->mode == NIC_ZEROCOPY)
		hint = " (zero-copy needs a driver that has it: use :copy, or no suffix)";
	else if (nic->mode == NIC_COPY)
		hint = " (native XDP needs a driver that has it: use :skb, or no suffix)";
	snprintf(why, len, "%s: %s: %s%s", nic->name, step, strerror(-err), hint);
}

static int free_id(struct device *dev)
{
	for (int i = 0; i < WG_MAX_NICS; i++)
		if (!dev->nics.list[i])
			return i;
	return -ENOSPC;
}

static struct nic *nic_new(struct device *dev, const struct rtnl_link *link,
			   enum nic_mode mode)
{
	struct nic *nic = calloc(1, sizeof(*nic));

	if (!nic)
		return NULL;
	memcpy(nic->name, link->name, IFNAMSIZ);
	nic->mtu = link->mtu;
	memcpy(nic->mac, link->mac, sizeof(nic->mac));
	note_strict(nic);
	nic->mode = mode;
	nic->link_fd = -1;
	return nic;
}

static void publish(struct device *dev, struct nic *nic)
{
	unsigned n = workers_grow(dev, nic->queue_count);

	for (unsigned i = 0; i < nic->queue_count; i++)
		nic->queues[i]->worker = i % n;
	rcu_assign_pointer(dev->nics.list[nic->id], nic);
	device_choose_gro(dev);
	workers_wake(dev);
	log_info("%s: XDP %s, AF_XDP %s, %u queue%s", nic->name,
		 nic->native ? "native" : "generic",
		 nic->queues[0]->zerocopy ? "zero-copy" : "copy", nic->tx_queue_count,
		 nic->tx_queue_count == 1 ? "" : "s");
}

int nic_attach(struct device *dev, uint32_t ifindex, enum nic_mode mode, struct nic **out,
	       char *why, size_t why_len)
{
	struct rtnl_link link;
	struct nic *nic;
	const char *step = "XDP";
	int id = free_id(dev), err = rtnl_link_get(&dev->rtnl, ifindex, &link);

	if (id < 0 || err) {
		snprintf(why, why_len, "%s",
			 id < 0 ? "too many devices" : strerror(-err));
		return id < 0 ? id : err;
	}
	nic = nic_new(dev, &link, mode);
	if (!nic)
		return -ENOMEM;
	nic->id = (uint32_t)id;
	nic->ifindex = ifindex;
	nic->tx_queue_count = count_tx_queues(nic->name);
	err = attach_xdp(dev, nic);
	if (!err) {
		step = "AF_XDP sockets";
		err = open_queues(dev, nic);
	}
	if (!err)
		err = serve_queues(dev, nic);
	if (err) {
		say_why(why, why_len, nic, step, err);
		close_all(dev, nic);
		return err;
	}
	publish(dev, nic);
	*out = nic;
	return 0;
}

void nic_detach(struct device *dev, struct nic *nic)
{
	rcu_assign_pointer(dev->nics.list[nic->id], NULL);
	workers_wake(dev);
	urcu_qsbr_synchronize_rcu();
	keep_losses(dev, nic);
	close_all(dev, nic);
	device_choose_gro(dev);
}

bool nic_fits(const struct nic *nic, uint32_t mtu)
{
	return mtu + FRAME_OVERHEAD <= nic->frame_size ||
	       nic->frame_size == FRAME_SIZE_MAX;
}

struct nic *nic_find(struct device *dev, uint32_t ifindex)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (dev->nics.list[i] && dev->nics.list[i]->ifindex == ifindex)
			return dev->nics.list[i];
	return NULL;
}

static struct nic_refusal *find_refusal(struct device *dev, uint32_t ifindex)
{
	for (unsigned i = 0; i < WG_MAX_NICS; i++)
		if (dev->nics.refused[i].ifindex == ifindex)
			return &dev->nics.refused[i];
	return NULL;
}

static bool is_refused(struct device *dev, uint32_t ifindex)
{
	const struct nic_refusal *r = find_refusal(dev, ifindex);

	return r && clock_now() < r->until;
}

/* How long, after having waited so long (0: never). */
static uint64_t refusal_wait(uint64_t before, int err)
{
	if (!before || err == -EBUSY)
		return REFUSAL_NS;
	return before < REFUSAL_MAX_NS / 2 ? before * 2 : REFUSAL_MAX_NS;
}

static void refuse(struct device *dev, uint32_t ifindex, int err)
{
	struct nic_refusal *r = find_refusal(dev, ifindex);
	uint64_t wait = refusal_wait(r ? r->wait : 0, err);
	struct rtnl_link link = {0};

	if (!r)
		r = &dev->nics.refused[dev->nics.refused_next++ % WG_MAX_NICS];
	rtnl_link_get(&dev->rtnl, ifindex, &link);
	*r = (struct nic_refusal){.ifindex = ifindex,
				  .mtu = link.mtu,
				  .up = link.flags & IFF_UP,
				  .wait = wait,
				  .until = clock_now() + wait};
}

static void forget_refusal(struct device *dev, uint32_t ifindex)
{
	struct nic_refusal *r = find_refusal(dev, ifindex);

	if (r)
		r->ifindex = 0;
}

void nic_link_changed(struct device *dev, uint32_t ifindex, const struct rtnl_link *link)
{
	struct nic_refusal *r = find_refusal(dev, ifindex);
	struct nic *nic = nic_find(dev, ifindex);

	if (nic && link) {
		memcpy(nic->name, link->name, sizeof(nic->name));
		if (note_strict(nic) || nic->mtu != link->mtu ||
		    memcmp(nic->mac, link->mac, 6)) {
			nic->mtu = link->mtu;
			memcpy(nic->mac, link->mac, sizeof(nic->mac));
			serve_queues(dev, nic);
		}
	}
	if (r && (!link || link->mtu != r->mtu || r->up != !!(link->flags & IFF_UP)))
		r->ifindex = 0;
}

/* A TAP or TUN is a tunnel of its own (perhaps ours): XDP there gains nothing. */
static bool suits(struct device *dev, uint32_t ifindex)
{
	struct rtnl_link link;

	return !wgif_is(dev, ifindex) && !rtnl_link_get(&dev->rtnl, ifindex, &link) &&
	       link.type == ARPHRD_ETHER && strcmp(link.kind, "tun") &&
	       (link.flags & IFF_UP);
}

/* Whether the device was asked for, or any is welcome; and in which mode. */
static bool wanted(struct device *dev, uint32_t ifindex, enum nic_mode *mode)
{
	char name[IFNAMSIZ];

	*mode = NIC_ANY;
	if (dev->nics.automatic)
		return suits(dev, ifindex);
	for (unsigned i = 0; i < dev->nics.request_count; i++) {
		*mode = dev->nics.requests[i].mode;
		if (if_indextoname(ifindex, name) &&
		    !strcmp(name, dev->nics.requests[i].name))
			return true;
	}
	return false;
}

struct nic *nic_for_route(struct device *dev, uint32_t ifindex)
{
	struct nic *nic = nic_find(dev, ifindex);
	enum nic_mode mode;
	char why[256];
	int err;

	if (nic || is_refused(dev, ifindex) || !wanted(dev, ifindex, &mode))
		return nic;
	err = nic_attach(dev, ifindex, mode, &nic, why, sizeof(why));
	if (err) {
		refuse(dev, ifindex, err);
		log_info("%s; using the UDP socket", why);
		return NULL;
	}
	forget_refusal(dev, ifindex);
	return nic;
}
