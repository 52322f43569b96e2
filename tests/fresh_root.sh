#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/fresh_root.sh COMMAND [ARGUMENT...]: runs a command in a fresh Debian 12 that has a clone
# of this project, make, and nothing else, to find packages that are missing in a list.
#
#   tests/fresh_root.sh make check
#   tests/fresh_root.sh env PATIENCE=2 make check
#   tests/fresh_root.sh bash                        # to look around
#
# The clone has only what is committed. The exit code is the command's, or 125 if the root could
# not be made. At the end the clone's test logs are copied to build/fresh/, and the root is
# deleted. Needs root, what `make deps-fresh` installs, 2 GB below build/, and a Debian mirror.
#
# Theory of operation: a copy of this script (inside) is process 1 of a new PID namespace, in a new
# mount namespace. It makes the root with debootstrap, mounts what a machine has, and changes to the
# root with pivot_root. chroot would not do: nsenter(1) gives a process the root of the mount
# namespace. Processes and mounts end with process 1; this script then removes the directory. The
# network namespace remains the caller's, because apt-get needs it; tests make namespaces for all
# they do.

set -eu
SUITE=bookworm
CLONE=/root/wgxdp
BROKEN=125

here=$(cd "$(dirname "$0")" && pwd)
repo=$(dirname "$here")
# shellcheck source=tests/suite.bash
source "$here/suite.bash"

die() {
	echo "fresh_root.sh: $*" >&2
	exit $BROKEN
}

# ---- outside

clean_up() {
	local code=$?

	trap - EXIT INT TERM HUP
	if [ -n "$child" ]; then
		kill -KILL "$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	fi
	rm -rf "$repo/build/fresh"
	if [ -d "$work/root$CLONE/build/test-logs" ]; then
		cp -r "$work/root$CLONE/build/test-logs" "$repo/build/fresh" || true
	fi
	rm -rf --one-file-system "$work"
	exit $code
}

find_mirror() {
	local uri

	uri=$(mirror)
	if [ -z "$uri" ]; then
		apt-get update -q >&2
		uri=$(mirror)
	fi
	echo "$uri"
}

# unshare(1) blocks SIGTERM while it waits, so clean_up kills it, and it takes process 1 along.
outside() {
	local tool code

	[ $# -gt 0 ] || die "usage: tests/fresh_root.sh COMMAND [ARGUMENT...]"
	[ "$(id -u)" = 0 ] || die "needs root"
	for tool in debootstrap git "$KEYRING"; do
		[ -e "$tool" ] || command -v "$tool" >/dev/null || die "no $tool; run 'make deps-fresh'"
	done
	umask 022
	mkdir -p "$repo/build"
	work=$(mktemp -d "$repo/build/fresh-root.XXXXXX")
	child=
	trap clean_up EXIT
	trap 'exit 130' INT TERM HUP
	MIRROR=$(find_mirror)
	[ -n "$MIRROR" ] || die "found no Debian mirror"
	export WORK=$work MIRROR
	setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc \
		"$here/fresh_root.sh" --inside "$@" <&0 &
	child=$!
	wait "$child" && code=0 || code=$?
	child=
	exit $code
}

# ---- inside

# quietly COMMAND...: runs it and prints its output only if it fails.
quietly() {
	if ! "$@" >"$WORK/log" 2>&1; then
		tail -n 30 "$WORK/log" >&2
		die "failed: $*"
	fi
}

# make_root DIRECTORY: installs a minimal Debian there, with this machine's apt settings for
# proxies and dates. No package has /etc/hosts, which every installed Debian has.
make_root() {
	local include=make

	[[ $MIRROR != https:* ]] || include+=,ca-certificates
	mkdir "$1"
	quietly debootstrap --variant=minbase --keyring="$KEYRING" --include=$include \
		"$SUITE" "$1" "$MIRROR"
	apt-config dump | grep -E '^Acquire::(https?::|Check-)' >"$1/etc/apt/apt.conf.d/00host" || true
	printf '127.0.0.1\tlocalhost\n::1\tlocalhost\n' >"$1/etc/hosts"
}

# clone_to DIRECTORY: clones this project, even if another user owns the checkout.
clone_to() {
	printf '[safe]\n\tdirectory = *\n' >"$WORK/gitconfig"
	GIT_CONFIG_GLOBAL=$WORK/gitconfig quietly git clone --no-hardlinks "$repo" "$1"
}

# furnish DIRECTORY: adds the mounts and devices that a machine has.
furnish() {
	mount --bind "$1" "$1"
	mount -t proc proc "$1/proc"
	mount -t sysfs sysfs "$1/sys"
	mount -t bpf -o mode=700 bpf "$1/sys/fs/bpf"
	mount -t tmpfs -o mode=755 tmpfs "$1/run"
	mount -t tmpfs tmpfs "$1/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=666,gid=5,mode=620 devpts "$1/dev/pts"
	mkdir -p "$1/dev/net"
	mknod -m 666 "$1/dev/net/tun" c 10 200
}

# enter DIRECTORY: makes it this process's root.
enter() {
	cd "$1"
	pivot_root . .
	umount -l .
	cd /
}

# shellcheck disable=SC2154 # they are the environment's
inside() {
	local root=$WORK/root name proxies=()

	make_root "$root"
	clone_to "$root$CLONE"
	furnish "$root"
	enter "$root"
	cd "$CLONE"
	for name in http_proxy https_proxy no_proxy; do
		[ -z "${!name:-}" ] || proxies+=("$name=${!name}")
	done
	env -i HOME=/root TERM="${TERM:-dumb}" "${proxies[@]}" \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

if [ "${1:-}" = --inside ]; then
	shift
	inside "$@"
else
	outside "$@"
fi
