# SPDX-License-Identifier: MIT
# Many handshake messages at once (whitepaper section 5.3): cookies instead of handshakes, and other
# peers are not disturbed. F floods A; A and B have a tunnel.
# bats file_tags=load

load lib

FLOOD=${FLOOD:-$BUILD/tests/tools/flood}
# Messages per burst, and milliseconds between bursts: A is always under load, but its queues can
# hold all messages, so that those of other peers are not lost.
PACED=(--count 256 --burst 256 --interval 50 --sockets 4)

setup() {
	needs_root
	needs_wgxdp
	[ -x "$FLOOD" ] # built by `make tests`
}

# scene filter|[ARGUMENTS of wgxdp]: makes the tunnel, and F with a key that A knows. filter: A's
# NICs have only the filter.
scene() {
	case $1 in
	filter) filtered_tunnel ;;
	*)
		WGXDP_ARGS=$1 tunnel wgxdp wgxdp
		host_new F
		join A F
		;;
	esac
	wg_keys F
	# The endpoint makes A attach XDP to that link.
	wg_peer A F endpoint "$(outer4 F):9"
	[ -n "$1" ] || wait_until 5 status_is A '[.nics[].name] | contains(["toF"])'
}

filtered_tunnel() {
	local host

	for host in A B F; do
		host_new $host
	done
	join A B
	join A F
	start_wg wgxdp A --nic toB:filter --nic toF:filter
	start_wg wgxdp B --nic none
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
}

# flood_to ADDRESS [OPTIONS]: floods A with the key of $KEY, or F's.
flood_to() {
	local to=$1

	shift
	on F timeout $((60 * PATIENCE)) "$FLOOD" "$@" "$to" "$PORT" "${PUBKEY[A]}" "$TMP/${KEY:-F}.key" \
		>"$TMP/flood"
	cat "$TMP/flood"
}

flood() { flood_to "$(outer4 A)" "$@"; }

# value NAME: prints a result of the latest flood.
value() { sed -n "s/^$1=//p" "$TMP/flood"; }

no_answer() {
	[ "$(value responses)" = 0 ]
	[ "$(value cookie_replies)" = 0 ]
	[ "$(value other)" = 0 ]
}

# udp_counter FIELD: prints a counter of A's kernel. 2: datagrams that UDP sockets received; 6:
# those that were dropped because a socket was full.
# shellcheck disable=SC2016 # variables of awk
udp_counter() { on A awk -v f="$1" '/^Udp:/ { n = $f } END { print n }' /proc/net/snmp; }

# load_it: floods A until it must have noticed the load.
load_it() {
	flood --count 1000 --sockets 4
	[ "$(value under_load)" = yes ]
}

answers_one() {
	flood
	[ "$(value responses)" = 1 ]
}

# ---- what a flood gets

cookies_for_a_flood() {
	scene "$1"
	before=$(udp_counter 2)
	flood --count 1000 --sockets 4
	[ "$(value refused)" = 0 ]
	[ "$(value other)" = 0 ]
	# All come from one address, which becomes a suspect: 200 at once pass (bpf/flood.h).
	[ "$(value cookie_replies)" -ge 200 ]
	# It answered few before; a response takes the whole computation.
	[ "$(value responses)" -le 2 ]
	[ "$(drops A initiation_flood)" -le 200 ]
	# XDP does not know F's flows, so these are received by the UDP socket in both tests.
	[ $(($(udp_counter 2) - before)) -ge 200 ]
}

@test "a flood gets cookies, not handshakes, by AF_XDP" { cookies_for_a_flood ""; }

@test "a flood gets cookies, not handshakes, without XDP" { cookies_for_a_flood "--nic none"; }

@test "a flood gets cookies, not handshakes, by the filter" { cookies_for_a_flood filter; }

few_are_no_load() {
	scene "$1"
	flood --count 40
	[ "$(value cookie_replies)" = 0 ]
	[ "$(value responses)" -ge 1 ]
}

@test "a few initiations at once get no cookies, by AF_XDP" { few_are_no_load ""; }

@test "a few initiations at once get no cookies, without XDP" { few_are_no_load "--nic none"; }

# cookie_works_from ADDRESS: a cookie must be accepted only from the address and port that it was
# sent to. The last reply shows that A was under load all the time.
cookie_works_from() {
	flood_to "$1" --mode cookie --count 1000 --sockets 4
	[ "$(value cookie)" = authentic ]
	[ "$(value foreign)" = cookie ]
	[ "$(value own)" = response ]
	[ "$(value plain)" = cookie ]
}

