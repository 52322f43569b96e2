#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The guest's process 1 once the root file system is there: the rest of a system's
# start, the command on the console, its exit code to the host, power off.

here=$(dirname "$0")
results=/run/vmtest

mounts() {
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mount -t tmpfs -o mode=755 tmpfs /run
	mkdir -p /dev/pts /dev/shm "$results"
	mount -t devpts devpts /dev/pts
	mount -t tmpfs tmpfs /dev/shm
	ln -sfn /proc/self/fd /dev/fd
	mount -t 9p -o rw,trans=virtio,version=9p2000.L,msize=512000 results "$results"
}

# The kernel's modules are in the cache, which is on the root file system, too.
modules() {
	mkdir -p /lib/modules
	ln -sfn "$(cat "$results/modules")" "/lib/modules/$(uname -r)"
	# What udev does at a start: a device file that loads its module when it is opened.
	mkdir -p /dev/net
	mknod -m 666 /dev/net/tun c 10 200
}

mounts
modules
export HOME=/root TERM=linux PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
hostname vmtest
ip link set lo up
ulimit -c 0
cut -d ' ' -f 1 /proc/uptime >"$results/booted"

cd "$here/.." || exit
mkdir -p build/test-logs "$results/test-logs"
mount --bind "$results/test-logs" build/test-logs
setsid --ctty --wait bash "$results/command" </dev/hvc0 >/dev/hvc0 2>&1
echo $? >"$results/exit"
dmesg >"$results/dmesg"
sync
echo o >/proc/sysrq-trigger
sleep infinity
