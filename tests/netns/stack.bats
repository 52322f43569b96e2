# SPDX-License-Identifier: MIT
# The tunnel as the network stack sees it: ICMP errors, ECN and DSCP, TTL, DF and padding, and
# packets that are forwarded to another device.

load lib

# ---- ICMP

# alone: makes A with a peer that has no endpoint, and with routes into wg0 that no peer has.
alone() {
	host_new A
	start_wg wgxdp A
	wg_keys A B
	# shellcheck disable=SC2034 # lib.bash reads it
	HOST_NUM[B]=2
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	wg_up A
	wg_peer A B
	on A ip route add 10.9.9.0/24 dev wg0
	on A ip -6 route add fd09::/64 dev wg0
}

# unreachable HOST ADDRESS FROM: ping must get "unreachable" from the address FROM, at once.
unreachable() {
	local said="Destination Host Unreachable"

	case $2 in
	*:*) said="Destination unreachable: Address unreachable" ;;
	esac
	refute on "$1" ping -n -c 2 -i 0.1 -W 5 "$2" >"$TMP/ping"
	cat "$TMP/ping"
	grep -q "^From $3 icmp_seq=1 $said" "$TMP/ping"
	grep -q "^From $3 icmp_seq=2 $said" "$TMP/ping"
}

# cannot_connect HOST ADDRESS [TIMES]: TCP and UDP must fail with EHOSTUNREACH, and TCP mostly
# before a retransmission. The kernel drops an error that arrives while the socket is in use
# (TcpExtLockDroppedIcmps), for example if connect(2) was preempted just after the SYN.
cannot_connect() {
	on "$1" python3 - "$2" "${3:-20}" <<-'PY'
		import errno, socket, sys, time
		family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
		took = []
		for _ in range(int(sys.argv[2])):
		    s = socket.socket(family, socket.SOCK_STREAM)
		    begin = time.monotonic()
		    assert s.connect_ex((sys.argv[1], 80)) == errno.EHOSTUNREACH
		    took.append(time.monotonic() - begin)
		    s.close()
		late = [t for t in took if t >= 0.9]
		if late:
		    print("late:", late, open("/proc/net/netstat").read())
		assert len(late) <= max(1, len(took) / 4)
		s = socket.socket(family, socket.SOCK_DGRAM)
		s.settimeout(5)
		# IP_RECVERR, IPV6_RECVERR: otherwise UDP does not report transient errors.
		if family == socket.AF_INET:
		    s.setsockopt(socket.IPPROTO_IP, 11, 1)
		else:
		    s.setsockopt(socket.IPPROTO_IPV6, 25, 1)
		s.connect((sys.argv[1], 9))
		s.send(b"x" * 1300)
		try:
		    s.recv(1)
		    sys.exit("an answer")
		except OSError as e:
		    assert e.errno == errno.EHOSTUNREACH, e
	PY
}

@test "a destination in no peer's allowed IPs: the sender gets unreachable" {
	needs_wgxdp
	alone
	unreachable A 10.9.9.9 "$(inner4 A)"
	unreachable A fd09::9 "$(inner6 A)"
	cannot_connect A 10.9.9.9
	cannot_connect A fd09::9
	drops_at_least A egress_no_peer 46
	[ "$(drops A no_endpoint)" = 0 ]
	[ "$(drops A no_tag)" = 0 ]
}

@test "a peer without an endpoint: the sender gets unreachable" {
	needs_wgxdp
	alone
	unreachable A "$(inner4 B)" "$(inner4 A)"
	unreachable A "$(inner6 B)" "$(inner6 A)"
	cannot_connect A "$(inner4 B)"
	cannot_connect A "$(inner6 B)"
	drops_at_least A no_endpoint 46
	[ "$(drops A egress_no_peer)" = 0 ]
}

# behind_a: makes L, whose default route is A.
behind_a() {
	alone
	host_new L
	join A L
	on A sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	on L ip route add default via "$(outer4 A)"
	# Fails until the kernel has noticed that the link has its carrier.
	wait_until 5 on L ip -6 route add default via "$(outer6 A)"
}

