#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/faults/start.sh [SHARE [OFFSET]]: each system call of wgxdp's start fails once. Needs root
# and strace. SHARE: only every SHARE-th trial, from number OFFSET on, for a quick look.
#
# Theory of operation: the start is counted first, then tried once per call that it makes, each
# time with one call that strace makes fail. In every trial wgxdp must either end with an exit
# code that is not 0, one line that says why, and nothing left behind; or be ready, and then
# work and end like any other. The loader's calls, before main(), are not tried.
#
# Prints a line for each trial that went wrong, and a table. The exit code is 1 if any did.

set -u
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/faults/common.bash
source "$HERE/common.bash" "$@"
# Calls that cannot fail; close(), which in truth closes whatever it returns; and those after whose
# failure a library ends the process: glibc (futex, brk), libsodium (getrandom).
NEVER="execve exit exit_group arch_prctl set_tid_address set_robust_list rseq rt_sigreturn
	rt_sigaction rt_sigprocmask sched_yield restart_syscall clock_nanosleep gettid getpid geteuid
	getuid uname close futex brk getrandom"

begin() { # STRACE_ARGUMENTS...
	strace -f "$@" "$WGXDP" -f $IFNAME >$WORK/out 2>&1 </dev/null &
	begun=$!
}

# The exit code of wgxdp, which strace hands on. One that does not end is 255.
end_code() {
	until_or 10 ended
	if ! ended; then
		kill -KILL $begun
		pkill -KILL -P $begun
		return 255
	fi
	wait $begun
}

works() {
	wg set $IFNAME private-key $WORK/key listen-port 4000 &&
		ip link set $IFNAME up && [ "$(wg show $IFNAME listen-port)" = 4000 ] &&
		until_or 3 listens
}

listens() { ss -Hlun sport = :4000 | grep -q .; }

wrong() {
	echo "BAD $call $number $error: $*"
	sed 's/^/    /' $WORK/out | head -n 8
	verdict=bad
}

# try CALL NUMBER: sets `verdict`.
try() {
	local code lines left=

	call=$1 number=$2 error=$(error_of "$1")
	begin -o /dev/null -e trace="$1" -e inject="$1:error=$error:when=$2"
	verdict=refused
	until_or 10 answers
	if ! ended; then
		verdict=tolerated
		works || wrong "ready, but does not work"
		kill -TERM "$(pgrep -P $begun)" 2>/dev/null
	fi
	end_code
	code=$?
	# What cannot be removed, or looked at before, stays; the next start takes it over.
	[[ $call = unlinkat || $call = newfstatat && $verdict = tolerated ]] || left=$(what_is_left)
	lines=$(wc -l <$WORK/out)
	if [ $code = 134 ] && [ "$call" = clone3 ] && grep -q urcu $WORK/out; then
		verdict=refused # by liburcu, whose threads were there a moment before
	elif [ $code -ge 126 ] && [ $code != 127 ]; then
		wrong "exit code $code"
	elif [ $verdict = refused ] && [ $code = 0 ]; then
		wrong "exit code 0"
	elif [ $verdict = refused ] && [ "$lines" != 1 ]; then
		wrong "$lines lines"
	elif [ -n "$left" ]; then
		wrong "left: $left"
	fi
	clean_up
}

# numbers TRACE: the calls in it by name, with their greatest number in one thread.
numbers() {
	awk '$2 ~ /^[a-z_0-9]+\(/ { sub(/\(.*/, "", $2); n[$1 " " $2]++ }
		END { for (k in n) { split(k, p, " "); if (n[k] > max[p[2]]) max[p[2]] = n[k] }
			for (c in max) print c, max[c] }' "$1" | sort
}

# NAME FIRST LAST: which calls of a start, and its end, are tried.
count_calls() {
	strace -f -o $WORK/trace "$WGXDP" --version >$WORK/out
	numbers $WORK/trace >$WORK/loader
	begin -o $WORK/trace
	until_or 20 answers
	kill -TERM "$(pgrep -P $begun)"
	end_code || exit 125
	numbers $WORK/trace | join -a 1 -e 0 -o 0,2.2,1.2 - $WORK/loader
}

count_calls >$WORK/calls
while read -r name first last; do
	[[ " ${NEVER//$'\n'/ } " != *[[:space:]]"$name"[[:space:]]* ]] || continue
	for ((i = first + 1; i <= last; i++)); do
		is_my_turn || continue
		try "$name" $i
		((++count[$verdict]))
	done
done <$WORK/calls
sum_up
