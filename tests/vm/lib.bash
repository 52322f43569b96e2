# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# For tests in a virtual machine: hosts joined by the machine's NICs, and links that lose packets.

# shellcheck source=tests/netns/lib.bash
source "${BASH_SOURCE[0]%/*}/../netns/lib.bash"

# needs_wireguard: skips the test if the kernel has no WireGuard; fails in a machine of
# vmtest/run.sh, which must have it.
needs_wireguard() {
	if ! unshare --net ip link add wg0 type wireguard; then
		[ -z "${VMTEST_PAIRS:-}" ]
		skip "this kernel has no WireGuard"
	fi
}

# ---- NICs: vmtest/run.sh gives a machine pairs of NICs, each joined outside of the machine

# The fifth byte of their MAC addresses.
declare -gA PAIR=([virtio]=1 [spare]=2 [igb]=3)

nics_of() {
	local dev

	for dev in /sys/class/net/*; do
		if grep -q "^02:00:00:00:0${PAIR[$1]}:0[01]$" "$dev/address"; then
			basename "$dev"
		fi
	done
}

has_pair() { [ "$(nics_of "$1" | wc -l)" = 2 ]; }

# needs_pair PAIR: waits until both NICs are in the root namespace, because they come back from a
# host some time after it has ended. Skips the test on other machines, whose NICs are in use.
needs_pair() {
	case " ${VMTEST_PAIRS:-} " in
	*" $1 "*) wait_until 10 has_pair "$1" ;;
	*) skip "not in a machine of vmtest/run.sh with a pair of such NICs (igb: QEMU 8.0)" ;;
	esac
}

driver_of() { if [ "$1" = igb ]; then echo igb; else echo virtio_net; fi; }

# join_by_nics PAIR A B [MTU]: does what join does, but with two NICs instead of a veth pair.
join_by_nics() {
	local nics

	mapfile -t nics < <(nics_of "$1")
	give_nic "${nics[0]}" "$2" "to$3" "${4:-1500}"
	give_nic "${nics[1]}" "$3" "to$2" "${4:-1500}"
	join_end "$2" "$3"
	join_end "$3" "$2"
	wait_until 10 pings "$2" "$(outer4 "$3")"
}

give_nic() {
	ip link set "$1" down
	ip link set "$1" mtu "$4" netns "${HOST_PID[$2]}" name "$3"
}

# kernel_at_least MAJOR.MINOR: returns true if the kernel is that version or newer.
kernel_at_least() { dpkg --compare-versions "$(uname -r)" ge "$1"; }

# ---- links through a bridge

# bridged A B: makes two hosts, joined by a bridge in M, so that netem can disturb both ways.
bridged() {
	local host

	host_new "$1"
	host_new "$2"
	host_new M
	on M ip link add br0 type bridge mcast_snooping 0
	on M ip link set br0 up
	for host; do
		nsenter --target "${HOST_PID[$host]}" --net ip link add "to$(other "$host" "$@")" \
			type veth peer name "$host" netns "${HOST_PID[M]}"
		on M ip link set "$host" master br0 up
	done
	join_end "$1" "$2"
	join_end "$2" "$1"
}

other() { if [ "$1" = "$2" ]; then echo "$3"; else echo "$2"; fi; }

# netem ARGUMENTS...: sets netem on the way to A and on the way to B.
netem() {
	on M tc qdisc replace dev A root netem "$@"
	on M tc qdisc replace dev B root netem "$@"
}

# netem_drops: prints how many packets netem has dropped on both ways.
netem_drops() { on M tc -s -j qdisc show | jq '[.[] | select(.kind == "netem") | .drops] | add'; }
