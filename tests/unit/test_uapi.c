// SPDX-License-Identifier: MIT
/*
 * The server in a new directory, with clients in the same thread. If the server blocks,
 * the test hangs, and alarm(2) ends it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "uapi.h"
#include "testutil.h"

#define SECOND 1000000000ULL
#define KEY    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* What the fake tunnel was asked, and what it must answer. */
struct fake {
	int gets, sets, statuses, refusals;
	int result;
	int part, parts;     /* of the latest get; that each has, if more than one */
	int ends;	     /* of answers that were not taken to their end */
	bool in_shares;	     /* sets are */
	size_t lines;	     /* that a get writes */
	size_t ops;	     /* of the latest set */
	uint16_t port;	     /* that it set */
	uint16_t first_port; /* that the first set had */
	size_t bad_line;     /* of the latest refusal */
};

struct fixture {
	struct fake fake;
	char parent[32], dir[48], path[64], why[200];
	struct uapi *uapi;
	uint64_t now;
	int fds;
};

/* In parts, if there are to be some: each has all the lines. */
static int fake_get(void *ctx, void **state, FILE *out)
{
	struct fake *f = ctx;
	size_t i;

	if (!*state) {
		f->gets++;
		f->part = 0;
	}
	*state = f;
	for (i = 0; i < f->lines; i++)
		fprintf(out, "line=%zu\n", i);
	return ++f->part < f->parts ? 1 : f->result;
}

static void fake_end(void *ctx, void *state)
{
	struct fake *f = ctx;

	assert_ptr_equal(state, f);
	f->ends++;
}

/* Each share is one line, if it is to be in shares. */
static int fake_set(void *ctx, struct uapi_set *set)
{
	struct fake *f = ctx;
	size_t i;

	if (f->in_shares && set->next++ < set->count)
		return 1;
	f->sets++;
	f->ops = set->count;
	for (i = 0; i < set->count; i++)
		if (set->ops[i].key == UAPI_LISTEN_PORT)
			f->port = set->ops[i].value.port;
	if (f->sets == 1)
		f->first_port = f->port;
	return f->result;
}

static int fake_status(void *ctx, void **state, FILE *out)
{
	struct fake *f = ctx;

	f->statuses++;
	fputs("{\"up\":true}", out);
	return f->result;
}

static void fake_refused(void *ctx, const struct uapi_error *error)
{
	struct fake *f = ctx;

	f->refusals++;
	f->bad_line = error->line;
}

static const struct uapi_ops fake_ops = {
	.get = fake_get,
	.set = fake_set,
	.status = fake_status,
	.end = fake_end,
	.refused = fake_refused,
};

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int open_again(struct fixture *f, struct uapi **uapi)
{
	f->why[0] = '\0';
	return uapi_open(uapi, f->dir, "wg7", &fake_ops, &f->fake, f->why,
			 sizeof(f->why));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	end_after(60);
	f->now = 1000 * SECOND;
	f->fake.lines = 1;
	f->fds = count_fds();
	strcpy(f->parent, "/tmp/test_uapi.XXXXXX");
	assert_non_null(mkdtemp(f->parent));
	snprintf(f->dir, sizeof(f->dir), "%s/wireguard", f->parent);
	snprintf(f->path, sizeof(f->path), "%s/wg7.sock", f->dir);
	if (open_again(f, &f->uapi))
		fail_msg("%s", f->why);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	uapi_close(f->uapi);
	/* Fails if the socket was left behind. */
	assert_int_equal(rmdir(f->dir), 0);
	assert_int_equal(rmdir(f->parent), 0);
	assert_int_equal(count_fds(), f->fds);
	free(f);
	return 0;
}

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Dispatches until the server has nothing more to do. */
static int dispatch(struct fixture *f)
{
	struct pollfd p = {.fd = uapi_fd(f->uapi), .events = POLLIN};
	int i, ret = 0;

	for (i = 0; poll(&p, 1, 0) == 1 || !uapi_next_deadline(f->uapi); i++) {
		ret = uapi_dispatch(f->uapi, f->now);
		if (i > 100000)
			fail_msg("the server spins");
	}
	return ret;
}

