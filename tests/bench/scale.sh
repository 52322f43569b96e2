#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What a peer costs: for each number of PEERS (1 100 10000 100000), of which one is real, how
# long the configuration takes, what memory each more peer has in the daemon and in BPF maps,
# and what a packet costs the workers, by UDP of 1360 bytes to the real one and by TCP. Then
# the same for as many ALLOWED_IPS (1000000) of one peer. At last STORM (10000) peers, each
# with an address of its own, that want a session at once from a gateway just started: in
# which time half and all of them have it, the daemon's CPU time, and what memory a peer then
# has more than one without a session. Then a gateway of CROWD (100000) peers that strangers send
# neighbour advertisements, packets to absent hosts and ICMPv6 errors, or that is being given all
# of its peers: how long the handshakes of other peers and `wg show wg0 listen-port` wait, and what
# share of a CPU the daemon takes. (wg(8) reads all peers whatever it is asked for: most of the
# latter wait is its own.) Lines of name and value; the last part is also a table, to standard
# error.

set -eu -o pipefail
# shellcheck source=tests/bench/hosts.bash
source "$(dirname "$0")/hosts.bash"
TOOLS=$REPO/build/tests/tools
PEERS=${PEERS-1 100 10000 100000}
ALLOWED_IPS=${ALLOWED_IPS-1000000}
STORM=${STORM-10000}
CROWD=${CROWD-100000}
# Of each kind of flood.
FLOOD_SECONDS=${FLOOD_SECONDS-10}
PORT_SECONDS=15 # more than listen_port_ms takes
# An initiator gives up then (REKEY_ATTEMPT_TIME).
STORM_SECONDS=90

# put NAME VALUE
put() {
	number "$1" "$2"
	echo "$1 $2"
}

# peers N: but for the real one, each with an address of its own.
peers() {
	python3 - "$1" <<-'PY'
		import base64, sys
		for n in range(1, int(sys.argv[1])):
		    key = base64.b64encode(n.to_bytes(31, "big") + b"\x42").decode()
		    print(f"[Peer]\nPublicKey = {key}\n"
		          f"AllowedIPs = 10.{64 + (n >> 16)}.{n >> 8 & 255}.{n & 255}/32")
	PY
}

# more_ips N: "AllowedIPs", of the peer before.
more_ips() {
	python3 - "$1" <<-'PY'
		import sys
		for n in range(1, int(sys.argv[1])):
		    print(f"AllowedIPs = 10.{64 + (n >> 16)}.{n >> 8 & 255}.{n & 255}/32")
	PY
}

rss() { echo $(($(rss_kb A) * 1024)); }

# Of this wg0; others on the machine have maps of the same names.
map_bytes() {
	local map

	for map in allowed_ips4 allowed_ips6 sessions peer_stats; do
		on A bpftool -j map show pinned "$PINS/wg0/$map"
	done | jq -s 'map(.bytes_memlock) | add'
}

# A has many, of which B is one.
by_af_xdp() {
	on_path B af_xdp
	wait_until 20 status_is A \
		".peers[] | select(.public_key == \"${PUBKEY[B]}\") | .path == \"af_xdp\""
}

# take NAME: A's configuration from $TMP/conf.
take() {
	local began

	began=${EPOCHREALTIME/./}
	on A wg setconf wg0 "$TMP/conf"
	put "$1_config_ms" $(((${EPOCHREALTIME/./} - began) / 1000))
}

# configure NAME NUMBER COMMAND: A with what the command adds, which is one less.
configure() {
	local memory maps memory_now maps_now

	on A wg showconf wg0 >"$TMP/conf"
	"$3" "$2" >>"$TMP/conf"
	memory=$(rss)
	maps=$(map_bytes)
	take "$1"
	memory_now=$(rss)
	maps_now=$(map_bytes)
	[ "$2" != 1 ] || return 0
	put "$1_daemon_bytes_each" $(((memory_now - memory) / ($2 - 1)))
	put "$1_map_bytes_each" $(((maps_now - maps) / ($2 - 1)))
}

