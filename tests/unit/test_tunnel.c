// SPDX-License-Identifier: MIT
/*
 * A whole tunnel: interface, maps, sockets, a worker. The tests play the control thread.
 * Requests and answers are text; the kernel's maps are read by their pins.
 *
 * The process is in new network and mount namespaces, with a new /run and bpffs. Each
 * test ends by closing the tunnel, and fails if that leaves a file descriptor, a pin, a
 * socket or an interface.
 */
#include "namespaces.h"
#include "testutil.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <malloc.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <json-c/json.h>
#include <sodium.h>

#include "config.h"
#include "bpf_objects.h"
#include "carrier.h"
#include "identity.h"
#include "flows.h"
#include "kernel_events.h"
#include "listen.h"
#include "paths.h"
#include "peer_events.h"
#include "receive.h"
#include "snapshot.h"
#include "status.h"
#include "tunnel.h"
#include "worker.h"
#include "peer.h"
#include "uapi.h"

#define IFNAME "wgt0"
#define OTHER  "wgt1"
#define PINS   "/sys/fs/bpf/wgxdp/"
#define SOCKET "/var/run/wireguard/" IFNAME ".sock"

/* RFC 7748, section 6.1: Alice's private key as printed there, the same key clamped, and
 * her public key. */
#define ALICE	      "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
#define ALICE_CLAMPED "70076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c6a"
#define ALICE_PUBLIC  "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
#define BOB_PUBLIC    "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
#define ZERO_KEY      "0000000000000000000000000000000000000000000000000000000000000000"
#define PSK	      "5053000000000000000000000000000000000000000000000000000000000001"

#define BOB	   "public_key=" BOB_PUBLIC "\n"
#define ALICE_PEER "public_key=" ALICE_PUBLIC "\n"

/* The text for a peer that has done nothing yet. */
#define IDLE(peer, psk, endpoint, keepalive)                                          \
	peer "preshared_key=" psk "\nprotocol_version=1\n" endpoint                   \
	     "last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_" \
	     "bytes="                                                                 \
	     "0\n"                                                                    \
	     "persistent_keepalive_interval=" keepalive "\n"

struct fixture {
	struct tunnel tunnel;
	char why[512];
	int fds;
};

/* --- maps --- */

static unsigned no_memory; /* how many updates fail */

/* Replaces the function of libbpf, which is a shared library. */

int bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags)
{
	static int (*update)(int, const void *, const void *, __u64);

	if (no_memory) {
		no_memory--;
		return -ENOMEM;
	}
	if (!update)
		*(void **)&update = dlsym(RTLD_NEXT, "bpf_map_update_elem");
	return update(fd, key, value, flags);
}

/* --- memory --- */

/* Until this thread's allocations in the daemon's code fail; those of libraries do not. */
static __thread size_t allocations_left = SIZE_MAX;

static bool may_allocate(void)
{
	if (allocations_left == SIZE_MAX)
		return true;
	if (!allocations_left)
		return false;
	allocations_left--;
	return true;
}

/* Functions whose calls the linker replaces: the names are those of its option --wrap. */
/* NOLINTBEGIN(bugprone-reserved-identifier) */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);

void *__wrap_malloc(size_t size)
{
	return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return may_allocate() ? __real_aligned_alloc(align, size) : NULL;
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	return may_allocate() ? __real_reallocarray(old, n, size) : NULL;
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* --- sockets --- */

static int marks_left = -1; /* until SO_MARK fails, once; -1: it does not */

/* Replaces libc's. */
int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (level == SOL_SOCKET && name == SO_MARK && marks_left >= 0 && !marks_left--) {
		errno = EPERM;
		return -1;
	}
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

/* --- requests and answers --- */

static size_t allocations_for_set = SIZE_MAX; /* then those of set() fail */
static size_t most_removed;		      /* allowed IPs in one share of a request */

static int set_share(struct tunnel *tunnel, struct uapi_set *request)
{
	size_t before = tunnel->peers.allowed.count, after;
	int err = config_set(tunnel, request);

	after = tunnel->peers.allowed.count;
	if (before > after && before - after > most_removed)
		most_removed = before - after;
	return err;
}

static int set(struct tunnel *tunnel, const char *lines)
{
	struct uapi_error error = {0};
	struct uapi_set request;
	char *text;
	int err;

	assert_true(asprintf(&text, "set=1\n%s\n", lines) > 0);
	if (uapi_parse_set(text, strlen(text), &request, &error))
		fail_msg("line %zu: %s: %s", error.line, error.reason, text);
	allocations_left = allocations_for_set;
	do {
		err = set_share(tunnel, &request);
		if (!allocations_left)
			peer_events_reap(
				tunnel); /* ends each round: there is memory then */
	} while (err == 1);
	allocations_for_set = allocations_left;
	allocations_left = SIZE_MAX;
	uapi_set_free(&request);
	free(text);
	return err;
}

static void assert_set(struct tunnel *tunnel, const char *lines)
{
	assert_int_equal(set(tunnel, lines), 0);
}

/* All parts of an answer. */
static int write_all(uapi_answer *part, struct tunnel *tunnel, FILE *f)
{
	void *state = NULL;
	int err;

	do
		err = part(tunnel, &state, f);
	while (err == 1);
	return err;
}

static void add_peers_all_at(struct tunnel *tunnel, unsigned n, const char *endpoint)
{
	char line[128];

	for (unsigned i = 1; i <= n; i++) {
		snprintf(line, sizeof(line), "public_key=%064x\nendpoint=%s\n", i,
			 endpoint);
		assert_set(tunnel, line);
	}
}

static void add_peers(struct tunnel *tunnel, unsigned n)
{
	add_peers_all_at(tunnel, n, "192.0.2.9:1234");
}

/* The caller frees the result. */
static char *get(struct tunnel *tunnel)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	assert_int_equal(write_all(config_get, tunnel, f), 0);
	assert_int_equal(fclose(f), 0);
	return text;
}

static void assert_get(struct tunnel *tunnel, const char *want)
{
	char *got = get(tunnel);

	assert_string_equal(got, want);
	free(got);
}

static struct peer *peer_of(struct tunnel *tunnel, const char *hex)
{
	uint8_t key[WG_KEY_LEN];
	size_t len;

	assert_int_equal(
		sodium_hex2bin(key, sizeof(key), hex, strlen(hex), NULL, &len, NULL), 0);
	assert_int_equal(len, sizeof(key));
	return peer_find(&tunnel->peers, key);
}

/* --- the kernel's side --- */

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

static int pinned(const char *map)
{
	int fd = bpf_obj_get(map);

	if (fd < 0)
		fail_msg("%s: %s", map, strerror(errno));
	return fd;
}

/* Returns true if the map has the key; then stores its value. */
static bool map_has(const char *map, const void *key, void *value)
{
	int fd = pinned(map);
	bool found = !bpf_map_lookup_elem(fd, key, value);

	close(fd);
	return found;
}

static bool has_peer_stats(uint32_t slot)
{
	struct peer_stats *values =
		calloc((size_t)libbpf_num_possible_cpus(), sizeof(*values));
	bool found;

	assert_non_null(values);
	found = map_has(PINS IFNAME "/peer_stats", &slot, values);
	free(values);
	return found;
}

/* Returns the peer slot that the XDP program finds for a receiver index, or -1. */
static int64_t slot_of_session(uint32_t index)
{
	struct session value;

	return map_has(PINS IFNAME "/sessions", &index, &value) ? (int64_t)value.peer
								: -1;
}

static uint32_t port_in_map(void)
{
	struct wg_config value = {.listen_port = UINT32_MAX};
	uint32_t zero = 0;

	assert_true(map_has(PINS IFNAME "/config", &zero, &value));
	return value.listen_port;
}

/* Binds a socket of the test to that port; returns it, or -errno. */
static int bind_port(int family, uint16_t port)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1, ret, err;

	assert_true(fd >= 0);
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	ret = family == AF_INET ? bind(fd, (struct sockaddr *)&in, sizeof(in))
				: bind(fd, (struct sockaddr *)&in6, sizeof(in6));
	if (!ret)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static bool port_is_free(int family, uint16_t port)
{
	int fd = bind_port(family, port);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static uint32_t mark_of(int fd)
{
	uint32_t mark = 0;
	socklen_t len = sizeof(mark);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len), 0);
	return mark;
}

static bool exists(const char *path)
{
	struct stat st;

	return !stat(path, &st);
}

/* --- the device --- */

static int open_device(struct fixture *f, const char *ifname)
{
	static const struct nics none;

	return tunnel_open(&f->tunnel, ifname, &none, 1, f->why, sizeof(f->why));
}

static struct fixture *new_fixture(void)
{
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) / 64 * 64);

	assert_non_null(f);
	memset(f, 0xa5, sizeof(*f)); /* tunnel_open() must not rely on zeros */
	f->fds = count_fds();
	return f;
}

/* Linux 6.6, as in daemon/kernel/tc.c. */
#define TCX_INGRESS 46
#define TCX_EGRESS  47
#define TCX_BEFORE  (1U << 3)

/* True to act like a kernel without tcx. */
static bool no_tcx;

/* XDP programs of this name are refused, as by a driver that cannot have them; NULL: none is. */
static const char *refused_xdp;
static unsigned xdp_refusals;

static bool is_refused_xdp(int prog_fd, enum bpf_attach_type type)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	if (type != BPF_XDP || !refused_xdp)
		return false;
	assert_int_equal(bpf_obj_get_info_by_fd(prog_fd, &info, &len), 0);
	return !strcmp(info.name, refused_xdp);
}

/* Replaces libbpf's, and does the same for links without further options. */
int bpf_link_create(int prog_fd, int target_fd, enum bpf_attach_type attach_type,
		    const struct bpf_link_create_opts *opts)
{
	union bpf_attr attr = {0};
	long fd;

	if (no_tcx && ((int)attach_type == TCX_INGRESS || (int)attach_type == TCX_EGRESS))
		return -EINVAL;
	if (is_refused_xdp(prog_fd, attach_type)) {
		xdp_refusals++;
		return -EOPNOTSUPP;
	}
	attr.link_create.prog_fd = (uint32_t)prog_fd;
	attr.link_create.target_fd = (uint32_t)target_fd;
	attr.link_create.attach_type = attach_type;
	attr.link_create.flags = opts->flags;
	fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	return fd < 0 ? -errno : (int)fd;
}

static int setup(void **state)
{
	struct fixture *f = new_fixture();

	allocations_left = allocations_for_set = SIZE_MAX;
	if (open_device(f, IFNAME))
		fail_msg("%s", f->why);
	*state = f;
	return 0;
}

static void assert_nothing_left(const struct fixture *f, const char *ifname)
{
	char pins[64], socket_path[64];

	snprintf(pins, sizeof(pins), PINS "%s", ifname);
	snprintf(socket_path, sizeof(socket_path), "/var/run/wireguard/%s.sock", ifname);
	assert_false(exists(pins));
	assert_false(exists(socket_path));
	assert_int_equal(if_nametoindex(ifname), 0);
	assert_int_equal(count_fds(), f->fds);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	tunnel_close(&f->tunnel);
	assert_nothing_left(f, IFNAME);
	free(f);
	return 0;
}

/* --- opening and closing --- */

static unsigned link_flags(const char *ifname)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};

	assert_true(fd >= 0);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	close(fd);
	return (unsigned short)ifr.ifr_flags;
}

static void test_new_device(void **state)
{
	static const char *const maps[] = {
		"allowed_ips4", "allowed_ips6", "sessions", "peer_stats",
		"drops",	"worker_stats", "xsk_data", "xsk_handshake",
		"config",	"flows",	"nics",
	};
	struct fixture *f = *state;
	char path[96];

	assert_get(&f->tunnel, "");
	assert_int_not_equal(if_nametoindex(IFNAME), 0);
	assert_int_equal(link_flags(IFNAME) & (IFF_UP | IFF_NOARP), IFF_NOARP);
	assert_true(exists(SOCKET));
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		snprintf(path, sizeof(path), PINS IFNAME "/%s", maps[i]);
		close(pinned(path));
	}
	assert_int_equal(tunnel_port(&f->tunnel), 0);
	assert_int_equal(f->tunnel.workers.count, 1);
}

/* The teardown must find nothing left, although everything was in use. */
static void test_close_with_all_in_use(void **state)
{
	struct fixture *f = *state;

	assert_set(&f->tunnel, "private_key=" ALICE "\nlisten_port=4001\nfwmark=7\n" BOB
			       "endpoint=127.0.0.1:9\nallowed_ip=10.0.0.0/8\n"
			       "persistent_keepalive_interval=1\nallowed_ip=::/0\n");
	tunnel_set_up(&f->tunnel, true);
	assert_non_null(f->tunnel.dp.udp);
	assert_false(port_is_free(AF_INET, 4001));
}

static void test_port_is_free_after_close(void **state)
{
	struct fixture *f = new_fixture();

	assert_int_equal(open_device(f, IFNAME), 0);
	assert_set(&f->tunnel, "listen_port=4002\n");
	tunnel_set_up(&f->tunnel, true);
	assert_false(port_is_free(AF_INET, 4002));
	tunnel_close(&f->tunnel);
	assert_true(port_is_free(AF_INET, 4002));
	assert_true(port_is_free(AF_INET6, 4002));
	assert_nothing_left(f, IFNAME);
	free(f);
}

static void refuses(const char *ifname, int want)
{
	struct fixture *f = new_fixture();

	assert_int_equal(open_device(f, ifname), want);
	assert_true(f->why[0]); /* a reason is given */
	assert_int_equal(count_fds(), f->fds);
	free(f);
}

/* Pins go into a directory of that name, which is emptied first: it must not be
 * another. */
static void test_bad_names(void **state)
{
	int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "precious", 4, 4, 1, NULL);

	assert_true(map >= 0);
	assert_int_equal(bpf_obj_pin(map, "/sys/fs/bpf/precious"), 0);
	refuses("..", -EINVAL);
	assert_true(exists("/sys/fs/bpf/precious"));
	refuses("", -EINVAL);
	refuses(".", -EINVAL);
	refuses("a/b", -EINVAL);
	unlink("/sys/fs/bpf/precious");
	close(map);
}

/* The second tunnel must fail without harming the first. */
static void test_name_in_use(void **state)
{
	struct fixture *f = *state;

	refuses(IFNAME, -EEXIST);
	assert_true(exists(SOCKET));
	assert_true(exists(PINS IFNAME "/config"));
	assert_int_not_equal(if_nametoindex(IFNAME), 0);
	assert_set(&f->tunnel, BOB);
}

/* The socket of a tunnel in another network namespace with the same /run. */
static void test_socket_in_use(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = SOCKET};
	int theirs = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(theirs >= 0);
	mkdir("/var/run/wireguard", 0700);
	assert_int_equal(bind(theirs, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(theirs, 1), 0);
	refuses(IFNAME, -EADDRINUSE);
	assert_true(exists(SOCKET));
	assert_false(exists(PINS IFNAME));
	assert_int_equal(if_nametoindex(IFNAME), 0);
	unlink(SOCKET);
	close(theirs);
}

/* Pins of a killed daemon do not prevent a start; files that it cannot have made stay. */
static void test_stale_pins(void **state)
{
	int map = pinned(PINS IFNAME "/config");
	struct fixture *f = new_fixture();

	assert_int_equal(mkdir(PINS OTHER, 0700), 0);
	assert_int_equal(bpf_obj_pin(map, PINS OTHER "/config"), 0);
	assert_int_equal(bpf_obj_pin(map, PINS OTHER "/foreign"), 0);
	assert_int_equal(open_device(f, OTHER), 0);
	assert_true(exists(PINS OTHER "/foreign"));
	assert_true(exists(PINS OTHER "/drops"));
	tunnel_close(&f->tunnel);
	assert_true(exists(PINS OTHER "/foreign"));
	assert_false(exists(PINS OTHER "/config"));
	assert_int_equal(unlink(PINS OTHER "/foreign"), 0);
	assert_int_equal(rmdir(PINS OTHER), 0);
	assert_nothing_left(f, OTHER);
	free(f);
	close(map);
}

