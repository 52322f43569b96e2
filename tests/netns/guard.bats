# SPDX-License-Identifier: MIT
# Nothing crosses wg0 without its TC programs: no packet bypasses them, and none passes while they
# are missing.
# bats file_tags=load

load lib

setup() {
	needs_root
	needs_wgxdp
}

# ---- a sender that bypasses TC egress

# with_two_peers [ARGUMENTS_OF_A]: makes A with the peers B and C.
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

# slot_of PEER: prints A's peer slot of that peer.
slot_of() { status_of A ".peers[] | select(.public_key == \"${PUBKEY[$1]}\") | .slot"; }

# decrypted HOST: prints how many packets it has decrypted, those that it then dropped included.
decrypted() { status_of "$1" '.peers[0].stats | .from_peer_packets + .from_peer_bad_source'; }

# bypass TO COUNT [gso]: sends packets from A past the queueing discipline, with B's tag.
bypass() {
	on A "$BUILD/tests/tools/bypass" wg0 "$(slot_of B)" "$(inner4 A)" "$@"
}

# nothing_bypasses [ARGUMENTS_OF_A]: packets with a wrong tag must be dropped.
nothing_bypasses() {
	local before to refused=0

	with_two_peers "$@"
	before=$(decrypted B)
	for to in "$(inner4 C)" 10.9.9.9; do
		bypass "$to" 10
		ping_all A "$(inner4 B)" 10 # after them in the queue
		bypass "$to" 10 gso
		ping_all A "$(inner4 B)" 10
		refused=$((refused + 20))
		[ "$(decrypted B)" = $((before + refused)) ] # only the pings
	done
	[ "$(drops A egress_bypass)" = $refused ]
	[ "$(on A cat /sys/class/net/wg0/statistics/tx_dropped)" -ge $refused ]
	bypass "$(inner4 B)" 10 # the tag is right
	ping_all A "$(inner4 B)" 10
	[ "$(decrypted B)" = $((before + refused + 20)) ]
	[ "$(drops A egress_bypass)" = $refused ]
	ping_all A "$(inner4 C)" 10
}

@test "a sender with PACKET_QDISC_BYPASS cannot choose the peer" { nothing_bypasses; }
@test "a sender with PACKET_QDISC_BYPASS cannot choose the peer: on UDP sockets" {
	nothing_bypasses --nic none
}

@test "a sender with PACKET_QDISC_BYPASS cannot choose the peer where wg0 was moved to" {
	with_two_peers
	host_new D
	move_and_set_up A D
	wait_until 15 pings D "$(inner4 B)"
	before=$(decrypted B)
	refused=$(drops A egress_bypass)
	on D "$BUILD/tests/tools/bypass" wg0 "$(slot_of B)" "$(inner4 A)" "$(inner4 C)" 10
	ping_all D "$(inner4 B)" 10
	[ "$(decrypted B)" = $((before + 10)) ]
	[ "$(drops A egress_bypass)" = $((refused + 10)) ]
}

