# SPDX-License-Identifier: MIT
# Cryptokey routing: packets from an address that is not the peer's are dropped, and packets to an
# address that no peer has are refused.

load lib

# echo_requests HOST: prints how many echo requests of both families reached ICMP.
echo_requests() {
	on "$1" nstat -asz | awk '/^(IcmpInEchos|Icmp6InEchos) / { n += $2 } END { print n }'
}

spoof() {
	tunnel "$@"
	on B ip address add 10.0.0.99/32 dev wg0
	on B ip address add fd00::99/128 dev wg0 nodad
	endpoint=$(wg_field A endpoints)
	seen=$(echo_requests A)

	refute on B ping -q -c 5 -i 0.05 -W 1 -I 10.0.0.99 "$(inner4 A)"
	refute on B ping -q -c 5 -i 0.05 -W 1 -I fd00::99 "$(inner6 A)"
	[ "$(echo_requests A)" = "$seen" ]
	if is_wgxdp A; then
		[ "$(drops A ingress_bad_source)" -ge 10 ]
		status_is A '.peers[0].stats.from_peer_bad_source >= 10'
	fi
	[ "$(wg_field A endpoints)" = "$endpoint" ]

	# The peer's own address works, and is counted.
	ping_all B "$(inner4 A)" 5
	[ "$(echo_requests A)" = $((seen + 5)) ]
}

@test "a spoofed inner source is dropped: from wgxdp" { spoof wgxdp wgxdp; }
@test "a spoofed inner source is dropped: from wireguard-go" { spoof wgxdp wireguard-go; }
@test "a spoofed inner source is dropped: from wireguard-go, without XDP" {
	WGXDP_ARGS="--nic none" spoof wgxdp wireguard-go
}

@test "a peer cannot take another peer's address: from wireguard-go" {
	host_new A
	host_new B
	host_new C
	join A B
	join A C
	start_wg wgxdp A
	start_wg wireguard-go B
	start_wg wireguard-go C
	wg_setup B A
	wg_keys C
	on C wg set wg0 private-key "$TMP/C.key" listen-port "$PORT"
	wg_up C
	wg_peer C A endpoint "$(endpoint A 4)"
	wg_peer A C
	wait_until 10 pings B "$(inner4 A)"
	wait_until 10 pings C "$(inner4 A)"

	on C ip address add "$(inner4 B)/32" dev wg0
	seen=$(echo_requests A)
	refute on C ping -q -c 5 -i 0.05 -W 1 -I "$(inner4 B)" "$(inner4 A)"
	[ "$(echo_requests A)" = "$seen" ]
	ping_all B "$(inner4 A)" 5

	# After the address has moved to C, it works from C only.
	on A wg set wg0 peer "${PUBKEY[C]}" allowed-ips "$(inner4 B)/32"
	on C ping -q -c 5 -i 0.05 -W 1 -I "$(inner4 B)" "$(inner4 A)"
	refute on B ping -q -c 3 -i 0.05 -W 1 "$(inner4 A)"
}

@test "a destination in no peer's allowed IPs is refused: with wireguard-go" {
	tunnel wgxdp wireguard-go
	on A ip route add 10.9.9.0/24 dev wg0
	on A ip -6 route add fd09::/64 dev wg0
	before=$(wg_field A transfer)
	refute on A ping -q -c 5 -i 0.05 -W 1 10.9.9.9
	refute on A ping -q -c 5 -i 0.05 -W 1 fd09::9
	[ "$(wg_field A transfer)" = "$before" ]
	if is_wgxdp A; then
		[ "$(drops A egress_no_peer)" -ge 10 ]
	fi
	ping_all A "$(inner4 B)" 5
}

@test "the longest prefix wins; without it the next shorter one does: with wireguard-go" {
	host_new A
	host_new B
	host_new C
	join A B
	join A C
	start_wg wgxdp A
	start_wg wireguard-go B
	start_wg wireguard-go C
	wg_setup A B
	wg_keys C
	on C wg set wg0 private-key "$TMP/C.key" listen-port "$PORT"
	wg_up C
	wg_peer C A
	on A wg set wg0 peer "${PUBKEY[B]}" allowed-ips 10.0.0.0/16
	on A wg set wg0 peer "${PUBKEY[C]}" endpoint "$(endpoint C 4)" \
		allowed-ips 10.0.7.0/24
	on A ip route add 10.0.7.0/24 dev wg0
	on B ip address add 10.0.7.7/32 dev lo
	on C ip address add 10.0.7.7/32 dev lo
	on B ip address add 10.0.8.8/32 dev lo
	on A ip route add 10.0.8.0/24 dev wg0

	sent_to() { on A wg show wg0 transfer | awk -v key="${PUBKEY[$1]}" '$1 == key { print $3 }'; }
	wait_until 10 pings A 10.0.7.7
	wait_until 10 pings A 10.0.8.8
	before=$(sent_to C)
	ping_all A 10.0.7.7 5
	[ "$(sent_to C)" -ge $((before + 5 * 128)) ]

	on A wg set wg0 peer "${PUBKEY[C]}" remove
	ping_all A 10.0.7.7 5
}

@test "a forged frame does not leave: to wireguard-go" {
	needs_wgxdp
	tunnel wgxdp wireguard-go
	before=$(wg_field A transfer)
	# Frames with a chosen tag that are not IP, or have IP's type but no IP packet. The sender
	# gets ENOBUFS.
	on A python3 - <<-'PY'
		import socket
		s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		s.bind(("wg0", 0))
		tag = b"\x02\x57\x47\x00\x00\x00" + b"\x02" * 6
		for n in range(10):
		    for frame in b"\x08\x00\x45" + bytes(n), b"\x88\xb5" + bytes(64):
		        try:
		            s.send(tag + frame)
		        except OSError:
		            pass
	PY
	[ "$(drops A egress_not_ip)" = 20 ]
	[ "$(wg_field A transfer)" = "$before" ]
	ping_all A "$(inner4 B)" 5
}