static int connected(struct fixture *f)
{
	int fd = connect_to(f->path);

	assert_true(fd >= 0);
	dispatch(f);
	return fd;
}

static void put(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Checks what was received until now. */
static void assert_answer(struct fixture *f, int fd, const char *want)
{
	char got[1024];
	ssize_t n;

	dispatch(f);
	n = recv(fd, got, sizeof(got) - 1, 0);
	if (n < 0)
		n = 0;
	got[n] = '\0';
	assert_string_equal(got, want);
}

static bool is_closed(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_PEEK);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void test_get(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f);

	f->fake.lines = 2;
	put(fd, "get=1\n\n");
	assert_answer(f, fd, "line=0\nline=1\nerrno=0\n\n");
	/* The connection stays open for the next request. */
	f->fake.lines = 0;
	put(fd, "get=1\n\n");
	assert_answer(f, fd, "errno=0\n\n");
	assert_int_equal(f->fake.gets, 2);
	assert_false(is_closed(fd));
	close(fd);
}

static void test_get_fails(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f);

	f->fake.result = -ENODEV;
	put(fd, "get=1\n\n");
	assert_answer(f, fd, "errno=-19\n\n");
	close(fd);
}

static void test_set(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f);

	put(fd, "set=1\nprivate_key=" KEY "\nlisten_port=51820\n\n");
	assert_answer(f, fd, "errno=0\n\n");
	assert_int_equal(f->fake.sets, 1);
	assert_int_equal(f->fake.ops, 2);
	assert_int_equal(f->fake.port, 51820);
	f->fake.result = -EADDRINUSE;
	put(fd, "set=1\nlisten_port=1\n\n");
	assert_answer(f, fd, "errno=-98\n\n");
	assert_int_equal(f->fake.refusals, 0);
	close(fd);
}

static void test_set_refused(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f);

	put(fd, "set=1\nlisten_port=51820\nlisten_port=99999\n\n");
	assert_answer(f, fd, "errno=-22\n\n");
	assert_int_equal(f->fake.sets, 0);
	assert_int_equal(f->fake.refusals, 1);
	assert_int_equal(f->fake.bad_line, 3);
	put(fd, "set=1\npublic_key=" KEY "\nprotocol_version=2\n\n");
	assert_answer(f, fd, "errno=-93\n\n");
	assert_int_equal(f->fake.refusals, 2);
	/* The client may try again. */
	put(fd, "set=1\nlisten_port=7\n\n");
	assert_answer(f, fd, "errno=0\n\n");
	assert_int_equal(f->fake.port, 7);
	close(fd);
}

static void test_status(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f);

	put(fd, "status=1\n\n");
	assert_answer(f, fd, "{\"up\":true}\nerrno=0\n\n");
	f->fake.result = -ENOMEM;
	put(fd, "status=1\n\n");
	assert_answer(f, fd, "errno=-12\n\n");
	assert_int_equal(f->fake.statuses, 2);
	close(fd);
}

static void test_several_at_once(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f);

	put(fd, "get=1\n\nset=1\nlisten_port=5\n\n\n\nstatus=1\n\nset=1\n\nget");
	assert_answer(f, fd,
		      "line=0\nerrno=0\n\n"
		      "errno=0\n\n"
		      "{\"up\":true}\nerrno=0\n\n"
		      "errno=0\n\n");
	put(fd, "=1\n\n");
	assert_answer(f, fd, "line=0\nerrno=0\n\n");
	close(fd);
}

