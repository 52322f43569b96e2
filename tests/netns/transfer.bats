# SPDX-License-Identifier: MIT
# `wg show transfer` counts as the kernel's WireGuard does: the UDP payload of all messages that
# were sent to the peer or accepted from it, handshakes and keepalives included.

load lib

setup() { needs_root; }

NONE="--nic none"

# wire IMPL_A IMPL_B 4|6 ARGUMENTS: makes A and B on a bridge in M, where nftables counts all
# messages, by type and direction: packets, and bytes from the IP header on.
wire() {
	local host

	for host in A B M; do
		host_new $host
	done
	on M ip link add name br0 type bridge mcast_snooping 0
	on M ip link set br0 up
	for host in A B; do
		nsenter --target "${HOST_PID[$host]}" --net ip link add toM type veth \
			peer name "to$host" netns "${HOST_PID[M]}"
		on M ip link set "to$host" master br0 up
		on $host ip link set toM up
		on $host ip address add "$(outer4 $host)/24" dev toM
		on $host ip address add "$(outer6 $host)/64" dev toM nodad
		counters $host
	done
	# shellcheck disable=SC2086 # words on purpose
	start_wg "$1" A $4
	# shellcheck disable=SC2086
	start_wg "$2" B $4
	wg_setup A B "$3"
	case $3 in
	4) HEADERS=28 ;;
	6) HEADERS=48 ;;
	esac
}

counters() {
	on M nft -f - <<-EOF
		table netdev from$1 {
			counter initiation { }
			counter response { }
			counter cookie { }
			counter keepalive { }
			counter data { }
			chain c {
				type filter hook ingress device "to$1" priority 0
				udp sport $PORT @th,64,32 0x01000000 counter name initiation
				udp sport $PORT @th,64,32 0x02000000 counter name response
				udp sport $PORT @th,64,32 0x03000000 counter name cookie
				udp sport $PORT @th,64,32 0x04000000 udp length 40 counter name keepalive
				udp sport $PORT @th,64,32 0x04000000 udp length != 40 counter name data
			}
		}
	EOF
}

# on_wire HOST JQ: prints a value of {initiation: {packets, bytes}, ...} for messages from HOST;
# `bytes` are UDP payload.
on_wire() {
	# shellcheck disable=SC2016 # variables of jq
	on M nft -j list counters table netdev "from$1" | jq --argjson headers "$HEADERS" '
		[.nftables[].counter // empty
			| {key: .name, value: {packets, bytes: (.bytes - .packets * $headers)}}]
		| from_entries | '"$2"
}

sent_on_wire() { on_wire "$1" 'del(.cookie) | [.[].bytes] | add'; }

# rx HOST, tx HOST: print the bytes that wg shows as received and sent.
rx() { on "$1" wg show wg0 transfer | cut -f 2; }
tx() { on "$1" wg show wg0 transfer | cut -f 3; }

# agree: returns true if both hosts and M count the same; nothing may be in flight.
agree() {
	local host

	for host in A B; do
		[ "$(tx $host)" = "$(sent_on_wire $host)" ] || return 1
	done
	[ "$(tx A)" = "$(rx B)" ] && [ "$(tx B)" = "$(rx A)" ]
}

show_counters() {
	local host

	for host in A B; do
		echo "$host: rx $(rx $host) tx $(tx $host), on the wire:"
		on_wire $host .
	done
}

assert_agree() {
	wait_until 5 agree || {
		show_counters
		return 1
	}
}

# message LENGTH...: prints the bytes of messages with inner packets of these lengths, padded to a
# multiple of 16, but not beyond wg0's MTU.
message() {
	local len sum=0

	for len; do
		len=$(((len + 15) / 16 * 16))
		sum=$((sum + 32 + (len > 1420 ? 1420 : len)))
	done
	echo $sum
}

# handshakes HOST: prints the bytes of handshake messages and keepalives from HOST, as M counts
# them.
handshakes() {
	on_wire "$1" '148 * .initiation.packets + 92 * .response.packets
		+ 32 * .keepalive.packets'
}