# scene NAME NUMBER COMMAND: two hosts, and A with what the command adds to its configuration.
scene() {
	host_new A
	host_new B
	join A B
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B
	configure "$@"
	wait_until 20 pings A "$(inner4 B)"
	by_af_xdp
	worker_ns load_udp 3
	put "$1_udp_worker_ns" "$WORKER_NS"
	worker_ns load_tcp 3
	put "$1_tcp_worker_ns" "$WORKER_NS"
	hosts_gone
}

# gateway N: A, with so many peers in F.
gateway() {
	storm_hosts
	"$TOOLS/storm" peers "$1" >"$TMP/conf"
	start_wg wgxdp A --nic toF
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	on A wg addconf wg0 "$TMP/conf"
	wg_up A
	wait_until 10 has_xdp A toF
}

# The gateway must agree to what the peers say that they have.
storm() {
	local cpu cpu_now seen sessions memory

	gateway "$1"
	memory=$(rss)
	cpu=$(process_cpu A)
	on F "$TOOLS/storm" send "$(outer4 A)" "$PORT" "${PUBKEY[A]}" "$1" $STORM_SECONDS \
		>"$TMP/storm"
	cpu_now=$(process_cpu A)
	seen=$(with_session A)
	sessions=$(sed -n 's/^sessions=//p' "$TMP/storm")
	((seen * 100 >= sessions * 95)) || die "$sessions sessions, the gateway has $seen"
	put "peers_at_once_$1_bytes_each" $((($(rss) - memory) / $1))
	put "peers_at_once_$1_cpu_s" "$(awk "BEGIN { print ($cpu_now - $cpu) / 1e9 }")"
	sed "s/^/peers_at_once_$1_/; s/=/ /" "$TMP/storm"
	hosts_gone
}

# ---- a crowd, and strangers

# crowd N: [Peer] sections; 300 of them are on the LAN, the others behind F.
crowd() {
	python3 - "$1" <<-'PY'
		import base64, sys
		for n in range(int(sys.argv[1])):
		    key = base64.b64encode(n.to_bytes(31, "big") + b"\x42").decode()
		    where = f"198.18.{100 + (n >> 8) % 100}.{n & 255}"
		    if n < 300:
		        where = f"[2001:db8:9::1:{n + 1:x}]"
		    print(f"[Peer]\nPublicKey = {key}\n"
		          f"AllowedIPs = 10.{128 + (n >> 16)}.{n >> 8 & 255}.{n & 255}/32\n"
		          f"Endpoint = {where}:{20000 + n % 10000}")
	PY
}

# A has 20 real peers, those of storm in F, and a LAN with 300 neighbours and many absent hosts.
crowd_hosts() {
	storm_hosts
	on A ip address add 2001:db8:9::1/64 dev toF nodad
	for n in $(seq 300); do
		printf 'neigh add 2001:db8:9::1:%x lladdr 02:00:00:00:00:01 nud stale dev toF\n' "$n"
	done | on A ip -batch -
	on A ip link add lan0 type veth peer name lan1
	on A ip link set lan1 up
	on A ip link set lan0 up
	on A ip address add 10.9.0.1/16 dev lan0
	on A ip link add churn0 up type veth peer name churn1
	on A sysctl -q -w net.ipv4.ip_forward=1
	on F ip route add 10.9.0.0/16 via "$(outer4 A)"
	start_wg wgxdp A --nic toF
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	"$TOOLS/storm" peers 20 >"$TMP/few"
	on A wg addconf wg0 "$TMP/few"
	wg_up A
	wait_until 10 has_xdp A toF
}

latency() {
	on F "$TOOLS/storm" latency "$(outer4 A)" "$PORT" "${PUBKEY[A]}" 20 "$1" >"$TMP/latency"
}

# of NAME: in $TMP/latency
of() { sed -n "s/^$1=//p" "$TMP/latency"; }

