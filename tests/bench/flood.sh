#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Measures what a flood of a host's WireGuard port costs its peers and its CPUs. Environment:
#   KINDS         wireguard-go (Debian's newest that runs here), wgxdp-udp (--nic none), wgxdp
#                 (AF_XDP); by default all
#   RATES         packets per second (50000 200000 max); max: as fast as the machine can send
#   FLOODS        letters of floods (those of ATTACKS, below); by default all
#   ROUNDS        (3) rounds of all kinds; each begins with another kind
#   SECONDS_EACH  (2) of the TCP stream; CPU time is measured for half of that
#   HANDSHAKES    (3) per flood; fewer after a slow one
#   OUT           directory for the results (build/bench)
# Writes $OUT/flood, with lines of round, kind, FLOOD_RATE_FIGURE and value, and the version of
# wireguard-go to $OUT/wireguard-go.
#
# Theory of operation: the victim B, its peers A and C, and the attacker F are on a bridge in the
# host S. F's frames cost the same on their way to B whatever they contain, so the floods can be
# compared with "a", which WireGuard does not see. Each flood is measured in three steps:
# 1. Goodput: what B's end of a TCP stream from A receives in order. The stream begins before the
#    flood, and is measured from half a second after the flood begins. It is measured first beside
#    "a" at the same rate and then beside the flood, because the machine's other load may change
#    within seconds.
# 2. CPU time of B's daemon and of the whole machine, without the stream. The attacker takes most of
#    the machine's.
# 3. Handshakes: C removes its peer B with all keys, adds it again, and pings it until it gets an
#    answer.
# All hosts share the machine's CPUs, so figures can be compared only within one run.

set -eu -o pipefail
# shellcheck source=tests/bench/hosts.bash
source "$(dirname "$0")/hosts.bash"
OUT=${OUT:-$REPO/build/bench}
KINDS=${KINDS:-wireguard-go wgxdp-udp wgxdp}
RATES=${RATES:-50000 200000 max}
FLOODS=${FLOODS:-a b c d e f g}
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-2}
HANDSHAKES=${HANDSHAKES:-3}
# A handshake that is not done by then counts as having taken this long. It has room for two more
# tries.
HANDSHAKE_SECONDS=12
SLOW_MS=1000
# The floods, and their names in tests/bench/attack.c.
declare -A ATTACKS=([a]=port [b]=random [c]=mac1 [d]=initiation [e]=replay [f]=index [g]=tag)

# put FIGURE VALUE: prints and stores a figure of this round, kind, flood and rate.
put() {
	number "$1" "$2"
	echo "$round $kind ${flood}_${rate}_$1 $2" | tee -a "$OUT/flood"
}

# ---- hosts

hosts() {
	lan A B C F
	# B's answers to spoofed sources go to the attacker, which does not read them.
	on B ip route add 198.18.0.0/15 via "$(outer4 F)"
}

start_tunnels() {
	local args=() host

	[ "$kind" != wgxdp-udp ] || args=(--nic none)
	for host in A B C; do
		start_wg "${kind%-udp}" $host "${args[@]}"
	done
	wg_setup A B
	wg_keys C
	on C wg set wg0 private-key "$TMP/C.key" listen-port "$PORT"
	wg_up C
	wg_peer B C
	wait_until 20 pings A "$(inner4 B)"
	capture initiation toC "udp[8] = 1" shake
	[ "$kind" != wgxdp ] || by_af_xdp
}

by_af_xdp() {
	on_path A af_xdp
	wait_until 20 status_is B '[.peers[].path == "af_xdp"] | all'
}

# ---- what the attacker has seen

# capture NAME PORT FILTER COMMAND...: runs the command, and writes the first packet that comes from
# this port of the bridge and matches to $TMP/NAME.pcap.
capture() {
	local pcap=$TMP/$1.pcap

	rm -f "$pcap"
	on S tcpdump -Z root --immediate-mode -Q in -U -c 1 -w "$pcap" -i "$2" \
		"udp dst port $PORT and $3" 2>/dev/null &
	wait_until 10 test -s "$pcap"
	"${@:4}" >/dev/null
	wait_until 10 ended $!
}

attack_start() {
	local args=()

	case $flood in
	d) args=("${PUBKEY[B]}") ;;
	e) args=("$TMP/initiation.pcap") ;;
	g)
		capture data toA "udp[8] = 4" pings A "$(inner4 B)"
		args=("$TMP/data.pcap")
		;;
	esac
	spawn F attack "$BENCH/attack" "${ATTACKS[$flood]}" lan \
		"$(on B cat /sys/class/net/lan/address)" "$(outer4 B)" "$PORT" "${rate/max/0}" \
		"${args[@]}" >"$TMP/attack"
}