# is rx|tx HOST BYTES: waits until HOST counts so much, because a worker counts a batch shortly
# after sending or receiving it.
is() {
	wait_until 3 counts_to "$@" || {
		echo "$1 of $2 is $("$1" "$2") instead of $3"
		return 1
	}
}

counts_to() { [ "$("$1" "$2")" = "$3" ]; }

data_on_wire() { [ "$(on_wire "$1" .data.bytes)" = "$2" ]; }

# expect HOST DATA: HOST must have sent so many bytes of data messages, and count them.
expect() {
	wait_until 3 data_on_wire "$@"
	is tx "$1" $(($2 + $(handshakes "$1")))
}

# Lengths of inner packets, near the steps of padding and the MTU.
SIZES="48 49 63 64 65 80 96 1000 1392 1408 1409 1419 1420"

# first ADDRESS HEADERS: causes the handshake by one ping of 84 bytes.
first() {
	on A ping -q -n -c 1 -W 4 -s $((84 - $2)) "$1" >/dev/null
}

# counts IMPL_A IMPL_B 4|6 ARGUMENTS: the counters must be right for packets of each of SIZES.
counts() {
	local way=xdp headers=28 inner data before size

	wire "$@"
	inner=$(inner4 B)
	if [ "$3" = 6 ]; then
		headers=48
		inner=$(inner6 B)
	fi
	if [ -n "$4" ]; then
		way=udp
	fi
	first "$inner" $headers
	# One each, unless a message is lost.
	[ "$(on_wire A .initiation.packets)" -ge 1 ]
	[ "$(on_wire B .response.packets)" -ge 1 ]
	data=$(message 84)
	expect A "$data"
	expect B "$data"
	assert_agree

	on_path A ${way/xdp/af_xdp}
	on_path B ${way/xdp/af_xdp}
	before=$(paths A)
	for size in $SIZES; do
		ping_all A "$inner" 2 -s $((size - headers)) -M "do"
		data=$((data + $(sent_by_ping) * $(message "$size")))
	done
	expect A "$data"
	expect B "$data"
	assert_agree
	went_by A $way "$before" 26

	keepalives
	expect A "$data"
	expect B "$data"
	assert_agree
}

has_kept_alive() { [ "$(on_wire A .keepalive.packets)" -ge "$1" ]; }

keepalives() {
	on A wg set wg0 peer "${PUBKEY[B]}" persistent-keepalive 1
	wait_until 10 has_kept_alive 2
	on A wg set wg0 peer "${PUBKEY[B]}" persistent-keepalive 0
}

@test "each byte counts: wgxdp and wgxdp, IPv4" { counts wgxdp wgxdp 4 ""; }
@test "each byte counts: wgxdp and wgxdp, IPv6" { counts wgxdp wgxdp 6 ""; }
@test "each byte counts: wgxdp and wireguard-go, IPv4" { counts wgxdp wireguard-go 4 ""; }
@test "each byte counts: wireguard-go and wgxdp, IPv6" { counts wireguard-go wgxdp 6 ""; }
@test "each byte counts: wgxdp and wgxdp on UDP sockets, IPv4" { counts wgxdp wgxdp 4 "$NONE"; }
@test "each byte counts: wgxdp and wgxdp on UDP sockets, IPv6" { counts wgxdp wgxdp 6 "$NONE"; }
@test "each byte counts: wgxdp on UDP sockets and wireguard-go, IPv4" {
	counts wgxdp wireguard-go 4 "$NONE"
}

# The responder's first answer waits until the initiator confirms the session.
@test "a handshake is confirmed by data instead of a keepalive, if data waits" {
	wire wgxdp wgxdp 4 ""
	first "$(inner4 B)" 28
	for _ in {1..5}; do
		on A ip link set wg0 down
		on B ip link set wg0 down
		on B ip link set wg0 up
		on A ip link set wg0 up
		wait_until 5 pings A "$(inner4 B)"
	done
	[ "$(on_wire A .initiation.packets)" -ge 6 ]
	[ "$(on_wire A .keepalive.packets)" = 0 ]
	[ "$(on_wire B .keepalive.packets)" = 0 ]
	assert_agree
}

