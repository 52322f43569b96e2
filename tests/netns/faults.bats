# SPDX-License-Identifier: MIT
# System calls that fail: tests/faults.

load lib

[ -z "${LONG:-}" ] || export BATS_TEST_TIMEOUT=$((3600 * PATIENCE))

@test "each system call of the start fails once: refused in one line, or it works" {
	needs_root
	needs_wgxdp
	"$REPO/tests/faults/start.sh" "${LONG:-12}" >"$TMP/table" 2>&1 || {
		cat "$TMP/table"
		return 1
	}
	grep -q "bad 0$" "$TMP/table"
}

@test "system calls of a daemon that runs fail for a second: it is whole two seconds later" {
	needs_root
	needs_wgxdp
	"$REPO/tests/faults/run.sh" "${LONG:-12}" >"$TMP/table" 2>&1 || {
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

detach_tcx() {
	local id

	for id in $(links_of A tcx); do
		on A bpftool link detach id "$id"
	done
	[ -n "$id" ] || skip "the kernel has no tcx"
}

@test "tcx links that somebody detached are put back within two seconds" {
	needs_root
	needs_wgxdp
	tunnel wgxdp wgxdp
	detach_tcx
	refute pings A "$(inner4 B)"
	wait_until 2 said "put back"
	ping_all A "$(inner4 B)" 10
}

# ---- system calls that fail for a while

# fail_calls HOST CALL ERROR: from now on each call of its daemon does, until they_work.
fail_calls() {
	# shellcheck disable=SC2016 # expanded by that shell
	on_bg "$1" sh -c 'echo $$ >/run/strace.pid
		exec strace -f -o /run/trace -p "$0" -e trace="$1" -e inject="$1:error=$2"' \
		"$(daemon_pid "$1")" "$2" "$3" 2>"$TMP/strace"
	wait_until 5 grep -q attached "$TMP/strace"
}

they_work() { # HOST
	local pid

	pid=$(on "$1" cat /run/strace.pid)
	on "$1" kill -TERM "$pid"
	wait_until 5 refute on "$1" kill -0 "$pid"
}

@test "UDP sockets whose filter is refused work without it; log and status say so, until they have it" {
	needs_root
	needs_wgxdp
	host_new A
	host_new B
	join A B
	start_wg wgxdp A --nic none
	start_wg wgxdp B --nic none
	optmem=$(on A cat /proc/sys/net/core/optmem_max) ||
		skip "the limit belongs to the whole machine before Linux 6.8"
	on A sysctl -qw net.core.optmem_max=64
	wg_setup A B
	wait_until 3 said "the UDP sockets lack the filter against floods: Cannot allocate memory (raise the sysctl net.core.optmem_max"
	status_is A '.listening and .filter_error == "Cannot allocate memory"'
	on A "$WGXDP" status wg0 | grep -q "the UDP sockets lack the filter against floods: Cannot allocate"
	on A wg set wg0 listen-port 51999
	on A wg set wg0 listen-port "$PORT"
	[ "$(grep -c "lack the filter" "$TMP/A-wg0.log")" = 1 ]
	wait_until 10 pings A "$(inner4 B)"
	on A sysctl -qw net.core.optmem_max="$optmem"
	on A ip link set wg0 down
	on A ip link set wg0 up
	wait_until 5 status_is A '.listening and .filter_error == null'
	refute grep -q "lack the filter" <(on A "$WGXDP" status wg0)
	status_is B '.filter_error == null'
}

# many_peers COUNT: lines of `wg addconf` with an allowed IP each.
many_peers() {
	python3 - "$1" <<-'E'
		import base64, sys
		for i in range(int(sys.argv[1])):
		    key = base64.b64encode((i + 1).to_bytes(32, "big")).decode()
		    print(f"[Peer]\nPublicKey = {key}\nAllowedIPs = 10.77.{i // 256}.{i % 256}/32")
	E
}

in_maps() { # HOST MAP COUNT
	[ "$(on "$1" bpftool -j map dump pinned "$PINS/wg0/$2" | jq length)" = "$3" ]
}

# As on a busy machine, where the kernel's pool of map elements is refilled too late.
@test "a set while the kernel has no memory for maps is done whole, and the maps follow" {
	needs_root
	needs_wgxdp
	tunnel wgxdp wgxdp
	many_peers 300 >"$TMP/peers"
	fail_calls A bpf ENOMEM
	on A wg addconf wg0 "$TMP/peers"
	on A wg set wg0 peer "${PUBKEY[B]}" allowed-ips "$(inner4 B)/32,10.77.0.0/32"
	[ "$(on A wg show wg0 peers | wc -l)" = 301 ]
	status_is A '.late_changes >= 300'
	on A "$WGXDP" status wg0 | grep -q "BPF maps lack"
	wait_until 3 said "BPF maps lack [0-9]* changes, trying again: Cannot allocate memory"
	they_work A
	wait_until 2 status_is A '.late_changes == 0'
	said "BPF maps have all changes now"
	[ "$(grep -c "BPF maps" "$TMP/A-wg0.log")" = 2 ]
	in_maps A allowed_ips4 301
	in_maps A allowed_ips6 0
	in_maps A peer_stats 301
	ping_all A "$(inner4 B)" 10
}

@test "a set of more peers than there can be changes nothing" {
	needs_root
	needs_wgxdp
	host_new A
	start_wg wgxdp A
	python3 - <<-'E' >"$TMP/request"
		print("set=1")
		for i in range(131073):
		    print(f"public_key={i + 1:064x}")
		print()
	E
	on A socat -t 60 - "UNIX-CONNECT:$SOCKETS/wg0.sock" <"$TMP/request" >"$TMP/answer"
	grep -q "^errno=-\?28$" "$TMP/answer"
	[ -z "$(on A wg show wg0 peers)" ]
	said "configuration refused, nothing changed: more than 131072 peers"
}

# tc_put_back REMOVE CALL ERROR: the TC programs go while that call fails, so they cannot be put
# back at once. Status tells the truth, and they are back within two seconds of the fault's end.
tc_put_back() {
	tunnel wgxdp wgxdp
	fail_calls A "$2" "$3"
	"$1"
	wait_until 3 status_is A ".tc_programs == false"
	on A "$WGXDP" status wg0 | grep -q "NO PACKETS PASS"
	wait_until 3 said "cannot put the TC programs back: .*; trying again"
	they_work A
	wait_until 2 status_is A .tc_programs
	wait_until 1 pings A "$(inner4 B)"
	[ "$(grep -c "TC programs" "$TMP/A-wg0.log")" -le 3 ]
}

delete_clsact() { on A tc qdisc del dev wg0 clsact; }

@test "TC programs that cannot be put back at once are when that is over" {
	needs_root
	needs_wgxdp
	without_tcx
	tc_put_back delete_clsact socket EMFILE
}

@test "tcx programs that cannot be put back at once are when that is over" {
	needs_root
	needs_wgxdp
	tc_put_back detach_tcx bpf ENOMEM
}

# way_survives CALL ERROR: the route and the neighbour change while that call fails.
way_survives() {
	fail_calls A "$1" "$2"
	on A ip route replace "$(outer4 B)/32" dev toB mtu $((++mtu))
	on A ip neigh flush dev toB
	sleep 0.5
	they_work A
	wait_until 2 status_is A '.peers[0].path == "af_xdp"'
	wait_until 2 pings A "$(inner4 B)"
}

@test "a netlink error of a moment does not cost AF_XDP" {
	needs_root
	needs_wgxdp
	local mtu=1400

	tunnel wgxdp wgxdp
	on_path A af_xdp
	way_survives sendto ENOBUFS
	way_survives recvmsg ENOBUFS
	way_survives socket EMFILE
}

@test "many peers are set while no thread can be started" {
	needs_root
	needs_wgxdp
	host_new A
	start_wg wgxdp A
	many_peers 9000 >"$TMP/peers"
	fail_calls A clone3 EAGAIN
	on A wg addconf wg0 "$TMP/peers"
	they_work A
	[ "$(on A wg show wg0 peers | wc -l)" = 9000 ]
}

# more_memory HOST KB: its daemon gets so much more than it has, or any amount if it is "unlimited".
more_memory() {
	local pid kb

	pid=$(daemon_pid "$1")
	kb=$(on "$1" awk '$1 == "VmData:" { print $2 }' "/proc/$pid/status")
	on "$1" prlimit --pid "$pid" --data="$([ "$2" = unlimited ] && echo "$2" || echo $(((kb + $2) * 1024))):"
}

# The request takes some megabytes. Memory runs out later and later in it.
@test "a set for which there is not enough memory changes nothing" {
	needs_root
	needs_wgxdp
	local kb refused=0

	host_new A
	start_wg wgxdp A
	many_peers 10 >"$TMP/few"
	on A wg setconf wg0 "$TMP/few"
	on A wg showconf wg0 >"$TMP/before"
	many_peers 5000 >"$TMP/peers"
	for ((kb = 1; kb < 32768; kb += 1 + kb / 4)); do
		more_memory A $kb
		if on A wg setconf wg0 "$TMP/peers" 2>/dev/null; then
			break
		fi
		more_memory A unlimited
		((++refused))
		on A wg showconf wg0 | diff "$TMP/before" -
	done
	[ "$refused" -ge 10 ]
	[ "$(grep -c "configuration refused, nothing changed: Cannot allocate memory" "$TMP/A-wg0.log")" -ge 2 ]
	more_memory A unlimited
	[ "$(on A wg show wg0 peers | wc -l)" = 5000 ]
}
