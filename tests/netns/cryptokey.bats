# SPDX-License-Identifier: MIT
# Which peer a packet goes to and may come from, while prefixes, peers and keys change under
# traffic. (allowedips.bats has the ordinary cases.)

load lib

setup() {
	needs_root
	needs_wgxdp
}

# Each test runs on AF_XDP ("") and on UDP sockets.
NONE="--nic none"

# hub ARGUMENTS PREFIXES_OF_B PREFIXES_OF_C: makes A with two peers. Both peers have all addresses
# of the test on wg0, so that only A can refuse packets.
hub() {
	local host

	for host in A B C; do
		host_new $host
	done
	join A B
	join A C
	# shellcheck disable=SC2086 # words on purpose
	start_wg wgxdp A $1
	# shellcheck disable=SC2086
	start_wg wgxdp B $1
	start_wg wireguard-go C
	wg_keys A B C
	for host in A B C; do
		on $host wg set wg0 private-key "$TMP/$host.key" listen-port "$PORT"
		wg_up $host
	done
	for host in B C; do
		wg_peer $host A
		for addr in 10.7.0.7/32 10.8.0.8/32 fd07::7/128 fd08::8/128; do
			on $host ip address add $addr dev lo
		done
	done
	on A wg set wg0 peer "${PUBKEY[B]}" endpoint "$(endpoint B 4)" allowed-ips "$2" \
		peer "${PUBKEY[C]}" endpoint "$(endpoint C 4)" allowed-ips "$3"
	for prefix in 10.7.0.0/16 10.8.0.0/16 fd07::/32 fd08::/32; do
		on A ip route add $prefix dev wg0
	done
}

# count PEER FIELD: prints a field of A's peer_stats.
count() {
	status_of A ".peers[] | select(.public_key == \"${PUBKEY[$1]}\") | .stats.$2"
}

counted() { (($(count "$1" "$2") >= $3)); }

# echo_requests: prints how many echo requests of both families reached A's ICMP.
echo_requests() {
	on A nstat -asz | awk '/^(IcmpInEchos|Icmp6InEchos) / { n += $2 } END { print n + 0 }'
}

# goes_to PEER OTHER ADDRESS...: sends five packets to each address, which must go to PEER and not
# to OTHER.
goes_to() {
	local peer=$1 other=$2 addr to to_other

	shift 2
	for addr; do
		wait_until 10 pings A "$addr"
		to=$(count "$peer" to_peer_packets)
		to_other=$(count "$other" to_peer_packets)
		ping_all A "$addr" 5
		[ "$(count "$peer" to_peer_packets)" = $((to + 5)) ]
		[ "$(count "$other" to_peer_packets)" = "$to_other" ]
	done
}

inner_of() {
	case $1 in
	*:*) inner6 A ;;
	*) inner4 A ;;
	esac
}

# refused_from PEER ADDRESS...: sends five packets from each address, which A must drop and count
# for this peer.
refused_from() {
	local peer=$1 addr bad all seen

	shift
	for addr; do
		bad=$(count "$peer" from_peer_bad_source)
		all=$(drops A ingress_bad_source)
		seen=$(echo_requests)
		refute on "$peer" ping -q -c 5 -i 0.01 -W 0.2 -I "$addr" "$(inner_of "$addr")"
		wait_until 5 counted "$peer" from_peer_bad_source $((bad + 5))
		[ "$(count "$peer" from_peer_bad_source)" = $((bad + 5)) ]
		[ "$(drops A ingress_bad_source)" = $((all + 5)) ]
		[ "$(echo_requests)" = "$seen" ]
	done
}

# accepted_from PEER ADDRESS...: sends five packets from each address, which A must accept.
accepted_from() {
	local peer=$1 addr from

	shift
	for addr; do
		from=$(count "$peer" from_peer_packets)
		ping_all "$peer" "$(inner_of "$addr")" 5 -I "$addr"
		[ "$(count "$peer" from_peer_packets)" = $((from + 5)) ]
	done
}

default_and_specific() {
	hub "$1" 0.0.0.0/0,::/0 10.7.0.0/16,fd07::/32
	goes_to B C 10.8.0.8 fd08::8
	goes_to C B 10.7.0.7 fd07::7
	accepted_from B 10.8.0.8 fd08::8
	accepted_from C 10.7.0.7 fd07::7
	refused_from B 10.7.0.7 fd07::7
	refused_from C 10.8.0.8 fd08::8
	# Without the longer prefix, all addresses are the other peer's.
	on A wg set wg0 peer "${PUBKEY[C]}" allowed-ips ""
	goes_to B C 10.7.0.7 fd07::7
	accepted_from B 10.7.0.7 fd07::7
	refused_from C 10.7.0.7 fd07::7
}

