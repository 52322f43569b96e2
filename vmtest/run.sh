#!/bin/bash
# SPDX-License-Identifier: MIT
#
# vmtest/run.sh KERNEL [COMMAND...]: boots a kernel in QEMU and runs the command
# there, in this directory's parent, or an interactive shell.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
repo=$(dirname "$here")
kernel_dir=$("$here/fetch.sh" "$1")
name=$1
shift
run=$repo/build/vmtest/$name
rm -rf "$run"; mkdir -p "$run"
"$here/initramfs.sh" "$kernel_dir" "$run/initramfs"
echo "$kernel_dir/lib/modules/$(cat "$kernel_dir/release")" >"$run/modules"
if [ $# = 0 ]; then set -- bash; fi
printf '%q ' "$@" >"$run/command"
accel="-accel tcg,thread=multi -cpu ${VM_CPU:-max}"
qemu=${QEMU:-qemu-system-x86_64}
exec $qemu -machine q35 $accel -smp 2 -m 4096 -no-reboot -nodefaults -display none \
	-kernel "$kernel_dir/vmlinuz" -initrd "$run/initramfs" \
	-append "console=ttyS0 quiet panic=-1 VMTEST=$here" \
	-serial "file:$run/console" \
	-device virtio-serial-pci -chardev stdio,id=io,signal=off -device virtconsole,chardev=io \
	-device virtio-rng-pci \
	-fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
	-device virtio-9p-pci,fsdev=root,mount_tag=root \
	-fsdev local,id=results,path="$run",security_model=none,multidevs=remap \
	-device virtio-9p-pci,fsdev=results,mount_tag=results