static void test_byte_by_byte(void **state)
{
	static const char text[] = "set=1\nlisten_port=77\n\nget=1\n\n";
	struct fixture *f = *state;
	int fd = connected(f);
	char one[2] = "";
	const char *p;

	for (p = text; *p; p++) {
		assert_int_equal(f->fake.sets, p - text >= 22);
		one[0] = *p;
		put(fd, one);
		dispatch(f);
	}
	assert_int_equal(f->fake.port, 77);
	assert_answer(f, fd, "errno=0\n\nline=0\nerrno=0\n\n");
	close(fd);
}

/* The server does not wait for a blank line, which may never come. */
static void test_unknown_request(void **state)
{
	static const char *const bad[] = {
		"x", "get=2\n\n", "GET / HTTP/1.1\r\n", "get=1\r\n", "gett", "status=2\n",
		"=", "set 1",
	};
	struct fixture *f = *state;
	size_t i;
	int fd;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fd = connected(f);
		put(fd, bad[i]);
		assert_answer(f, fd, "errno=-22\n\n");
		assert_true(is_closed(fd));
		close(fd);
	}
	/* Earlier requests are answered. */
	fd = connected(f);
	put(fd, "get=1\n\nrm -rf\n\nget=1\n\n");
	assert_answer(f, fd, "line=0\nerrno=0\n\nerrno=-22\n\n");
	assert_true(is_closed(fd));
	close(fd);
	assert_int_equal(f->fake.gets, 1);
	assert_int_equal(f->fake.sets, 0);
}

static void test_get_with_lines(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f);

	put(fd, "get=1\nlisten_port=1\n\n");
	assert_answer(f, fd, "errno=-22\n\n");
	put(fd, "status=1\nx\n\n");
	assert_answer(f, fd, "errno=-22\n\n");
	assert_int_equal(f->fake.gets + f->fake.statuses, 0);
	close(fd);
}

static void test_end_of_input(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f);

	/* Like `printf ... | socat`: sends, and then closes its direction. */
	put(fd, "get=1\n\nget=1\n\n");
	shutdown(fd, SHUT_WR);
	assert_answer(f, fd, "line=0\nerrno=0\n\nline=0\nerrno=0\n\n");
	assert_true(is_closed(fd));
	close(fd);
	/* A request that may be truncated is refused. */
	fd = connected(f);
	put(fd, "get=1\n\nset=1\nlisten_port=1\n");
	shutdown(fd, SHUT_WR);
	assert_answer(f, fd, "line=0\nerrno=0\n\nerrno=-22\n\n");
	assert_true(is_closed(fd));
	close(fd);
	assert_int_equal(f->fake.sets, 0);
	/* No request needs no answer. */
	fd = connected(f);
	shutdown(fd, SHUT_WR);
	assert_answer(f, fd, "");
	assert_true(is_closed(fd));
	close(fd);
}

static void test_client_goes_away(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f);

	/* The client closes before the answer; SIGPIPE would end the test. */
	f->fake.lines = 1000000;
	put(fd, "get=1\n\n");
	close(fd);
	dispatch(f);
	fd = connected(f);
	put(fd, "get=1\n\n");
	dispatch(f);
	close(fd);
	dispatch(f);
	assert_int_equal(uapi_next_deadline(f->uapi), UINT64_MAX);
	assert_int_equal(f->fake.gets, 2);
}

/* An answer far larger than the socket's buffer, to a client that reads late. Others are
 * served meanwhile. */
static void test_slow_reader(void **state)
{
	struct fixture *f = *state;
	int slow = connected(f), other = connected(f);
	static char got[1 << 16];
	size_t total = 0;
	ssize_t n;

	f->fake.lines = 1000000;
	put(slow, "get=1\n\nget=1\n\n");
	dispatch(f);
	assert_int_equal(f->fake.gets, 1);
	f->fake.lines = 1;
	put(other, "get=1\n\n");
	assert_answer(f, other, "line=0\nerrno=0\n\n");
	while ((n = recv(slow, got, sizeof(got), 0)) > 0) {
		total += (size_t)n;
		dispatch(f);
	}
	/* "line=0" to "line=999999", errno=0, a blank line; then the second one,
	 * short. */
	assert_int_equal(total, 10 * 7 + 90 * 8 + 900 * 9 + 9000 * 10 + 90000 * 11 +
					900000 * 12 + 9 + 7 + 9);
	close(slow);
	close(other);
}

