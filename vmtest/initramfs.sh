#!/bin/bash
# SPDX-License-Identifier: MIT
#
# vmtest/initramfs.sh KERNEL_DIR OUTPUT: busybox, vmtest/init and the modules that
# reaching the host's root file system takes, in their order.

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
	# Says "insmod FILE [options]" or "builtin NAME"; what the kernel lacks it does without.
	modprobe --dirname "$kernel" --set-version "$release" --show-depends "$module" 2>/dev/null || true
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
	while read -r file; do
		cp "$file" "$tree/modules"
		basename "$file" >>"$tree/modules/order"
	done

(cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$output"
