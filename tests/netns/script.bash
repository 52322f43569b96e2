# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# For scripts that are no tests: hosts of lib.bash, which are gone however the script ends.

# A decimal point, in $EPOCHREALTIME as in what programs print.
export LC_ALL=C
# A failure within $(...) ends the script, too.
shopt -s inherit_errexit
# These are for tests by hand; here they would change who runs.
unset PEER SUBJECT IFACE WGXDP_NIC

if [ "$(id -u)" != 0 ]; then
	echo "${0##*/}: needs root, for network namespaces: try sudo $0" >&2
	exit 1
fi

# The library keeps its files where bats would have it: a directory of our own.
BATS_TEST_TMPDIR=$(mktemp -d)
readonly BATS_TEST_TMPDIR
# shellcheck source=tests/netns/lib.bash
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"

# The shell's children end with their host; it need not hear of each.
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