# ---- bulk

# lost HOST: prints how many packets all counters of the host show as dropped.
lost() {
	local n

	n=$(on "$1" nstat -asz | awk '/^Udp6?(InErrors|RcvbufErrors|SndbufErrors) / { n += $2 }
		END { print n + 0 }')
	n=$((n + $(on "$1" ip -s -j link | jq '[.[].stats64 | .rx.dropped + .tx.dropped] | add')))
	if [ "$1" != M ] && is_wgxdp "$1"; then
		n=$((n + $(status_of "$1" '[.drops[]] | add // 0')))
	fi
	echo $n
}

lost_anywhere() { echo $(($(lost A) + $(lost B) + $(lost M))); }

BULK=8000000

# stream: sends BULK bytes by TCP, with a window that does not overrun wireguard-go's socket buffer.
stream() {
	local receiver

	on B timeout $((30 * PATIENCE)) socat -u TCP-LISTEN:9000,reuseaddr,so-rcvbuf=60000 OPEN:/dev/null 3>&- &
	receiver=$!
	wait_until 5 listening_tcp B 9000
	head -c $BULK /dev/zero |
		on A timeout $((30 * PATIENCE)) socat -u - "TCP:$(inner4 B):9000"
	wait $receiver
}

# segmented BEFORE: since that snapshot of its paths, A must have sent many more messages than it
# has read packets from wg0; on a slow machine, where TCP's packets are smaller, just more.
segmented() {
	local times=$((PATIENCE > 1 ? 1 : 3))

	# shellcheck disable=SC2016 # variables of jq
	status_of A .paths | jq -e --argjson before "$1" --argjson times $times '
		def grown(f): f - ($before | f);
		grown(.tx_xdp_packets + .tx_udp_packets) > $times * grown(.tap_reads)'
}

# missing: prints the bytes that were sent but not received so far: from A, from B.
missing() { echo "$(($(tx A) - $(rx B))) $(($(tx B) - $(rx A)))"; }

# agree_but MISSING: does what agree does, if this was missing before.
agree_but() {
	[ "$(missing)" = "$1" ] &&
		[ "$(tx A)" = "$(sent_on_wire A)" ] && [ "$(tx B)" = "$(sent_on_wire B)" ]
}

# bulk ARGUMENTS_OF_wire...: sends streams until nothing is lost in one, five at most.
bulk() {
	local before loss paths

	wire "$@"
	first "$(inner4 B)" 28
	paths=$(paths A)
	for _ in 1 2 3 4 5; do
		loss=$(lost_anywhere)
		before=$(missing)
		stream
		wait_until 5 settled
		if [ "$(lost_anywhere)" = "$loss" ]; then
			# Repeated, because a keepalive may be sent between reading two counters.
			wait_until 5 agree_but "$before" || {
				show_counters
				return 1
			}
			if is_wgxdp A; then
				segmented "$paths"
			fi
			(($(tx A) > BULK * 103 / 100 && $(tx A) < 5 * BULK * 110 / 100))
			return
		fi
		echo "lost something, once more"
	done
	echo "each time something was lost"
	return 1
}

settled() {
	local now

	now="$(tx A) $(rx A) $(tx B) $(rx B)"
	sleep 0.2
	[ "$now" = "$(tx A) $(rx A) $(tx B) $(rx B)" ]
}

@test "each byte counts: a stream between wgxdp and wgxdp" { bulk wgxdp wgxdp 4 ""; }
@test "each byte counts: a stream on UDP sockets" { bulk wgxdp wgxdp 6 "$NONE"; }
@test "each byte counts: a stream to wireguard-go" { bulk wgxdp wireguard-go 4 ""; }

# ---- packets that do not count

# replayer COUNT: starts a program on M that sends B's next message to A COUNT more times, unchanged
# and with its last byte changed. Waits until it is ready.
replayer() {
	cat >"$TMP/replayer" <<-'PY'
		import socket, sys
		count = int(sys.argv[1])
		ALL = 3
		tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
		tap.bind(("toB", ALL))
		out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		out.bind(("toA", 0))
		open(sys.argv[2], "w").close()
		MESSAGE = 14 + 20 + 8
		while True:
		    frame, source = tap.recvfrom(4096)
		    if source[2] == socket.PACKET_OUTGOING or frame[12:14] != b"\x08\x00":
		        continue
		    if frame[23] == 17 and frame[MESSAGE:MESSAGE + 4] == b"\x04\0\0\0":
		        break
		frame = bytearray(frame)
		frame[40:42] = b"\0\0"  # no checksum, because the NIC was to fill it in
		for n in range(count):
		    out.send(frame)
		frame[-1] ^= 1
		for n in range(count):
		    out.send(frame)
	PY
	on_bg M timeout $((20 * PATIENCE)) python3 "$TMP/replayer" "$1" "$TMP/ready"
	REPLAYER=$!
	wait_until 5 test -e "$TMP/ready"
}

refusals() { echo "$(drops A replay) $(drops A bad_tag)"; }
refused() { [ "$(refusals)" = "$1" ]; }

replays() {
	needs_wgxdp
	wire wgxdp wgxdp 4 "$1"
	first "$(inner4 B)" 28
	assert_agree
	replayer 10
	ping_all B "$(inner4 A)" 1
	wait $REPLAYER
	wait_until 5 refused "10 10"
	assert_agree
}

@test "replays and forgeries do not count" { replays ""; }
@test "replays and forgeries do not count, UDP sockets" { replays "$NONE"; }

spoofs() {
	local before sent

	needs_wgxdp
	wire wgxdp "$1" 4 "$2"
	first "$(inner4 B)" 28
	assert_agree
	before=$(rx A)
	sent=$(tx B)
	on B ip address add 10.0.0.99/32 dev wg0
	refute on B ping -q -c 5 -i 0.01 -W 0.2 -s 68 -I 10.0.0.99 "$(inner4 A)"
	wait_until 5 drops_at_least A ingress_bad_source 5
	is tx B $((sent + 5 * $(message 96)))
	is rx A "$before"
	# Only the packets with the right source count.
	on_bg B ping -q -c 100 -i 0.01 -W 0.2 -s 68 -I 10.0.0.99 "$(inner4 A)" >/dev/null
	ping_all B "$(inner4 A)" 100 -s 500
	wait_until 5 drops_at_least A ingress_bad_source 105
	is rx A $((before + 100 * $(message 528)))
	is rx B "$(tx A)"
}

@test "a spoofed inner source does not count: from wgxdp" { spoofs wgxdp ""; }
@test "a spoofed inner source does not count: from wireguard-go" { spoofs wireguard-go ""; }
@test "a spoofed inner source does not count: on UDP sockets" { spoofs wgxdp "$NONE"; }

# ---- ip -s link

# link HOST rx|tx: prints packets and bytes of wg0.
link() { on "$1" ip -s -j link show wg0 | jq -r ".[0].stats64.$2 | \"\(.packets) \(.bytes)\""; }

# grew HOST rx|tx BEFORE PACKETS BYTES: wg0's counters must have grown so much; BYTES may be without
# Ethernet headers.
grew() {
	local packets bytes before_packets before_bytes

	read -r before_packets before_bytes <<<"$3"
	read -r packets bytes <<<"$(link "$1" "$2")"
	packets=$((packets - before_packets))
	bytes=$((bytes - before_bytes))
	echo "$1 $2: $packets packets, $bytes bytes"
	[ $packets = "$4" ]
	((bytes >= $5 && bytes <= $5 + 14 * packets))
}

@test "ip -s link: inner packets and bytes" {
	needs_wgxdp
	wire wgxdp wgxdp 4 ""
	first "$(inner4 B)" 28
	rx=$(link A rx)
	tx=$(link A tx)
	ping_all A "$(inner4 B)" 20 -s 972
	grew A rx "$rx" 20 20000
	grew A tx "$tx" 20 20000
	stream
	read -r _ bytes <<<"$(link A tx)"
	((bytes > BULK && bytes < $(tx A)))
}
