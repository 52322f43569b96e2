# SPDX-License-Identifier: MIT
# The path to a peer changes while its tunnel is in use: the traffic follows without help, and at
# most a second of it is lost.

load lib

setup() {
	needs_root
	needs_wgxdp
}

PINGS=80
MAX_LOST=50 # the pings of a second
printf -v INTERVAL "%d.%02d" $((PATIENCE * 2 / 100)) $((PATIENCE * 2 % 100))

answers() { (($(grep -c 'bytes from' "$TMP/follow") >= $1)); }

# recovered: returns true if the very last ping was answered.
recovered() { grep -q "bytes from.*icmp_seq=$PINGS " "$TMP/follow"; }

# follows HOST ADDRESS COMMAND...: runs the command while HOST pings; few pings may be lost.
follows() {
	local host=$1 addr=$2 pinger received

	shift 2
	on "$host" timeout $((20 * PATIENCE)) ping -n -i "$INTERVAL" -c $PINGS -W 1 "$addr" \
		>"$TMP/follow" 2>&1 3>&- &
	pinger=$!
	wait_until 5 answers 10
	"$@"
	wait $pinger || true
	received=$(grep -c 'bytes from' "$TMP/follow")
	echo "$*: $((PINGS - received)) of $PINGS lost"
	((PINGS - received <= MAX_LOST))
	recovered
}

# second_link: joins A and B by another veth, called "second" in both, up, without addresses.
second_link() {
	nsenter --target "${HOST_PID[A]}" --net ip link add second type veth \
		peer name second netns "${HOST_PID[B]}"
	on A ip link set second up
	on B ip link set second up
}

# same_addresses: adds the first link's addresses to the second one; routes stay with the first.
same_addresses() {
	on A ip address add 192.0.2.1/32 dev second
	on B ip address add 192.0.2.2/32 dev second
}

goes_by() { status_is A ".peers[0] | .nic == \"$1\" and .path == \"af_xdp\""; }

# received_on HOST DEVICE: prints how many packets it has received.
received_on() { on "$1" ip -s -j link show "$2" | jq '.[0].stats64.rx.packets'; }

# pings_by toA|second: A's messages must reach B by that device, and hardly any by the other.
pings_by() {
	local toA second

	toA=$(received_on B toA)
	second=$(received_on B second)
	ping_all A "$(inner4 B)" 50
	toA=$(($(received_on B toA) - toA))
	second=$(($(received_on B second) - second))
	echo "toA: $toA, second: $second"
	((${!1} >= 50 && toA + second - ${!1} < 20))
}

# ---- default routes

# attached DEVICE...: by A's wg0, these and no others.
attached() {
	[ "$(status_of A '[.nics[].name] | sort | join(" ")')" = "$*" ]
}

@test "the devices of default routes are attached without a peer, wg0 itself is not" {
	host_new A
	host_new B
	join A B
	second_link
	on A ip route add default via "$(outer4 B)" dev toB
	start_wg wgxdp A
	attached ""
	on A ip link set wg0 up
	wait_until 5 attached toB
	# As wg-quick does it, and without its marks.
	on A wg set wg0 fwmark 51820
	on A ip route add default dev wg0 table 51820
	on A ip rule add not fwmark 51820 table 51820
	on A ip route add default dev wg0 metric 1
	on A ip -6 route add default dev second metric 9
	wait_until 5 attached second toB
	on A ip -6 route add default dev wg0 metric 1
	on A ip route del default dev toB
	# One that comes later, with several next hops.
	on A ip link add tun0 type veth peer name tun1
	on A ip link set tun0 up
	on A ip link set tun1 up
	on A ip route replace default metric 1 nexthop dev tun0 nexthop via "$(outer4 B)" dev toB
	wait_until 5 attached second toB tun0
}

@test "a default route attaches nothing to devices that were not asked for" {
	host_new A
	host_new B
	join A B
	second_link
	on A ip route add default via "$(outer4 B)" dev toB
	start_wg wgxdp A --nic second
	on A ip link set wg0 up
	sleep 0.5
	attached second
}

# ---- marks

# mark_setup: makes two links; a rule sends marked packets to B by the second one.
mark_setup() {
	tunnel wgxdp wgxdp
	second_link
	same_addresses
	on A ip route add 192.0.2.2/32 dev second table 100
	on A ip rule add fwmark 0x42 lookup 100
}

