#!/bin/bash
# SPDX-License-Identifier: MIT
#
# vmtest/run.sh KERNEL [COMMAND...]: boots a kernel of vmtest/matrix in QEMU and runs the command
# there, in the project's directory. COMMAND is a name in the matrix or any command line; without
# it, runs an interactive shell. The exit code is the command's, or 99 if the guest broke down or
# its kernel log has a message that vmtest/splats finds.
#
# Theory of operation: the guest's root file system is the host's, read-only by 9p, under a tmpfs
# that takes all writes. So the project is built once, on the host, and the guest changes nothing.
# A second, writable share is build/vmtest/NAME, which passes the command in, and exit code, kernel
# log and test logs out. QEMU runs in a new network namespace, in which the guest's NICs are joined
# two by two: virtio-net set up for zero-copy AF_XDP, and igb if QEMU has it (8.0). No packet
# reaches the host's network.
#
# Environment: VMTEST_NAME of the results (KERNEL-COMMAND), QEMU (qemu-system-x86_64),
# VMTEST_ACCEL (kvm if a guest boots with it, else tcg), VMTEST_CPUS (2), VMTEST_MEMORY
# (4096 MB), VMTEST_TIMEOUT (6h), VMTEST_CACHE. PATIENCE is 1 with KVM, else 5.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
repo=$(dirname "$here")
QEMU=${QEMU:-qemu-system-x86_64}
CPUS=${VMTEST_CPUS:-2}
BROKEN=99
# Zero-copy needs queue_reset to disable-legacy; XDP needs the receive offloads off. The tap spreads
# flows over the queues, because rss=on of QEMU 7.2 loses packets.
VIRTIO_NET=virtio-net-pci,queue_reset=on,iommu_platform=on,disable-legacy=on,mq=on,rx_queue_size=1024
VIRTIO_NET+=,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off

die() {
	echo "vmtest: $*" >&2
	exit $BROKEN
}

# ---- the accelerator

# kvm_boots KERNEL_DIR: returns true if a guest boots with KVM, because /dev/kvm may exist and fail
# silently. init powers off at once, which takes a second or two.
kvm_boots() {
	[ -w /dev/kvm ] && timeout --kill-after=5 10 "$QEMU" -accel kvm -cpu host -machine q35 -m 512 \
		-nodefaults -display none -no-reboot -kernel "$1/vmlinuz" -initrd "$run/initramfs" \
		-append "console=ttyS0 quiet panic=-1 VMTEST=probe" -serial stdio </dev/null 2>&1 |
		grep -q 'vmtest: init runs'
}

# accelerator KERNEL_DIR: prints kvm or tcg. Keeps the answer until the next boot of this machine.
accelerator() {
	local found

	if [ ! -w /dev/kvm ]; then
		echo tcg
		return
	fi
	found=$(dirname "$1")/accel.$(cat /proc/sys/kernel/random/boot_id)
	if [ ! -e "$found" ]; then
		rm -f "$(dirname "$1")"/accel.*
		if kvm_boots "$1"; then echo kvm; else echo tcg; fi >"$run/accel"
		cp "$run/accel" "$found.new.$$"
		mv "$found.new.$$" "$found"
	fi
	cat "$found"
}

# ---- the NICs

# links NAME QUEUES...: makes a bridge of two taps per NAME, in QEMU's network namespace.
# shellcheck disable=SC2317 # run by another shell
links() {
	local tap mode

	while [ $# -gt 0 ]; do
		ip link add "$1" type bridge mcast_snooping 0
		ip link set "$1" mtu 9000 up
		[ "$2" = 1 ] && mode= || mode=multi_queue
		for tap in "${1}0" "${1}1"; do
			# shellcheck disable=SC2086 # a word or none
			ip tuntap add "$tap" mode tap $mode vnet_hdr
			ip link set "$tap" master "$1" mtu 9000 up
		done
		shift 2
	done
}

# pair NAME NUMBER QUEUES DEVICE [BUSES]: adds two such NICs. The guest knows them by their MAC
# addresses, 02:00:00:00:0NUMBER:0[01].
pair() {
	local i

	pairs+=("$1" "$3")
	for i in 0 1; do
		qemu_args+=(
			-netdev "tap,id=$1$i,ifname=$1$i,queues=$3,script=no,downscript=no,vhost=off"
			-device "$4,netdev=$1$i,mac=02:00:00:00:0$2:0$i${5:+,bus=$5$i}")
	done
}

# nics: adds all NICs. The pair `spare` has twice as many queues as CPUs, because then virtio_net
# adds one queue per CPU for what XDP sends.
nics() {
	pairs=()
	pair virtio 1 "$CPUS" "$VIRTIO_NET,vectors=$((2 * CPUS + 2))"
	pair spare 2 $((2 * CPUS)) "$VIRTIO_NET,vectors=$((4 * CPUS + 2))"
	if "$QEMU" -device igb,help 2>&1 | grep -q '^igb options'; then
		# Each on a separate port, because its virtual functions take more than one slot.
		qemu_args+=(-device "pcie-root-port,id=port0,chassis=1"
			-device "pcie-root-port,id=port1,chassis=2")
		pair igb 3 1 igb port
	fi
}

# ---- the guest

machine() {
	local cpu=host options='' how

	accel=${VMTEST_ACCEL:-$(accelerator "$1")}
	how=$accel
	if [ "$accel" = tcg ]; then
		# With a thread per CPU, a guest's CPU sometimes runs half-patched kernel code (int3
		# of static keys, which tcpdump and tc switch), and the guest crashes.
		how=tcg,thread=single
		cpu=max
		# norandmaps: QEMU 7.2 starts a program three times faster if its code is always at
		# the same address, because it need not translate it again. tsc: other clocks are
		# slow.
		options="norandmaps tsc=reliable"
	fi
	# shellcheck disable=SC2054 # commas of QEMU's
	qemu_args=(-accel "$how" -cpu "$cpu" -machine q35 -smp "$CPUS" -m "${VMTEST_MEMORY:-4096}"
		-nodefaults -display none -no-reboot
		-kernel "$1/vmlinuz" -initrd "$run/initramfs"
		-append "console=ttyS0 loglevel=5 log_buf_len=4M panic=-1 $options VMTEST=$here"
		-serial "file:$run/console"
		-chardev stdio,id=io,signal=off -device virtio-serial-pci -device virtconsole,chardev=io
		-device virtio-rng-pci
		-fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap
		-device virtio-9p-pci,fsdev=root,mount_tag=root
		-fsdev "local,id=results,path=$run,security_model=none,multidevs=remap"
		-device virtio-9p-pci,fsdev=results,mount_tag=results)
}

# named COMMAND: prints its words in the matrix, or nothing.
named() {
	awk -v name="$1" '$1 == "command" && $2 == name {
		sub(/^command +[^ ]+ +/, ""); print }' "$here/matrix"
}