@test "/0 at one peer and a longer prefix at another: packets go to and come from the right peer, with wireguard-go" {
	default_and_specific ""
}
@test "/0 at one peer and a longer prefix at another: the same on UDP sockets, with wireguard-go" {
	default_and_specific "$NONE"
}

# ---- a prefix that moves

# Background traffic ends with its host.
pinging() { on_bg "$1" ping -q -n -i 0.01 "${@:2}" >/dev/null 2>&1; }

moves() {
	local from to bad to_c from_c

	hub "$1" 10.7.0.0/16,fd07::/32 10.8.0.0/16,fd08::/32
	wait_until 10 pings A 10.7.0.7
	wait_until 10 pings A 10.8.0.8
	pinging A 10.7.0.7
	pinging A fd07::7
	pinging B -I 10.7.0.7 "$(inner4 A)"
	pinging B -I fd07::7 "$(inner6 A)"
	wait_until 10 counted B from_peer_packets 100

	on A wg set wg0 peer "${PUBKEY[C]}" \
		allowed-ips 10.8.0.0/16,fd08::/32,10.7.0.0/16,fd07::/32
	from=$(count B from_peer_packets)
	to=$(count B to_peer_packets)
	bad=$(count B from_peer_bad_source)
	to_c=$(count C to_peer_packets)
	from_c=$(count C from_peer_packets)
	wait_until 10 counted B from_peer_bad_source $((bad + 100))
	wait_until 10 counted C to_peer_packets $((to_c + 100))
	wait_until 10 counted C from_peer_packets $((from_c + 20))
	[ "$(count B from_peer_packets)" = "$from" ]
	[ "$(count B to_peer_packets)" = "$to" ]
	on A wg show wg0 allowed-ips | grep -qxF "${PUBKEY[B]}"$'\t(none)'
}

@test "an allowed IP moves to another peer under traffic: it is that peer's at once, with wireguard-go" {
	moves ""
}
@test "an allowed IP moves to another peer under traffic: the same on UDP sockets, with wireguard-go" {
	moves "$NONE"
}

# ---- a peer that goes

# from_a: prints how many messages from A arrived at B's device.
from_a() { on B nft -j list counter netdev wire from_a | jq '.nftables[1].counter.packets'; }

# count_from_a: makes nftables on B count messages from A. B must be without XDP.
count_from_a() {
	on B nft -f - <<-EOF
		table netdev wire {
			counter from_a { }
			chain c {
				type filter hook ingress device "toA" priority 0
				udp sport $PORT counter name from_a
			}
		}
	EOF
}

sessions_of_a() { on A bpftool -j map dump pinned "$PINS/wg0/sessions" | jq length; }

unknown() { drops A unknown_receiver; }
unknown_at_least() { (($(unknown) >= $1)); }

# wg shows handshakes in seconds, so two in one second look the same.
later_than() { (($(date +%s) > $1)); }

removed() {
	local seen sent handshakes refused

	WGXDP_ARGS=$1 tunnel wgxdp wireguard-go
	count_from_a
	pinging B "$(inner4 A)"
	pinging B "$(inner6 A)"
	pinging A "$(inner4 B)"
	wait_until 10 counted B from_peer_packets 100
	[ "$(from_a)" -ge 50 ]
	handshakes=$(on B wg show wg0 latest-handshakes)

	on A wg set wg0 peer "${PUBKEY[B]}" remove
	[ "$(sessions_of_a)" = 0 ]
	seen=$(echo_requests)
	sent=$(from_a)
	refused=$(unknown)
	wait_until 10 unknown_at_least $((refused + 100))
	[ "$(echo_requests)" = "$seen" ]
	[ "$(from_a)" = "$sent" ]
	# B has used the same session all the time.
	[ "$(on B wg show wg0 latest-handshakes)" = "$handshakes" ]

	wait_until 3 later_than "${handshakes#*$'\t'}"
	wg_peer A B endpoint "$(endpoint B 4)"
	wait_until 3 pings A "$(inner4 B)"
	[ "$(on B wg show wg0 latest-handshakes)" != "$handshakes" ]
	seen=$(echo_requests)
	wait_until 5 pings B "$(inner6 A)"
	(($(echo_requests) > seen))
}

@test "a peer is removed under traffic: no more packets from or to it; and added again, with wireguard-go" {
	removed ""
}
@test "a peer is removed under traffic: the same on UDP sockets, with wireguard-go" {
	removed "$NONE"
}

