#!/bin/bash
# SPDX-License-Identifier: MIT
#
# vmtest/fetch.sh KERNEL: prints the directory with that kernel's vmlinuz and
# lib/modules, which it fills first if need be from the Debian package. Nothing is
# installed on this machine; `rm -r` of the directory fetches the kernel anew.
#
# Theory of operation: apt-get works on lists and a configuration of its own in the
# cache, with one suite of the mirror that this machine uses. The metapackage
# linux-image-amd64 names the newest kernel there. Since 7.1 that one is three
# packages: vmlinuz and the modules are taken from whichever have them.

set -eu
cd "$(dirname "$0")"

CACHE=${VMTEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wgxdp-vmtest}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
	echo "fetch.sh: $*" >&2
	exit 1
}

suite_of() { awk -v kernel="$1" '$1 == "kernel" && $2 == kernel { print $3 }' matrix; }
kernels() { awk '$1 == "kernel" { print $2 }' matrix | xargs; }

# shellcheck disable=SC2016 # apt-get's variable
mirror() {
	apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" \
		"Origin: Debian" "Label: Debian" | head -n 1
}

# apt COMMAND...: apt-get or apt-cache upon the lists of the suite alone.
apt() {
	local command=$1

	shift
	"$command" -o Dir::Etc::SourceList="$work/sources" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o Dir::State::Lists="$work/lists" -o Dir::State::Status=/dev/null \
		-o Dir::Cache="$work" -o APT::Architecture=amd64 -o APT::Architectures=amd64 \
		-o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

# kernel_packages NAME: what it depends on that is of a kernel.
kernel_packages() {
	apt apt-cache depends --important --recurse "$1" |
		grep -E '^linux-(base|binary|image|modules)-[0-9]' | sort -u
}

update() {
	local uri

	uri=$(mirror)
	[ -n "$uri" ] || die "found no Debian mirror; run 'apt-get update' once"
	[ -e $KEYRING ] || die "no $KEYRING; install debian-archive-keyring"
	echo "deb [signed-by=$KEYRING] $uri $1 main" >"$work/sources"
	mkdir -p "$work/lists/partial" "$work/archives/partial"
	apt apt-get -qq update
}

# Debian compresses modules since 6.6; busybox in the initramfs loads plain ones,
# and what is read over 9p need not be unpacked at each start.
unpack() {
	local deb modules

	mkdir "$work/tree"
	for deb in "$work"/debs/*.deb; do
		dpkg-deb -x "$deb" "$work/tree"
	done
	mkdir -p "$work/new/lib"
	find "$work/tree" -name 'vmlinuz*' -type f -exec cp {} "$work/new/vmlinuz" \;
	[ -e "$work/new/vmlinuz" ] || die "no vmlinuz in the packages"
	for modules in "$work"/tree/lib/modules "$work"/tree/usr/lib/modules; do
		[ ! -d "$modules" ] || cp -a "$modules" "$work/new/lib"
	done
	find "$work/new/lib/modules" -name '*.ko.xz' -exec xz -d {} +
	ls "$work/new/lib/modules" >"$work/new/release"
	case $1 in
	[0-9]*) grep -q "^$1[.]" "$work/new/release" ||
		die "the kernel there is $(cat "$work/new/release"), not $1: mend vmtest/matrix" ;;
	esac
	depmod -b "$work/new" "$(cat "$work/new/release")"
}

main() {
	local suite packages dir=$CACHE/$1

	suite=$(suite_of "$1")
	[ -n "$suite" ] || die "no kernel $1 in vmtest/matrix; there are: $(kernels)"
	mkdir -p "$CACHE"
	exec 9>"$CACHE/lock"
	flock 9
	if [ ! -e "$dir/release" ]; then
		work=$(mktemp -d "$CACHE/fetch.XXXXXX")
		trap 'rm -rf "$work"' EXIT
		update "$suite"
		mapfile -t packages < <(kernel_packages linux-image-amd64)
		[ ${#packages[@]} -gt 0 ] || die "no kernel package in $suite"
		echo "fetch.sh: ${packages[*]} from $suite" >&2
		mkdir "$work/debs"
		(cd "$work/debs" && apt apt-get -qq download "${packages[@]}")
		unpack "$1"
		rm -rf "$dir"
		mv -T "$work/new" "$dir"
	fi
	echo "$dir"
}

[ $# = 1 ] || die "usage: vmtest/fetch.sh KERNEL"
main "$1"
