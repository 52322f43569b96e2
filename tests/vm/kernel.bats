# SPDX-License-Identifier: MIT
# Tests for the kernel's WireGuard as the peer only. PEER=kernel runs tests/netns with it.

load lib

FLOOD=${FLOOD:-$BUILD/tests/tools/flood}
export BATS_TEST_TIMEOUT=$((200 * PATIENCE))

setup() {
	needs_root
	needs_wireguard
}

# ---- MTU

# sizes_at MTU xdp|udp: A and B ping each other with packets of wg0's MTU, and of three times that.
# A must send and receive them by this path.
sizes_at() {
	local host mtu=$1 before

	before=$(paths A)
	for host in A B; do
		on $host ip link set wg0 mtu "$mtu"
	done
	for host in A B; do
		ping_all $host "$(inner4 "$(other $host A B)")" 10 -s $((mtu - 28)) -M "do"
		ping_all $host "$(inner6 "$(other $host A B)")" 10 -s $((mtu - 48)) -M "do"
		ping_all $host "$(inner4 "$(other $host A B)")" 5 -s $((3 * mtu))
		refute on $host ping -q -c 1 -W 1 -s $((mtu - 27)) -M "do" \
			"$(inner4 "$(other $host A B)")"
	done
	went_by A "$2" "$before" 50
}

# mtus 4|6 UNDERLAY_MTU PATH MTU...: tests these MTUs of wg0 over a link of UNDERLAY_MTU.
mtus() {
	local mtu

	host_new A
	host_new B
	join A B
	link_mtu "$2"
	case $3 in
	udp) start_wg wgxdp A --nic none ;;
	*) start_wg wgxdp A ;;
	esac
	start_wg kernel B
	wg_setup A B "$1"
	wait_until 10 pings A "$(inner4 B)"
	on_path A "$3"
	for mtu in "${@:4}"; do
		sizes_at "$mtu" "${3#af_}"
		send_file A B 1000000
		send_file B A 1000000
	done
	on_path A "$3"
}

# An AF_XDP frame has room for about 3500 bytes: a page less what the kernel needs of it.
@test "MTU of 1280 to 3420 by AF_XDP, IPv4 outside" { mtus 4 3500 af_xdp 1280 1420 1500 3420; }
@test "MTU of 1280 to 3420 by AF_XDP, IPv6 outside" { mtus 6 3500 af_xdp 1280 1420 1500 3420; }
@test "MTU of 1280 to 9000 by UDP sockets, IPv4 outside" { mtus 4 9060 udp 1280 1420 4000 9000; }
@test "MTU of 1280 to 9000 by UDP sockets, IPv6 outside" { mtus 6 9080 udp 1280 1420 4000 9000; }

# ---- a bad link

# spoiled NETEM_ARGUMENTS...: makes a tunnel between wgxdp and the kernel over such a link.
spoiled() {
	bridged A B
	start_wg wgxdp A
	start_wg kernel B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	netem "$@"
	before=$(paths A)
}

# still_by_xdp: A must still use AF_XDP.
still_by_xdp() {
	on_path A af_xdp
	went_by A xdp "$before" 100
}

# pinged FROM TO LEAST: sends 200 pings; at least LEAST must be answered, each once.
pinged() {
	on "$1" ping -n -i 0.02 -c 200 -W 2 "$(inner4 "$2")" >"$TMP/ping" || true
	tail -n 3 "$TMP/ping"
	(($(grep -c 'bytes from' "$TMP/ping") >= $3))
	refute grep -q DUP "$TMP/ping"
}

# out_of_order: the answers to the last ping command must be out of order.
out_of_order() {
	sed -n 's/.*icmp_seq=\([0-9]*\) .*/\1/p' "$TMP/ping" >"$TMP/order"
	refute sort -n -C "$TMP/order"
}

@test "a link that reorders and delays: every packet arrives, once" {
	spoiled delay 200ms 100ms
	pinged A B 200
	out_of_order
	pinged B A 200
	out_of_order
	[ "$(drops A replay)" = 0 ]
	netem delay 20ms 10ms reorder 30% 50%
	send_file A B 1000000
	send_file B A 1000000
	still_by_xdp
}

@test "a link that duplicates: the copies are dropped as replays" {
	spoiled duplicate 50%
	pinged A B 200
	pinged B A 200
	(($(drops A replay) >= 100))
	send_file A B 1000000
	send_file B A 1000000
	still_by_xdp
}

# wg shows handshakes in seconds, so two in one second look the same.
second_after() { (($(date +%s) > $1)); }

# renewed HOST OTHER: makes HOST forget its sessions, and waits for a new handshake.
renewed() {
	local before

	before=$(wg_field "$1" latest-handshakes)
	wait_until 3 second_after "$before"
	on "$1" ip link set wg0 down
	on "$1" ip link set wg0 up
	wait_until 20 pings "$1" "$(inner4 "$2")"
	(($(wg_field "$1" latest-handshakes) > before))
}