static void test_name_of_another_device(void **state)
{
	struct fixture *f = new_fixture();

	assert_int_equal(open_device(f, "lo"), -EEXIST);
	assert_true(f->why[0]);
	assert_false(exists(PINS "lo"));
	assert_false(exists("/var/run/wireguard/lo.sock"));
	assert_int_equal(count_fds(), f->fds);
	free(f);
}

/* Fails in the last step; everything that was made must be removed. */
static void test_nic_that_is_not_there(void **state)
{
	struct nics nics = {.request_count = 1, .requests = {{.name = "nosuch0"}}};
	struct fixture *f = new_fixture();

	assert_int_equal(
		tunnel_open(&f->tunnel, IFNAME, &nics, 1, f->why, sizeof(f->why)),
		-ENODEV);
	assert_non_null(strstr(f->why, "nosuch0"));
	assert_nothing_left(f, IFNAME);
	free(f);
}

static void test_two_devices(void **state)
{
	struct fixture *one = *state, *two = new_fixture();

	assert_int_equal(open_device(two, OTHER), 0);
	assert_set(&one->tunnel, BOB "allowed_ip=10.0.0.0/8\n");
	assert_get(&two->tunnel, "");
	assert_null(peer_of(&two->tunnel, BOB_PUBLIC));
	tunnel_close(&two->tunnel);
	assert_nothing_left(two, OTHER);
	free(two);
	assert_true(exists(PINS IFNAME "/config"));
	assert_non_null(peer_of(&one->tunnel, BOB_PUBLIC));
}

/* --- get gives what set took --- */

static void test_lines_of_the_device(void **state)
{
	struct fixture *f = *state;

	assert_set(&f->tunnel, "private_key=" ALICE "\nlisten_port=4321\nfwmark=4660\n");
	assert_get(&f->tunnel,
		   "private_key=" ALICE_CLAMPED "\nlisten_port=4321\nfwmark=4660\n");
	assert_set(&f->tunnel, "fwmark=0\n");
	assert_get(&f->tunnel, "private_key=" ALICE_CLAMPED "\nlisten_port=4321\n");
	assert_set(&f->tunnel, "private_key=" ZERO_KEY "\nlisten_port=0\n");
	assert_get(&f->tunnel, "");
}

static void test_lines_of_a_peer(void **state)
{
	struct fixture *f = *state;

	assert_set(&f->tunnel, BOB);
	assert_get(&f->tunnel, IDLE(BOB, ZERO_KEY, "", "0"));
	assert_set(&f->tunnel,
		   BOB "preshared_key=" PSK
		       "\nendpoint=192.0.2.9:1234\npersistent_keepalive_interval=25\n"
		       "allowed_ip=10.1.2.3/16\nallowed_ip=fd01::9/64\n"
		       "allowed_ip=0.0.0.0/0\n");
	assert_get(&f->tunnel, IDLE(BOB, PSK, "endpoint=192.0.2.9:1234\n",
				    "25") "allowed_ip=10.1.0.0/16\n"
					  "allowed_ip=fd01::/64\n"
					  "allowed_ip=0.0.0.0/0\n");
	assert_set(&f->tunnel,
		   BOB "preshared_key=" ZERO_KEY "\nendpoint=[2001:db8::9]:4567\n"
		       "persistent_keepalive_interval=0\nreplace_allowed_ips=true\n"
		       "allowed_ip=fd02::/16\n");
	assert_get(&f->tunnel, IDLE(BOB, ZERO_KEY, "endpoint=[2001:db8::9]:4567\n",
				    "0") "allowed_ip=fd02::/16\n");
}

static void test_prefixes_come_and_go(void **state)
{
	struct fixture *f = *state;

	assert_set(&f->tunnel, BOB "allowed_ip=10.0.0.0/8\nallowed_ip=fd00::/8\n");
	assert_set(&f->tunnel, BOB "allowed_ip=-10.0.0.0/8\n"
				   "allowed_ip=-192.0.2.0/24\n");
	assert_get(&f->tunnel, IDLE(BOB, ZERO_KEY, "", "0") "allowed_ip=fd00::/8\n");
	/* Moves to another peer; a peer that does not have it cannot remove it. */
	assert_set(&f->tunnel,
		   ALICE_PEER "allowed_ip=fd00::/8\n" BOB "allowed_ip=-fd00::/8\n");
	assert_get(&f->tunnel,
		   IDLE(BOB, ZERO_KEY, "", "0")
			   IDLE(ALICE_PEER, ZERO_KEY, "", "0") "allowed_ip=fd00::/8\n");
}

static void test_update_only(void **state)
{
	struct fixture *f = *state;

	assert_set(&f->tunnel, BOB "update_only=true\nallowed_ip=10.0.0.0/8\n");
	assert_get(&f->tunnel, "");
	assert_set(&f->tunnel, BOB);
	assert_set(&f->tunnel, BOB "update_only=true\nallowed_ip=10.0.0.0/8\n");
	assert_get(&f->tunnel, IDLE(BOB, ZERO_KEY, "", "0") "allowed_ip=10.0.0.0/8\n");
}

static void test_remove_and_replace(void **state)
{
	struct fixture *f = *state;

	assert_set(&f->tunnel, BOB ALICE_PEER);
	assert_set(&f->tunnel, BOB "remove=true\n");
	assert_get(&f->tunnel, IDLE(ALICE_PEER, ZERO_KEY, "", "0"));
	assert_set(&f->tunnel, BOB "remove=true\n"); /* does not exist */
	assert_set(&f->tunnel,
		   "replace_peers=true\n" ALICE_PEER "persistent_keepalive_interval=3\n");
	assert_get(&f->tunnel, IDLE(ALICE_PEER, ZERO_KEY, "", "3"));
	assert_set(&f->tunnel, "replace_peers=true\n");
	assert_get(&f->tunnel, "");
	assert_int_equal(f->tunnel.peers.count, 0);
	peer_events_reap(&f->tunnel);
	assert_true(cds_list_empty(&f->tunnel.peers.dead));
}

/* A peer that is removed and added in one request keeps nothing. */
static void test_remove_and_add(void **state)
{
	struct fixture *f = *state;
	struct peer *old;

	assert_set(&f->tunnel, BOB "allowed_ip=10.0.0.0/8\n"
				   "preshared_key=" PSK "\n");
	old = peer_of(&f->tunnel, BOB_PUBLIC);
	assert_set(&f->tunnel,
		   BOB "remove=true\n" ALICE_PEER BOB "allowed_ip=10.0.0.0/9\n");
	assert_ptr_not_equal(peer_of(&f->tunnel, BOB_PUBLIC), old);
	assert_get(&f->tunnel, IDLE(ALICE_PEER, ZERO_KEY, "", "0") IDLE(
				       BOB, ZERO_KEY, "", "0") "allowed_ip=10.0.0.0/9\n");
}

/* --- our own key --- */

static size_t removed_at_most(struct tunnel *tunnel, const char *lines)
{
	most_removed = 0;
	assert_set(tunnel, lines);
	return most_removed;
}

static void give_bob_many(struct tunnel *tunnel, const char *peer)
{
	static char lines[64 * 1024];
	int len = snprintf(lines, sizeof(lines), "%s", peer);

	for (unsigned i = 0; i < 1000; i++)
		len += snprintf(lines + len, sizeof(lines) - (size_t)len,
				"allowed_ip=10.1.%u.%u/32\n", i >> 8, i & 255);
	assert_set(tunnel, lines);
	assert_int_equal(tunnel->peers.allowed.count, 1000);
}

/* The allowed IPs of a peer are removed in shares, whatever removes them, so that other work has
 * its turn. */
static void test_allowed_ips_of_one_peer_in_shares(void **state)
{
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;

	give_bob_many(tunnel, BOB);
	assert_in_range(removed_at_most(tunnel, BOB "replace_allowed_ips=true\n"
						    "allowed_ip=10.1.0.7/32\n"),
			1, 64);
	assert_int_equal(tunnel->peers.allowed.count, 1);

	give_bob_many(tunnel, BOB);
	assert_in_range(removed_at_most(tunnel,
					BOB "replace_allowed_ips=true\n" ALICE_PEER
					    "allowed_ip=10.2.0.0/24\n"),
			1, 64);
	assert_int_equal(tunnel->peers.allowed.count, 1);
	assert_set(tunnel, ALICE_PEER "remove=true\n");

	give_bob_many(tunnel, BOB);
	assert_in_range(removed_at_most(tunnel, BOB "remove=true\n"), 1, 64);
	assert_null(peer_of(tunnel, BOB_PUBLIC));

	give_bob_many(tunnel, BOB);
	assert_in_range(removed_at_most(tunnel, "replace_peers=true\n"), 1, 64);
	assert_int_equal(tunnel->peers.count, 0);

	give_bob_many(tunnel, ALICE_PEER);
	assert_in_range(removed_at_most(tunnel, "private_key=" ALICE "\n"), 1, 64);
	assert_int_equal(tunnel->peers.count, 0);
}

/* Gives Bob so many, more than one part of an answer has. */
static void give_bob_thousands(struct tunnel *tunnel, unsigned n)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	fputs(BOB "replace_allowed_ips=true\n", f);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "allowed_ip=10.1.%u.%u/32\n", i >> 8, i & 255);
	assert_int_equal(fclose(f), 0);
	assert_set(tunnel, text);
	free(text);
}

/* Writes the next part of the answer to "get". Returns its lines; sets *more if it is not the
 * last. */
static unsigned get_part(struct tunnel *tunnel, void **answer, bool *more)
{
	unsigned lines = 0;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	*more = config_get(tunnel, answer, f) == 1;
	assert_int_equal(fclose(f), 0);
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	free(text);
	return lines;
}

/* The allowed IPs of a peer are told in shares, and those that go meanwhile are left out. */
static void test_allowed_ips_of_one_peer_are_told_in_shares(void **state)
{
	static const unsigned own_lines = 8; /* of each peer */
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	unsigned part, sum = 0, parts = 0;
	void *answer = NULL;
	bool more = true;

	give_bob_thousands(tunnel, 10000);
	assert_set(tunnel, ALICE_PEER "allowed_ip=10.2.0.0/24\n");
	for (; more; parts++) {
		part = get_part(tunnel, &answer, &more);
		assert_in_range(part, 0, 2 * 1024 + 2 * own_lines);
		sum += part;
	}
	assert_int_equal(sum, 10000 + 1 + 2 * own_lines);
	assert_in_range(parts, 5, 20);

	answer = NULL;
	sum = get_part(tunnel, &answer, &more);
	/* All are replaced; those that stay move to the end of the list. */
	give_bob_thousands(tunnel, 5000);
	while (more)
		sum += get_part(tunnel, &answer, &more);
	assert_in_range(sum, 1024, 5000);

	answer = NULL;
	get_part(tunnel, &answer, &more);
	assert_true(more);
	assert_set(tunnel, BOB "remove=true\n");
	peer_events_reap(tunnel);
	assert_int_equal(get_part(tunnel, &answer, &more), own_lines + 1); /* Alice's */
	assert_true(more);
	config_end_answer(tunnel, answer);
	assert_true(cds_list_empty(&tunnel->peers.allowed.walks));
}

static void test_own_key_makes_no_peer(void **state)
{
	struct fixture *f = *state;

	assert_set(&f->tunnel,
		   "private_key=" ALICE "\n" ALICE_PEER "allowed_ip=10.0.0.0/8\n" BOB);
	assert_null(peer_of(&f->tunnel, ALICE_PUBLIC));
	assert_non_null(peer_of(&f->tunnel, BOB_PUBLIC));
	assert_int_equal(f->tunnel.peers.count, 1);
}

static void test_new_key_drops_that_peer(void **state)
{
	struct fixture *f = *state;
	uint32_t slot;

	assert_set(&f->tunnel, ALICE_PEER "allowed_ip=10.0.0.0/8\n" BOB);
	slot = peer_of(&f->tunnel, ALICE_PUBLIC)->slot;
	assert_set(&f->tunnel, "private_key=" ALICE "\n");
	assert_get(&f->tunnel,
		   "private_key=" ALICE_CLAMPED "\n" IDLE(BOB, ZERO_KEY, "", "0"));
	assert_false(has_peer_stats(slot));
	assert_int_equal(f->tunnel.peers.allowed.count, 0);
}

/* Data for handshakes depends on both keys, in whichever order they are set. */
static void test_remotes_follow_the_key(void **state)
{
	struct fixture *f = *state;
	struct peer *bob;

	assert_set(&f->tunnel, BOB);
	bob = peer_of(&f->tunnel, BOB_PUBLIC);
	assert_false(bob->remote.valid);
	assert_set(&f->tunnel, "private_key=" ALICE "\n");
	assert_true(bob->remote.valid);
	assert_set(&f->tunnel, "private_key=" ZERO_KEY "\n");
	assert_false(bob->remote.valid);
}

/* --- slots --- */

static void test_slots_come_free(void **state)
{
	struct fixture *f = *state;
	struct peer *bob;
	uint32_t slot;

	assert_set(&f->tunnel, BOB ALICE_PEER);
	bob = peer_of(&f->tunnel, BOB_PUBLIC);
	slot = bob->slot;
	assert_int_not_equal(slot, peer_of(&f->tunnel, ALICE_PUBLIC)->slot);
	assert_ptr_equal(peer_at(&f->tunnel.peers, slot), bob);
	assert_true(has_peer_stats(slot));
	assert_set(&f->tunnel, BOB "remove=true\n");
	assert_null(peer_at(&f->tunnel.peers, slot));
	assert_false(has_peer_stats(slot));
	assert_int_equal(f->tunnel.peers.count, 1);
}

/* After the last slot, free ones are used again; the last slot may be used, too. */
static void test_slots_wrap(void **state)
{
	struct fixture *f = *state;

	f->tunnel.peers.next_slot = WG_MAX_PEERS - 1;
	assert_set(&f->tunnel, BOB ALICE_PEER);
	assert_int_equal(peer_of(&f->tunnel, BOB_PUBLIC)->slot, WG_MAX_PEERS - 1);
	assert_int_equal(peer_of(&f->tunnel, ALICE_PUBLIC)->slot, 0);
	assert_ptr_equal(peer_at(&f->tunnel.peers, WG_MAX_PEERS - 1),
			 peer_of(&f->tunnel, BOB_PUBLIC));
	assert_null(peer_at(&f->tunnel.peers, WG_MAX_PEERS));
	assert_null(peer_at(&f->tunnel.peers, WG_SLOT_NONE));
}

/* Acts as if every slot except one were in use. A request that needs two changes nothing. */
static void test_no_slot_left(void **state)
{
	struct fixture *f = *state;
	struct peer somebody;

	for (uint32_t i = 0; i < WG_MAX_PEERS; i++)
		f->tunnel.peers.slots[i] = &somebody;
	f->tunnel.peers.slots[77] = NULL;
	f->tunnel.peers.count = WG_MAX_PEERS - 1;
	assert_int_equal(set(&f->tunnel, BOB ALICE_PEER "allowed_ip=10.0.0.0/8\n"),
			 -ENOSPC);
	assert_null(peer_of(&f->tunnel, BOB_PUBLIC));
	assert_set(&f->tunnel, ALICE_PEER "remove=true\n" BOB);
	assert_set(&f->tunnel, BOB ALICE_PEER "update_only=true\n");
	for (uint32_t i = 0; i < WG_MAX_PEERS; i++)
		if (f->tunnel.peers.slots[i] == &somebody)
			f->tunnel.peers.slots[i] = NULL;
	f->tunnel.peers.count = 1;
	assert_int_equal(peer_of(&f->tunnel, BOB_PUBLIC)->slot, 77);
	assert_null(peer_of(&f->tunnel, ALICE_PUBLIC));
	assert_int_equal(f->tunnel.peers.allowed.count, 0);
}

