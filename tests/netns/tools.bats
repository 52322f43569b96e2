# SPDX-License-Identifier: MIT
# wg(8) and `wgxdp status`: under traffic, many clients at once, clients that hang.

load lib

# Hundreds of requests take hundreds of processes.
export BATS_TEST_TIMEOUT=$((240 * PATIENCE))

setup() {
	needs_root
	needs_wgxdp
}

# key N: prints a public key that nobody has.
key() { printf '%031d%s' "$1" B | base64 -w 0; }

# client: runs the Python program on stdin, with the path of the socket.
client() { on A python3 - "$SOCKETS/wg0.sock"; }

# sync_conf FILE N: writes a configuration of A's peers and N more.
sync_conf() {
	local conf=$1 n=$2 i

	on A wg showconf wg0 >"$conf"
	for ((i = 0; i < n; i++)); do
		printf '\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.9.%d.%d/32\n' "$(key "$i")" \
			$((i >> 8)) $((i & 255))
	done >>"$conf"
}

@test "syncconf under traffic loses nothing" {
	# On an emulated machine wg(8) keeps the only core busy.
	local mbit=$((100 / PATIENCE / PATIENCE))

	tunnel wgxdp wgxdp
	# Many allowed IPs, so that replacing them takes time.
	# shellcheck disable=SC2046,SC2183 # words on purpose, two per use of the format
	on A wg set wg0 peer "${PUBKEY[B]}" allowed-ips \
		"$(printf '10.99.%d.%d,' $(echo {0..9}_{0..255} | tr _ ' '))$(inner4 B),$(inner6 B)"
	sync_conf "$TMP/few.conf" 0
	sync_conf "$TMP/many.conf" 100
	on_path A af_xdp
	latest=$(wg_field A latest-handshakes)

	on_bg B timeout $((30 * PATIENCE)) iperf3 -s -1 -p 9000 >"$TMP/iperf-server.log" 2>&1
	wait_until 5 listening_tcp B 9000
	on_bg A timeout $((30 * PATIENCE)) iperf3 -c "$(inner4 B)" -p 9000 -t 4 -b ${mbit}M -J >"$TMP/iperf.json"
	iperf=$!
	on_bg A ping -q -n -c 300 -i 0.01 -W 2 "$(inner6 B)" >"$TMP/ping"
	ping=$!
	syncs=0
	while kill -0 $ping 2>/dev/null; do
		on A wg syncconf wg0 "$TMP/many.conf"
		on A wg syncconf wg0 "$TMP/few.conf"
		syncs=$((syncs + 1))
	done
	wait $ping
	wait $iperf
	echo "$syncs rounds"
	cat "$TMP/ping"
	grep -q "^300 packets transmitted, 300 received" "$TMP/ping"
	jq -e '.end.sum_received.bits_per_second > '"$mbit"' * 800000' "$TMP/iperf.json"
	((syncs >= 10 / PATIENCE))
	# The session is the same as at the start.
	[ "$(on A wg show wg0 latest-handshakes | grep -F "${PUBKEY[B]}" | cut -f 2)" = "$latest" ]
	[ "$(on A wg show wg0 peers)" = "${PUBKEY[B]}" ]
}

# writer FIRST: adds twenty peers and removes every other one, by a wg(8) per request. In host A.
writer() {
	local i peer

	for ((i = $1; i < $1 + 20; i++)); do
		peer=$(key "$i")
		wg set wg0 peer "$peer" persistent-keepalive 25 \
			allowed-ips "10.$((i >> 8)).$((i & 255)).0/24,fd00:$i::/64" || return
		((i % 2)) || wg set wg0 peer "$peer" remove || return
	done
}

# reader FILE: reads dumps. Each dump and each peer in it must be complete. Runs in host A.
reader() {
	local i

	for ((i = 0; i < 20; i++)); do
		wg show wg0 dump >"$1" || return
		awk -F'\t' 'NR == 1 && NF != 4 || NR > 1 && NF != 8 { exit 1 }
			NR > 1 && ($8 != 25 || split($4, ips, ",") != 2) { exit 1 }' "$1" || return
	done
}

