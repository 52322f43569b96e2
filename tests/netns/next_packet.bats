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

# slow_control HOST: its control thread reads each netlink message a moment later than it comes, as
# on a busy machine. Workers go on.
slow_control() {
	if is_wgxdp "$1"; then
		command -v strace >/dev/null || skip "needs strace"
		on_bg "$1" strace -qq -o /dev/null -e trace=recvmsg \
			-e inject=recvmsg:delay_enter=10000 -p "$(daemon_pid "$1")"
		wait_until 5 is_traced "$1"
	fi
}

# shellcheck disable=SC2016 # that shell's
is_traced() { on "$1" sh -c '! grep -q "^TracerPid:.0" /proc/$0/status' "$(daemon_pid "$1")"; }

# next_passes_slowly FROM TO COMMAND...: the packet finds the change unread, or other changes that
# are being dealt with.
next_passes_slowly() {
	if ((i % 4 == 0)); then
		on_path A af_xdp
	fi
	next_passes "$@"
}

renumber() { # FAMILY NUMBER
	local new old

	if [ "$1" = 4 ]; then
		new=192.0.2.$((100 + $2)) old=$here
		on A ip address add "$new" peer "$(outer4 B)" dev toB
	else
		new=2001:db8::$((100 + $2)) old=$here
		on A ip address add "$new" peer "$(outer6 B)" dev toB nodad
	fi
	on A ip address del "$old" peer "$(outer"$1" B)" dev toB
	here=$new
}

address_replaced() { # FAMILY
	tunnel wgxdp wireguard-go "$1"
	on_path A af_xdp
	here=$(outer"$1" A)
	on B ip route add 192.0.2.0/24 dev toA
	on B ip route add 2001:db8::/64 dev toA
	# Those to the peer go with the old address.
	on A ip route add 192.0.2.0/24 dev toB
	on A ip route add 2001:db8::/64 dev toB
	on A sysctl -qw net.ipv4.conf.toB.promote_secondaries=1
	slow_control A
	for ((i = 0; i < TIMES; i++)); do
		next_passes_slowly A "$(inner4 B)" renumber "$1" $i
	done
	none_lost
}

@test "an address of the NIC is replaced, IPv4" { address_replaced 4; }
@test "an address of the NIC is replaced, IPv6" { address_replaced 6; }

# other_link TO FROM OPTIONS...: B takes what comes from the address of the link that leads there.
other_link() {
	local to=$1 from=$2

	shift 2
	on B nft flush chain inet links in
	on B nft add rule inet links in iifname "$from" udp dport "$PORT" drop
	on B nft add rule inet links in iifname "$to" ip saddr != "${SOURCE[$to]}" \
		udp dport "$PORT" drop
	on A ip route replace "$@"
}

two_links() {
	local host

	has_nft
	tunnel wgxdp wireguard-go
	on_path A af_xdp
	nsenter --target "${HOST_PID[A]}" --net ip link add second type veth \
		peer name second netns "${HOST_PID[B]}"
	for host in A B; do on $host ip link set second up; done
	on A ip address add 198.51.100.1/24 dev second
	on B ip address add 198.51.100.2/24 dev second
	on A ping -q -c 1 -W 1 198.51.100.2 # the neighbour is known
	on B nft add table inet links
	on B nft add chain inet links in '{ type filter hook input priority 0; }'
	declare -gA SOURCE=([toA]=$(outer4 A) [second]=198.51.100.1)
}

better_route() { # OPTIONS of the route by the second link...
	two_links
	slow_control A
	for ((i = 0; i < TIMES; i++)); do
		if ((i / 2 % 2)); then
			next_passes_slowly A "$(inner4 B)" other_link toA second \
				"$(outer4 B)" dev toB src "$(outer4 A)"
		else
			next_passes_slowly A "$(inner4 B)" other_link second toA \
				"$(outer4 B)" dev second "$@"
		fi
	done
	none_lost
}

@test "a better route by another link is added" { better_route via 198.51.100.2; }

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
