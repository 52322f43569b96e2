#!/bin/bash
# SPDX-License-Identifier: MIT
#
# vmtest/fetch.sh KERNEL: prints the directory with that kernel's vmlinuz and lib/modules. If it is
# missing, fills it from the Debian packages first; `rm -r` it to get a newer kernel. Nothing is
# installed on this machine.
#
# Theory of operation: the metapackage linux-image-amd64 names the newest kernel of a suite
# (tests/suite.bash). Since 7.1 a kernel is three packages, so vmlinuz and the modules are taken
# from any package that has them.

set -eu
cd "$(dirname "$0")"

# shellcheck source=tests/suite.bash
source ../tests/suite.bash
CACHE=${VMTEST_CACHE:-${XDG_CACHE_HOME:-~/.cache}/wgxdp-vmtest}

die() {
	echo "fetch.sh: $*" >&2
	exit 1
}

# kernel_field KERNEL N: prints the Nth word of its line in the matrix.
kernel_field() { awk -v kernel="$1" -v n="$2" '$1 == "kernel" && $2 == kernel { print $n }' matrix; }
suite_of() { kernel_field "$1" 3; }
least_of() { kernel_field "$1" 4; }
kernels() { awk '$1 == "kernel" { print $2 }' matrix | xargs; }

# kernel_packages NAME: prints the kernel packages that it depends on.
kernel_packages() {
	apt apt-cache depends --important --recurse "$1" |
		grep -E '^linux-(base|binary|image|modules)-[0-9]' | sort -u
}

# unpack KERNEL: makes $work/new of the packages. Decompresses the modules, which Debian compresses
# since 6.6, because busybox in the initramfs loads only plain ones.
unpack() {
	local deb modules release

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
	release=$(cat "$work/new/release")
	case $1 in
	[0-9]*) [[ $release = "$1".* ]] || die "Debian's kernel is $release, not $1: correct vmtest/matrix" ;;
	*) dpkg --compare-versions "$release" ge "$(least_of "$1")" ||
		die "Debian's $1 kernel is $release, older than $(least_of "$1"): correct vmtest/matrix" ;;
	esac
	depmod -b "$work/new" "$release"
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
