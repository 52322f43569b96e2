// SPDX-License-Identifier: MIT
/*
 * Theory of operation: the answer to "status=1" is one line, a JSON object whose last member is
 * the array of peers (control/status.h). With --json the line is printed unchanged. For people, it
 * is split before that array: the tunnel is parsed and printed first, then one peer at a time, so
 * that beside the line itself memory holds one peer at most.
 */
#include "status_client.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include "uapi.h"
#include "wg_maps.h"

#define ANSWER_TIMEOUT 5	 /* seconds */
#define PEER_MAX       (1 << 16) /* bytes of JSON of one peer */

/* --- asking --- */

/* Returns true if the process that called listen() on the socket is root's or our own user's. Any
 * other one, which could make a file in the directory, may answer with lies, and endlessly. */
static bool is_trusted(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static int connect_to(const char *ifname)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT};
	int err = 0, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(addr.sun_path, sizeof(addr.sun_path), UAPI_DIR "/%s.sock", ifname);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		err = -errno;
	else if (!is_trusted(fd))
		err = -EPERM;
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* Reads the first line of the answer, which begins with `begin`; *answer is for the caller to free
 * in any case. Closes fd. Returns 0, -EAGAIN if nothing came in time, or -EPROTO if what came is
 * another answer. */
static int exchange(int fd, const char *request, const char *begin, char **answer)
{
	FILE *f = fdopen(fd, "r+");
	size_t room = 0, len = strlen(request);
	int err = 0;

	*answer = NULL;
	errno = 0;
	if (!f || write(fd, request, len) != (ssize_t)len ||
	    getline(answer, &room, f) < 0 || strncmp(*answer, begin, strlen(begin)) != 0)
		err = errno == EAGAIN ? -EAGAIN : -EPROTO;
	if (f)
		fclose(f);
	else
		close(fd);
	return err;
}

/* --- printing --- */

static const char *text(struct json_object *o, const char *name)
{
	struct json_object *v = json_object_object_get(o, name);

	return v ? json_object_get_string(v) : "-";
}

static uint64_t get_number(struct json_object *o, const char *name)
{
	return json_object_get_uint64(json_object_object_get(o, name));
}

