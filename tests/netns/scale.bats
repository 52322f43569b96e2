# SPDX-License-Identifier: MIT
# Many peers, many allowed IPs, many interfaces. Times are bounded loosely, for slow
# and busy machines; what was measured is printed.
# bats file_tags=load

load lib

PEERS=20000
STORM_TOOL=${STORM_TOOL:-$BUILD/tests/tools/storm} # by `make tests`
export BATS_TEST_TIMEOUT=$((150 * PATIENCE))

setup() {
	needs_root
	needs_wgxdp
}

# timed SECONDS COMMAND...: it succeeds, and in that time.
timed() {
	local max=$1 start=${EPOCHREALTIME/./} took

	shift
	"$@" || return
	took=$(((${EPOCHREALTIME/./} - start) / 1000))
	echo "# $took ms: ${*:3:3}" >&2
	((took < max * PATIENCE * 1000))
}

# many_peers N [LINE]: on standard output, each with two allowed IPs and that line.
many_peers() {
	python3 - "$1" "$(outer4 B)" "${2:-}" <<-'PY'
		import base64, sys
		for n in range(int(sys.argv[1])):
		    key = base64.b64encode(n.to_bytes(31, "big") + b"\x42").decode()
		    print(f"[Peer]\nPublicKey = {key}\n"
		          f"AllowedIPs = 10.{n >> 8}.{n & 255}.0/24, fd01:{n + 1:x}::/64\n"
		          f"Endpoint = {sys.argv[2]}:{20000 + n}\n{sys.argv[3]}")
	PY
}

# What `wg show dump` is to say of them: key, endpoint, allowed IPs.
many_dumped() {
	on A wg show wg0 dump | tail -n +2 | cut -f 1,3,4 | sort
}

many_wanted() {
	awk -F ' = ' '/PublicKey/ { key = $2 } /AllowedIPs/ { ips = $2 }
		/Endpoint/ { gsub(" ", "", ips); print key "\t" $2 "\t" ips }' "$1" | sort
}

# few.conf is the one peer that is real, none.conf the interface alone.
many_setup() {
	tunnel wgxdp wgxdp
	on A wg showconf wg0 >"$TMP/few.conf"
	printf '[Interface]\nPrivateKey = %s\nListenPort = %s\n' "$(<"$TMP/A.key")" "$PORT" \
		>"$TMP/none.conf"
}

@test "20,000 peers: set, shown and removed in seconds, in little memory" {
	many_setup
	many_peers $PEERS >"$TMP/peers"
	cat "$TMP/few.conf" "$TMP/peers" >"$TMP/many.conf"
	before=$(rss_kb A)
	timed 20 on A wg setconf wg0 "$TMP/many.conf"
	per_peer=$((($(rss_kb A) - before) * 1024 / PEERS))
	echo "$per_peer bytes a peer"
	memory_at_most $per_peer 4096

	timed 5 on A wg show wg0 dump >"$TMP/dump"
	many_wanted "$TMP/many.conf" >"$TMP/wanted"
	[ "$(wc -l <"$TMP/wanted")" = $((PEERS + 1)) ]
	diff "$TMP/wanted" <(many_dumped) >"$TMP/diff" || {
		head "$TMP/diff"
		false
	}

	timed 5 on A "$WGXDP" status wg0 >"$TMP/status"
	[ "$(grep -c '^  peer ' "$TMP/status")" = $((PEERS + 1)) ]
	timed 5 on A "$WGXDP" status wg0 --json >"$TMP/json"
	jq -e ".peers | length == $PEERS + 1" "$TMP/json"

	# The one that is real is served among them.
	wait_until 10 pings A "$(inner4 B)"
	on_path_of_B af_xdp
	ping_all A "$(inner4 B)" 50

	timed 20 on A wg syncconf wg0 "$TMP/many.conf"
	ping_all A "$(inner4 B)" 20
	timed 20 on A wg setconf wg0 "$TMP/none.conf"
	[ "$(on A wg show wg0 peers)" = "" ]
	for map in allowed_ips4 allowed_ips6 sessions; do
		on A bpftool -j map dump pinned "$PINS/wg0/$map" | jq -e 'length == 0'
	done
	on A wg setconf wg0 "$TMP/few.conf"
	wait_until 10 pings A "$(inner4 B)"
}

