// SPDX-License-Identifier: MIT
/*
 * The server in a directory of its own, with clients in the same thread: so a
 * server that blocks shows as a test that hangs, which alarm(2) ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

#define SECOND 1000000000ULL
#define KEY    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* What the fake device was asked, and what it is to answer. */
struct fake {
	int gets, sets, statuses, refusals;
	int result;
	size_t lines;	 /* that a get writes */
	size_t ops;	 /* of the latest set */
	uint16_t port;	 /* that it set */
	size_t bad_line; /* of the latest refusal */
};

struct fixture {
	struct fake fake;
	char parent[32], dir[48], path[64], why[200];
	struct uapi *uapi;
	uint64_t now;
	int fds;
};

static int fake_get(void *ctx, FILE *out)
{
	struct fake *f = ctx;
	size_t i;

	f->gets++;
	for (i = 0; i < f->lines; i++)
		fprintf(out, "line=%zu\n", i);
	return f->result;
}

static int fake_set(void *ctx, const struct uapi_set *set)
{
	struct fake *f = ctx;
	size_t i;

	f->sets++;
	f->ops = set->count;
	for (i = 0; i < set->count; i++)
		if (set->ops[i].key == UAPI_LISTEN_PORT)
			f->port = set->ops[i].value.port;
	return f->result;
}

static int fake_status(void *ctx, FILE *out)
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
	alarm(60);
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
	/* Fails where the socket was left. */
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

/* Dispatches for as long as the server says that there is something to do. */
static int dispatch(struct fixture *f)
{
	struct pollfd p = {.fd = uapi_fd(f->uapi), .events = POLLIN};
	int i, ret = 0;

	for (i = 0; poll(&p, 1, 0) == 1; i++) {
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

/* What came back until now. */
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
	/* The connection stays, for the next one. */
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
	/* It may try again. */
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
	/* What came before it is answered. */
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

	/* As of `printf ... | socat`: sent, and no more to come. */
	put(fd, "get=1\n\nget=1\n\n");
	shutdown(fd, SHUT_WR);
	assert_answer(f, fd, "line=0\nerrno=0\n\nline=0\nerrno=0\n\n");
	assert_true(is_closed(fd));
	close(fd);
	/* What may have been cut short is refused. */
	fd = connected(f);
	put(fd, "get=1\n\nset=1\nlisten_port=1\n");
	shutdown(fd, SHUT_WR);
	assert_answer(f, fd, "line=0\nerrno=0\n\nerrno=-22\n\n");
	assert_true(is_closed(fd));
	close(fd);
	assert_int_equal(f->fake.sets, 0);
	/* Nothing at all needs no answer. */
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

	/* Before the answer, of which it takes nothing: SIGPIPE would end the test. */
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

/* An answer far larger than the socket's buffer, to one who reads late; and meanwhile
 * others are served. */
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
	/* "line=0" to "line=999999", errno=0, a blank line; then the second one, short. */
	assert_int_equal(total, 10 * 7 + 90 * 8 + 900 * 9 + 9000 * 10 + 90000 * 11 +
					900000 * 12 + 9 + 7 + 9);
	close(slow);
	close(other);
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

/* One who never reads its answer is not for ever, either. */
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
	/* The first one stirs: now the second one is the stalest. */
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

/* A connection that cannot be taken must not keep the loop busy. */
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

/* Sends `len` times the same byte, as fast as the server takes it. */
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
	/* It took nothing away from the first one. */
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

	/* Others come and go in that directory. */
	snprintf(other, sizeof(other), "%s/wg8.sock", f->dir);
	close(open(other, O_CREAT | O_WRONLY, 0600));
	unlink(other);
	assert_int_equal(dispatch(f), 0);
	unlink(f->path);
	assert_int_equal(dispatch(f), 1);
	/* And so it stays. */
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
	/* Not ours: it is left. */
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
