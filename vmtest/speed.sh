#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Compares, on this machine, two hosts on a veth: wgxdp (AF_XDP, and --nic none), the
# kernel's WireGuard, wireguard-go. ROUNDS (3) of SECONDS_EACH (5), interleaved; medians,
# the least and the most, and the ratio of medians to the kernel's.

set -eu -o pipefail
BATS_TEST_TMPDIR=$(mktemp -d)
readonly BATS_TEST_TMPDIR
# shellcheck source=tests/netns/lib.bash
source "$(dirname "$0")/../tests/netns/lib.bash"
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-5}
KINDS="kernel wgxdp wgxdp-udp wireguard-go"

clean_up() {
	local code=$?

	trap - EXIT INT TERM
	[ $code = 0 ] || show_logs
	BATS_TEST_COMPLETED=1 cleanup >/dev/null 2>&1 || true
	rm -rf "$BATS_TEST_TMPDIR"
	exit $code
}

# Mbit/s as the receiver counts them; of pings the median round trip in ms.
tcp() {
	on_bg B iperf3 -s -1 >/dev/null
	wait_until 10 listening_tcp B 5201
	on A iperf3 -c "$(inner4 B)" -t "$SECONDS_EACH" -J "$@" |
		jq '.end.sum_received.bits_per_second / 1e6 | . * 10 | round / 10'
}

rtt() {
	on A ping -n -c 100 -i 0.02 "$(inner4 B)" | sed -n 's/.*time=\([0-9.]*\) ms/\1/p' |
		sort -n | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }'
}

# figure KIND WHAT COMMAND...: a line of figures; what the command prints is more than 0.
figure() {
	local value

	value=$("${@:3}")
	awk -v value="$value" 'BEGIN { exit !(value > 0) }'
	echo "$1 $2 $value" | tee -a "$TMP/figures"
}

# measure KIND: one round, in hosts of its own.
measure() {
	local kind=$1 args=()

	host_new A
	host_new B
	join A B
	[ "$kind" != wgxdp-udp ] || args=(--nic none)
	start_wg "${kind%-udp}" A "${args[@]}"
	start_wg "${kind%-udp}" B "${args[@]}"
	wg_setup A B
	wait_until 20 pings A "$(inner4 B)"
	figure "$kind" tcp_one_stream tcp
	figure "$kind" tcp_four_streams_back tcp -P 4 -R
	figure "$kind" ping_median_ms rtt
	stop_all >/dev/null
	host_del A
	host_del B
	HOST_NUM=()
	DAEMON=()
}

report() {
	awk '
	{
		n = ++count[$1, $2]
		v[$1, $2, n] = $3 + 0
		if (!($1 in kind)) { kind[$1]; kinds[++k] = $1 }
		if (!($2 in seen)) { seen[$2]; order[++m] = $2 }
	}
	function sorted(of, what,    i, j, t, n) {
		n = count[of, what]
		for (i = 1; i <= n; i++) s[i] = v[of, what, i]
		for (i = 2; i <= n; i++)
			for (j = i; j > 1 && s[j - 1] > s[j]; j--) { t = s[j]; s[j] = s[j - 1]; s[j - 1] = t }
		return n
	}
	function median(of, what,    n) { n = sorted(of, what); return s[int((n + 1) / 2)] }
	END {
		for (i = 1; i <= m; i++) {
			print order[i]
			base = median("kernel", order[i])
			for (j = 1; j <= k; j++) {
				mid = median(kinds[j], order[i])
				printf "  %-13s %8.1f  (%.1f to %.1f)  %5.2f x the kernel\n", kinds[j], mid,
					s[1], s[count[kinds[j], order[i]]], mid / base
			}
		}
	}'
}

main() {
	local kind

	trap clean_up EXIT
	trap 'exit 130' INT TERM
	for ((round = 1; round <= ROUNDS; round++)); do
		for kind in $KINDS; do
			measure "$kind"
		done
	done
	echo
	report <"$TMP/figures"
	if [ "${VMTEST_ACCEL:-}" = tcg ]; then
		echo "Emulated (TCG): each instruction costs about the same there, vector ones most," \
			"and a page fault or a switch to the kernel very much. These ratios say little" \
			"about a real machine."
	fi
}

main
