# SPDX-License-Identifier: MIT
# Nothing passes wg0 without its TC programs: neither past them, nor while they are gone.

load lib

setup() {
	needs_root
	needs_wgxdp
}

# ---- a sender that bypasses TC egress

# with_two_peers [ARGUMENTS_OF_A]: A, and its peers B and C.
with_two_peers() {
	host_new A
	host_new B
	host_new C
	join A B
	join A C
	start_wg wgxdp A "$@"
	start_wg wgxdp B
	start_wg wgxdp C
	wg_setup A B
	wg_keys C
	on C wg set wg0 private-key "$TMP/C.key" listen-port "$PORT"
	wg_up C
	wg_peer C A
	wg_peer A C endpoint "$(endpoint C 4)"
	wait_until 10 pings A "$(inner4 B)"
	wait_until 10 pings A "$(inner4 C)"
}

# slot_of PEER: of A's.
slot_of() { status_of A ".peers[] | select(.public_key == \"${PUBKEY[$1]}\") | .slot"; }

# decrypted HOST: packets that it opened, whatever became of them.
decrypted() { status_of "$1" '.peers[0].stats | .from_peer_packets + .from_peer_bad_source'; }

# bypass TO COUNT [gso]: from A, with B's tag.
bypass() {
	on A "$BUILD/tests/tools/bypass" wg0 "$(slot_of B)" "$(inner4 A)" "$@"
}

# nothing_bypasses [ARGUMENTS_OF_A]
nothing_bypasses() {
	local before to refused=0

	with_two_peers "$@"
	before=$(decrypted B)
	for to in "$(inner4 C)" 10.9.9.9 "$(inner4 B)"; do
		bypass "$to" 10
		ping_all A "$(inner4 B)" 10 # behind them
		bypass "$to" 10 gso
		ping_all A "$(inner4 B)" 10
		refused=$((refused + 20))
		[ "$(decrypted B)" = $((before + refused)) ] # those of ping
	done
	[ "$(drops A egress_bypass)" = $refused ]
	[ "$(on A cat /sys/class/net/wg0/statistics/tx_dropped)" -ge $refused ]
	ping_all A "$(inner4 C)" 10
}

@test "a sender with PACKET_QDISC_BYPASS cannot choose the peer" { nothing_bypasses; }
@test "a sender with PACKET_QDISC_BYPASS cannot choose the peer: on UDP sockets" {
	nothing_bypasses --nic none
}

@test "a sender with PACKET_QDISC_BYPASS cannot choose the peer where wg0 was moved to" {
	with_two_peers
	host_new D
	nsenter --target "${HOST_PID[A]}" --net ip link set wg0 netns "${HOST_PID[D]}"
	on D ip address add "$(inner4 A)/24" dev wg0
	on D ip link set wg0 up
	wait_until 15 pings D "$(inner4 B)"
	before=$(decrypted B)
	refused=$(drops A egress_bypass)
	on D "$BUILD/tests/tools/bypass" wg0 "$(slot_of B)" "$(inner4 A)" "$(inner4 C)" 10
	ping_all D "$(inner4 B)" 10
	[ "$(decrypted B)" = $((before + 10)) ]
	[ "$(drops A egress_bypass)" = $((refused + 10)) ]
}

@test "what was tagged passes queueing disciplines, whole and in segments" {
	tunnel wgxdp wgxdp
	for qdisc in pfifo "tbf rate 500mbit burst 128kb latency 50ms"; do
		# shellcheck disable=SC2086 # words on purpose
		on A tc qdisc replace dev wg0 root $qdisc
		ping_all A "$(inner4 B)" 10
		send_file A B 3000000
	done
	on A ethtool -K wg0 tso off gso off
	send_file A B 3000000
	[ "$(drops A egress_bypass)" = 0 ]
}
