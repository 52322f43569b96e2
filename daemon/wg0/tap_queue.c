// SPDX-License-Identifier: MIT
#include "tap_queue.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "thread.h"
#include "wakeup.h"

/* For fewer packets than this a ring is not faster than single calls. */
#define RING_LEAST 3
/* A longer packet counts as large (tap_queue.h). */
#define SMALL 4096
/* When a ring that failed is tried again. */
#define RING_AGAIN_NS NS_PER_SEC

/* --- the ring --- */

static void ring_end(struct tap_ring *ring)
{
	if (ring->works)
		io_uring_queue_exit(&ring->uring);
	ring->works = false;
}

/* NULL after an error. */
static struct io_uring_cqe *next_completion(struct tap_ring *ring)
{
	struct io_uring_cqe *cqe;
	int err;

	do
		err = io_uring_wait_cqe(&ring->uring, &cqe);
	while (err == -EINTR);
	return err ? NULL : cqe;
}

/* Runs the `n` requests that were prepared; results by their user data. A ring that does not
 * take them all is not used for a while: what it took has ended, the others say -ECANCELED. */
static void ring_run(struct tap_ring *ring, unsigned n, int *results)
{
	int taken = io_uring_submit_and_wait(&ring->uring, n), ended = 0;
	struct io_uring_cqe *cqe;

	for (unsigned i = 0; i < n; i++)
		results[i] = -ECANCELED;
	for (; ended < taken && (cqe = next_completion(ring)); ended++) {
		results[cqe->user_data] = cqe->res;
		io_uring_cqe_seen(&ring->uring, cqe);
	}
	if (ended == (int)n)
		return;
	ring_end(ring);
	ring->again = clock_now() + RING_AGAIN_NS;
}

/* Number `i` is not to wait: to io_uring, O_NONBLOCK of the file does not say that. */
static void set_request(struct io_uring_sqe *sqe, unsigned i)
{
	sqe->rw_flags = RWF_NOWAIT;
	sqe->user_data = i;
}

/* Tried with a frame that is none: the device refuses it, or the kernel the flag. */
static bool takes_nowait(struct tap_ring *ring, int fd)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
	int result;

	io_uring_prep_write(sqe, fd, "", 1, 0);
	set_request(sqe, 0);
	ring_run(ring, 1, &result);
	return result != -EOPNOTSUPP && result != -EAGAIN && result != -ECANCELED;
}

/* The end of a ring, which the kernel reaches later, may interrupt a system call of this
 * thread (EINTR), with all signals blocked, too. */
static void ring_begin(struct tap_ring *ring, int fd)
{
	ring->works = !io_uring_queue_init(TAP_BATCH, &ring->uring, 0);
	if (ring->works && !takes_nowait(ring, fd))
		ring_end(ring);
}

/* Returns true if the ring works, or works again. */
static bool ring_ready(struct tap_ring *ring, int fd)
{
	if (!ring->works && ring->again && clock_now() >= ring->again) {
		ring->again = 0;
		ring_begin(ring, fd);
	}
	return ring->works;
}

/* --- reader --- */

static uint8_t *frame_buffer(struct tap_reader *r, unsigned i)
{
	return r->area + (size_t)i * TAP_BUFFER;
}

int tap_reader_init(struct tap_reader *r, int fd)
{
	void *area = mmap(NULL, (size_t)TAP_BATCH * TAP_BUFFER, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		return -errno;
	/* Of most buffers only the first page is ever used. */
	madvise(area, (size_t)TAP_BATCH * TAP_BUFFER, MADV_NOHUGEPAGE);
	r->fd = fd;
	r->area = area;
	r->likely = 1;
	ring_begin(&r->ring, fd);
	return 0;
}

void tap_reader_destroy(struct tap_reader *r)
{
	ring_end(&r->ring);
	if (!r->area)
		return;
	for (unsigned i = 0; i < r->used; i++)
		sodium_memzero(frame_buffer(r, i), r->longest);
	munmap(r->area, (size_t)TAP_BATCH * TAP_BUFFER);
	r->area = NULL;
}

static void read_one(struct tap_reader *r, int *results)
{
	ssize_t len = read(r->fd, frame_buffer(r, 0), TAP_BUFFER);

	results[0] = len < 0 ? -errno : (int)len;
}

static void read_many(struct tap_reader *r, unsigned n, int *results)
{
	for (unsigned i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring.uring);

		io_uring_prep_read(sqe, r->fd, frame_buffer(r, i), TAP_BUFFER, 0);
		set_request(sqe, i);
	}
	ring_run(&r->ring, n, results);
}

