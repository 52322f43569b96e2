# SPDX-License-Identifier: MIT
# Several interfaces on a host, several peers of an interface.

load lib

# second_tunnel A C IFNAME PORT: makes a tunnel from A's interface IFNAME to C's wg0, 10.0.1.0/24.
second_tunnel() {
	wg_keys C
	(umask 077 && wg genkey >"$TMP/$1.$3.key")
	PUBKEY["$1 $3"]=$(wg pubkey <"$TMP/$1.$3.key")
	on "$1" wg set "$3" private-key "$TMP/$1.$3.key" listen-port "$4"
	on "$1" wg set "$3" peer "${PUBKEY[$2]}" allowed-ips 10.0.1.2/32 \
		endpoint "$(endpoint "$2" 4)"
	on "$2" wg set wg0 private-key "$TMP/C.key" listen-port "$PORT"
	on "$2" wg set wg0 peer "${PUBKEY["$1 $3"]}" allowed-ips 10.0.1.1/32
	on "$1" ip address add 10.0.1.1/24 dev "$3"
	on "$1" ip link set "$3" mtu 1420 up
	on "$2" ip address add 10.0.1.2/24 dev wg0
	on "$2" ip link set wg0 mtu 1420 up
}

three_hosts() {
	host_new A
	host_new B
	host_new C
	join A B
	join A C
	start_wg wgxdp A
	start_wg wireguard-go B
	start_wg wgxdp C
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
}

@test "two interfaces, each with its NIC" {
	three_hosts
	IFACE=wg1 start_wg wgxdp A
	second_tunnel A C wg1 51821
	wait_until 10 pings A 10.0.1.2
	if is_wgxdp A; then
		wait_until 10 status_is A '.peers[0].path == "af_xdp" and .peers[0].nic == "toB"' wg0
		wait_until 10 status_is A '.peers[0].path == "af_xdp" and .peers[0].nic == "toC"' wg1
	fi
	ping_all A "$(inner4 B)" 20
	ping_all A 10.0.1.2 20
	ping_all C 10.0.1.1 20
	[ "$(on A wg show interfaces | tr ' ' '\n' | sort)" = $'wg0\nwg1' ]

	# If one ends, the other goes on.
	stop_wg A wg0
	ping_all A 10.0.1.2 20
	refute on A ip link show wg0
}

# two_on_a_nic: makes tunnels from A's wg0 and wg1 to C. wg0 has the NIC.
two_on_a_nic() {
	host_new A
	host_new C
	join A C
	start_wg wgxdp A
	IFACE=wg1 start_wg wgxdp A
	start_wg wireguard-go C
	wg_setup A C
	wait_until 10 pings A "$(inner4 C)"
	(umask 077 && wg genkey >"$TMP/wg1.key")
	on A wg set wg1 private-key "$TMP/wg1.key" listen-port 51821 \
		peer "${PUBKEY[C]}" allowed-ips 10.0.1.2/32 endpoint "$(endpoint C 4)"
	on C wg set wg0 peer "$(wg pubkey <"$TMP/wg1.key")" allowed-ips 10.0.1.1/32
	on A ip address add 10.0.1.1/24 dev wg1
	on A ip link set wg1 mtu 1420 up
	on C ip address add 10.0.1.2/24 dev wg0
	wait_until 10 pings A 10.0.1.2
}

@test "two interfaces that share a NIC" {
	two_on_a_nic
	ping_all A "$(inner4 C)" 20
	ping_all A 10.0.1.2 20
	if is_wgxdp A; then
		status_is A '.nics == []' wg1
		grep -q 'another program has it: XDP program [0-9]* (wg_nic) of wg0;' "$TMP/A-wg1.log"
		on A "$WGXDP" status wg1 | grep -q '^  no AF_XDP: toC: .* of wg0;'
		status_is A '.refused[0].name == "toC"' wg1
	fi
	stop_wg A wg0
	ping_all A 10.0.1.2 20
	if is_wgxdp A; then # the second takes the NIC, which is free now
		wait_until 5 status_is A '.peers[0].path == "af_xdp"' wg1
		ping_all A 10.0.1.2 20
	fi
}

# goes_on ADDRESS IFNAME: pings from A are answered although the daemon of IFNAME is killed.
goes_on() {
	ping_all A "$1" 100 &
	ping=$!
	sleep 0.2
	kill_wg A "$2"
	wait $ping
}

@test "two interfaces that share a NIC: each is killed, and the other goes on" {
	needs_wgxdp
	two_on_a_nic
	on_path A af_xdp
	goes_on "$(inner4 C)" wg1
	status_is A '.peers[0].path == "af_xdp"'
	IFACE=wg1 start_wg wgxdp A
	on A wg set wg1 private-key "$TMP/wg1.key" listen-port 51821 \
		peer "${PUBKEY[C]}" allowed-ips 10.0.1.2/32 endpoint "$(endpoint C 4)"
	on A ip address add 10.0.1.1/24 dev wg1
	on A ip link set wg1 mtu 1420 up
	wait_until 10 pings A 10.0.1.2
	goes_on 10.0.1.2 wg0
	wait_until 5 status_is A '.peers[0].path == "af_xdp"' wg1
	ping_all A 10.0.1.2 20
}

@test "a hub of two peers forwards between them" {
	three_hosts
	wg_keys C
	on C wg set wg0 private-key "$TMP/C.key" listen-port "$PORT"
	wg_up C
	on C wg set wg0 peer "${PUBKEY[A]}" allowed-ips 10.0.0.0/24,fd00::/64 \
		endpoint "$(endpoint A 4)"
	on B wg set wg0 peer "${PUBKEY[A]}" allowed-ips 10.0.0.0/24,fd00::/64
	wg_peer A C
	on A sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	wait_until 10 pings C "$(inner4 A)"
	wait_until 10 pings C "$(inner4 B)"
	ping_all C "$(inner4 B)" 50 -s 1300
	ping_all B "$(inner6 C)" 50 -s 1300
	if is_wgxdp A; then
		wait_until 10 status_is A '[.peers[].path] == ["af_xdp", "af_xdp"]'
		status_is A '[.peers[].nic] | sort == ["toB", "toC"]'
	fi

	send_file C B 5000000
}
