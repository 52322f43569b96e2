# SPDX-License-Identifier: MIT
# The user's filters, qdiscs and tcx programs on wg0 run, and wgxdp's programs work nevertheless.

load lib

setup() {
	needs_root
	needs_wgxdp
}

USER_TC=$BUILD/tests/tools/user_tc

# has_tcx: returns true if the kernel has tcx (Linux 6.6).
has_tcx() {
	host_new T
	on T ip link add t0 type veth peer name t1
	on_bg T timeout 10 "$USER_TC" t0 ingress after -1 >"$TMP/tcx" 2>&1
	wait_until 5 test -s "$TMP/tcx"
	grep -q attached "$TMP/tcx"
}

needs_tcx() { has_tcx || skip "the kernel has no tcx"; }

# clsact: adds the user's clsact qdisc. On a kernel without tcx, wgxdp's is there already.
clsact() { on A tc qdisc add dev wg0 clsact 2>/dev/null || on A tc qdisc show dev wg0 | grep clsact; }

# sink: adds a veth to A, where `sunk` counts mirrored packets.
sink() {
	on A ip link add sink type veth peer name drain
	on A sysctl -qw net.ipv6.conf.sink.disable_ipv6=1 net.ipv6.conf.drain.disable_ipv6=1
	on A ip link set drain up
	on A ip link set sink up
}

sunk() { on A cat /sys/class/net/drain/statistics/rx_packets; }

# user_filter DIRECTION ACTION...: adds a filter for every packet, without a priority.
user_filter() { on A tc filter add dev wg0 "$1" protocol all u32 match u32 0 0 "${@:2}"; }

# user_tcx DIRECTION before|after RESULT: attaches a tcx program that returns RESULT.
user_tcx() {
	rm -f "$TMP/attached"
	on_bg A "$USER_TC" wg0 "$@" >"$TMP/attached"
	wait_until 5 grep -q attached "$TMP/attached"
}

talk() {
	ping_all A "$(inner4 B)" 10
	ping_all B "$(inner6 A)" 10
}

# in_echos: prints how many echo requests A's stack has received.
in_echos() { on A nstat -asz IcmpInEchos | awk '/^IcmpInEchos/ { print $2 }'; }

# enforced: a packet of B's with another source address must be dropped.
enforced() {
	local before

	before=$(in_echos)
	on B ip address add 10.9.9.9/32 dev wg0
	refute on B ping -q -n -c 10 -i 0.05 -W 1 -I 10.9.9.9 "$(inner4 A)"
	on B ip address del 10.9.9.9/32 dev wg0
	[ "$(in_echos)" = "$before" ]
	drops_at_least A ingress_bad_source 10
}

# ---- filters

# mirrors: both directions must be mirrored, and the tunnel must work.
mirrors() {
	local before direction

	tunnel wgxdp wgxdp
	clsact
	sink
	for direction in ingress egress; do
		user_filter $direction action mirred egress mirror dev sink
		before=$(sunk)
		ping_all A "$(inner4 B)" 10
		[ "$(sunk)" -ge $((before + 10)) ]
	done
	talk
	enforced
	[ "$(drops A egress_bypass)" = 0 ]
}

@test "filters without a priority mirror both directions" { mirrors; }
@test "filters without a priority mirror both directions: without tcx" {
	without_tcx
	mirrors
}

# accepts: adds filters that end the chain with TC_ACT_OK.
accepts() {
	local direction

	tunnel wgxdp wgxdp
	clsact
	for direction in ingress egress; do
		on A "$USER_TC" wg0 $direction filter 0
	done
	talk
	send_file A B 3000000
	send_file B A 3000000
	enforced
	[ "$(drops A egress_bypass)" = 0 ]
}

@test "filters that accept everything do not break the tunnel" { accepts; }
@test "filters that accept everything do not break the tunnel: without tcx" {
	without_tcx
	accepts
}

