#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What a peer costs: for each number of PEERS (1 100 10000 100000), of which one is real, how
# long the configuration takes, what memory each more peer has in the daemon and in BPF maps,
# and what a packet costs the workers, by UDP of 1360 bytes to the real one and by TCP. Then
# the same for as many ALLOWED_IPS (1000000) of one peer. At last STORM (10000) peers, each
# with an address of its own, that want a session at once from a gateway just started: in
# which time half and all of them have it, the daemon's CPU time, and what memory a peer then
# has more than one without a session. Lines of name and value.

set -eu -o pipefail
# shellcheck source=tests/bench/hosts.bash
source "$(dirname "$0")/hosts.bash"
TOOLS=$REPO/build/tests/tools
PEERS=${PEERS-1 100 10000 100000}
ALLOWED_IPS=${ALLOWED_IPS-1000000}
STORM=${STORM-10000}
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
}

main
