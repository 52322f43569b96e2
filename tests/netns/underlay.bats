# SPDX-License-Identifier: MIT
# What lies under the tunnel: MTUs that do not fit, devices that merge packets, an
# interface that goes down and up.

load lib

# not_a_trickle FROM TO [ARGUMENTS of iperf3...]: TCP moves more than 20 Mbit/s.
not_a_trickle() {
	local from=$1 to=$2 server

	shift 2
	on "$to" timeout 60 iperf3 -s -1 >/dev/null 3>&- &
	server=$!
	wait_until 5 listening_tcp "$to" 5201
	on "$from" timeout 60 iperf3 -J -t 2 -c "$(inner4 "$to")" "$@" >"$TMP/iperf"
	wait "$server"
	jq -e '.end.sum_received.bits_per_second > 20e6' "$TMP/iperf"
}

set_mtus() { # UNDERLAY TUNNEL
	on A ip link set toB mtu "$1"
	on B ip link set toA mtu "$1"
	on A ip link set wg0 mtu "$2"
	on B ip link set wg0 mtu "$2"
}

@test "a link's MTU is less than the tunnel's packets, by AF_XDP" {
	tunnel wgxdp wgxdp
	set_mtus 1300 1420
	not_a_trickle A B
	ping_all A "$(inner4 B)" 3 -s 1392 -M "do"
}

@test "a link's MTU is less than the tunnel's packets, without XDP" {
	WGXDP_ARGS="--nic none" tunnel wgxdp wgxdp
	set_mtus 1300 1420
	not_a_trickle A B
	not_a_trickle A B -R
}

@test "a link's MTU is less than the tunnel's packets, IPv6" {
	WGXDP_ARGS="--nic none" tunnel wgxdp wgxdp 6
	set_mtus 1300 1420
	not_a_trickle A B
}

@test "jumbo frames, larger than a UMEM frame" {
	local size

	host_new A
	host_new B
	join A B
	on A ip link set toB mtu 9000
	on B ip link set toA mtu 9000
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B
	on A ip link set wg0 mtu 8920
	on B ip link set wg0 mtu 8920
	for size in 100 3000 4000 8000; do
		wait_until 10 pings A "$(inner4 B)"
		ping_all A "$(inner4 B)" 5 -s $size -M "do"
	done
	not_a_trickle A B
}

@test "a wg0 MTU of 65000: the underlay fragments" {
	tunnel wgxdp wgxdp
	set_mtus 1500 65000
	ping_all A "$(inner4 B)" 5 -s 60000 -M "do"
	ping_all A "$(inner6 B)" 5 -s 60000
}

# The bridge has no XDP of its own, and the device under it merges datagrams.
@test "our address is on a bridge" {
	host_new A
	host_new B
	join A B
	on B ip link add br0 type bridge
	on B ip address flush dev toA
	on B ip link set toA master br0
	on B ip link set br0 up
	on B ip address add "$(outer4 B)" peer "$(outer4 A)" dev br0
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	not_a_trickle A B
	not_a_trickle A B -R
	status_is B '.nics == []'
}

@test "generic XDP where datagrams come merged" {
	host_new A
	host_new B
	join A B
	start_wg wgxdp A --nic none
	start_wg wgxdp B --nic toA:skb
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	not_a_trickle A B
}

listens() { on "$1" ss -Hulpn "sport = :$PORT" | grep -q wgxdp; }

@test "down and up at once, again and again: it listens" {
	local i

	WGXDP_ARGS="--nic none" tunnel wgxdp wgxdp
	for i in {1..40}; do
		printf 'link set wg0 down\nlink set wg0 up\n' | on A ip -batch -
		wait_until 5 listens A
		refute grep "cannot listen" "$TMP/A-wg0.log"
	done
	on A ip route replace "$(inner6 B)/128" dev wg0
	wait_until 10 pings A "$(inner4 B)"
}

@test "the port is somebody else's when wg0 comes up: it is taken when free" {
	host_new A
	start_wg wgxdp A
	wg_keys A
	on_bg A socat -u "UDP4-RECV:$PORT" /dev/null
	wait_until 5 has_udp A
	on A wg set wg0 private-key "$TMP/A.key" listen-port $PORT
	on A ip link set wg0 up
	wait_until 5 grep -q "cannot listen on UDP port $PORT" "$TMP/A-wg0.log"
	on A pkill -x socat
	wait_until 5 listens A
}

has_udp() { on "$1" ss -Huln "sport = :$PORT" | grep -q .; }
