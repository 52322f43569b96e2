#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The guest's process 1 after the initramfs: finishes the start of the system, runs the command on
# the console, passes its exit code to the host and powers off.

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

# modules: links the kernel's modules to /lib/modules. They are in the host's cache directory, which
# the guest sees because its root file system is the host's.
modules() {
	mkdir -p /lib/modules
	ln -sfn "$(cat "$results/modules")" "/lib/modules/$(uname -r)"
	# Otherwise udev does this.
	mkdir -p /dev/net
	mknod -m 666 /dev/net/tun c 10 200
	modprobe -qa virtio_net igb
}

# warm_up: copies programs that tests start often to memory, because each file opened by 9p takes a
# few milliseconds. A new time stamp makes overlayfs copy the file up.
warm_up() {
	local program files

	files=$(ldd /bin/{bash,cat,grep,ip,jq,nsenter,ping,sed,sleep,ss,unshare} /usr/bin/{awk,wg} \
		/usr/sbin/bpftool 2>/dev/null | grep -o '/[^ :]*' | sort -u)
	# shellcheck disable=SC2086 # a list
	for program in $files /etc/ld.so.cache; do
		touch -c -r "$program" "$program"
	done
}

# tainted: adds a line to the log if the kernel has set a taint bit for a bad page (5), an oops (7),
# a warning (9) or a lockup (14), because the log may have lost its message.
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
# The kernel reports a device that is not released after ten seconds, and a task that hangs at its
# second check.
echo 4 >/proc/sys/kernel/hung_task_timeout_secs
sleep 12
dmesg >"$results/dmesg"
tainted
sync
# Process 1 must not end, and no program can be loaded after the power-off has begun.
mkfifo /run/never
echo o >/proc/sysrq-trigger
read -r _ <>/run/never
