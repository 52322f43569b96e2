# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# What both benchmarks have: hosts A and B, TCP between them, and CPU time in ns with the
# packets that it was spent for.
#
# A thread's time is what the scheduler charged to it: its system calls, the softirqs that these
# end with or that interrupt it (on a veth the far end's reception, too), whoever they are for.
# Softirqs that run elsewhere, as in ksoftirqd, are missing, and a kernel with
# IRQ_TIME_ACCOUNTING leaves all of them out. machine_cpu has everything, in clock ticks.

# shellcheck source=tests/netns/script.bash
source "$(dirname "${BASH_SOURCE[0]}")/../netns/script.bash"

BENCH=$REPO/build/tests/bench

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# hosts_gone: all of them, at the end of a scene. Their daemons must have lived.
hosts_gone() {
	local host

	stop_all >&2
	for host in "${!HOST_PID[@]}"; do
		host_del "$host"
	done
	HOST_NUM=()
	DAEMON=()
}

# number NAME VALUE: ends the script where that is none.
number() {
	[[ $2 =~ ^[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?$ ]] || die "no figure for $1: '$2'"
}

# ---- UDP

# send_udp ADDRESS SIZE SECONDS [RATE]: what B counted is in $TMP/load, what was sent in $TMP/sent.
send_udp() {
	local counter

	on B "$BENCH/load" count 5001 >"$TMP/load" &
	counter=$!
	wait_until 10 listening_udp B 5001
	on A "$BENCH/load" send "$1" 5001 "${@:2}" >"$TMP/sent"
	wait $counter
}

# ---- TCP

# tcp_server: for one client; its process is then $SERVER.
tcp_server() {
	on B timeout $((60 * PATIENCE)) iperf3 -s -1 >/dev/null 2>"$TMP/iperf3.log" &
	# shellcheck disable=SC2034 # the caller's
	SERVER=$!
	wait_until 10 listening_tcp B 5201
}

# tcp_client ADDRESS ARGUMENTS...: JSON in $TMP/iperf.
tcp_client() {
	on A timeout $((60 * PATIENCE)) iperf3 -J -c "$@" >"$TMP/iperf"
}

# ---- loads through the tunnel from A to B, for so many SECONDS

load_udp() { send_udp "$(inner4 B)" 1360 "$1"; }

load_tcp() {
	tcp_server
	tcp_client "$(inner4 B)" -t "$1"
	wait "$SERVER" || true
}

# ---- CPU time

machine_cpu() {
	awk -v hz="$(getconf CLK_TCK)" '$1 == "cpu" {
		printf "%.0f\n", ($2 + $3 + $4 + $7 + $8) * 1e9 / hz }' /proc/stat
}

# process_cpu HOST [THREADS]: the daemon's, or that of its threads of such names.
process_cpu() {
	# shellcheck disable=SC2016 # expanded there
	on "$1" sh -c 'for t in /proc/"$0"/task/*; do
		if grep -q "^\($1\)" $t/comm; then cut -d " " -f 1 $t/schedstat; fi; done' \
		"$(daemon_pid "$1")" "${2:-}" | awk '{ t += $1 } END { printf "%.0f\n", t }'
}

# With those who help them.
workers_cpu() {
	{
		process_cpu A "worker\|helper"
		process_cpu B "worker\|helper"
	} | awk '{ t += $1 } END { printf "%.0f\n", t }'
}

# What the workers of both ends sealed or opened. From the map: with 100,000 peers the daemon
# itself takes more than a second to say it.
workers_packets() {
	local host

	for host in A B; do
		on $host bpftool -j map dump pinned "$PINS/wg0/worker_stats"
	done | jq -s 'map(.[].formatted.value | .rx_xdp_packets + .tx_xdp_packets
		+ .rx_udp_packets + .tx_udp_packets) | add'
}

# worker_ns COMMAND...: runs it; then $WORKER_NS is what a packet took of the workers.
worker_ns() {
	local cpu packets cpu_now packets_now

	cpu=$(workers_cpu)
	packets=$(workers_packets)
	"$@"
	cpu_now=$(workers_cpu)
	packets_now=$(workers_packets)
	((packets_now > packets)) || die "no packets: $*"
	# shellcheck disable=SC2034 # the caller's
	WORKER_NS=$(((cpu_now - cpu) / (packets_now - packets)))
}