@test "tagged packets pass queueing disciplines, as GSO packets and in segments" {
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

# ---- another program in the place of wgxdp's: only in clsact, because nobody can replace the
# program of a tcx link (tc.bats)

# replace_tc HOST DIRECTION: replaces the program by one that differs only in its maps, which are
# empty.
replace_tc() {
	local dir=/sys/fs/bpf/other

	on "$1" test -e $dir || on "$1" bpftool prog loadall "$BUILD/bpf/wgif.bpf.o" $dir
	on "$1" tc filter replace dev wg0 "$2" protocol all pref 1 handle 1 \
		bpf da object-pinned "$dir/wg_$2"
}

# taken LINE...: repeats a batch of lines for tc until all succeed, because the daemon may put its
# program back between two lines.
taken() {
	printf '%s\n' "$@" >"$TMP/batch"
	wait_until 5 on A tc -batch "$TMP/batch"
}

# talk HOST: pings from HOST to B and back.
talk() {
	wait_until 2 pings "$1" "$(inner4 B)"
	ping_all "$1" "$(inner4 B)" 10
	ping_all B "$(inner4 A)" 10
}

@test "another program in the place of wg0's is put right" {
	without_tcx
	tunnel wgxdp wgxdp
	for direction in egress ingress; do
		replace_tc A $direction
		talk A
	done
	[ "$(grep -c "put back" "$TMP/A-wg0.log")" = 2 ]
}

@test "a filter or qdisc of another kind in the place of wg0's is put right" {
	without_tcx
	tunnel wgxdp wgxdp
	for direction in egress ingress; do
		taken "filter del dev wg0 $direction pref 1" \
			"filter add dev wg0 $direction protocol all pref 1 u32 match u32 0 0 classid 1:1"
		talk A
	done
	taken "qdisc del dev wg0 clsact" "qdisc add dev wg0 ingress"
	talk A
}

@test "another program in the place of wg0's is put right in another network namespace" {
	without_tcx
	tunnel wgxdp wgxdp
	host_new C
	move_and_set_up A C
	wait_until 15 pings C "$(inner4 B)"
	for direction in egress ingress; do
		replace_tc C $direction
		talk C
	done
	[ "$(grep -c "put back" "$TMP/A-wg0.log")" = 2 ]
}

@test "a program that is replaced again and again: logged a few times, put right at the end" {
	local batch=$TMP/batch

	without_tcx
	tunnel wgxdp wgxdp
	for _ in {1..3000}; do
		echo 'filter replace dev wg0 egress protocol all pref 1 handle 1 bpf da bytecode "1,6 0 0 0"'
	done >"$batch"
	on A timeout 20 tc -batch "$batch"
	on A timeout 20 tc -batch "$batch"
	talk A
	grep "put back" "$TMP/A-wg0.log"
	[ "$(grep -c "put back" "$TMP/A-wg0.log")" -le 5 ]
}

# ---- a device on wg0 that takes frames with any address

# with_passthru: makes A with a macvlan in passthru mode on wg0. The macvlan is in C, because wgxdp
# would delete it in A. B may send from 10.0.0.2.
with_passthru() {
	tunnel wgxdp wgxdp
	host_new C
	if ! nsenter --target "${HOST_PID[A]}" --net ip link add link wg0 name mv0 \
		netns "${HOST_PID[C]}" type macvlan mode passthru; then
		skip "needs macvlan"
	fi
	on C ip link set mv0 up
	on C nft -f - <<-'NFT' || skip "needs nft(8) and nf_tables"
		table netdev t {
			counter forbidden { }
			counter allowed { }
			chain c {
				type filter hook ingress device mv0 priority 0
				ip saddr 10.9.9.9 counter name forbidden
				ip saddr 10.0.0.2 counter name allowed
			}
		}
	NFT
	on B ip address add 10.9.9.9/32 dev wg0
}

seen() { on C nft -j list counter netdev t "$1" | jq '.nftables[1].counter.packets'; }

# kept_off: mv0 must have got few of the packets that were decrypted while a program was missing:
# only those before the daemon noticed.
kept_off() {
	local forbidden kept

	forbidden=$(seen forbidden)
	kept=$(drops A unguarded)
	echo "forbidden: $forbidden, kept off: $kept"
	((forbidden * 4 < kept))
}

spoof() { on_bg B ping -q -n -i 0.001 -I 10.9.9.9 "$(inner4 A)" >/dev/null 2>&1; }

@test "a macvlan in passthru mode on wg0 gets hardly any packets over 20 removals of the programs" {
	local i before

	without_tcx
	with_passthru
	spoof
	for ((i = 0; i < 20; i++)); do
		wait_until 5 on A tc qdisc del dev wg0 clsact 2>/dev/null
	done
	before=$(drops A ingress_bad_source)
	wait_until 5 drops_at_least A ingress_bad_source $((before + 100)) # the programs are back
	kept_off
	before=$(seen allowed)
	ping_all B "$(inner4 A)" 10 || true # mv0 has no address
	[ "$(seen allowed)" -ge $((before + 10)) ]
}

@test "a macvlan in passthru mode on wg0 gets hardly any packets while the program is replaced" {
	without_tcx
	with_passthru
	for _ in {1..1000}; do
		echo 'filter replace dev wg0 ingress protocol all pref 1 handle 1 bpf da bytecode "1,6 0 0 0"'
	done >"$TMP/batch"
	spoof
	on_bg A sh -c "while :; do tc -batch '$TMP/batch'; done" 2>/dev/null
	wait_until 20 drops_at_least A unguarded 500
	kept_off
}

# ---- layer-2 devices, which need Ethernet frames

# refused WHAT: returns true if the log says so.
refused() { grep "$1.*it carries IP packets, not Ethernet frames" "$TMP/A-wg0.log"; }

has_no_master() { [ "$(on "$1" ip -j link show wg0 | jq -r '.[0].master // "none"')" = none ]; }

@test "a bridge does not keep wg0 as a port" {
	tunnel wgxdp wgxdp
	on A ip link add br0 type bridge || skip "needs bridge"
	on A ip link set br0 up
	on A ip link set wg0 master br0
	wait_until 5 has_no_master A
	wait_until 5 refused "port of br0: taken out"
	talk A
}

@test "a bridge does not keep wg0 as a port in another network namespace" {
	tunnel wgxdp wgxdp
	host_new C
	on C ip link add br0 type bridge || skip "needs bridge"
	move_and_set_up A C
	on C ip link set wg0 master br0
	wait_until 5 has_no_master C
	wait_until 5 refused "port of br0: taken out"
	wait_until 10 pings C "$(inner4 B)"
}

@test "a VRF keeps wg0" {
	tunnel wgxdp wgxdp
	on A ip link add vrf0 type vrf table 100 || skip "needs vrf"
	on A ip link set vrf0 up
	on A ip link set wg0 master vrf0
	wait_until 5 on A ip vrf exec vrf0 ping -q -n -c 1 -W 1 "$(inner4 B)"
	refute has_no_master A
}

@test "a macvlan on wg0 is deleted" {
	tunnel wgxdp wgxdp
	for mode in bridge passthru; do
		on A ip link add link wg0 name mv0 type macvlan mode $mode || skip "needs macvlan"
		wait_until 5 refute on A ip link show mv0
	done
	wait_until 5 refused "mv0 is a macvlan on the interface: deleted"
	talk A
}

# has_flag HOST FLAG: returns true if wg0 has it.
has_flag() { on "$1" ip -j link show wg0 | jq -e ".[0].flags | index(\"$2\")" >/dev/null; }

# changed HOST: changes ARP and MAC address, which wgxdp must put back.
changed() {
	on "$1" ip link set wg0 arp on
	wait_until 5 has_flag "$1" NOARP
	wait_until 5 pings "$1" "$(inner4 B)"
	on "$1" ip link set wg0 address 02:00:00:00:00:09
	wait_until 5 pings "$1" "$(inner4 B)"
	on "$1" ip link set wg0 down
	on "$1" ip link set wg0 arp on
	on "$1" ip link set wg0 up
	wait_until 15 pings "$1" "$(inner4 B)"
	ping_all B "$(inner4 A)" 10
	[ "$(on "$1" cat /sys/class/net/wg0/address)" = 02:57:47:ff:ff:fd ]
	grep "put back" "$TMP/A-wg0.log"
}

@test "ARP and MAC address of wg0 are put back" {
	tunnel wgxdp wgxdp
	refute grep "put back" "$TMP/A-wg0.log"
	changed A
}

@test "ARP and MAC address of wg0 are put back in another network namespace" {
	tunnel wgxdp wgxdp
	host_new C
	move_and_set_up A C
	wait_until 15 pings C "$(inner4 B)"
	changed C
}
