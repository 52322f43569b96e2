# SPDX-License-Identifier: MIT
# System calls that fail: tests/faults.

load lib

@test "each system call of the start fails once: refused in one line, or it works" {
	needs_root
	needs_wgxdp
	"$REPO/tests/faults/start.sh" "${LONG:-12}" >"$TMP/table" 2>&1 || {
		cat "$TMP/table"
		return 1
	}
	grep -q "bad 0$" "$TMP/table"
}

# injected WHAT ARGUMENTS...: runs wgxdp with that call failing, alone in namespaces of its own.
injected() {
	local what=$1

	shift
	run unshare --net --mount --pid --fork --kill-child --mount-proc bash -c '
		mount -t tmpfs tmpfs /run
		strace -qq -f -o /dev/null -e trace="${1%%:*}" -e inject="$1" "$0" "${@:2}" wg0' \
		"$WGXDP" "$what" "$@"
}

# pids.max of a container, or TasksMax of a unit: liburcu would abort at the first peer.
@test "too few threads are told before it is ready" {
	needs_root
	needs_wgxdp
	injected clone3:error=EAGAIN:when=2+ -f
	[ "$status" = 1 ]
	[[ "$output" == *"cannot start threads: Resource temporarily unavailable (TasksMax="* ]]
	[ "${#lines[@]}" = 1 ]
}

@test "a start in the background that cannot wait for events says so" {
	needs_root
	needs_wgxdp
	injected epoll_ctl:error=ENOSPC:when=8
	[ "$status" = 1 ]
	[[ "$output" == *"cannot wait for events: No space left on device"* ]]
	[ "${#lines[@]}" = 1 ]
}
