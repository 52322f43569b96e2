# SPDX-License-Identifier: MIT
# What the daemon's threads have given up: capabilities, system calls.

load lib

setup() {
	needs_root
	needs_wgxdp
}

# What the control thread keeps (daemon/kernel/capabilities.c): NET_BIND_SERVICE, NET_BROADCAST,
# NET_ADMIN, NET_RAW, IPC_LOCK, SYS_ADMIN, PERFMON, BPF.
NEEDED=$((1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 21 | 1 << 38 | 1 << 39))
IPC_LOCK=$((1 << 14))
NET_BROADCAST=$((1 << 11))
SYS_ADMIN=$((1 << 21))

# threads HOST: a line for each thread of its daemon: name, and of /proc/.../status CapInh, CapPrm,
# CapEff, CapBnd, CapAmb, NoNewPrivs, Seccomp.
threads() {
	# shellcheck disable=SC2016 # awk's
	on "$1" sh -c 'for task in /proc/$0/task/*; do
		awk -v ORS=" " "/^(Name|Cap.*|NoNewPrivs|Seccomp):/ { print \$2 }
			END { printf \"\n\" }" $task/status
	done' "$(daemon_pid "$1")"
}

# bounded CAPABILITIES: those of them that this shell could have.
bounded() { echo $(($1 & 0x$(awk '/^CapBnd:/ { print $2 }' /proc/self/status))); }

# kept_by_packets HOST: none, or the one without which they could not allocate.
kept_by_packets() {
	if on "$1" grep -q "^Max locked memory  *unlimited" "/proc/$(daemon_pid "$1")/limits"; then
		echo 0
	else
		bounded $IPC_LOCK
	fi
}

# check_threads HOST: each thread has what is promised, and no more.
check_threads() {
	local name inh prm eff bnd amb nnp seccomp want seen=" "

	threads "$1" >"$TMP/threads"
	cat "$TMP/threads"
	while read -r name inh prm eff bnd amb nnp seccomp; do
		case $name in
		wgxdp) want=$(bounded $NEEDED) ;;
		worker/* | helper/* | rcu) want=$(kept_by_packets "$1") ;;
		*) return 1 ;;
		esac
		((0x$inh == 0 && 0x$amb == 0 && 0x$prm == want && 0x$eff == want)) || return
		((0x$bnd == $(bounded $NEEDED) && nnp == 1)) || return
		[ -n "${SANITIZE:-}" ] || ((seccomp == 2)) || return
		seen+="${name%/*} "
	done <"$TMP/threads"
	for name in wgxdp worker rcu; do
		[[ $seen == *" $name "* ]]
	done
	[ "$(nproc)" = 1 ] || [[ $seen == *" helper "* ]]
}

@test "each thread has the capabilities that it needs, no_new_privs and a filter" {
	host_new A
	host_new B
	join A B
	start_wg wgxdp A --nic none
	check_threads A
}

# Two queues: the second worker starts with the NIC.
@test "a worker that starts late has no more than the others" {
	host_new A
	host_new B
	nsenter --target "${HOST_PID[A]}" --net ip link add toB numtxqueues 2 numrxqueues 2 type veth \
		peer name toA netns "${HOST_PID[B]}" numtxqueues 2 numrxqueues 2
	join_end A B
	join_end B A
	start_wg wgxdp A --workers 2
	start_wg wgxdp B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	threads A | grep -q "^worker/1 "
	check_threads A
	ping_all A "$(inner4 B)" 20
}

# in_container COMMAND...: in A, as in a Docker container with the capabilities that README names and
# the host's bpffs.
in_container() {
	local caps=chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw

	caps+=,sys_chroot,mknod,audit_write,setfcap,net_admin,bpf,perfmon,ipc_lock
	# shellcheck disable=SC2016 # expanded by that shell
	on A bash -c 'mount -o remount,bind,ro /sys && mount --bind /proc/sys /proc/sys &&
		mount -o remount,bind,ro /proc/sys && exec setpriv --no-new-privs \
			--bounding-set="-all,+${0//,/,+}" --inh-caps="-all,+${0//,/,+}" "$@"' $caps "$@" 3>&-
}

@test "in an unprivileged container: a tunnel works" {
	host_new A
	host_new B
	join A B
	in_container "$WGXDP" --nic toB wg0
	start_wg wireguard-go B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	ping_all A "$(inner4 B)" 20
	eff=$(on A awk '/^CapEff:/ { print $2 }' "/proc/$(status_of A .pid)/status")
	((0x$eff == NEEDED - SYS_ADMIN - NET_BROADCAST))
	on A ip link del wg0
	wait_until 10 refute on A pgrep -x wgxdp
}

# traced FILTER FILE: runs tests of a file with daemons whose system calls are traced.
traced() {
	mkdir "$TMP/traces"
	env -u BATS_TEST_TIMEOUT TRACED="$WGXDP" TRACES="$TMP/traces" PATIENCE=$((PATIENCE * 3)) \
		WGXDP="$REPO/tests/syscalls/wgxdp.sh" bats --filter "$1" "$BATS_TEST_DIRNAME/$2" 3>&-
}

# `make check-syscalls` does so with more tests, and looks for calls that no thread makes, too.
@test "threads make no system calls but those of the list, and a call that is not on it is found" {
	export BATS_TEST_TIMEOUT=$((240 * PATIENCE))
	traced 'wg0 in another network namespace still uses|^SIGTERM ends it' life.bats
	"$REPO/tests/syscalls/compare.py" "$TMP/traces"
	if grep -q 'landlock_create_ruleset(NULL.* = [1-9]' "$TMP"/traces/*; then
		grep -q 'landlock_restrict_self.* = 0' "$TMP"/traces/*
	fi
	sed 's/^\(\tCALL(\)poll, .*$/\1ppoll, CONTROL | PACKETS | RCU, "") \\/' \
		"$REPO/daemon/kernel/syscall_list.h" >"$TMP/list"
	refute "$REPO/tests/syscalls/compare.py" --list "$TMP/list" "$TMP/traces" >"$TMP/out"
	cat "$TMP/out"
	grep -q "^PACKETS calls poll, which the list does not allow$" "$TMP/out"
}

# core_has KEY-FILE CORE: the core contains the key, as bytes or in base64.
core_has() {
	local base64 hex

	base64=$(tr -d '=\n' <"$1")
	hex=$(base64 -d "$1" | od -An -v -tx1 | tr -d ' \n' | sed 's/../\\x&/g')
	LC_ALL=C grep -qaF "$base64" "$2" || LC_ALL=C grep -qaP "$hex" "$2"
}

# dump_core OPTIONS...: writes A's memory to $TMP/core.PID.
dump_core() { on A gcore "$@" -o "$TMP/core" "$(daemon_pid A)" >"$TMP/gcore" 2>&1; }

@test "no key is in a core dump, not even in one that root asks for" {
	tunnel wgxdp wgxdp
	wg genpsk >"$TMP/psk"
	on A wg set wg0 peer "${PUBKEY[B]}" preshared-key "$TMP/psk"
	on B wg set wg0 peer "${PUBKEY[A]}" preshared-key "$TMP/psk"
	wait_until 10 pings A "$(inner4 B)"
	core="$TMP/core.$(daemon_pid A)"
	# All of the memory, to see that the keys can be found.
	dump_core -a
	core_has "$TMP/A.key" "$core"
	core_has "$TMP/psk" "$core"
	rm "$core"
	dump_core
	refute core_has "$TMP/A.key" "$core"
	refute core_has "$TMP/psk" "$core"
}
