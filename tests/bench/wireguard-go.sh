#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/bench/wireguard-go.sh: prints the path of the newest wireguard-go among Debian's
# suites that runs here, which it downloads first if need be; it is not installed. The
# cache directory is for a day, then the suites are asked again.

set -eu
# shellcheck source=tests/suite.bash
source "$(dirname "$0")/../suite.bash"
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/wgxdp-bench
SUITES="sid testing trixie"

die() {
	echo "wireguard-go.sh: $*" >&2
	exit 1
}

# from SUITE: in $work/tree, and it runs.
from() {
	rm -rf "$work/tree" "$work/lists" "$work"/*.deb
	update "$1" && (cd "$work" && apt apt-get -qq download wireguard-go) &&
		dpkg-deb -x "$work"/wireguard-go_*.deb "$work/tree" &&
		"$work/tree/usr/bin/wireguard-go" --version >/dev/null
}

main() {
	local suite

	mkdir -p "$CACHE"
	if [ -n "$(find "$CACHE" -maxdepth 1 -name wireguard-go -type f -mtime -1)" ]; then
		echo "$CACHE/wireguard-go"
		return
	fi
	work=$(mktemp -d "$CACHE/fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	for suite in $SUITES; do
		if from "$suite" >&2; then
			(cd "$work" && echo "$suite" ./*.deb) >"$CACHE/version"
			touch "$work/tree/usr/bin/wireguard-go"
			mv "$work/tree/usr/bin/wireguard-go" "$CACHE/wireguard-go"
			echo "$CACHE/wireguard-go"
			return
		fi
	done
	command -v wireguard-go || die "no wireguard-go to be had"
}

main
