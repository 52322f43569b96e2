# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# What start.sh and run.sh share. Sourced with the script's arguments: [SHARE [OFFSET]].

WGXDP=${WGXDP:-$HERE/../../build/wgxdp}
SHARE=${1:-1}
OFFSET=${2:-0}
PATIENCE=${PATIENCE:-1}
IFNAME=wg0
PINS=/sys/fs/bpf/wgxdp/$IFNAME
SOCKET=/run/wireguard/$IFNAME.sock

# Outside: a namespace of everything, in which nothing of the machine is seen or changed.
if [ -z "${INSIDE:-}" ]; then
	command -v strace >/dev/null || {
		echo "${0##*/}: no strace; run 'make deps-test'" >&2
		exit 125
	}
	export INSIDE=1
	exec unshare --net --mount --pid --fork --kill-child --mount-proc \
		setpriv --pdeathsig KILL "$0" "$@"
fi

mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
mount -t bpf -o mode=700 bpf /sys/fs/bpf
ip link set lo up
WORK=/run/work
mkdir $WORK
umask 077
wg genkey >$WORK/key

trials=0
declare -A count=([refused]=0 [tolerated]=0 [bad]=0)

# error_of SYSCALL: one that it may have.
error_of() {
	case $1 in
	openat | socket | epoll_create1 | eventfd2 | signalfd4 | inotify_init1 | accept4 | \
		io_uring_setup | dup3 | clone3) echo EMFILE ;;
	sendto | sendmsg | recvmsg | recvfrom | bind | setsockopt) echo ENOBUFS ;;
	read | write | pread64 | unlinkat | mkdirat | fchmod | fstatfs | newfstatat) echo EIO ;;
	*) echo ENOMEM ;;
	esac
}

# until_or SECONDS COMMAND...: waits until it succeeds. Fails after seconds, or when what was begun
# has ended.
until_or() {
	local end=$((SECONDS + $1 * PATIENCE))

	shift
	until "$@"; do
		if [ $SECONDS -gt $end ] || ended; then
			"$@"
			return
		fi
		sleep 0.02
	done
}

# begun: the process that was begun last; the script that reads this file sets it.
# shellcheck disable=SC2154
ended() { ! kill -0 "$begun" 2>/dev/null; }

answers() {
	[ -S $SOCKET ] && wg show $IFNAME >/dev/null 2>&1
}

what_is_left() {
	ip link show $IFNAME >/dev/null 2>&1 && echo "interface $IFNAME"
	ls -d $PINS $SOCKET 2>/dev/null
}

clean_up() {
	ip link del $IFNAME 2>/dev/null
	rm -rf $PINS $SOCKET
}

# is_my_turn: counts a trial that there may be; false if it is not in our share.
is_my_turn() { ((++trials % SHARE == OFFSET % SHARE)); }

# Fails if a trial went wrong.
sum_up() {
	echo "calls $trials, tried $((count[refused] + count[tolerated] + count[bad])): refused ${count[refused]}, tolerated ${count[tolerated]}, bad ${count[bad]}"
	[ "${count[bad]}" = 0 ]
}
