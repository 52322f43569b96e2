#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/faults/run.sh [SHARE [OFFSET]]: the system calls of a wgxdp that runs fail for a second,
# one kind and errno at a time. Needs root and strace. SHARE: only every SHARE-th trial, from
# number OFFSET on, for a quick look. CALLS="bpf poll": only these. FAULT: seconds.
#
# Theory of operation: two daemons, of which the one with wg0 is tried; the other is in a network
# namespace of its own. What wg0's daemon calls in a second without faults is counted first. Then
# each of these calls is tried: strace attaches and makes all of them fail, or every third, while a
# peer is pinged, asked for and set, addresses and links come and go, and somebody detaches the XDP
# program. After it the daemon must live, let pings through and use AF_XDP within two seconds,
# answer, be idle, and end well.
#
# Prints a line for each trial that went wrong, and a table. The exit code is 1 if any did.

set -u
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/faults/common.bash
source "$HERE/common.bash" "$@"
# Calls that cannot fail; close(), which in truth closes whatever it returns; and those after whose
# failure a library ends the process, or leaves rings mapped: glibc (futex), libsodium (getrandom),
# libxdp (getsockopt).
NEVER=" exit exit_group futex close getrandom getsockopt getpid gettid sched_yield rt_sigreturn rt_sigprocmask \
restart_syscall clock_nanosleep clock_gettime set_robust_list rseq munmap madvise brk mprotect "
FAULT=${FAULT:-1.2} # seconds
# A loop that nothing slows down fails far more often, even under strace.
FAILURES_MAX=3000
# Of a second, in ticks of 10 ms.
IDLE_TICKS=$((20 * PATIENCE))

errors_of() {
	case $1 in
	epoll_wait) echo EINTR ENOMEM ;;
	poll) echo EINTR ENOMEM ;;
	accept4) echo EMFILE ECONNABORTED ;;
	bpf) echo ENOMEM EAGAIN ;;
	clone3) echo EAGAIN ;;
	io_uring_enter) echo EAGAIN EBUSY ;;
	sendto | sendmsg | sendmmsg) echo ENOBUFS EPERM ;;
	recvmsg | recvfrom | recvmmsg) echo ENOBUFS ENOMEM ;;
	*) error_of "$1" ;;
	esac
}

# in_b COMMAND...: where the peer is.
in_b() { nsenter --net=/run/netns/B -- "$@"; }

make_network() {
	ip netns add B
	ip link add toB type veth peer name toA netns B
	ip address add 192.0.2.1/24 dev toB
	in_b ip address add 192.0.2.2/24 dev toA
	ip link set toB up
	in_b ip link set lo up
	in_b ip link set toA up
	ip link add spare type veth peer name spare2
}

begin_peer() {
	wg genkey >$WORK/key2
	in_b "$WGXDP" --nic none wg1 || exit 125
	in_b wg set wg1 private-key $WORK/key2 listen-port 4002 peer "$(wg pubkey <$WORK/key)" \
		allowed-ips 10.0.0.1/32
	in_b ip address add 10.0.0.2/24 dev wg1
	in_b ip link set wg1 up
}

pings() { ping -q -n -c 1 -W 0.5 10.0.0.2 >/dev/null 2>&1; }

status_is() { "$WGXDP" status $IFNAME --json 2>/dev/null | jq -e "$1" >/dev/null; }

is_whole() {
	status_is '.peers[0].path == "af_xdp" and .tc_programs and .late_changes == 0 and .listening'
}

begin() {
	"$WGXDP" -f $IFNAME >$WORK/out 2>&1 </dev/null &
	begun=$!
	until_or 10 answers &&
		wg set $IFNAME private-key $WORK/key listen-port 4001 \
			peer "$(wg pubkey <$WORK/key2)" endpoint 192.0.2.2:4002 allowed-ips 10.0.0.2/32 &&
		ip address add 10.0.0.1/24 dev $IFNAME && ip link set $IFNAME up &&
		until_or 10 pings && until_or 10 is_whole
}