/* The kernel refills its reserve of map elements in the background. */
static void test_memory_of_maps_is_late(void **state)
{
	struct fixture *f = *state;

	no_memory = 3;
	assert_int_equal(set(&f->tunnel, BOB "allowed_ip=10.0.0.2/32\n"), 0);
	assert_int_equal(no_memory, 0);
	assert_int_equal(f->tunnel.peers.count, 1);
}

/* The request is done, and the maps follow. */
static void test_no_memory_for_maps(void **state)
{
	struct fixture *f = *state;
	uint32_t slot;

	no_memory = UINT_MAX;
	assert_int_equal(set(&f->tunnel, BOB "allowed_ip=10.0.0.2/32\n"), 0);
	assert_int_equal(f->tunnel.peers.count, 1);
	assert_int_equal(f->tunnel.peers.allowed.count, 1);
	assert_int_equal(late_maps_count(&f->tunnel), 2);
	slot = peer_of(&f->tunnel, BOB_PUBLIC)->slot;
	assert_false(has_peer_stats(slot));
	late_maps_serve(&f->tunnel, 1);
	assert_int_equal(late_maps_count(&f->tunnel), 2);
	no_memory = 0;
	late_maps_serve(&f->tunnel, 1);
	assert_int_equal(late_maps_count(&f->tunnel), 2); /* not yet */
	late_maps_serve(&f->tunnel, SEC_NS);
	assert_int_equal(late_maps_count(&f->tunnel), 0);
	assert_true(has_peer_stats(slot));
	assert_int_equal(late_maps_deadline(&f->tunnel), UINT64_MAX);
}

/* What is removed meanwhile is not late any more. */
static void test_removed_before_maps_have_it(void **state)
{
	struct fixture *f = *state;

	no_memory = UINT_MAX;
	assert_int_equal(set(&f->tunnel, BOB "allowed_ip=10.0.0.2/32\n"), 0);
	no_memory = 0;
	assert_set(&f->tunnel, BOB "remove=true\n");
	assert_int_equal(late_maps_count(&f->tunnel), 0);
}

/* Two peers of four go, one of them comes again, and there are new ones, with all that a peer can
 * have. */
static char *long_request(void)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	fputs("private_key=" PSK "\nlisten_port=4004\nfwmark=9\n", f);
	fputs(BOB "remove=true\n" ALICE_PEER "replace_allowed_ips=true\n", f);
	fputs("allowed_ip=10.8.0.0/24\nallowed_ip=10.8.1.0/24\n", f);
	fputs(BOB "allowed_ip=10.7.0.0/16\nallowed_ip=10.7.1.0/24\n", f);
	fprintf(f, "public_key=%064x\nallowed_ip=-10.9.1.0/24\n", 1);
	fprintf(f, "public_key=%064x\nremove=true\n", 2);
	for (unsigned i = 3; i < 23; i++)
		fprintf(f,
			"public_key=%064x\npreshared_key=" PSK
			"\nendpoint=192.0.2.9:%u\npersistent_keepalive_interval=25\n"
			"allowed_ip=10.9.%u.0/24\nallowed_ip=fd00:%u::/32\n"
			"allowed_ip=10.9.1.0/24\n",
			i, i, i, i);
	assert_int_equal(fclose(f), 0);
	return text;
}

static void set_before_long_request(struct tunnel *tunnel)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "private_key=" ALICE
		 "\nlisten_port=4003\nfwmark=1\nreplace_peers=true\n" BOB
		 "allowed_ip=10.7.0.0/16\npersistent_keepalive_interval=3\n"
		 "public_key=%064x\nallowed_ip=10.9.1.0/24\nallowed_ip=10.9.2.0/24\n"
		 "public_key=%064x\nallowed_ip=10.8.0.0/24\n"
		 "public_key=%064x\nendpoint=192.0.2.9:1\n",
		 1, 2, 3);
	assert_set(tunnel, text);
}

/* Whichever allocation fails, nothing of a request is done, or all of it. */
static void test_set_without_memory(void **state)
{
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	char *request = long_request(), *before, *after, *done = NULL;
	unsigned refused = 0, tolerated = 0;
	size_t left = 0;
	int err;

	tunnel_set_up(tunnel, true);
	for (size_t n = 0; !left; n++) {
		set_before_long_request(tunnel);
		peer_events_reap(tunnel);
		before = get(tunnel);
		allocations_for_set = n;
		err = set(tunnel, request);
		left = allocations_for_set;
		allocations_for_set = SIZE_MAX;
		after = get(tunnel);
		if (err) {
			assert_int_equal(err, -ENOMEM);
			assert_string_equal(after, before);
			refused++;
		} else if (done) {
			assert_string_equal(after, done);
		}
		tolerated += !err;
		assert_int_equal(tunnel->peers.spare_count, 0);
		assert_int_equal(tunnel->peers.allowed.spare_count, 0);
		free(before);
		if (err || done) {
			free(after);
			continue;
		}
		done = after;
	}
	/* 19 peers are new, and each has two allowed IPs that are new. */
	assert_in_range(refused, 3 * 19, 200);
	assert_in_range(tolerated, 2, 200);
	assert_non_null(peer_of(tunnel, BOB_PUBLIC));
	free(done);
	free(request);
}

/* Memory of peers that a request removes serves for those that it creates. */
static void test_replacing_all_peers_takes_no_memory(void **state)
{
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	char *request = long_request(), *lines = strstr(request, BOB), *text;

	add_peers(tunnel, 100); /* for which there are timers then */
	assert_true(asprintf(&text, "replace_peers=true\n" BOB "%s", lines) > 0);
	assert_set(tunnel, text);
	add_peers(tunnel, 3);
	allocations_for_set = 0;
	assert_set(tunnel, text);
	allocations_for_set = SIZE_MAX;
	assert_int_equal(tunnel->peers.count, 23);
	free(text);
	free(request);
}

/* --- NICs --- */

/* Attempts become rarer, because each may reset a device's queues. */
static void test_what_has_no_xdp_is_tried_more_and_more_seldom(void **state)
{
	struct fixture *f = *state;
	struct nics *nics = &f->tunnel.nics;
	struct nic_refusal *r = &nics->refused[0];
	uint64_t wait = 30 * SEC_NS;

	nics->automatic = false;
	nics->request_count = 1;
	nics->requests[0] = (struct nic_request){.name = "lo", .mode = NIC_COPY};
	for (unsigned i = 0; i < 10; i++) {
		nics_want(&f->tunnel, 1);
		assert_int_equal(nics_deadline(&f->tunnel), 0);
		assert_int_equal(nics_serve(&f->tunnel, 0), 0);
		assert_null(dataplane_nic(&f->tunnel.dp, 1));
		assert_int_equal(r->ifindex, 1);
		assert_int_equal(nics_deadline(&f->tunnel), r->until);
		assert_int_equal(r->wait, wait);
		assert_true(r->until > clock_now() + wait - SEC_NS);
		r->until = 0;
		wait = wait * 2 < 3600 * SEC_NS ? wait * 2 : 3600 * SEC_NS;
	}
	assert_int_equal(nics->refused_next, 1);
}

static void test_refused_device_is_named_when_its_time_is_over(void **state)
{
	struct fixture *f = *state;
	struct nics *nics = &f->tunnel.nics;

	nics->refused[0] = (struct nic_refusal){.ifindex = 7, .wait = 1, .until = 100};
	nics->refused[1] = (struct nic_refusal){.ifindex = 8, .wait = 1, .until = 90};
	assert_int_equal(nics_deadline(&f->tunnel), 90);
	assert_int_equal(nics_serve(&f->tunnel, 89), 0);
	assert_int_equal(nics_serve(&f->tunnel, 90), 8);
	assert_int_equal(nics_deadline(&f->tunnel), 100);
	assert_int_equal(nics_serve(&f->tunnel, 100), 7);
	assert_int_equal(nics_serve(&f->tunnel, 101), 0);
	assert_int_equal(nics_deadline(&f->tunnel), UINT64_MAX);
}

static void test_wanted_devices_are_queued_once_and_bounded(void **state)
{
	struct fixture *f = *state;
	struct rtnl_link link = {.type = ARPHRD_ETHER, .flags = IFF_UP};

	f->tunnel.nics.automatic = true;
	nics_want(&f->tunnel, 1000); /* no such link */
	assert_int_equal(f->tunnel.nics.wanted_count, 0);
	for (uint32_t i = 1000; i < 1000 + 2 * NICS_WANTED_MAX; i++) {
		assert_int_equal(links_note(&f->tunnel.routing.links, i, &link), 0);
		nics_want(&f->tunnel, i);
		nics_want(&f->tunnel, i);
	}
	assert_int_equal(f->tunnel.nics.wanted_count, NICS_WANTED_MAX);
	assert_int_equal(f->tunnel.nics.wanted[0], 1000);
	assert_int_equal(f->tunnel.nics.wanted[1], 1001);
	strcpy(link.kind, "tun");
	f->tunnel.nics.wanted_count = 0;
	assert_int_equal(links_note(&f->tunnel.routing.links, 1000, &link), 0);
	nics_want(&f->tunnel, 1000);
	assert_int_equal(f->tunnel.nics.wanted_count, 0);
}

/* Makes a veth with a known neighbour at its other end. */
static uint32_t veth(struct fixture *f)
{
	shell("ip link add v0 type veth peer name v1");
	/* Their addresses would be events at any time in the next seconds. */
	shell("ip link set v0 addrgenmode none");
	shell("ip link set v1 addrgenmode none");
	shell("ip link set v1 up");
	shell("ip link set v0 up");
	shell("ip addr add 10.66.0.1/24 dev v0");
	shell("ip neigh add 10.66.0.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent");
	assert_int_equal(routing_read(&f->tunnel.routing, 0), 0);
	return if_nametoindex("v0");
}

/* What the system is short of for a moment is tried again each second for a while. */
static void test_shortage_is_tried_again_soon(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	struct nic_refusal *r = &tunnel->nics.refused[0];
	uint32_t v0 = veth(f);

	tunnel->nics.automatic = true;
	no_memory = UINT_MAX;
	for (unsigned i = 0; i < 8; i++) {
		nics_want(tunnel, v0);
		assert_int_equal(nics_serve(tunnel, 0), 0);
		assert_int_equal(r->ifindex, v0);
		assert_int_equal(r->err, -ENOMEM);
		assert_int_equal(r->wait, SEC_NS);
		r->until = 0;
	}
	nics_want(tunnel, v0);
	assert_int_equal(nics_serve(tunnel, 0), 0);
	assert_int_equal(r->wait, 2 * SEC_NS);
	r->until = 0;
	no_memory = 0;
	nics_want(tunnel, v0);
	assert_int_equal(nics_serve(tunnel, 0), v0);
	nics_detach(tunnel, dataplane_nic(&tunnel->dp, v0));
	shell("ip link del v0");
}

/* The program for frames in several buffers is tried first. A driver without them has the other
 * one, natively, too. */
static void test_driver_without_several_buffers(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	uint32_t v0 = veth(f);
	struct nic *nic;

	tunnel->nics.automatic = true;
	for (unsigned i = 0; i < 2; i++) {
		refused_xdp = i ? NULL : "wg_nic";
		xdp_refusals = 0;
		nics_want(tunnel, v0);
		assert_int_equal(nics_serve(tunnel, 0), v0);
		nic = dataplane_nic(&tunnel->dp, v0);
		assert_non_null(nic);
		assert_true(nic->native);
		assert_int_equal(nic->frags, i);
		assert_int_equal(xdp_refusals, !i);
		nics_detach(tunnel, nic);
	}
	shell("ip link del v0");
}

static unsigned count_paths_by(struct tunnel *tunnel, const struct nic *nic)
{
	struct peer *peer;
	unsigned n = 0;

	cds_list_for_each_entry (peer, &tunnel->peers.list, list)
		n += peer->path && peer->path->nic == nic;
	return n;
}

/* All peers stop sending by a NIC at once. The paths that name it are replaced in shares. Then it
 * is freed. */
static void test_many_leave_a_nic_in_shares(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	uint32_t v0 = veth(f);
	struct nic *nic;
	struct path *path;

	tunnel->nics.automatic = true;
	tunnel_set_up(tunnel, true);
	add_peers_all_at(tunnel, 600, "10.66.0.2:9");
	nics_want(tunnel, v0);
	assert_int_equal(nics_serve(tunnel, clock_now()), v0);
	nic = dataplane_nic(&tunnel->dp, v0);
	for (unsigned i = 0; i < 10; i++)
		paths_serve(tunnel, clock_now());
	assert_int_equal(count_paths_by(tunnel, nic), 600);
	path = cds_list_entry(tunnel->peers.list.prev, struct peer, list)->path;
	assert_ptr_equal(carrier_for(path, 100, 0, NULL).ops, &queue_carrier);

	paths_drop_nic(tunnel, nic);
	assert_in_range(count_paths_by(tunnel, nic), 100, 599);
	nics_detach(tunnel, nic);
	assert_ptr_equal(carrier_for(path, 100, 0, NULL).ops, &udp_carrier);
	peer_remove(cds_list_entry(tunnel->dropping.walk.next, struct peer, list));
	assert_ptr_equal(tunnel->nics.closed, nic);
	for (unsigned i = 0; i < 10; i++)
		paths_serve(tunnel, clock_now());
	assert_int_equal(count_paths_by(tunnel, nic), 0);
	assert_null(tunnel->nics.closed);
	shell("ip link del v0");
}

/* A look-up of a path attaches no NIC. A separate step does, and then the path is looked
 * up again. */
static void test_nic_is_attached_by_its_step_alone(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	uint32_t v0 = veth(f);
	struct peer *bob;

	tunnel->nics.automatic = true;
	tunnel_set_up(tunnel, true);
	assert_set(tunnel, BOB "endpoint=10.66.0.2:9\n");
	bob = peer_of(tunnel, BOB_PUBLIC);
	assert_int_equal(bob->path->route.ifindex, 0);
	assert_int_equal(tunnel->nics.wanted_count, 0);

	paths_serve(tunnel, clock_now());
	assert_int_equal(bob->path->route.ifindex, v0);
	assert_true(bob->path->route.l2_ok);
	assert_null(bob->path->nic);
	assert_null(dataplane_nic(&tunnel->dp, v0));
	assert_int_equal(tunnel->nics.wanted_count, 1);

	assert_int_equal(nics_serve(tunnel, clock_now()), v0);
	assert_non_null(dataplane_nic(&tunnel->dp, v0));
	assert_null(bob->path->nic);
	stale_paths_by_link(tunnel, v0);
	assert_int_equal(paths_deadline(tunnel), 0);
	paths_serve(tunnel, clock_now());
	assert_ptr_equal(bob->path->nic, dataplane_nic(&tunnel->dp, v0));

	paths_drop_nic(tunnel, dataplane_nic(&tunnel->dp, v0));
	assert_null(bob->path->nic);
	assert_int_equal(bob->path->route.ifindex, v0);
	nics_detach(tunnel, dataplane_nic(&tunnel->dp, v0));
	shell("ip link del v0");
}