# ---- a new private key

# Seconds; fewer than the five between two initiations, of which the last was a moment ago.
AT_ONCE=3

# lost_some: prints the drops and counters, which may tell where packets were lost, and fails.
lost_some() {
	local host

	for host in A B; do
		if is_wgxdp $host; then
			status_of $host '{drops, paths, peers}'
		fi
	done
	return 1
}

# key_changes IMPL_B ARGUMENTS: gives A a new private key under traffic.
key_changes() {
	local old

	WGXDP_ARGS=$2 tunnel wgxdp "$1"
	wg_keys new
	old=${PUBKEY[A]}
	pinging A "$(inner4 B)"
	wait_until 10 counted B to_peer_packets 20
	on B wg set wg0 peer "${PUBKEY[new]}" \
		allowed-ips "$(inner4 A)/32,$(inner6 A)/128"
	[ "$(sessions_of_a)" -ge 1 ]
	on A wg set wg0 private-key "$TMP/new.key"
	# The first initiation makes B use the new key, too.
	wait_until $AT_ONCE shakes_hands B new
	wait_until 1 pings A "$(inner4 B)"
	[ "$(wg_field A public-key)" = "${PUBKEY[new]}" ]
	ping_all A "$(inner6 B)" 20 || lost_some
	ping_all B "$(inner4 A)" 20 || lost_some
	# The new session must not depend on the old peer.
	on B wg set wg0 peer "$old" remove
	ping_all B "$(inner4 A)" 5
}

# shakes_hands HOST PEER: returns true if HOST has had a handshake with this key.
shakes_hands() {
	on "$1" wg show wg0 latest-handshakes |
		awk -v key="${PUBKEY[$2]}" '$1 == key && $2 > 0 { ok = 1 } END { exit !ok }'
}

@test "a new private key under traffic: a handshake at once" { key_changes wgxdp ""; }
@test "a new private key under traffic: with wireguard-go" { key_changes wireguard-go ""; }
@test "a new private key under traffic: on UDP sockets" { key_changes wgxdp "$NONE"; }

from_a_of_type() {
	on B nft -j list counter netdev wire "$1" | jq '.nftables[1].counter.packets'
}

initiated() { (($(from_a_of_type initiations) > $1)); }

@test "a new private key that wireguard-go does not know: nothing is sent with the old key" {
	local data wanted initiations

	tunnel wgxdp wireguard-go
	wg_keys new
	on B nft -f - <<-EOF
		table netdev wire {
			counter data { }
			counter initiations { }
			chain c {
				type filter hook ingress device "toA" priority 0
				udp sport $PORT @th,64,32 0x04000000 counter name data
				udp sport $PORT @th,64,32 0x01000000 counter name initiations
			}
		}
	EOF
	pinging A "$(inner4 B)"
	pinging B "$(inner4 A)"
	wait_until 10 counted B to_peer_packets 50
	[ "$(from_a_of_type data)" -ge 20 ]
	initiations=$(from_a_of_type initiations)
	on A wg set wg0 private-key "$TMP/new.key"
	data=$(from_a_of_type data)
	since=$SECONDS
	wait_until $AT_ONCE initiated "$initiations"
	wanted=$(count B to_peer_packets)
	wait_until 10 counted B to_peer_packets $((wanted + 100))
	[ "$(from_a_of_type data)" = "$data" ]
	[ "$(sessions_of_a)" = 0 ]
	# Still at most one initiation in five seconds.
	[ "$(from_a_of_type initiations)" -le $((initiations + 3 + (SECONDS - since) / 5)) ]
}

session_keys() {
	on A bpftool -j map dump pinned "$PINS/wg0/sessions" | jq -c '[.[].formatted.key] | sort'
}

@test "the same private key again changes nothing, with wireguard-go" {
	local keys

	tunnel wgxdp wireguard-go
	keys=$(session_keys)
	[ "$keys" != "[]" ]
	for _ in 1 2 3; do
		on A wg set wg0 private-key "$TMP/A.key"
	done
	ping_all A "$(inner4 B)" 10
	[ "$(session_keys)" = "$keys" ]
}

@test "a new private key: the peer with the same key is removed with its allowed IPs, wireguard-go stays" {
	tunnel wgxdp wireguard-go
	wg_keys new
	on A wg set wg0 peer "${PUBKEY[new]}" allowed-ips 10.7.0.0/16,fd07::/32 \
		endpoint "$(endpoint B 4)"
	[ "$(on A wg show wg0 peers | wc -l)" = 2 ]
	on A wg set wg0 private-key "$TMP/new.key"
	[ "$(on A wg show wg0 peers)" = "${PUBKEY[B]}" ]
	on A ip route add 10.7.0.0/16 dev wg0
	refute on A ping -q -c 1 -W 1 10.7.0.7
	[ "$(drops A egress_no_peer)" -ge 1 ]
	# A peer with the interface's own key cannot be added.
	on A wg set wg0 peer "${PUBKEY[new]}" allowed-ips 10.7.0.0/16
	[ "$(on A wg show wg0 peers)" = "${PUBKEY[B]}" ]
}

