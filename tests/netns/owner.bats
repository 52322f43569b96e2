# SPDX-License-Identifier: MIT
# Only the daemon gets queues of wg0, although anybody may open /dev/net/tun.

load lib

# ended_attacked HOST: the daemon must end with code 1, so that systemd starts the unit again.
ended_attacked() {
	local code=0

	wait_wg "$1" || code=$?
	[ $code = 1 ]
}

# For 50 starts while another process keeps a CPU busy.
export BATS_TEST_TIMEOUT=$((300 * PATIENCE))

setup() {
	needs_root
	needs_wgxdp
	host_new A
	mknod -m 666 "$TMP/tun" c 10 200
	chmod 755 "$TMP"
	install -m 755 "$BUILD/tests/tools/steal_queue" "$TMP/"
	# Users cannot enter bats' directories; mounts in the host's namespace do not affect others.
	on A mkdir -m 755 /run/loot
	on A mount --bind "$TMP" /run/loot
}

# as_nobody COMMAND...: runs it on A without any privilege.
as_nobody() {
	on A setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs \
		--bounding-set=-all --inh-caps=-all "$@"
}

# tun FIELD: prints a field of `ip link show` about wg0 as a TUN device.
tun() { on A ip -d -j link show wg0 | jq -r ".[0].linkinfo.info_data.$1"; }

# ours_alone QUEUES: wg0 must have that many queues, and no other.
ours_alone() {
	[ "$(tun numqueues)" = "$1" ]
	[ "$(tun numdisabled)" = 0 ]
	[ "$(tun persist)" = false ]
}

@test "a user attaches no queue, and sets nothing of wg0" {
	start_wg wgxdp A
	ours_alone 1
	mac=$(on A cat /sys/class/net/wg0/address)
	as_nobody /run/loot/steal_queue /run/loot/tun wg0 once </dev/null | tee "$TMP/said"
	# 1 is EPERM; 77 is EBADFD, for a descriptor without a device.
	grep -qx "attach 1 persist 77 mac 77 header 77" "$TMP/said"
	[ "$(on A cat /sys/class/net/wg0/address)" = "$mac" ]
	ours_alone 1
}

@test "root without CAP_NET_ADMIN attaches no queue either" {
	start_wg wgxdp A
	on A setpriv --bounding-set=-net_admin --inh-caps=-net_admin --no-new-privs \
		/run/loot/steal_queue /run/loot/tun wg0 once </dev/null | tee "$TMP/said"
	grep -q "^attach 1 " "$TMP/said"
	ours_alone 1
}

@test "50 starts against a user who attaches all the time" {
	mkfifo "$TMP/stdin"
	as_nobody /run/loot/steal_queue /run/loot/tun wg0 <"$TMP/stdin" >"$TMP/said" 3>&- &
	spinner=$!
	exec 9>"$TMP/stdin"
	wait_until 5 grep -q spinning "$TMP/said"
	for _ in {1..50}; do
		start_wg wgxdp A 9>&-
		ours_alone 1
		on A ip link set wg0 up
		on A ip route add 10.9.9.0/24 dev wg0
		on A bash -c 'echo >/dev/udp/10.9.9.9/9' || true
		stop_wg A
		refute on A ip link show wg0
	done
	exec 9>&-
	wait "$spinner"
	tail -n 1 "$TMP/said"
	grep -q "^attached 0 read 0$" "$TMP/said"
}

# ---- a user who watches for new devices, whatever their names

# slow_daemon: makes the daemon wait before it sets the owner.
slow_daemon() {
	cat >"$TMP/slow" <<-SH
		#!/bin/sh
		exec "$BUILD/tests/tools/slow_owner" "$WGXDP" "\$@"
	SH
	chmod 755 "$TMP/slow"
	WGXDP=$TMP/slow
}

# watcher HOW [MOST]: starts a user's process that attaches to new devices, MOST times at most.
watcher() {
	mkfifo "$TMP/stdin"
	as_nobody /run/loot/steal_queue /run/loot/tun "$@" <"$TMP/stdin" >"$TMP/said" 3>&- &
	watcher=$!
	exec 9>"$TMP/stdin"
	wait_until 5 grep -q watching "$TMP/said"
}

