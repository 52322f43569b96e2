// SPDX-License-Identifier: MIT
#include "xsk.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include <sodium.h>
#include <urcu-qsbr.h>

#include "clock.h"
#include "thread.h"

/* Entries of the RX, TX, fill and completion ring each, and of the handshake ring. If all are full
 * at once, an eighth of the frames is left for the batches that workers hold. */
#define RING(q)		  ((q)->frames / 4)
#define HANDSHAKE_RING(q) ((q)->frames / 8)
/* Copy mode charges each packet under way to the socket; this is enough for a full ring. */
#define SEND_BUFFER(q) (RING(q) * 4096)
/* Copy mode sends at most 32 packets per call. */
#define TX_KICKS(q)  (RING(q) / 32)
#define BUSY_STEP_NS (10 * NS_PER_MS)

/* --- frames; the queue's lock is held --- */

static uint64_t frame_base(const struct nic_queue *q, uint64_t addr)
{
	return addr & ~((uint64_t)q->frame_size - 1);
}

static void put_free(struct nic_queue *q, uint64_t addr)
{
	q->free[q->free_count++] = frame_base(q, addr);
}

static void reap_completions(struct nic_queue *q)
{
	uint32_t idx, n = xsk_ring_cons__peek(&q->completion, RING(q), &idx);

	for (uint32_t i = 0; i < n; i++)
		put_free(q, *xsk_ring_cons__comp_addr(&q->completion, idx + i));
	xsk_ring_cons__release(&q->completion, n);
	q->tx_held -= n;
}

/* Puts free frames into the fill ring in place of those that packets were received in. */
static void refill(struct nic_queue *q)
{
	uint32_t idx, n = xsk_prod_nb_free(&q->fill, RING(q));

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
		return; /* poll() wakes the driver, too */
}

/* Makes the kernel send what is in the TX ring. In copy mode one call moves up to 32 packets, so it
 * calls again as long as that moves some. Returns -errno if the device is down or gone. Any
 * thread, with or without the lock. */
