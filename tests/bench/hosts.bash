# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# What both benchmarks have: hosts outside of bats, which are gone however the script ends, and
# CPU time in ns with the packets that it was spent for.

BATS_TEST_TMPDIR=$(mktemp -d)
readonly BATS_TEST_TMPDIR
# shellcheck source=tests/netns/lib.bash
source "$(dirname "${BASH_SOURCE[0]}")/../netns/lib.bash"

clean_up() {
	local code=$?

	trap - EXIT INT TERM
	[ $code = 0 ] || show_logs
	BATS_TEST_COMPLETED=1 cleanup >/dev/null 2>&1 || true
	rm -rf "$BATS_TEST_TMPDIR"
	exit $code
}

trap clean_up EXIT
trap 'exit 130' INT TERM

# hosts_gone: A and B, at the end of a scene.
hosts_gone() {
	stop_all >/dev/null
	host_del A
	host_del B
	HOST_NUM=()
	DAEMON=()
}

machine_cpu() {
	awk -v hz="$(getconf CLK_TCK)" '$1 == "cpu" {
		printf "%.0f\n", ($2 + $3 + $4 + $7 + $8) * 1e9 / hz }' /proc/stat
}

# process_cpu HOST [THREADS]: the daemon's, or that of its threads of such names.
process_cpu() {
	# shellcheck disable=SC2016 # expanded there
	on "$1" sh -c 'for t in /proc/"$0"/task/*; do
		grep -q "^$1" $t/comm && cut -d " " -f 1 $t/schedstat; done' \
		"$(daemon_pid "$1")" "${2:-}" | awk '{ t += $1 } END { printf "%.0f\n", t }'
}

workers_cpu() { echo $(($(process_cpu A worker) + $(process_cpu B worker))); }

# What the workers of both ends sealed or opened.
workers_packets() {
	local host

	for host in A B; do
		paths $host
	done | jq -s 'map(.rx_xdp_packets + .tx_xdp_packets + .rx_udp_packets + .tx_udp_packets) | add'
}
