// SPDX-License-Identifier: MIT
/*
 * Theory of operation: one epoll descriptor, which the caller nests into its own, covers the
 * listener, an inotify watch on the directory, and the clients.
 *
 * A request ends at a blank line. One that ends without it is refused. The server either reads
 * from a client, until it has a whole request, or writes to it, until the client has taken the
 * whole answer; what the client sends meanwhile waits in its socket. Each event serves one request
 * at most. If the next one was already read, the server waits for EPOLLOUT, so that the other
 * clients have their turn first.
 *
 * What takes long is done in shares, so that neither other clients nor the rest of the daemon wait
 * for it. An answer is made in parts: the next one when the client has taken the one before. A
 * "set" is a job: first all of its lines are parsed, then they are carried out. There is one job
 * at a time; other clients' wait for their turn, in the order of their coming.
 *
 * Memory: each client may have CLIENT_MEMORY for its request and as much for the part of an answer.
 * Only one client at a time (`large`) may have more, for a request or for a part of its
 * answer. Others that send more are not read until it has ended; a part that would be larger
 * ends its answer with -ENOMEM.
 *
 * The list of clients begins with the one whose latest progress is the oldest. That one is the
 * next to be ended as idle, and it is ended when a client more than UAPI_CLIENTS_MAX connects.
 * A client that waits for its turn is not idle.
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
#include "thread.h"
#include "uapi.h"
#include "why.h"

#define IDLE_TIMEOUT (UAPI_IDLE_TIMEOUT * NS_PER_SEC)
#define ACCEPT_PAUSE NS_PER_SEC
#define ACCEPT_BATCH 16
#define BUFFER_MIN   4096
#define READ_MAX     (1U << 20) /* bytes of one client per event */
/* Of the one client that may have more than CLIENT_MEMORY: a part of its answer. */
#define ANSWER_MAX    (512U << 20)
#define CLIENT_MEMORY (1U << 20)
/* Clients per call, and the time of each and of the job. */
#define EVENTS_A_ROUND 8
#define SHARE_NS       (2 * NS_PER_MS)
#define LINES_A_SHARE  256

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

/* What a client waits for that no event of its socket tells. */
enum wait { WAIT_NOT, WAIT_TURN, WAIT_MEMORY };

struct client {
	struct cds_list_head link;
	int fd;
	bool eof;	   /* sends no more */
	bool closing;	   /* is closed when its answer is written */
	uint64_t progress; /* when bytes were moved last, ns */
	struct buffer in, out;
	size_t scanned;	 /* bytes of `in` in which no end of a request begins */
	ssize_t request; /* length of the first request in `in`; 0: not known */
	enum wait wait;
	bool answering; /* more parts of the answer to `kind` follow */
	enum request kind;
	void *answer; /* of struct uapi_ops */
};

