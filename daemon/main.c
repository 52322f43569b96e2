// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <sodium.h>
#include <urcu-qsbr.h>

#include "capabilities.h"
#include "loop.h"
#include "tunnel.h"
#include "log.h"
#include "status_client.h"

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

struct options {
	bool foreground;
	bool help;
	bool version;
	unsigned workers;
	struct nics nics;
	const char *ifname;
};

static const char usage[] =
	"usage: wgxdp [-f] [--nic auto|none|IF[:zc|:copy|:skb]]... [--workers N] IFNAME\n"
	"       wgxdp status [IFNAME] [--json]\n"
	"       wgxdp --version\n"
	"\n"
	"  -f, --foreground  do not go to the background\n"
	"  --nic auto        use AF_XDP on the devices that routes to peers name "
	"(default)\n"
	"  --nic none        use the UDP socket only\n"
	"  --nic IF          use this device; :zc, :copy, :skb say how (WGXDP_NIC=IF,... "
	"too)\n"
	"  --workers N       at most so many worker threads, and N - 1 that help them\n"
	"                    (default: one a CPU)\n";

/* --- options --- */

static bool parse_mode(const char *suffix, enum nic_mode *mode)
{
	static const struct {
		const char *name;
		enum nic_mode mode;
	} modes[] = {{"zc", NIC_ZEROCOPY}, {"copy", NIC_COPY}, {"skb", NIC_SKB}};

	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (!strcmp(suffix, modes[i].name)) {
			*mode = modes[i].mode;
			return true;
		}
	}
	return false;
}

static bool is_requested(const struct nics *nics, const char *name)
{
	for (unsigned i = 0; i < nics->request_count; i++)
		if (!strcmp(nics->requests[i].name, name))
			return true;
	return false;
}

static bool parse_nic(struct nics *nics, const char *arg)
{
	struct nic_request r = {.mode = NIC_ANY};
	const char *colon = strchr(arg, ':');
	size_t len = colon ? (size_t)(colon - arg) : strlen(arg);

	if (!strcmp(arg, "auto")) {
		nics->automatic = true;
		return true;
	}
	nics->automatic = false;
	if (!strcmp(arg, "none"))
		return true;
	if (!len || len >= IFNAMSIZ || nics->request_count == WG_MAX_NICS ||
	    (colon && !parse_mode(colon + 1, &r.mode))) {
		fprintf(stderr,
			"wgxdp: --nic %s: want auto, none, or IF[:zc|:copy|:skb]\n", arg);
		return false;
	}
	memcpy(r.name, arg, len);
	if (is_requested(nics, r.name)) {
		fprintf(stderr, "wgxdp: --nic %s: this device was named already\n", arg);
		return false;
	}
	nics->requests[nics->request_count++] = r;
	return true;
}

static bool parse_nic_list(struct nics *nics, const char *list)
{
	char *copy = strdup(list), *save = NULL;
	bool ok = copy;

	if (!copy)
		perror("wgxdp: WGXDP_NIC");

	for (char *s = copy ? strtok_r(copy, ", ", &save) : NULL; ok && s;
	     s = strtok_r(NULL, ", ", &save))
		ok = parse_nic(nics, s);
	free(copy);
	return ok;
}

static bool parse_workers(const char *arg, unsigned *out)
{
	char *end;
	unsigned long n = strtoul(arg, &end, 10);

	if (*end || n < 1 || n > WG_MAX_WORKERS) {
		fprintf(stderr, "wgxdp: --workers %s: want a number from 1 to %u\n", arg,
			WG_MAX_WORKERS);
		return false;
	}
	*out = (unsigned)n;
	return true;
}

static unsigned default_workers(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus < 1 ? 1 : cpus > WG_MAX_WORKERS ? WG_MAX_WORKERS : (unsigned)cpus;
}

static bool env_is(const char *name, const char *value)
{
	const char *is = getenv(name);

	return is && !strcmp(is, value);
}