@test "unreachable for a forwarded packet: from the address on the way back" {
	needs_wgxdp
	behind_a
	unreachable L 10.9.9.9 "$(outer4 A)"
	unreachable L fd09::9 "$(outer6 A)"
	unreachable L "$(inner4 B)" "$(outer4 A)"
	unreachable L "$(inner6 B)" "$(outer6 A)"
	cannot_connect L 10.9.9.9 1
	cannot_connect L fd09::9 1
}

# hub: makes A, whose wg0 forwards between its peers B and C.
hub() {
	local host

	host_new A
	for host in B C; do
		host_new $host
		join A $host
	done
	for host in A B C; do
		start_wg wgxdp $host
	done
	wg_keys A B C
	for host in A B C; do
		on $host wg set wg0 private-key "$TMP/$host.key" listen-port "$PORT"
		wg_up $host
	done
	for host in B C; do
		wg_peer A $host endpoint "$(endpoint $host 4)"
		on $host wg set wg0 peer "${PUBKEY[A]}" allowed-ips 10.0.0.0/24 endpoint "$(endpoint A 4)"
	done
}

# redirects HOST: prints how many ICMP redirects it has sent.
redirects() { on "$1" nstat -asz IcmpOutRedirects | awk '/^IcmpOutRedirects/ { print $2 }'; }

# through HOST: B and C must reach each other by the wg0 there, without redirects.
through() {
	on "$1" sysctl -qw net.ipv4.ip_forward=1
	wait_until 10 pings B "$(inner4 C)"
	ping_all B "$(inner4 C)" 10
	[ "$(redirects "$1")" = 0 ]
}

@test "hub and spoke: no ICMP redirects" {
	needs_wgxdp
	hub
	through A
}

@test "hub and spoke: no ICMP redirects after wg0 was moved to another namespace" {
	needs_wgxdp
	hub
	host_new D
	move_and_set_up A D
	through D
}

needs_nft() {
	if ! command -v nft >/dev/null || ! on A nft add table inet t; then
		skip "needs nft(8) and nf_tables"
	fi
}

@test "unreachable for a masqueraded packet: to the host behind the NAT, from the address on the way" {
	needs_wgxdp
	behind_a
	needs_nft
	on A nft -f - <<-'NFT'
		table inet t {
			chain c {
				type nat hook postrouting priority srcnat
				oifname wg0 masquerade
			}
		}
	NFT
	unreachable L 10.9.9.9 "$(outer4 A)"
	unreachable L fd09::9 "$(outer6 A)"
	cannot_connect L 10.9.9.9 1
	cannot_connect L fd09::9 1
	# As strict a filter of sources as there is.
	on A sysctl -qw net.ipv4.conf.all.rp_filter=1
	on L sysctl -qw net.ipv4.conf.all.rp_filter=1
	unreachable L 10.9.9.9 "$(outer4 A)"
	# The port is translated, too.
	on A nft flush chain inet t c
	on A nft add rule inet t c oifname wg0 meta l4proto tcp masquerade to :40000-40100
	cannot_connect L 10.9.9.9 1
}

in_unreachables() {
	on "$1" nstat -asz IcmpInDestUnreachs | awk '/^IcmpIn/ { print $2 }'
}

# flood_nobody HOST ADDRESS COUNT: sends datagrams; ADDRESS may be a broadcast address.
flood_nobody() {
	on "$1" python3 - "$2" "$3" <<-'PY'
		import socket, sys
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
		s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
		for _ in range(int(sys.argv[2])):
		    s.sendto(b"x", (sys.argv[1], 9))
	PY
}

@test "unreachable messages are limited in rate" {
	local before begin n took

	needs_wgxdp
	alone
	before=$(in_unreachables A)
	begin=${EPOCHREALTIME/[.,]/}
	flood_nobody A 10.9.9.9 20000
	wait_until 5 drops_at_least A egress_no_peer 20000
	unreachable A 10.9.9.9 "$(inner4 A)" # after the flood in the queue
	n=$(($(in_unreachables A) - before))
	took=$((${EPOCHREALTIME/[.,]/} - begin))
	echo "$n in $took us"
	[ $n -ge 50 ]
	[ $n -le $((50 + took / 1000)) ]
}