/* The "set" that is carried out. */
struct job {
	struct client *client; /* NULL: there is none */
	struct uapi_parser parser;
	struct uapi_set set;
	bool parsed;
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
	struct client *large; /* may have more than CLIENT_MEMORY; NULL: nobody has */
	struct job job;
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
	if (n.end)
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

static int buffer_append(struct buffer *b, const char *text, size_t len, size_t max)
{
	int err = buffer_reserve(b, len, max);

	if (err)
		return err;
	memcpy(b->data + b->end, text, len);
	b->end += len;
	return 0;
}

static void buffer_consume(struct buffer *b, size_t len)
{
	if (len == buffer_len(b)) {
		buffer_free(b);
		return;
	}
	sodium_memzero(b->data + b->start, len);
	b->start += len;
}

/* A stream that writes to a buffer. */
struct sink {
	struct buffer *buffer;
	size_t max;
};

static ssize_t stream_write(void *cookie, const char *text, size_t len)
{
	struct sink *sink = cookie;
	int err = buffer_append(sink->buffer, text, len, sink->max);

	if (!err)
		return (ssize_t)len;
	errno = -err;
	return 0; /* means an error, see fopencookie(3) */
}

/* Collects what `write` writes in the buffer, at most `max` bytes. Returns what it returns; on an
 * error the buffer is left empty. */
static int buffer_collect(struct buffer *b, size_t max, uapi_answer *write, void *ctx,
			  void **state)
{
	const cookie_io_functions_t io = {.write = stream_write};
	struct sink sink = {b, max};
	FILE *f = fopencookie(&sink, "w", io);
	char stdio[BUFFER_MIN];
	int ret;

	if (!f)
		return -ENOMEM;
	setvbuf(f, stdio, _IOFBF, sizeof(stdio));
	ret = write(ctx, state, f);
	if (ret >= 0 && (fflush(f) || ferror(f)))
		ret = -ENOMEM;
	fclose(f);
	sodium_memzero(stdio, sizeof(stdio));
	if (ret < 0)
		buffer_free(b);
	return ret;
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

static void clear_request(struct client *c)
{
	buffer_consume(&c->in, (size_t)c->request);
	c->request = 0;
	c->scanned = 0;
}

static ssize_t request_length(struct client *c)
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
	c->scanned = len - 1;
	if (end)
		return end - text + 2;
	return len < UAPI_REQUEST_MAX ? 0 : -EMSGSIZE;
}

/* Returns the length of the first request with its blank line; 0 if it is not complete; -EINVAL
 * if it is no request, or -EMSGSIZE. */
static ssize_t request_len(struct client *c)
{
	if (!c->request)
		c->request = request_length(c);
	return c->request;
}

/* --- clients --- */

static int client_watch(struct uapi *u, struct client *c, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	return epoll_ctl(u->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

static void client_progress(struct uapi *u, struct client *c, uint64_t now)
{
	c->progress = now;
	cds_list_del(&c->link);
	cds_list_add_tail(&c->link, &u->clients);
}

static void let_others_grow(struct uapi *u)
{
	struct client *c;

	u->large = NULL;
	cds_list_for_each_entry (c, &u->clients, link) {
		if (c->wait != WAIT_MEMORY)
			continue;
		c->wait = WAIT_NOT;
		client_watch(u, c, EPOLLIN);
	}
}

/* Gives the right to more memory back if it is no longer needed. Without memory for a smaller
 * buffer the client keeps it. */
static void client_shrink(struct uapi *u, struct client *c)
{
	struct buffer *in = &c->in;

	if (u->large != c || u->job.client == c || buffer_len(in) >= CLIENT_MEMORY ||
	    c->out.size > CLIENT_MEMORY)
		return;
	if (in->size <= CLIENT_MEMORY || !buffer_move(in, CLIENT_MEMORY))
		let_others_grow(u);
}

static void client_free(struct uapi *u, struct client *c)
{
	cds_list_del(&c->link);
	u->client_count--;
	if (c->answering)
		u->ops->end(u->ctx, c->answer);
	if (u->job.client == c) {
		uapi_set_free(&u->job.set);
		u->job.client = NULL;
	}
	if (u->large == c)
		let_others_grow(u);
	close(c->fd);
	buffer_free(&c->in);
	buffer_free(&c->out);
	free(c);
}

/* --- answers --- */

static void answer_end(struct client *c, int err)
{
	char end[sizeof("errno=-2147483648\n\n")];
	int len = snprintf(end, sizeof(end), "errno=%d\n\n", err);

	if (buffer_append(&c->out, end, (size_t)len, ANSWER_MAX))
		c->closing = true;
}

static uapi_answer *writer(const struct uapi *u, enum request kind)
{
	return kind == REQUEST_GET ? u->ops->get : u->ops->status;
}

/* Makes the next part of the answer; the client has taken those before. */
static void answer_more(struct uapi *u, struct client *c)
{
	bool may_grow = !u->large || u->large == c;
	struct buffer *out = &c->out;
	int ret = buffer_collect(out, may_grow ? ANSWER_MAX : CLIENT_MEMORY,
				 writer(u, c->kind), u->ctx, &c->answer);

	if (out->size > CLIENT_MEMORY)
		u->large = c;
	c->answering = ret == 1;
	if (c->answering)
		return;
	if (!ret && c->kind == REQUEST_STATUS && buffer_len(out) &&
	    out->data[out->end - 1] != '\n')
		ret = buffer_append(out, "\n", 1, ANSWER_MAX);
	answer_end(c, ret);
}

/* --- the job --- */

/* The client is answered when its turn in the loop comes. */
static void job_end(struct uapi *u, int err, uint64_t now)
{
	struct client *c = u->job.client;

	uapi_set_free(&u->job.set);
	u->job.client = NULL;
	c->wait = WAIT_NOT;
	clear_request(c);
	answer_end(c, err);
	client_progress(u, c, now);
	client_shrink(u, c);
	client_watch(u, c, EPOLLOUT);
}

static int job_refused(struct uapi *u, int err)
{
	if (u->ops->refused)
		u->ops->refused(u->ctx, &u->job.parser.error);
	return err;
}

/* Returns 1 if there is more to do, else what the client is to be told. */
static int job_share(struct uapi *u)
{
	struct job *job = &u->job;
	int ret;

	if (job->parsed)
		return u->ops->set(u->ctx, &job->set);
	ret = uapi_parse_some(&job->parser, LINES_A_SHARE);
	job->parsed = !ret;
	return ret < 0 ? job_refused(u, ret) : 1;
}

static void job_begin(struct uapi *u, struct client *c, uint64_t now)
{
	int err;

	u->job = (struct job){.client = c, .parser.error.reason = "out of memory"};
	/* Room for the answer is made first, so that what was done can be told. */
	err = buffer_reserve(&c->out, BUFFER_MIN, CLIENT_MEMORY);
	if (!err)
		err = uapi_parse_begin(&u->job.parser, c->in.data + c->in.start,
				       (size_t)c->request, &u->job.set);
	if (err)
		job_end(u, job_refused(u, err), now);
}

static struct client *next_in_turn(const struct uapi *u)
{
	struct client *c;

	cds_list_for_each_entry (c, &u->clients, link)
		if (c->wait == WAIT_TURN)
			return c;
	return NULL;
}

/* Takes as much time as a round may, and at least one share. */
static void jobs_serve(struct uapi *u, uint64_t now)
{
	uint64_t until = clock_now() + SHARE_NS;
	struct client *c;
	int ret;

	do {
		c = u->job.client ? NULL : next_in_turn(u);
		if (c)
			job_begin(u, c, now);
		if (!u->job.client)
			return;
		ret = job_share(u);
		if (ret != 1)
			job_end(u, ret, now);
	} while (clock_now() < until);
}

/* --- requests --- */

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

static void serve_request(struct uapi *u, struct client *c)
{
	const char *text = c->in.data + c->in.start;
	size_t len = (size_t)c->request;
	int kind = request_kind(text, len);
	size_t line = kind < 0 ? 0 : strlen(request_lines[kind]);

	if (kind == REQUEST_SET) {
		c->wait = WAIT_TURN;
		return;
	}
	if (kind == REQUEST_RELEASE || kind == REQUEST_ATTACH) {
		answer_end(c, serve_nic(u, kind, text + line, len - line));
	} else if (kind < 0 || len != line + 1) { /* only the blank line may follow */
		answer_end(c, -EINVAL);
	} else {
		c->kind = (enum request)kind;
		c->answer = NULL;
		answer_more(u, c);
	}
	clear_request(c);
}

/* Serves the first request if it is complete. If it is none, closes after the answer, because
 * where the next request begins is not known. */
static void client_serve(struct uapi *u, struct client *c, ssize_t len)
{
	if (len > 0) {
		serve_request(u, c);
	} else if (len < 0) {
		answer_end(c, (int)len);
		c->closing = true;
	}
}

static bool may_read(struct uapi *u, struct client *c)
{
	if (buffer_len(&c->in) < CLIENT_MEMORY)
		return true;
	if (!u->large)
		u->large = c;
	return u->large == c;
}

/* Reads once. Returns the number of bytes, 0 if there is nothing or at the end, or -errno. */
static ssize_t client_read(struct uapi *u, struct client *c)
{
	size_t room;
	ssize_t n;
	int err;

	if (!may_read(u, c)) {
		c->wait = WAIT_MEMORY;
		return 0;
	}
	err = buffer_reserve(&c->in, 1, UAPI_REQUEST_MAX);
	if (err)
		return err;
	room = c->in.size - c->in.end;
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

/* Reads what is missing of a request, and serves it. Returns the bytes that were read, or
 * -errno. */
static ssize_t client_take(struct uapi *u, struct client *c)
{
	ssize_t len = request_len(c), in = 0;

	if (!len && !c->eof) {
		in = client_read(u, c);
		if (in < 0)
			return in;
		len = request_len(c);
	}
	if (!len && c->eof && buffer_len(&c->in))
		len = -EINVAL; /* the rest is lost: nothing is applied */
	client_serve(u, c, len);
	return in;
}

/* Writes, and makes the next parts, for as long as the client takes them and a round may last.
 * Returns the bytes that were written, or -errno. */
static ssize_t client_answer(struct uapi *u, struct client *c)
{
	uint64_t until = clock_now() + SHARE_NS;
	ssize_t n, sum = 0;

	do {
		if (!buffer_len(&c->out))
			answer_more(u, c);
		n = client_write(c);
		if (n < 0)
			return n;
		sum += n;
	} while (c->answering && !buffer_len(&c->out) && clock_now() < until);
	return sum;
}

/* Reads and serves at most once, and writes. Returns the bytes that were moved, or -errno. */
static ssize_t client_round(struct uapi *u, struct client *c)
{
	ssize_t in = 0, out = 0;

	if (!buffer_len(&c->out) && !c->answering)
		in = client_take(u, c);
	if (in >= 0 && (buffer_len(&c->out) || c->answering))
		out = client_answer(u, c);
	client_shrink(u, c);
	if (in < 0)
		return in;
	return out < 0 ? out : in + out;
}

/* Returns the epoll event that a client waits for, EPOLLET if only for its end; 0: none, the client
 * is to be closed. */
static uint32_t client_waits_for(struct client *c)
{
	if (c->wait)
		return EPOLLET;
	if (buffer_len(&c->out) || c->answering)
		return EPOLLOUT;
	if (c->closing)
		return 0;
	if (request_len(c))
		return EPOLLOUT;
	return c->eof ? 0 : EPOLLIN;
}

/* A client that went away while it waited. What it had asked for is still done. */
static void client_gone(struct uapi *u, struct client *c)
{
	if (c->wait == WAIT_MEMORY)
		client_free(u, c);
}

static void client_ready(struct uapi *u, struct client *c, uint64_t now)
{
	uint32_t events = 0;
	ssize_t moved;

	if (c->wait) {
		client_gone(u, c);
		return;
	}
	moved = client_round(u, c);
	if (moved >= 0)
		events = client_waits_for(c);
	if (!events || client_watch(u, c, events))
		client_free(u, c);
	else if (moved)
		client_progress(u, c, now);
}

/* Returns the client that is idle for the longest time; NULL if there is none. */
static struct client *stalest(const struct uapi *u)
{
	struct client *c;

	cds_list_for_each_entry (c, &u->clients, link)
		if (c->wait != WAIT_TURN)
			return c;
	return NULL;
}

/* Returns false if all clients wait for their turn, which is no reason to end one. */
static bool make_room(struct uapi *u)
{
	struct client *c;

	if (u->client_count < UAPI_CLIENTS_MAX)
		return true;
	c = stalest(u);
	if (c)
		client_free(u, c);
	return c;
}

/* The descriptor is the server's from here on, also on an error. */
static void client_add(struct uapi *u, int fd, uint64_t now)
{
	struct client *c = calloc(1, sizeof(*c));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

	if (!c || !make_room(u) || epoll_ctl(u->epoll, EPOLL_CTL_ADD, fd, &ev)) {
		free(c);
		close(fd);
		return;
	}
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
		if (errno != EAGAIN && errno != EINTR)
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
	assert_control_thread();
	return u->epoll;
}

int uapi_dispatch(struct uapi *u, uint64_t now)
{
	struct epoll_event events[EVENTS_A_ROUND];
	bool incoming = false;
	int i, n;

	assert_control_thread();
	n = epoll_wait(u->epoll, events, EVENTS_A_ROUND, 0);
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
	jobs_serve(u, now);
	expire(u, now);
	return u->removed;
}

uint64_t uapi_next_deadline(const struct uapi *u)
{
	assert_control_thread();
	const struct client *c = stalest(u);

	if (u->job.client || next_in_turn(u))
		return 0;
	if (c && c->progress + IDLE_TIMEOUT < u->accept_after)
		return c->progress + IDLE_TIMEOUT;
	return u->accept_after;
}

void uapi_close(struct uapi *u)
{
	struct client *c, *next;

	assert_control_thread();
	if (!u)
		return;
	u->large = NULL; /* nobody waits for its memory any more */
	cds_list_for_each_entry_safe (c, next, &u->clients, link)
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
static int bind_path(struct uapi *u, const struct sockaddr_un *addr, struct why why)
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

static int watch_directory(struct uapi *u, const char *dir, struct why why)
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
	assert_control_thread();
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
		err = bind_path(u, &addr, why);
	if (!err)
		err = watch_directory(u, dir, why);
	if (err)
		uapi_close(u);
	else
		*uapi = u;
	return err;
}
