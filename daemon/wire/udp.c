// SPDX-License-Identifier: MIT
#include "udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "thread.h"
#include "wakeup.h"
#include "wg_maps.h"

#define UDP_TX_BATCH	  64
#define SEGMENTS_MAX	  64
#define SEGMENTED_BYTES	  65000
#define SOCKET_BUFFER	  (4 << 20)
#define RANDOM_PORT_TRIES 64

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static void set_option(int fd, int level, int name, int value)
{
	setsockopt(fd, level, name, &value, sizeof(value));
}

static void set_buffers(int fd)
{
	int size = SOCKET_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		set_option(fd, SOL_SOCKET, SO_RCVBUF, size);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		set_option(fd, SOL_SOCKET, SO_SNDBUF, size);
}

static int set_mark(int fd, uint32_t fwmark)
{
	return setsockopt(fd, SOL_SOCKET, SO_MARK, &fwmark, sizeof(fwmark)) ? -errno : 0;
}

/* Workers drop the same messages as the filter, so a kernel that refuses it does no harm. */
static void attach_filter(struct udp *u, int fd, int filter_fd)
{
	if (filter_fd >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &filter_fd, sizeof(filter_fd)))
		u->filter_error = -errno;
}

static int open_socket(struct udp *u, int family, uint32_t fwmark, int filter_fd)
{
	int err, fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (family == AF_INET6) {
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
		set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
		set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
		set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
		/* No flow label, as in packets that leave by AF_XDP: one flow for routers. */
		set_option(fd, IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0);
	} else {
		set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
		set_option(fd, IPPROTO_IP, IP_RECVTOS, 1);
		set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	}
	/* wgif.bpf.c recognises our own packets by it. */
	set_option(fd, SOL_SOCKET, SO_PRIORITY, WG_SOCKET_PRIORITY);
	set_buffers(fd);
	attach_filter(u, fd, filter_fd);
	if (fwmark && (err = set_mark(fd, fwmark))) {
		close(fd);
		return err;
	}
	return fd;
}

static int bind_port(int fd, int family, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int ret = family == AF_INET ? bind(fd, (struct sockaddr *)&in, sizeof(in))
				    : bind(fd, (struct sockaddr *)&in6, sizeof(in6));

	return ret ? -errno : 0;
}

static uint16_t bound_port(int fd)
{
	struct sockaddr_in in = {0};
	socklen_t len = sizeof(in);

	getsockname(fd, (struct sockaddr *)&in, &len);
	return ntohs(in.sin_port);
}

/* Opens both families on one port; with port 0 the second may find it taken. */
static int open_pair(struct udp *u, uint16_t port, uint32_t fwmark, int filter_fd)
{
	int err;

	u->fd6 = -1;
	u->filter_error = 0;
	u->fd4 = open_socket(u, AF_INET, fwmark, filter_fd);
	if (u->fd4 < 0)
		return u->fd4;
	err = bind_port(u->fd4, AF_INET, port);
	if (err)
		return err;
	u->port = bound_port(u->fd4);
	u->fd6 = open_socket(u, AF_INET6, fwmark, filter_fd);
	if (u->fd6 == -EAFNOSUPPORT || u->fd6 == -EADDRNOTAVAIL)
		return u->fd6 = -1, 0;
	return u->fd6 < 0 ? u->fd6 : bind_port(u->fd6, AF_INET6, u->port);
}

static void close_pair(struct udp *u)
{
	if (u->fd4 >= 0)
		close(u->fd4);
	if (u->fd6 >= 0)
		close(u->fd6);
}

int udp_open(struct udp **out, uint16_t port, uint32_t fwmark, int filter_fd)
{
	assert_control_thread();
	struct udp *u = calloc(1, sizeof(*u));
	int err, tries = port ? 1 : RANDOM_PORT_TRIES;

	if (!u)
		return -ENOMEM;
	do {
		err = open_pair(u, port, fwmark, filter_fd);
		if (err)
			close_pair(u);
	} while (err == -EADDRINUSE && --tries);
	if (err) {
		free(u);
		return err;
	}
	*out = u;
	return 0;
}

void udp_close(struct udp *u)
{
	assert_control_thread();
	if (!u)
		return;
	close_pair(u);
	free(u);
}

void udp_set_gro(struct udp *u, bool on)
{
	assert_control_thread();
	set_option(u->fd4, IPPROTO_UDP, UDP_GRO, on);
	if (u->fd6 >= 0)
		set_option(u->fd6, IPPROTO_UDP, UDP_GRO, on);
}