# As the kernel limits them: six at once and one per second.
@test "unreachable messages to another host are limited, and do not delay those to others" {
	local begin n took

	needs_wgxdp
	behind_a
	begin=${EPOCHREALTIME/[.,]/}
	flood_nobody L 10.9.9.9 5000
	wait_until 5 drops_at_least A egress_no_peer 5000
	unreachable A 10.9.9.9 "$(inner4 A)"
	n=$(in_unreachables L)
	took=$((${EPOCHREALTIME/[.,]/} - begin))
	echo "$n in $took us"
	[ "$n" -ge 6 ]
	[ "$n" -le $((6 + took / 1000000)) ]
}

@test "no unreachable messages for multicast and broadcast" {
	local to before

	needs_wgxdp
	alone
	before=$(in_unreachables A)
	on A ip route add 224.0.0.0/4 dev wg0
	for to in 224.1.2.3 255.255.255.255 10.0.0.255; do
		on A ip route replace 255.255.255.255 dev wg0
		flood_nobody A $to 10
	done
	drops_at_least A egress_no_peer 30
	unreachable A 10.9.9.9 "$(inner4 A)" # after them in the queue
	[ $(($(in_unreachables A) - before)) = 2 ]
}

@test "unreachable in the network namespace that wg0 was moved to" {
	needs_wgxdp
	alone
	host_new C
	move_wg0 A C
	on C ip address add "$(inner4 A)/24" dev wg0
	on C ip address add "$(inner6 A)/64" dev wg0 nodad
	on C ip link set wg0 up
	on C ip route add 10.9.9.0/24 dev wg0
	on C ip -6 route add fd09::/64 dev wg0
	# Until the programs are back, the TAP's filter drops everything silently.
	wait_until 10 grep "now in another network namespace" "$TMP/A-wg0.log"
	unreachable C 10.9.9.9 "$(inner4 A)"
	unreachable C fd09::9 "$(inner6 A)"
	unreachable C "$(inner4 B)" "$(inner4 A)"
	cannot_connect C 10.9.9.9
	# wgxdp must not keep the namespace, and with it wg0, alive.
	host_del C
	wait_until 10 daemon_dead "A wg0"
	wait_wg A
}

# ---- the outer header

# sniff HOST DEVICE: starts writing a line to $TMP/sniff for each IP packet that is received or
# sent: in or out, version, tos, ttl, fragment field or flow label, length, state of the L4 checksum
# (ok, bad, none), protocol, first byte of the payload (UDP) or of the L4 header (others).
sniff() {
	cat >"$TMP/sniff.py" <<-'PY'
		import socket, struct, sys
		s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
		s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
		s.bind((sys.argv[1], 3))

		def check(addrs, proto, l4):
		    if proto not in (6, 17):
		        return "none"
		    if proto == 17 and l4[6:8] == b"\0\0":
		        return "none"
		    data = addrs + struct.pack("!II", len(l4), proto) + l4 + b"\0" * (len(l4) % 2)
		    return "bad" if int.from_bytes(data, "big") % 65535 else "ok"

		def line(p, kind):
		    if p[0] >> 4 == 4:
		        total, frag = struct.unpack_from("!H", p, 2)[0], struct.unpack_from("!H", p, 6)[0]
		        tos, ttl, proto = p[1], p[8], p[9]
		        addrs, l4 = p[12:20], p[(p[0] & 15) * 4:total]
		    else:
		        total, frag = 40 + struct.unpack_from("!H", p, 4)[0], int.from_bytes(p[1:4], "big") & 0xfffff
		        tos, ttl, proto = (p[0] << 4 | p[1] >> 4) & 255, p[7], p[6]
		        addrs, l4 = p[8:40], p[40:total]
		    head = l4[8] if proto == 17 and len(l4) > 8 else l4[0]
		    csum = "none" if p[0] >> 4 == 4 and frag & 0x3fff else check(addrs, proto, l4)
		    return f"{'out' if kind == socket.PACKET_OUTGOING else 'in'} v={p[0] >> 4} tos={tos} ttl={ttl} frag={frag:#x} len={total} csum={csum} proto={proto} head={head}"

		print("ready", flush=True)
		while True:
		    p, meta = s.recvfrom(65536)
		    if meta[1] in (0x800, 0x86dd) and len(p) > 20:
		        print(line(p, meta[2]), flush=True)
	PY
	: >"$TMP/sniff"
	on_bg "$1" python3 "$TMP/sniff.py" "$2" >"$TMP/sniff" 2>"$TMP/sniff.log"
	wait_until 10 grep -q ready "$TMP/sniff"
}