@test "a mark makes the tunnel use another routing table, AF_XDP" {
	mark_setup
	on_path A af_xdp
	pings_by toA
	on A wg set wg0 fwmark 0x42
	wait_until 5 goes_by second
	pings_by second
	on A ip rule del fwmark 0x42
	wait_until 5 goes_by toB
	pings_by toA
	on A ip rule add fwmark 0x42 lookup 100
	wait_until 5 goes_by second
	on A wg set wg0 fwmark 0
	wait_until 5 goes_by toB
	pings_by toA
}

@test "a mark makes the tunnel use another routing table, UDP sockets" {
	WGXDP_ARGS="--nic none" mark_setup
	pings_by toA
	on A wg set wg0 fwmark 0x42
	pings_by second
	on A wg set wg0 listen-port 51999
	pings_by second
	on A wg set wg0 fwmark 0
	pings_by toA
}

# As wg-quick does it: all packets without the mark go into wg0, also those to the endpoint.
@test "a default route into wg0 that covers the endpoint" {
	tunnel wgxdp wgxdp
	on A wg set wg0 fwmark 51820 peer "${PUBKEY[B]}" allowed-ips 0.0.0.0/0,::/0
	on A sysctl -qw net.ipv4.conf.all.src_valid_mark=1
	on A ip route del 192.0.2.2 dev toB
	on A ip route add 192.0.2.0/24 dev toB table 300
	on A ip route add default dev wg0 table 200
	on A ip rule add not fwmark 51820 table 200
	on A ip rule add fwmark 51820 table 300
	on B ip address add 198.51.100.1/32 dev lo
	wait_until 5 pings A 198.51.100.1
	wait_until 5 goes_by toB
	ping_all A 198.51.100.1 50
	# The endpoint's own address, through the tunnel.
	ping_all A 192.0.2.2 50
	on A wg set wg0 peer "${PUBKEY[B]}" remove
	on A wg set wg0 peer "${PUBKEY[B]}" allowed-ips 0.0.0.0/0 endpoint "$(endpoint B 4)"
	wait_until 5 pings A 198.51.100.1
}

# ---- our own address

sees() { [ "$(wg_field B endpoints)" = "$1" ]; }

# writes_to FROM TO ENDPOINT: makes FROM send to this endpoint. The first pings get no answer,
# because an answer from the old address would move FROM's endpoint back.
writes_to() {
	on "$2" sysctl -qw net.ipv4.icmp_echo_ignore_all=1
	on "$1" wg set wg0 peer "${PUBKEY[$2]}" endpoint "$3"
	on "$1" ping -q -n -c 5 -i 0.1 -W 0.1 "$(inner4 "$2")" >/dev/null || true
	on "$2" sysctl -qw net.ipv4.icmp_echo_ignore_all=0
	ping_all "$1" "$(inner4 "$2")" 20
}

# sticky FAMILY SECOND_ADDRESS SECOND_ENDPOINT FIRST_ENDPOINT: B sends to A's second address. If A
# answered from another address, B's endpoint for A would move.
sticky() {
	tunnel wgxdp wgxdp "$1"
	on A ip address add "$2" dev toB
	on B ip route add "$2" dev toA
	writes_to B A "$3"
	ping_all A "$(inner4 B)" 20
	sees "$3"
	# The response to a handshake, too.
	on B wg set wg0 peer "${PUBKEY[A]}" remove
	wg_peer B A endpoint "$3"
	wait_until 5 pings B "$(inner4 A)"
	ping_all A "$(inner4 B)" 20
	sees "$3"
	follows A "$(inner4 B)" on A ip address del "$2" dev toB
	sees "$4"
}

@test "answers leave from the address that the peer sent to, IPv4" {
	sticky 4 192.0.2.101/32 192.0.2.101:51820 192.0.2.1:51820
}
@test "answers leave from the address that the peer sent to, IPv6" {
	sticky 6 2001:db8::101/128 "[2001:db8::101]:51820" "[2001:db8::1]:51820"
}
@test "answers leave from the address that the peer sent to, UDP sockets" {
	WGXDP_ARGS="--nic none" sticky 4 192.0.2.101/32 192.0.2.101:51820 192.0.2.1:51820
}