/* The packets of what was asked for; returns how many. */
static unsigned keep(struct tap_reader *r, unsigned asked, const int *results)
{
	unsigned n = 0;
	uint32_t longest = 0;

	if (r->used < asked)
		r->used = asked;
	for (unsigned i = 0; i < asked; i++) {
		r->gone |= results[i] == -EBADFD;
		if (results[i] < 0)
			continue;
		r->packets[n++] =
			(struct tap_packet){frame_buffer(r, i), (uint32_t)results[i]};
		if (longest < r->packets[n - 1].len)
			longest = r->packets[n - 1].len;
	}
	if (r->longest < longest)
		r->longest = longest;
	if (longest > SMALL)
		r->likely = 1;
	else if (!n)
		r->likely = (r->likely + 1) / 2;
	else if (n < asked)
		r->likely = n;
	else if (r->likely < TAP_BATCH)
		r->likely += n;
	return n;
}

unsigned tap_reader_read(struct tap_reader *r, unsigned max)
{
	unsigned asked = r->likely < max ? r->likely : max, n;
	int results[TAP_BATCH];

	assert_worker_thread();
	if (asked > TAP_BATCH)
		asked = TAP_BATCH;
	if (asked < RING_LEAST || !ring_ready(&r->ring, r->fd))
		asked = 1;
	if (asked == 1)
		read_one(r, results);
	else
		read_many(r, asked, results);
	n = keep(r, asked, results);
	if (!n && asked == 1 && results[0] != -EAGAIN && results[0] != -EBADFD)
		wakeup_stumble();
	if (!n && asked > 1 && !r->ring.works)
		return tap_reader_read(r, max);
	return n;
}

/* --- writer --- */

void tap_writer_init(struct tap_writer *t, int fd)
{
	t->fd = fd;
	ring_begin(&t->ring, fd);
}

void tap_writer_destroy(struct tap_writer *t)
{
	ring_end(&t->ring);
}

static int write_one(const struct tap_writer *t, const struct iovec *iov, int iovcnt)
{
	return writev(t->fd, iov, iovcnt) < 0 ? -errno : 0;
}

static void count_write(struct tap_writer *t, int result, unsigned packets)
{
	if (result < 0)
		t->lost += packets;
	else
		t->writes++;
}

static void write_many(struct tap_writer *t, int *results)
{
	for (unsigned i = 0; i < t->count; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring.uring);

		io_uring_prep_writev(sqe, t->fd, t->waiting[i].iov, 2, 0);
		set_request(sqe, i);
	}
	ring_run(&t->ring, t->count, results);
}

void tap_writer_flush(struct tap_writer *t)
{
	int results[TAP_BATCH];
	bool many = t->count >= RING_LEAST && ring_ready(&t->ring, t->fd);

	if (many)
		write_many(t, results);
	for (unsigned i = 0; i < t->count; i++) {
		const struct tap_waiting *p = &t->waiting[i];

		if (!many || results[i] == -ECANCELED)
			results[i] = write_one(t, p->iov, 2);
		count_write(t, results[i], p->packets);
	}
	t->calls += many ? 1 : t->count;
	t->count = 0;
}

void tap_writer_add(struct tap_writer *t, const struct tap_header *header,
		    struct iovec *iov, int iovcnt, unsigned packets)
{
	struct tap_waiting *p;

	if (iovcnt > 2 || t->count == TAP_BATCH)
		tap_writer_flush(t);
	if (iovcnt > 2) {
		iov[0].iov_base = (void *)header;
		iov[0].iov_len = sizeof(*header);
		count_write(t, write_one(t, iov, iovcnt), packets);
		t->calls++;
		return;
	}
	p = &t->waiting[t->count++];
	p->header = *header;
	p->iov[0].iov_base = &p->header;
	p->iov[0].iov_len = sizeof(p->header);
	p->iov[1] = iov[1];
	p->packets = packets;
}