/* A peer's source may be forged, so only the NIC that its packets arrive by is used. */
static void test_source_of_a_peer_attaches_to_no_other_nic(void **state)
{
	struct endpoint ep = {.addr = {.family = IP_V4, .bytes = {10, 66, 0, 2}},
			      .port = 9};
	struct fixture *f = *state;
	uint32_t v0 = veth(f);
	struct peer *bob;

	f->tunnel.nics.automatic = true;
	tunnel_set_up(&f->tunnel, true);
	assert_set(&f->tunnel, BOB);
	bob = peer_of(&f->tunnel, BOB_PUBLIC);
	paths_set_endpoint(bob, &ep);
	bob->arrived_by = v0 + 1000;
	paths_serve(&f->tunnel, clock_now());
	assert_int_equal(bob->path->route.ifindex, v0);
	assert_int_equal(f->tunnel.nics.wanted_count, 0);
	bob->arrived_by = v0;
	paths_want(bob);
	paths_serve(&f->tunnel, clock_now());
	assert_int_equal(f->tunnel.nics.wanted_count, 1);
	shell("ip link del v0");
}

/* --- events of the kernel, and the paths that they concern --- */

/* Adds the peers `first` to `last` with this address and different ports. */
static void add_peers_at(struct tunnel *tunnel, unsigned first, unsigned last,
			 const char *addr)
{
	char lines[256];

	for (unsigned i = first; i <= last; i++) {
		snprintf(lines, sizeof(lines), "public_key=%064x\nendpoint=%s:%u\n", i,
			 addr, i);
		assert_set(tunnel, lines);
	}
}

static struct peer *peer_number(struct tunnel *tunnel, unsigned i)
{
	char hex[65];

	snprintf(hex, sizeof(hex), "%064x", i);
	return peer_of(tunnel, hex);
}

/* Reads the pending events and resolves all paths that they concern. Returns the number
 * of netlink exchanges. */
static uint32_t settle(struct tunnel *tunnel)
{
	uint64_t now = clock_now();
	uint32_t before;

	kernel_events_serve(tunnel, now);
	before = tunnel->rtnl.seq;
	for (unsigned i = 0; i < 1000 && paths_deadline(tunnel) != UINT64_MAX; i++)
		paths_serve(tunnel, now += NS_PER_SEC);
	assert_int_equal(paths_deadline(tunnel), UINT64_MAX);
	return tunnel->rtnl.seq - before;
}

static uint64_t cpu_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Returns the CPU time in ns of 200 events about neighbours that no path uses. */
static uint64_t cost_of_strangers(struct tunnel *tunnel, unsigned mac)
{
	char command[192];
	uint64_t began;

	settle(tunnel);
	snprintf(command, sizeof(command),
		 "for i in $(seq 1 200); do echo neigh replace 10.66.0.$((i + 20)) "
		 "lladdr 02:00:00:00:01:%02x dev v0; done | ip -batch -",
		 mac);
	shell(command);
	began = cpu_now();
	kernel_events_serve(tunnel, clock_now());
	return cpu_now() - began;
}

static void test_strangers_cost_the_same_with_many_peers(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	uint64_t one, many;

	veth(f);
	add_peers_at(tunnel, 1, 1, "10.66.0.2");
	one = cost_of_strangers(tunnel, 1);
	add_peers_at(tunnel, 2, 5000, "10.66.0.2");
	many = cost_of_strangers(tunnel, 2);
	print_message("%ju and %ju us\n", (uintmax_t)one / 1000, (uintmax_t)many / 1000);
	assert_true(many < 4 * one + NS_PER_MS);
	/* Nor does the look-up of an address that no flow has visit all peers. */
	settle(tunnel); /* events of the new link may come late */
	one = cpu_now();
	for (unsigned i = 0; i < 1000; i++)
		flows_forget_addr(tunnel, &peer_number(tunnel, 1)->endpoint.addr);
	many = cpu_now() - one;
	print_message("%ju us\n", (uintmax_t)many / 1000);
	assert_true(many < 5 * NS_PER_MS);
	assert_int_equal(paths_deadline(tunnel), UINT64_MAX);
	shell("ip link del v0");
}

static void assert_mac(struct tunnel *tunnel, unsigned i, uint8_t last)
{
	const struct path *path = peer_number(tunnel, i)->path;

	assert_true(path->route.l2_ok);
	assert_int_equal(path->route.l2[5], last);
}

/* More peers than one round resolves. */
static void test_neighbour_concerns_those_behind_it(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;

	veth(f);
	add_peers_at(tunnel, 1, 300, "10.66.0.2");
	add_peers_at(tunnel, 301, 310, "127.0.0.1");
	settle(tunnel);
	assert_mac(tunnel, 300, 2);
	shell("ip neigh change 10.66.0.2 lladdr 02:00:00:00:00:05 dev v0 nud permanent");
	assert_int_equal(settle(tunnel), 300);
	assert_mac(tunnel, 1, 5);
	assert_mac(tunnel, 300, 5);
	/* The same neighbour in another state. */
	shell("ip neigh change 10.66.0.2 lladdr 02:00:00:00:00:05 dev v0 nud stale");
	assert_int_equal(settle(tunnel), 0);
	peer_remove(peer_number(tunnel, 1));
	peer_events_reap(tunnel);
	shell("ip neigh change 10.66.0.2 lladdr 02:00:00:00:00:06 dev v0 nud permanent");
	assert_int_equal(settle(tunnel), 299);
	assert_mac(tunnel, 300, 6);
	shell("ip link del v0");
}

/* The neighbour was unknown for the first peer, and the event that it is known was
 * lost. */
static void test_peers_behind_a_neighbour_agree(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;

	veth(f);
	shell("ip neigh del 10.66.0.2 dev v0");
	add_peers_at(tunnel, 1, 2, "10.66.0.2");
	settle(tunnel);
	assert_false(peer_number(tunnel, 1)->path->route.l2_ok);
	shell("ip neigh replace 10.66.0.2 lladdr 02:00:00:00:00:07 dev v0 nud permanent");
	paths_want(peer_number(tunnel, 2));
	paths_serve(tunnel, clock_now());
	assert_mac(tunnel, 2, 7);
	assert_mac(tunnel, 1, 7);
	shell("ip link del v0");
}

/* A changed route concerns only peers whose endpoints are in its prefix. */
static void test_route_concerns_its_endpoints(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	char addr[32];

	veth(f);
	shell("ip route add 198.51.0.0/16 via 10.66.0.2");
	for (unsigned i = 1; i <= 200; i++) {
		snprintf(addr, sizeof(addr), "198.51.100.%u", i);
		add_peers_at(tunnel, i, i, addr);
	}
	settle(tunnel);
	shell("ip route add 192.0.2.0/24 via 10.66.0.2");
	shell("ip route add 198.51.99.0/24 via 10.66.0.2");
	shell("ip -6 route add 2001:db8::/32 dev v0");
	assert_int_equal(settle(tunnel), 0);
	shell("ip route add blackhole 198.51.100.7");
	assert_int_equal(settle(tunnel), 1);
	assert_int_equal(peer_number(tunnel, 7)->path->route.ifindex, 0);
	shell("ip route add 198.51.100.192/29 via 10.66.0.2");
	assert_int_equal(settle(tunnel), 8);
	shell("ip route add 198.51.100.128/25 via 10.66.0.2 mtu 1400");
	assert_int_equal(settle(tunnel), 73);
	assert_int_equal(peer_number(tunnel, 128)->path->route.mtu, 1400);
	assert_int_equal(peer_number(tunnel, 200)->path->route.mtu, 1400);
	shell("ip route del 198.51.100.7 && ip route del 198.51.100.128/25");
	assert_int_equal(settle(tunnel), 74);
	shell("ip route add default via 10.66.0.2");
	assert_int_equal(settle(tunnel), 200);
	shell("ip rule add fwmark 7 lookup 77");
	assert_int_equal(settle(tunnel), 200);
	shell("ip rule del fwmark 7; ip link del v0");
}

/* From the end of the command until the paths are right: unread, then being dealt with. */
static void test_news_until_paths_are_right(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	const struct routing_news *news = &tunnel->dp.news;

	veth(f);
	add_peers_at(tunnel, 1, 3, "10.66.0.2");
	settle(tunnel);
	kernel_events_end(tunnel);
	assert_false(routing_news_pending(news));
	shell("ip route add 10.66.0.2 via 10.66.0.3 dev v0");
	assert_true(routing_news_pending(news));
	kernel_events_serve(tunnel, clock_now());
	kernel_events_end(tunnel);
	assert_true(routing_news_pending(news));
	settle(tunnel);
	assert_true(routing_news_pending(news));
	kernel_events_end(tunnel);
	assert_false(routing_news_pending(news));
	/* What concerns no path is over once it was read, and neighbours are no news. */
	shell("ip route add 192.0.2.0/24 via 10.66.0.3");
	shell("ip neigh add 10.66.0.9 lladdr 02:00:00:00:00:09 dev v0");
	assert_true(routing_news_pending(news));
	kernel_events_serve(tunnel, clock_now());
	kernel_events_end(tunnel);
	assert_false(routing_news_pending(news));
	shell("ip neigh del 10.66.0.9 dev v0");
	assert_false(routing_news_pending(news));
	shell("ip link del v0");
}

/* Sends a router's message about a packet from ::1 at `port` to ::1 at `to`. */
static void say_too_big(uint16_t port, uint16_t to, bool from_us)
{
	struct {
		struct icmp6_hdr icmp;
		struct ip6_hdr ip;
		struct udphdr udp;
	} m = {
		.icmp = {.icmp6_type = ICMP6_PACKET_TOO_BIG, .icmp6_mtu = htonl(1400)},
		.ip = {.ip6_vfc = 6 << 4, .ip6_nxt = IPPROTO_UDP},
		.udp = {.uh_sport = htons(port), .uh_dport = htons(to)},
	};
	struct sockaddr_in6 lo = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	int fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);

	assert_true(fd >= 0);
	m.ip.ip6_dst = m.ip.ip6_src = in6addr_loopback;
	if (!from_us)
		m.ip.ip6_src.s6_addr[0] = 0x20;
	assert_int_equal(sendto(fd, &m, sizeof(m), 0, (struct sockaddr *)&lo, sizeof(lo)),
			 sizeof(m));
	close(fd);
}

/* Reads events and resolves paths that are due. Returns the number of peers resolved. */
static unsigned resolved_at(struct tunnel *tunnel, uint64_t now)
{
	struct peer *peer;
	unsigned n = 0;

	kernel_events_serve(tunnel, clock_now());
	for (unsigned i = 0; i < 1000 && paths_deadline(tunnel) <= now; i++)
		paths_serve(tunnel, now);
	cds_list_for_each_entry (peer, &tunnel->peers.list, list)
		n += peer->path_resolved == now;
	return n;
}

/* The first message is acted upon at once, the next ones after a second. */
static void test_too_big_concerns_the_peer_it_quotes(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	uint64_t now = clock_now() + NS_PER_SEC;

	assert_set(tunnel, "listen_port=4010\n");
	add_peers_at(tunnel, 1, 300, "[::1]");
	settle(tunnel);
	say_too_big(4010, 400, true);
	say_too_big(4011, 7, true);
	say_too_big(4010, 7, false);
	assert_int_equal(resolved_at(tunnel, now), 0);
	say_too_big(4010, 7, true);
	assert_int_equal(resolved_at(tunnel, ++now), 1);
	assert_int_equal(peer_number(tunnel, 7)->path_resolved, now);
	say_too_big(4010, 7, true);
	say_too_big(4010, 7, true);
	assert_int_equal(paths_deadline(tunnel), UINT64_MAX);
	kernel_events_serve(tunnel, clock_now());
	assert_int_equal(paths_deadline(tunnel),
			 peer_number(tunnel, 7)->resolve_later.deadline);
	assert_int_equal(settle(tunnel), 1);
}

/* --- the listen port --- */

static void test_port_of_an_interface_that_is_down(void **state)
{
	struct fixture *f = *state;

	assert_set(&f->tunnel, "listen_port=4003\n");
	assert_int_equal(tunnel_port(&f->tunnel), 4003);
	assert_true(port_is_free(AF_INET, 4003));
	assert_int_equal(port_in_map(), 0);
	tunnel_set_up(&f->tunnel, true);
	assert_false(port_is_free(AF_INET, 4003));
	assert_false(port_is_free(AF_INET6, 4003));
	assert_int_equal(port_in_map(), 4003);
	tunnel_set_up(&f->tunnel, false);
	assert_true(port_is_free(AF_INET, 4003));
	assert_true(port_is_free(AF_INET6, 4003));
	assert_int_equal(port_in_map(), 0);
	assert_get(&f->tunnel, "listen_port=4003\n");
}

/* Peers may know the port already. */
static void test_picked_port_is_kept(void **state)
{
	struct fixture *f = *state;
	uint16_t port;

	tunnel_set_up(&f->tunnel, true);
	port = tunnel_port(&f->tunnel);
	assert_int_not_equal(port, 0);
	tunnel_set_up(&f->tunnel, false);
	tunnel_set_up(&f->tunnel, true);
	assert_int_equal(tunnel_port(&f->tunnel), port);
	assert_set(&f->tunnel, "listen_port=0\n");
	assert_int_not_equal(tunnel_port(&f->tunnel), 0);
	assert_int_not_equal(tunnel_port(&f->tunnel), port);
}

static void test_port_changes(void **state)
{
	struct fixture *f = *state;

	assert_set(&f->tunnel, "listen_port=4003\n");
	tunnel_set_up(&f->tunnel, true);
	assert_set(&f->tunnel, "listen_port=4004\n");
	assert_true(port_is_free(AF_INET, 4003));
	assert_true(port_is_free(AF_INET6, 4003));
	assert_false(port_is_free(AF_INET, 4004));
	assert_int_equal(port_in_map(), 4004);
	assert_get(&f->tunnel, "listen_port=4004\n");
}

/* If the port does not change, the sockets stay, with the packets that they hold. */
static void test_same_port_again(void **state)
{
	struct fixture *f = *state;
	struct udp *udp;

	assert_set(&f->tunnel, "listen_port=4003\n");
	tunnel_set_up(&f->tunnel, true);
	udp = f->tunnel.dp.udp;
	assert_set(&f->tunnel, "listen_port=4003\n");
	assert_ptr_equal(f->tunnel.dp.udp, udp);
}

static void test_any_port(void **state)
{
	struct fixture *f = *state;
	uint16_t port;

	tunnel_set_up(&f->tunnel, true);
	port = tunnel_port(&f->tunnel);
	assert_int_not_equal(port, 0);
	assert_int_equal(port_in_map(), port);
	assert_false(port_is_free(AF_INET, port));
	assert_false(port_is_free(AF_INET6, port));
}

static void check_port_in_use(struct tunnel *tunnel, int family)
{
	int theirs = bind_port(family, 4005),
	    other = family == AF_INET ? AF_INET6 : AF_INET;
	struct udp *udp = tunnel->dp.udp;
	int fds = count_fds();

	assert_true(theirs >= 0);
	assert_int_equal(set(tunnel, "listen_port=4005\nfwmark=9\n"), -EADDRINUSE);
	assert_ptr_equal(tunnel->dp.udp, udp);
	assert_false(port_is_free(AF_INET, 4003));
	assert_false(port_is_free(AF_INET6, 4003));
	assert_true(port_is_free(other, 4005)); /* no half of the pair is kept */
	assert_int_equal(port_in_map(), 4003);
	assert_get(tunnel, "listen_port=4003\n"); /* nothing else changes */
	assert_int_equal(count_fds(), fds);
	close(theirs);
}

