# SPDX-License-Identifier: MIT
# Packets that the kernel would not deliver to the UDP socket are not accepted by AF_XDP either:
# martians, reverse path filter, firewalls, NAT. Each test expects the same result on both paths.
# bats file_tags=waiting

load lib

rx_bytes() { wg_field A transfer | cut -f 1; }
endpoint_of_b() { wg_field A endpoints; }

# lost_at_first 4|6: makes B send pings to a MAC that nobody has. Only rewritten copies arrive.
lost_at_first() {
	MAC=$(on A cat /sys/class/net/toB/address)
	on B ip neigh replace "$(outer"$1" A)" lladdr 02:00:00:00:00:99 dev toA nud permanent
	on_bg B ping -q -i 0.2 "$(inner4 A)"
}

rewritten() { on B "$REPO/tests/tools/rewrite.py" toA "$@"; }

grown() { (($(rx_bytes) > $1)); }

# accepted FIELDS...: A must accept a message with these fields.
accepted() {
	local before

	before=$(rx_bytes)
	rewritten "$MAC" "$@"
	wait_until 5 grown "$before"
}

# refused NAME FIELDS...: A must not accept a message with these fields, nor move the endpoint. Only
# the good message that is sent after it is counted.
refused() {
	local name=$1 before here

	shift
	before=$(rx_bytes)
	here=$(endpoint_of_b)
	rewritten "${TO:-$MAC}" "$@"
	accepted
	if [ "$(endpoint_of_b)" != "$here" ] || [ "$(($(rx_bytes) - before))" != 128 ]; then
		echo "$name: accepted: $(endpoint_of_b), $(($(rx_bytes) - before)) bytes"
		return 1
	fi
}

# way xdp|udp: prints the options for that path.
way() { [ "$1" = xdp ] || echo "--nic none"; }

martians_v4() {
	WGXDP_ARGS=$(way "$1") tunnel wgxdp wireguard-go
	[ "$1" != xdp ] || on_path A af_xdp
	lost_at_first 4
	accepted
	for source in 127.0.0.1 127.1.2.3 0.0.0.0 224.0.0.1 255.255.255.255 192.0.2.1; do
		refused "source $source" source=$source
	done
	# Debian's default; without it the kernel accepts a source that no route leads to.
	on A sysctl -qw net.ipv4.conf.toB.rp_filter=2
	on A ip address add 198.51.100.1/24 dev toB
	refused "a subnet's broadcast address" source=198.51.100.255
	refused "a source that no route leads to" source=203.0.113.9
	refused "IPv4 header checksum" ip_check=wrong
	refused "UDP checksum" udp_check=wrong
	refused "another source without a checksum for it" source=192.0.2.77 ip_check=wrong
	refused "UDP length" udp_len_less=16
	TO=02:00:00:00:00:98 refused "another MAC"
	[ "$(endpoint_of_b)" = "$(endpoint B 4)" ]
	# In IPv4 the UDP checksum is optional.
	accepted udp_check=0
	# The same source is accepted with a route to it.
	on A ip route add 192.0.2.77 dev toB
	accepted source=192.0.2.77 sport=4711
	wait_until 5 eval '[ "$(endpoint_of_b)" = 192.0.2.77:4711 ]'
}

martians_v6() {
	WGXDP_ARGS=$(way "$1") tunnel wgxdp wireguard-go 6
	[ "$1" != xdp ] || on_path A af_xdp
	lost_at_first 6
	accepted
	for source in ::1 ff02::1; do
		refused "source $source" source=$source
	done
	refused "UDP checksum" udp_check=wrong
	refused "no UDP checksum" udp_check=0
	refused "UDP length" udp_len_less=16
	TO=02:00:00:00:00:98 refused "another MAC"
	[ "$(endpoint_of_b)" = "$(endpoint B 6)" ]
}

strict() { on A sysctl -qw net.ipv4.conf.toB.rp_filter=1; }