# watched: ends the watcher, and sets `attached` to how often it attached. Daemons must have been
# stopped before, because the shells that wait for them hold the watcher's stdin open.
watched() {
	exec 9>&-
	wait "$watcher"
	tail -n 1 "$TMP/said"
	attached=$(sed -n 's/^attached \([0-9]*\) read 0$/\1/p' "$TMP/said")
}

@test "a user attaches to a new device before it has an owner: wgxdp makes another one" {
	slow_daemon
	watcher watch 3
	start_wg wgxdp A 9>&-
	ours_alone 1
	on A ip link set wg0 up
	on A ip route add 10.9.9.0/24 dev wg0
	on A bash -c 'echo >/dev/udp/10.9.9.9/9' || true
	on A ip link set wg0 mtu 1400
	answering_uapi A wg0
	stop_wg A
	watched
	[ "$attached" = 3 ]
	[ "$(grep -c "another process attached" "$TMP/A-wg0.log")" = 3 ]
	refute grep -q wgxdp <(on A ip -o link)
}

@test "a user attaches to every new device: the start fails, and leaves nothing behind" {
	slow_daemon
	watcher watch
	refute start_wg wgxdp A 9>&-
	refute wait_wg A
	grep "cannot make wg0: other processes attach queues to it" "$TMP/A-wg0.log"
	refute on A ip link show wg0
	watched
	[ "$attached" = 8 ]
	refute grep -q wgxdp <(on A ip -o link)
}

@test "settings that a user made before there was an owner are undone" {
	host_new B
	join A B
	slow_daemon
	watcher spoil
	start_wg wgxdp A 9>&-
	start_wg wgxdp B 9>&-
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	ping_all A "$(inner4 B)" 10
	ours_alone 1
	stop_wg A
	stop_wg B
	watched
	[ "$attached" -ge 1 ]
}

# ---- a process with the capabilities to become the owner

@test "the owner's uid is not enough without its group" {
	start_wg wgxdp A
	on A setpriv --reuid=4294967294 --clear-groups --no-new-privs --bounding-set=-all \
		--inh-caps=-all /run/loot/steal_queue /run/loot/tun wg0 strip | tee "$TMP/said"
	grep -q "^attach 1 " "$TMP/said"
	ours_alone 1
}

# strip COMMAND...: attaches as a process that has CAP_SETUID and CAP_SETGID only could, and removes
# the filter.
strip() {
	"$@" setpriv --reuid=4294967294 --regid=4294967294 --clear-groups --no-new-privs \
		--bounding-set=-all --inh-caps=-all /run/loot/steal_queue /run/loot/tun wg0 strip |
		tee "$TMP/said"
	grep -qx "attach 0 strip \(0\|77\)" "$TMP/said" # EBADFD: it was too late for that
}

@test "another process removes the filter by a queue that it closes at once: wg0 ends" {
	start_wg wgxdp A
	on A ip address add 10.0.0.1/24 dev wg0
	on A ip link set wg0 up
	strip on A
	ended_attacked A
	refute on A ip link show wg0
	grep "another process attached to wg0 (2 queues, 1 of them ours): deleted" "$TMP/A-wg0.log"
	[ "$(grep -c "another process attached" "$TMP/A-wg0.log")" = 1 ]
}


@test "another process's queue is noticed when wgxdp reads the state of wg0, and ends wg0" {
	start_wg wgxdp A
	mkfifo "$TMP/stdin"
	# With CAP_NET_ADMIN, which the owner does not restrict.
	on A /run/loot/steal_queue /run/loot/tun wg0 once <"$TMP/stdin" >"$TMP/said" 3>&- &
	exec 9>"$TMP/stdin"
	wait_until 5 grep -q "^attach 0 " "$TMP/said"
	on A ip link set wg0 mtu 1400 || true
	ended_attacked A
	exec 9>&-
	refute on A ip link show wg0
	grep -q "another process attached to wg0" "$TMP/A-wg0.log"
}
