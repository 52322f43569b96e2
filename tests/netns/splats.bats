# SPDX-License-Identifier: MIT
# The scan of a virtual machine's kernel log (vmtest/splats).

load lib

setup() { SPLATS=$REPO/vmtest/splats; }

clean_log() {
	cat <<-END
		[    0.000000] Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org)
		[    0.044000] tsc: Unable to calibrate against PIT
		[    0.262934] Spectre V2 : WARNING is not for us
		[    1.124110] mtrr: your CPUs had inconsistent fixed MTRR settings
		[   14.278330] evm: overlay not supported
		[   17.880635] virtio_net virtio4 toB: renamed from eth0
	END
}

@test "a kernel log without a splat passes" {
	clean_log >"$TMP/log"
	run "$SPLATS" "$TMP/log"
	[ "$status" = 0 ]
	[ -z "$output" ]
}

@test "a warning, an oops, a lock-up, a leak: each is found and printed" {
	while read -r line; do
		{
			clean_log
			echo "[  102.082734] $line"
			echo "[  102.120629] Modules linked in: tun"
		} >"$TMP/log"
		run "$SPLATS" "$TMP/log"
		echo "$line: $status"
		[ "$status" = 1 ]
		[[ $output == *"$line"*"Modules linked in"* ]]
	done <<-END
		WARNING: net/xdp/xsk_buff_pool.c:160 at xp_disable_drv_zc+0xa4/0xd0, CPU#0: kworker/0:1/11
		BUG: kernel NULL pointer dereference, address: 0000000000000009
		Oops: int3: 0000 [#1] SMP NOPTI
		Kernel panic - not syncing: Fatal exception in interrupt
		WARNING: suspicious RCU usage
		rcu: INFO: rcu_preempt self-detected stall on CPU
		INFO: task wgxdp:780 blocked for more than 120 seconds.
		watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [wgxdp:780]
		unregister_netdevice: waiting for wg0 to become free. Usage count = 2
		page_pool_release_retry() stalled pool shutdown: id 5, 1 inflight 60 sec
		BUG kmalloc-64 (Not tainted): Objects remaining in kmalloc-64 on __kmem_cache_shutdown()
		wgxdp[780]: segfault at 8 ip 0000555555649a70 sp 00007fffffffc728 error 4 in wgxdp
		Out of memory: Killed process 780 (wgxdp)
	END
}

@test "the lines after a splat are of the same log" {
	echo "[ 1.0] WARNING: the last line" >"$TMP/console"
	clean_log >"$TMP/log"
	run "$SPLATS" "$TMP/console" "$TMP/log"
	echo "$output"
	[ "$status" = 1 ]
	[ "${#lines[@]}" = 1 ]
}