int udp_set_fwmark(struct udp *u, uint32_t fwmark)
{
	assert_control_thread();
	int err = set_mark(u->fd4, fwmark);

	return err || u->fd6 < 0 ? err : set_mark(u->fd6, fwmark);
}

static int socket_for(const struct udp *u, const struct path *path)
{
	return path->to.ss_family == AF_INET ? u->fd4 : u->fd6;
}

/* `stale`: the route may have changed. A source that the kernel chose by the route is not named
 * then, because it would be the wrong one on another route. */
static void address_message(struct msghdr *m, const struct path *path, bool stale)
{
	bool named = path->cmsg_len && !(stale && path->route.source_default);

	m->msg_name = (void *)&path->to;
	m->msg_namelen = path->to_len;
	m->msg_control = named ? (void *)path->cmsg : NULL;
	m->msg_controllen = named ? path->cmsg_len : 0;
}

#define CONTROL_MAX \
	(PATH_CMSG_MAX + 2 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint16_t)))

/* Appends a control message to a copy, in `room` (CONTROL_MAX bytes), of the path's, because
 * other threads use those of the path. */
static void add_control(struct msghdr *m, uint8_t *room, int level, int type,
			const void *value, size_t len)
{
	struct cmsghdr *c;

	if (m->msg_controllen && m->msg_control != room)
		memcpy(room, m->msg_control, m->msg_controllen);
	m->msg_control = room;
	c = (struct cmsghdr *)(room + m->msg_controllen);
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), value, len);
	m->msg_controllen += CMSG_SPACE(len);
}

/* The socket's own TOS is zero. */
static void add_tos(struct msghdr *m, uint8_t *room, const struct path *path, uint8_t tos)
{
	int value = tos;

	if (!tos)
		return;
	if (path->to.ss_family == AF_INET)
		add_control(m, room, IPPROTO_IP, IP_TOS, &value, sizeof(value));
	else
		add_control(m, room, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof(value));
}

static void add_ttl(struct msghdr *m, uint8_t *room, const struct path *path, uint8_t ttl)
{
	int value = ttl;

	if (!ttl)
		return;
	if (path->to.ss_family == AF_INET)
		add_control(m, room, IPPROTO_IP, IP_TTL, &value, sizeof(value));
	else
		add_control(m, room, IPPROTO_IPV6, IPV6_HOPLIMIT, &value, sizeof(value));
}

/* Leaves the source address to the kernel. Returns false if that had been so before. */
static bool drop_source(struct msghdr *m)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(m); /* of address_message() */
	size_t len;

	if (!c || !((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) ||
		    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)))
		return false;
	len = CMSG_ALIGN(c->cmsg_len);
	m->msg_control = (uint8_t *)m->msg_control + len;
	m->msg_controllen -= len;
	return true;
}

/* What the kernel may say if this host no longer has the source address: EINVAL, or ENETUNREACH
 * (IPv4 in Linux 6.18). */
static bool may_lack_source(int error)
{
	return error == EINVAL || error == ENETUNREACH;
}

/* Sends *m, which loses its source address if that may be what the kernel refuses. Returns 0 or
 * -errno. */
static int send_message(int fd, struct msghdr *m)
{
	if (sendmsg(fd, m, 0) >= 0)
		return 0;
	if (!may_lack_source(errno) || !drop_source(m))
		return -errno;
	return sendmsg(fd, m, 0) < 0 ? -errno : 0;
}

