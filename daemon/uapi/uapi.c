// SPDX-License-Identifier: MIT
/*
 * Theory of operation: one epoll descriptor, which the caller nests into its own,
 * covers the listener, an inotify watch on the directory, and the clients.
 *
 * A request ends at a blank line. One that ends without it is refused. The server either reads from a client, until it has a whole
 * request, or writes to it, until the client has taken the whole answer; what the client sends
 * meanwhile waits in its socket. So a client never costs more memory than the largest request and
 * the largest answer. Each event serves one request at most. If the next one was already read, the
 * server waits for EPOLLOUT, so that the other clients have their turn first.
 *
 * The list of clients begins with the one whose latest progress is the oldest. That one is the
 * next to be ended as idle, and it is ended when a client more than UAPI_CLIENTS_MAX connects.
 *
 * Requests and answers contain private keys. Their buffers are wiped before they are freed, also
 * when they grow and so move; realloc(3) and open_memstream(3) would leave copies in freed memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <urcu/list.h>

#include "clock.h"
#include "uapi.h"
#include "why.h"

#define IDLE_TIMEOUT (UAPI_IDLE_TIMEOUT * NS_PER_SEC)
#define ACCEPT_PAUSE NS_PER_SEC
#define ACCEPT_BATCH 16
#define BUFFER_MIN   4096
#define READ_MAX     (1U << 20) /* bytes of one client per event */
#define ANSWER_MAX   (512U << 20)

struct buffer {
	char *data;
	size_t start, end; /* of the content, in data */
	size_t size;
};

enum request {
	REQUEST_GET,
	REQUEST_SET,
	REQUEST_STATUS,
	REQUEST_RELEASE,
	REQUEST_ATTACH,
};

struct client {
	struct cds_list_head link;
	int fd;
	bool eof;	   /* sends no more */
	bool closing;	   /* is closed when its answer is written */
	uint64_t progress; /* when bytes were moved last, ns */
	struct buffer in, out;
	size_t scanned; /* bytes of `in` in which no end of a request begins */
};

struct uapi {
	const struct uapi_ops *ops;
	void *ctx;
	int epoll, listener, inotify, dir;
	char name[IF_NAMESIZE + sizeof(".sock")];
	dev_t dev; /* the socket's file; ino 0: none is ours */
	ino_t ino;
	bool removed;
	uint64_t accept_after; /* ns, when to poll the listener; UINT64_MAX: now */
	struct cds_list_head clients;
	unsigned client_count;
};

static size_t buffer_len(const struct buffer *b)
{
	return b->end - b->start;
}

static void buffer_free(struct buffer *b)
{
	if (b->data)
		sodium_memzero(b->data, b->end);
	free(b->data);
	*b = (struct buffer){NULL, 0, 0, 0};
}

/* Moves the content into an area of `size` bytes, and wipes the old one. */
static int buffer_move(struct buffer *b, size_t size)
{
	struct buffer n = {malloc(size), 0, buffer_len(b), size};

	if (!n.data)
		return -ENOMEM;
	if (b->data)
		memcpy(n.data, b->data + b->start, n.end);
	buffer_free(b);
	*b = n;
	return 0;
}

/* Makes room for `want` more bytes. Returns 0, -ENOMEM, or -EMSGSIZE if the content would be
 * longer than `max`. */
static int buffer_reserve(struct buffer *b, size_t want, size_t max)
{
	size_t len = buffer_len(b), size = b->size ? b->size : BUFFER_MIN;

	if (b->size - b->end >= want)
		return 0;
	if (want > max - len)
		return -EMSGSIZE;
	while (size - len < want)
		size *= 2;
	return buffer_move(b, size);
}

static int buffer_append(struct buffer *b, const char *text, size_t len)
{
	int err = buffer_reserve(b, len, ANSWER_MAX);

	if (err)
		return err;
	memcpy(b->data + b->end, text, len);
	b->end += len;
	return 0;
}

static void buffer_consume(struct buffer *b, size_t len)
{
	sodium_memzero(b->data + b->start, len);
	b->start += len;
	if (b->start == b->end)
		buffer_free(b);
}

static ssize_t stream_write(void *cookie, const char *text, size_t len)
{
	int err = buffer_append(cookie, text, len);

	if (!err)
		return (ssize_t)len;
	errno = -err;
	return 0; /* means an error, see fopencookie(3) */
}