@test "a repeated initiation leaves from another source address if the old one gets no answer" {
	tunnel wgxdp wireguard-go
	on A ip address add 192.0.2.101/32 dev toB
	on B ip route add 192.0.2.101/32 dev toA
	writes_to B A 192.0.2.101:51820
	on B nft "add table ip t; add chain ip t in { type filter hook input priority 0; }; \
		add rule ip t in ip saddr 192.0.2.101 counter drop"
	on A ip link set wg0 down
	on A ip link set wg0 up
	wait_until 12 pings A "$(inner4 B)"
	on B nft list table ip t | grep -q 'counter packets [1-9]'
}

# two_uplinks [ARGUMENTS...]: makes two links with different addresses; B's endpoint is on neither.
# Packets with the first link's address must not leave by the second link, because B cannot answer
# them there.
two_uplinks() {
	host_new A
	host_new B
	join A B
	second_link
	on A ip address add 198.51.100.1 peer 198.51.100.2 dev second
	on B ip address add 198.51.100.2 peer 198.51.100.1 dev second
	on B ip address add 203.0.113.2/32 dev lo
	on A ip route add 203.0.113.2 via 192.0.2.2 metric 10
	on A ip route add 203.0.113.2 via 198.51.100.2 metric 20
	start_wg wgxdp A "$@"
	start_wg wgxdp B "$@"
	wg_setup A B
	on A wg set wg0 peer "${PUBKEY[B]}" endpoint 203.0.113.2:51820
	wait_until 10 pings A "$(inner4 B)"
	sees 192.0.2.1:51820
}

uplink_fails() {
	two_uplinks "$@"
	follows A "$(inner4 B)" on A ip link set toB down
	sees 198.51.100.1:51820
	on A ip link set toB up
	follows A "$(inner4 B)" on A ip route add 203.0.113.2 via 192.0.2.2 metric 10
}

@test "one of two uplinks fails: the other one and its address are used, AF_XDP" { uplink_fails; }
@test "one of two uplinks fails: the other one and its address are used, UDP sockets" {
	uplink_fails --nic none
}

@test "one of two uplinks fails: a source address on lo is kept" {
	two_uplinks
	on A ip address add 203.0.113.1/32 dev lo
	on B sysctl -qw net.ipv4.conf.toA.ignore_routes_with_linkdown=1
	on B ip route add 203.0.113.1 via 192.0.2.1 metric 10 src 203.0.113.2
	on B ip route add 203.0.113.1 via 198.51.100.1 metric 20 src 203.0.113.2
	writes_to B A 203.0.113.1:51820
	sees 203.0.113.1:51820
	follows A "$(inner4 B)" on A ip link set toB down
	sees 203.0.113.1:51820
}

# ---- routes

@test "a route moves to another device and back" {
	tunnel wgxdp wgxdp
	second_link
	same_addresses
	on_path A af_xdp
	follows A "$(inner4 B)" on A ip route replace 192.0.2.2/32 dev second src 192.0.2.1
	wait_until 5 goes_by second
	follows A "$(inner4 B)" on A ip route replace 192.0.2.2/32 dev toB src 192.0.2.1
	wait_until 5 goes_by toB
}

no_route_for_a_while() {
	on A ip route del 192.0.2.2/32 dev toB
	on A ip route add 192.0.2.2/32 dev toB
}

unreachable_for_a_while() {
	on A ip route add unreachable 192.0.2.2/32 metric 0
	on A ip route del unreachable 192.0.2.2/32
}

@test "no route, and a route again" {
	tunnel wgxdp wgxdp
	on A ip address del 192.0.2.1 peer 192.0.2.2 dev toB
	on A ip address add 192.0.2.1/32 dev toB
	on A ip route add 192.0.2.2/32 dev toB
	wait_until 5 pings A "$(inner4 B)"
	follows A "$(inner4 B)" no_route_for_a_while
	on A ip route del 192.0.2.2/32 dev toB
	on A ip route add 192.0.2.2/32 dev toB metric 7
	follows A "$(inner4 B)" unreachable_for_a_while
}