int udp_send(struct udp *u, const struct path *path, bool stale, uint8_t tos,
	     const void *message, size_t len)
{
	uint8_t control[CONTROL_MAX] __attribute__((aligned(8)));
	struct iovec iov = {.iov_base = (void *)message, .iov_len = len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	int fd = socket_for(u, path);

	if (fd < 0)
		return -EAFNOSUPPORT;
	address_message(&m, path, stale);
	add_tos(&m, control, path, tos);
	return send_message(fd, &m);
}

/* --- batches --- */

struct tx_messages {
	struct mmsghdr mm[UDP_TX_BATCH];
	struct iovec iov[UDP_TX_BATCH];
	uint8_t control[UDP_TX_BATCH][CONTROL_MAX] __attribute__((aligned(8)));
	unsigned packets[UDP_TX_BATCH]; /* in each message */
	struct message *first[UDP_TX_BATCH];
	unsigned count;
};

/* Returns how many messages from the first on can be sent together by UDP_SEGMENT: those of the
 * same path, TOS, TTL and size, of which the last may be shorter. The kernel refuses segments
 * that it would have to fragment. */
static unsigned segment_run(const struct message *p, unsigned n)
{
	size_t bytes = p[0].len;
	unsigned i;

	if (p[0].len > p[0].path->max_datagram ||
	    atomic_load_explicit(&p[0].path->no_segment, memory_order_relaxed))
		return 1;
	for (i = 1; i < n && i < SEGMENTS_MAX; i++) {
		if (p[i].path != p[0].path || p[i].tos != p[0].tos ||
		    p[i].ttl != p[0].ttl || p[i].len > p[0].len ||
		    p[i - 1].len != p[0].len || bytes + p[i].len > SEGMENTED_BYTES)
			break;
		bytes += p[i].len;
	}
	return i;
}

static void add_segment_size(struct msghdr *m, uint8_t *room, uint16_t size)
{
	add_control(m, room, SOL_UDP, UDP_SEGMENT, &size, sizeof(size));
}

static void build_messages(struct tx_messages *t, struct message *p, unsigned n,
			   bool stale)
{
	t->count = 0;
	for (unsigned i = 0, run; i < n; i += run) {
		struct msghdr *m = &t->mm[t->count].msg_hdr;

		run = segment_run(p + i, n - i);
		memset(m, 0, sizeof(*m));
		for (unsigned j = i; j < i + run; j++)
			t->iov[j] = (struct iovec){.iov_base = p[j].data,
						   .iov_len = p[j].len};
		m->msg_iov = t->iov + i;
		m->msg_iovlen = run;
		address_message(m, p[i].path, stale);
		add_tos(m, t->control[t->count], p[i].path, p[i].tos);
		add_ttl(m, t->control[t->count], p[i].path, p[i].ttl);
		if (run > 1)
			add_segment_size(m, t->control[t->count], (uint16_t)p[i].len);
		t->first[t->count] = p + i;
		t->packets[t->count++] = run;
	}
}

/* Sends each message of a refused send by itself. */
static unsigned send_singly(int fd, const struct msghdr *refused, struct message *p)
{
	struct msghdr m = *refused;
	unsigned sent = 0;

	if (m.msg_iovlen > 1) /* the segment size came last */
		m.msg_controllen -= CMSG_SPACE(sizeof(uint16_t));
	m.msg_iovlen = 1;
	for (size_t i = 0; i < refused->msg_iovlen; i++) {
		m.msg_iov = &refused->msg_iov[i];
		p[i].sent = !send_message(fd, &m);
		sent += p[i].sent;
	}
	return sent;
}

/* By themselves, messages may be fragmented, and may lose their source address. Segments are
 * refused if the device cannot segment (EIO), or the path's MTU is less than we know (EINVAL,
 * EMSGSIZE). */
static unsigned send_refused(int fd, struct tx_messages *t, unsigned i, int error)
{
	const struct msghdr *m = &t->mm[i].msg_hdr;

	if (error == EAGAIN || error == ENOBUFS ||
	    (m->msg_iovlen == 1 && !may_lack_source(error)))
		return 0;
	if (error == EIO)
		atomic_store(&t->first[i]->path->no_segment, true);
	return send_singly(fd, m, t->first[i]);
}

static unsigned note_sent(struct tx_messages *t, unsigned i)
{
	for (unsigned j = 0; j < t->packets[i]; j++)
		t->first[i][j].sent = true;
	return t->packets[i];
}

/* Sends messages of one family; skips those that the kernel refuses. */
static unsigned send_messages(int fd, struct tx_messages *t)
{
	unsigned done = 0, sent = 0;

	while (done < t->count) {
		int n = sendmmsg(fd, t->mm + done, t->count - done, 0);

		if (n <= 0)
			sent += send_refused(fd, t, done++, errno);
		for (int i = 0; i < n; i++)
			sent += note_sent(t, done++);
	}
	return sent;
}

unsigned udp_send_batch(struct udp *u, struct message *p, unsigned n, bool stale)
{
	struct tx_messages t;
	unsigned sent = 0;

	for (unsigned i = 0, end; i < n; i = end) {
		int fd = socket_for(u, p[i].path);

		for (end = i + 1; end < n && end - i < UDP_TX_BATCH; end++)
			if (p[end].path->to.ss_family != p[i].path->to.ss_family)
				break;
		if (fd < 0)
			continue;
		build_messages(&t, p + i, end - i, stale);
		sent += send_messages(fd, &t);
	}
	return sent;
}

/* --- reception --- */

static uint8_t *datagram_buffer(const struct udp_reader *r, unsigned i)
{
	return r->area + (size_t)i * UDP_RX_BUFFER_SIZE;
}

int udp_reader_init(struct udp_reader *r)
{
	void *area = mmap(NULL, UDP_RX_BUFFERS * UDP_RX_BUFFER_SIZE,
			  PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		return -errno;
	r->area = area;
	return 0;
}

void udp_reader_destroy(struct udp_reader *r)
{
	if (!r->area)
		return;
	for (unsigned i = 0; i < r->used; i++) /* messages were opened in it */
		sodium_memzero(datagram_buffer(r, i), r->longest);
	munmap(r->area, UDP_RX_BUFFERS * UDP_RX_BUFFER_SIZE);
	r->area = NULL;
}

static void read_pktinfo4(const struct cmsghdr *c, struct udp_received *out)
{
	struct in_pktinfo info;

	if (c->cmsg_type == IP_TOS) {
		out->tos = *CMSG_DATA(c);
	} else if (c->cmsg_type == IP_PKTINFO) {
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		out->ifindex = (uint32_t)info.ipi_ifindex;
		out->source.source.family = IP_V4;
		memcpy(out->source.source.bytes, &info.ipi_addr, 4);
	}
}

static void read_pktinfo6(const struct cmsghdr *c, struct udp_received *out)
{
	struct in6_pktinfo info;
	int tos;

	if (c->cmsg_type == IPV6_TCLASS) {
		memcpy(&tos, CMSG_DATA(c), sizeof(tos));
		out->tos = (uint8_t)tos;
	} else if (c->cmsg_type == IPV6_PKTINFO) {
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		out->ifindex = info.ipi6_ifindex;
		out->source.source.family = IP_V6;
		memcpy(out->source.source.bytes, &info.ipi6_addr, 16);
	}
}

static void read_udp(const struct cmsghdr *c, struct udp_received *out)
{
	int size;

	if (c->cmsg_type != UDP_GRO)
		return;
	memcpy(&size, CMSG_DATA(c), sizeof(size));
	if (size > 0)
		out->segment = (uint32_t)size;
}

static void read_control(struct msghdr *m, struct udp_received *out)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP)
			read_pktinfo4(c, out);
		else if (c->cmsg_level == IPPROTO_IPV6)
			read_pktinfo6(c, out);
		else if (c->cmsg_level == SOL_UDP)
			read_udp(c, out);
	}
}