# strict_rp_filter xdp|udp before|after: sets it before or after XDP is attached. The route to the
# wrong source is by another device.
strict_rp_filter() {
	host_new A
	host_new B
	join A B
	[ "$2" != before ] || strict
	read -ra args <<<"$(way "$1")"
	start_wg wgxdp A "${args[@]}"
	start_wg wireguard-go B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	[ "$2" != after ] || strict
	[ "$1" != xdp ] || on_path A af_xdp
	before=$(paths A)
	ping_all A "$(inner4 B)" 100
	went_by A "$1" "$before" 100
	on A ip link add other type dummy || on A ip link add other type veth
	on A ip link set other up
	on A ip route add 198.51.100.0/24 dev other
	lost_at_first 4
	accepted
	refused "a source by another device" source=198.51.100.7
}

no_answer() { refute pings A "$(inner4 B)"; }

# firewall xdp|udp: a new rule on the NIC must stop packets that came by AF_XDP, within 30 s.
firewall() {
	WGXDP_ARGS=$(way "$1") tunnel wgxdp wireguard-go
	[ "$1" != xdp ] || on_path A af_xdp
	ping_all A "$(inner4 B)" 20
	on A nft add table inet fw
	on A nft add chain inet fw in '{ type filter hook input priority 0; }'
	on A nft add rule inet fw in iifname toB udp dport "$PORT" drop
	wait_until 35 no_answer
	# It stays so, also for B's handshakes.
	wait_until 2 no_answer
	refute pings B "$(inner4 A)"
	on A nft delete table inet fw
	wait_until 20 pings A "$(inner4 B)"
	[ "$1" != xdp ] || on_path A af_xdp
	before=$(paths A)
	ping_all A "$(inner4 B)" 100
	went_by A "$1" "$before" 100
}

# An ICMP error quotes a whole probe, with which an attacker must not be able to do anything.
@test "a probe that leaks renews no flow, and moves none" {
	has_nft
	needs_wgxdp
	tunnel wgxdp wireguard-go
	on_path A af_xdp
	on B ip address add 198.51.100.7/32 dev toA
	on A ip route add 198.51.100.7 dev toB
	on_bg B ping -q -i 0.2 "$(inner4 A)" >/dev/null
	on A nft add table inet fw
	on A nft add chain inet fw in '{ type filter hook input priority 0; }'
	on A nft add rule inet fw in ip saddr "$(outer4 B)" udp dport "$PORT" reject
	on B timeout 25 "$REPO/tests/tools/replay_probe.py" 198.51.100.7 "$(outer4 A)" "$PORT"
	# The replayed probe is refused, and the peer's flow expires.
	wait_until 5 eval '[ "$(drops A bad_tag)" -ge 1 ]'
	on A nft delete table inet fw
	wait_until 20 pings B "$(inner4 A)"
	[ "$(endpoint_of_b)" = "$(endpoint B 4)" ]
	on_path A af_xdp
}

# published xdp|udp: A forwards the port of its second address to C, like that of a container. B has
# both as peers.
published() {
	host_new A
	host_new B
	host_new C
	join A B
	join A C
	on A ip address add 198.51.100.1/32 dev toB
	on B ip route add 198.51.100.1 via "$(outer4 A)"
	on C ip route add "$(outer4 B)" via "$(outer4 A)"
	on A sysctl -qw net.ipv4.ip_forward=1
	on A nft add table ip nat
	on A nft add chain ip nat pre '{ type nat hook prerouting priority dstnat; }'
	on A nft add rule ip nat pre ip daddr 198.51.100.1 udp dport "$PORT" dnat to "$(outer4 C)"
	on A nft add rule ip nat pre udp dport 443 redirect to ":$PORT"
	read -ra args <<<"$(way "$1")"
	start_wg wgxdp A "${args[@]}"
	start_wg wireguard-go B
	start_wg wireguard-go C
	wg_setup B A
	wg_keys C
	on C wg set wg0 private-key "$TMP/C.key" listen-port "$PORT"
	wg_up C
	wg_peer C B
	wg_peer B C endpoint "198.51.100.1:$PORT"
	wait_until 10 pings B "$(inner4 A)"
	[ "$1" != xdp ] || on_path A af_xdp
	wait_until 10 pings B "$(inner4 C)"
	ping_all B "$(inner4 C)" 20
	ping_all B "$(inner4 A)" 20
	# By the redirected port, which XDP sees before NAT.
	on B wg set wg0 peer "${PUBKEY[A]}" remove
	wg_peer B A endpoint "$(outer4 A):443"
	wait_until 10 pings B "$(inner4 A)"
	ping_all B "$(inner4 A)" 20
	ping_all B "$(inner4 C)" 20
	[ "$1" != xdp ] || on_path A udp
}

