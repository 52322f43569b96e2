# SPDX-License-Identifier: MIT
# Malformed packets are dropped, counted for the right reason, and change nothing.

load lib

# junk TYPE LENGTH [COUNT [RECEIVER]]: sends COUNT datagrams from B to A's port over IPv4, and as
# many over IPv6: the type word, the receiver index if given, and random bytes.
junk() {
	on B python3 - "$@" <<-'PY'
		import os, socket, struct, sys
		kind, length = int(sys.argv[1], 0), int(sys.argv[2])
		count = int(sys.argv[3]) if len(sys.argv) > 3 else 10
		head = struct.pack("<I", kind)
		if len(sys.argv) > 4:
		    head += struct.pack("<I", int(sys.argv[4], 0))
		for family, host in (socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"):
		    s = socket.socket(family, socket.SOCK_DGRAM)
		    for _ in range(count):
		        s.sendto((head + os.urandom(2048))[:length], (host, 51820))
	PY
}

# counted REASONS COUNT JUNK...: sends junk, for which exactly COUNT more drops must be counted for
# one of these reasons ("a+b"), and none for others.
counted() {
	local reasons=$1 count=$2 before

	shift 2
	is_wgxdp A || { junk "$@"; return; }
	before=$(status_of A .drops)
	junk "$@"
	wait_until 5 grown "$reasons" "$count" "$before"
	grown all "$count" "$before"
}

# grown REASONS|all COUNT BEFORE: returns true if these drops have grown by COUNT.
grown() {
	# shellcheck disable=SC2016 # variables of jq
	status_of A .drops | jq -e --arg reasons "$1" --argjson n "$2" --argjson before "$3" '
		. as $now
		| (if $reasons == "all" then keys else $reasons / "+" end)
		| map(($now[.] // 0) - ($before[.] // 0)) | add == $n' >/dev/null || {
		status_of A .drops
		return 1
	}
}

# peer_state: prints what must not change: the peer's endpoint and its latest handshake.
peer_state() { on A wg show wg0 dump | cut -f 1-5,8-; }

# session_index: prints a receiver index that A knows.
session_index() {
	on A bpftool -j map dump pinned "$PINS/wg0/sessions" | jq '.[0].formatted.key'
}

# junk_of_all_kinds: the reasons are the same on both paths, because XDP passes what it does not
# know.
junk_of_all_kinds() {
	state=$(peer_state)
	for kind in 0 5 255 0x0100 0x80000004 0xffffffff; do
		counted bad_type 20 $kind 148
	done
	for wrong in "1 147" "1 149" "2 91" "2 93" "3 63" "3 65" "4 16" "4 31" "1 4" "4 4"; do
		# shellcheck disable=SC2086 # two words on purpose
		counted bad_length 20 $wrong
	done
	for short in 1 3; do
		counted bad_length+bad_type 20 1 $short
	done
	for length in 32 33 48 1400; do
		counted unknown_receiver 20 4 $length 10 0xdeadbeef
	done
	counted bad_mac+rate_limited+handshake_queue_full 20 1 148
	counted bad_mac+rate_limited+handshake_queue_full 20 2 92
	counted bad_cookie+unknown_receiver 20 3 64
	[ "$(peer_state)" = "$state" ]
	ping_all A "$(inner4 B)" 20
}

@test "junk of all kinds, by AF_XDP" {
	tunnel wgxdp wireguard-go
	on_path A af_xdp
	junk_of_all_kinds
}

@test "junk of all kinds, without XDP" {
	WGXDP_ARGS="--nic none" tunnel wgxdp wireguard-go
	junk_of_all_kinds
}

not_authentic() {
	WGXDP_ARGS=$1 tunnel wgxdp wireguard-go
	state=$(peer_state)
	index=$(session_index)
	for length in 32 33 48 1400; do
		counted bad_tag 20 4 $length 10 "$index"
	done
	[ "$(peer_state)" = "$state" ]
	ping_all A "$(inner4 B)" 20
}

@test "forged data of a session that exists, by AF_XDP" {
	needs_wgxdp
	not_authentic ""
}

@test "forged data of a session that exists, without XDP" {
	needs_wgxdp
	not_authentic "--nic none"
}

@test "an empty datagram" {
	tunnel wgxdp wireguard-go
	counted bad_length 20 0 0
	ping_all A "$(inner4 B)" 20
}

# Sends frames of B's again, unchanged.
@test "replayed messages" {
	needs_wgxdp
	tunnel wgxdp wireguard-go
	on_path A af_xdp
	on_bg B ping -q -i 0.05 -c 40 "$(inner4 A)"
	on B timeout $((20 * PATIENCE)) python3 - <<-'PY'
		import socket
		s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
		s.bind(("toA", 3))
		out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		out.bind(("toA", 0))
		seen = []
		while len(seen) < 10:
		    frame, addr = s.recvfrom(4096)
		    if addr[2] == socket.PACKET_OUTGOING and frame[36:38] == b"\xca\x6c" and frame[42] == 4:
		        seen.append(frame)
		for frame in seen * 3:
		    out.send(frame)
	PY
	wait_until 5 drops_at_least A replay 30
	[ "$(drops A replay)" = 30 ]
	ping_all A "$(inner4 B)" 20
}

@test "junk while a stream runs" {
	tunnel wgxdp wgxdp
	on_bg B sh -c 'while :; do socat -u TCP-LISTEN:9000,reuseaddr OPEN:/dev/null; done'
	wait_until 5 listening_tcp B 9000
	on_bg A timeout 5 socat -u OPEN:/dev/zero TCP:10.0.0.2:9000
	for length in 0 1 4 15 16 31 32 64 92 148 500 1400; do
		for kind in 0 1 2 3 4 5; do
			junk $kind $length 50
		done
	done
	ping_all A "$(inner4 B)" 20
	ping_all B "$(inner4 A)" 20
	seen=$(wg_field A endpoints)
	[ "$seen" = "192.0.2.2:51820" ]
}

# XDP passes fragments and packets with IP options to the UDP socket.
@test "a fragmented datagram takes the UDP path" {
	needs_wgxdp
	tunnel wgxdp wireguard-go
	on_path A af_xdp
	before=$(drops A unknown_receiver)
	junk 4 2000 10 0xdeadbeef
	wait_until 5 drops_at_least A unknown_receiver $((before + 20))
	[ "$(drops A unknown_receiver)" = $((before + 20)) ]
}