# multipath FAMILY ADDRESS NEXTHOP_BY_TOB NEXTHOP_BY_SECOND ENDPOINT: one next hop fails.
multipath() {
	tunnel wgxdp wgxdp "$1"
	second_link
	on A ip address add 198.51.100.1 peer 198.51.100.2 dev second
	on B ip address add 198.51.100.2 peer 198.51.100.1 dev second
	on A ip address add 2001:db8:1::1 peer 2001:db8:1::2 dev second nodad
	on B ip address add 2001:db8:1::2 peer 2001:db8:1::1 dev second nodad
	on B ip address add "$2" dev lo
	# shellcheck disable=SC2086 # words on purpose
	on A ip route add "$2" nexthop $3 dev toB nexthop $4 dev second
	on A wg set wg0 peer "${PUBKEY[B]}" endpoint "$5"
	wait_until 5 pings A "$(inner4 B)"
	wait_until 5 status_is A '.peers[0].path == "af_xdp"'
	ping_all A "$(inner4 B)" 20
	now=$(status_of A '.peers[0].nic')
	follows A "$(inner4 B)" on A ip link set "$now" down
	refute goes_by "$now"
	wait_until 5 status_is A '.peers[0].path == "af_xdp"'
}

@test "a multipath route loses a next hop, IPv4" {
	multipath 4 203.0.113.2/32 "via 192.0.2.2" "via 198.51.100.2" 203.0.113.2:51820
}
@test "a multipath route loses a next hop, IPv6" {
	multipath 6 2001:db8:2::2/128 "via 2001:db8::2" "via 2001:db8:1::2" \
		"[2001:db8:2::2]:51820"
}

@test "on-link routes" {
	tunnel wgxdp wgxdp
	on B ip address add 203.0.113.2/32 dev lo
	on A ip route add 203.0.113.2 dev toB
	on A wg set wg0 peer "${PUBKEY[B]}" endpoint 203.0.113.2:51820
	wait_until 5 pings A "$(inner4 B)"
	wait_until 5 goes_by toB
	ping_all A "$(inner4 B)" 20
	# An on-link gateway that no other route leads to.
	on B ip address add 203.0.113.77/32 dev lo
	on A ip route replace 203.0.113.2 via 203.0.113.77 dev toB onlink
	wait_until 5 pings A "$(inner4 B)"
	wait_until 5 goes_by toB
	ping_all A "$(inner4 B)" 20
}

# link_local HOST DEVICE: prints its link-local address.
link_local() {
	on "$1" ip -6 -j address show dev "$2" scope link |
		jq -er '[.[].addr_info[] | select(.local)][0].local'
}

@test "link-local endpoints with their scope" {
	local a b

	tunnel wgxdp wgxdp
	wait_until 5 link_local A toB
	wait_until 5 link_local B toA
	a=$(link_local A toB)
	b=$(link_local B toA)
	writes_to A B "[$b%toB]:51820"
	wait_until 5 goes_by toB
	ping_all A "$(inner4 B)" 20
	# B has learnt the endpoint with its scope, and uses it.
	sees "[$a%toA]:51820"
	on_path B af_xdp
	[ "$(wg_field A endpoints)" = "[$b%toB]:51820" ]
	on A wg set wg0 peer "${PUBKEY[B]}" remove
	on B wg set wg0 peer "${PUBKEY[A]}" remove
	wg_peer A B
	wg_peer B A endpoint "[$a%toA]:51820"
	wait_until 5 pings B "$(inner4 A)"
	[ "$(wg_field A endpoints)" = "[$b%toB]:51820" ]
}

# ---- links

down_and_up() {
	on A ip link set toB down
	on A ip link set toB up
	on A ip -6 route replace 2001:db8::2/128 dev toB
}

@test "the NIC goes down and comes back" {
	tunnel wgxdp wgxdp
	on_path A af_xdp
	follows A "$(inner4 B)" down_and_up
	wait_until 5 goes_by toB
	has_xdp A toB
	before=$(paths A)
	ping_all A "$(inner4 B)" 40
	went_by A xdp "$before" 40
}

# carrier_lost: setting B's end down takes the carrier from A's NIC.
carrier_lost() {
	on B ip link set toA down
	wait_until 5 no_carrier
	on B ip link set toA up
}

no_carrier() {
	on A ip -j link show toB | jq -e '.[0].flags | index("NO-CARRIER")' >/dev/null
}

@test "the carrier goes and comes back" {
	tunnel wgxdp wgxdp
	on_path A af_xdp
	follows A "$(inner4 B)" carrier_lost
	wait_until 5 goes_by toB
}

made_anew() {
	on A ip link del toB
	join A B
}

nic_made_anew() {
	WGXDP_ARGS=$1 tunnel wgxdp wgxdp
	follows A "$(inner4 B)" made_anew
	follows A "$(inner4 B)" made_anew
}

