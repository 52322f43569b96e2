# SPDX-License-Identifier: MIT
# All pairs of implementations, over IPv4 and IPv6. A sends first, so it is the initiator.

load lib

# talks INITIATOR RESPONDER 4|6 [psk]: sends IPv4 and IPv6 packets each way by AF_XDP.
talks() {
	tunnel "$@"
	on_path A af_xdp
	on_path B af_xdp
	exchange xdp
}

# exchange xdp|udp: sends 40 packets each way, which must be answered by this path.
exchange() {
	local before_a before_b

	before_a=$(paths A)
	before_b=$(paths B)
	ping_all A "$(inner4 B)" 20
	ping_all A "$(inner6 B)" 20 -s 1000
	ping_all B "$(inner4 A)" 20 -s 1000
	ping_all B "$(inner6 A)" 20
	went_by A "$1" "$before_a" 80
	went_by B "$1" "$before_b" 80
	has_psk A "${psk:-}"
}

has_psk() {
	if [ -n "$2" ]; then
		[ "$(wg_field "$1" preshared-keys)" = "$(cat "$TMP/psk")" ]
	else
		[ "$(wg_field "$1" preshared-keys)" = "(none)" ]
	fi
}

# talks_udp INITIATOR RESPONDER 4|6: does the same without XDP.
talks_udp() {
	WGXDP_ARGS="--nic none" tunnel "$@"
	on_path A udp
	on_path B udp
	exchange udp
	no_xdp A toB
	no_xdp B toA
}

no_xdp() {
	refute has_xdp "$1" "$2"
	if is_wgxdp "$1"; then
		status_is "$1" '.nics == [] and .paths.rx_xdp_packets == 0 and
			.paths.tx_xdp_packets == 0'
	fi
}

@test "wgxdp to wgxdp, IPv4" { talks wgxdp wgxdp 4; }
@test "wgxdp to wgxdp, IPv6" { talks wgxdp wgxdp 6; }
@test "wgxdp to wgxdp, IPv4, PSK" { psk=1 talks wgxdp wgxdp 4 psk; }
@test "wgxdp to wgxdp, IPv6, PSK" { psk=1 talks wgxdp wgxdp 6 psk; }

@test "wgxdp to wireguard-go, IPv4" { talks wgxdp wireguard-go 4; }
@test "wgxdp to wireguard-go, IPv6" { talks wgxdp wireguard-go 6; }
@test "wgxdp to wireguard-go, IPv4, PSK" { psk=1 talks wgxdp wireguard-go 4 psk; }
@test "wgxdp to wireguard-go, IPv6, PSK" { psk=1 talks wgxdp wireguard-go 6 psk; }

@test "wireguard-go to wgxdp, IPv4" { talks wireguard-go wgxdp 4; }
@test "wireguard-go to wgxdp, IPv6" { talks wireguard-go wgxdp 6; }
@test "wireguard-go to wgxdp, IPv4, PSK" { psk=1 talks wireguard-go wgxdp 4 psk; }
@test "wireguard-go to wgxdp, IPv6, PSK" { psk=1 talks wireguard-go wgxdp 6 psk; }

@test "without XDP: wgxdp to wgxdp, IPv4" { talks_udp wgxdp wgxdp 4; }
@test "without XDP: wgxdp to wgxdp, IPv6" { talks_udp wgxdp wgxdp 6; }
@test "without XDP: wgxdp to wireguard-go, IPv4" { talks_udp wgxdp wireguard-go 4; }
@test "without XDP: wgxdp to wireguard-go, IPv6" { talks_udp wgxdp wireguard-go 6; }
@test "without XDP: wireguard-go to wgxdp, IPv4" { talks_udp wireguard-go wgxdp 4; }
@test "without XDP: wireguard-go to wgxdp, IPv6" { talks_udp wireguard-go wgxdp 6; }

@test "generic XDP: wgxdp to wireguard-go" {
	needs_wgxdp
	host_new A
	host_new B
	join A B
	start_wg wgxdp A --nic toB:skb
	start_wg wireguard-go B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	status_is A '.nics == [{name: "toB", ifindex: .nics[0].ifindex, xdp: "generic",
		af_xdp: "copy", filter_only: false, queues: 1, xdp_queues: 0}]'
	exchange xdp
}

@test "devices named on the command line are attached at the start" {
	needs_wgxdp
	host_new A
	host_new B
	join A B
	start_wg wgxdp A --nic toB --workers 1
	start_wg wgxdp B --nic toA:copy
	status_is A '.nics[0].name == "toB" and .nics[0].xdp == "native" and .workers == 1'
	status_is B '.nics[0].name == "toA" and .nics[0].af_xdp == "copy"'
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	exchange xdp
}

@test "WGXDP_NIC replaces --nic" {
	needs_wgxdp
	host_new A
	WGXDP_NIC=none start_wg wgxdp A
	host_new B
	join A B
	WGXDP_NIC=toA:copy start_wg wgxdp B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	status_is A '.nics == []'
	status_is B '.nics[0].name == "toA" and .nics[0].af_xdp == "copy"'
}

@test "a wrong preshared key: no session with wireguard-go" {
	tunnel wgxdp wireguard-go 4 psk
	wg genpsk >"$TMP/other"
	on A wg set wg0 peer "${PUBKEY[B]}" remove
	wg_peer A B preshared-key "$TMP/other" endpoint "$(endpoint B 4)"
	refute on A ping -q -c 3 -i 0.2 -W 1 "$(inner4 B)"
	[ "$(wg_field A latest-handshakes)" = 0 ]
	on A wg set wg0 peer "${PUBKEY[B]}" preshared-key "$TMP/psk"
	wait_until 20 pings A "$(inner4 B)"
}

@test "a keypair is kept if an address of wg0 changes: with wireguard-go" {
	tunnel wgxdp wireguard-go
	before=$(wg_field A latest-handshakes)
	on A ip address add 10.0.0.100/24 dev wg0
	on A ip address del 10.0.0.100/24 dev wg0
	ping_all A "$(inner4 B)" 10
	[ "$(wg_field A latest-handshakes)" = "$before" ]
}