xdp_link() {
	cat /proc/$begun/fdinfo/* 2>/dev/null |
		awk '$1 == "link_type:" { is = $2 } $1 == "link_id:" && is == "xdp" { print $2 }'
}

# disturb: what happens while calls fail. Its own outcome does not matter.
disturb() {
	local i

	ping -q -n -i 0.05 -w 1 10.0.0.2 &
	for ((i = 0; i < 3; i++)); do
		timeout 5 wg set $IFNAME peer "$(wg genkey | wg pubkey)" \
			allowed-ips 10.9.0.$i/32 endpoint 192.0.2.$((i + 20)):9
		timeout 5 wg show $IFNAME
		ip link set spare up
		ip address add 192.0.2.$((i + 100))/24 dev toB
		ip link set spare down
		ip address del 192.0.2.$((i + 100))/24 dev toB
	done
	timeout 5 wg set $IFNAME listen-port 4003
	timeout 5 wg set $IFNAME listen-port 4001
} >/dev/null 2>&1

# strace_with ARGUMENTS...: for about a second, while things happen.
strace_with() {
	local tracer busy

	bpftool link detach id "$(xdp_link)" 2>/dev/null
	strace -f -p $begun -o $WORK/trace "$@" 2>$WORK/strace &
	tracer=$!
	until_or 5 grep -q attached $WORK/strace
	disturb &
	busy=$!
	sleep "$FAULT"
	kill -TERM $tracer
	wait $tracer
	fault_ended=${EPOCHREALTIME/[.,]/}
	wait $busy
}

# within SECONDS COMMAND...: of the fault's end, or of what went on then.
within() {
	local end=$((fault_ended + $1 * PATIENCE * 1000000))

	shift
	until "$@"; do
		((${EPOCHREALTIME/[.,]/} < end)) || return 1
		sleep 0.05
	done
}

ticks() { awk '{ print $14 + $15 }' /proc/$begun/stat; }

is_idle() {
	local before

	before=$(ticks)
	sleep 1
	(($(ticks) - before <= IDLE_TICKS))
}

ends_well() {
	kill -TERM $begun
	until_or 10 ended
	if ! ended; then
		kill -KILL $begun
		return 1
	fi
	wait $begun
}

wrong() {
	echo "BAD $call $error $when: $*"
	sed 's/^/    /' $WORK/out | tail -n 8
	verdict=bad
}

look_after() {
	local failures left

	if ended; then
		wait $begun
		wrong "ended with $?"
		return
	fi
	# The port may have been left at the other one.
	wg set $IFNAME listen-port 4001 peer "$(wg pubkey <$WORK/key2)" endpoint 192.0.2.2:4002
	within 2 pings || wrong "no pings after two seconds"
	within 2 is_whole || wrong "not whole after two seconds: $("$WGXDP" status $IFNAME | head -n 9)"
	failures=$(grep -c INJECTED $WORK/trace)
	((failures <= FAILURES_MAX)) || wrong "$failures failures in a second"
	is_idle || wrong "busy"
	(($(wc -l <$WORK/out) <= 20)) || wrong "$(wc -l <$WORK/out) lines"
	ends_well || wrong "no clean end"
	left=$(what_is_left)
	[ -z "$left" ] || wrong "left: $left"
}

# try CALL ERROR WHEN: sets `verdict`. WHEN is strace's: which of the calls.
try() {
	call=$1 error=$2 when=$3 verdict=tolerated
	begin || wrong "cannot begin"
	strace_with -e trace="$call" -e inject="$call:error=$error:when=$when"
	look_after
	clean_up
}

# The names of the calls in a second without faults.
list_calls() {
	begin || exit 125
	strace_with
	ends_well || exit 125
	clean_up
	awk '$2 ~ /^[a-z_0-9]+\(/ { sub(/\(.*/, "", $2); print $2 }' $WORK/trace | sort -u
}

make_network
begin_peer
for name in ${CALLS:-$(list_calls)}; do
	[[ $NEVER != *" $name "* ]] || continue
	for error in $(errors_of "$name"); do
		for when in 1+ 2+3; do
			is_my_turn || continue
			try "$name" "$error" $when
			((++count[$verdict]))
		done
	done
done
sum_up
