#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Compares tunnels on this machine: two hosts on a veth, the same for all. KINDS of them:
# veth (no tunnel), wireguard-go (Debian's newest that runs here), wgxdp-udp (--nic none),
# wgxdp (AF_XDP), and kernel; without KINDS all that there are. ROUNDS (3), interleaved, each
# begun by another kind; each figure takes SECONDS_EACH (2). FIGURES (all) names groups: tcp
# udp lossfree ping handshake. The figures go to build/bench/figures, a line each: round,
# kind, name, value; which wireguard-go it was to build/bench/wireguard-go.
#
# Theory of operation: both ends, the load and its sink share the machine, so a figure is
# about the whole of it, and comparisons are good only within one run. What is counted is
# what arrives. CPU time is that of the machine while one TCP stream runs, or a process's
# or its worker threads' alone, from the scheduler's own account. A ping that is lost
# counts as one that took as long as is waited for.

set -eu -o pipefail
# shellcheck source=tests/bench/hosts.bash
source "$(dirname "$0")/hosts.bash"
OUT=$REPO/build/bench
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-2}
FIGURES=${FIGURES:-tcp udp lossfree ping handshake}
STREAMS=${STREAMS:-1 4 16}
SIZES="64 512 1360"
# Datagrams a second that are lost at most, of a thousand, where a rate counts as free of loss.
MAX_LOST=1
PING_TIMEOUT=1

# put NAME VALUE: a figure of this round and kind.
put() {
	number "$1" "$2"
	echo "$round $kind $1 $2" | tee -a "$OUT/figures"
}

# Through the tunnel, or beside it.
there() {
	if [ "$kind" = veth ]; then outer4 B; else inner4 B; fi
}

# worker_cost NAME COMMAND...: runs it, and says what a packet took of the workers.
worker_cost() {
	local name=$1

	shift
	if [[ $kind != wgxdp* ]]; then
		"$@"
		return
	fi
	worker_ns "$@"
	put "worker_ns_$name" "$WORKER_NS"
}

# ---- figures

# tcp NAME ARGUMENTS...: Mbit/s.
tcp() {
	local cpu cpu_now

	tcp_server
	cpu=$(machine_cpu)
	tcp_client "$(there)" -t "$SECONDS_EACH" "${@:2}"
	cpu_now=$(machine_cpu)
	wait "$SERVER" || true
	put "$1" "$(jq '.end.sum_received.bits_per_second / 1e6 | round' "$TMP/iperf")"
	[ "$1" != tcp_1 ] || put cpu_s_gbit \
		"$(jq --argjson cpu $((cpu_now - cpu)) '$cpu / .end.sum_received.bytes / 8' "$TMP/iperf")"
}

figures_tcp() {
	local n

	for n in $STREAMS; do
		worker_cost "tcp_$n" tcp "tcp_$n" -P "$n"
		tcp "tcp_${n}_back" -P "$n" -R
	done
}

value() { cat "$TMP/load" "$TMP/sent" | sed -n "s/^$1=//p"; }

udp() {
	send_udp "$(there)" "$1" "$SECONDS_EACH"
	put "udp_$1" "$(value pps)"
	put "udp_$1_lost_share" "$(awk "BEGIN { print 1 - $(value packets) / $(value sent) }")"
}

figures_udp() {
	local size

	for size in $SIZES; do
		worker_cost "udp_$size" udp "$size"
	done
}

# few_lost SIZE RATE: so it is in a second, or in the next one.
few_lost() { few_lost_once "$@" || few_lost_once "$@"; }

few_lost_once() {
	send_udp "$(there)" "$1" 1 "$2"
	(($(value sent) * 1000 >= $2 * 950 &&
		($(value sent) - $(value packets)) * 1000 <= $(value sent) * MAX_LOST))
}

# lossfree SIZE LOW HIGH: the greatest rate, to 5 %, at which hardly anything is lost in a
# second. By ratios, since what is compared differs by several times.
lossfree() {
	local low=$2 high=$3 rate best=

	while ((high * 100 > low * 105)); do
		rate=$(awk "BEGIN { printf \"%d\", sqrt($low * $high) }")
		if few_lost "$1" "$rate"; then
			low=$rate
			best=$rate
		else
			high=$rate
		fi
	done
	if [ -n "$best" ]; then
		put "lossfree_$1" "$best"
	else
		echo "$kind: no rate from $2 on is free of loss" >&2
	fi
}

figures_lossfree() {
	lossfree 1360 1000 1000000
}

