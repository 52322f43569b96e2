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
	ln -sfn /proc/self/fd/0 /dev/stdin
	ln -sfn /proc/self/fd/1 /dev/stdout
	ln -sfn /proc/self/fd/2 /dev/stderr
	mount -t 9p -o rw,trans=virtio,version=9p2000.L,msize=512000 results "$results"
}

# The kernel's modules are in the cache, which is on the root file system, too.
modules() {
	mkdir -p /lib/modules
	ln -sfn "$(cat "$results/modules")" "/lib/modules/$(uname -r)"
	# What udev does at a start.
	mkdir -p /dev/net
	mknod -m 666 /dev/net/tun c 10 200
	modprobe -qa virtio_net igb
}

# Each file opened by 9p costs a few milliseconds. Programs that tests start over and over
# move to memory: a new time stamp has overlayfs copy the file up.
warm_up() {
	local program files

	files=$(ldd /bin/{bash,cat,grep,ip,jq,nsenter,ping,sed,sleep,ss,unshare} /usr/bin/{awk,wg} \
		/usr/sbin/bpftool 2>/dev/null | grep -o '/[^ :]*' | sort -u)
	# shellcheck disable=SC2086 # a list
	for program in $files /etc/ld.so.cache; do
		touch -c -r "$program" "$program"
	done
}

# The kernel's own note of what it warned of, whatever became of its log: bits for a bad
# page (5), a death (7), a warning (9), a lockup (14).
tainted() {
	local taint

	taint=$(cat /proc/sys/kernel/tainted)
	if ((taint & (1 << 5 | 1 << 7 | 1 << 9 | 1 << 14))); then
		echo "vmtest: WARNING: the kernel is tainted ($taint)" >>"$results/dmesg"
	fi
}

mounts
modules
export HOME=/root TERM=linux PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
hostname vmtest
ip link set lo up
warm_up
ulimit -c 0
echo "vmtest: $(uname -r) is there after $(cut -d ' ' -f 1 /proc/uptime) s" >/dev/hvc0

cd "$here/.." || exit
mkdir -p build/test-logs "$results/test-logs"
mount --bind "$results/test-logs" build/test-logs || exit
setsid --ctty --wait bash "$results/command" </dev/hvc0 >/dev/hvc0 2>&1
echo $? >"$results/exit"
# A device that is not released is told of after ten seconds; a task that hangs, by the
# second look at it.
echo 4 >/proc/sys/kernel/hung_task_timeout_secs
sleep 12
dmesg >"$results/dmesg"
tainted
sync
# Process 1 must not end, and from here on no program can be loaded.
mkfifo /run/never
echo o >/proc/sysrq-trigger
read -r _ <>/run/never
