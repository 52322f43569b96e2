#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What a peer costs: for each number of PEERS (1 100 10000 100000), of which one is real, how
# long the configuration takes, what memory a peer has in the daemon and in BPF maps, and
# what a packet costs the workers, by UDP of 1360 bytes to the real one and by TCP. Then the
# same for as many ALLOWED_IPS (1000000) of one peer. Lines of name and value.

set -eu -o pipefail
# shellcheck source=tests/bench/hosts.bash
source "$(dirname "$0")/hosts.bash"
BENCH=$REPO/build/tests/bench
PEERS=${PEERS:-1 100 10000 100000}
ALLOWED_IPS=${ALLOWED_IPS:-1000000}

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

# shellcheck disable=SC2016 # awk's
rss() { on A awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$(daemon_pid A)/status"; }

map_bytes() {
	on A bpftool -j map show |
		jq '[.[] | select(.name | test("^(allowed_ips|sessions|peer_stats)")) | .bytes_memlock] | add'
}

# worker_ns COMMAND...: CPU time of A's and B's workers for a packet.
worker_ns() {
	local cpu packets

	cpu=$(workers_cpu)
	packets=$(workers_packets)
	"$@" >/dev/null
	echo $((($(workers_cpu) - cpu) / ($(workers_packets) - packets + 1)))
}

udp() {
	on A "$BENCH/load" send "$(inner4 B)" 5001 1360 3
}

tcp() {
	local server

	on B timeout 60 iperf3 -s -1 &
	server=$!
	wait_until 10 listening_tcp B 5201
	on A timeout 60 iperf3 -c "$(inner4 B)" -t 3
	wait $server || true
}

# scene NAME NUMBER COMMAND: two hosts, and A with what the command adds to its configuration.
scene() {
	local name=$1 n=$2 began memory maps

	host_new A
	host_new B
	join A B
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B
	on A wg showconf wg0 >"$TMP/conf"
	memory=$(rss)
	maps=$(map_bytes)
	"$3" "$n" >>"$TMP/conf"
	began=${EPOCHREALTIME/./}
	on A wg setconf wg0 "$TMP/conf"
	echo "${name}_config_ms $(((${EPOCHREALTIME/./} - began) / 1000))"
	echo "${name}_daemon_bytes_each $((($(rss) - memory) / n))"
	echo "${name}_map_bytes_each $((($(map_bytes) - maps) / n))"
	wait_until 20 pings A "$(inner4 B)"
	echo "${name}_udp_worker_ns $(worker_ns udp)"
	echo "${name}_tcp_worker_ns $(worker_ns tcp)"
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
}

main
