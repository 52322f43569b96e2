# SPDX-License-Identifier: MIT
# A peer is where its last authenticated message came from (whitepaper 2.1).

load lib

seen_at() { [ "$(wg_field "$1" endpoints)" = "$2" ]; }

# still_talks: B, having moved, speaks first; then both by AF_XDP again.
still_talks() {
	wait_until 10 pings B "$(inner4 A)"
	wait_until 10 seen_at A "$1"
	on_path A af_xdp
	on_path B af_xdp
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
	# Debian 12's wireguard-go holds on to a source address that is gone.
	is_wgxdp B || on B wg set wg0 peer "${PUBKEY[A]}" endpoint "$(endpoint A 4)"
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

# The second link: the route to the peer moves, and the tunnel with it.
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
	still_talks "192.0.2.2:51820"
}
