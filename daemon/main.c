// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
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
#include "log.h"
#include "loop.h"
#include "privileges.h"
#include "rcu.h"
#include "status_client.h"
#include "tunnel.h"

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

struct options {
	bool foreground;
	bool help;
	bool version;
	unsigned workers;
	struct nics nics;
	unsigned nic_args;  /* how many --nic there were */
	unsigned none_args; /* how many of these said "none" */
	const char *ifname;
};

static const char usage[] =
	"usage: wgxdp [-f] [--nic auto|none|IF[:zc|:copy|:skb|:filter]]...\n"
	"             [--workers N] [--frames N] IFNAME\n"
	"       wgxdp status [IFNAME] [--json]\n"
	"       wgxdp release|attach IFNAME NIC\n"
	"       wgxdp --help | --version\n"
	"\n"
	"  -f, --foreground  stay in the foreground, and log to standard error\n"
	"  --nic auto        attach to every Ethernet device that a default route or a\n"
	"                    configured endpoint leads to, or by which authentic packets "
	"came\n"
	"                    (default)\n"
	"  --nic none        use the UDP socket only\n"
	"  --nic IF          use AF_XDP on this NIC; :zc, :copy and :skb choose the "
	"mode,\n"
	"                    :filter only drops floods there, and leaves the rest to "
	"the\n"
	"                    UDP socket\n"
	"                    (the environment variable WGXDP_NIC=IF,... does the same)\n"
	"  --workers N       start at most N worker threads, and N - 1 helpers\n"
	"                    (default: one worker per CPU)\n"
	"  --frames N        packets that AF_XDP holds per queue of a NIC (default: "
	"4096)\n"
	"\n"
	"`ip link del IFNAME` ends the interface and its process.\n";

/* --- options --- */