on_path_of_B() {
	wait_until 10 status_is A \
		".peers[] | select(.public_key == \"${PUBKEY[B]}\") | .path == \"$1\""
}

# The heap does not shrink (locked pages stay), but finds room in itself.
@test "peers that come and go leave no memory behind" {
	many_setup
	many_peers 4000 >"$TMP/peers"
	echo "[Interface]" | tee "$TMP/none.conf" | cat - "$TMP/peers" >"$TMP/many.conf"
	for round in $(seq 40); do
		on A wg setconf wg0 "$TMP/many.conf"
		on A "$WGXDP" status wg0 --json >"$TMP/json"
		jq -e ".peers | length == 4000" "$TMP/json"
		on A wg setconf wg0 "$TMP/none.conf"
		rss[round]=$(rss_kb A)
	done
	echo "${rss[@]}"
	# 100 bytes of each peer would be 12 MB.
	memory_at_most $((rss[40] - rss[10])) 12000
}

@test "20,000 peers that shake hands at once do not keep anybody waiting" {
	many_setup
	many_peers $PEERS "PersistentKeepalive = 25" >"$TMP/peers"
	on A wg addconf wg0 "$TMP/peers"
	timed 2 on A wg show wg0 peers >"$TMP/shown"
	ping_all A "$(inner4 B)" 100
	timed 5 on A wg set wg0 fwmark 1
	wait_until 60 sent_at_least $((148 * PEERS))
}

# latency_of_others SECONDS: of handshakes by 20 peers of A, one after the other, in $TMP/latency.
latency_of_others() {
	on F "$STORM_TOOL" latency "$(outer4 A)" "$PORT" "${PUBKEY[A]}" 20 "$1" >"$TMP/latency"
	cat "$TMP/latency"
}

# no_handshake_waited MS: for longer.
no_handshake_waited() {
	grep -qx lost=0 "$TMP/latency" || return
	awk -F = -v max=$(($1 * PATIENCE)) '/^max_ms=/ { ok = $2 <= max } END { exit !ok }' \
		"$TMP/latency"
}

@test "while 20,000 peers are set, the handshakes of others do not wait" {
	local setting

	storm_hosts
	start_wg wgxdp A
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	wg_up A
	"$STORM_TOOL" peers $PEERS >"$TMP/peers"
	head -n 60 "$TMP/peers" >"$TMP/few"
	on A wg addconf wg0 "$TMP/few"
	on_bg A timeout $((60 * PATIENCE)) wg addconf wg0 "$TMP/peers"
	setting=$!
	latency_of_others 3
	wait $setting
	no_handshake_waited 700
	[ "$(on A wg show wg0 peers | wc -l)" = $PEERS ]
}

# A new initiation makes the answer to an earlier one worthless: who goes on initiating
# while answers wait ends with no session at all.
@test "peers that are all written to at once all get a session" {
	local n=$((30000 / (PATIENCE * PATIENCE))) start
	local each='Endpoint = 198.18\1:51820\nPersistentKeepalive = 25'

	storm_hosts
	start_wg wgxdp A
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	wg_up A
	"$STORM_TOOL" peers $n | sed "s|^AllowedIPs = 10.64\(.*\)/.*|&\n$each|" >"$TMP/peers"
	on_bg F timeout $((130 * PATIENCE)) "$STORM_TOOL" answer "$(outer4 A)" "$PORT" \
		"${PUBKEY[A]}" $n $((120 * PATIENCE)) >"$TMP/storm"
	wait_until 30 grep -q ready "$TMP/storm"
	start=${EPOCHREALTIME/./}
	on A wg addconf wg0 "$TMP/peers"
	wait_until 60 have_sessions $n || {
		echo "$(with_session A) of $n have a session"
		false
	}
	echo "# $(((${EPOCHREALTIME/./} - start) / 1000)) ms" >&2
}

# Not too often: A has to read it all each time.
have_sessions() {
	sleep 1
	[ "$(with_session A)" = "$1" ]
}

sent_at_least() {
	(($(on A wg show wg0 transfer | awk '{ sum += $3 } END { print sum }') >= $1))
}

