# SPDX-License-Identifier: MIT
# Packets of every size, streams and files arrive unchanged and in order.
# bats file_tags=load

load lib

# ping_sizes FROM ADDRESS HEADERS LARGEST: pings with sizes near wg0's MTU (1420, of which HEADERS
# are IP and ICMP) and near the steps of padding, and with inner fragments up to LARGEST.
ping_sizes() {
	local size mtu=$((1420 - $3))

	for size in 0 1 3 4 5 19 20 21 $((mtu - 17)) $((mtu - 1)) "$mtu"; do
		ping_all "$1" "$2" 3 -s "$size" -M "do"
	done
	refute on "$1" ping -c 1 -W 1 -M "do" -s $((mtu + 1)) "$2"
	for size in $((mtu + 1)) 3000 20000 "$4"; do
		ping_all "$1" "$2" 3 -s "$size"
	done
}

all_sizes() {
	tunnel "$@"
	ping_sizes A "$(inner4 B)" 28 65507
	ping_sizes B "$(inner4 A)" 28 65507
	ping_sizes A "$(inner6 B)" 48 65487
	ping_sizes B "$(inner6 A)" 48 65487
}

# all_files: files of less than a segment, just over the largest GSO packet, and many of those.
all_files() {
	local size

	tunnel "$@"
	for size in 1 1000 65537 20000001; do
		send_file A B "$size"
		send_file B A "$size"
		send_file A B "$size" "$(inner6 B)"
		send_file B A "$size" "$(inner6 A)"
	done
}

# no_loss LENGTH KBIT/S [ARGUMENTS...]: sends UDP for two seconds at nearly this rate, of which
# nearly all must arrive. (The rate is lower on slow machines, because of system calls and copies.)
no_loss() {
	local rate=$(($2 / PATIENCE / PATIENCE))

	iperf A B -u -l "$1" -b "${rate}K" "${@:3}"
	iperf_is ".end.sum.packets > $((rate * 2000 * 3 / 4 / 8 / $1)) and .end.sum.lost_percent < 5"
}

all_streams() {
	tunnel "$@"
	no_trickle A B
	no_trickle A B -R
	no_trickle A B -P 4
	no_loss 64 10000
	no_loss 1300 20000 -R
}


@test "100 pings, 100 answers" {
	tunnel wgxdp wgxdp
	on_path A af_xdp
	on_path B af_xdp
	before=$(paths A)
	ping_all A "$(inner4 B)" 100
	went_by A xdp "$before" 100
}

@test "packets of every size: wgxdp and wgxdp" { all_sizes wgxdp wgxdp; }
@test "packets of every size: wgxdp and wireguard-go" { all_sizes wgxdp wireguard-go; }
@test "packets of every size, IPv6 outside" { all_sizes wgxdp wgxdp 6; }
@test "packets of every size, without XDP: wgxdp and wireguard-go" {
	WGXDP_ARGS="--nic none" all_sizes wgxdp wireguard-go
}

@test "files: wgxdp and wgxdp" { all_files wgxdp wgxdp; }
@test "files: wgxdp and wireguard-go, IPv6 outside" { all_files wgxdp wireguard-go 6; }
@test "files: without XDP" { WGXDP_ARGS="--nic none" all_files wgxdp wgxdp; }

@test "iperf3: wgxdp and wgxdp" { all_streams wgxdp wgxdp; }
@test "iperf3: wgxdp and wireguard-go" { all_streams wgxdp wireguard-go; }
@test "iperf3: without XDP" { WGXDP_ARGS="--nic none" all_streams wgxdp wgxdp; }