static bool parse_mode(const char *suffix, enum nic_mode *mode)
{
	static const struct {
		const char *name;
		enum nic_mode mode;
	} modes[] = {{"zc", NIC_ZEROCOPY},
		     {"copy", NIC_COPY},
		     {"skb", NIC_SKB},
		     {"filter", NIC_FILTER}};

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

/* Says what is wrong with the command line, in one line. Returns false, for the caller to
 * return. */
__attribute__((format(printf, 1, 2))) static bool wrong(const char *format, ...)
{
	va_list args;

	fputs("wgxdp: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs(" (`wgxdp --help` shows the options)\n", stderr);
	return false;
}

static bool parse_nic_request(struct nics *nics, const char *arg)
{
	struct nic_request r = {.mode = NIC_ANY};
	const char *colon = strchr(arg, ':');
	size_t len = colon ? (size_t)(colon - arg) : strlen(arg);

	if (!len || len >= IFNAMSIZ || (colon && !parse_mode(colon + 1, &r.mode)))
		return wrong("--nic %s: want auto, none, or IF[:zc|:copy|:skb|:filter]",
			     arg);
	if (nics->request_count == WG_MAX_NICS)
		return wrong("--nic %s: at most %u NICs can be named", arg, WG_MAX_NICS);
	memcpy(r.name, arg, len);
	if (is_requested(nics, r.name))
		return wrong("--nic %s: this NIC was named already", arg);
	nics->requests[nics->request_count++] = r;
	return true;
}

static bool parse_nic(struct options *o, const char *arg)
{
	bool none = !strcmp(arg, "none");

	o->nic_args++;
	o->none_args += none;
	if (o->none_args && o->none_args != o->nic_args)
		return wrong("--nic none: cannot be combined with another --nic");
	o->nics.automatic = !strcmp(arg, "auto");
	return none || o->nics.automatic || parse_nic_request(&o->nics, arg);
}

static bool parse_nic_list(struct options *o, const char *list)
{
	char *copy = strdup(list), *save = NULL;
	bool ok = copy;

	if (!copy)
		perror("wgxdp: WGXDP_NIC");

	for (char *s = copy ? strtok_r(copy, ", ", &save) : NULL; ok && s;
	     s = strtok_r(NULL, ", ", &save))
		ok = parse_nic(o, s);
	free(copy);
	return ok;
}

static bool parse_workers(const char *arg, unsigned *out)
{
	char *end;
	unsigned long n = strtoul(arg, &end, 10);

	if (*end || n < 1 || n > WG_MAX_WORKERS)
		return wrong("--workers %s: want a number from 1 to %u", arg,
			     WG_MAX_WORKERS);
	*out = (unsigned)n;
	return true;
}

/* A power of two, because rings have a quarter of it. */
static bool parse_frames(const char *arg, unsigned *out)
{
	char *end;
	unsigned long n = strtoul(arg, &end, 10);

	if (*end || n < NIC_FRAMES_MIN || n > NIC_FRAMES_MAX || (n & (n - 1)))
		return wrong("--frames %s: want a power of two from %u to %u", arg,
			     NIC_FRAMES_MIN, NIC_FRAMES_MAX);
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

#define SHORT_OPTIONS "fhV"

/* What getopt_long() refused. It tells options that it knows by their letter in optopt. */
static bool refuse_option(int c, char **argv)
{
	if (c == ':')
		return wrong("%s: wants a value", argv[optind - 1]);
	if (!optopt)
		return wrong("%s: no such option", argv[optind - 1]);
	if (strchr(SHORT_OPTIONS, optopt))
		return wrong("%s: takes no value", argv[optind - 1]);
	return wrong("-%c: no such option", optopt);
}

/* Words that somebody may try as a command, and what to do instead. Without this they would
 * become interfaces of these names. */
static const struct {
	const char *word, *instead;
} no_names[] = {
	{"start", "`wgxdp IFNAME` starts an interface"},
	{"up", "`wgxdp IFNAME` starts an interface, `ip link set IFNAME up` sets it up"},
	{"down", "`ip link set IFNAME down` sets an interface down, `ip link del IFNAME` "
		 "ends it"},
	{"stop", "`ip link del IFNAME` ends an interface"},
	{"restart", "`ip link del IFNAME` ends an interface, `wgxdp IFNAME` starts it"},
	{"show", "use `wgxdp status [IFNAME]` or `wg show`"},
	{"status", "as a command it comes first: `wgxdp status [IFNAME] [--json]`"},
};

static bool refuse_word(const char *word)
{
	for (unsigned i = 0; i < sizeof(no_names) / sizeof(no_names[0]); i++)
		if (!strcmp(word, no_names[i].word))
			return wrong("%s: neither a command nor taken as an interface's "
				     "name: %s",
				     word, no_names[i].instead);
	return true;
}

/* What is left of the command line when the options are taken off. */
static bool parse_operands(int argc, char **argv, struct options *o)
{
	if (!argc)
		return wrong("the name of the interface is missing");
	o->help = !strcmp(argv[0], "help");
	o->version = !strcmp(argv[0], "version");
	if (o->help || o->version)
		return true;
	if (!refuse_word(argv[0]))
		return false;
	if (argc > 1)
		return wrong("%s: not wanted after the name of the interface, %s",
			     argv[1], argv[0]);
	if (!tap_name_valid(argv[0]))
		return wrong("%s: not a name for an interface: want 1 to %d characters "
			     "without '/', ':', '%%' and white space",
			     argv[0], IFNAMSIZ - 1);
	o->ifname = argv[0];
	return true;
}

/* Returns true if the options are good; else a line was printed. */
static bool parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"foreground", no_argument, NULL, 'f'},
		{"nic", required_argument, NULL, 'n'},
		{"workers", required_argument, NULL, 'w'},
		{"frames", required_argument, NULL, 'm'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	const char *env = getenv("WGXDP_NIC");
	int c;

	o->workers = default_workers();
	o->nics.automatic = true;
	o->foreground = env_is("WG_PROCESS_FOREGROUND", "1"); /* as in wireguard-go */
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":" SHORT_OPTIONS, longs, NULL)) != -1) {
		if (c == 'h')
			o->help = true;
		else if (c == 'V')
			o->version = true;
		else if (c == 'f')
			o->foreground = true;
		else if ((c == 'n' && !parse_nic(o, optarg)) ||
			 (c == 'm' && !parse_frames(optarg, &o->nics.frames)) ||
			 (c == 'w' && !parse_workers(optarg, &o->workers)))
			return false;
		else if (c == '?' || c == ':')
			return refuse_option(c, argv);
	}
	if (o->help || o->version)
		return true;
	if (!parse_operands(argc - optind, argv + optind, o))
		return false;
	return o->help || o->version || o->nic_args || !env || !*env ||
	       parse_nic_list(o, env);
}

/* --- the daemon --- */