# 100,000 of IPv4 and 30,000 of IPv6, of various lengths.
many_ips() {
	python3 - <<-'PY'
		ips = [f"10.{64 + (n >> 16)}.{n >> 8 & 255}.{n & 255}/32" for n in range(99000)]
		ips += [f"10.{128 + (n >> 8)}.{n & 255}.0/24" for n in range(1000)]
		ips += [f"fd02::{n:x}/128" for n in range(1, 29001)]
		ips += [f"fd03:{n:x}::/64" for n in range(1, 1001)]
		print("\n".join(ips))
	PY
}

@test "130,000 allowed IPs of one peer: shown whole, and the last of them is reached" {
	tunnel wgxdp wgxdp
	many_ips >"$TMP/ips"
	[ "$(wc -l <"$TMP/ips")" = 130000 ]
	printf '[Interface]\nPrivateKey = %s\nListenPort = %s\n[Peer]\nPublicKey = %s\n' \
		"$(<"$TMP/A.key")" "$PORT" "${PUBKEY[B]}" >"$TMP/many.conf"
	printf 'Endpoint = %s\nAllowedIPs = ' "$(endpoint B 4)" >>"$TMP/many.conf"
	paste -s -d , "$TMP/ips" >>"$TMP/many.conf"
	timed 20 on A wg setconf wg0 "$TMP/many.conf"
	timed 5 on A wg show wg0 allowed-ips >"$TMP/shown"
	diff <(sort "$TMP/ips") <(cut -f 2 "$TMP/shown" | tr ' ' '\n' | sort) >"$TMP/diff" || {
		head "$TMP/diff"
		false
	}

	on A ip route add 10.0.0.0/8 dev wg0
	on A ip route add fd02::/15 dev wg0
	last4=10.65.130.183 # 98,999 from 0
	last6=fd02::7148    # 29,000 from 1
	grep -qxF "$last4/32" "$TMP/ips"
	grep -qxF "$last6/128" "$TMP/ips"
	refute grep -qF 10.65.130.184/32 "$TMP/ips"
	for address in $last4/32 10.131.231.9/24 $last6/128 fd03:3e8::9/64; do
		on B ip address add "$address" dev lo nodad 2>/dev/null ||
			on B ip address add "$address" dev lo
		wait_until 10 pings A "${address%/*}"
		ping_all A "${address%/*}" 10
	done
	# The next one is nobody's.
	on B ip address add 10.65.130.184/32 dev lo
	refute pings A 10.65.130.184
	timed 10 on A wg set wg0 peer "${PUBKEY[B]}" allowed-ips "$last4/32"
	[ "$(wg_field A allowed-ips)" = "$last4/32" ]
	pings A "$last4"
	refute pings A "$last6"
}

@test "the second interface on a NIC works by UDP, and says so" {
	tunnel wgxdp wgxdp
	IFACE=wg1 start_wg wgxdp A
	(umask 077 && wg genkey >"$TMP/wg1.key")
	on A wg set wg1 private-key "$TMP/wg1.key" listen-port 51821 \
		peer "${PUBKEY[B]}" allowed-ips 10.0.1.2/32 endpoint "$(endpoint B 4)"
	on A ip address add 10.0.1.1/24 dev wg1
	on A ip link set wg1 mtu 1420 up
	on B wg set wg0 peer "$(wg pubkey <"$TMP/wg1.key")" allowed-ips 10.0.1.1/32
	on B ip address add 10.0.1.2/24 dev wg0
	wait_until 10 pings A 10.0.1.2
	on_path A af_xdp
	status_of A '.peers[0].path == "udp" and .nics == []' wg1
	grep -E '^wgxdp: wg1: toB: .*using the UDP socket' "$TMP/A-wg1.log"
	refute grep -q 'UDP socket' "$TMP/A-wg0.log"

	# Both at once; each by its own way, and no packet by the other's.
	before=$(paths A)
	udp=$(status_of A .paths.rx_udp_packets wg1)
	on_bg A ping -q -n -c 100 -i 0.01 -W 2 10.0.1.2 >"$TMP/ping1"
	ping=$!
	ping_all A "$(inner4 B)" 100
	wait $ping
	grep -q "^100 packets transmitted, 100 received" "$TMP/ping1"
	went_by A xdp "$before" 100
	(($(status_of A .paths.rx_udp_packets wg1) >= udp + 100))
	status_of A '.paths.rx_xdp_packets == 0 and .paths.tx_xdp_packets == 0' wg1

	# The first one ends: the second goes on.
	stop_wg A wg0
	ping_all A 10.0.1.2 50
}