# datagrams receive COUNT | send COUNT ADDRESS: sends bursts, mostly of one size each. A datagram's
# content follows from its number. The receiver succeeds if all arrived unchanged and in order.
datagrams() {
	python3 - "$@" <<-'PY'
		import random, socket, sys, time
		count = int(sys.argv[2])
		r = random.Random(1)
		sizes = []
		while len(sizes) < count:
		    sizes += [r.randint(8, 1392)] * r.choice((1, 2, 40)) + [r.randint(8, 1392)]
		def datagram(i):
		    return (i.to_bytes(4, "big") * 350)[:sizes[i]]
		s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
		s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20) # SO_RCVBUFFORCE
		if sys.argv[1] == "receive":
		    s.bind(("::", 9001))
		    s.settimeout(30)
		    sys.exit(any(s.recv(2048) != datagram(i) for i in range(count)))
		for i in range(count):
		    s.sendto(datagram(i), ("::ffff:" + sys.argv[3], 9001))
		    if i % 200 == 199:
		        time.sleep(0.02)
	PY
}

all_datagrams() {
	local receiver

	tunnel "$@"
	datagrams_in B receive 4000 &
	receiver=$!
	wait_until 10 listening_udp B 9001
	datagrams_in A send 4000 "$(inner4 B)"
	wait $receiver
}

datagrams_in() {
	nsenter --target "${HOST_PID[$1]}" --net --mount --pid -- \
		bash -c "$(declare -f datagrams); datagrams \"\$@\"" - "${@:2}" 3>&-
}

@test "datagrams keep their boundaries and their order" {
	all_datagrams wgxdp wgxdp
	# Datagrams of one size are written to wg0 as one, if it supports that (Linux 6.2).
	if printf '%s\n' 6.2 "$(uname -r)" | sort -CV; then
		status_is B '.paths.tap_writes < 2000'
	fi
}

@test "datagrams keep their boundaries and their order, without XDP" {
	WGXDP_ARGS="--nic none" all_datagrams wgxdp wgxdp
}

# send_paced HOST ADDRESS SECONDS: sends thousands of small datagrams per second, for
# count_ascending.
send_paced() {
	on "$1" python3 - "$2" "$3" <<-'PY'
		import socket, struct, sys, time
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		number, end = 0, time.monotonic() + float(sys.argv[2])
		while time.monotonic() < end:
		    s.sendto(struct.pack("!q", number), (sys.argv[1], 9000))
		    number += 1
		    time.sleep(0.00005)
		for _ in range(50): # some of these get through
		    time.sleep(0.02)
		    s.sendto(struct.pack("!q", -1), (sys.argv[1], 9000))
	PY
}

# no_overtaking ARGUMENTS...: begins a session under traffic, three times.
no_overtaking() {
	WGXDP_ARGS="$*" tunnel wgxdp wgxdp
	for _ in 1 2 3; do
		on A wg set wg0 peer "${PUBKEY[B]}" remove
		wg_peer A B endpoint "$(endpoint B 4)"
		ascending send_paced A "$(inner4 B)" 0.3
		[ "$(cat "$TMP/count")" -gt 10 ]
	done
}

@test "packets that waited for a session are not overtaken: AF_XDP" { no_overtaking; }
@test "packets that waited for a session are not overtaken: UDP" { no_overtaking --nic none; }

# send_uneven HOST ADDRESS: sends ten datagrams too long for a link's MTU of 1300 and a short one
# per system call (UDP_SEGMENT).
send_uneven() {
	on "$1" python3 - "$2" <<-'PY'
		import socket, struct, sys, time
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.setsockopt(socket.IPPROTO_UDP, 103, 1360)
		number, pad = 0, bytes(1352)
		for _ in range(100):
		    s.sendto(b"".join(struct.pack("!q", number + i) + pad for i in range(10))
		             + struct.pack("!q", number + 10), (sys.argv[1], 9000))
		    number += 11
		    time.sleep(0.002)
		for _ in range(10):
		    s.sendto(struct.pack("!q", -1), (sys.argv[1], 9000))
		    time.sleep(0.02)
	PY
}

@test "a short packet does not overtake packets that are too long for AF_XDP" {
	local before

	needs_wgxdp
	host_new A
	host_new B
	join A B
	link_mtu 1300
	start_wg wgxdp A
	start_wg wgxdp B --nic none
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	before=$(paths A)
	ascending send_uneven A "$(inner4 B)"
	[ "$(cat "$TMP/count")" = 1100 ]
	paths A | jq -e --argjson before "$before" \
		'.tx_udp_packets - $before.tx_udp_packets >= 1000
			and .tx_xdp_packets - $before.tx_xdp_packets >= 100'
}