@test "the NIC is removed and created again" {
	nic_made_anew ""
	wait_until 5 goes_by toB
	before=$(paths A)
	ping_all A "$(inner4 B)" 40
	went_by A xdp "$before" 40
}
@test "the NIC is removed and created again, UDP sockets" { nic_made_anew "--nic none"; }

@test "a NIC of the command line is removed and created again" {
	host_new A
	host_new B
	join A B
	start_wg wgxdp A --nic toB:copy
	start_wg wgxdp B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	follows A "$(inner4 B)" made_anew
	wait_until 5 goes_by toB
}

renamed() {
	on A ip link set toB down
	on A ip link set toB name uplink0
	on A ip link set uplink0 up
}

@test "the NIC is renamed" {
	tunnel wgxdp wgxdp
	on_path A af_xdp
	follows A "$(inner4 B)" renamed
	wait_until 5 goes_by uplink0
	status_is A '[.nics[].name] == ["uplink0"]'
	before=$(paths A)
	ping_all A "$(inner4 B)" 40
	went_by A xdp "$before" 40
}

# ---- neighbours

# neighbour_mac NOTIFY ARGUMENTS FAMILY: B's MAC changes; with NOTIFY 1 B announces it.
neighbour_mac() {
	WGXDP_ARGS=$2 tunnel wgxdp wgxdp "$3"
	on B sysctl -qw "net.ipv4.conf.all.arp_notify=$1" "net.ipv4.conf.toA.arp_notify=$1" \
		"net.ipv6.conf.all.ndisc_notify=$1" "net.ipv6.conf.toA.ndisc_notify=$1"
	follows A "$(inner4 B)" on B ip link set toA address 02:00:00:00:00:77
	# Also if the host whose MAC changes is the one that sends.
	follows B "$(inner4 A)" on B ip link set toA address 02:00:00:00:00:78
	on A ip neigh show | tee "$TMP/neigh"
	grep -q 02:00:00:00:00:78 "$TMP/neigh"
}

@test "the peer's MAC changes, and it announces that" { neighbour_mac 1 "" 4; }
@test "the peer's MAC changes unannounced" { neighbour_mac 0 "" 4; }

# Packets to the old MAC are lost until the kernel asks whether the neighbour is still there.
@test "the peer's MAC changes unannounced, IPv6" {
	tunnel wgxdp wgxdp 6
	on A sysctl -qw net.ipv6.neigh.toB.base_reachable_time_ms=1000 \
		net.ipv6.neigh.toB.delay_first_probe_time=1 net.ipv6.neigh.toB.ucast_solicit=1
	# The new times do not apply to the entry that exists, which stays valid for 15 to 45 s.
	on A ip neigh del "$(outer6 B)" dev toB
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	on B ip link set toA address 02:00:00:00:00:77
	wait_until 30 pings A "$(inner4 B)"
	on A ip neigh show | tee "$TMP/neigh"
	grep -q "^2001:db8::2 .*02:00:00:00:00:77" "$TMP/neigh"
	ping_all A "$(inner4 B)" 20
	ping_all B "$(inner4 A)" 20
}
@test "the peer's MAC changes unannounced, UDP sockets" { neighbour_mac 0 "--nic none" 4; }

@test "our own MAC changes" {
	tunnel wgxdp wgxdp
	on_path A af_xdp
	follows A "$(inner4 B)" on A ip link set toB address 02:00:00:00:00:55
	wait_until 5 goes_by toB
}

# ---- NAT on this host

needs_nft() {
	if ! on "$1" nft add table inet t; then
		skip "needs nft(8) and nf_tables"
	fi
}

# An answer that bypasses NAT would move B's endpoint for A to A's own port, which a firewall on the
# way may block.
@test "a port redirected to wgxdp's port: answers leave from the redirected port" {
	tunnel wgxdp wgxdp
	on_path A af_xdp
	needs_nft A
	on A nft -f - <<-NFT
		table inet t {
			chain in {
				type nat hook prerouting priority dstnat
				udp dport 443 redirect to :$PORT
			}
		}
	NFT
	on B wg set wg0 peer "${PUBKEY[A]}" endpoint "$(outer4 A):443"
	on B ip link set wg0 down
	on B ip link set wg0 up
	wait_until 10 pings B "$(inner4 A)"
	status_is A '.peers[0].path == "udp"'
	ping_all B "$(inner4 A)" 50
	ping_all A "$(inner4 B)" 50
	[ "$(wg_field B endpoints)" = "$(outer4 A):443" ]

	# By A's own port again.
	on B wg set wg0 peer "${PUBKEY[A]}" endpoint "$(endpoint A 4)"
	wait_until 10 pings B "$(inner4 A)"
	on_path A af_xdp
	ping_all A "$(inner4 B)" 50
}