# masqueraded xdp|udp: the gateway G has a tunnel to S, and masquerades the client L, whose own
# tunnel to S uses the same port.
masqueraded() {
	host_new L
	host_new G
	host_new S
	join L G
	join G S
	on G sysctl -qw net.ipv4.ip_forward=1
	on G nft add table ip nat
	on G nft add chain ip nat out '{ type nat hook postrouting priority srcnat; }'
	on G nft add rule ip nat out oifname toS ip saddr "$(outer4 L)" masquerade
	on L ip route add "$(outer4 S)" via "$(outer4 G)"
	read -ra args <<<"$(way "$1")"
	start_wg wgxdp G "${args[@]}"
	start_wg wireguard-go S
	wg_setup G S
	[ "$1" != xdp ] || has_xdp G toS
	# G has sent nothing yet, so NAT does not change the client's port.
	start_wg wireguard-go L
	wg_keys L
	on L wg set wg0 private-key "$TMP/L.key" listen-port "$PORT"
	wg_up L
	wg_peer S L
	wg_peer L S endpoint "$(endpoint S 4)"
	wait_until 10 pings L "$(inner4 S)"
	ping_all L "$(inner4 S)" 10
	wait_until 10 pings G "$(inner4 S)"
	ping_all G "$(inner4 S)" 10
	ping_all L "$(inner4 S)" 10
}

@test "a masqueraded client with our port, by AF_XDP" {
	has_nft
	masqueraded xdp
}

@test "a masqueraded client with our port, without XDP" {
	has_nft
	masqueraded udp
}

@test "martians over IPv4, by AF_XDP" { martians_v4 xdp; }
@test "martians over IPv4, without XDP" { martians_v4 udp; }
@test "martians over IPv6, by AF_XDP" { martians_v6 xdp; }
@test "martians over IPv6, without XDP" { martians_v6 udp; }
@test "strict rp_filter, by AF_XDP" { strict_rp_filter xdp before; }
@test "strict rp_filter, without XDP" { strict_rp_filter udp before; }
@test "strict rp_filter, set at run time, by AF_XDP" { strict_rp_filter xdp after; }
@test "strict rp_filter, set at run time, without XDP" { strict_rp_filter udp after; }

@test "a firewall rule on the NIC, by AF_XDP" {
	has_nft
	firewall xdp
}

@test "a firewall rule on the NIC, without XDP" {
	has_nft
	firewall udp
}

@test "a published port and a second address, by AF_XDP" {
	has_nft
	published xdp
}

@test "a published port and a second address, without XDP" {
	has_nft
	published udp
}

@test "a rewritten source attaches XDP to no other NIC" {
	needs_wgxdp
	tunnel wgxdp wireguard-go
	on_path A af_xdp
	on A ip link add lan type veth peer name lan2
	on A ip link set lan up
	on A ip address add 198.51.100.1/24 dev lan
	lost_at_first 4
	accepted source=198.51.100.7
	wait_until 5 eval '[ "$(endpoint_of_b)" = 198.51.100.7:51820 ]'
	wait_until 5 status_is A '.peers[0].path == "udp"'
	refute has_xdp A lan
}