/* Returns whether to go on. */
static bool parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"foreground", no_argument, NULL, 'f'},
		{"nic", required_argument, NULL, 'n'},
		{"workers", required_argument, NULL, 'w'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	const char *env = getenv("WGXDP_NIC");
	bool given = false;
	int c;

	o->workers = default_workers();
	o->nics.automatic = true;
	o->foreground = env_is("WG_PROCESS_FOREGROUND", "1"); /* as of wireguard-go */
	while ((c = getopt_long(argc, argv, "fh", longs, NULL)) != -1) {
		if (c == 'h')
			o->help = true;
		else if (c == 'V')
			o->version = true;
		else if (c == 'f')
			o->foreground = true;
		else if (c == 'n' && (given = true, !parse_nic(&o->nics, optarg)))
			return false;
		else if (c == 'w' && !parse_workers(optarg, &o->workers))
			return false;
		else if (c == '?')
			goto usage;
	}
	if (o->help || o->version)
		return true;
	if (optind + 1 != argc)
		goto usage;
	if (!given && env && *env && !parse_nic_list(&o->nics, env))
		return false;
	o->ifname = argv[optind];
	if (!tap_name_valid(o->ifname)) {
		fprintf(stderr,
			"wgxdp: %s: not a name for an interface (1 to %d characters, "
			"no '/', ':', '%%' or white space)\n",
			o->ifname, IFNAMSIZ - 1);
		return false;
	}
	return true;
usage:
	fputs(usage, stderr);
	return false;
}

/* --- the daemon --- */

static int block_signals(void)
{
	static const int ending[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
	static const int ignored[] = {SIGPIPE, SIGUSR1, SIGUSR2};
	sigset_t set;

	for (unsigned i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&set);
	for (unsigned i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		sigaddset(&set, ending[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Keys are neither swapped nor dumped; pages count once they are used. */
static void guard_memory(void)
{
	prctl(PR_SET_DUMPABLE, 0);
	/* Without the capability a limit would make later allocations fail. */
	if (!capabilities_lock_memory())
		log_info("memory is not locked, and may be swapped out: needs "
			 "CAP_IPC_LOCK");
	else if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
		log_info("memory is not locked: %s", strerror(errno));
}

static void detach_from_terminal(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	log_to_syslog();
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
}

/* Two sockets a queue of each NIC: more than the 1024 that are usual at first. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* Tells the waiting parent, if there is one, that the interface is there. */
static void report_ready(int fd)
{
	if (fd < 0)
		return;
	detach_from_terminal();
	if (write(fd, "", 1) != 1)
		log_error("the process that started us has gone");
	close(fd);
}

static int serve(struct options *o, int ready_fd)
{
	static struct tunnel tunnel;
	int signal_fd = block_signals(), err;
	char why[512];

	log_init(o->ifname);
	if (signal_fd < 0 || sodium_init() < 0) {
		log_error("cannot begin: %s", signal_fd < 0 ? strerror(-signal_fd)
							    : "no source of randomness");
		return 1;
	}
	if (capabilities_check(why, sizeof(why))) {
		log_error("%s", why);
		return 1;
	}
	guard_memory();
	raise_file_limit();
	urcu_qsbr_register_thread();
	err = tunnel_open(&tunnel, o->ifname, &o->nics, o->workers, why, sizeof(why));
	if (err) {
		log_error("%s", why);
	} else {
		report_ready(ready_fd);
		err = control_run(&tunnel, signal_fd);
		tunnel_close(&tunnel);
	}
	urcu_qsbr_unregister_thread();
	close(signal_fd);
	return err ? 1 : 0;
}

/* The child does all the work; the parent waits until it is ready or has failed, and
 * says so by its exit status. */
static int serve_in_background(struct options *o)
{
	int fds[2];
	char ready;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) || (pid = fork()) < 0) {
		perror("wgxdp");
		return 1;
	}
	if (!pid) {
		close(fds[0]);
		setsid();
		if (chdir("/"))
			return 1;
		return serve(o, fds[1]);
	}
	close(fds[1]);
	return read(fds[0], &ready, 1) == 1 ? 0 : 1;
}

/* wgxdp status [IFNAME] [--json] */
static int status_command(int argc, char **argv)
{
	const char *ifname = NULL;
	bool json = false;

	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (argv[i][0] != '-' && !ifname)
			ifname = argv[i];
		else
			return fputs(usage, stderr), 2;
	}
	return status_main(ifname, json);
}

int main(int argc, char **argv)
{
	struct options o = {0};

	if (argc > 1 && !strcmp(argv[1], "status"))
		return status_command(argc - 2, argv + 2);
	if (!parse_options(argc, argv, &o))
		return 2;
	if (o.help)
		return fputs(usage, stdout), 0;
	if (o.version)
		return puts("wgxdp " VERSION), 0;
	return o.foreground ? serve(&o, -1) : serve_in_background(&o);
}