/* Rounds of the server until it has nothing to do, but at most so many. */
static void rounds(struct fixture *f, int n)
{
	while (n--)
		uapi_dispatch(f->uapi, f->now);
}

static void test_answer_in_parts(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f), gone;

	f->fake.parts = 3;
	put(fd, "get=1\n\nget=1\n\n");
	assert_answer(f, fd,
		      "line=0\nline=0\nline=0\nerrno=0\n\n"
		      "line=0\nline=0\nline=0\nerrno=0\n\n");
	assert_int_equal(f->fake.gets, 2);
	/* An error ends it. */
	f->fake.result = -ENOMEM;
	put(fd, "get=1\n\n");
	assert_answer(f, fd, "line=0\nline=0\nerrno=-12\n\n");
	assert_int_equal(f->fake.ends, 0);
	/* Who goes away meanwhile leaves nothing behind. */
	gone = connected(f);
	f->fake.parts = 1000000;
	put(gone, "get=1\n\n");
	rounds(f, 2);
	close(gone);
	dispatch(f);
	assert_int_equal(f->fake.ends, 1);
	close(fd);
}

/* The next part is made when the one before was taken. */
static void test_parts_wait_for_the_reader(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f);

	f->fake.parts = 1000;
	f->fake.lines = 10000; /* 100 kB */
	put(fd, "get=1\n\n");
	dispatch(f);
	assert_in_range(f->fake.part, 1, 30);
	close(fd);
	dispatch(f);
	assert_int_equal(f->fake.ends, 1);
}

/* `n` lines, the last of them a port that tells one request from the other. */
static char *long_set(int n, int port)
{
	char *text = malloc((size_t)n * 9 + 64), *at = text;

	assert_non_null(text);
	at += sprintf(at, "set=1\n");
	while (--n > 0)
		at += sprintf(at, "fwmark=1\n");
	sprintf(at, "listen_port=%d\n\n", port);
	return text;
}

/* Sends what the server takes; returns how much that was. */
static size_t push(struct fixture *f, int fd, const char *text, size_t len)
{
	size_t sent = 0;

	for (int idle = 0; sent < len && idle < 10; idle++) {
		ssize_t n = send(fd, text + sent, len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break;
		if (n > 0) {
			sent += (size_t)n;
			idle = 0;
		}
		rounds(f, 1);
	}
	return sent;
}

/* A "set" takes its time: others get their answers, and other sets wait for it. */
static void test_set_in_shares(void **state)
{
	struct fixture *f = *state;
	int first = connected(f), second = connected(f), other = connected(f), i;
	char *text = long_set(200000, 1), got[64] = "";

	f->fake.in_shares = true;
	assert_int_equal(push(f, first, text, strlen(text)), strlen(text));
	rounds(f, 3); /* to read the rest */
	assert_int_equal(f->fake.sets, 0);
	assert_int_equal(uapi_next_deadline(f->uapi), 0);
	put(second, "set=1\nlisten_port=2\n\n");
	put(other, "get=1\n\n");
	for (i = 0; i < 3; i++)
		uapi_dispatch(f->uapi, f->now);
	assert_int_equal(f->fake.sets, 0);
	assert_int_equal(recv(other, got, sizeof(got), 0), 16);
	/* Nor does who waits count as idle. */
	f->now += 100 * SECOND;
	rounds(f, 2);
	assert_int_equal(f->fake.sets, 0);
	f->now -= 100 * SECOND;
	dispatch(f);
	assert_int_equal(f->fake.first_port, 1);
	assert_answer(f, first, "errno=0\n\n");
	assert_answer(f, second, "errno=0\n\n");
	assert_int_equal(f->fake.sets, 2);
	assert_int_equal(f->fake.port, 2);
	free(text);
	close(first);
	close(second);
	close(other);
}

/* What was sent whole is done, even if nobody waits for the answer. */
static void test_set_of_one_who_goes_away(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f), next = connected(f);
	char *text = long_set(200000, 1);

	f->fake.in_shares = true;
	assert_int_equal(push(f, fd, text, strlen(text)), strlen(text));
	put(next, "set=1\nlisten_port=2\n\n");
	rounds(f, 2);
	close(fd);
	close(next);
	dispatch(f);
	assert_int_equal(f->fake.sets, 2);
	assert_int_equal(f->fake.port, 2);
	assert_int_equal(uapi_next_deadline(f->uapi), UINT64_MAX);
	free(text);
}