marks() {
	tunnel wgxdp wgxdp
	if ! on A nft -f -; then
		skip "needs nft(8) and nf_tables"
	fi <<-'NFT'
		table inet t {
			counter marked { }
			chain c {
				type filter hook prerouting priority 0
				meta mark 7 counter name marked
			}
		}
	NFT
	clsact
	on A "$USER_TC" wg0 ingress filter 0 7
	ping_all B "$(inner4 A)" 10
	[ "$(on A nft -j list counter inet t marked | jq '.nftables[1].counter.packets')" -ge 10 ]
	enforced
}

@test "received packets keep the mark of a user's filter" { marks; }
@test "received packets keep the mark of a user's filter: without tcx" {
	without_tcx
	marks
}

# shaped DIRECTION: redirects packets of that direction through an ifb, which must get them.
shaped() {
	local before

	before=$(on A cat /sys/class/net/ifb9/statistics/rx_packets)
	user_filter "$1" action mirred egress redirect dev ifb9
	talk
	[ "$(on A cat /sys/class/net/ifb9/statistics/rx_packets)" -ge $((before + 20)) ]
	on A tc filter del dev wg0 "$1" prio 49152
}

# shapes: makes an ifb with tbf, and shapes both directions.
shapes() {
	tunnel wgxdp wgxdp
	on A ip link add ifb9 type ifb || skip "needs ifb"
	on A ip link set ifb9 up
	on A tc qdisc add dev ifb9 root tbf rate 200mbit burst 128kb latency 100ms
	clsact
	shaped ingress
	shaped egress
	user_filter ingress action mirred egress redirect dev ifb9
	send_file B A 3000000
	enforced
}

@test "an ifb shapes both directions" { shapes; }
@test "an ifb shapes both directions: without tcx" {
	without_tcx
	shapes
}

@test "the user's ingress qdisc, as on any device" {
	needs_tcx
	tunnel wgxdp wgxdp
	sink
	on A tc qdisc add dev wg0 handle ffff: ingress
	on A tc filter add dev wg0 parent ffff: prio 1 protocol ip u32 match u32 0 0 \
		action mirred egress mirror dev sink
	talk
	[ "$(sunk)" -ge 10 ]
	on A tc qdisc del dev wg0 ingress
	on A tc qdisc add dev wg0 clsact
	on A tc qdisc del dev wg0 clsact
	talk
	enforced
	refute grep "put back" "$TMP/A-wg0.log"
}

# ---- tcx programs

# passed_by DIRECTION before|after: attaches a program that ends the chain with TCX_PASS.
passed_by() {
	needs_tcx
	tunnel wgxdp wgxdp
	user_tcx "$1" "$2" 0
	# The daemon looks once per second, or every 1.5 seconds if it receives nothing.
	wait_until 10 pings A "$(inner4 B)"
	talk
	send_file A B 1000000
	send_file B A 1000000
	enforced
	talk
}

@test "a tcx program that passes everything, after ours, on ingress" { passed_by ingress after; }
@test "a tcx program that passes everything, after ours, on egress" { passed_by egress after; }
@test "a tcx program that passes everything, put before ours, on ingress" { passed_by ingress before; }
@test "a tcx program that passes everything, put before ours, on egress" { passed_by egress before; }

@test "tcx programs of the user's in another network namespace" {
	needs_tcx
	tunnel wgxdp wgxdp
	host_new C
	move_and_set_up A C
	wait_until 15 pings C "$(inner4 B)"
	refute grep "put back" "$TMP/A-wg0.log"
	for direction in ingress egress; do
		on_bg C "$USER_TC" wg0 $direction before 0 >"$TMP/$direction"
		wait_until 5 grep -q attached "$TMP/$direction"
		wait_until 10 pings C "$(inner4 B)"
		ping_all B "$(inner4 A)" 10
	done
	[ "$(grep -c "put back" "$TMP/A-wg0.log")" = 2 ]
}