@test "a link that loses: streams arrive whole, sessions are renewed" {
	spoiled loss 10% delay 5ms
	send_file A B 500000
	send_file B A 500000
	(($(netem_drops) >= 10))
	still_by_xdp
	netem loss 30%
	for _ in 1 2 3; do
		renewed A B
		renewed B A
	done
}

@test "a link that does all of that" {
	spoiled loss 3% duplicate 10% delay 10ms 5ms reorder 20% 50%
	send_file A B 500000
	send_file B A 500000
	pinged A B 150
	pinged B A 150
	(($(netem_drops) >= 10))
	(($(drops A replay) >= 10))
	still_by_xdp
}

# ---- under load

# outer HOST 4|6: prints its address outside the tunnel.
outer() { "outer$2" "$1"; }

# flood_on TARGET 4|6 OPTIONS...: floods the target from F in the background, and waits until it
# answers with cookies.
flood_on() {
	on F timeout $((60 * PATIENCE)) "$FLOOD" "${@:3}" "$(outer "$1" "$2")" "$PORT" \
		"${PUBKEY[$1]}" "$TMP/F.key" >"$TMP/flood" 3>&- &
	flooding=$!
	wait_until 10 grep -q under_load=yes "$TMP/flood"
}

# first HOST FROM 4|6 TYPE [CONDITION]: prints when the first message of that type and sender
# crossed the link, in microseconds; fails if none has. CONDITION is about an octet after the UDP
# header.
first() {
	local octet="udp[8 +" filter

	[ "$3" = 4 ] || octet="ip6[48 +"
	filter="src host $(outer "$2" "$3") and $octet 0] = $4"
	[ -z "${5:-}" ] || filter+=" and $octet $5"
	on "$1" tcpdump -tt -nn -r "$TMP/capture" "$filter" 2>/dev/null |
		awk '{ sub(/[.]/, "", $1); print $1; exit } END { exit !NR }'
}

# cookie_comes_first HOST 4|6: returns true if in HOST's capture A sends C a cookie, then C sends an
# initiation with a mac2, and then A sends a response.
cookie_comes_first() {
	local cookie second response

	cookie=$(first "$1" A "$2" 3) && second=$(first "$1" C "$2" 1 "132:4] != 0") &&
		response=$(first "$1" A "$2" 2) || return 1
	echo "cookie $cookie, initiation with mac2 $second, response $response"
	((cookie < second && second < response))
}

# gets_through LOADED INITIATOR 4|6: F floods A. C, which has no session, must get one by the cookie
# that A sends it.
gets_through() {
	local host outer=$3

	for host in A C F; do
		host_new $host
	done
	join A C
	join A F
	start_wg "$1" A
	start_wg "$2" C
	wg_keys A C F
	for host in A C; do
		on $host wg set wg0 private-key "$TMP/$host.key" listen-port "$PORT"
		wg_up $host
	done
	wg_peer A C
	wg_peer A F endpoint "$(outer4 F):9"
	# On the kernel's side, because tcpdump does not see packets that wgxdp takes by XDP.
	looking=$([ "$2" = kernel ] && echo C || echo A)
	on_bg "$looking" tcpdump -Z root --immediate-mode -U -w "$TMP/capture" \
		-i "to$(other "$looking" A C)" udp port "$PORT" 2>/dev/null
	wait_until 5 test -s "$TMP/capture"
	flood_on A "$outer" --count 1000 --sockets 4 --seconds $((20 * PATIENCE))
	wg_peer C A endpoint "$(endpoint A "$outer")"
	wait_until 20 pings C "$(inner4 A)"
	kill -0 $flooding
	wait_until 5 cookie_comes_first "$looking" "$outer"
	kill $flooding
}

@test "under load: the kernel uses wgxdp's cookie, IPv4" { gets_through wgxdp kernel 4; }
@test "under load: the kernel uses wgxdp's cookie, IPv6" { gets_through wgxdp kernel 6; }
@test "under load: wgxdp uses the kernel's cookie, IPv4" { gets_through kernel wgxdp 4; }
@test "under load: wgxdp uses the kernel's cookie, IPv6" { gets_through kernel wgxdp 6; }

# ---- many peers

PEERS=1000