static void test_port_in_use(void **state)
{
	struct fixture *f = *state;

	assert_set(&f->tunnel, "listen_port=4003\n");
	tunnel_set_up(&f->tunnel, true);
	check_port_in_use(&f->tunnel, AF_INET);
	check_port_in_use(&f->tunnel, AF_INET6);
	tunnel_set_up(&f->tunnel, false);
	assert_get(&f->tunnel, "listen_port=4003\n"); /* for when it comes up */
	tunnel_set_up(&f->tunnel, true);
	assert_set(&f->tunnel, "listen_port=4005\n"); /* free now */
	assert_get(&f->tunnel, "listen_port=4005\n");
}

/* `ip link set up` cannot fail, so a port in use is refused before. */
static void test_port_in_use_while_down(void **state)
{
	struct fixture *f = *state;
	int theirs = bind_port(AF_INET, 4005), fds = count_fds();

	assert_true(theirs >= 0);
	assert_set(&f->tunnel, "listen_port=4003\n");
	assert_int_equal(set(&f->tunnel, "listen_port=4005\nfwmark=9\n"), -EADDRINUSE);
	assert_get(&f->tunnel, "listen_port=4003\n");
	assert_true(port_is_free(AF_INET, 4003));
	assert_int_equal(port_in_map(), 0);
	assert_int_equal(count_fds(), fds);
	close(theirs);
}

/* The tunnel comes up without sockets if its port is in use. */
static int up_without_sockets(struct tunnel *tunnel, int family)
{
	int theirs;

	assert_set(tunnel, "listen_port=4005\n");
	theirs = bind_port(family, 4005);
	assert_true(theirs >= 0);
	tunnel_set_up(tunnel, true);
	assert_null(tunnel->dp.udp);
	assert_int_equal(port_in_map(), 0);
	assert_true(tunnel->listen_due <= clock_now() + 2 * SEC_NS); /* it tries again */
	return theirs;
}

static void test_port_in_use_when_coming_up(void **state)
{
	struct fixture *f = *state;
	int theirs = up_without_sockets(&f->tunnel, AF_INET);

	assert_set(&f->tunnel, "listen_port=4006\n");
	assert_non_null(f->tunnel.dp.udp);
	assert_int_equal(port_in_map(), 4006);
	assert_int_equal(f->tunnel.listen_due, UINT64_MAX);
	close(theirs);
}

static void test_port_that_comes_free(void **state)
{
	struct fixture *f = *state;
	int theirs = up_without_sockets(&f->tunnel, AF_INET6);

	assert_int_equal(tunnel_listen(&f->tunnel), -EADDRINUSE);
	assert_int_not_equal(f->tunnel.listen_due, UINT64_MAX);
	close(theirs);
	assert_int_equal(tunnel_listen(&f->tunnel), 0);
	assert_int_equal(port_in_map(), 4005);
	assert_int_equal(f->tunnel.listen_due, UINT64_MAX);
}

/* Listening is not tried again while the interface is down. */
static void test_down_stops_trying(void **state)
{
	struct fixture *f = *state;
	int theirs = up_without_sockets(&f->tunnel, AF_INET);

	tunnel_set_up(&f->tunnel, false);
	assert_int_equal(f->tunnel.listen_due, UINT64_MAX);
	close(theirs);
}

static void test_fwmark(void **state)
{
	struct fixture *f = *state;

	assert_set(&f->tunnel, "fwmark=4660\n");
	tunnel_set_up(&f->tunnel, true);
	assert_int_equal(mark_of(f->tunnel.dp.udp->fd4), 4660);
	assert_int_equal(mark_of(f->tunnel.dp.udp->fd6), 4660);
	assert_set(&f->tunnel, "fwmark=1\n");
	assert_int_equal(mark_of(f->tunnel.dp.udp->fd4), 1);
	assert_int_equal(mark_of(f->tunnel.dp.udp->fd6), 1);
	assert_set(&f->tunnel, "listen_port=4007\n"); /* new sockets have it, too */
	assert_int_equal(mark_of(f->tunnel.dp.udp->fd4), 1);
	assert_set(&f->tunnel, "fwmark=0\n");
	assert_int_equal(mark_of(f->tunnel.dp.udp->fd6), 0);
}

/* The kernel may refuse the mark of one socket, and take that of the other. */
static void test_mark_that_is_refused(void **state)
{
	static const char *const requests[] = {"fwmark=9\n",
					       "fwmark=9\nlisten_port=4004\n"};
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	struct udp *udp;

	assert_set(tunnel, "listen_port=4003\nfwmark=1\n");
	tunnel_set_up(tunnel, true);
	udp = tunnel->dp.udp;
	for (unsigned i = 0; i < 4; i++) {
		marks_left = i / 2;
		assert_int_equal(set(tunnel, requests[i % 2]), -EPERM);
		assert_ptr_equal(tunnel->dp.udp, udp);
		assert_int_equal(mark_of(udp->fd4), 1);
		assert_int_equal(mark_of(udp->fd6), 1);
		assert_true(port_is_free(AF_INET, 4004));
		assert_get(tunnel, "listen_port=4003\nfwmark=1\n");
	}
}

static struct keypair *ready_keypair(struct peer *peer, bool initiator)
{
	struct keypair *kp = keypair_new(&peer->peers->keypairs, peer);
	struct noise_keys keys = {.initiator = initiator};

	assert_non_null(kp);
	keys.local_index = kp->local_index;
	keypair_activate(kp, &keys, clock_now());
	return kp;
}

static struct keypair *begin_session(struct peer *peer, bool initiator)
{
	struct keypair *kp = ready_keypair(peer, initiator);

	assert_int_equal(peer_use_keypair(peer, kp, clock_now()), 0);
	return kp;
}

/* --- surroundings --- */

static const struct endpoint bob_there = {
	.addr = {IP_V4, {192, 0, 2, 2}},
	.source = {IP_V4, {192, 0, 2, 1}},
	.port = 4711,
};

/* Returns the flow of bob_there by that device. */
static struct flow_key bobs_flow(uint32_t ifindex)
{
	return (struct flow_key){
		.ifindex = ifindex,
		.proto = htons(0x0800),
		.port = htons(4711),
		.source = {[10] = 0xff, 0xff, 192, 0, 2, 2},
		.destination = {[10] = 0xff, 0xff, 192, 0, 2, 1},
	};
}

static bool has_flow(uint32_t ifindex)
{
	struct flow_key key = bobs_flow(ifindex);
	struct flow value;

	return map_has(PINS IFNAME "/flows", &key, &value);
}

static void data_by_socket(struct peer *bob, uint32_t ifindex, uint64_t now)
{
	bob->by_socket = (struct arrival){.from = bob_there, .ifindex = ifindex};
	paths_note_arrival(bob, flows_serve(bob, now));
}

/* NICs as if with XDP, but without queues, which is possible because no workers use
 * them. */
static struct nic nics[2] = {{.ifindex = 71}, {.ifindex = 72}};

static struct peer *with_nics(struct fixture *f)
{
	assert_set(&f->tunnel, "listen_port=4006\n" BOB);
	workers_stop(&f->tunnel.workers);
	f->tunnel.workers.dp = NULL;
	tunnel_set_up(&f->tunnel, true);
	f->tunnel.dp.nics[0] = &nics[0];
	f->tunnel.dp.nics[1] = &nics[1];
	return peer_of(&f->tunnel, BOB_PUBLIC);
}

static void without_nics(struct fixture *f)
{
	f->tunnel.dp.nics[0] = f->tunnel.dp.nics[1] = NULL;
}

/* Only for a NIC that has AF_XDP, and one flow per peer. */
static void test_flow_of_a_peer(void **state)
{
	struct fixture *f = *state;
	struct peer *bob = with_nics(f);

	data_by_socket(bob, 73, SEC_NS);
	assert_false(has_flow(73));
	assert_int_equal(bob->arrived_by, 73);
	data_by_socket(bob, 71, SEC_NS);
	assert_true(has_flow(71));
	assert_int_equal(bob->arrived_by, 71);
	data_by_socket(bob, 72, SEC_NS);
	assert_true(has_flow(72));
	assert_false(has_flow(71));
	assert_set(&f->tunnel, BOB "remove=true\n");
	assert_false(has_flow(72));
	without_nics(f);
}

static void test_flow_ends_with_what_it_is_of(void **state)
{
	static const struct ip_addr other = {IP_V4, {192, 0, 2, 9}};
	struct fixture *f = *state;
	struct peer *bob = with_nics(f);

	data_by_socket(bob, 71, SEC_NS);
	flows_forget_addr(&f->tunnel, &other);
	assert_true(has_flow(71));
	flows_forget_addr(&f->tunnel, &bob_there.source);
	assert_false(has_flow(71));
	assert_int_equal(bob->by_socket.ifindex, 0); /* the next data are reported */
	data_by_socket(bob, 71, SEC_NS);
	assert_true(has_flow(71));
	assert_set(&f->tunnel, "listen_port=4007\n");
	assert_false(has_flow(71));
	data_by_socket(bob, 71, SEC_NS);
	tunnel_set_up(&f->tunnel, false);
	assert_false(has_flow(71));
	data_by_socket(bob, 71, SEC_NS);
	assert_false(has_flow(71));
	without_nics(f);
}

/* Returns true if the peer's flow is being probed; clears that. */
static bool is_probed(struct fixture *f, struct peer *peer, uint64_t now)
{
	static const uint8_t none[WG_TAG_LEN];
	bool is;

	flows_new_round(&f->tunnel);
	flows_keep(peer, now);
	is = memcmp(peer->probe.tag, none, sizeof(none)) != 0;
	memset(peer->probe.tag, 0, sizeof(none));
	return is;
}

/* Acts as if data had been received by AF_XDP. */
static void data_by_nic(struct peer *peer)
{
	atomic_store(&peer->by_nic, true);
}

static void test_flow_in_use_is_probed(void **state)
{
	const uint64_t t = 100 * SEC_NS;
	struct fixture *f = *state;
	struct peer *bob = with_nics(f);

	assert_false(is_probed(f, bob, t)); /* no flow is admitted */
	flows_admit(bob, &bob_there, 71, t);
	data_by_nic(bob);
	assert_false(is_probed(f, bob, t + 12 * SEC_NS)); /* no session */
	begin_session(bob, true);
	assert_false(is_probed(f, bob, t - 1)); /* the round began earlier */
	assert_true(has_flow(71));
	assert_false(is_probed(f, bob, t + 8 * SEC_NS - 1));
	assert_true(is_probed(f, bob, t + 12 * SEC_NS));
	/* Again after 1, 2, 4 and 8 seconds, until the flow expires. */
	assert_false(is_probed(f, bob, t + 13 * SEC_NS - 1));
	assert_true(is_probed(f, bob, t + 13 * SEC_NS));
	assert_false(is_probed(f, bob, t + 15 * SEC_NS - 1));
	assert_true(is_probed(f, bob, t + 15 * SEC_NS));
	assert_true(is_probed(f, bob, t + 19 * SEC_NS));
	assert_true(is_probed(f, bob, t + 27 * SEC_NS));
	assert_true(has_flow(71));
	assert_false(is_probed(f, bob, t + WG_FLOW_LAPSED_NS));
	assert_false(has_flow(71));
	without_nics(f);
}

/* A peer with a session whose flow was admitted at `t`. */
static struct peer *admitted_bob(struct fixture *f, uint64_t t)
{
	struct peer *bob = with_nics(f);

	begin_session(bob, true);
	flows_admit(bob, &bob_there, 71, t);
	return bob;
}

/* Not if nothing is received by AF_XDP: the peer is silent, or NAT on this host is
 * used. */
static void test_flow_not_in_use_is_not_probed(void **state)
{
	const uint64_t t = 100 * SEC_NS;
	struct fixture *f = *state;
	struct peer *bob = admitted_bob(f, t);

	assert_false(is_probed(f, bob, t + 12 * SEC_NS));
	data_by_nic(bob);
	assert_true(is_probed(f, bob, t + 12 * SEC_NS));
	flows_renew(bob, t + 12 * SEC_NS);
	assert_false(is_probed(f, bob, t + 24 * SEC_NS));
	data_by_nic(bob);
	assert_true(is_probed(f, bob, t + 24 * SEC_NS));
	without_nics(f);
}

/* A probe that arrives renews an existing flow, but makes no new one. */
static void test_probe_only_renews(void **state)
{
	const uint64_t t = 100 * SEC_NS;
	struct fixture *f = *state;
	struct peer *bob = admitted_bob(f, t);

	data_by_nic(bob);
	flows_keep(bob, t + 12 * SEC_NS); /* sends a probe with a tag */
	flows_forget(bob);
	assert_false(has_flow(71));
	assert_true(sodium_is_zero(bob->probe.tag, WG_TAG_LEN));
	flows_renew(bob, t + 12 * SEC_NS);
	assert_false(has_flow(71));
	assert_int_equal(bob->arrived_by, 0);
	without_nics(f);
}

/* A round is short for any number of peers. */
static void test_probes_of_a_round_are_bounded(void **state)
{
	const uint64_t t = 100 * SEC_NS;
	struct fixture *f = *state;
	struct peer *bob = admitted_bob(f, t);

	data_by_nic(bob);
	f->tunnel.probes_until = clock_now();
	flows_keep(bob, t + 12 * SEC_NS);
	assert_true(sodium_is_zero(bob->probe.tag, WG_TAG_LEN));
	assert_true(is_probed(f, bob, t + 12 * SEC_NS));
	without_nics(f);
}

/* All are forgotten in the end, also if that is asked for again before. */
static void test_flows_of_many_are_flushed_in_shares(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	struct peer *bob;
	unsigned rounds = 0;

	add_peers(tunnel, 1500);
	bob = with_nics(f); /* the last one */
	flows_admit(bob, &bob_there, 71, 100 * SEC_NS);
	flows_flush(tunnel);
	assert_true(has_flow(71));
	flows_flush(tunnel);
	/* The walk is at that one: it is removed. */
	peer_remove(cds_list_entry(tunnel->flush.walk.next, struct peer, list));
	for (; tunnel->flush.walk.next && rounds < 100; rounds++) {
		flows_serve_flush(tunnel);
		assert_false(has_flow(71));
	}
	assert_in_range(rounds, 2, 10);
	without_nics(f);
}

/* Packets at the UDP socket that XDP should have taken, and that it could not take. */
static void test_flow_that_is_translated(void **state)
{
	const uint64_t t = 100 * SEC_NS, later = t + WG_FLOW_LAPSED_NS;
	struct fixture *f = *state;
	struct peer *bob = with_nics(f);

	assert_false(flows_may_be_translated(bob, &bob_there, 73, t));
	assert_true(flows_may_be_translated(bob, &bob_there, 71, t));
	flows_admit(bob, &bob_there, 71, t);
	assert_true(flows_may_be_translated(bob, &bob_there, 71, later - 1));
	assert_true(flows_may_be_translated(bob, &bob_there, 71, later));
	assert_true(flows_may_be_translated(bob, &bob_there, 72, later));
	assert_false(flows_may_be_translated(bob, &bob_there, 71, t + 1));
	atomic_store(&bob->socket_only, true);
	assert_true(flows_may_be_translated(bob, &bob_there, 71, t + 1));
	without_nics(f);
}

/* A keepalive is due as soon as it can be sent, not before. */
static void test_persistent_keepalive_waits_for_up(void **state)
{
	struct fixture *f = *state;
	uint64_t now = clock_now();

	assert_set(&f->tunnel,
		   "listen_port=4006\n" BOB "persistent_keepalive_interval=25\n");
	assert_null(timerq_first(&f->tunnel.peers.timers));
	tunnel_set_up(&f->tunnel, true);
	assert_non_null(timerq_first(&f->tunnel.peers.timers));
	assert_true(timerq_first(&f->tunnel.peers.timers)->deadline <= now + 5 * SEC_NS);
	tunnel_set_up(&f->tunnel, false);
	assert_null(timerq_first(&f->tunnel.peers.timers));
	assert_get(&f->tunnel, "listen_port=4006\n" IDLE(BOB, ZERO_KEY, "", "25"));
}

