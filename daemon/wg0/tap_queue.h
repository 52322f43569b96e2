/* SPDX-License-Identifier: MIT */
/*
 * A queue of wg0's TAP: packets from it and into it, several of them by one system call.
 *
 * Theory of operation: a packet through a TAP is a read or a write of its own. Where they
 * are small and many, io_uring takes a batch of those by one system call. None of its
 * requests waits, so each has ended when that call returns: nothing is ever under way, and
 * between calls a ring holds neither our buffers nor the TAP. Whether that can be had is
 * tried once; where not (before Linux 6.4, or where io_uring is forbidden) packets go one
 * by one.
 *
 * As many packets are asked for as came the last time, and more while all of them are there.
 * After a large one it is one at a time: those are to find the same buffer, which the cache
 * has.
 *
 * One thread at a time for a reader, and for a writer; not the same for both.
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

/* Packets that are read by one system call, or wait to be written by one. Not more than the
 * first cache holds. */
#define TAP_BATCH 16
/* A packet of wg0's largest MTU, or a GSO packet, with its headers. */
#define TAP_BUFFER (65536 + 256)

/* What is before an IP packet, both ways. */
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
	uint8_t *data; /* headers and all */
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
	/* Since the owner took and zeroed them: writes that were taken, and packets of those
	 * that were not. */
	unsigned writes, lost;
	unsigned calls; /* system calls that it took */
};

/* Zeroed before. `fd` is a queue that does not block, the caller's, open for as long as the
 * reader or writer is in use. 0 or -errno (no memory); destroy() in any case. */
int tap_reader_init(struct tap_reader *r, int fd);
/* Wipes what was read. */
void tap_reader_destroy(struct tap_reader *r);

/* Reads 1 to `most` packets into r->packets, where they stay until the next call; returns
 * how many, 0 where there is none. */
unsigned tap_reader_read(struct tap_reader *r, unsigned most);

/* The same for a writer, which needs nothing that may not be there. */
void tap_writer_init(struct tap_writer *t, int fd);
void tap_writer_destroy(struct tap_writer *t);

/* Writes a frame, now or by tap_writer_flush(), in the order of these calls. The header is
 * copied; what iov[1] on names must stay until then. iov[0] is overwritten. `packets`
 * is how many it counts as if it is lost. */
void tap_writer_add(struct tap_writer *t, const struct tap_header *header,
		    struct iovec *iov, int iovcnt, unsigned packets);
void tap_writer_flush(struct tap_writer *t);

#endif