# command_file [COMMAND...]: prints the script that the guest runs. It sets longer timeouts for
# emulation, and the terminal's size, which a serial line does not pass on.
command_file() {
	local patience=1 timeout=600

	if [ "$accel" != kvm ]; then
		patience=5
		timeout=3600
	fi
	printf 'export PATIENCE=%q TEST_TIMEOUT=%q VMTEST_PAIRS=%q VMTEST_ACCEL=%q\n' \
		"${PATIENCE:-$patience}" "${TEST_TIMEOUT:-$timeout}" "${pairs[*]}" "$accel"
	if [ -t 0 ]; then
		stty size | awk '{ print "stty rows " $1 " cols " $2 }'
	fi
	if [ $# = 1 ] && [ -n "$(named "$1")" ]; then
		named "$1"
	else
		printf '%q ' "${@:-bash}"
		echo
	fi
}

# prepare KERNEL [COMMAND...]: fills the guest's share and sets QEMU's arguments.
prepare() {
	local kernel_dir name=${VMTEST_NAME:-$1-$(basename "${2:-shell}")}

	kernel_dir=$("$here/fetch.sh" "$1") || exit $BROKEN
	shift
	case $name in */* | .*) die "VMTEST_NAME must be a plain directory name" ;; esac
	run=$repo/build/vmtest/$name
	mkdir -p "$run"
	exec 9>"$run.lock"
	flock -n 9 || die "$run is in use by another run.sh: set VMTEST_NAME"
	rm -rf "$run"
	mkdir "$run"
	"$here/initramfs.sh" "$kernel_dir" "$run/initramfs" ||
		die "no initramfs; run 'make deps-vm'"
	echo "$kernel_dir/lib/modules/$(cat "$kernel_dir/release")" >"$run/modules"
	: >"$run/console"
	: >"$run/dmesg"
	machine "$kernel_dir"
	nics
	command_file "$@" >"$run/command"
}

# boot: runs QEMU in the background, so that the traps work, with this process's stdin. QEMU ends
# with this process.
boot() {
	guest=
	trap 'kill $guest 2>/dev/null; wait; exit $BROKEN' INT TERM HUP
	setpriv --pdeathsig TERM timeout --foreground --kill-after=10 "${VMTEST_TIMEOUT:-6h}" \
		unshare --net bash -ec "$(declare -f links); links ${pairs[*]}; exec \"\$@\"" - \
		"$QEMU" "${qemu_args[@]}" <&0 2>"$run/qemu.log" 9>&- &
	guest=$!
	wait $guest
}

main() {
	local code=0

	[[ $# -ge 1 && $1 != -* ]] || die "usage: vmtest/run.sh KERNEL [COMMAND...]"
	[ "$(id -u)" = 0 ] || die "needs root, for the guest to read all files and for its NICs"
	command -v "$QEMU" >/dev/null || die "no $QEMU; run 'make deps-vm'"
	prepare "$@"
	boot || code=$?
	verdict $code
}

# verdict CODE: ends the script, given QEMU's exit code. Checks the kernel's log first, because it
# is the best explanation of a guest that hangs.
verdict() {
	if ! "$here/splats" "$run/console" "$run/dmesg" >"$run/splats"; then
		cat "$run/splats" >&2
		die "the kernel's log has messages that must not occur ($run/console)"
	fi
	[ "$1" != 124 ] || die "the guest did not end within ${VMTEST_TIMEOUT:-6h} (VMTEST_TIMEOUT)"
	[ "$1" = 0 ] || die "QEMU ended with code $1: $(tail -n 3 "$run/qemu.log")"
	[ -e "$run/exit" ] || die "the guest ended before its command ($run/console)"
	[ -s "$run/dmesg" ] || die "the guest wrote no kernel log ($run/console)"
	exit "$(cat "$run/exit")"
}

main "$@"