/* --- sessions (whitepaper section 6.3): as far as a handshake's end --- */

/* Workers and the XDP program must find all of these. */
static void assert_sessions(struct peer *peer, struct keypair *previous,
			    struct keypair *current, struct keypair *next)
{
	struct keypair *all[] = {previous, current, next};

	assert_ptr_equal(peer->previous, previous);
	assert_ptr_equal(peer->current, current);
	assert_ptr_equal(peer->next, next);
	for (int i = 0; i < 3; i++) {
		if (!all[i])
			continue;
		assert_ptr_equal(
			keypairs_find(&peer->peers->keypairs, all[i]->local_index),
			all[i]);
		assert_int_equal(slot_of_session(all[i]->local_index), peer->slot);
	}
}

static void assert_session_gone(struct tunnel *tunnel, uint32_t index)
{
	assert_null(keypairs_find(&tunnel->peers.keypairs, index));
	assert_int_equal(slot_of_session(index), -1);
}

static struct peer *bob_of(struct fixture *f)
{
	assert_set(&f->tunnel, "private_key=" ALICE "\n" BOB);
	return peer_of(&f->tunnel, BOB_PUBLIC);
}

static void test_sessions_as_initiator(void **state)
{
	struct fixture *f = *state;
	struct peer *bob = bob_of(f);
	struct keypair *one, *two, *three;
	uint32_t index;

	one = begin_session(bob, true);
	assert_sessions(bob, NULL, one, NULL);
	two = begin_session(bob, true);
	assert_sessions(bob, one, two, NULL);
	index = one->local_index;
	three = begin_session(bob, true);
	assert_sessions(bob, two, three, NULL);
	assert_session_gone(&f->tunnel, index);
}

/* A session that is not in the map must not be used, because XDP would drop its
 * packets. */
static void test_no_memory_for_a_session(void **state)
{
	struct fixture *f = *state;
	struct peer *bob = bob_of(f);
	struct keypair *one = begin_session(bob, true), *two = ready_keypair(bob, true);
	uint32_t index = two->local_index;

	no_memory = UINT_MAX;
	assert_int_equal(peer_use_keypair(bob, two, clock_now()), -ENOMEM);
	no_memory = 0;
	assert_sessions(bob, NULL, one, NULL);
	assert_session_gone(&f->tunnel, index);
}

/* All peers have their turn, even if changes do not stop. */
static void test_paths_of_all_are_resolved(void **state)
{
	struct fixture *f = *state;
	struct cds_list_head *at;
	char lines[256];

	for (unsigned i = 1; i <= 600; i++) {
		snprintf(lines, sizeof(lines), "public_key=%064x\nendpoint=127.0.0.1:9\n",
			 i);
		assert_set(&f->tunnel, lines);
	}
	paths_due(&f->tunnel, 0);
	paths_serve(&f->tunnel, 1);
	at = f->tunnel.peers.next_path;
	assert_non_null(at);
	paths_due(&f->tunnel, 0);
	paths_serve(&f->tunnel, 1);
	assert_ptr_not_equal(f->tunnel.peers.next_path, at);
	paths_serve(&f->tunnel, 1);
	assert_null(f->tunnel.peers.next_path);
	paths_serve(&f->tunnel, 1); /* for the second change */
	assert_ptr_equal(f->tunnel.peers.next_path, at);
}

static void test_path_into_the_tunnel_itself(void **state)
{
	struct fixture *f = *state;
	struct peer *bob;

	tunnel_set_up(&f->tunnel, true);
	shell("ip link set " IFNAME " up");
	shell("ip addr add 10.67.0.1/24 dev " IFNAME);
	assert_int_equal(routing_read(&f->tunnel.routing, 0), 0);
	assert_set(&f->tunnel, BOB "endpoint=10.67.0.2:9\n");
	bob = peer_of(&f->tunnel, BOB_PUBLIC);
	assert_non_null(bob->path); /* not looked up yet */
	paths_serve(&f->tunnel, clock_now());
	assert_null(bob->path);
}

/* If the kernel cannot be asked for a moment, the path stays, and the look-up is
 * repeated. */
static void test_path_stays_if_the_kernel_cannot_be_asked(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	int fd = mnl_socket_get_fd(tunnel->rtnl.query), saved = dup(fd);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	uint64_t now = clock_now();
	const struct path *path;
	struct peer *bob;

	assert_set(tunnel, BOB "endpoint=127.0.0.1:9\n");
	bob = peer_of(tunnel, BOB_PUBLIC);
	paths_serve(tunnel, now);
	path = bob->path;
	assert_int_equal(path->route.ifindex, 1);
	assert_int_equal(paths_deadline(tunnel), UINT64_MAX);

	assert_true(saved >= 0 && dup2(null, fd) == fd);
	paths_want(bob);
	paths_serve(tunnel, now);
	assert_ptr_equal(bob->path, path);
	assert_int_equal(paths_deadline(tunnel), now + SEC_NS);

	assert_int_equal(dup2(saved, fd), fd);
	paths_serve(tunnel, now + SEC_NS);
	assert_ptr_not_equal(bob->path, path);
	assert_int_equal(bob->path->route.ifindex, 1);
	assert_int_equal(paths_deadline(tunnel), UINT64_MAX);
	close(saved);
	close(null);
}

/* That many requests of that type fail, by a function that replaces libmnl's. */
static unsigned refusals;
static uint16_t refused_type;

ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *buf, size_t len)
{
	static ssize_t (*send_to)(const struct mnl_socket *, const void *, size_t);

	if (refusals && ((const struct nlmsghdr *)buf)->nlmsg_type == refused_type) {
		refusals--;
		errno = ENOBUFS;
		return -1;
	}
	if (!send_to)
		*(void **)&send_to = dlsym(RTLD_NEXT, "mnl_socket_sendto");
	return send_to(nl, buf, len);
}

/* A momentary error says nothing about the next hop, and does not concern other peers. */
static void test_neighbour_is_asked_again(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	uint64_t now = clock_now();

	veth(f);
	add_peers_at(tunnel, 1, 100, "127.0.0.1");
	settle(tunnel);
	add_peers_at(tunnel, 101, 101, "10.66.0.2");
	refused_type = RTM_GETNEIGH;
	refusals = 3;
	paths_serve(tunnel, now);
	assert_int_equal(paths_deadline(tunnel), now + SEC_NS);
	refusals = 3;
	assert_int_equal(resolved_at(tunnel, now + SEC_NS), 1);
	assert_int_equal(paths_deadline(tunnel), now + 2 * SEC_NS);
	refusals = 0;
	/* Others may have missed something, too. */
	assert_int_equal(resolved_at(tunnel, now + 2 * SEC_NS), 101);
	assert_mac(tunnel, 101, 2);
	settle(tunnel);
	shell("ip link del v0");
}

/* A responder does not use a session until the initiator has confirmed it. */
static void test_sessions_as_responder(void **state)
{
	struct fixture *f = *state;
	struct peer *bob = bob_of(f);
	struct keypair *one, *two, *three;
	uint32_t index;

	one = begin_session(bob, false);
	assert_sessions(bob, NULL, NULL, one);
	assert_true(peer_confirm_keypair(bob, one));
	assert_sessions(bob, NULL, one, NULL);
	assert_false(peer_confirm_keypair(bob, one));
	two = begin_session(bob, false);
	assert_sessions(bob, NULL, one, two);
	assert_false(peer_confirm_keypair(bob, one));
	index = two->local_index;
	three = begin_session(bob, false); /* two was never confirmed */
	assert_sessions(bob, NULL, one, three);
	assert_session_gone(&f->tunnel, index);
	assert_true(peer_confirm_keypair(bob, three));
	assert_sessions(bob, one, three, NULL);
}

/* The peer may already use a session that it has not confirmed yet. */
static void test_sessions_of_both_roles(void **state)
{
	struct fixture *f = *state;
	struct peer *bob = bob_of(f);
	struct keypair *one = begin_session(bob, true), *two = begin_session(bob, false);
	uint32_t index = one->local_index;
	struct keypair *three = begin_session(bob, true);

	assert_sessions(bob, two, three, NULL);
	assert_session_gone(&f->tunnel, index);
}

/* Makes three sessions and a handshake in progress; stores their indices. */
static void fill_sessions(struct peer *peer, uint32_t index[4])
{
	struct keypair *all[4];

	all[0] = begin_session(peer, true);
	all[1] = begin_session(peer, true);
	all[2] = begin_session(peer, false);
	/* A new session as responder replaces the previous one. */
	all[0] = peer->previous = keypair_new(&peer->peers->keypairs, peer);
	all[3] = peer->pending = keypair_new(&peer->peers->keypairs, peer);
	peer->initiating.state = NOISE_INITIATION_CREATED;
	for (int i = 0; i < 4; i++) {
		assert_non_null(all[i]);
		index[i] = all[i]->local_index;
		assert_non_null(keypairs_find(&peer->peers->keypairs, index[i]));
	}
}

static void assert_all_gone(struct tunnel *tunnel, const uint32_t index[4])
{
	for (int i = 0; i < 4; i++)
		assert_session_gone(tunnel, index[i]);
}

static void test_new_key_ends_sessions(void **state)
{
	struct fixture *f = *state;
	struct peer *bob = bob_of(f);
	uint32_t index[4];

	fill_sessions(bob, index);
	/* The same key, clamped or not. */
	assert_set(&f->tunnel, "private_key=" ALICE "\n");
	assert_set(&f->tunnel, "private_key=" ALICE_CLAMPED "\n");
	assert_non_null(bob->current);
	assert_set(&f->tunnel, "private_key=" PSK "\n");
	assert_all_gone(&f->tunnel, index);
	assert_sessions(bob, NULL, NULL, NULL);
	assert_null(bob->pending);
	assert_int_equal(bob->initiating.state, NOISE_IDLE);
}

/* The peer's next packet starts a handshake at once, without waiting five seconds. */
static void test_new_key_may_initiate_at_once(void **state)
{
	struct fixture *f = *state;
	struct peer *bob = bob_of(f);
	uint64_t now = clock_now();

	timers_handshake_initiated(&bob->timers, now);
	assert_set(&f->tunnel, "private_key=" ALICE_CLAMPED "\n");
	assert_false(timers_may_initiate(&bob->timers, now));
	assert_set(&f->tunnel, "private_key=" PSK "\n");
	assert_true(timers_may_initiate(&bob->timers, now));
}

static void test_down_ends_sessions(void **state)
{
	struct fixture *f = *state;
	struct peer *bob = bob_of(f);
	uint32_t index[4];

	tunnel_set_up(&f->tunnel, true);
	fill_sessions(bob, index);
	tunnel_set_up(&f->tunnel, false);
	assert_all_gone(&f->tunnel, index);
	assert_sessions(bob, NULL, NULL, NULL);
	assert_null(timerq_first(&f->tunnel.peers.timers));
}

/* A tunnel that is set up meanwhile waits, or its new sessions would be ended, too. */
static void test_many_go_down_in_shares(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	struct peer *bob;
	unsigned rounds = 0;

	add_peers(tunnel, 1200);
	bob = bob_of(f); /* the last one */
	tunnel_set_up(tunnel, true);
	begin_session(bob, true);
	tunnel_set_up(tunnel, false);
	assert_null(tunnel->dp.udp);
	assert_non_null(bob->current);
	tunnel_set_up(tunnel, true);
	for (; !tunnel->up && rounds < 100; rounds++) {
		assert_null(tunnel->dp.udp);
		listen_serve(tunnel, clock_now());
	}
	assert_in_range(rounds, 2, 10);
	assert_null(bob->current);
	assert_non_null(tunnel->dp.udp);
}

/* The keepalive of the last of many peers starts, too, unless wg0 was set down before. */
static void test_many_go_up_in_shares(void **state)
{
	struct fixture *f = *state;
	struct tunnel *tunnel = &f->tunnel;
	unsigned rounds = 0;

	add_peers(tunnel, 1200);
	assert_set(tunnel, BOB "persistent_keepalive_interval=25\n");
	tunnel_set_up(tunnel, true);
	assert_null(timerq_first(&tunnel->peers.timers));
	tunnel_set_up(tunnel, false);
	for (unsigned i = 0; i < 10; i++)
		listen_serve(tunnel, clock_now());
	assert_null(timerq_first(&tunnel->peers.timers));
	tunnel_set_up(tunnel, true);
	for (; !timerq_first(&tunnel->peers.timers) && rounds < 100; rounds++)
		listen_serve(tunnel, clock_now());
	assert_in_range(rounds, 2, 10);
}

static void test_removal_ends_sessions(void **state)
{
	struct fixture *f = *state;
	uint32_t index[4];

	fill_sessions(bob_of(f), index);
	assert_set(&f->tunnel, BOB "remove=true\n");
	assert_all_gone(&f->tunnel, index);
}

/* --- allowed IPs: model, table and tries --- */

#define OWNERS	     5
#define MODEL_MAX    2048
#define LINE_MAX_LEN 80
#define OPERATIONS   1500

struct prefix {
	struct ip_addr addr;
	uint8_t cidr;
	unsigned owner;
};

/* The prefixes that the maps must hold. */
struct model {
	struct prefix list[MODEL_MAX];
	size_t count;
	uint64_t seed;
};

/* Lines "PREFIX SLOT", to compare. */
struct lines {
	char list[MODEL_MAX][LINE_MAX_LEN];
	size_t count;
};

static void owner_key(unsigned owner, char hex[65])
{
	memcpy(hex, BOB_PUBLIC, 65);
	hex[0] = (char)('1' + owner);
}

static unsigned random_below(struct model *m, unsigned n)
{
	return (unsigned)(next_random(&m->seed) >> 33) % n;
}

/* Bit by bit, unlike the program's. */
static void clear_host_bits(struct ip_addr *addr, unsigned cidr)
{
	for (unsigned bit = cidr; bit < 128; bit++)
		addr->bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

/* From a few networks, so that prefixes collide and nest; often of whole bytes. */
static struct prefix random_prefix(struct model *m)
{
	struct prefix p;
	unsigned bits, i;

	memset(&p, 0, sizeof(p));
	p.addr.family = random_below(m, 2) ? IP_V4 : IP_V6;
	bits = p.addr.family == IP_V4 ? 32 : 128;
	for (i = 0; i < bits / 8; i++)
		p.addr.bytes[i] = (uint8_t)(random_below(m, 3) * 0x55);
	p.cidr = (uint8_t)(random_below(m, 2) ? random_below(m, bits + 1)
					      : random_below(m, bits / 8 + 1) * 8);
	if (p.addr.family == IP_V6 && random_below(m, 2) && p.cidr > 24)
		p.cidr = 24;
	clear_host_bits(&p.addr, p.cidr);
	return p;
}

static const char *prefix_text(const struct ip_addr *addr, unsigned cidr, char *out)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(addr->family == IP_V4 ? AF_INET : AF_INET6, addr->bytes, text,
		  sizeof(text));
	snprintf(out, LINE_MAX_LEN, "%s/%u", text, cidr);
	return out;
}

static struct prefix *model_find(struct model *m, const struct prefix *p)
{
	for (size_t i = 0; i < m->count; i++)
		if (ip_addr_equal(&m->list[i].addr, &p->addr) &&
		    m->list[i].cidr == p->cidr)
			return &m->list[i];
	return NULL;
}

