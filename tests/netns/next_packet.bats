# SPDX-License-Identifier: MIT
# The next packet after a change: once the command that changes something has returned, the very
# next packet passes. Each change is made many times, and none may be lost.
# bats file_tags=load

load lib

TIMES=${TIMES:-${LONG:+50}}
TIMES=${TIMES:-20}

# next_passes FROM TO COMMAND...: the ping right after it is answered.
next_passes() {
	local from=$1 to=$2

	shift 2
	"$@"
	on "$from" ping -q -c 1 -W 1 "$to" >/dev/null || ((++lost))
}

# none_lost
none_lost() {
	echo "lost $lost of $TIMES"
	[ "$lost" = 0 ]
}

setup() { lost=0; }

down_and_up() {
	on A ip link set toB down
	on A ip link set toB up
	on A ip address replace "$(outer4 A)" peer "$(outer4 B)" dev toB
}

@test "the NIC goes down and up" {
	tunnel wgxdp wireguard-go
	on_path A af_xdp
	for ((i = 0; i < TIMES; i++)); do
		next_passes A "$(inner4 B)" down_and_up
	done
	none_lost
}

both_anew() {
	on B ip link set wg0 down
	on A ip link set wg0 down
	on B ip link set wg0 up
	on A ip link set wg0 up
}

# B has no session, and its first initiation must find A's socket.
@test "the interface goes up, and the peer writes at once" {
	tunnel wgxdp wgxdp
	for ((i = 0; i < TIMES; i++)); do
		next_passes B "$(inner4 A)" both_anew
	done
	none_lost
}

set_endpoint() { # NUMBER
	on B ip address add "198.51.100.$1/32" dev toA
	on A ip route replace "198.51.100.$1/32" dev toB
	wg_peer A B endpoint "198.51.100.$1:$PORT"
}

@test "an endpoint is set" {
	tunnel wgxdp wireguard-go
	on_path A af_xdp
	for ((i = 0; i < TIMES; i++)); do
		next_passes A "$(inner4 B)" set_endpoint $((i + 1))
	done
	none_lost
}

set_allowed() { # NUMBER
	on B ip address add "10.9.0.$1/32" dev wg0
	on A ip route replace "10.9.0.$1/32" dev wg0
	on A wg set wg0 peer "${PUBKEY[B]}" \
		allowed-ips "$(inner4 B)/32,$(inner6 B)/128,10.9.0.$1/32"
}

@test "an allowed IP is set" {
	tunnel wgxdp wireguard-go
	on_path A af_xdp
	for ((i = 1; i <= TIMES; i++)); do
		next_passes A "10.9.0.$i" set_allowed $i
	done
	none_lost
}

peer_anew() {
	on A wg set wg0 peer "${PUBKEY[B]}" remove
	wg_peer A B endpoint "$(endpoint B 4)"
}

@test "a peer is set" {
	tunnel wgxdp wireguard-go
	for ((i = 0; i < TIMES; i++)); do
		next_passes A "$(inner4 B)" peer_anew
	done
	none_lost
}

@test "the interface is moved to another namespace, and back" {
	needs_wgxdp
	tunnel wgxdp wireguard-go
	host_new X
	for ((i = 0; i < TIMES / 2; i++)); do
		next_passes X "$(inner4 B)" move_and_set_up A X
		next_passes A "$(inner4 B)" move_and_set_up X A
	done
	none_lost
}