sniffed() { grep -q "$1" "$TMP/sniff"; }

# outer 4|6 ARGUMENTS_OF_A...: checks the outer headers of messages from A on B's device.
outer() {
	local family=$1 tos q inner

	needs_wgxdp
	host_new A
	host_new B
	join A B
	# With checksums also in packets of the UDP socket.
	on A ethtool -K toB tx off
	on B ethtool -K toA tx off
	start_wg wgxdp A "${@:2}"
	start_wg wgxdp B --nic none
	sniff B toA
	wg_setup A B "$family"
	wait_until 10 pings A "$(inner4 B)"
	wait_until 5 sniffed "^in .* tos=136 .* proto=17 head=1$" # the initiation has AF41
	refute sniffed " tos=0 .* proto=17 head=[12]$"
	# The response, too.
	wait_until 5 sniffed "^out .* tos=136 .* proto=17 head=2$"
	if [ "${2:-}" != --nic ]; then
		on_path A af_xdp
	fi
	# The outer length identifies the inner packet, which is 16 bytes longer each time.
	for q in 0 1 2 3 184 185 186 187; do
		inner=$((4 + (q & 3) + (q > 3) * 4))
		tos=$((q & 3))
		on A ping -q -c 1 -W 2 -Q $q -s $((inner * 16 - 28)) "$(inner4 B)"
		on A ping -q -c 1 -W 2 -Q $q -s $((inner * 16 + 128 - 48)) "$(inner6 B)"
		sniffed_message "$family" $tos $((inner * 16))
		sniffed_message "$family" $tos $((inner * 16 + 128))
	done
	refute grep "csum=bad" "$TMP/sniff"
}

# sniffed_message FAMILY TOS INNER_LENGTH: waits for such a message, with TTL 64, no flow label and
# no DF.
sniffed_message() {
	local len=$(($3 + 32 + 28 + ($1 == 6) * 20))

	wait_until 5 sniffed "^in v=$1 tos=$2 ttl=64 frag=0x0 len=$len .* proto=17 head=4$"
}

@test "outer header by AF_XDP over IPv4: ECN of the inner header, DSCP 0" { outer 4; }
@test "outer header by AF_XDP over IPv6: ECN of the inner header, DSCP 0" { outer 6; }
@test "outer header by the UDP socket over IPv4: ECN of the inner header, DSCP 0" {
	outer 4 --nic none
}
@test "outer header by the UDP socket over IPv6: ECN of the inner header, DSCP 0" {
	outer 6 --nic none
}

# pads ARGUMENTS_OF_A...: checks the padding of the largest packets.
pads() {
	needs_wgxdp
	host_new A
	host_new B
	join A B
	on A ip link set toB mtu 1400
	start_wg wgxdp A "$@"
	start_wg wgxdp B --nic none
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A "$([ $# = 0 ] && echo af_xdp || echo udp)"
	sniff B toA
	# 1340 fits the link without fragments; padding to a multiple of 16 would make it 1344.
	ping_all A "$(inner4 B)" 1 -s $((1337 - 28))
	wait_until 5 sniffed "^in .*frag=0x0 len=1400 .* head=4$"
	refute sniffed "^in .*frag=0x2000"
	on A ip link set wg0 mtu 1302
	wait_until 5 padded_to_mtu
	# Padding stops at wg0's MTU.
	refute sniffed "^in .*len=$((1312 + 60)) "
}

padded_to_mtu() {
	: >"$TMP/sniff"
	ping_all A "$(inner4 B)" 1 -s $((1301 - 28)) -M "do"
	sniffed "^in .*len=$((1302 + 60)) "
}

@test "padding exceeds neither wg0's MTU nor the link's, by AF_XDP" { pads; }
@test "padding exceeds neither wg0's MTU nor the link's, by the UDP socket" {
	pads --nic none
}

# ---- ECN on the way