@test "a stream stays on AF_XDP" {
	tunnel wgxdp wgxdp
	on_path A af_xdp
	on_path B af_xdp
	before_a=$(paths A)
	before_b=$(paths B)
	iperf A B
	packets=$(jq '.end.sum_received.bytes / 1420 | floor' "$TMP/iperf")
	# Data one way, acknowledgements the other way.
	went_by A xdp "$before_a" $((packets / 200))
	went_by B xdp "$before_b" $((packets / 200))
	if is_wgxdp A; then
		status_of A .paths | jq -e --argjson before "$before_a" --argjson n "$packets" \
			'.tx_xdp_packets - $before.tx_xdp_packets >= $n'
	fi
}

@test "traffic with wireguard-go in wg show" {
	tunnel wgxdp wireguard-go
	read -r _ rx tx <<<"$(on A wg show wg0 transfer)"
	ping_all A "$(inner4 B)" 10 -s 68
	read -r _ rx_after tx_after <<<"$(on A wg show wg0 transfer)"
	# Each message: 96 bytes of IP packet, 32 of message header and tag, no padding.
	[ $((rx_after - rx)) = 1280 ]
	[ $((tx_after - tx)) = 1280 ]
}

# ---- one peer, several threads

# count_ascending HOST SECONDS: receives datagrams until one with the number -1, and prints their
# count; fails if their numbers are not ascending.
count_ascending() {
	on "$1" python3 - "$2" <<-'PY'
		import socket, struct, sys
		s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
		s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
		s.bind(("::", 9000))
		s.settimeout(float(sys.argv[1]))
		last, n = -1, 0
		while True:
		    number, = struct.unpack_from("!q", s.recv(2000))
		    if number < 0:
		        break
		    assert number > last, f"{number} after {last}"
		    last, n = number, n + 1
		print(n)
	PY
}

# ascending COMMAND...: the datagrams that it sends to B must arrive in order; their count is in
# $TMP/count.
ascending() {
	local receiver

	count_ascending B $((20 * PATIENCE)) >"$TMP/count" &
	receiver=$!
	wait_until 5 listening_udp B 9000
	"$@"
	wait "$receiver"
}

# send_ascending HOST ADDRESS SECONDS: sends 44 datagrams per system call (UDP_SEGMENT), as fast as
# possible.
send_ascending() {
	on "$1" python3 - "$2" "$3" <<-'PY'
		import socket, struct, sys, time
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.setsockopt(socket.IPPROTO_UDP, 103, 1360)
		s.connect((sys.argv[1], 9000))
		number, pad = 0, bytes(1352)
		end = time.monotonic() + float(sys.argv[2])
		while time.monotonic() < end:
		    s.send(b"".join(struct.pack("!q", number + i) + pad for i in range(44)))
		    number += 44
		try:
		    for _ in range(50): # some of these get through
		        time.sleep(0.02)
		        s.send(struct.pack("!q", -1))
		except ConnectionRefusedError:
		    pass
	PY
}

helped() { status_of "$1" .paths.helped; }

# until_helped COMMAND...: repeats it until helpers have worked at both ends, ten times at most,
# because workers may not need help each time.
until_helped() {
	local tries=0 a b

	a=$(helped A)
	b=$(helped B)
	until (($(helped A) > a && $(helped B) > b)); do
		[ $((++tries)) -le 10 ]
		"$@"
	done
}

thousands_ascend() {
	ascending send_ascending A "$(inner4 B)" 2
	[ "$(cat "$TMP/count")" -gt 1000 ]
}

# reordered: prints how often A's TCP has noticed reordering.
reordered() {
	on A nstat -asz TcpExtTCPSACKReorder TcpExtTCPTSReorder TcpExtTCPRenoReorder |
		awk '/^TcpExt/ { n += $2; lines++ } END { print n; exit lines != 3 }'
}