/* Collects what `write` writes in the buffer. On an error the buffer is left empty. */
static int buffer_collect(struct buffer *b, int (*write)(void *ctx, FILE *out), void *ctx)
{
	const cookie_io_functions_t io = {.write = stream_write};
	FILE *f = fopencookie(b, "w", io);
	char stdio[BUFFER_MIN];
	int err;

	if (!f)
		return -ENOMEM;
	setvbuf(f, stdio, _IOFBF, sizeof(stdio));
	err = write(ctx, f);
	if (!err && (fflush(f) || ferror(f)))
		err = -ENOMEM;
	fclose(f);
	sodium_memzero(stdio, sizeof(stdio));
	if (err)
		buffer_free(b);
	return err;
}

static const char *const request_lines[] = {
	[REQUEST_GET] = "get=1\n",
	[REQUEST_SET] = "set=1\n",
	[REQUEST_STATUS] = "status=1\n",
	/* the name of a device follows */
	[REQUEST_RELEASE] = "release=",
	[REQUEST_ATTACH] = "attach=",
};

#define REQUESTS (sizeof(request_lines) / sizeof(request_lines[0]))

/*
 * Returns the request that the text begins with. If the text is still too short to tell, returns
 * any one that it can become; -EINVAL if it can become none, so that nonsense is refused without
 * waiting for a blank line.
 */
static int request_kind(const char *text, size_t len)
{
	size_t i, line;

	for (i = 0; i < REQUESTS; i++) {
		line = strlen(request_lines[i]);
		if (!memcmp(text, request_lines[i], len < line ? len : line))
			return (int)i;
	}
	return -EINVAL;
}

/* Returns the length of the first request with its blank line; 0 if it is not complete; -EINVAL
 * if it is no request, or -EMSGSIZE. */
static ssize_t request_len(struct client *c)
{
	const char *text, *end;
	size_t len;

	/* Skips blank lines before a request: `echo 'get=1\n\n'` sends one too many. */
	while (buffer_len(&c->in) && c->in.data[c->in.start] == '\n')
		buffer_consume(&c->in, 1);
	len = buffer_len(&c->in);
	if (!len)
		return 0;
	text = c->in.data + c->in.start;
	if (request_kind(text, len) < 0)
		return -EINVAL;
	end = memmem(text + c->scanned, len - c->scanned, "\n\n", 2);
	c->scanned = end ? 0 : len - 1;
	if (end)
		return end - text + 2;
	return len < UAPI_REQUEST_MAX ? 0 : -EMSGSIZE;
}

static int serve_set(struct uapi *u, const char *text, size_t len)
{
	struct uapi_error error;
	struct uapi_set set;
	int err;

	err = uapi_parse_set(text, len, &set, &error);
	if (err) {
		if (u->ops->refused)
			u->ops->refused(u->ctx, &error);
		return err;
	}
	err = u->ops->set(u->ctx, &set);
	uapi_set_free(&set);
	return err;
}

static int serve_status(struct uapi *u, struct buffer *out)
{
	int err = buffer_collect(out, u->ops->status, u->ctx);

	if (!err && buffer_len(out) && out->data[out->end - 1] != '\n')
		err = buffer_append(out, "\n", 1);
	return err;
}

/* `name`: what follows the "=", up to the blank line. */
static int serve_nic(struct uapi *u, int kind, const char *name, size_t len)
{
	char text[IFNAMSIZ] = "";

	len -= 2; /* the two newlines at the end */
	if (!u->ops->nic || !len || len >= sizeof(text) || memchr(name, '\n', len) ||
	    memchr(name, '\0', len))
		return -EINVAL;
	memcpy(text, name, len);
	return u->ops->nic(u->ctx, text, kind == REQUEST_ATTACH);
}

/* Executes a whole request, and writes its answer without the errno and the blank line. */
static int serve_request(struct uapi *u, const char *text, size_t len, struct buffer *out)
{
	int kind = request_kind(text, len);
	size_t line;

	if (kind == REQUEST_SET)
		return serve_set(u, text, len);
	if (kind == REQUEST_RELEASE || kind == REQUEST_ATTACH) {
		line = strlen(request_lines[kind]);
		return serve_nic(u, kind, text + line, len - line);
	}
	/* The other requests have only the blank line after their first. */
	if (kind < 0 || len != strlen(request_lines[kind]) + 1)
		return -EINVAL;
	if (kind == REQUEST_GET)
		return buffer_collect(out, u->ops->get, u->ctx);
	return serve_status(u, out);
}

static void answer_end(struct client *c, int err)
{
	char end[sizeof("errno=-2147483648\n\n")];
	int len = snprintf(end, sizeof(end), "errno=%d\n\n", err);

	if (buffer_append(&c->out, end, (size_t)len))
		c->closing = true;
}

/* Answers the first request if it is complete. If it is none, closes after the answer, because
 * where the next request begins is not known. */
