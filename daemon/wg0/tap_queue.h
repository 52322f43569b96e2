/* SPDX-License-Identifier: MIT */
/*
 * A queue of wg0's TAP: packets from it and into it, several of them by one system call.
 *
 * Theory of operation: a TAP takes and gives one packet per write or read. If packets are small
 * and many, io_uring does a batch of reads or writes in one system call. None of its requests
 * waits, so each has ended when that call returns: nothing is ever under way, and between calls a
 * ring holds neither our buffers nor the TAP. Whether this works is tried once. If it does not
 * (before Linux 6.4, or if io_uring is forbidden), each packet takes a system call.
 *
 * The reader asks for as many packets as came the last time, and for more while all that it asked
 * for are there. After a large packet it asks for one at a time, so that all large ones use the
 * same buffer, which stays in the cache.
 *
 * One thread at a time uses a reader, and one a writer: the worker reads; it or a helper writes.
 */
#ifndef TAP_QUEUE_H
#define TAP_QUEUE_H

#include <liburing.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Packets that one system call reads, or that wait until one call writes them. The first-level
 * cache holds that many small ones. */
#define TAP_BATCH 16
/* A packet of wg0's largest MTU, or a GSO packet, with its headers. */
#define TAP_BUFFER (65536 + 256)

/* In front of each IP packet, in both directions. */
struct tap_header {
	struct virtio_net_hdr vh; /* host byte order */
	struct ethhdr eth;
} __attribute__((packed));

struct tap_ring {
	struct io_uring uring;
	bool works;
	uint64_t again; /* ns, when to try it again; 0: not, the kernel cannot do it */
};

struct tap_packet {
	uint8_t *data; /* struct tap_header and IP packet */
	uint32_t len;
};

struct tap_reader {
	int fd;
	struct tap_ring ring;
	unsigned likely; /* packets that the next read may find */
	bool gone;	 /* the device was deleted */
	uint8_t *area;	 /* of TAP_BATCH buffers; the first `used` have had packets */
	unsigned used;
	uint32_t longest;		      /* packet ever */
	struct tap_packet packets[TAP_BATCH]; /* that were read last */
};

struct tap_waiting {
	struct tap_header header;
	struct iovec iov[2];
	unsigned packets;
};

struct tap_writer {
	int fd;
	struct tap_ring ring;
	struct tap_waiting waiting[TAP_BATCH];
	unsigned count;
	/* Since the owner read and zeroed them: writes that the TAP took, and packets in those
	 * that it refused. */
	unsigned writes, lost;
	unsigned calls; /* system calls that these took */
};

/* *r is zeroed. `fd` is a non-blocking queue; it is the caller's, and stays open while the reader
 * is in use. 0, or -ENOMEM; tap_reader_destroy() in either case. */
int tap_reader_init(struct tap_reader *r, int fd);
/* Wipes what was read. */
void tap_reader_destroy(struct tap_reader *r);

/* Reads at most `max` packets into r->packets, where they stay until the next call. Returns how
 * many; 0: there are none. The worker's thread. */
unsigned tap_reader_read(struct tap_reader *r, unsigned max);

/* The same for a writer; this cannot fail. */
void tap_writer_init(struct tap_writer *t, int fd);
void tap_writer_destroy(struct tap_writer *t);

/* Writes a frame, now or at the latest by tap_writer_flush(), in the order of the calls. Copies the
 * header into iov[0]; the memory that the other elements name must stay until the frame is
 * written. If the TAP refuses the frame, it counts as `packets` lost ones. */
void tap_writer_add(struct tap_writer *t, const struct tap_header *header,
		    struct iovec *iov, int iovcnt, unsigned packets);
void tap_writer_flush(struct tap_writer *t);

#endif