# listen_port_ms: the median of five.
listen_port_ms() {
	local began

	for _ in 1 2 3 4 5; do
		began=${EPOCHREALTIME/./}
		on A wg show wg0 listen-port >/dev/null
		echo $(((${EPOCHREALTIME/./} - began) / 1000))
	done | sort -n | sed -n 3p
}

# under NAME [HOST COMMAND...]: which runs there meanwhile, and is given how many seconds.
under() {
	local name=$1 began cpu flood

	shift
	[ $# = 0 ] || on "$@" $((FLOOD_SECONDS + 1)) &
	flood=$!
	began=${EPOCHREALTIME/./}
	cpu=$(process_cpu A)
	latency "$FLOOD_SECONDS"
	cpu=$((($(process_cpu A) - cpu) / 10 / (${EPOCHREALTIME/./} - began)))
	[ $# = 0 ] || wait $flood
	[ $# = 0 ] || on "$@" $PORT_SECONDS &
	flood=$!
	row "$name" "$cpu" "$(listen_port_ms)"
	[ $# = 0 ] || wait $flood
}

# row NAME CPU PORT_MS
row() {
	local name

	printf '%-32s %6s %10s %10s %8s %10s\n' "$1" "$2" "$(of median_ms)" "$(of max_ms)" \
		"$(of lost)" "$3" >&2
	name=crowd_$(tr -c 'a-z0-9\n' _ <<<"$1")
	put "${name}_cpu_percent" "$2"
	put "${name}_handshake_median_ms" "$(of median_ms)"
	put "${name}_handshake_max_ms" "$(of max_ms)"
	put "${name}_handshakes_lost" "$(of lost)"
	put "${name}_listen_port_ms" "$3"
}

# All are set while the first peers shake hands: until it has ended.
during_a_set() {
	local setting cpu began port took

	began=${EPOCHREALTIME/./}
	cpu=$(process_cpu A)
	on A wg addconf wg0 "$TMP/crowd" &
	setting=$!
	latency "$FLOOD_SECONDS" &
	took=$!
	sleep 0.5
	port=$(listen_port_ms)
	wait $setting
	cpu=$((($(process_cpu A) - cpu) / 10 / (${EPOCHREALTIME/./} - began)))
	put "crowd_$1_set_ms" $(((${EPOCHREALTIME/./} - began) / 1000))
	wait $took
	row "set of all" "$cpu" "$port"
}

crowd_scene() {
	local strangers=$REPO/tests/bench/strangers.py churn=$REPO/tests/bench/churn.py
	local mac memory maps

	crowd_hosts
	crowd "$1" >"$TMP/crowd"
	memory=$(rss)
	maps=$(map_bytes)
	mac=$(on A cat /sys/class/net/toF/address)
	printf '%-32s %6s %10s %10s %8s %10s\n' "$1 peers" "CPU %" "median ms" "max ms" lost \
		"port ms" >&2
	during_a_set "$1"
	put "crowd_$1_daemon_bytes_each" $((($(rss) - memory) / $1))
	put "crowd_$1_map_bytes_each" $((($(map_bytes) - maps) / $1))
	sleep 5
	under "nothing"
	under "300 advertisements a second" F "$strangers" advertise toA "$mac" 2001:db8:9::1 300
	under "190 packets to absent hosts" F "$strangers" absent 10.9 190
	under "1 packet too big a second" F "$strangers" toobig toA "$mac" "$(outer6 A)" "$PORT" 1
	under "1000 routers a second" F "$strangers" routers toA "$mac" 1000
	under "100 link changes a second" A "$churn" links churn0 100
	under "100 addresses a second" A "$churn" addresses churn0 100
	under "100 rules a second" A "$churn" rules churn0 100
	under "100 routes a second" A "$churn" routes churn0 100
	hosts_gone
}

main() {
	local n

	for n in $PEERS; do
		scene "peers_$n" "$n" peers
	done
	for n in $ALLOWED_IPS; do
		scene "allowed_ips_$n" "$n" more_ips
	done
	for n in $STORM; do
		storm "$n"
	done
	for n in $CROWD; do
		crowd_scene "$n"
	done
}

main
