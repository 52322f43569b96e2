# SPDX-License-Identifier: MIT
# The reports of tests/bench, and huge pages for packets.

load lib

setup() { REPORT=$REPO/tests/bench/report.py; }

@test "benchmark: ratios are within a round, with median and spread" {
	printf '%s\n' "1 wireguard-go tcp_1 100" "1 wgxdp tcp_1 200" \
		"2 wgxdp tcp_1 150" "2 wireguard-go tcp_1 50" \
		"3 wireguard-go tcp_1 200" "3 wgxdp tcp_1 800" >"$TMP/figures"
	"$REPORT" "$TMP/figures" >"$TMP/page"
	cat "$TMP/page"
	grep -qxF "| TCP, 1 stream, Mbit/s | 100 | 200 (3.00 ×, 2.00–4.00) |" "$TMP/page"
}

@test "benchmark: if nearly all datagrams arrived, the rate is marked as the sender's" {
	printf '%s\n' "1 veth udp_64 1000" "1 veth udp_64_lost_share 0.01" \
		"1 wgxdp udp_64 900" "1 wgxdp udp_64_lost_share 0.3" >"$TMP/figures"
	"$REPORT" "$TMP/figures" >"$TMP/page"
	cat "$TMP/page"
	grep -qxF "| UDP, 64 B, received per second | ≥ 1000 | 900 |" "$TMP/page"
}

@test "benchmark: one of something is in the singular" {
	echo "1 wgxdp tcp_1 200" >"$TMP/figures"
	printf '%s\n' {seal,open}_x_{64,1420}" 10" "threads_1 200" >"$TMP/micro"
	printf '%s\n' "peers_1_config_ms 7" "peers_10000_config_ms 7" "peers_at_once_1_all_s 1" >"$TMP/scale"
	: >"$TMP/profile"
	"$REPORT" "$TMP"/{figures,micro,scale,profile} >"$TMP/page"
	cat "$TMP/page"
	grep -q "| 1 core | 2 cores |" "$TMP/page"
	grep -q "^| 1 peer | 7 |" "$TMP/page"
	grep -q "^| 10,000 peers | 7 |" "$TMP/page"
	grep -q "^| 1 peer at once |" "$TMP/page"
}

@test "benchmark: simulated rate of one core, and of many, which delivery limits" {
	"$REPO/tests/bench/simulate.py" 1000 1000 1 2 4 32 >"$TMP/cores"
	cat "$TMP/cores"
	# 2000 ns per packet, of which 500 are delivery.
	awk '{ sum[$1] = $2 } END {
		exit !(sum["simulated_1"] > 480000 && sum["simulated_1"] <= 500000 &&
			sum["simulated_2"] > sum["simulated_1"] * 1.4 &&
			sum["simulated_4"] >= sum["simulated_2"] &&
			sum["simulated_32"] > 1000000 && sum["simulated_32"] <= 2010000) }' "$TMP/cores"
}

@test "flood benchmark: ratios to what (a) leaves, and verdicts by the medians" {
	printf '%s\n' "1 x c_max_beside_a_mbit 100" "1 x c_max_goodput_mbit 90" \
		"2 x c_max_beside_a_mbit 200" "2 x c_max_goodput_mbit 200" \
		"3 x c_max_beside_a_mbit 50" "3 x c_max_goodput_mbit 48" \
		"1 x d_50000_handshake_ms 5501" "1 x c_max_handshake_ms 51" "1 x a_max_handshake_ms 90" \
		"1 x g_max_cpu_percent 50" "1 x f_max_cpu_percent 5" >"$TMP/figures"
	"$REPO/tests/bench/flood_report.py" "$TMP/figures" >"$TMP/page"
	cat "$TMP/page"
	grep -qxF "| (c) initiations, wrong mac1 | most | 0.96 (0.90–1.00), yes |" "$TMP/page"
	grep -qxF "| (c) initiations, wrong mac1 | most | 51, **no** |" "$TMP/page"
	grep -qxF "| (d) initiations, right mac1, spoofed sources | 50,000 | 5501, **no** |" "$TMP/page"
	grep -qxF "| (a) UDP to another port | most | 90 |" "$TMP/page"
	grep -qxF "| (f) data, unknown index | most | 5, yes |" "$TMP/page"
	grep -qxF "| (g) data, known index, bad tag | most | 50 |" "$TMP/page"
}

# The figures of a short flood do not matter.
@test "flood benchmark: measures and makes tables" {
	needs_root
	needs_wgxdp
	OUT=$TMP RATES=1000 FLOODS=g KINDS=wgxdp-udp ROUNDS=1 SECONDS_EACH=0.2 HANDSHAKES=1 \
		"$REPO/tests/bench/flood.sh" 3>&-
	"$REPO/tests/bench/flood_report.py" "$TMP/flood" >"$TMP/page"
	cat "$TMP/page"
	grep -q "^| goodput .* (b) to (g) | [01] of 1 |$" "$TMP/page"
	grep -q "^| (g) data, known index, bad tag | 1,000 | .*, \(yes\|\*\*no\*\*\) |$" "$TMP/page"
}

# dropped_for REASON KIND [ARGUMENT]: F attacks A until A has dropped some packets for this reason.
dropped_for() {
	local before attacker

	before=$(drops A "$1")
	on F timeout $((30 * PATIENCE)) "$BUILD/tests/bench/attack" "$2" toA \
		"$(on A cat /sys/class/net/toF/address)" "$(outer4 A)" "$PORT" 200 "${@:3}" 3>&- &
	attacker=$!
	wait_until 20 drops_at_least A "$1" $((before + 5))
	kill "$attacker"
	wait "$attacker" || true
}

# captured_by_A FILTER COMMAND...: runs the command, and writes the first packet from B that matches
# to $TMP/pcap.
captured_by_A() {
	local filter=$1

	shift
	rm -f "$TMP/pcap"
	on A tcpdump -Z root --immediate-mode -Q in -U -c 1 -w "$TMP/pcap" -i toB "$filter" 3>&- &
	wait_until 5 test -s "$TMP/pcap"
	"$@"
	wait $!
}

@test "flood benchmark: each attack is what it says" {
	needs_root
	needs_wgxdp
	WGXDP_ARGS="--nic none" tunnel wgxdp wgxdp
	host_new F
	join A F
	dropped_for bad_type random
	dropped_for bad_mac mac1
	dropped_for bad_handshake initiation "${PUBKEY[A]}"
	dropped_for unknown_receiver index
	captured_by_A "udp[8] = 4" pings B "$(inner4 A)"
	dropped_for bad_tag tag "$TMP/pcap"
	on B wg set wg0 peer "${PUBKEY[A]}" remove
	wg_peer B A endpoint "$(endpoint A 4)"
	captured_by_A "udp[8] = 1" pings B "$(inner4 A)"
	dropped_for replayed_initiation replay "$TMP/pcap"
}

# huge_kb HOST: prints the KB of huge pages of the daemon's mapping that has most of them.
huge_kb() {
	on "$1" awk '/^AnonHugePages/ && $2 > most { most = $2 } END { print most + 0 }' \
		"/proc/$(daemon_pid "$1")/smaps"
}

@test "a NIC's packets are in huge pages, if the kernel has them" {
	needs_root
	needs_wgxdp
	if grep -q '\[never\]' /sys/kernel/mm/transparent_hugepage/enabled; then
		skip "transparent huge pages are off"
	fi
	host_new A
	host_new B
	join A B
	start_wg wgxdp A --nic toB
	wg_up A
	wait_until 5 has_xdp A toB
	(($(huge_kb A) >= 8192))
}