@test "NAT changes the source port: packets leave by the UDP socket, which NAT sees" {
	WGXDP_ARGS="" tunnel wgxdp wgxdp
	needs_nft A
	on A nft -f - <<-NFT
		table inet t {
			chain out {
				type nat hook postrouting priority srcnat
				udp sport $PORT masquerade to :6000-6010
			}
		}
	NFT
	on A ip link set wg0 down
	on A ip link set wg0 up
	wait_until 10 pings A "$(inner4 B)"
	wait_until 5 status_is A '.peers[0].path == "udp"'
	ping_all A "$(inner4 B)" 50
	ping_all B "$(inner4 A)" 50
	[[ $(wg_field B endpoints) =~ :60[01][0-9]$ ]]
}

# ---- loops

# busy HOST: prints the clock ticks that its daemon has used.
busy() {
	local stat

	stat=$(<"/proc/${HOST_PID[$1]}/root/proc/$(daemon_pid "$1")/stat")
	# shellcheck disable=SC2086 # words on purpose
	set -- ${stat##*) }
	echo $((${12} + ${13}))
}

sent_into() { on A ip -s -j link show "$1" | jq '.[0].stats64.tx.packets'; }

drops_of_wg1() { status_of A '.drops.egress_loop // 0' wg1; }

# nothing_enters: returns true if hardly any packet but a handshake enters the tunnels for a second.
nothing_enters() {
	local before

	before=$(($(sent_into wg0) + $(sent_into wg1)))
	sleep 1
	(($(sent_into wg0) + $(sent_into wg1) - before <= 10))
}

# loop ARGUMENTS...: routes B's address into the tunnel to B; the packets must be dropped.
loop() {
	local ticks packets dropped

	WGXDP_ARGS=$1 tunnel wgxdp wgxdp
	on A wg set wg0 peer "${PUBKEY[B]}" allowed-ips 0.0.0.0/0
	packets=$(sent_into wg0)
	ticks=$(busy A)
	on A ip route replace 192.0.2.2/32 dev wg0
	dropped=$(drops A no_endpoint)
	on A ping -q -n -c 100 -i 0.01 -W 1 "$(inner4 B)" || true
	drops_at_least A no_endpoint $((dropped + 50))
	ticks=$(($(busy A) - ticks))
	packets=$(($(sent_into wg0) - packets))
	echo "$packets packets into wg0, $ticks ticks"
	((packets < 400 && ticks < 50))
	on A ip route replace 192.0.2.2/32 dev toB
	wait_until 2 pings A "$(inner4 B)"
	ping_all A "$(inner4 B)" 20
}

@test "an endpoint routed into its own tunnel, AF_XDP" { loop ""; }
@test "an endpoint routed into its own tunnel, UDP sockets" { loop "--nic none"; }

# second_tunnel: makes wg1 on both hosts, with 10.0.1.N and port 51821.
second_tunnel() {
	local host other

	IFACE=wg1 start_wg wgxdp A
	IFACE=wg1 start_wg wgxdp B
	for host in A B; do
		(umask 077 && wg genkey >"$TMP/$host-wg1.key")
	done
	for host in A B; do
		other=B
		if [ $host = B ]; then
			other=A
		fi
		on $host wg set wg1 private-key "$TMP/$host-wg1.key" listen-port 51821 \
			peer "$(wg pubkey <"$TMP/$other-wg1.key")" allowed-ips 0.0.0.0/0 \
			endpoint "$(outer4 $other):51821"
		on $host ip address add "10.0.1.${HOST_NUM[$host]}/24" dev wg1
		on $host ip link set wg1 mtu 1420 up
	done
	wait_until 10 pings A 10.0.1.2
}

@test "two tunnels, each routed into the other: looping packets are soon dropped" {
	local before packets

	WGXDP_ARGS="--nic none" tunnel wgxdp wgxdp
	on A wg set wg0 peer "${PUBKEY[B]}" allowed-ips 0.0.0.0/0
	second_tunnel
	before=$(($(sent_into wg0) + $(sent_into wg1)))
	# By port, because both have the same address outside.
	on A ip route add default dev wg1 table 51
	on A ip route add default dev wg0 table 50
	on A ip rule add to 192.0.2.2 ipproto 17 dport 51820 lookup 51
	on A ip rule add to 192.0.2.2 ipproto 17 dport 51821 lookup 50
	on A ping -q -n -c 50 -i 0.01 -s 1200 -W 1 "$(inner4 B)" || true
	echo "$(drops A egress_loop) and $(drops_of_wg1) dropped"
	(($(drops A egress_loop) + $(drops_of_wg1) > 0))
	wait_until 10 nothing_enters
	packets=$(($(sent_into wg0) + $(sent_into wg1) - before))
	echo "$packets packets"
	((packets < 2000))
	on A ip rule del to 192.0.2.2 ipproto 17 dport 51820 lookup 51
	on A ip rule del to 192.0.2.2 ipproto 17 dport 51821 lookup 50
	wait_until 10 pings A "$(inner4 B)"
	wait_until 10 pings A 10.0.1.2
}

# ---- queues

# join_queues RX TX: joins A and B by a veth; A's end has these numbers of queues, B's the reverse.
join_queues() {
	nsenter --target "${HOST_PID[A]}" --net ip link add toB numrxqueues "$1" numtxqueues "$2" \
		type veth peer name toA numrxqueues "$2" numtxqueues "$1" netns "${HOST_PID[B]}"
	on A ethtool -L toB rx "$1" tx "$2" || true
	on B ethtool -L toA rx "$2" tx "$1" || true
	on A ethtool -l toB | sed -n '/Current/,$p' | grep -q "RX:[[:space:]]*$1\$"
	on A ethtool -l toB | sed -n '/Current/,$p' | grep -q "TX:[[:space:]]*$2\$"
	join_end A B
	join_end B A
}

has_queues() { status_is A ".nics[0].queues == $1"; }
no_nic() { status_is A '.nics == []'; }

@test "wgxdp release lets ethtool take queues away, wgxdp attach takes the NIC again; new queues are noticed" {
	host_new A
	host_new B
	join_queues 2 2
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	has_queues 2
	refute on A ethtool -L toB rx 1 tx 1
	on A "$WGXDP" release wg0 toB
	no_nic
	refute has_xdp A toB
	status_is A '.released == ["toB"]'
	on A "$WGXDP" status wg0 | grep -q 'toB: released'
	on B "$WGXDP" release wg0 toA
	on A ethtool -L toB rx 1 tx 1
	on B ethtool -L toA rx 1 tx 1
	# It stays so, whatever happens to the link and whoever speaks.
	on A ip link set toB mtu 1400
	on A ip link set toB mtu 1500
	ping_all A "$(inner4 B)" 20
	wg_peer A B endpoint "$(endpoint B 4)"
	ping_all A "$(inner4 B)" 20
	no_nic
	on A "$WGXDP" attach wg0 toB
	on B "$WGXDP" attach wg0 toA
	has_queues 1
	status_is A '.released == null'
	on_path A af_xdp
	ping_all A "$(inner4 B)" 20
	on A ethtool -L toB rx 2
	on B ethtool -L toA rx 2
	on A ethtool -L toB tx 2
	wait_until 10 has_queues 2
	on_path A af_xdp
	ping_all A "$(inner4 B)" 20
}

has_filter() {
	has_xdp A toB && status_is A '.nics == [{name: "toB", ifindex: .nics[0].ifindex,
		xdp: "native", af_xdp: "none", filter_only: true, queues: 0, xdp_queues: 0}]'
}

