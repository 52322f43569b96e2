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
