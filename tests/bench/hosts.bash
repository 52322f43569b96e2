# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# For all benchmarks: UDP and TCP between the hosts A and B, and CPU time in ns per packet.
#
# A thread's time is what the scheduler charges to it: its system calls, and all softirqs at their
# end or that interrupt it. On a veth these include reception at the far end. Softirqs in other
# threads, for example ksoftirqd, are missing, and a kernel with IRQ_TIME_ACCOUNTING leaves out all
# of them. machine_cpu has everything, in clock ticks.

# shellcheck source=tests/netns/script.bash
source "$(dirname "${BASH_SOURCE[0]}")/../netns/script.bash"

BENCH=$REPO/build/tests/bench
# Names of spawn -> the child of this shell that runs the command.
declare -A SPAWNED=()

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# hosts_gone: ends all daemons and hosts. Ends the script if a daemon had crashed.
hosts_gone() {
	local host

	stop_all >&2
	for host in "${!HOST_PID[@]}"; do
		host_del "$host"
	done
	HOST_NUM=()
	DAEMON=()
}

# number NAME VALUE: ends the script if VALUE is not a number.
number() {
	[[ $2 =~ ^[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?$ ]] || die "no figure for $1: '$2'"
}

# ---- UDP

# send_udp ADDRESS SIZE SECONDS [RATE]: sends UDP from A to B. What B counted is then in $TMP/load,
# and what A sent in $TMP/sent.
send_udp() {
	local counter

	on B "$BENCH/load" count 5001 >"$TMP/load" &
	counter=$!
	wait_until 10 listening_udp B 5001
	on A "$BENCH/load" send "$1" 5001 "${@:2}" >"$TMP/sent"
	wait $counter
}

# ---- TCP

# tcp_server: starts an iperf3 server for one client; its process is $SERVER.
tcp_server() {
	on B timeout $((60 * PATIENCE)) iperf3 -s -1 >/dev/null 2>"$TMP/iperf3.log" &
	# shellcheck disable=SC2034 # the caller's
	SERVER=$!
	wait_until 10 listening_tcp B 5201
}

# tcp_client ADDRESS ARGUMENTS...: runs iperf3; its JSON is then in $TMP/iperf.
tcp_client() {
	on A timeout $((60 * PATIENCE)) iperf3 -J -c "$@" >"$TMP/iperf"
}

# spawn HOST NAME COMMAND...: runs the command in the background, until it ends or `end HOST NAME`.
spawn() {
	local host=$1 name=$2

	shift 2
	rm -f "$TMP/$name.pid"
	# shellcheck disable=SC2016 # expanded there
	on "$host" sh -c 'echo $$ >"$0"; exec "$@"' "$TMP/$name.pid" "$@" &
	SPAWNED[$name]=$!
	wait_until 10 test -s "$TMP/$name.pid"
}

# end HOST NAME [SIGNAL]: ends what `spawn` began. Fails if it has ended already.
end() {
	on "$1" kill "-${3:-TERM}" "$(cat "$TMP/$2.pid")" || return
	wait "${SPAWNED[$2]}" 2>/dev/null || true
}

# tcp_load ADDRESS: starts a TCP stream from A to this address, until tcp_load_end.
tcp_load() {
	spawn B sink iperf3 -s -1 >/dev/null 2>&1
	wait_until 10 listening_tcp B 5201
	spawn A stream iperf3 -c "$1" -t $((60 * PATIENCE)) >/dev/null 2>&1
	sleep 0.5
}

# tcp_load_end: kills both ends, because they cannot tell each other if the link is flooded.
tcp_load_end() {
	end A stream KILL || die "the TCP stream ended before its time"
	end B sink KILL 2>/dev/null || true
}

# ---- loads through the tunnel from A to B: load_NAME SECONDS

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

# process_cpu HOST [THREADS]: prints the daemon's CPU time, or that of the threads whose names begin
# with the pattern THREADS.
process_cpu() {
	# shellcheck disable=SC2016 # expanded there
	on "$1" sh -c 'for t in /proc/"$0"/task/*; do
		if grep -q "^\($1\)" $t/comm; then cut -d " " -f 1 $t/schedstat; fi; done' \
		"$(daemon_pid "$1")" "${2:-}" | awk '{ t += $1 } END { printf "%.0f\n", t }'
}

# workers_cpu: prints the CPU time of both daemons' workers and helpers.
workers_cpu() {
	{
		process_cpu A "worker\|helper"
		process_cpu B "worker\|helper"
	} | awk '{ t += $1 } END { printf "%.0f\n", t }'
}

# workers_packets: prints how many packets the workers of both ends encrypted or decrypted. Reads
# the map, because with 100,000 peers the daemon needs more than a second to print its status.
workers_packets() {
	local host

	for host in A B; do
		on $host bpftool -j map dump pinned "$PINS/wg0/worker_stats"
	done | jq -s 'map(.[].formatted.value | .rx_xdp_packets + .tx_xdp_packets
		+ .rx_udp_packets + .tx_udp_packets) | add'
}

# worker_ns COMMAND...: runs it, and sets WORKER_NS to the workers' CPU time per packet.
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

# ---- kinds of tunnel in turn

# find_wireguard_go: puts wireguard-go first in PATH, and writes its version to $OUT/wireguard-go.
find_wireguard_go() {
	local found

	found=$("$REPO/tests/bench/wireguard-go.sh")
	PATH=$(dirname "${found%%$'\t'*}"):$PATH
	echo "${found#*$'\t'}" >"$OUT/wireguard-go"
}

# in_turn N KINDS...: prints the kinds, the first N of them at the end.
in_turn() {
	local n=$(($1 % ($# - 1)))

	shift
	echo "${@:n+1}" "${@:1:n}"
}
