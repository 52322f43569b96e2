#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Compares tunnels on this machine, between two hosts on a veth. Environment:
#   KINDS         veth (no tunnel), wireguard-go (Debian's newest that runs here), wgxdp-udp
#                 (--nic none), wgxdp (AF_XDP), kernel; by default all that this machine has
#   ROUNDS (3)    interleaved; each starts with another kind
#   SECONDS_EACH  (2) per figure
#   FIGURES       groups of figures: tcp udp lossfree ping handshake; by default all
# Writes build/bench/figures, with lines of round, kind, name and value, and the version of
# wireguard-go to build/bench/wireguard-go.
#
# Theory of operation: both ends, the load and its sink share the machine, so figures can be
# compared only within one run. Rates count the packets that arrive. CPU time is that of the whole
# machine while one TCP stream runs, or that of a process or its worker threads, as the scheduler
# accounts it. A lost ping counts as one that took PING_TIMEOUT.

set -eu -o pipefail
# shellcheck source=tests/bench/hosts.bash
source "$(dirname "$0")/hosts.bash"
OUT=$REPO/build/bench
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-2}
FIGURES=${FIGURES:-tcp udp lossfree ping handshake}
STREAMS=${STREAMS:-1 4 16}
SIZES="64 512 1360"
# A rate counts as free of loss if at most this many of 1000 datagrams are lost.
MAX_LOST=1
PING_TIMEOUT=1 # seconds

# put NAME VALUE: prints and stores a figure of this round and kind.
put() {
	number "$1" "$2"
	echo "$round $kind $1 $2" | tee -a "$OUT/figures"
}

# there: prints B's address in the tunnel, or on the veth if there is no tunnel.
there() {
	if [ "$kind" = veth ]; then outer4 B; else inner4 B; fi
}

# worker_cost NAME COMMAND...: runs it, and stores the workers' CPU time per packet.
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

# tcp NAME ARGUMENTS...: Mbit/s, and for one stream the machine's CPU time per Gbit.
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

# few_lost SIZE RATE: returns true if at most MAX_LOST of 1000 datagrams are lost in one second of
# two.
few_lost() { few_lost_once "$@" || few_lost_once "$@"; }

few_lost_once() {
	send_udp "$(there)" "$1" 1 "$2"
	(($(value sent) * 1000 >= $2 * 950 &&
		($(value sent) - $(value packets)) * 1000 <= $(value sent) * MAX_LOST))
}

# lossfree SIZE LOW HIGH: finds the greatest rate that is free of loss, to 5 %. Bisects by ratios,
# because the rates of different kinds differ by several times.
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

# round_trips COUNT: writes the sorted round trips in ms to $TMP/sorted. A lost ping counts as
# PING_TIMEOUT.
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

# ping_figures NAME: percentiles in microseconds, and the number of lost pings.
ping_figures() {
	local share

	round_trips $((SECONDS_EACH * 500))
	for share in 500 990 999; do
		put "$1_p$share" "$(awk -v share=$share '{ t[NR] = $1 }
			END { print t[int((NR - 1) * share / 1000) + 1] * 1000 }' "$TMP/sorted")"
	done
	put "$1_lost" $(($(wc -l <"$TMP/sorted") - $(wc -l <"$TMP/times")))
}

figures_ping() {
	ping_figures ping
	tcp_load "$(there)"
	ping_figures ping_loaded
	tcp_load_end
}

# figures_handshake: initiations answered per second of the responder's CPU time.
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

# measure: one round of a kind, in new hosts.
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