cookie_works() {
	scene "$1"
	cookie_works_from "$(outer4 A)"
	cookie_works_from "$(outer6 A)"
}

@test "an initiation with its cookie is answered under load, by AF_XDP" { cookie_works ""; }

@test "an initiation with its cookie is answered under load, without XDP" {
	cookie_works "--nic none"
}

@test "an initiation with its cookie is answered under load, by the filter" { cookie_works filter; }

load_ends() {
	scene "$1"
	load_it
	begin=${EPOCHREALTIME/[.,]/}
	flood
	# If this took a second, the load may be over already.
	if ((${EPOCHREALTIME/[.,]/} - begin < 900000)); then
		[ "$(value cookie_replies)" = 1 ]
		[ "$(value responses)" = 0 ]
	fi
	wait_until 2 answers_one
	answers_one
	answers_one
}

@test "the load ends a second after the flood, by AF_XDP" { load_ends ""; }

@test "the load ends a second after the flood, without XDP" { load_ends "--nic none"; }

# ---- messages that never get an answer

wrong_mac() {
	scene "$1"
	flood --count 50 --bad-mac
	no_answer
	[ "$(drops A bad_mac)" = 50 ]
	load_it
	flood --count 50 --bad-mac
	no_answer
	[ "$(drops A bad_mac)" = 100 ]
}

@test "a wrong mac1 gets no answer, by AF_XDP" { wrong_mac ""; }

@test "a wrong mac1 gets no answer, without XDP" { wrong_mac "--nic none"; }

# junk_is_no_load KIND REASON [ARGUMENTS of wgxdp]: junk of this kind, which anybody can send, must
# not count as load and must not delay others.
junk_is_no_load() {
	scene "$3"
	before=$(drops A "$2")
	on F timeout $((60 * PATIENCE)) "$FLOOD" "${PACED[@]}" --seconds 30 "$1" \
		"$(outer4 A)" "$PORT" "${PUBKEY[A]}" "$TMP/F.key" >"$TMP/junk" 3>&- &
	junk=$!
	wait_until 5 drops_at_least A "$2" $((before + 512))
	answers_one
	# A peer that begins a new session does not need a cookie.
	on B wg set wg0 peer "${PUBKEY[A]}" remove
	wg_peer B A endpoint "$(endpoint A 4)"
	pings B "$(inner4 A)"
	kill "$junk"
	wait "$junk" || true
	[ "$(drops A rate_limited)" = 0 ]
	[ "$(drops A handshake_queue_full)" = 0 ]
}

@test "junk with a wrong mac1 is no load, by AF_XDP" { junk_is_no_load --bad-mac bad_mac ""; }

@test "junk with a wrong mac1 is no load, without XDP" {
	junk_is_no_load --bad-mac bad_mac "--nic none"
}

@test "junk cookie replies are no load, by AF_XDP" {
	junk_is_no_load --cookie-replies bad_cookie ""
}

@test "junk cookie replies are no load, without XDP" {
	junk_is_no_load --cookie-replies bad_cookie "--nic none"
}

# junk_wakes_no_thread ARGUMENTS-OF-WGXDP: the filter of the UDP socket drops junk, or XDP does.
junk_wakes_no_thread() {
	scene "$1"
	before=$(udp_counter 2)
	flood --count 5000 --bad-mac
	[ "$(value sent)" = 5000 ]
	status_is A '.drops.bad_mac >= 4000 and .drops_per_second.bad_mac >= 1'
	[ $(($(udp_counter 2) - before)) -le 20 ]
	flood --count 1000 --bad-mac
	on A "$WGXDP" status wg0 >"$TMP/status"
	grep -q 'bad_mac.* per second' "$TMP/status"
}

# xdp_drops DEVICE: prints how many frames XDP has dropped on A's device.
xdp_drops() { on A ethtool -S "$1" | awk '/xdp_drops/ { n += $2 } END { print n + 0 }'; }

@test "junk wakes no thread, by AF_XDP: XDP drops it" {
	junk_wakes_no_thread ""
	[ "$(xdp_drops toF)" -ge 1000 ]
}

@test "junk wakes no thread, by the filter: XDP drops it" {
	junk_wakes_no_thread filter
	[ "$(xdp_drops toF)" -ge 1000 ]
}

@test "junk wakes no thread, without XDP" { junk_wakes_no_thread "--nic none"; }

@test "a stranger gets no answer" {
	scene ""
	wg_keys X
	KEY=X flood --count 50
	no_answer
	[ "$(drops A unknown_peer)" = 50 ]
	answers_one
}