unsigned udp_receive(struct udp_reader *r, int fd,
		     struct udp_received out[UDP_RX_BUFFERS])
{
	assert_worker_thread();
	uint8_t control[UDP_RX_BUFFERS][128] __attribute__((aligned(8)));
	struct sockaddr_storage from[UDP_RX_BUFFERS];
	struct mmsghdr mm[UDP_RX_BUFFERS];
	struct iovec iov[UDP_RX_BUFFERS];
	int n;

	for (unsigned i = 0; i < UDP_RX_BUFFERS; i++) {
		iov[i].iov_base = datagram_buffer(r, i);
		iov[i].iov_len = UDP_RX_BUFFER_SIZE;
		mm[i].msg_hdr = (struct msghdr){
			.msg_name = &from[i],
			.msg_namelen = sizeof(from[i]),
			.msg_iov = &iov[i],
			.msg_iovlen = 1,
			.msg_control = control[i],
			.msg_controllen = sizeof(control[i]),
		};
	}
	n = recvmmsg(fd, mm, UDP_RX_BUFFERS, MSG_DONTWAIT, NULL);
	if (n < 0 && (errno == ENOMEM || errno == ENOBUFS))
		wakeup_stumble();
	for (int i = 0; i < n; i++) {
		endpoint_from_sockaddr(&from[i], &out[i].source);
		out[i].data = iov[i].iov_base;
		out[i].len = out[i].segment = mm[i].msg_len;
		out[i].tos = 0;
		out[i].ifindex = 0;
		read_control(&mm[i].msg_hdr, &out[i]);
		if (r->longest < out[i].len)
			r->longest = out[i].len;
	}
	if (n > (int)r->used)
		r->used = (unsigned)n;
	return n > 0 ? (unsigned)n : 0;
}