static void model_delete(struct model *m, struct prefix *p)
{
	*p = m->list[--m->count];
}

static void model_delete_owner(struct model *m, unsigned owner)
{
	for (size_t i = m->count; i-- > 0;)
		if (m->list[i].owner == owner)
			model_delete(m, &m->list[i]);
}

static void insert_random(struct model *m, struct tunnel *tunnel)
{
	struct prefix p = random_prefix(m), *known = model_find(m, &p);
	char request[256], key[65], text[LINE_MAX_LEN];

	p.owner = random_below(m, OWNERS);
	owner_key(p.owner, key);
	snprintf(request, sizeof(request), "public_key=%s\nallowed_ip=%s\n", key,
		 prefix_text(&p.addr, p.cidr, text));
	assert_set(tunnel, request);
	assert_true(known || m->count < MODEL_MAX);
	*(known ? known : &m->list[m->count++]) = p;
}

/* Removes an existing prefix, from its owner or from a peer that does not have it. */
static void remove_random(struct model *m, struct tunnel *tunnel)
{
	unsigned owner = random_below(m, OWNERS);
	char request[256], key[65], text[LINE_MAX_LEN];
	struct prefix *p;

	if (!m->count)
		return;
	p = &m->list[random_below(m, (unsigned)m->count)];
	if (random_below(m, 2))
		owner = p->owner;
	owner_key(owner, key);
	snprintf(request, sizeof(request), "public_key=%s\nallowed_ip=-%s\n", key,
		 prefix_text(&p->addr, p->cidr, text));
	assert_set(tunnel, request);
	if (owner == p->owner)
		model_delete(m, p);
}

static void clear_random_owner(struct model *m, struct tunnel *tunnel, const char *how)
{
	unsigned owner = random_below(m, OWNERS);
	char request[256], key[65];

	owner_key(owner, key);
	snprintf(request, sizeof(request), "public_key=%s\n%s\n", key, how);
	assert_set(tunnel, request);
	model_delete_owner(m, owner);
}

static void random_operation(struct model *m, struct tunnel *tunnel)
{
	unsigned what = random_below(m, 400);

	if (what < 300) {
		insert_random(m, tunnel);
	} else if (what < 390) {
		remove_random(m, tunnel);
	} else if (what < 394) {
		clear_random_owner(m, tunnel, "replace_allowed_ips=true");
	} else if (what < 399) {
		clear_random_owner(m, tunnel, "remove=true");
		peer_events_reap(tunnel);
	} else {
		assert_set(tunnel, "replace_peers=true\n");
		m->count = 0;
		peer_events_reap(tunnel);
	}
}

static void add_line(struct lines *l, const struct ip_addr *addr, unsigned cidr,
		     uint32_t slot)
{
	char text[LINE_MAX_LEN];
	int len;

	assert_true(l->count < MODEL_MAX);
	len = snprintf(l->list[l->count++], LINE_MAX_LEN, "%s %u",
		       prefix_text(addr, cidr, text), slot);
	assert_true(len < LINE_MAX_LEN);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void sort_lines(struct lines *l)
{
	qsort(l->list, l->count, sizeof(l->list[0]), compare_lines);
}

static void lines_of_model(const struct model *m, struct tunnel *tunnel, struct lines *l)
{
	char key[65];

	for (size_t i = 0; i < m->count; i++) {
		struct peer *peer;

		owner_key(m->list[i].owner, key);
		peer = peer_of(tunnel, key);
		assert_non_null(peer);
		add_line(l, &m->list[i].addr, m->list[i].cidr, peer->slot);
	}
	sort_lines(l);
}

static void lines_of_table(struct tunnel *tunnel, struct lines *l)
{
	const struct allowedips_entry *entry;
	const struct peer *peer;

	cds_list_for_each_entry (peer, &tunnel->peers.list, list) {
		size_t before = l->count;

		cds_list_for_each_entry (entry, &peer->allowed.entries, of_owner)
			add_line(l, &entry->addr, entry->cidr, peer->slot);
		assert_int_equal(l->count - before, peer->allowed.count);
	}
	assert_int_equal(l->count, tunnel->peers.allowed.count);
	sort_lines(l);
}

/* Walks the map; add_line() fails if the walk goes in circles. */
static void lines_of_trie(const char *map, uint8_t family, struct lines *l)
{
	struct lpm6_key key, *previous = NULL; /* begins like an lpm4_key */
	struct allowed_ip value;
	int fd = pinned(map);

	memset(&key, 0, sizeof(key));
	while (!bpf_map_get_next_key(fd, previous, &key)) {
		struct ip_addr addr = {.family = family};

		assert_int_equal(bpf_map_lookup_elem(fd, &key, &value), 0);
		memcpy(addr.bytes, key.addr, family == IP_V4 ? 4 : 16);
		add_line(l, &addr, key.prefixlen, value.peer);
		previous = &key;
	}
	close(fd);
}

static void lines_of_tries(struct lines *l)
{
	lines_of_trie(PINS IFNAME "/allowed_ips4", IP_V4, l);
	lines_of_trie(PINS IFNAME "/allowed_ips6", IP_V6, l);
	sort_lines(l);
}

static void assert_same_lines(const struct lines *got, const struct lines *want)
{
	assert_int_equal(got->count, want->count);
	for (size_t i = 0; i < want->count; i++)
		assert_string_equal(got->list[i], want->list[i]);
}

static void assert_all_agree(const struct model *m, struct tunnel *tunnel)
{
	struct lines *l = calloc(3, sizeof(*l));

	assert_non_null(l);
	lines_of_model(m, tunnel, &l[0]);
	lines_of_table(tunnel, &l[1]);
	lines_of_tries(&l[2]);
	assert_same_lines(&l[1], &l[0]);
	assert_same_lines(&l[2], &l[0]);
	free(l);
}

/* Returns the peer slot that the TC program finds for this address, or -1. */
static int64_t trie_lookup(int fd4, int fd6, const struct ip_addr *addr)
{
	struct lpm6_key key = {.prefixlen = addr->family == IP_V4 ? 32 : 128};
	struct allowed_ip value;

	memcpy(key.addr, addr->bytes, 16);
	if (bpf_map_lookup_elem(addr->family == IP_V4 ? fd4 : fd6, &key, &value))
		return -1;
	return value.peer;
}

static void assert_lookups_agree(struct model *m, struct tunnel *tunnel)
{
	int fd4 = pinned(PINS IFNAME "/allowed_ips4");
	int fd6 = pinned(PINS IFNAME "/allowed_ips6");

	for (int i = 0; i < 100; i++) {
		struct prefix p = random_prefix(m);
		const struct allowedips_owner *owner =
			allowedips_lookup(&tunnel->peers.allowed, &p.addr);

		assert_int_equal(trie_lookup(fd4, fd6, &p.addr),
				 owner ? (int64_t)owner->slot : -1);
	}
	close(fd4);
	close(fd6);
}

static void test_tries_follow_the_table(void **state)
{
	struct model *m = calloc(1, sizeof(*m));
	struct fixture *f = *state;
	size_t most = 0;

	assert_non_null(m);
	m->seed = 0x5eed;
	for (int i = 0; i < OPERATIONS; i++) {
		random_operation(m, &f->tunnel);
		most = m->count > most ? m->count : most;
		if (i % 25 && i != OPERATIONS - 1)
			continue;
		assert_all_agree(m, &f->tunnel);
		assert_lookups_agree(m, &f->tunnel);
	}
	assert_true(most > 100); /* enough to compare */
	assert_set(&f->tunnel, "replace_peers=true\n");
	m->count = 0;
	assert_all_agree(m, &f->tunnel);
	free(m);
}

/* The whole address space, and single addresses. */
static void test_tries_at_the_ends(void **state)
{
	struct model *m = calloc(1, sizeof(*m));
	struct fixture *f = *state;
	char request[512], key[65];
	static const struct prefix ends[] = {
		{.addr = {.family = IP_V4}, .cidr = 0},
		{.addr = {.family = IP_V4, .bytes = {255, 255, 255, 255}}, .cidr = 32},
		{.addr = {.family = IP_V4}, .cidr = 32},
		{.addr = {.family = IP_V6}, .cidr = 0},
		{.addr = {.family = IP_V6}, .cidr = 128},
	};

	assert_non_null(m);
	owner_key(0, key);
	snprintf(request, sizeof(request),
		 "public_key=%s\nallowed_ip=0.0.0.0/0\nallowed_ip=255.255.255.255/32\n"
		 "allowed_ip=0.0.0.0/32\nallowed_ip=::/0\nallowed_ip=::/128\n",
		 key);
	assert_set(&f->tunnel, request);
	memcpy(m->list, ends, sizeof(ends));
	m->count = sizeof(ends) / sizeof(ends[0]);
	assert_all_agree(m, &f->tunnel);
	free(m);
}

/* --- TC programs of the interface --- */

/* Gives the worker a packet for wg0; returns its drops because a program was missing. */
static uint64_t unguarded_after_a_packet(struct tunnel *tunnel)
{
	static const uint8_t packet[28] = {0x45};
	struct worker *w = tunnel->workers.list[0];
	struct virtio_net_hdr vh = {0};
	struct iovec iov[2] = {[1] = {(void *)packet, sizeof(packet)}};

	receive_emit(w, 0, &vh, iov, 2, 1, 60);
	return w->stats->drops.unguarded;
}

static int setup_no_tcx(void **state)
{
	no_tcx = true;
	return setup(state);
}

static int teardown_no_tcx(void **state)
{
	no_tcx = false;
	return teardown(state);
}

/* Loads a program that lets everything pass. */
static int pass_program(void)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "pass", "GPL", pass, 2, NULL);

	assert_true(fd >= 0);
	return fd;
}

/* Replaces wgxdp's program by that one. */
static void replace_tc(uint32_t ifindex, enum bpf_tc_attach_point point)
{
	int fd = pass_program();
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1, .prog_fd = fd,
		    .flags = BPF_TC_F_REPLACE);

	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
	close(fd);
}

static bool has_tc(struct tunnel *tunnel)
{
	return bpf_objects_has_tc(tunnel->bpf, tunnel->wgif.tap.ifindex);
}

/* Returns how many qdiscs of the interface are clsact. */
static int clsacts(void)
{
	FILE *f = popen("tc qdisc show dev " IFNAME " | grep -c clsact", "r");
	int n = -1;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &n), 1);
	pclose(f);
	return n;
}

static void test_tcx_leaves_clsact_to_others(void **state)
{
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;

	if (bpf_objects_uses_clsact(tunnel->bpf))
		skip(); /* before Linux 6.6 */
	assert_int_equal(clsacts(), 0);
	assert_int_equal(system("tc qdisc add dev " IFNAME " clsact"), 0);
	assert_int_equal(rtnl_clsact_remove(&tunnel->rtnl, tunnel->wgif.tap.ifindex), 0);
	assert_true(has_tc(tunnel));
}

static void test_tc_by_clsact_without_tcx(void **state)
{
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;

	assert_true(bpf_objects_uses_clsact(tunnel->bpf));
	assert_int_equal(clsacts(), 1);
	assert_true(has_tc(tunnel));
}

/* Returns a link of that program, put before all others. */
static int put_before(uint32_t ifindex, int type)
{
	DECLARE_LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = TCX_BEFORE);
	int prog = pass_program();
	int fd = bpf_link_create(prog, (int)ifindex, (enum bpf_attach_type)type, &opts);

	assert_true(fd >= 0);
	close(prog);
	return fd;
}

static void test_tcx_programs_go_before_others(void **state)
{
	static const int types[] = {TCX_EGRESS, TCX_INGRESS};
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	uint64_t now = NS_PER_SEC;

	if (bpf_objects_uses_clsact(tunnel->bpf))
		skip(); /* before Linux 6.6 */
	for (int i = 0; i < 2; i++, now += WGIF_TC_PAUSE_NS) {
		int other;

		assert_true(has_tc(tunnel));
		other = put_before(tunnel->wgif.tap.ifindex, types[i]);
		assert_false(has_tc(tunnel));
		wgif_check_tc(&tunnel->wgif, now);
		assert_true(has_tc(tunnel));
		close(other);
		assert_true(has_tc(tunnel));
	}
	/* There is no event for it. */
	assert_int_equal(wgif_tc_deadline(&tunnel->wgif), UINT64_MAX); /* down */
	tunnel->wgif.up = true;
	assert_false(wgif_tc_due(&tunnel->wgif, now));
	assert_true(wgif_tc_due(&tunnel->wgif, now + WGIF_TC_LOOK_NS));
	assert_true(wgif_tc_deadline(&tunnel->wgif) < now + WGIF_TC_IDLE_LOOK_NS);
	tunnel->wgif.up = false;
}

static void test_another_tc_program_is_not_ours(void **state)
{
	static const enum bpf_tc_attach_point points[] = {BPF_TC_EGRESS, BPF_TC_INGRESS};
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	uint64_t now = NS_PER_SEC;

	for (int i = 0; i < 2; i++, now += WGIF_TC_PAUSE_NS) {
		assert_true(has_tc(tunnel));
		replace_tc(tunnel->wgif.tap.ifindex, points[i]);
		assert_false(has_tc(tunnel));
		wgif_check_tc(&tunnel->wgif, now);
		assert_true(has_tc(tunnel));
	}
}

static void test_nothing_is_written_without_tc(void **state)
{
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	struct tap_writer *writer = &tunnel->workers.list[0]->writer;
	uint64_t now = NS_PER_SEC;

	assert_int_equal(unguarded_after_a_packet(tunnel), 0);
	assert_int_equal(writer->count, 1);
	/* Put back at once, but not twice within the pause. */
	assert_int_equal(rtnl_clsact_remove(&tunnel->rtnl, tunnel->wgif.tap.ifindex), 0);
	wgif_check_tc(&tunnel->wgif, now);
	assert_true(has_tc(tunnel));
	assert_int_equal(tunnel->wgif.tc_due, UINT64_MAX);
	assert_int_equal(unguarded_after_a_packet(tunnel), 0);
	assert_int_equal(rtnl_clsact_remove(&tunnel->rtnl, tunnel->wgif.tap.ifindex), 0);
	wgif_check_tc(&tunnel->wgif, now + 1);
	assert_false(has_tc(tunnel));
	assert_int_equal(tunnel->wgif.tc_due, now + WGIF_TC_PAUSE_NS);
	assert_int_equal(unguarded_after_a_packet(tunnel), 1);
	assert_int_equal(writer->count, 2);
	wgif_check_tc(&tunnel->wgif, tunnel->wgif.tc_due);
	assert_true(has_tc(tunnel));
	assert_int_equal(tunnel->wgif.tc_due, UINT64_MAX);
	assert_int_equal(unguarded_after_a_packet(tunnel), 1);
	assert_int_equal(writer->count, 3);
	writer->count = 0;
}

/* --- whose the interface is --- */

/* Sends a frame past TC egress; returns how many frames the TAP's filter has dropped. */
static uint64_t filtered_after_a_frame(struct tunnel *tunnel)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_ifindex = (int)tunnel->wgif.tap.ifindex};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;
	uint8_t frame[60] = {0};
	struct drops drops;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)),
			 0);
	sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to));
	close(fd);
	assert_int_equal(bpf_objects_drops(tunnel->bpf, &drops), 0);
	return drops.egress_bypass;
}

/* Does what a process could that had a queue for a moment: removes wgxdp's filter, and
 * adds one that drops everything before it. */