# needs_marking: skips the test if nftables cannot set ECN, as in Linux 7.3 for the traffic class.
needs_marking() {
	on M nft -f - <<-NFT
		table inet t {
			counter marked { }
			chain c {
				type filter hook forward priority 0
				oifname toB ip ecn set ce counter name marked
				oifname toB ip6 ecn set ce counter name marked
			}
		}
	NFT
	wait_until 10 pings_on_outer "$1"
	if on M nft list counter inet t marked | grep -q "packets 0 "; then
		skip "this kernel's nftables does not write the ECN field of IPv$1"
	fi
	on M nft delete table inet t
}

pings_on_outer() { on A ping -q -n -c 1 -W 1 "$("outer$1" B)"; }

# crosses 4|6 ARGUMENTS_OF_B...: tries each ECN mark that a router may set outside with each mark of
# an inner packet.
crosses() {
	local outer inner want n=0 marks=(not-ect ect1 ect0 ce)
	# By inner mark, then by outer mark; x: dropped.
	local wants=(0 0 0 x 1 1 1 3 2 1 2 3 3 3 3 3)

	needs_wgxdp
	host_new A
	host_new B
	host_new M
	needs_nft
	join A M
	join M B
	on M sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	on A ip route add "$(outer4 B)" via "$(outer4 M)"
	on A ip route add "$(outer6 B)" via "$(outer6 M)"
	on B ip route add "$(outer4 A)" via "$(outer4 M)"
	on B ip route add "$(outer6 A)" via "$(outer6 M)"
	needs_marking "$1"
	start_wg wgxdp A
	start_wg wgxdp B "${@:2}"
	wg_setup A B "$1"
	wait_until 10 pings A "$(inner4 B)"
	if [ $# = 1 ]; then
		on_path B af_xdp
	fi
	sniff B wg0
	for outer in 0 1 2 3; do
		on M nft -f - <<-NFT
			table inet t
			delete table inet t
			table inet t {
				chain c {
					type filter hook forward priority 0
					oifname toB ip ecn set ${marks[outer]}
					oifname toB ip6 ecn set ${marks[outer]}
				}
			}
		NFT
		for inner in 0 1 2 3; do
			want=${wants[inner * 4 + outer]}
			n=$((n + 1))
			crosses_with "$inner" "$want" $n
		done
	done
	drops_at_least B ecn 2
	[ "$(drops B ecn)" = 2 ]
	[ "$(drops B bad_inner)" = 0 ]
}

# crosses_with INNER WANT N: N is in the length, to identify the packet.
crosses_with() {
	local dscp=184

	if [ "$2" = x ]; then
		refute on A ping -q -c 1 -W 0.3 -Q $((dscp + $1)) -s "$3" "$(inner4 B)"
		refute on A ping -q -c 1 -W 0.3 -Q $((dscp + $1)) -s "$3" "$(inner6 B)"
		refute sniffed "len=$((28 + $3)) .* head=8$"
		refute sniffed "len=$((48 + $3)) .* head=128$"
	else
		on A ping -q -c 1 -W 2 -Q $((dscp + $1)) -s "$3" "$(inner4 B)"
		on A ping -q -c 1 -W 2 -Q $((dscp + $1)) -s "$3" "$(inner6 B)"
		wait_until 5 sniffed "v=4 tos=$((dscp + $2)) .* len=$((28 + $3)) .* head=8$"
		wait_until 5 sniffed "v=6 tos=$((dscp + $2)) .* len=$((48 + $3)) .* head=128$"
	fi
}

@test "ECN marked on the way, by AF_XDP over IPv4" { crosses 4; }
@test "ECN marked on the way, by AF_XDP over IPv6" { crosses 6; }
@test "ECN marked on the way, by the UDP socket over IPv4" { crosses 4 --nic none; }
@test "ECN marked on the way, by the UDP socket over IPv6" { crosses 6 --nic none; }

# ---- forwarded on

# through_b ARGUMENTS...: makes C behind B, on a link whose devices have no offloads.
through_b() {
	WGXDP_ARGS=$* tunnel wgxdp wgxdp
	host_new C
	join B C
	on A wg set wg0 peer "${PUBKEY[B]}" allowed-ips \
		"$(inner4 B)/32,$(inner6 B)/128,$(outer4 C)/32,$(outer6 C)/128"
	on A ip route add "$(outer4 C)" dev wg0
	on A ip route add "$(outer6 C)" dev wg0
	on C ip route add "$(inner4 A)" via "$(outer4 B)"
	on C ip route add "$(inner6 A)" via "$(outer6 B)"
	on B sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	on B ethtool -K toC tx off sg off tso off gso off gro off
	on C ethtool -K toB rx off tx off sg off tso off gso off gro off
	wait_until 10 pings A "$(outer4 C)"
	sniff C toB
}

# sends_udp FROM TO ADDRESS HOW: sends 320 datagrams. HOW is plain, segmented (by the kernel or the
# device) or unsummed (no checksum). Before Linux 6.11 a socket cannot segment for a device without
# checksum offload, like C's.
sends_udp() {
	if [ "$1 $4" = "C segmented" ] && ! printf '%s\n' 6.11 "$(uname -r)" | sort -CV; then
		return
	fi
	send_and_receive_udp "$@"
	[ "$4" = unsummed ] || summed=$((summed + 320))
}

send_and_receive_udp() {
	local receiver

	cat >"$TMP/udp.py" <<-'PY'
		import hashlib, os, socket, sys
		role, addr, how, out = sys.argv[1:]
		v6 = ":" in addr
		s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
		s.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)
		s.settimeout(10)
		if how == "unsummed":
		    if v6:
		        s.setsockopt(17, 101 if role == "send" else 102, 1)
		    else:
		        s.setsockopt(socket.SOL_SOCKET, 11, 1)
		if role == "send":
		    digest = hashlib.sha256()
		    for i in range(10):
		        data = os.urandom(32 * 1000)
		        digest.update(data)
		        s.connect((addr, 9001))
		        if how == "segmented":
		            s.setsockopt(17, 103, 1000)
		            s.send(data)
		        else:
		            for at in range(0, len(data), 1000):
		                s.send(data[at:at + 1000])
		        s.recv(1)
		else:
		    s.bind((addr, 9001))
		    digest = hashlib.sha256()
		    print("ready", flush=True)
		    for i in range(320):
		        data, peer = s.recvfrom(65536)
		        assert len(data) == 1000, len(data)
		        digest.update(data)
		        if i % 32 == 31:
		            s.sendto(b"k", peer)
		open(out, "w").write(digest.hexdigest())
	PY
	on "$2" python3 "$TMP/udp.py" receive "$3" "$4" "$TMP/received" >"$TMP/udp" 3>&- &
	receiver=$!
	wait_until 10 grep -q ready "$TMP/udp"
	on "$1" python3 "$TMP/udp.py" send "$3" "$4" "$TMP/sent"
	wait $receiver
	[ -s "$TMP/sent" ]
	[ "$(cat "$TMP/sent")" = "$(cat "$TMP/received")" ]
}