attack_end() { end F attack || die "the attacker ended before its time"; }

put_pps() {
	put "$1" "$(sed -n 's/^pps=//p' "$TMP/attack")"
}

# ---- figures

# received: prints how many bytes B's end of the TCP stream has received in order.
received() {
	on B ss -Htin state established "sport = :5201" |
		sed -n 's/.*bytes_received:\([0-9]*\).*/\1/p' | awk '{ n += $1 } END { print n + 0 }'
}

# goodput FIGURE: measures and stores the goodput of the TCP stream.
goodput() {
	local before began

	sleep 0.5
	before=$(received)
	began=${EPOCHREALTIME/./}
	sleep "$SECONDS_EACH"
	put "$1" "$(awk "BEGIN { printf \"%.1f\",
		($(received) - $before) * 8 / (${EPOCHREALTIME/./} - $began) }")"
}

# cpu_shares: measures and stores CPU time: the daemon's in percent of one CPU, the machine's in
# percent of all.
cpu_shares() {
	local daemon machine began

	daemon=$(process_cpu B)
	machine=$(machine_cpu)
	began=${EPOCHREALTIME/./}
	sleep "$(awk "BEGIN { print $SECONDS_EACH / 2 }")"
	daemon=$(($(process_cpu B) - daemon))
	machine=$(($(machine_cpu) - machine))
	began=$((${EPOCHREALTIME/./} - began))
	put cpu_percent "$(awk "BEGIN { printf \"%.1f\", $daemon / 10 / $began }")"
	put machine_percent "$(awk "BEGIN { printf \"%.0f\", $machine / 10 / $began / $(nproc) }")"
}

# shake: makes C begin a new session, and prints after how many ms it gets its first answer. That is
# the answer to the first ping, which waits for the session, unless it is lost.
shake() {
	if on C wg show wg0 peers | grep -qxF "${PUBKEY[B]}"; then
		on C wg set wg0 peer "${PUBKEY[B]}" remove
	fi
	wg_peer C B endpoint "$(endpoint B 4)"
	on C ping -n -c 1 -w $HANDSHAKE_SECONDS -i 0.1 "$(inner4 B)" >"$TMP/ping" || true
	sed -n 's/.*icmp_seq=\([0-9]*\).* time=\([0-9.]*\) ms.*/\1 \2/p' "$TMP/ping" |
		awk -v all=$((HANDSHAKE_SECONDS * 1000)) '
			{ ms = ($1 - 1) * 100 + $2 }
			END { print NR ? ms : all }'
}

# handshakes: measures and stores the time of handshakes. None follows a slow one.
handshakes() {
	local n ms

	for ((n = 1; n <= HANDSHAKES; n++)); do
		ms=$(shake)
		echo "$ms"
		((${ms%.*} < SLOW_MS)) || break
	done | sort -n >"$TMP/handshakes"
	put handshake_ms "$(sed -n "$((($(wc -l <"$TMP/handshakes") + 1) / 2))p" "$TMP/handshakes")"
	put handshake_max_ms "$(tail -n 1 "$TMP/handshakes")"
}

# goodput_beside_a: measures the goodput with which the flood's is compared.
goodput_beside_a() {
	flood=a attack_start
	goodput beside_a_mbit
	attack_end
	put_pps beside_a_pps
}

# under_flood: measures one flood.
under_flood() {
	tcp_load "$(inner4 B)"
	if [[ $flood == [b-g] ]]; then
		goodput_beside_a
	fi
	[ "$flood" = none ] || attack_start
	goodput goodput_mbit
	tcp_load_end
	cpu_shares
	handshakes
	if [ "$flood" != none ]; then
		attack_end
		put_pps pps
	fi
	wait_until 60 pings A "$(inner4 B)"
	# Until B is no longer under load.
	[[ $flood != [de] ]] || sleep 1
}

# measure: one round of a kind, in new hosts.
measure() {
	hosts
	start_tunnels
	flood=none rate=0 under_flood
	for rate in $RATES; do
		for flood in $FLOODS; do
			under_flood
		done
	done
	hosts_gone
}

main() {
	mkdir -p "$OUT"
	: >"$OUT/flood"
	rm -f "$OUT/wireguard-go"
	[[ $KINDS != *wireguard-go* ]] || find_wireguard_go
	for ((round = 1; round <= ROUNDS; round++)); do
		# shellcheck disable=SC2086 # a list
		for kind in $(in_turn $((round - 1)) $KINDS); do
			measure
		done
	done
}

main
