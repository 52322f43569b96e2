# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# lib.bash for scripts that are not tests. Removes the hosts whenever and however the script ends.

# A decimal point in $EPOCHREALTIME and in what programs print.
export LC_ALL=C
# A failure within $(...) ends the script, too.
shopt -s inherit_errexit
# These are for tests; in a script they would change which implementation runs.
unset PEER SUBJECT IFACE WGXDP_NIC

if [ "$(id -u)" != 0 ]; then
	echo "${0##*/}: needs root, for network namespaces: try sudo $0" >&2
	exit 1
fi

# lib.bash keeps its files in the directory that bats makes for a test.
BATS_TEST_TMPDIR=$(mktemp -d)
readonly BATS_TEST_TMPDIR
# shellcheck source=tests/netns/lib.bash
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"

# Output is dropped because the shell would report each child that is killed.
clean_up() {
	local code=$?

	trap - EXIT INT TERM
	[ $code = 0 ] || show_logs >&2
	BATS_TEST_COMPLETED=1 cleanup >/dev/null 2>&1 || true
	rm -rf "$BATS_TEST_TMPDIR"
	exit $code
}

trap clean_up EXIT
trap 'exit 130' INT TERM