# round_trips COUNT: sorted, ms. One that is lost takes as long as is waited for.
round_trips() {
	local code=0 lost

	on A ping -n -c "$1" -i 0.002 -W $PING_TIMEOUT "$(there)" >"$TMP/ping" || code=$?
	[ $code -le 1 ] || die "ping failed"
	sed -n '/DUP!/d; s/.*time=\([0-9.]*\) ms.*/\1/p' "$TMP/ping" >"$TMP/times"
	lost=$(($(sent_by_ping) - $(wc -l <"$TMP/times")))
	for ((; lost > 0; lost--)); do
		echo $((PING_TIMEOUT * 1000))
	done | sort -n "$TMP/times" - >"$TMP/sorted"
}

# ping_figures NAME: microseconds, and how many were lost.
ping_figures() {
	local share

	round_trips $((SECONDS_EACH * 500))
	for share in 500 990 999; do
		put "$1_p$share" "$(awk -v share=$share '{ t[NR] = $1 }
			END { print t[int((NR - 1) * share / 1000) + 1] * 1000 }' "$TMP/sorted")"
	done
	put "$1_lost" $(($(wc -l <"$TMP/sorted") - $(wc -l <"$TMP/times")))
}

# tcp_load: one stream, longer than anything else takes; $CLIENT ends with it.
tcp_load() {
	tcp_server
	# shellcheck disable=SC2016 # expanded there
	on A sh -c 'echo $$ >"$0"; exec "$@"' "$TMP/client.pid" \
		iperf3 -c "$(there)" -t $((60 * PATIENCE)) >/dev/null 2>&1 &
	CLIENT=$!
	sleep 0.5
}

figures_ping() {
	ping_figures ping
	tcp_load
	ping_figures ping_loaded
	kill -0 "$CLIENT" || die "TCP ended before the pings beside it"
	on A kill "$(cat "$TMP/client.pid")"
	wait "$CLIENT" "$SERVER" || true
}

# How many initiations a second of the responder's CPU time answers.
figures_handshake() {
	local cpu cpu_now

	if [ "$kind" = veth ] || [ "$kind" = kernel ]; then
		return
	fi
	wg_keys F
	on B wg set wg0 peer "${PUBKEY[F]}" allowed-ips 10.0.99.1/32
	cpu=$(process_cpu B)
	on A "$REPO/build/tests/tools/flood" --count 60 --burst 1 --interval 50 "$(outer4 B)" "$PORT" \
		"${PUBKEY[B]}" "$TMP/F.key" >"$TMP/flood"
	cpu_now=$(process_cpu B)
	put handshakes_cpu_s "$(awk -F= -v cpu=$((cpu_now - cpu)) '$1 == "responses" {
		printf "%.0f\n", $2 * 1e9 / cpu }' "$TMP/flood")"
}

# ---- rounds

start_tunnel() {
	local args=() host

	[ "$kind" != veth ] || return 0
	[ "$kind" != wgxdp-udp ] || args=(--nic none)
	for host in A B; do
		start_wg "${kind%-udp}" $host "${args[@]}"
	done
	wg_setup A B
	wait_until 20 pings A "$(inner4 B)"
	[ "$kind" != wgxdp ] || { on_path A af_xdp && on_path B af_xdp; }
}

# One round of a kind, in hosts of its own.
measure() {
	local figures

	host_new A
	host_new B
	join A B
	start_tunnel
	for figures in $FIGURES; do
		"figures_$figures"
	done
	hosts_gone
}

default_kinds() {
	echo veth wireguard-go wgxdp-udp wgxdp
	if unshare --net ip link add wg0 type wireguard 2>/dev/null; then
		echo kernel
	fi
}

# The wireguard-go that there is, first in PATH, and a note of which it is.
find_wireguard_go() {
	local found

	found=$("$REPO/tests/bench/wireguard-go.sh")
	PATH=$(dirname "${found%%$'\t'*}"):$PATH
	echo "${found#*$'\t'}" >"$OUT/wireguard-go"
}

# in_turn N KINDS...: that many of them go to the end.
in_turn() {
	local n=$(($1 % ($# - 1)))

	shift
	echo "${@:n+1}" "${@:1:n}"
}

main() {
	mkdir -p "$OUT"
	: >"$OUT/figures"
	rm -f "$OUT/wireguard-go"
	KINDS=${KINDS:-$(default_kinds)}
	[[ $KINDS != *wireguard-go* ]] || find_wireguard_go
	for ((round = 1; round <= ROUNDS; round++)); do
		# shellcheck disable=SC2086 # a list
		for kind in $(in_turn $((round - 1)) $KINDS); do
			measure
		done
	done
}

main
