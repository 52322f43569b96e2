// SPDX-License-Identifier: MIT
#include "status_client.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
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

#define ANSWER_TIMEOUT 5 /* seconds */

/* --- asking --- */

/* Whoever could make a file in the directory could answer: anything, without an end. The
 * kernel tells who called listen(). */
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

/* The answer's first line, the JSON document; the caller frees it. NULL: `err` is -EAGAIN, or
 * -EPROTO where something else answers. */
static char *ask(int fd, int *err)
{
	static const char request[] = "status=1\n\n";
	char *line = NULL;
	size_t room = 0;
	FILE *f = fdopen(fd, "r+");

	errno = 0;
	if (!f || write(fd, request, sizeof(request) - 1) != sizeof(request) - 1 ||
	    getline(&line, &room, f) < 0 || line[0] != '{') {
		*err = errno == EAGAIN ? -EAGAIN : -EPROTO;
		free(line);
		line = NULL;
	}
	if (f)
		fclose(f);
	else
		close(fd);
	return line;
}

/* --- printing --- */

static const char *text(struct json_object *o, const char *name)
{
	struct json_object *v = json_object_object_get(o, name);

	return v ? json_object_get_string(v) : "-";
}

static uint64_t number(struct json_object *o, const char *name)
{
	return json_object_get_uint64(json_object_object_get(o, name));
}

static const char *explain(const char *reason)
{
#define X(name, text)               \
	if (!strcmp(reason, #name)) \
		return text;
	WG_DROP_REASONS(X)
#undef X
	return "";
}

static void print_nics(struct json_object *o)
{
	struct json_object *nics = json_object_object_get(o, "nics");
	size_t n = nics ? json_object_array_length(nics) : 0;

	for (size_t i = 0; i < n; i++) {
		struct json_object *nic = json_object_array_get_idx(nics, i);

		printf("  device %s: XDP %s, AF_XDP %s, %s queue(s)", text(nic, "name"),
		       text(nic, "xdp"), text(nic, "af_xdp"), text(nic, "queues"));
		if (strcmp(text(nic, "xdp_queues"), "0") != 0)
			printf(" and %s that only receive, with copies",
			       text(nic, "xdp_queues"));
		putchar('\n');
	}
	if (!n)
		printf("  no device with AF_XDP: packets go by the UDP socket\n");
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
	if (json_object_get_int64(json_object_object_get(p, "helped")))
		printf("  %s packets en- or decrypted by helpers of busy workers\n",
		       text(p, "helped"));
}

static void print_drops(struct json_object *o)
{
	json_object_object_foreach(json_object_object_get(o, "drops"), reason, count)
		printf("  dropped %s: %s (%s)\n", json_object_get_string(count), reason,
		       explain(reason));
}

/* Wall-clock time: it may have been set back since. */
static void print_handshake(time_t when)
{
	time_t now = time(NULL);

	if (when > now)
		printf("    latest handshake in the future: the clock was set back\n");
	else if (when)
		printf("    latest handshake %lld s ago\n", (long long)(now - when));
}

static void print_peer(struct json_object *peer)
{
	struct json_object *stats = json_object_object_get(peer, "stats");
	bool has_nic = json_object_object_get(peer, "nic");

	printf("\n  peer %s (slot %s)\n", text(peer, "public_key"), text(peer, "slot"));
	printf("    endpoint %s by %s%s%s\n", text(peer, "endpoint"), text(peer, "path"),
	       has_nic ? " " : "", has_nic ? text(peer, "nic") : "");
	print_handshake((time_t)number(peer, "latest_handshake"));
	printf("    on the wire: %s bytes received, %s sent\n", text(peer, "rx_bytes"),
	       text(peer, "tx_bytes"));
	printf("    on the interface: %s bytes received (in %s writes), %s sent (%s "
	       "packets), "
	       "%s with a source not allowed\n",
	       text(stats, "from_peer_bytes"), text(stats, "from_peer_packets"),
	       text(stats, "to_peer_bytes"), text(stats, "to_peer_packets"),
	       text(stats, "from_peer_bad_source"));
}

static void print_status(struct json_object *o)
{
	struct json_object *peers = json_object_object_get(o, "peers");

	printf("interface %s\n", text(o, "interface"));
	printf("  public key %s, port %s, pid %s\n", text(o, "public_key"),
	       text(o, "listen_port"), text(o, "pid"));
	printf("  AEAD engine %s, %s worker(s)\n", text(o, "aead"), text(o, "workers"));
	print_nics(o);
	print_paths(o);
	print_drops(o);
	for (size_t i = 0; peers && i < json_object_array_length(peers); i++)
		print_peer(json_object_array_get_idx(peers, i));
}

static const char *why_not(int err)
{
	switch (-err) {
	case EAGAIN:
		return "it is there, but busy or stopped";
	case EPROTO:
		return "not a wgxdp interface";
	case ENOENT:
		return "it is not running here";
	case ECONNREFUSED:
		return "it does not run any more; a new start cleans up";
	case EACCES:
		return "only root may ask";
	case EPERM:
		return "the socket belongs to another user, who is not to be believed; "
		       "remove it";
	default:
		return strerror(-err);
	}
}

static int no_answer(const char *ifname, int err)
{
	fprintf(stderr, "wgxdp: no wgxdp answers for %s: %s\n", ifname, why_not(err));
	return err;
}

/* 0; -errno, after a message unless it is -EPROTO, somebody else's interface. */
static int show(const char *ifname, bool json)
{
	int fd = connect_to(ifname), err = 0;
	struct json_object *o;
	char *answer;

	if (fd < 0)
		return no_answer(ifname, fd);
	answer = ask(fd, &err);
	if (err)
		return err == -EPROTO ? err : no_answer(ifname, err);
	o = json ? NULL : json_tokener_parse(answer);
	if (json)
		fputs(answer, stdout);
	else if (o)
		print_status(o);
	json_object_put(o);
	free(answer);
	return 0;
}

static int status_one(const char *ifname, bool json)
{
	int err = show(ifname, json);

	if (err == -EPROTO)
		no_answer(ifname, err);
	return err ? 1 : 0;
}

/* "wg0" of "wg0.sock". What a user has made may have any name, and is not to be printed. */
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

/* Beside other WireGuards' interfaces, which are passed over. */
static int status_all(bool json)
{
	DIR *dir = opendir(UAPI_DIR);
	struct dirent *entry;
	bool found = false;
	int status = 0;

	if (!dir && errno != ENOENT) {
		fprintf(stderr, "wgxdp: " UAPI_DIR ": %s\n", why_not(-errno));
		return 1;
	}
	while (dir && (entry = readdir(dir))) {
		char name[IFNAMSIZ];
		int err;

		if (!interface_of(entry->d_name, name))
			continue;
		err = show(name, json);
		if (err == -EPROTO)
			continue;
		found = true;
		status |= err != 0;
	}
	if (!found)
		fprintf(stderr, "wgxdp: no interface of wgxdp here\n");
	if (dir)
		closedir(dir);
	return status;
}

int status_main(const char *ifname, bool json)
{
	return ifname ? status_one(ifname, json) : status_all(json);
}