static void strip(struct tunnel *tunnel)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog drop = {.len = 1, .filter = &nothing};
	uint64_t before = filtered_after_a_frame(tunnel);

	assert_int_equal(tap_set_filter(tunnel->wgif.fd, -1), 0);
	assert_int_equal(ioctl(tunnel->wgif.fd, TUNATTACHFILTER, &drop), 0);
	assert_int_equal(filtered_after_a_frame(tunnel), before);
}

static void test_filter_is_put_back(void **state)
{
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	struct rtnl_link link;
	uint64_t n;

	assert_int_equal(system("ip link set " IFNAME " up"), 0);
	assert_int_equal(rtnl_link_get(&tunnel->rtnl, tunnel->wgif.tap.ifindex, &link),
			 0);
	strip(tunnel);
	n = filtered_after_a_frame(tunnel);
	wgif_link(&tunnel->wgif, true, &link);
	assert_int_equal(filtered_after_a_frame(tunnel), n + 1);
	strip(tunnel);
	wgif_look(&tunnel->wgif, 0);
	assert_int_equal(filtered_after_a_frame(tunnel), n + 3);
	assert_false(tunnel->wgif.gone);
}

static void test_event_of_a_foreign_queue(void **state)
{
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	struct wgif *w = &tunnel->wgif;
	struct rtnl_link link;

	assert_int_equal(rtnl_link_get(&tunnel->rtnl, w->tap.ifindex, &link), 0);
	link.tun.queues++;
	/* An event from before it was renamed. */
	snprintf(link.name, sizeof(link.name), "%s", w->first_name);
	wgif_link(w, true, &link);
	assert_false(w->gone);
	/* An event about one of wgxdp's queues that was closed again. */
	snprintf(link.name, sizeof(link.name), "%s", IFNAME);
	w->queues_ever++;
	wgif_link(w, true, &link);
	assert_false(w->gone);
	assert_int_not_equal(if_nametoindex(IFNAME), 0);
	w->queues_ever--;
	wgif_link(w, true, &link);
	assert_true(w->gone);
	assert_int_equal(if_nametoindex(IFNAME), 0);
}

/* --- the snapshot, and the status that is printed from it --- */

/* Replace json-c's functions, which are in a shared library. */

static unsigned strings_left = UINT32_MAX; /* until memory runs out */

struct json_object *json_object_new_string(const char *text)
{
	static struct json_object *(*new_string)(const char *text);

	if (!strings_left)
		return NULL;
	if (strings_left != UINT32_MAX)
		strings_left--;
	if (!new_string)
		*(void **)&new_string = dlsym(RTLD_NEXT, "json_object_new_string");
	return new_string(text);
}

/* The caller puts the result. */
static struct json_object *status(struct tunnel *tunnel)
{
	struct json_object *o;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	assert_int_equal(write_all(status_write, tunnel, f), 0);
	assert_int_equal(fclose(f), 0);
	assert_ptr_equal(strchr(text, '\n'), text + len - 1);
	o = json_tokener_parse(text);
	assert_non_null(o);
	free(text);
	return o;
}

static const char *in_json(struct json_object *o, const char *name)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(o, name, &value))
		fail_msg("no %s in %s", name, json_object_to_json_string(o));
	return json_object_get_string(value);
}

static void test_status_of_the_device(void **state)
{
	struct fixture *f = *state;
	struct json_object *o = status(&f->tunnel);

	assert_string_equal(in_json(o, "interface"), IFNAME);
	assert_string_equal(in_json(o, "version"), VERSION);
	assert_string_equal(in_json(o, "listen_port"), "0");
	assert_string_equal(in_json(o, "up"), "false");
	assert_string_equal(in_json(o, "listening"), "false");
	assert_string_equal(in_json(o, "fwmark"), "0");
	assert_string_equal(in_json(o, "workers"), "1");
	assert_string_equal(in_json(o, "nics"), "[ ]");
	assert_string_equal(in_json(o, "drops"), "{ }");
	assert_string_equal(in_json(o, "peers"), "[ ]");
	assert_int_equal(atoi(in_json(o, "pid")), getpid());
	assert_null(json_object_object_get(o, "public_key"));
	json_object_put(o);

	assert_set(&f->tunnel, "private_key=" ALICE "\nlisten_port=4003\nfwmark=7\n");
	tunnel_set_up(&f->tunnel, true);
	f->tunnel.opened -= 90 * NS_PER_SEC;
	o = status(&f->tunnel);
	assert_string_equal(in_json(o, "public_key"),
			    "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
	assert_string_equal(in_json(o, "listen_port"), "4003");
	assert_string_equal(in_json(o, "up"), "true");
	assert_string_equal(in_json(o, "listening"), "true");
	assert_string_equal(in_json(o, "fwmark"), "7");
	assert_in_range(atoi(in_json(o, "uptime")), 90, 150);
	json_object_put(o);
}

/* With a port in use, the interface is up and does not listen. */
static void test_status_of_a_port_in_use(void **state)
{
	struct fixture *f = *state;
	int theirs = up_without_sockets(&f->tunnel, AF_INET);
	struct json_object *o = status(&f->tunnel);

	assert_string_equal(in_json(o, "up"), "true");
	assert_string_equal(in_json(o, "listening"), "false");
	assert_string_equal(in_json(o, "listen_error"), strerror(EADDRINUSE));
	json_object_put(o);
	close(theirs);
	assert_int_equal(tunnel_listen(&f->tunnel), 0);
	o = status(&f->tunnel);
	assert_string_equal(in_json(o, "listening"), "true");
	assert_null(json_object_object_get(o, "listen_error"));
	json_object_put(o);
}

/* A name may have any byte except a few. */
static void test_status_is_escaped(void **state)
{
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	struct json_object *o;

	strcpy(tunnel->name, "\"\\\x01\x1b[J\",[{");
	o = status(tunnel);
	assert_string_equal(in_json(o, "interface"), tunnel->name);
	assert_string_equal(in_json(o, "peers"), "[ ]");
	json_object_put(o);
	strcpy(tunnel->name, IFNAME);
}

static void test_status_of_peers(void **state)
{
	struct fixture *f = *state;
	struct json_object *o, *peers, *peer;

	assert_set(&f->tunnel, BOB "endpoint=[2001:db8::9]:4567\nallowed_ip=10.0.0.0/8\n"
				   "allowed_ip=::/0\n"
				   "persistent_keepalive_interval=25\n" ALICE_PEER);
	peer_of(&f->tunnel, BOB_PUBLIC)->last_handshake = 1700000000 * NS_PER_SEC + 5;
	o = status(&f->tunnel);
	peers = json_object_object_get(o, "peers");
	assert_int_equal(json_object_array_length(peers), 2);
	peer = json_object_array_get_idx(peers, 0);
	assert_string_equal(in_json(peer, "public_key"),
			    "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=");
	assert_string_equal(in_json(peer, "endpoint"), "[2001:db8::9]:4567");
	assert_string_equal(in_json(peer, "path"), "none");
	assert_string_equal(in_json(peer, "latest_handshake"), "1700000000");
	assert_string_equal(in_json(peer, "persistent_keepalive"), "25");
	assert_string_equal(in_json(peer, "allowed_ips"), "2");
	assert_int_equal(json_object_object_length(json_object_object_get(peer, "stats")),
			 sizeof(struct peer_stats) / sizeof(uint64_t));
	peer = json_object_array_get_idx(peers, 1);
	assert_string_equal(in_json(peer, "public_key"),
			    "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
	assert_null(json_object_object_get(peer, "endpoint"));
	assert_null(json_object_object_get(peer, "nic"));
	assert_string_equal(in_json(peer, "latest_handshake"), "0");
	json_object_put(o);
}

/* Sets the counters as if TC had refused packets. */
static void set_refused(uint32_t slot, uint64_t bytes)
{
	int fd = pinned(PINS IFNAME "/peer_stats"), cpus = libbpf_num_possible_cpus();
	struct peer_stats *values = calloc((size_t)cpus, sizeof(*values));

	assert_non_null(values);
	values[0].from_peer_refused_bytes = bytes;
	assert_int_equal(bpf_map_update_elem(fd, &slot, values, BPF_EXIST), 0);
	free(values);
	close(fd);
}

static void assert_received(struct peer *peer, uint64_t want)
{
	struct peer_snapshot p;

	snapshot_peers(&peer, &p, 1);
	assert_true(p.has_stats);
	assert_int_equal(p.rx_bytes, want);
}

static void test_received_bytes_never_go_back(void **state)
{
	struct fixture *f = *state;
	struct peer *bob;

	assert_set(&f->tunnel, BOB);
	bob = peer_of(&f->tunnel, BOB_PUBLIC);
	atomic_store(&bob->wire.rx_bytes, 1000);
	set_refused(bob->slot, 1001);
	assert_received(bob, 0);
	set_refused(bob->slot, 300);
	assert_received(bob, 700);
	set_refused(bob->slot, 500);
	assert_received(bob, 700);
	atomic_store(&bob->wire.rx_bytes, 1201);
	assert_received(bob, 701);
}

struct meter {
	size_t in_use;	/* bytes of the heap, the greatest during a write */
	size_t written; /* bytes */
};

static ssize_t meter_write(void *cookie, const char *text, size_t len)
{
	struct meter *m = cookie;
	size_t in_use = mallinfo2().uordblks;

	if (in_use > m->in_use)
		m->in_use = in_use;
	m->written += len;
	return (ssize_t)len;
}

/* Returns how much of the heap writing the status takes at most. liburcu's thread, which
 * frees old paths, must have its arena and nothing to do by then, or it would count,
 * too. */
static size_t heap_for_status(struct tunnel *tunnel, struct meter *m)
{
	FILE *f = fopencookie(m, "w", (cookie_io_functions_t){.write = meter_write});
	size_t before;

	urcu_qsbr_barrier();
	before = mallinfo2().uordblks;
	assert_non_null(f);
	assert_int_equal(write_all(status_write, tunnel, f), 0);
	assert_int_equal(fclose(f), 0);
	return m->in_use > before ? m->in_use - before : 0;
}

static void test_status_needs_no_memory_per_peer(void **state)
{
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	struct meter few = {0}, many = {0};
	size_t hundred, thousand;

	/* More than are taken at once. */
	add_peers(tunnel, 100);
	hundred = heap_for_status(tunnel, &few);
	add_peers(tunnel, 1000);
	thousand = heap_for_status(tunnel, &many);
	assert_true(many.written > 5 * few.written);
	if (thousand > hundred + 16384)
		fail_msg("%zu bytes for 100 peers, %zu for 1000", hundred, thousand);
}

/* Wherever memory runs out, there must be an error, and no JSON that looks complete. */
static void test_status_without_memory(void **state)
{
	struct tunnel *tunnel = &((struct fixture *)*state)->tunnel;
	struct meter m;
	unsigned n;
	int err = 0;

	add_peers(tunnel, 2);
	for (n = 0; n < 100; n++) {
		FILE *f = fopencookie(&m, "w",
				      (cookie_io_functions_t){.write = meter_write});

		assert_non_null(f);
		strings_left = n;
		err = write_all(status_write, tunnel, f);
		strings_left = UINT32_MAX;
		fclose(f);
		if (!err)
			break;
		assert_int_equal(err, -ENOMEM);
	}
	assert_int_equal(err, 0);
	assert_true(n > 2 * 3); /* strings of each peer, and of the tunnel */
}

#define T(name)	     cmocka_unit_test_setup_teardown(name, setup, teardown)
#define NO_TCX(name) cmocka_unit_test_setup_teardown(name, setup_no_tcx, teardown_no_tcx)

static const struct CMUnitTest tests[] = {
	T(test_new_device),
	T(test_close_with_all_in_use),
	cmocka_unit_test(test_port_is_free_after_close),
	cmocka_unit_test(test_bad_names),
	T(test_name_in_use),
	cmocka_unit_test(test_socket_in_use),
	T(test_stale_pins),
	cmocka_unit_test(test_name_of_another_device),
	cmocka_unit_test(test_nic_that_is_not_there),
	T(test_two_devices),
	T(test_lines_of_the_device),
	T(test_lines_of_a_peer),
	T(test_prefixes_come_and_go),
	T(test_update_only),
	T(test_remove_and_replace),
	T(test_remove_and_add),
	T(test_status_of_the_device),
	T(test_status_of_a_port_in_use),
	T(test_status_is_escaped),
	T(test_status_of_peers),
	T(test_received_bytes_never_go_back),
	T(test_status_needs_no_memory_per_peer),
	T(test_status_without_memory),
	T(test_own_key_makes_no_peer),
	T(test_new_key_drops_that_peer),
	T(test_remotes_follow_the_key),
	T(test_slots_come_free),
	T(test_slots_wrap),
	T(test_no_slot_left),
	T(test_memory_of_maps_is_late),
	T(test_no_memory_for_maps),
	T(test_removed_before_maps_have_it),
	T(test_set_without_memory),
	T(test_replacing_all_peers_takes_no_memory),
	T(test_what_has_no_xdp_is_tried_more_and_more_seldom),
	T(test_refused_device_is_named_when_its_time_is_over),
	T(test_wanted_devices_are_queued_once_and_bounded),
	T(test_shortage_is_tried_again_soon),
	T(test_nic_is_attached_by_its_step_alone),
	T(test_driver_without_several_buffers),
	T(test_many_leave_a_nic_in_shares),
	T(test_many_go_down_in_shares),
	T(test_many_go_up_in_shares),
	T(test_allowed_ips_of_one_peer_in_shares),
	T(test_allowed_ips_of_one_peer_are_told_in_shares),
	T(test_source_of_a_peer_attaches_to_no_other_nic),
	T(test_port_of_an_interface_that_is_down),
	T(test_picked_port_is_kept),
	T(test_port_changes),
	T(test_same_port_again),
	T(test_any_port),
	T(test_port_in_use),
	T(test_port_in_use_while_down),
	T(test_port_in_use_when_coming_up),
	T(test_port_that_comes_free),
	T(test_down_stops_trying),
	T(test_fwmark),
	T(test_mark_that_is_refused),
	T(test_flow_of_a_peer),
	T(test_flow_ends_with_what_it_is_of),
	T(test_flow_in_use_is_probed),
	T(test_flow_not_in_use_is_not_probed),
	T(test_probe_only_renews),
	T(test_probes_of_a_round_are_bounded),
	T(test_flows_of_many_are_flushed_in_shares),
	T(test_flow_that_is_translated),
	T(test_persistent_keepalive_waits_for_up),
	T(test_sessions_as_initiator),
	T(test_sessions_as_responder),
	T(test_no_memory_for_a_session),
	T(test_paths_of_all_are_resolved),
	T(test_strangers_cost_the_same_with_many_peers),
	T(test_neighbour_concerns_those_behind_it),
	T(test_peers_behind_a_neighbour_agree),
	T(test_too_big_concerns_the_peer_it_quotes),
	T(test_route_concerns_its_endpoints),
	T(test_news_until_paths_are_right),
	T(test_neighbour_is_asked_again),
	T(test_path_into_the_tunnel_itself),
	T(test_path_stays_if_the_kernel_cannot_be_asked),
	T(test_sessions_of_both_roles),
	T(test_new_key_ends_sessions),
	T(test_new_key_may_initiate_at_once),
	T(test_down_ends_sessions),
	T(test_removal_ends_sessions),
	T(test_tries_follow_the_table),
	T(test_tries_at_the_ends),
	T(test_tcx_leaves_clsact_to_others),
	T(test_tcx_programs_go_before_others),
	NO_TCX(test_tc_by_clsact_without_tcx),
	NO_TCX(test_another_tc_program_is_not_ours),
	NO_TCX(test_nothing_is_written_without_tc),
	T(test_filter_is_put_back),
	T(test_event_of_a_foreign_queue),
};

int main(void)
{
	return run_in_namespaces(tests);
}
