#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Shows where the time of the whole machine goes while one TCP stream, or UDP datagrams of 1360
# bytes, cross a tunnel by UDP sockets or by AF_XDP. Prints lines of name and value: shares of
# perf's samples in percent, and the share of idle ones. The time of worker threads includes the
# softirqs that interrupt them or end their system calls; on a veth that is the far end's reception.

set -eu -o pipefail
# shellcheck source=tests/bench/hosts.bash
source "$(dirname "$0")/hosts.bash"
SECONDS_EACH=${SECONDS_EACH:-3}

# sampled LOAD: runs the load, and samples SECONDS_EACH in the middle of it.
sampled() {
	local load

	"$1" $((SECONDS_EACH + 2)) &
	load=$!
	sleep 1
	perf record --quiet --all-cpus --event cpu-clock --freq 2000 --output "$TMP/perf" -- \
		sleep "$SECONDS_EACH" >&2
	wait $load
}

# shares NAME: prints the shares of what was sampled.
shares() {
	perf report --input "$TMP/perf" --sort comm,dso,sym --stdio --field-separator '|' 2>/dev/null |
		awk -F '|' -v name="$1" '
		function of(comm, dso, sym) {
			if (comm ~ /^(worker|helper)/) {
				if (dso ~ /libcrypto|IPSec|sodium/) return "aead"
				if (dso !~ /^\[(kernel|guest)/ && dso !~ /^bpf_prog/) return "own"
				return sym ~ /copy_(to|from)|memcpy/ ? "copies" : "kernel"
			}
			return "load"
		}
		/^#/ || NF < 4 { next }
		$2 ~ /^swapper/ { idle += $1; next }
		{ sum[of($2, $3, $4)] += $1; all += $1 }
		END {
			n = split("aead own copies kernel load", parts, " ")
			for (i = 1; i <= n; i++)
				printf "%s_%s %.0f\n", name, parts[i], 100 * sum[parts[i]] / all
			printf "%s_idle %.0f\n", name, 100 * idle / (all + idle)
		}'
}

# profile NAME [ARGUMENTS of wgxdp]: prints the shares with these arguments.
profile() {
	local load

	WGXDP_ARGS="${2:-}" tunnel wgxdp wgxdp
	for load in tcp udp; do
		sampled load_$load
		shares "$1_$load"
	done
	hosts_gone
}

profile udp_sockets "--nic none"
profile af_xdp