static void client_serve(struct uapi *u, struct client *c, ssize_t len)
{
	int err;

	if (len < 0) {
		answer_end(c, (int)len);
		c->closing = true;
	} else if (len > 0) {
		err = serve_request(u, c->in.data + c->in.start, (size_t)len, &c->out);
		answer_end(c, err);
		buffer_consume(&c->in, (size_t)len);
	}
}

static void client_free(struct uapi *u, struct client *c)
{
	cds_list_del(&c->link);
	u->client_count--;
	close(c->fd);
	buffer_free(&c->in);
	buffer_free(&c->out);
	free(c);
}

static void client_progress(struct uapi *u, struct client *c, uint64_t now)
{
	c->progress = now;
	cds_list_del(&c->link);
	cds_list_add_tail(&c->link, &u->clients);
}

/* Reads once. Returns the number of bytes, 0 if there is nothing or at the end, or -errno. */
static ssize_t client_read(struct client *c)
{
	int err = buffer_reserve(&c->in, 1, UAPI_REQUEST_MAX);
	size_t room = c->in.size - c->in.end;
	ssize_t n;

	if (err)
		return err;
	n = recv(c->fd, c->in.data + c->in.end, room < READ_MAX ? room : READ_MAX,
		 MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	c->eof = n == 0;
	c->in.end += (size_t)n;
	return n;
}

static ssize_t client_write(struct client *c)
{
	ssize_t n;

	n = send(c->fd, c->out.data + c->out.start, buffer_len(&c->out),
		 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	buffer_consume(&c->out, (size_t)n);
	return n;
}

/* Reads, serves and writes, each at most once. Returns the bytes that were moved, or -errno. */
static ssize_t client_round(struct uapi *u, struct client *c)
{
	ssize_t len, in = 0, out = 0;

	if (!buffer_len(&c->out)) {
		len = request_len(c);
		if (!len && !c->eof) {
			in = client_read(c);
			if (in < 0)
				return in;
			len = request_len(c);
		}
		if (!len && c->eof && buffer_len(&c->in))
			len = -EINVAL; /* the rest is lost: nothing is applied */
		client_serve(u, c, len);
	}
	if (buffer_len(&c->out))
		out = client_write(c);
	return out < 0 ? out : in + out;
}

/* Returns the epoll event that a client waits for; 0: none, the client is to be closed. */
static uint32_t client_waits_for(struct client *c)
{
	if (buffer_len(&c->out))
		return EPOLLOUT;
	if (c->closing)
		return 0;
	if (request_len(c))
		return EPOLLOUT;
	return c->eof ? 0 : EPOLLIN;
}

static void client_ready(struct uapi *u, struct client *c, uint64_t now)
{
	struct epoll_event ev = {.data.ptr = c};
	ssize_t moved = client_round(u, c);

	if (moved >= 0)
		ev.events = client_waits_for(c);
	if (!ev.events || epoll_ctl(u->epoll, EPOLL_CTL_MOD, c->fd, &ev))
		client_free(u, c);
	else if (moved)
		client_progress(u, c, now);
}

static struct client *stalest(const struct uapi *u)
{
	struct cds_list_head *first = u->clients.next;

	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it does not see that client_free() unlinks */
	return first == &u->clients ? NULL : cds_list_entry(first, struct client, link);
}

/* The descriptor is the server's from here on, also on an error. */
static void client_add(struct uapi *u, int fd, uint64_t now)
{
	struct client *c = calloc(1, sizeof(*c));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

	if (!c || epoll_ctl(u->epoll, EPOLL_CTL_ADD, fd, &ev)) {
		free(c);
		close(fd);
		return;
	}
	if (u->client_count == UAPI_CLIENTS_MAX)
		client_free(u, stalest(u));
	c->fd = fd;
	c->progress = now;
	cds_list_add_tail(&c->link, &u->clients);
	u->client_count++;
}

static void listener_poll(struct uapi *u, bool on)
{
	struct epoll_event ev = {.events = on ? EPOLLIN : 0, .data.ptr = &u->listener};

	epoll_ctl(u->epoll, EPOLL_CTL_MOD, u->listener, &ev);
}

/*
 * Without descriptors or memory, a connection cannot be accepted and its event stays, so that the
 * loop would spin. Stops polling the listener for a while instead.
 */
static void accept_pause(struct uapi *u, uint64_t now)
{
	u->accept_after = now + ACCEPT_PAUSE;
	listener_poll(u, false);
}

static void accept_clients(struct uapi *u, uint64_t now)
{
	int fd, i;

	for (i = 0; i < ACCEPT_BATCH; i++) {
		fd = accept4(u->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			client_add(u, fd, now);
			continue;
		}
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			accept_pause(u, now);
		return;
	}
}

static void expire(struct uapi *u, uint64_t now)
{
	struct client *c;

	while ((c = stalest(u)) && now >= c->progress + IDLE_TIMEOUT)
		client_free(u, c);
	if (now >= u->accept_after) {
		u->accept_after = UINT64_MAX;
		listener_poll(u, true);
	}
}

static bool is_same_file(const struct uapi *u, const struct stat *st)
{
	return st->st_dev == u->dev && st->st_ino == u->ino;
}

static bool file_is_ours(const struct uapi *u)
{
	struct stat st;

	return u->ino && !fstatat(u->dir, u->name, &st, AT_SYMLINK_NOFOLLOW) &&
	       is_same_file(u, &st);
}

/* Returns true if the file is gone, or is another one. An error of looking tells nothing. */
static bool file_is_lost(const struct uapi *u)
{
	struct stat st;

	if (fstatat(u->dir, u->name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT;
	return !is_same_file(u, &st);
}

/* What the events say does not matter: the file is looked at. */
static void watch_ready(struct uapi *u)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

	while (read(u->inotify, events, sizeof(events)) > 0)
		;
	u->removed |= file_is_lost(u);
}

int uapi_fd(const struct uapi *u)
{
	return u->epoll;
}

int uapi_dispatch(struct uapi *u, uint64_t now)
{
	struct epoll_event events[UAPI_CLIENTS_MAX + 2];
	bool incoming = false;
	int i, n;

	n = epoll_wait(u->epoll, events, UAPI_CLIENTS_MAX + 2, 0);
	for (i = 0; i < n; i++) {
		if (events[i].data.ptr == &u->inotify)
			watch_ready(u);
		else if (events[i].data.ptr == &u->listener)
			incoming = true;
		else
			client_ready(u, events[i].data.ptr, now);
	}
	/* Both may free any client, and so come after the events of clients. */
	if (incoming)
		accept_clients(u, now);
	expire(u, now);
	return u->removed;
}

uint64_t uapi_next_deadline(const struct uapi *u)
{
	const struct client *c = stalest(u);

	if (c && c->progress + IDLE_TIMEOUT < u->accept_after)
		return c->progress + IDLE_TIMEOUT;
	return u->accept_after;
}

void uapi_close(struct uapi *u)
{
	struct client *c;

	if (!u)
		return;
	while ((c = stalest(u)))
		client_free(u, c);
	if (file_is_ours(u))
		unlinkat(u->dir, u->name, 0);
	if (u->listener >= 0)
		close(u->listener);
	if (u->inotify >= 0)
		close(u->inotify);
	if (u->epoll >= 0)
		close(u->epoll);
	if (u->dir >= 0)
		close(u->dir);
	free(u);
}

static int unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Returns true if a process listens on that socket. A full backlog (EAGAIN) means that one does. */
static bool is_alive(const struct sockaddr_un *addr)
{
	int fd = unix_socket();
	bool alive;

	if (fd < 0)
		return true;
	alive = !connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ||
		(errno != ECONNREFUSED && errno != ENOENT);
	close(fd);
	return alive;
}

/* Removes the file only if it is a socket and no process listens on it. */
static int remove_stale(struct uapi *u, const struct sockaddr_un *addr, struct why why)
{
	struct stat st;

	if (fstatat(u->dir, u->name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : fail_errno(why, "look at", addr->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return fail(why, -EADDRINUSE, "%s is in the way, and is not a socket",
			    addr->sun_path);
	if (is_alive(addr))
		return fail(why, -EADDRINUSE,
			    "another process serves %s already (network namespaces share "
			    "that directory: take another name, or mount one there)",
			    addr->sun_path);
	if (unlinkat(u->dir, u->name, 0) && errno != ENOENT)
		return fail_errno(why, "remove the stale", addr->sun_path);
	return 0;
}

/*
 * If two processes start at once, both may find a stale socket, and the second may remove the
 * socket that the first has just made. The watch of the first then reports that, and it ends.
 */
static int bind_socket(struct uapi *u, const struct sockaddr_un *addr, struct why why)
{
	const struct sockaddr *sa = (const struct sockaddr *)addr;
	struct stat st;
	int err;

	u->listener = unix_socket();
	/* bind() makes the file with this mode, so that it never has a wider one. */
	if (u->listener < 0 || fchmod(u->listener, 0600))
		return fail_errno(why, "make", addr->sun_path);
	if (bind(u->listener, sa, sizeof(*addr))) {
		if (errno != EADDRINUSE)
			return fail_errno(why, "make", addr->sun_path);
		err = remove_stale(u, addr, why);
		if (err)
			return err;
		if (bind(u->listener, sa, sizeof(*addr)))
			return fail_errno(why, "make", addr->sun_path);
	}
	if (fstatat(u->dir, u->name, &st, AT_SYMLINK_NOFOLLOW))
		return fail_errno(why, "look at", addr->sun_path);
	u->dev = st.st_dev;
	u->ino = st.st_ino;
	if (listen(u->listener, UAPI_CLIENTS_MAX))
		return fail_errno(why, "listen on", addr->sun_path);
	return 0;
}

static int watch(struct uapi *u, const char *dir, struct why why)
{
	struct epoll_event listener = {.events = EPOLLIN, .data.ptr = &u->listener};
	struct epoll_event inotify = {.events = EPOLLIN, .data.ptr = &u->inotify};

	u->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	u->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (u->inotify < 0 || u->epoll < 0 ||
	    inotify_add_watch(u->inotify, dir, IN_DELETE | IN_MOVE) < 0 ||
	    epoll_ctl(u->epoll, EPOLL_CTL_ADD, u->listener, &listener) ||
	    epoll_ctl(u->epoll, EPOLL_CTL_ADD, u->inotify, &inotify))
		return fail_errno(why, "watch", dir);
	u->removed = file_is_lost(u);
	return 0;
}

/* A user who may write to the directory can put a socket there, to which wg(8) would send keys.
 * After this check, the directory's path and its descriptor lead to the same files. */
static int check_dir(const struct stat *st, const char *dir, struct why why)
{
	if (!S_ISDIR(st->st_mode))
		return fail(why, -ENOTDIR, "%s is not a directory: remove it", dir);
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return fail(why, -EPERM,
			    "%s belongs to user %u, who could take the socket's place: "
			    "remove it, or chown root %s",
			    dir, st->st_uid, dir);
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return fail(why, -EPERM,
			    "other users may write to %s (mode %04o): chmod go-w %s", dir,
			    st->st_mode & 07777, dir);
	return 0;
}

/* Does not follow a link, which any user may have made. */
static int open_dir(struct uapi *u, const char *dir, struct why why)
{
	struct stat st;
	int err;

	if (mkdir(dir, 0755) && errno != EEXIST)
		return fail_errno(why, "make", dir);
	if (lstat(dir, &st))
		return fail_errno(why, "look at", dir);
	err = check_dir(&st, dir, why);
	if (err)
		return err;
	u->dir = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (u->dir < 0)
		return fail_errno(why, "open", dir);
	return fstat(u->dir, &st) ? fail_errno(why, "look at", dir)
				  : check_dir(&st, dir, why);
}

static int set_name(struct uapi *u, const char *dir, const char *ifname,
		    struct sockaddr_un *addr, struct why why)
{
	int len;

	if (!*ifname || strlen(ifname) >= IF_NAMESIZE || strchr(ifname, '/'))
		return fail(why, -EINVAL, "not a name for an interface: %.32s", ifname);
	snprintf(u->name, sizeof(u->name), "%s.sock", ifname);
	addr->sun_family = AF_UNIX;
	len = snprintf(addr->sun_path, sizeof(addr->sun_path), "%s/%s", dir, u->name);
	if (len >= (int)sizeof(addr->sun_path))
		return fail(why, -ENAMETOOLONG, "path of the socket too long");
	return 0;
}

static struct uapi *uapi_alloc(const struct uapi_ops *ops, void *ctx)
{
	struct uapi *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->ops = ops;
	u->ctx = ctx;
	u->epoll = u->listener = u->inotify = u->dir = -1;
	u->accept_after = UINT64_MAX;
	CDS_INIT_LIST_HEAD(&u->clients);
	return u;
}

int uapi_open(struct uapi **uapi, const char *dir, const char *ifname,
	      const struct uapi_ops *ops, void *ctx, char *why_text, size_t why_len)
{
	struct why why = {why_text, why_len};
	struct sockaddr_un addr = {0};
	struct uapi *u = uapi_alloc(ops, ctx);
	int err;

	*uapi = NULL;
	if (!u)
		return fail(why, -ENOMEM, "out of memory");
	if (!dir)
		dir = UAPI_DIR;
	err = set_name(u, dir, ifname, &addr, why);
	if (!err)
		err = open_dir(u, dir, why);
	if (!err)
		err = bind_socket(u, &addr, why);
	if (!err)
		err = watch(u, dir, why);
	if (err)
		uapi_close(u);
	else
		*uapi = u;
	return err;
}