# many_interfaces: gives B an interface, key, port and outer address per peer. For A the peer is
# 10.1.X.Y at 198.18.X.Y; for the peer A is 10.2.X.Y. (All peers at one address would get only 20
# handshakes per second under load.)
many_interfaces() {
	python3 - "$PEERS" "$TMP" "${PUBKEY[A]}" <<-'PY'
		import base64, os, sys
		peers, tmp, key_of_a = int(sys.argv[1]), sys.argv[2], sys.argv[3]
		links = open(tmp + "/links", "w")
		for n in range(peers):
		    net = "%d.%d" % (n >> 8, n & 255)
		    key = base64.b64encode(os.urandom(32)).decode()
		    print(f"link add wg{n} type wireguard\nlink set wg{n} addrgenmode none\n"
		          f"link set wg{n} up\naddress add 10.1.{net}/32 dev wg{n}\n"
		          f"route add 10.2.{net}/32 dev wg{n}\naddress add 198.18.{net}/32 dev lo",
		          file=links)
		    with open(f"{tmp}/wg{n}.conf", "w") as conf:
		        print(f"[Interface]\nPrivateKey = {key}\nListenPort = {10000 + n}\n[Peer]\n"
		              f"PublicKey = {key_of_a}\nAllowedIPs = 10.2.{net}/32", file=conf)
	PY
	on B ip -batch "$TMP/links"
	# shellcheck disable=SC2016 # that shell's
	on B sh -c 'for n in $(seq 0 $(($1 - 1))); do wg setconf wg$n "$0/wg$n.conf"; done' \
		"$TMP" "$PEERS"
	on B wg show all public-key | awk '{
		n = substr($1, 3)
		net = int(n / 256) "." n % 256
		print "[Peer]\nPublicKey = " $2 "\nAllowedIPs = 10.1." net "/32"
		print "Endpoint = 198.18." net ":" 10000 + n
	}' >"$TMP/A.conf"
}

# answering: prints how many peers answer an echo request, each from the peer's address of A.
answering() {
	on A timeout $((60 * PATIENCE)) python3 - "$PEERS" "$((20 * PATIENCE))" <<-'PY'
		import select, socket, struct, sys, time
		peers, seconds = int(sys.argv[1]), float(sys.argv[2])

		def checksum(b):
		    s = sum(struct.unpack("!%dH" % (len(b) // 2), b))
		    s = (s >> 16) + (s & 0xffff)
		    return ~(s + (s >> 16)) & 0xffff

		request = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
		request = struct.pack("!BBHHH", 8, 0, checksum(request), 1, 1)
		out = {}
		for n in range(peers):
		    net = "%d.%d" % (n >> 8, n & 255)
		    out["10.1." + net] = s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
		    s.bind(("10.2." + net, 0))
		heard = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
		heard.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
		answered = set()
		end = time.monotonic() + seconds
		while len(answered) < peers and time.monotonic() < end:
		    for addr in [a for a in out if a not in answered]:
		        out[addr].sendto(request, (addr, 0))
		    until = time.monotonic() + 2
		    while len(answered) < peers and select.select([heard], [], [], max(0, until - time.monotonic()))[0]:
		        packet, (source, _) = heard.recvfrom(2048)
		        if packet[20] == 0:
		            answered.add(source)
		print(len(answered & set(out)))
	PY
}

all_answer() {
	local n

	n=$(answering)
	echo "$n of $PEERS answered"
	[ "$n" = "$PEERS" ]
}

@test "a thousand peers, each an interface of the kernel" {
	host_new A
	host_new B
	join A B
	start_wg wgxdp A
	wg_keys A
	many_interfaces
	on A ip route add 198.18.0.0/16 via "$(outer4 B)"
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	on A wg addconf wg0 "$TMP/A.conf"
	on A ip link set wg0 up
	on A ip route add 10.1.0.0/16 dev wg0
	on A ip route add local 10.2.0.0/16 dev lo
	all_answer
	[ "$(with_session A)" = "$PEERS" ]
	# Both sides must count the same from here on. Before, they may not: only the sender counts
	# answers to a handshake that are lost or too late.
	wait_until 10 both_counted before
	all_answer
	wait_until 10 thousand_agree
}

# both_counted NAME: writes to $TMP/NAME, in order of ports, what A has received from each peer and
# sent to it, and what that peer has sent and received. Returns true if nothing changes any more.
both_counted() {
	counts_now >"$TMP/$1"
	counts_now | cmp -s "$TMP/$1" -
}

counts_now() {
	paste <(on A wg show wg0 dump | tail -n +2 | cut -f 3,6,7 | sed 's/^[^:]*://' | sort -n |
		cut -f 2,3) \
		<(on B wg show all transfer | sed 's/^wg//' | sort -n | awk -v OFS='\t' '{ print $4, $3 }')
}

thousand_agree() {
	both_counted after && paste "$TMP/before" "$TMP/after" | awk '
		{ n += $5 > $1 && $5 - $1 == $7 - $3 && $6 > $2 && $6 - $2 == $8 - $4 }
		END { print n + 0, "agree"; exit n != '"$PEERS"' }'
}