static int block_signals(void)
{
	static const int ending[] = {SIGTERM, SIGINT, SIGQUIT};
	static const int ignored[] = {SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2};
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

/* What threads without capabilities allocate is locked at once, and counted. Without CAP_SYS_RESOURCE
 * the limit stays, and these threads keep CAP_IPC_LOCK (capabilities_drop_all()). */
static void raise_memory_limit(void)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

	setrlimit(RLIMIT_MEMLOCK, &unlimited);
}

/* Leaves all memory out of core dumps, also those that root asks for (gcore). A kernel without core
 * dumps has no such file. */
static void empty_core_dumps(void)
{
	int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "0", 1) != 1)
		log_info("core dumps may contain keys: %s", strerror(errno));
	close(fd);
}

/* Keeps keys out of swap and core dumps. MCL_ONFAULT: a page is locked when it is first used. */
static void guard_memory(void)
{
	empty_core_dumps();
	prctl(PR_SET_DUMPABLE, 0);
	/* Without the capability, RLIMIT_MEMLOCK would make later allocations fail. */
	if (!capabilities_lock_memory())
		log_info("memory is not locked, and may be swapped out: needs "
			 "CAP_IPC_LOCK");
	else if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
		log_info("memory is not locked: %s", strerror(errno));
	else
		raise_memory_limit();
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

/* Each queue of each NIC needs two sockets, which may be more than the usual soft limit, 1024. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* Tells the waiting parent that the interface is there; fd -1: there is none. */
static void report_ready(int fd)
{
	if (fd < 0)
		return;
	detach_from_terminal();
	if (write(fd, "", 1) != 1)
		log_error("the process that started us has gone");
	close(fd);
}

static int serve_tunnel(struct options *o, int ready_fd, int signal_fd)
{
	static struct tunnel tunnel;
	char why[512];
	int err = tunnel_open(&tunnel, o->ifname, &o->nics, o->workers, why, sizeof(why));

	if (err) {
		log_error("%s", why);
		return err;
	}
	err = control_begin(&tunnel, signal_fd);
	if (err) {
		log_error("cannot wait for events: %s", strerror(-err));
	} else {
		err = privileges_settle(why, sizeof(why));
		if (err)
			log_error("%s", why);
	}
	if (!err) {
		report_ready(ready_fd);
		err = control_run(&tunnel);
	}
	tunnel_close(&tunnel);
	return err;
}

/* In the thread that starts those of liburcu. */
static void prepare_rcu(void)
{
	privileges_drop(THREAD_RCU);
}

static int serve_interface(struct options *o, int ready_fd)
{
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
	if (privileges_begin(why, sizeof(why))) {
		log_error("%s", why);
		return 1;
	}
	err = rcu_begin(prepare_rcu);
	if (err) {
		log_error("cannot start threads: %s (TasksMax= of the unit, pids.max or "
			  "`ulimit -u` limits them)",
			  strerror(-err));
		return 1;
	}
	err = serve_tunnel(o, ready_fd, signal_fd);
	urcu_qsbr_unregister_thread();
	close(signal_fd);
	return err ? 1 : 0;
}

/* The child serves; the parent waits until the child is ready or has failed. Returns the parent's
 * exit status. */
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
		return serve_interface(o, fds[1]);
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
		else if (argv[i][0] == '-')
			return wrong("status: %s: no such option", argv[i]), 2;
		else
			return wrong("status: %s: one interface at most", argv[i]), 2;
	}
	return status_main(ifname, json);
}

/* wgxdp release|attach IFNAME NIC */
static int nic_command(int argc, char **argv)
{
	if (argc != 3)
		return wrong("%s: want an interface and a NIC", argv[0]), 2;
	if (!tap_name_valid(argv[1]) || !tap_name_valid(argv[2]))
		return wrong("%s: no such name for an interface", argv[0]), 2;
	return nic_main(argv[1], argv[2], !strcmp(argv[0], "attach"));
}

int main(int argc, char **argv)
{
	struct options o = {0};

	if (argc > 1 && !strcmp(argv[1], "status"))
		return status_command(argc - 2, argv + 2);
	if (argc > 1 && (!strcmp(argv[1], "release") || !strcmp(argv[1], "attach")))
		return nic_command(argc - 1, argv + 1);
	if (!parse_options(argc, argv, &o))
		return 2;
	if (o.help)
		return fputs(usage, stdout), 0;
	if (o.version)
		return puts("wgxdp " VERSION), 0;
	return o.foreground ? serve_interface(&o, -1) : serve_in_background(&o);
}