@test "a NIC with the filter only: the UDP socket has the data, and queues and MTU may change" {
	host_new A
	host_new B
	join_queues 2 2
	start_wg wgxdp A --nic toB:filter
	start_wg wgxdp B --nic none
	has_filter
	on A "$WGXDP" status wg0 >"$TMP/status"
	grep -q "NIC toB: XDP native, filter only$" "$TMP/status"
	grep -q "all packets use the UDP socket" "$TMP/status"
	grep -q "toB: XDP native, filter only" "$TMP/A-wg0.log"
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	before=$(paths A)
	ping_all A "$(inner4 B)" 50
	went_by A udp "$before" 50
	status_is A '.peers[0].path == "udp" and .peers[0].rx_path == "udp"'
	# There are no AF_XDP sockets, so nothing keeps the queues.
	on B ethtool -L toA tx 1
	on A ethtool -L toB rx 1 tx 1
	link_mtu 9000
	link_mtu 1500
	ping_all A "$(inner4 B)" 20
	has_filter
	on A "$WGXDP" release wg0 toB
	no_nic
	refute has_xdp A toB
	grep -q "toB: released, as told; the filter ends there" "$TMP/A-wg0.log"
	ping_all A "$(inner4 B)" 20
	on A "$WGXDP" attach wg0 toB
	has_filter
	ping_all A "$(inner4 B)" 20
	[ "$(grep -c "filter only" "$TMP/A-wg0.log")" = 2 ]
	on A ip link del toB
	wait_until 5 no_nic
}

