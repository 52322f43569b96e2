# SPDX-License-Identifier: MIT
# vmtest/ with a fake QEMU, which runs $TMP/guest: a run that breaks down must not look like one
# that passed.

# shellcheck disable=SC2016 # the fake QEMU and the guest expand it
load lib

# Makes a copy of vmtest/, with a kernel in its cache, and fakes of programs that only `make
# deps-vm` installs.
setup() {
	needs_root
	REPO_COPY=$TMP/repo
	mkdir -p "$REPO_COPY/tests" "$TMP/bin" "$TMP/cache/6.1/lib/modules/6.1.0"
	cp -r "$REPO/vmtest" "$REPO_COPY"
	cp "$REPO/tests/suite.bash" "$REPO_COPY/tests"
	echo 6.1.0 >"$TMP/cache/6.1/release"
	: >"$TMP/cache/6.1/vmlinuz"
	cp /bin/cat "$TMP/bin/busybox"
	printf '#!/bin/sh\ncat >/dev/null\n' >"$TMP/bin/cpio"
	cat >"$TMP/bin/qemu" <<-'SH'
		#!/bin/bash
		for argument; do
			case $argument in
			igb,help) exit 1 ;;
			local,id=results,*) results=${argument#*path=} results=${results%%,*} ;;
			esac
		done
		if [ -z "$results" ]; then # the test of KVM
			[ ! -e "$TMP/kvm" ] || echo "vmtest: init runs"
			exit
		fi
		echo "$*" >"$TMP/arguments"
		. "$TMP/guest"
	SH
	chmod +x "$TMP"/bin/*
	export TMP PATH=$TMP/bin:$PATH QEMU=$TMP/bin/qemu VMTEST_CACHE=$TMP/cache VMTEST_ACCEL=tcg
	unset VMTEST_NAME VMTEST_TIMEOUT VMTEST_MEMORY VMTEST_JOBS TEST_TIMEOUT
	cat >"$TMP/guest" <<-'SH'
		echo "vmtest: a quiet log" >"$results/dmesg"
		bash "$results/command"
		echo $? >"$results/exit"
	SH
}

# guest_does LINE: makes the guest run this line instead of ending normally.
guest_does() { printf 'echo quiet >"$results/dmesg"\n%s\n' "$1" >"$TMP/guest"; }

# expect_code CODE WORDS: a run must exit with CODE and print the WORDS.
expect_code() {
	run "$REPO_COPY/vmtest/run.sh" 6.1 true
	echo "$output"
	[ "$status" = "$1" ]
	[[ $output == *"$2"* ]]
}

@test "vmtest: the command's exit code is the run's" {
	run env -u PATIENCE "$REPO_COPY/vmtest/run.sh" 6.1 sh -c 'echo "said: $VMTEST_ACCEL $PATIENCE"; exit 7'
	echo "$output"
	[ "$status" = 7 ]
	[[ $output == *"said: tcg 5"* ]]
	expect_code 0 ""
}

@test "vmtest: a warning in the kernel's log breaks a run whose command passed" {
	guest_does 'echo "[ 1.0] WARNING: CPU: 0" >"$results/dmesg"; echo 0 >"$results/exit"'
	expect_code 99 "WARNING: CPU: 0"
	guest_does 'echo "[ 1.0] Kernel panic - not syncing" >"$results/console"; echo 0 >"$results/exit"'
	expect_code 99 "Kernel panic"
}

@test "vmtest: a guest that ends before its command, or writes no log, breaks a run" {
	guest_does 'exit 0'
	expect_code 99 "ended before its command"
	echo 'echo 0 >"$results/exit"' >"$TMP/guest"
	expect_code 99 "the guest wrote no kernel log"
}

@test "vmtest: QEMU that fails breaks a run, and its last lines are printed" {
	guest_does 'echo "no such machine" >&2; exit 3'
	expect_code 99 "QEMU ended with code 3: no such machine"
	QEMU=$TMP/bin/none expect_code 99 "make deps-vm"
	printf '#!/bin/sh\nexit 127\n' >"$TMP/bin/cpio" # as if it were not installed
	expect_code 99 "no initramfs; run 'make deps-vm'"
}

@test "vmtest: a guest that does not end is killed, and a guest ends with its run" {
	guest_does 'exec sleep 3600'
	VMTEST_TIMEOUT=1s expect_code 99 "did not end within 1s"
	guest_does 'echo $$ >"$TMP/pid"; exec sleep 3600'
	"$REPO_COPY/vmtest/run.sh" 6.1 true 3>&- &
	wait_until 10 test -s "$TMP/pid"
	kill $!
	wait $! || [ $? = 99 ]
	wait_until 5 ended "$(cat "$TMP/pid")"
}

@test "vmtest: uses KVM if it boots a guest, else emulation; tests that once per boot" {
	if [ ! -w /dev/kvm ]; then
		skip "there is no /dev/kvm to try"
	fi
	unset VMTEST_ACCEL
	expect_code 0 ""
	grep -q -- '-accel tcg' "$TMP/arguments"
	touch "$TMP/kvm"
	expect_code 0 ""
	grep -q -- '-accel tcg' "$TMP/arguments"
	rm "$TMP"/cache/accel.*
	expect_code 0 ""
	grep -q -- '-accel kvm' "$TMP/arguments"
}

# count PASSED FAILED SKIPPED: prints a line that makes the guest's tests count so.
count() {
	printf 'mkdir -p "$results/test-logs"\necho "%s passed, %s failed, %s skipped" >"$results/test-logs/summary"\n' \
		"$@"
}

# all_cells CODE CELL...: runs all.sh, which must exit with CODE.
all_cells() {
	run "$REPO_COPY/vmtest/all.sh" "${@:2}"
	echo "$output"
	[ "$status" = "$1" ]
}

@test "vmtest: prints a table of cells and the sums" {
	cp -r "$TMP/cache/6.1" "$TMP/cache/6.12"
	guest_does "$(count 5 0 2); echo 0 >\"\$results/exit\""
	all_cells 0 6.1/vm 6.12/check
	[[ $output == *"| 6.1 | 5 passed, 2 skipped (0 min) |  |"* ]]
	[[ $output == *"| 6.12 |  | 5 passed, 2 skipped (0 min) |"* ]]
	[ "${lines[-1]}" = "10 passed, 0 failed, 4 skipped" ]
}

@test "vmtest: a cell that failed is counted, with or without a failed test" {
	guest_does "$(count 5 1 0); echo 1 >\"\$results/exit\""
	all_cells 1 6.1/vm
	[ "${lines[-1]}" = "5 passed, 1 failed, 0 skipped" ]
	guest_does "$(count 5 0 0); echo BUG: x >\"\$results/dmesg\"; echo 0 >\"\$results/exit\""
	all_cells 1 6.1/vm
	[ "${lines[-1]}" = "5 passed, 1 failed, 0 skipped" ]
	guest_does 'echo 0 >"$results/exit"' # and no test
	all_cells 1 6.1/vm
	[ "${lines[-1]}" = "0 passed, 1 failed, 0 skipped" ]
	all_cells 0 6.1/speed
	all_cells 2 6.1/none
	all_cells 2 --help
}

@test "vmtest: runs no more guests at a time than fit in memory" {
	cp -r "$TMP/cache/6.1" "$TMP/cache/6.12"
	guest_does 'ls "$TMP"/running.* 2>/dev/null >>"$TMP/together"; touch "$TMP/running.$$"; sleep 0.5
		rm "$TMP/running.$$"; echo 0 >"$results/exit"'
	VMTEST_MEMORY=100000000 all_cells 0 6.1/speed 6.12/speed
	[ ! -s "$TMP/together" ]
}