@test "a replayed initiation gets no second answer" {
	scene ""
	flood --mode replay
	[ "$(value first)" = response ]
	[ "$(value again)" = none ]
	[ "$(drops A replayed_initiation)" = 1 ]
}

# ---- other peers

# flood_on OPTIONS...: floods A in the background, and waits until A is under load.
flood_on() {
	flood "$@" 3>&- >/dev/null &
	flooding=$!
	wait_until 10 grep -q under_load=yes "$TMP/flood"
}

# answered_of COUNT: pings both ways at once, and prints the smaller number of answers.
answered_of() {
	on_bg B ping -q -n -i 0.01 -c "$1" -W 2 "$(inner4 A)" >"$TMP/B.ping"
	on A ping -q -n -i 0.01 -c "$1" -W 2 "$(inner4 B)" >"$TMP/A.ping" || true
	wait $! || true
	cat "$TMP/A.ping" "$TMP/B.ping" >&2
	sed -n 's/.*transmitted, \([0-9]*\) received.*/\1/p' "$TMP/A.ping" "$TMP/B.ping" |
		sort -n | head -n 1
}

others_go_on() {
	scene "$1"
	handshake=$(wg_field A latest-handshakes | sort -n | tail -n 1)
	flood_on "${PACED[@]}" --seconds 5
	[ "$(answered_of 200)" = 200 ]
	kill -0 $flooding
	wait $flooding
	# The session is the same.
	[ "$(on A wg show wg0 latest-handshakes | grep -F "${PUBKEY[B]}" | cut -f 2)" = "$handshake" ]
}

@test "an established tunnel goes on under load, by AF_XDP" { others_go_on ""; }

@test "an established tunnel goes on under load, without XDP" { others_go_on "--nic none"; }

@test "an established tunnel goes on under load, by the filter" { others_go_on filter; }

# XDP takes F's flow, so its initiations are received by the handshake ring.
@test "a flood from a peer's flow, by AF_XDP: other peers are not disturbed" {
	scene ""
	start_wg wgxdp F
	on F wg set wg0 private-key "$TMP/F.key" listen-port "$PORT"
	wg_up F
	wg_peer F A endpoint "$(endpoint A 4)"
	wait_until 10 pings F "$(inner4 A)"
	stop_wg F
	before=$(udp_counter 2)
	flood_on "${PACED[@]}" --sockets 1 --from "$(outer4 F)" --from-port "$PORT" --seconds 15
	[ "$(answered_of 200)" = 200 ]
	# A new session, with a cookie.
	on B wg set wg0 peer "${PUBKEY[A]}" remove
	wg_peer B A endpoint "$(endpoint A 4)"
	wait_until 12 pings B "$(inner4 A)"
	kill -0 $flooding
	wait $flooding
	cat "$TMP/flood"
	[ "$(value sent)" -ge 1000 ]
	[ $(($(udp_counter 2) - before)) -le $(($(value sent) / 10)) ]
}

# full_speed ARGUMENTS LEAST: floods A as fast as this machine can; A must drop most. Without XDP,
# all share one UDP socket, which overflows, so packets of the tunnel are dropped, too.
full_speed() {
	scene "$1"
	load_it
	before=$(rss_kb A)
	socket_full=$(udp_counter 6)
	link_before=$(link_full)
	flood_on --count 2000 --sockets 16 --seconds 3
	answered=$(answered_of 150)
	wait $flooding
	cat "$TMP/flood"
	[ "$answered" -ge "$2" ]
	# All come from one address, which proves itself by no cookie: it is soon limited.
	((100 / PATIENCE <= $(value cookie_replies) && $(value cookie_replies) <= 8000))
	memory_at_most $(($(rss_kb A) - before)) 4096
	every_initiation_accounted
	wait_until 2 answers_one
	ping_all A "$(inner4 B)" 20
}

# link_full: prints how many of F's frames found the queue of the link full.
link_full() { on F cat /sys/class/net/toA/statistics/tx_dropped; }

# every_initiation_accounted: each initiation must be answered, or counted as dropped by A, or by
# the kernel if the UDP socket or the link's queue was full.
every_initiation_accounted() {
	local sent answered dropped

	sent=$(value sent)
	answered=$(($(value cookie_replies) + $(value responses)))
	dropped=$(($(drops A handshake_queue_full) + $(drops A rx_ring_full) +
		$(drops A rate_limited) + $(drops A no_cookie) + $(drops A initiation_flood) +
		$(udp_counter 6) - socket_full + $(link_full) - link_before))
	echo "sent $sent, answered $answered, dropped $dropped"
	((answered + dropped >= sent * 95 / 100))
}