in_order_with_helpers() {
	WGXDP_ARGS="$* --workers 4" tunnel wgxdp wgxdp
	until_helped thousands_ascend
	until_helped iperf A B -P 8
	[ "$(reordered)" = 0 ]
}

@test "one peer's packets stay in order if several threads encrypt and decrypt: AF_XDP" {
	needs_wgxdp
	in_order_with_helpers
}

@test "one peer's packets stay in order if several threads encrypt and decrypt: UDP" {
	needs_wgxdp
	in_order_with_helpers --nic none
}

# While the kernel is probed (control/flows.c), messages must not overtake each other.
@test "one peer's packets stay in order while its flow is probed" {
	needs_wgxdp
	tunnel wgxdp wgxdp
	on_path A af_xdp
	on_path B af_xdp
	before=$(paths B)
	PATIENCE=$((PATIENCE * 2)) ascending send_ascending A "$(inner4 B)" 14
	[ "$(cat "$TMP/count")" -gt 1000 ]
	# Probes are not counted.
	paths B | jq -e --argjson before "$before" '.rx_udp_packets == $before.rx_udp_packets'
	on_path B af_xdp
}

by_af_xdp() { status_of A .paths.rx_xdp_packets; }

# seconds SECONDS COMMAND...: the command must succeed all the time.
seconds() {
	local end=$((SECONDS + $1))

	shift
	while [ $SECONDS -lt $end ]; do
		"$@"
	done
}

# Generic XDP also sees wgxdp's own probes.
@test "a flow that is in use stays on AF_XDP, generic XDP" {
	needs_wgxdp
	WGXDP_ARGS="--nic toB:skb" tunnel wgxdp wireguard-go
	on_path A af_xdp
	on_bg A ping -q -i 0.1 "$(inner4 B)" >/dev/null
	wait_until 5 eval '(($(by_af_xdp) > 5))'
	before=$(paths A)
	seconds 45 sleep 1
	paths A | jq -e --argjson before "$before" '
		.rx_udp_packets == $before.rx_udp_packets and
		.rx_xdp_packets > $before.rx_xdp_packets + 200'
	[ "$(drops A bad_tag)" = 0 ]
}

# id_gaps: prints how often the IPv4 ID of a data packet from A to B is not that of the one before
# plus one.
id_gaps() {
	on B tcpdump -nn -v -r "$TMP/capture" 'udp[8:4] = 0x04000000' 2>/dev/null |
		sed -n 's/.* id \([0-9]*\),.*/\1/p' |
		awk 'NR > 1 && $1 != (last + 1) % 65536 { n++ } { last = $1 }
			END { print NR " packets, " n + 0 " gaps" >"/dev/stderr"; print n + 0 }'
}

captured() { (($(on B tcpdump -nn -r "$TMP/capture" 2>/dev/null | wc -l) >= $1)); }

# B is without XDP, so that tcpdump sees its packets. Two gaps are allowed, because a new path
# starts with another ID.
@test "IPv4 IDs do not show a peer how many packets other peers are sent" {
	if ! command -v tcpdump >/dev/null; then
		skip "no tcpdump here"
	fi
	tunnel wgxdp wireguard-go
	host_new C
	join A C
	start_wg wireguard-go C
	wg_keys C
	on C wg set wg0 private-key "$TMP/C.key" listen-port "$PORT"
	wg_up C
	wg_peer C A
	wg_peer A C endpoint "$(endpoint C 4)"
	wait_until 10 pings A "$(inner4 C)"
	wait_until 10 status_is A 'all(.peers[]; .path == "af_xdp")'
	on_bg B tcpdump -Z root --immediate-mode -U -w "$TMP/capture" -i toA \
		src host "$(outer4 A)" and udp port "$PORT" 2>/dev/null
	wait_until 10 test -s "$TMP/capture"
	on_bg A ping -q -n -i 0.01 -c 1000 "$(inner4 C)" >/dev/null
	ping_all A "$(inner4 B)" 100
	wait_until 10 captured 100
	[ "$(id_gaps)" -le 2 ]
}