@test "the filter by WGXDP_NIC; a driver without native XDP is refused in one line" {
	host_new A
	on A ip link add toB type veth peer name nowhere
	WGXDP_NIC=toB:filter start_wg wgxdp A
	has_filter
	stop_wg A
	on A ip link add br0 type bridge
	refute on A timeout $((10 * PATIENCE)) "$WGXDP" -f --nic br0:filter wg0 2>"$TMP/refusal"
	[ "$(wc -l <"$TMP/refusal")" = 1 ]
	grep -q "br0: XDP: .*:filter needs a driver with native XDP" "$TMP/refusal"
}

@test "wgxdp release and wgxdp attach say what is wrong" {
	host_new A
	start_wg wgxdp A --nic none
	on A ip link add other type veth peer name rehto
	on A ip link set other up
	refute on A "$WGXDP" release wg0 nowhere 2>"$TMP/err"
	grep -qx 'wgxdp: nowhere: no such device here (see `ip link`)' "$TMP/err"
	refute on A "$WGXDP" attach wg0 other 2>"$TMP/err"
	grep -q 'may not be attached' "$TMP/err"
	refute on A "$WGXDP" release wg7 other 2>"$TMP/err"
	grep -q 'no wgxdp answers for wg7' "$TMP/err"
	refute on A "$WGXDP" release wg0 2>"$TMP/err"
	grep -q 'want an interface and a NIC' "$TMP/err"
	for request in release= attach= $'release=a\nb' release=0123456789abcdef; do
		printf '%s\n\n' "$request" | on A socat -t 5 - "UNIX-CONNECT:$SOCKETS/wg0.sock" |
			grep -qx 'errno=-22'
	done
}

@test "two queues, two workers" {
	host_new A
	host_new B
	join_queues 2 2
	start_wg wgxdp A --workers 2
	start_wg wgxdp B --workers 2
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	status_is A '.workers == 2 and .nics[0].queues == 2'
	on_path A af_xdp
	before=$(paths A)
	send_file A B 20000000
	send_file B A 20000000
	many_flows A B
	many_flows B A
	went_by A xdp "$before" 1000
	both_queues_used A
	both_queues_used B
}

# A socket can be bound to a queue that only receives, but never sends anything.
@test "a NIC with more receive queues than transmit queues" {
	host_new A
	host_new B
	join_queues 4 1
	start_wg wgxdp A --workers 4
	start_wg wgxdp B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	status_is A '.workers == 4 and .nics[0].queues == 1 and .nics[0].xdp_queues == 3'
	many_flows A B
	many_flows B A
	[ "$(drops A tx_ring_full)" = 0 ]
}

# many_flows FROM TO: runs 12 streams, because the kernel chooses a flow's queue of wg0.
many_flows() {
	local server

	on "$2" timeout $((30 * PATIENCE)) iperf3 -s -1 >/dev/null 3>&- &
	server=$!
	wait_until 5 listening_tcp "$2" 5201
	on "$1" timeout $((30 * PATIENCE)) iperf3 -c "$(inner4 "$2")" -n 16M -P 12 >"$TMP/iperf"
	wait "$server"
}

# both_queues_used: returns true if each worker has received packets by AF_XDP.
both_queues_used() {
	# shellcheck disable=SC2153 # of lib.bash
	on "$1" bpftool -j map dump pinned "$PINS/wg0/worker_stats" |
		jq -e '[.[].formatted.value.rx_xdp_packets // 0 | select(. > 0)]
			| debug | length >= 2'
}
