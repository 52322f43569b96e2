#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/bench/wireguard-go.sh: prints the path of the newest wireguard-go of Debian's suites that
# runs here, a tab, its version and suite. It is downloaded to a cache, and not installed. The cache
# is used for a day, and after that only if no suite can be reached. If the cache is empty, too, it
# is the wireguard-go that is installed.

set -eu
# shellcheck source=tests/suite.bash
source "$(dirname "$0")/../suite.bash"
export LC_ALL=C
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/wgxdp-bench
SUITES="sid testing trixie"

die() {
	echo "wireguard-go.sh: $*" >&2
	exit 1
}

# from SUITE: downloads the suite's package and unpacks it in $work/tree; returns true if the
# program runs.
from() {
	rm -rf "$work/tree" "$work/lists" "$work"/*.deb
	update "$1" && (cd "$work" && apt apt-get -qq download wireguard-go) &&
		dpkg-deb -x "$work"/wireguard-go_*.deb "$work/tree" &&
		"$work/tree/usr/bin/wireguard-go" --version >/dev/null
}

# keep SUITE: moves what was downloaded to the cache. Writes the version first, so that a program
# in the cache always has one.
keep() {
	echo "$(dpkg-deb -f "$work"/*.deb Version), Debian $1" >"$CACHE/version"
	touch "$work/tree/usr/bin/wireguard-go"
	mv "$work/tree/usr/bin/wireguard-go" "$CACHE/wireguard-go"
}

# fetch: fills the cache from the first suite that works. `from` runs in a subshell, because die
# would end the script.
fetch() {
	local suite

	work=$(mktemp -d "$CACHE/fetch.XXXXXX") || return
	trap 'rm -rf "$work"' EXIT
	for suite in $SUITES; do
		if (from "$suite") >&2; then
			keep "$suite"
			return
		fi
	done
	return 1
}

# cached [ARGUMENTS of find...]: prints the program of the cache; fails if there is none.
cached() {
	[ -n "$(find "$CACHE" -maxdepth 1 -name wireguard-go -type f "$@")" ] &&
		printf '%s\t%s\n' "$CACHE/wireguard-go" "$(cat "$CACHE/version")"
}

installed() {
	local path

	path=$(command -v wireguard-go) &&
		printf '%s\t%s\n' "$path" "$(dpkg-query -W -f '${Version}' wireguard-go), as installed"
}

main() {
	mkdir -p "$CACHE"
	cached -mtime -1 || { fetch && cached; } || cached || installed ||
		die "found no wireguard-go"
}

main