# ---- preshared keys

# anew HOST: makes it forget its sessions, so that it may send an initiation at once.
anew() {
	on "$1" ip link set wg0 down
	on "$1" ip link set wg0 up
}

@test "a new preshared key: the session with wireguard-go goes on, the next handshake needs it" {
	local keys before

	tunnel wgxdp wireguard-go
	keys=$(session_keys)
	(umask 077 && wg genpsk >"$TMP/psk")
	on A wg set wg0 peer "${PUBKEY[B]}" preshared-key "$TMP/psk"
	ping_all A "$(inner4 B)" 20
	ping_all B "$(inner6 A)" 20
	[ "$(session_keys)" = "$keys" ]

	anew A
	before=$(drops A bad_handshake)
	refute on A ping -q -c 3 -i 0.2 -W 1 "$(inner4 B)"
	wait_until 5 drops_at_least A bad_handshake $((before + 1))
	[ "$(session_keys)" = "[]" ]

	on B wg set wg0 peer "${PUBKEY[A]}" preshared-key "$TMP/psk"
	anew A
	wait_until 5 pings A "$(inner4 B)"
}

# ---- invalid public keys

# low_order_keys: prints zero, one, the two points of order 8, p - 1, p and p + 1; each with the
# highest bit, which X25519 ignores, clear and set.
low_order_keys() {
	python3 - <<-'PY'
		import base64
		p = 2**255 - 19
		eight = [bytes.fromhex(h) for h in (
		    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")]
		for point in [n.to_bytes(32, "little") for n in (0, 1, p - 1, p, p + 1)] + eight:
		    for high in 0, 0x80:
		        print(base64.b64encode(point[:31] + bytes([point[31] | high])).decode())
	PY
}

# busy HOST: prints the clock ticks that its daemon has used.
busy() {
	local stat

	stat=$(<"/proc/${HOST_PID[$1]}/root/proc/$(daemon_pid "$1")/stat")
	# shellcheck disable=SC2086 # words on purpose
	set -- ${stat##*) }
	echo $((${12} + ${13}))
}

reached() { (($(from_a) > 0)); }

@test "low-order public keys, zero included: peers that never get a session; beside wireguard-go" {
	local n=0 key ticks lines start

	tunnel wgxdp wireguard-go
	on B nft -f - <<-EOF
		table netdev wire {
			counter from_a { }
			chain c {
				type filter hook ingress device "toA" priority 0
				udp dport 5999 counter name from_a
			}
		}
	EOF
	on A ip route add 10.9.0.0/16 dev wg0
	lines=$(wc -l <"$TMP/A-wg0.log")
	low_order_keys >"$TMP/keys"
	while read -r key; do
		on A wg set wg0 peer "$key" allowed-ips 10.9.$n.0/24 \
			endpoint "$(outer4 B):5999" persistent-keepalive 1
		n=$((n + 1))
	done <"$TMP/keys"
	[ "$n" = 14 ]
	[ "$(on A wg show wg0 peers | wc -l)" = 15 ]
	for ((n = 0; n < 14; n++)); do
		pinging A 10.9.$n.1
	done
	ticks=$(busy A)
	start=$SECONDS
	# Many packets to these peers have waited for a session.
	wait_until 20 status_is A '[.peers[].stats.to_peer_packets] | add > 4000'
	ticks=$(($(busy A) - ticks))
	while read -r key; do
		on A wg show wg0 dump | awk -v key="$key" -F '\t' \
			'$1 == key { ok = $5 == 0 && $6 == 0 && $7 == 0 } END { exit !ok }'
	done <"$TMP/keys"
	[ "$(from_a)" = 0 ]
	[ "$(wc -l <"$TMP/A-wg0.log")" = "$lines" ]
	echo "$ticks ticks"
	((ticks < (SECONDS - start + 1) * 100 / 2))
	ping_all A "$(inner4 B)" 10
	# Shows that from_a counts messages that do leave.
	on A wg set wg0 peer "${PUBKEY[B]}" endpoint "$(outer4 B):5999"
	pinging A "$(inner4 B)"
	wait_until 5 reached
}