@test "a flood at full speed, by AF_XDP: tunnel and memory" { full_speed "" 140; }

@test "a flood at full speed, without XDP: tunnel and memory" { full_speed "--nic none" 75; }

@test "a flood at full speed, by the filter: tunnel and memory" {
	full_speed filter 75
	[ "$(xdp_drops toF)" -ge 1000 ]
}

# ---- a peer whose address others forge

# forged_scene ARGUMENTS of wgxdp: A, B and F on one bridge; A and B have a tunnel; F has B's address
# on lo, and does not answer ARP requests for it.
forged_scene() {
	lan A B F
	on F sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
	on F ip address add "$(outer4 B)/32" dev lo
	# shellcheck disable=SC2086 # words on purpose
	start_wg wgxdp A $1
	start_wg wgxdp B --nic none
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	wg_keys X
}

# shake: makes B begin a new session, and prints after how many ms its first ping is answered.
shake() {
	on B wg set wg0 peer "${PUBKEY[A]}" remove
	wg_peer B A endpoint "$(endpoint A 4)"
	on B ping -n -c 1 -w $((20 * PATIENCE)) -i 0.1 "$(inner4 A)" >"$TMP/ping" || true
	sed -n 's/.*icmp_seq=\([0-9]*\) .* time=\([0-9]*\).*/\1 \2/p' "$TMP/ping" |
		awk 'NR == 1 { print ($1 - 1) * 100 + $2 }'
}

# peer_is_forged PATH ARGUMENTS of wgxdp: strangers' initiations from B's address and port make that
# a suspect. Nevertheless B has a session at its second try, 5 s after the first.
peer_is_forged() {
	local ms began=$SECONDS

	forged_scene "$2"
	on_path A "$1"
	KEY=X flood --from "$(outer4 B)" --from-port "$PORT" --sockets 1 --count 256 --burst 40 \
		--interval 20 --seconds $((30 * PATIENCE)) 3>&- >/dev/null &
	flooding=$!
	# A answers them by cookies, which B receives.
	wait_until 10 drops_at_least A unknown_peer 64
	wait_until 10 drops_at_least B bad_cookie 200
	ms=$(shake)
	echo "$ms ms"
	kill -0 $flooding
	((ms <= 5500 * PATIENCE))
	# A has computed for few of them.
	[ "$(drops A unknown_peer)" -le $((64 + 25 * (SECONDS - began))) ]
	ping_all B "$(inner4 A)" 20
	kill "$flooding"
	wait "$flooding" || true
}

@test "a peer whose address is forged has a session within 5.5 s, by AF_XDP" {
	peer_is_forged af_xdp "--nic lan"
}

@test "a peer whose address is forged has a session within 5.5 s, without XDP" {
	peer_is_forged udp "--nic none"
}

@test "a peer whose address is forged has a session within 5.5 s, by the filter" {
	peer_is_forged udp "--nic lan:filter"
}

# ---- wgxdp as initiator, to a responder under load

# captured FILTER: prints how many frames of the capture match.
captured() { on C tcpdump -nn -r "$TMP/capture" "$@" 2>/dev/null | wc -l; }

captured_one() { [ "$(captured "$@")" = 1 ]; }

# gets_through ARGUMENTS: C is without XDP, so that tcpdump sees its packets.
gets_through() {
	scene "$1"
	host_new C
	join A C
	start_wg wgxdp C --nic none
	wg_keys C
	wg_peer A C
	on C wg set wg0 private-key "$TMP/C.key"
	wg_up C
	on_bg C tcpdump -Z root --immediate-mode -U -w "$TMP/capture" -i toA udp port "$PORT" 2>/dev/null
	wait_until 5 test -s "$TMP/capture"
	flood_on "${PACED[@]}" --seconds 25
	wg_peer C A endpoint "$(endpoint A 4)"
	wait_until 20 pings C "$(inner4 A)"
	kill -0 $flooding
	# C got a cookie and used it (mac2 is not zero), and only then got a response.
	wait_until 5 captured_one "src host $(outer4 A) and udp[8] = 2"
	[ "$(captured "src host $(outer4 A) and udp[8] = 3")" -ge 1 ]
	[ "$(captured "src host $(outer4 C) and udp[8] = 1 and udp[140:4] != 0")" -ge 1 ]
	ping_all C "$(inner4 A)" 20
}

@test "an initiator gets through to a loaded responder, by AF_XDP" { gets_through ""; }

@test "an initiator gets through to a loaded responder, without XDP" { gets_through "--nic none"; }

@test "an initiator gets through to a loaded responder, by the filter" { gets_through filter; }
