#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Shows a tunnel between two network namespaces: throughput, status and BPF maps. Needs root and
# build/wgxdp; leaves nothing behind, even if it is interrupted.

set -eu

# shellcheck source=tests/netns/script.bash
source "$(dirname "$0")/netns/script.bash"

step() { printf '\n==> %s\n' "$*"; }

show() {
	local host=$1

	shift
	printf '%s# %s\n' "$host" "$*"
	on "$host" "$@"
}

# throughput TITLE ARGUMENTS...: iperf3 from A to B, in Mbit/s as B received it.
throughput() {
	local title=$1

	shift
	on_bg B iperf3 -s -1 >/dev/null
	wait_until 5 listening_tcp B 5201
	on A iperf3 -c "$(inner4 B)" -t 5 -J "$@" |
		jq -r --arg title "$title" \
			'"\($title): \(.end.sum_received.bits_per_second / 1e6 | round) Mbit/s"'
}

step "two hosts, A and B, joined by a veth pair (192.0.2.1 and 192.0.2.2)"
host_new A
host_new B
join A B

step "wgxdp in both; keys, peers and addresses by wg(8) and ip(8)"
start_wg wgxdp A
start_wg wgxdp B
wg_setup A B

step "ping through the tunnel, IPv4 and IPv6"
wait_until 10 pings A "$(inner4 B)"
show A ping -n -c 5 -i 0.2 "$(inner4 B)"
show A ping -n -c 5 -i 0.2 -q "$(inner6 B)"

step "iperf3 through the tunnel, 5 s each way"
throughput "TCP, A to B"
throughput "TCP, B to A" -R

step "by which path the packets went, what was dropped, and who the peers are"
show A "$WGXDP" status wg0

step "the same interface for wg(8)"
show A wg show wg0

step "the map that routes IPv4 packets to peers; the counters of peer 0"
show A bpftool map dump pinned "$PINS/wg0/allowed_ips4"
show A bpftool map lookup pinned "$PINS/wg0/peer_stats" key 0 0 0 0