@test "twenty clients at once, hundreds of requests: all answered, all consistent" {
	host_new A
	start_wg wgxdp A
	for n in $(seq 0 9); do
		on_bg A bash -c "$(declare -f key writer); writer $((n * 20))"
		children[n]=$!
		on_bg A bash -c "$(declare -f reader); reader '$TMP/dump.$n'"
		children[n + 10]=$!
	done
	for child in "${children[@]}"; do
		wait "$child"
	done
	for ((i = 1; i < 200; i += 2)); do
		key "$i"
		echo
	done | sort >"$TMP/want"
	diff "$TMP/want" <(on A wg show wg0 peers | sort)
	[ "$(on A wg show wg0 allowed-ips | wc -w)" = 300 ]
}

@test "a request may be split anywhere" {
	host_new A
	start_wg wgxdp A
	client <<-'PY'
		import socket, sys
		request = b"set=1\npublic_key=" + b"01" * 31 + b"41\nallowed_ip=10.1.0.0/16\n\nget=1\n\n"
		for size in list(range(1, 9)) + [len(request) - 1]:
		    s = socket.socket(socket.AF_UNIX)
		    s.settimeout(5)
		    s.connect(sys.argv[1])
		    for i in range(0, len(request), size):
		        s.send(request[i:i + size])
		    answer = b""
		    while answer.count(b"errno=0\n\n") < 2:
		        more = s.recv(65536)
		        assert more, answer
		        answer += more
		    assert answer.startswith(b"errno=0\n\n"), answer
		    assert answer.endswith(b"\nallowed_ip=10.1.0.0/16\nerrno=0\n\n"), answer
	PY
}

# hanging_clients: opens more connections than are served at once. The first half stop within a
# request; the others send requests and never read the answers.
hanging_clients() {
	client >"$TMP/hanging" <<-'PY'
		import socket, sys, time
		kept = []
		for n in range(100):
		    s = socket.socket(socket.AF_UNIX)
		    s.connect(sys.argv[1])
		    kept.append(s)
		    if n < 50:
		        s.send(b"set=1\nlisten_port=1")
		        continue
		    s.setblocking(False)
		    try:
		        while True:
		            s.send(b"get=1\n\n" * 64)
		    except (BlockingIOError, BrokenPipeError):
		        pass
		print("there", flush=True)
		time.sleep(60)
	PY
}

@test "clients that hang half-way block nobody" {
	tunnel wgxdp wgxdp
	for ((i = 0; i < 200; i++)); do
		printf '[Peer]\nPublicKey = %s\nAllowedIPs = 10.9.%d.0/24\n' "$(key "$i")" "$i"
	done >"$TMP/more.conf"
	on A wg addconf wg0 "$TMP/more.conf"
	hanging_clients 3>&- &
	wait_until 20 grep -q there "$TMP/hanging"

	start=${EPOCHREALTIME/./}
	for i in $(seq 50); do
		on A wg set wg0 fwmark "$i"
		[ "$(($(on A wg show wg0 fwmark)))" = "$i" ]
	done
	echo "100 requests in $(((${EPOCHREALTIME/./} - start) / 1000)) ms"
	((${EPOCHREALTIME/./} - start < 10000000 * PATIENCE))
	[ "$(on A wg show wg0 listen-port)" = "$PORT" ]
	ping_all A "$(inner4 B)" 100
	# The memory for these clients is bounded.
	memory_at_most "$(rss_kb A)" 64000
}

@test "status gives up on a daemon that does not answer, and says why" {
	host_new A
	on A mkdir -p "$SOCKETS"
	on_bg A timeout $((30 * PATIENCE)) socat "UNIX-LISTEN:$SOCKETS/wg0.sock" SYSTEM:'sleep 30'
	wait_until 5 on A test -S "$SOCKETS/wg0.sock"
	refute on A timeout $((20 * PATIENCE)) "$WGXDP" status wg0 2>"$TMP/err"
	cat "$TMP/err"
	grep -qx "wgxdp: no wgxdp answers for wg0: it is there, but busy or stopped" "$TMP/err"
}