all_through_b() {
	local how summed=0

	through_b "$@"
	send_file A C 4000001 "$(outer4 C)"
	send_file A C 4000001 "$(outer6 C)"
	send_file C A 4000001 "$(inner4 A)"
	send_file C A 4000001 "$(inner6 A)"
	for how in plain segmented; do
		sends_udp A C "$(outer4 C)" $how
		sends_udp A C "$(outer6 C)" $how
		sends_udp C A "$(inner4 A)" $how
		sends_udp C A "$(inner6 A)" $how
	done
	refute grep "proto=17.*csum=none\|csum=none.*proto=17" "$TMP/sniff"
	sends_udp A C "$(outer4 C)" unsummed
	sends_udp A C "$(outer6 C)" unsummed
	sends_udp C A "$(inner4 A)" unsummed
	sends_udp C A "$(inner6 A)" unsummed
	# C's device must see thousands of packets, all with checksums, none too long.
	[ "$(grep -c "csum=ok proto=6 " "$TMP/sniff")" -gt 10000 ]
	[ $summed -ge 1920 ]
	[ "$(grep -c "csum=ok proto=17 " "$TMP/sniff")" -ge $summed ]
	[ "$(grep -c "csum=none proto=17 " "$TMP/sniff")" -ge 1280 ]
	refute grep -m 3 "csum=bad" "$TMP/sniff"
	awk 'sub(/.* len=/, "") && $1 > 1500 { bad = 1 } END { exit bad }' "$TMP/sniff"
}

@test "forwarded to a device without offloads" { all_through_b; }
@test "forwarded to a device without offloads, without XDP" {
	all_through_b --nic none
}