static int kick(struct nic_queue *q)
{
	int fd = xsk_socket__fd(q->data);

	if (!xsk_ring_prod__needs_wakeup(&q->tx))
		return 0;
	for (unsigned i = 0; i < TX_KICKS(q); i++) {
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

unsigned nic_queue_receive(struct nic_queue *q, struct nic_frame *out, unsigned max)
{
	assert_worker_thread();
	return receive(q, &q->data_rx, out, max);
}

unsigned nic_queue_receive_handshake(struct nic_queue *q, struct nic_frame *out,
				     unsigned max)
{
	assert_control_thread();
	return receive(q, &q->handshake_rx, out, max);
}

static struct xdp_statistics socket_statistics(const struct xsk_socket *xsk)
{
	struct xdp_statistics s = {0};
	socklen_t len = sizeof(s);

	getsockopt(xsk_socket__fd(xsk), SOL_XDP, XDP_STATISTICS, &s, &len);
	return s;
}

struct nic_losses nic_queue_losses(const struct nic_queue *q)
{
	struct xdp_statistics data = socket_statistics(q->data);
	struct xdp_statistics handshake = socket_statistics(q->handshake);

	return (struct nic_losses){
		.data = data.rx_dropped + data.rx_ring_full,
		.handshake = handshake.rx_dropped + handshake.rx_ring_full,
	};
}

void nic_queue_release(struct nic_queue *q, const struct nic_frame *frames, unsigned n)
{
	pthread_mutex_lock(&q->lock);
	for (unsigned i = 0; i < n; i++)
		put_free(q, frames[i].addr);
	refill(q);
	pthread_mutex_unlock(&q->lock);
	wake_receiver(q);
}

void nic_queue_unalloc(struct nic_queue *q, const struct nic_frame *frames, unsigned n)
{
	pthread_mutex_lock(&q->lock);
	q->tx_held -= n;
	pthread_mutex_unlock(&q->lock);
	nic_queue_release(q, frames, n);
}

bool nic_queue_tx_pending(struct nic_queue *q)
{
	return __atomic_load_n(q->tx.consumer, __ATOMIC_ACQUIRE) !=
	       __atomic_load_n(q->tx.producer, __ATOMIC_ACQUIRE);
}

bool nic_queue_push(struct nic_queue *q)
{
	bool usable;

	usable = !kick(q);
	pthread_mutex_lock(&q->lock);
	reap_completions(q);
	pthread_mutex_unlock(&q->lock);
	return usable && nic_queue_tx_pending(q);
}

unsigned nic_queue_alloc(struct nic_queue *q, struct nic_frame *out, unsigned n)
{
	pthread_mutex_lock(&q->lock);
	reap_completions(q);
	if (q->tx_held + n > RING(q)) {
		kick(q);
		reap_completions(q);
	}
	/* At most as many frames as the TX ring holds are in senders' hands or under way: so the
	 * ring has room for what is sealed, and the other frames are left for reception. */
	if (n > RING(q) - q->tx_held)
		n = RING(q) - q->tx_held;
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

unsigned nic_queue_send(struct nic_queue *q, const struct nic_frame *frames, unsigned n)
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
	/* Without the lock: if this copies, a worker that allocates frames need not wait. */
	kick(q);
	return n;
}

/* --- opening and closing --- */

static int map_umem(struct nic_queue *q)
{
	struct xsk_umem_config cfg = {
		.fill_size = RING(q),
		.comp_size = RING(q),
		.frame_size = q->frame_size,
	};
	void *area;

	q->area_len = (size_t)q->frames * q->frame_size;
	area = mmap(NULL, q->area_len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return -errno;
	q->area = area;
	madvise(area, q->area_len, MADV_HUGEPAGE);
	q->free = calloc(q->frames, sizeof(*q->free));
	if (!q->free)
		return -ENOMEM;
	for (unsigned i = q->frames; i > 0; i--)
		q->free[q->free_count++] = (uint64_t)(i - 1) * q->frame_size;
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

/* Waits for the queue until `until`. The caller holds nothing under RCU, so the thread goes
 * offline meanwhile and no grace period waits for it. */
static int bind_data(struct nic_queue *q, const struct xsk_socket_config *cfg,
		     uint64_t until)
{
	const struct timespec step = {.tv_nsec = BUSY_STEP_NS};
	int err;

	while ((err = xsk_socket__create(&q->data, q->ifname, q->index, q->umem,
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
		.rx_size = RING(q),
		.tx_size = RING(q),
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = XDP_USE_NEED_WAKEUP | copy_flag,
	};
	int err = bind_data(q, &cfg, until);

	if (err)
		return err;
	cfg.rx_size = HANDSHAKE_RING(q);
	cfg.bind_flags = 0; /* a further socket on the same queue takes them over */
	return xsk_socket__create_shared(&q->handshake, q->ifname, q->index, q->umem,
					 &q->handshake_rx, NULL, NULL, NULL, &cfg);
}

static void raise_send_buffer(struct nic_queue *q)
{
	int fd = xsk_socket__fd(q->data), size = (int)SEND_BUFFER(q);

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

void nic_queue_close(struct nic_queue *q)
{
	if (!q)
		return;
	if (q->handshake)
		xsk_socket__delete(q->handshake);
	if (q->data)
		xsk_socket__delete(q->data);
	if (q->umem)
		xsk_umem__delete(q->umem);
	if (q->area) { /* messages were decrypted in it */
		sodium_memzero(q->area, q->area_len);
		munmap(q->area, q->area_len);
	}
	free(q->free);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

int nic_queue_open(struct nic *nic, const char *ifname, uint32_t frame_size,
		   unsigned frames, unsigned index, uint16_t copy_flag, uint64_t until,
		   struct nic_queue **out)
{
	assert_control_thread();
	struct nic_queue *q = calloc(1, sizeof(*q));
	int err;

	if (!q)
		return -ENOMEM;
	q->nic = nic;
	snprintf(q->ifname, sizeof(q->ifname), "%s", ifname);
	q->frame_size = frame_size;
	q->frames = frames;
	q->index = index;
	pthread_mutex_init(&q->lock, NULL);
	err = map_umem(q);
	if (!err)
		err = bind_sockets(q, copy_flag, until);
	if (err) {
		nic_queue_close(q);
		return err;
	}
	raise_send_buffer(q);
	q->zerocopy = is_zerocopy(q);
	refill(q);
	*out = q;
	return 0;
}