static size_t heap(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* One client may have a large request; others are not read any further while it has. */
static void test_memory_of_all_clients(void **state)
{
	enum { MB = 1 << 20, LINES = 2 * MB / 9 };
	struct fixture *f = *state;
	char *text = long_set(LINES, 9);
	size_t len = strlen(text), sent[64], before = heap();
	int fds[64], i;

	f->fake.in_shares = true;
	for (i = 0; i < 64; i++)
		fds[i] = connected(f);
	for (i = 0; i < 64; i++)
		sent[i] = push(f, fds[i], text, len - 1);
	assert_int_equal(sent[0], len - 1);
	assert_true(sent[1] >= MB && sent[1] < len - 1);
	assert_true(heap() - before < 64 * 2 * MB + 8 * MB);
	/* Small ones are served meanwhile, as soon as they can be read. */
	close(fds[63]);
	dispatch(f);
	fds[63] = connected(f);
	put(fds[63], "get=1\n\n");
	assert_answer(f, fds[63], "line=0\nerrno=0\n\n");
	/* The next one has its turn when the first is done, or gone. */
	put(fds[0], "\n");
	assert_answer(f, fds[0], "errno=0\n\n");
	assert_int_equal(f->fake.sets, 1);
	for (i = 1; i < 63; i++)
		if (sent[i] + push(f, fds[i], text + sent[i], len - 1 - sent[i]) ==
		    len - 1)
			break;
	assert_in_range(i, 1, 62);
	close(fds[i]);
	dispatch(f);
	for (i = 0; i < 64; i++)
		close(fds[i]);
	dispatch(f);
	assert_int_equal(uapi_next_deadline(f->uapi), UINT64_MAX);
	free(text);
}

static void test_half_a_request_blocks_nobody(void **state)
{
	struct fixture *f = *state;
	int half = connected(f), other = connected(f);

	put(half, "set=1\nlisten_p");
	dispatch(f);
	put(other, "get=1\n\n");
	assert_answer(f, other, "line=0\nerrno=0\n\n");
	put(half, "ort=6\n\n");
	assert_answer(f, half, "errno=0\n\n");
	assert_int_equal(f->fake.port, 6);
	close(half);
	close(other);
}

static void test_idle_clients_time_out(void **state)
{
	struct fixture *f = *state;
	int a, b;

	assert_int_equal(uapi_next_deadline(f->uapi), UINT64_MAX);
	a = connected(f);
	f->now += 10 * SECOND;
	b = connected(f);
	assert_int_equal(uapi_next_deadline(f->uapi), 1060 * SECOND);
	f->now = 1020 * SECOND;
	put(a, "get=1\n");
	dispatch(f);
	assert_int_equal(uapi_next_deadline(f->uapi), 1070 * SECOND);
	uapi_dispatch(f->uapi, 1070 * SECOND - 1);
	assert_false(is_closed(b));
	uapi_dispatch(f->uapi, 1070 * SECOND);
	assert_true(is_closed(b));
	assert_false(is_closed(a));
	assert_int_equal(uapi_next_deadline(f->uapi), 1080 * SECOND);
	uapi_dispatch(f->uapi, 1080 * SECOND);
	assert_true(is_closed(a));
	assert_int_equal(uapi_next_deadline(f->uapi), UINT64_MAX);
	close(a);
	close(b);
}

/* The connection of a client that never reads its answer is closed, too. */
static void test_stuck_reader_times_out(void **state)
{
	struct fixture *f = *state;
	int fd = connected(f);

	f->fake.lines = 1000000;
	put(fd, "get=1\n\n");
	dispatch(f);
	uapi_dispatch(f->uapi, f->now + 60 * SECOND - 1);
	assert_int_equal(uapi_next_deadline(f->uapi), f->now + 60 * SECOND);
	uapi_dispatch(f->uapi, f->now + 60 * SECOND);
	assert_int_equal(uapi_next_deadline(f->uapi), UINT64_MAX);
	close(fd);
}

static void test_more_clients_than_places(void **state)
{
	struct fixture *f = *state;
	int fds[66], i;

	for (i = 0; i < 64; i++)
		fds[i] = connected(f);
	/* The first client sends something, so the second one is idle for longest. */
	put(fds[0], "get");
	dispatch(f);
	fds[64] = connected(f);
	fds[65] = connected(f);
	for (i = 0; i < 66; i++)
		assert_int_equal(is_closed(fds[i]), i == 1 || i == 2);
	put(fds[0], "=1\n\n");
	assert_answer(f, fds[0], "line=0\nerrno=0\n\n");
	put(fds[65], "get=1\n\n");
	assert_answer(f, fds[65], "line=0\nerrno=0\n\n");
	for (i = 0; i < 66; i++)
		close(fds[i]);
}

/* A connection that cannot be accepted must not keep the loop busy. */
static void test_no_descriptors_left(void **state)
{
	struct fixture *f = *state;
	int fd = connect_to(f->path);
	struct rlimit before, none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	put(fd, "get=1\n\n");
	dispatch(f);
	assert_int_equal(uapi_next_deadline(f->uapi), 1001 * SECOND);
	uapi_dispatch(f->uapi, 1001 * SECOND - 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_answer(f, fd, "");
	f->now = 1001 * SECOND;
	uapi_dispatch(f->uapi, f->now);
	assert_answer(f, fd, "line=0\nerrno=0\n\n");
	close(fd);
}

/* Sends the same byte `len` times, as fast as the server reads it. */
static void flood(struct fixture *f, int fd, char byte, size_t len)
{
	static char chunk[1 << 16];
	ssize_t n;

	memset(chunk, byte, sizeof(chunk));
	while (len) {
		n = send(fd, chunk, len < sizeof(chunk) ? len : sizeof(chunk),
			 MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return;
		if (n > 0)
			len -= (size_t)n;
		uapi_dispatch(f->uapi, f->now);
	}
}

static void test_request_too_long(void **state)
{
	struct fixture *f = *state;
	char answer[32] = "";
	int fd = connected(f);

	put(fd, "set=1\n");
	flood(f, fd, '1', (64U << 20) - 7);
	dispatch(f);
	assert_false(is_closed(fd));
	put(fd, "1");
	dispatch(f);
	assert_int_equal(recv(fd, answer, sizeof(answer), 0), 11);
	assert_string_equal(answer, "errno=-90\n\n");
	assert_true(is_closed(fd));
	assert_int_equal(f->fake.refusals, 0);
	close(fd);
}

static void test_file_and_mode(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(lstat(f->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(lstat(f->dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	uapi_close(f->uapi);
	f->uapi = NULL;
	assert_int_equal(lstat(f->path, &st), -1);
	assert_int_equal(errno, ENOENT);
}

static void test_second_server(void **state)
{
	struct fixture *f = *state;
	struct uapi *second = (void *)1;
	int fd;

	assert_int_equal(open_again(f, &second), -EADDRINUSE);
	assert_null(second);
	assert_non_null(strstr(f->why, "another process serves"));
	assert_null(strchr(f->why, '\n'));
	/* The first server's socket is still there. */
	assert_int_equal(dispatch(f), 0);
	fd = connected(f);
	put(fd, "get=1\n\n");
	assert_answer(f, fd, "line=0\nerrno=0\n\n");
	close(fd);
}

static void test_stale_socket(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	uapi_close(f->uapi);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	assert_int_equal(open_again(f, &f->uapi), 0);
	fd = connected(f);
	put(fd, "get=1\n\n");
	assert_answer(f, fd, "line=0\nerrno=0\n\n");
	close(fd);
}

static void test_other_file_in_the_way(void **state)
{
	struct fixture *f = *state;

	uapi_close(f->uapi);
	close(open(f->path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(open_again(f, &f->uapi), -EADDRINUSE);
	assert_null(f->uapi);
	assert_non_null(strstr(f->why, "not a socket"));
	assert_int_equal(unlink(f->path), 0);
}

static void test_bad_names(void **state)
{
	static const char *const bad[] = {"", "a/b", "../x", "sixteen-letters!"};
	struct fixture *f = *state;
	struct uapi *u;
	char dir[200];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(uapi_open(&u, f->dir, bad[i], &fake_ops, &f->fake,
					   f->why, sizeof(f->why)),
				 -EINVAL);
		assert_null(u);
	}
	memset(dir, 'x', sizeof(dir));
	dir[0] = '/';
	dir[sizeof(dir) - 1] = '\0';
	assert_int_equal(
		uapi_open(&u, dir, "wg7", &fake_ops, NULL, f->why, sizeof(f->why)),
		-ENAMETOOLONG);
	assert_int_equal(uapi_open(&u, "/tmp/test_uapi.none/x", "wg7", &fake_ops, NULL,
				   f->why, sizeof(f->why)),
			 -ENOENT);
	assert_non_null(strstr(f->why, "No such file"));
}

static void test_socket_removed(void **state)
{
	struct fixture *f = *state;
	char other[80];

	/* Other files in that directory may come and go. */
	snprintf(other, sizeof(other), "%s/wg8.sock", f->dir);
	close(open(other, O_CREAT | O_WRONLY, 0600));
	unlink(other);
	assert_int_equal(dispatch(f), 0);
	unlink(f->path);
	assert_int_equal(dispatch(f), 1);
	/* The result stays the same. */
	assert_int_equal(uapi_dispatch(f->uapi, f->now), 1);
}

static void test_socket_replaced(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	char other[80];

	snprintf(other, sizeof(other), "%s/new", f->dir);
	close(open(other, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(rename(other, f->path), 0);
	assert_int_equal(dispatch(f), 1);
	/* Another one's socket must not be removed. */
	uapi_close(f->uapi);
	f->uapi = NULL;
	assert_int_equal(lstat(f->path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	unlink(f->path);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_get),
		TEST(test_get_fails),
		TEST(test_set),
		TEST(test_set_refused),
		TEST(test_status),
		TEST(test_several_at_once),
		TEST(test_byte_by_byte),
		TEST(test_unknown_request),
		TEST(test_get_with_lines),
		TEST(test_end_of_input),
		TEST(test_client_goes_away),
		TEST(test_slow_reader),
		TEST(test_answer_in_parts),
		TEST(test_parts_wait_for_the_reader),
		TEST(test_set_in_shares),
		TEST(test_set_of_one_who_goes_away),
		TEST(test_memory_of_all_clients),
		TEST(test_half_a_request_blocks_nobody),
		TEST(test_idle_clients_time_out),
		TEST(test_stuck_reader_times_out),
		TEST(test_more_clients_than_places),
		TEST(test_no_descriptors_left),
		TEST(test_request_too_long),
		TEST(test_file_and_mode),
		TEST(test_second_server),
		TEST(test_stale_socket),
		TEST(test_other_file_in_the_way),
		TEST(test_bad_names),
		TEST(test_socket_removed),
		TEST(test_socket_replaced),
	};

	umask(022);
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