static const char *reason_text(const char *reason)
{
#define X(name, text)               \
	if (!strcmp(reason, #name)) \
		return text;
	WG_DROP_REASONS(X)
#undef X
	return "";
}

static bool flag(struct json_object *o, const char *name)
{
	return json_object_get_boolean(json_object_object_get(o, name));
}

/* Of an array; 0 if it is absent or no array. */
static size_t length(struct json_object *array)
{
	return json_object_is_type(array, json_type_array)
		       ? json_object_array_length(array)
		       : 0;
}

static void print_refused(struct json_object *o)
{
	struct json_object *refused = json_object_object_get(o, "refused");
	size_t n = length(refused);

	for (size_t i = 0; i < n; i++)
		printf("  no AF_XDP: %s\n",
		       text(json_object_array_get_idx(refused, i), "why"));
}

static void print_released(struct json_object *o)
{
	struct json_object *names = json_object_object_get(o, "released");
	size_t n = length(names);

	for (size_t i = 0; i < n; i++) {
		const char *name =
			json_object_get_string(json_object_array_get_idx(names, i));

		printf("  NIC %s: released; `wgxdp attach %s %s` takes it again\n", name,
		       text(o, "interface"), name);
	}
}

/* Returns true if the NIC has AF_XDP sockets. */
static bool print_nic(struct json_object *nic)
{
	printf("  NIC %s: XDP %s, ", text(nic, "name"), text(nic, "xdp"));
	if (json_object_get_boolean(json_object_object_get(nic, "filter_only"))) {
		printf("filter only\n");
		return false;
	}
	printf("AF_XDP %s, %s queue(s)", text(nic, "af_xdp"), text(nic, "queues"));
	if (strcmp(text(nic, "xdp_queues"), "0") != 0)
		printf(" and %s that only receive, with copies", text(nic, "xdp_queues"));
	putchar('\n');
	return true;
}

static void print_nics(struct json_object *o)
{
	struct json_object *nics = json_object_object_get(o, "nics");
	size_t n = length(nics);
	bool af_xdp = false;

	for (size_t i = 0; i < n; i++)
		af_xdp |= print_nic(json_object_array_get_idx(nics, i));
	if (!af_xdp)
		printf("  no NIC with AF_XDP: all packets use the UDP socket\n");
	print_refused(o);
	print_released(o);
}

static void print_paths(struct json_object *o)
{
	struct json_object *p = json_object_object_get(o, "paths");

	printf("  %-12s %16s %16s %16s %16s\n", "path", "rx packets", "rx bytes",
	       "tx packets", "tx bytes");
	printf("  %-12s %16s %16s %16s %16s\n", "AF_XDP", text(p, "rx_xdp_packets"),
	       text(p, "rx_xdp_bytes"), text(p, "tx_xdp_packets"),
	       text(p, "tx_xdp_bytes"));
	printf("  %-12s %16s %16s %16s %16s\n", "UDP socket", text(p, "rx_udp_packets"),
	       text(p, "rx_udp_bytes"), text(p, "tx_udp_packets"),
	       text(p, "tx_udp_bytes"));
	if (get_number(p, "helped"))
		printf("  helpers of busy workers encrypted or decrypted %s packets\n",
		       text(p, "helped"));
}

static void print_drops(struct json_object *o)
{
	struct json_object *drops = json_object_object_get(o, "drops");
	struct json_object *rates = json_object_object_get(o, "drops_per_second");

	if (!json_object_is_type(drops, json_type_object))
		return;
	json_object_object_foreach(drops, reason, count)
	{
		printf("  dropped %s: %s (%s)", json_object_get_string(count), reason,
		       reason_text(reason));
		if (get_number(rates, reason))
			printf(", %s per second", text(rates, reason));
		putchar('\n');
	}
}

/* `when`: Unix time in seconds. The clock may have been set back since then. */
static void print_handshake(time_t when)
{
	time_t now = time(NULL);

	if (when > now)
		printf("    latest handshake in the future: the clock was set back\n");
	else if (when)
		printf("    latest handshake %lld s ago\n", (long long)(now - when));
	else
		printf("    no handshake yet\n");
}

static void print_endpoint(struct json_object *peer)
{
	bool has_nic = json_object_object_get(peer, "nic");

	if (!json_object_object_get(peer, "endpoint")) {
		printf("    endpoint not known yet\n");
		return;
	}
	printf("    endpoint %s by %s%s%s\n", text(peer, "endpoint"), text(peer, "path"),
	       has_nic ? " " : "", has_nic ? text(peer, "nic") : "");
}

/* A daemon of before this member was there says nothing of it. */
static void print_arrival(struct json_object *peer)
{
	bool has_nic = json_object_object_get(peer, "rx_nic");

	if (json_object_object_get(peer, "rx_path"))
		printf("    packets from it arrive by %s%s%s\n", text(peer, "rx_path"),
		       has_nic ? " " : "", has_nic ? text(peer, "rx_nic") : "");
}

static void print_peer(struct json_object *peer)
{
	struct json_object *stats = json_object_object_get(peer, "stats");

	printf("\n  peer %s (slot %s)\n", text(peer, "public_key"), text(peer, "slot"));
	print_endpoint(peer);
	print_arrival(peer);
	print_handshake((time_t)get_number(peer, "latest_handshake"));
	printf("    on the wire: %s bytes received, %s sent\n", text(peer, "rx_bytes"),
	       text(peer, "tx_bytes"));
	printf("    on the interface: %s bytes received (in %s writes), %s sent (%s "
	       "packets), "
	       "%s with a source not allowed\n",
	       text(stats, "from_peer_bytes"), text(stats, "from_peer_packets"),
	       text(stats, "to_peer_bytes"), text(stats, "to_peer_packets"),
	       text(stats, "from_peer_bad_source"));
}

/* A daemon of before these members were there says nothing of them. */
static void print_listening(struct json_object *o)
{
	if (!json_object_object_get(o, "up") || flag(o, "listening"))
		return;
	if (flag(o, "up"))
		printf(" (NOT LISTENING: %s)", text(o, "listen_error"));
	else
		printf(" (the interface is down)");
}

/* What keeps packets from passing, and is being mended. */
static void print_troubles(struct json_object *o)
{
	if (json_object_object_get(o, "tc_programs") && !flag(o, "tc_programs"))
		printf("  the interface lacks its TC programs: NO PACKETS PASS; trying "
		       "to "
		       "put them back\n");
	if (json_object_object_get(o, "filter_error"))
		printf("  the UDP sockets lack the filter against floods: %s; the log "
		       "tells the cure\n",
		       text(o, "filter_error"));
	if (get_number(o, "late_changes"))
		printf("  BPF maps lack %s changes, for which the kernel has no memory; "
		       "trying again\n",
		       text(o, "late_changes"));
}

static void show_tunnel(struct json_object *o)
{
	bool has_key = json_object_object_get(o, "public_key");

	printf("interface %s\n", text(o, "interface"));
	printf("  %s%s, port %s", has_key ? "public key " : "no private key",
	       has_key ? text(o, "public_key") : "", text(o, "listen_port"));
	print_listening(o);
	printf(", pid %s\n", text(o, "pid"));
	if (get_number(o, "fwmark"))
		printf("  fwmark 0x%" PRIx64 "\n", get_number(o, "fwmark"));
	printf("  version %s, running for %s s\n", text(o, "version"), text(o, "uptime"));
	printf("  AEAD engine %s, %s worker(s)\n", text(o, "aead"), text(o, "workers"));
	print_troubles(o);
	print_nics(o);
	print_paths(o);
	print_drops(o);
}

/* Parses the first object of the text, up to `end`, and prints it. Returns where it ends; NULL if
 * there is no whole object. */
static const char *print_first(struct json_tokener *parser, const char *json,
			       const char *end, void (*print)(struct json_object *o))
{
	size_t len = (size_t)(end - json);
	struct json_object *o;

	json_tokener_reset(parser);
	o = json_tokener_parse_ex(parser, json, (int)(len < PEER_MAX ? len : PEER_MAX));
	if (!json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		return NULL;
	}
	print(o);
	json_object_put(o);
	return json + json_tokener_get_parse_end(parser);
}

/* `json`: what follows the bracket that opens the array of peers. */
static int show_peers(struct json_tokener *parser, const char *json, const char *end)
{
	while (json && *json == '{') {
		json = print_first(parser, json, end, print_peer);
		if (json && *json == ',')
			json++;
	}
	return json && *json == ']' ? 0 : -EBADMSG;
}

/* Ends the object of the tunnel at its last member, the array of peers. Returns what follows the
 * bracket that opens the array, or NULL if there is none. Within a JSON string, the quotes of the
 * text that is looked for would be escaped. */
static const char *split_peers(char *json)
{
	static const char peers[] = ",\"peers\":[";
	char *at = strstr(json, peers);

	if (!at)
		return NULL;
	at[0] = '}';
	at[1] = '\0';
	return at + strlen(peers);
}

/* Returns 0, -EBADMSG if that is not what a wgxdp answers, or -ENOMEM. */
static int print_status(char *json)
{
	const char *end = json + strlen(json), *peers = split_peers(json);
	struct json_tokener *parser;
	int err = -EBADMSG;

	if (!peers)
		return err;
	parser = json_tokener_new();
	if (!parser)
		return -ENOMEM;
	if (print_first(parser, json, json + strlen(json), show_tunnel))
		err = show_peers(parser, peers, end);
	json_tokener_free(parser);
	return err;
}

static const char *why_not(int err)
{
	switch (-err) {
	case EAGAIN:
		return "it is there, but busy or stopped";
	case EPROTO:
		return "not a wgxdp interface";
	case EBADMSG:
		return "its answer is not what this version understands";
	case ENOENT:
		return "it is not running here";
	case ECONNREFUSED:
		return "it does not run any more; a new start cleans up";
	case EACCES:
		return "only root may ask";
	case EPERM:
		return "its socket belongs to another user, so the answer may be forged; "
		       "remove the socket";
	default:
		return strerror(-err);
	}
}

static int no_answer(const char *ifname, int err)
{
	fprintf(stderr, "wgxdp: no wgxdp answers for %s: %s\n", ifname, why_not(err));
	return err;
}

/* Returns 0 or -errno. Prints a message for each error but -EPROTO, another program's interface:
 * only the caller knows if somebody asked for that one. */
static int show(const char *ifname, bool json)
{
	int fd = connect_to(ifname), err;
	char *answer;

	if (fd < 0)
		return no_answer(ifname, fd);
	err = exchange(fd, "status=1\n\n", "{", &answer);
	if (!err && json)
		fputs(answer, stdout);
	else if (!err)
		err = print_status(answer);
	free(answer);
	return err && err != -EPROTO ? no_answer(ifname, err) : err;
}

static int status_one(const char *ifname, bool json)
{
	int err = show(ifname, json);

	if (err == -EPROTO)
		no_answer(ifname, err);
	return err ? 1 : 0;
}

/* Makes "wg0" of "wg0.sock". Returns false if that is no socket's name, or if it has control
 * characters, which a user may have put there for the terminal. */
static bool interface_of(const char *file, char name[IFNAMSIZ])
{
	size_t len = strlen(file);

	if (len <= 5 || len - 5 >= IFNAMSIZ || strcmp(file + len - 5, ".sock"))
		return false;
	memcpy(name, file, len - 5);
	name[len - 5] = '\0';
	for (const char *c = name; *c; c++)
		if (iscntrl((unsigned char)*c))
			return false;
	return true;
}

static int is_interface(const struct dirent *entry)
{
	char name[IFNAMSIZ];

	return interface_of(entry->d_name, name);
}

/* Returns 0, 1 after an error, or -EPROTO if another WireGuard has the socket. */
static int show_socket(const char *file, bool json)
{
	char name[IFNAMSIZ];
	int err = interface_of(file, name) ? show(name, json) : -EPROTO;

	return err && err != -EPROTO ? 1 : err;
}

/* Sorted by name. Interfaces of other WireGuards are skipped. */
static int status_all(bool json)
{
	struct dirent **entries = NULL;
	int n = scandir(UAPI_DIR, &entries, is_interface, alphasort), status = 0;
	bool found = false;

	if (n < 0 && errno != ENOENT) {
		fprintf(stderr, "wgxdp: " UAPI_DIR ": %s\n", why_not(-errno));
		return 1;
	}
	for (int i = 0; i < n; i++) {
		int err = show_socket(entries[i]->d_name, json);

		free(entries[i]);
		if (err == -EPROTO)
			continue;
		found = true;
		status |= err;
	}
	free(entries);
	if (!found)
		fprintf(stderr, "wgxdp: no interface of wgxdp here\n");
	return status;
}

int status_main(const char *ifname, bool json)
{
	return ifname ? status_one(ifname, json) : status_all(json);
}

static const char *why_no_nic(int err)
{
	switch (-err) {
	case ENODEV:
		return "no such device here (see `ip link`)";
	case EACCES:
		return "it may not be attached: it is not named by --nic, or no NIC that "
		       "is up";
	default:
		return strerror(-err);
	}
}

int nic_main(const char *ifname, const char *nic, bool attach)
{
	char request[sizeof("release=\n\n") + IFNAMSIZ], *answer = NULL;
	int fd = connect_to(ifname), err;

	if (fd < 0)
		return no_answer(ifname, fd), 1;
	snprintf(request, sizeof(request), "%s=%s\n\n", attach ? "attach" : "release",
		 nic);
	err = exchange(fd, request, "errno=", &answer);
	if (err) {
		free(answer);
		return no_answer(ifname, err), 1;
	}
	err = (int)strtol(answer + strlen("errno="), NULL, 10);
	free(answer);
	if (err)
		fprintf(stderr, "wgxdp: %s: %s\n", nic, why_no_nic(err));
	return err ? 1 : 0;
}
