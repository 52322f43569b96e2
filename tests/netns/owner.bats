# SPDX-License-Identifier: MIT
# wg0 belongs to its daemon: nobody else gets a queue of it, though anybody may open /dev/net/tun.

load lib

# 50 starts beside somebody who keeps a CPU busy.
export BATS_TEST_TIMEOUT=$((300 * PATIENCE))

setup() {
	needs_root
	needs_wgxdp
	host_new A
	mknod -m 666 "$TMP/tun" c 10 200
	chmod 755 "$TMP"
	install -m 755 "$BUILD/tests/tools/steal_queue" "$TMP/"
	# bats keeps its directories to itself; the host has a mount namespace of its own.
	on A mkdir -m 755 /run/loot
	on A mount --bind "$TMP" /run/loot
}

# as_nobody COMMAND...: on A, with nothing that a user could not have.
as_nobody() {
	on A setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs \
		--bounding-set=-all --inh-caps=-all "$@"
}

# tun FIELD: what `ip` says of wg0 as a TUN device.
tun() { on A ip -d -j link show wg0 | jq -r ".[0].linkinfo.info_data.$1"; }

# ours_alone QUEUES
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
	# EPERM, and EBADFD of a descriptor without a device.
	grep -qx "attach 1 persist 77 mac 77 header 77" "$TMP/said"
	[ "$(on A cat /sys/class/net/wg0/address)" = "$mac" ]
	ours_alone 1
}

@test "root without CAP_NET_ADMIN attaches none either" {
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
	grep -q "^attached [0-9]* read 0$" "$TMP/said"
}

@test "a queue of somebody else's is noticed when wg0 is looked at, and ends it" {
	start_wg wgxdp A
	mkfifo "$TMP/stdin"
	# With CAP_NET_ADMIN, whom no owner keeps away.
	on A /run/loot/steal_queue /run/loot/tun wg0 once <"$TMP/stdin" >"$TMP/said" 3>&- &
	exec 9>"$TMP/stdin"
	wait_until 5 grep -q "^attach 0 " "$TMP/said"
	on A ip link set wg0 mtu 1400 || true
	wait_wg A
	exec 9>&-
	refute on A ip link show wg0
	grep -q "another process attached to wg0" "$TMP/A-wg0.log"
}
