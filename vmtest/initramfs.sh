#!/bin/bash
# SPDX-License-Identifier: MIT
#
# vmtest/initramfs.sh KERNEL_DIR OUTPUT: makes an initramfs of busybox, vmtest/init and the modules
# for the host's root file system, with their order.

set -euo pipefail
kernel=$1
output=$2
here=$(cd "$(dirname "$0")" && pwd)
release=$(cat "$kernel/release")

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,modules,proc,sys,dev,host,rw,new}
cp "$(command -v busybox)" "$tree/bin/busybox"
cp "$here/init" "$tree/init"

for module in virtio_pci virtio_console virtio_rng 9p 9pnet_virtio overlay; do
	# Prints "insmod FILE [options]" or "builtin NAME". Fails if the kernel lacks the module;
	# the guest then does without it.
	modprobe --dirname "$kernel" --set-version "$release" --show-depends "$module" 2>/dev/null || true
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
	while read -r file; do
		cp "$file" "$tree/modules"
		basename "$file" >>"$tree/modules/order"
	done

(cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$output"
