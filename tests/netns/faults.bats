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

# ---- what others, or the kernel, do to a daemon that runs

# links_of HOST TYPE: the IDs of its daemon's BPF links.
links_of() {
	# shellcheck disable=SC2016 # expanded by that shell
	on "$1" sh -c 'cat /proc/$0/fdinfo/*' "$(daemon_pid "$1")" 2>/dev/null |
		awk -v type="$2" '$1 == "link_type:" { is = $2 } $1 == "link_id:" && is == type { print $2 }'
}

said() { grep -q "$1" "$TMP/A-wg0.log"; }

lacks_xdp() { ! has_xdp "$@"; }

# detach_xdp: as an administrator may, with whom no netlink event comes.
detach_xdp() { on A bpftool link detach id "$(links_of A xdp)"; }

@test "an XDP link that somebody detached is told, and attached again within two seconds" {
	needs_root
	needs_wgxdp
	tunnel wgxdp wgxdp
	on_path A af_xdp
	detach_xdp
	lacks_xdp A toB
	wait_until 2 has_xdp A toB
	on_path A af_xdp
	[ "$(grep -c "toB: somebody detached the XDP program" "$TMP/A-wg0.log")" = 1 ]
	ping_all A "$(inner4 B)" 10
	# Who does it again has his way for half a minute.
	detach_xdp
	wait_until 2 status_is A '.nics == [] and .peers[0].path == "udp"'
	lacks_xdp A toB
	ping_all A "$(inner4 B)" 10
}

@test "tcx links that somebody detached are put back within two seconds" {
	local id

	needs_root
	needs_wgxdp
	tunnel wgxdp wgxdp
	for id in $(links_of A tcx); do
		on A bpftool link detach id "$id"
	done
	[ -n "$id" ] || skip "the kernel has no tcx"
	refute pings A "$(inner4 B)"
	wait_until 2 said "put back"
	ping_all A "$(inner4 B)" 10
}
