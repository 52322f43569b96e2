# SPDX-License-Identifier: MIT
# A peer's endpoint is the source of its last authenticated message (whitepaper 2.1).

load lib

seen_at() { [ "$(wg_field "$1" endpoints)" = "$2" ]; }

# still_talks ENDPOINT: B, which has moved, sends first; then A must have this endpoint, and both
# must use AF_XDP again.
still_talks() {
	wait_until 10 pings B "$(inner4 A)"
	wait_until 10 seen_at A "$1"
	on_path A af_xdp
	on_path B af_xdp
	# The first packet of a new flow is received by the UDP socket.
	pings B "$(inner4 A)"
	before_a=$(paths A)
	before_b=$(paths B)
	ping_all A "$(inner4 B)" 20
	ping_all B "$(inner6 A)" 20
	went_by A xdp "$before_a" 40
	went_by B xdp "$before_b" 40
	seen_at A "$1"
}

new_address() {
	tunnel "$@"
	seen_at A "192.0.2.2:51820"
	on A ip route add 192.0.2.77/32 dev toB
	on B ip address del 192.0.2.2 peer 192.0.2.1 dev toA
	on B ip address add 192.0.2.77 peer 192.0.2.1 dev toA
	# Debian 12's wireguard-go keeps using a source address that was removed.
	[ "${IMPL["B wg0"]}" != wireguard-go ] || on B wg set wg0 peer "${PUBKEY[A]}" endpoint "$(endpoint A 4)"
	still_talks "192.0.2.77:51820"
}

new_port() {
	tunnel "$@"
	on B wg set wg0 listen-port 51999
	[ "$(wg_field B listen-port)" = 51999 ]
	still_talks "192.0.2.2:51999"
}

new_family() {
	tunnel "$@"
	on B wg set wg0 peer "${PUBKEY[A]}" endpoint "[2001:db8::1]:51820"
	still_talks "[2001:db8::2]:51820"
}

@test "a new address: wgxdp sees wgxdp move" { new_address wgxdp wgxdp; }
@test "a new address: wgxdp sees wireguard-go move" { new_address wgxdp wireguard-go; }
@test "a new address: wireguard-go sees wgxdp move" { new_address wireguard-go wgxdp; }

@test "a new port: wgxdp sees wgxdp move" { new_port wgxdp wgxdp; }
@test "a new port: wgxdp sees wireguard-go move" { new_port wgxdp wireguard-go; }
@test "a new port: wireguard-go sees wgxdp move" { new_port wireguard-go wgxdp; }

@test "from IPv4 to IPv6: wgxdp sees wgxdp move" { new_family wgxdp wgxdp; }
@test "from IPv4 to IPv6: wgxdp sees wireguard-go move" { new_family wgxdp wireguard-go; }

@test "a new IPv6 address" {
	tunnel wgxdp wgxdp 6
	on A ip route add 2001:db8::77/128 dev toB
	on B ip address add 2001:db8::77 peer 2001:db8::1 dev toA nodad
	on B ip address del 2001:db8::2 peer 2001:db8::1 dev toA
	on B ip route replace 2001:db8::1/128 dev toA
	still_talks "[2001:db8::77]:51820"
}

@test "a new link-layer address of the peer" {
	tunnel wgxdp wgxdp
	on_path A af_xdp
	on B ip link set toA address 02:00:00:00:00:77
	on A ping -q -c 1 -W 1 192.0.2.2 || true
	still_talks "192.0.2.2:51820"
}

# arrives_by_second HOST PEER: returns true if what the peer sends arrives by AF_XDP on the second
# link. The first packet of a flow is received by the UDP socket, and the worker tells of it soon.
arrives_by_second() {
	pings "$1" "$(inner4 "$2")"
	status_is "$1" '.peers[0] | .rx_path == "af_xdp" and .rx_nic == "second"'
}

# The route moves to a second link, and the tunnel must follow.
@test "a new device: the route to the peer moves" {
	needs_wgxdp
	tunnel wgxdp wgxdp
	on_path A af_xdp
	nsenter --target "${HOST_PID[A]}" --net ip link add second type veth \
		peer name second netns "${HOST_PID[B]}"
	on A ip link set second up
	on B ip link set second up
	on A ip address add 192.0.2.1 peer 192.0.2.2 dev second
	on B ip address add 192.0.2.2 peer 192.0.2.1 dev second
	on A ip route replace 192.0.2.2/32 dev second
	on B ip route replace 192.0.2.1/32 dev second
	on A ip link set toB down
	wait_until 10 pings A "$(inner4 B)"
	wait_until 10 status_is A '.peers[0] | .path == "af_xdp" and .nic == "second"'
	wait_until 10 arrives_by_second A B
	wait_until 10 arrives_by_second B A
	still_talks "192.0.2.2:51820"
}

# ---- behind a NAT

# natted: makes A and B with a NAT, N, between them. N masquerades A, and forgets a mapping that is
# not used for two seconds.
natted() {
	host_new A
	host_new B
	host_new N
	join A N
	join N B
	on N sysctl -qw net.ipv4.ip_forward=1
	on N nft -f - <<-EOF
		table ip nat {
			chain out {
				type nat hook postrouting priority srcnat
				oifname "toB" ip protocol udp masquerade to :40000
			}
		}
	EOF
	on N sysctl -qw net.netfilter.nf_conntrack_udp_timeout=2 \
		net.netfilter.nf_conntrack_udp_timeout_stream=2
	on A ip route add 192.0.2.2/32 via 192.0.2.3
	start_wg wgxdp A
	start_wg "$1" B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	seen_at_b "192.0.2.3:40000"
}

seen_at_b() { [ "$(wg_field B endpoints)" = "$1" ]; }

seconds() { sed 's/[. ].*//' /proc/uptime; }

after() { (($(seconds) >= $1)); }

# nat_forgets: makes the NAT give A another port, as after a restart. Setting the link down removes
# the mappings.
nat_forgets() {
	on N nft flush chain ip nat out
	on N nft add rule ip nat out oifname toB ip protocol udp masquerade to :40001
	on N ip link set toB down
	on N ip link set toB up
}

@test "behind a NAT: a persistent keepalive keeps the way back open" {
	has_nft
	natted wgxdp
	on_path A af_xdp
	# Without it the mapping expires, so the keepalive is what kept it.
	wait_until 5 after $(($(seconds) + 3))
	refute pings B "$(inner4 A)"
	wait_until 5 pings A "$(inner4 B)"
	on A wg set wg0 peer "${PUBKEY[B]}" persistent-keepalive 1
	wait_until 6 after $(($(seconds) + 4))
	ping_all B "$(inner4 A)" 20
}

nat_changes() {
	natted "$1"
	on A wg set wg0 peer "${PUBKEY[B]}" persistent-keepalive 1
	nat_forgets
	wait_until 3 seen_at_b "192.0.2.3:40001"
	ping_all B "$(inner4 A)" 20
	ping_all A "$(inner4 B)" 20
}

@test "behind a NAT that changes the port: wgxdp sees it" {
	has_nft
	nat_changes wgxdp
}
@test "behind a NAT that changes the port: wireguard-go sees it" {
	has_nft
	nat_changes wireguard-go
}

@test "from IPv6 to IPv4: wgxdp sees wgxdp move" {
	tunnel wgxdp wgxdp 6
	on B wg set wg0 peer "${PUBKEY[A]}" endpoint "192.0.2.1:51820"
	still_talks "192.0.2.2:51820"
}