@test "status to read: a port that is taken, and peers one by one" {
	host_new A
	start_wg wgxdp A
	on A "$WGXDP" status wg0 >"$TMP/out"
	grep -qx "  no private key, port 0 (the interface is down), pid $(status_of A .pid)" "$TMP/out"
	grep -q "^  version $("$WGXDP" --version | cut -d ' ' -f 2), running for [0-9]* s" "$TMP/out"
	refute grep -q "^  peer " "$TMP/out"

	for _ in 1 2 3; do
		on A wg set wg0 fwmark 0x1f listen-port "$PORT" peer "$(wg genkey | wg pubkey)"
	done
	on_bg A timeout $((60 * PATIENCE)) socat -u "UDP4-RECV:$PORT" OPEN:/dev/null
	wait_until 5 on A sh -c "ss -Huln | grep -q :$PORT"
	on A ip link set wg0 up
	wait_until 5 status_is A .up
	on A "$WGXDP" status wg0 | tee "$TMP/out"
	grep -q "port $PORT (NOT LISTENING: Address already in use), pid" "$TMP/out"
	grep -qx "  fwmark 0x1f" "$TMP/out"
	[ "$(grep "^  peer " "$TMP/out")" = \
		"$(status_of A '.peers[] | "  peer \(.public_key) (slot \(.slot))"')" ]
	[ "$(grep -cx "    no handshake yet" "$TMP/out")" = 3 ]
	[ "$(grep -cx "    endpoint not known yet" "$TMP/out")" = 3 ]
}

# From another version, or truncated.
@test "status: an answer that is not understood is an error" {
	local answer

	host_new A
	on A mkdir -p "$SOCKETS"
	for answer in '{}' '{"a":1,"peers":[' '{"a":1,"peers":[{"slot":1},' '{"a":1,"peers":[{"slot":1' \
		'{"a":1,"peers":[{"slot":1},2]}' '{"a":,"peers":[]}' '{"a":1,"peers":3}'; do
		echo "$answer" >"$TMP/answer"
		on_bg A timeout $((30 * PATIENCE)) socat "UNIX-LISTEN:$SOCKETS/wg0.sock" \
			SYSTEM:"cat '$TMP/answer'; sleep 1"
		wait_until 5 on A test -S "$SOCKETS/wg0.sock"
		refute on A "$WGXDP" status wg0 2>"$TMP/err"
		grep -qx "wgxdp: no wgxdp answers for wg0: its answer is not what this version understands" \
			"$TMP/err"
		# socat removes its socket when it ends; it must not remove the next one's.
		wait_until 10 refute on A test -e "$SOCKETS/wg0.sock"
	done
}

# A directory lists its files in another order: of hashes or of creation.
@test "status of all is sorted by name" {
	local name

	host_new A
	for name in wg2 wg0 wg3 wg1; do
		IFACE=$name start_wg wgxdp A
	done
	[ "$(on A "$WGXDP" status | awk '/^interface/ { print $2 }' | xargs)" = "wg0 wg1 wg2 wg3" ]
	[ "$(on A "$WGXDP" status --json | jq -r .interface | xargs)" = "wg0 wg1 wg2 wg3" ]
}

@test "status of all: skips other interfaces, names one that died; only root may ask" {
	host_new A
	start_wg wgxdp A
	IFACE=wg1 start_wg wireguard-go A
	on A "$WGXDP" status >"$TMP/out" 2>"$TMP/err"
	cat "$TMP/err"
	[ "$(grep -c '^interface ' "$TMP/out")" = 1 ]
	[ ! -s "$TMP/err" ]
	refute on A "$WGXDP" status wg1 2>"$TMP/err"
	grep -qx "wgxdp: no wgxdp answers for wg1: not a wgxdp interface" "$TMP/err"

	refute on A setpriv --reuid 65534 --clear-groups "$WGXDP" status wg0 2>"$TMP/err"
	grep -qx "wgxdp: no wgxdp answers for wg0: only root may ask" "$TMP/err"
	on A chmod 700 "$SOCKETS" # as wgxdp makes it
	refute on A setpriv --reuid 65534 --clear-groups "$WGXDP" status 2>"$TMP/err"
	cat "$TMP/err"
	grep -qx "wgxdp: /var/run/wireguard: only root may ask" "$TMP/err"

	on A kill -KILL "$(daemon_pid A)"
	wait_wg A || [ $? = 137 ]
	refute on A "$WGXDP" status 2>"$TMP/err"
	[ "$(<"$TMP/err")" = "wgxdp: no wgxdp answers for wg0: it does not run any more; a new start cleans up" ]
}
