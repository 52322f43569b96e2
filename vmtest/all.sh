#!/bin/bash
# SPDX-License-Identifier: MIT
#
# vmtest/all.sh [KERNEL/COMMAND...]: runs cells of vmtest/matrix, by default all, and prints a table
# of the results; the last line has the counts of passed, failed and skipped tests. A cell that
# fails without a failed test, or runs no test (except speed), counts as one failure. The output of
# a cell is in build/vmtest/KERNEL-COMMAND.output.
#
# VMTEST_JOBS cells run at a time. By default one per CPU, because an emulated guest keeps one busy;
# half of that if KVM is known to run guests (VMTEST_ACCEL, or an earlier run.sh); and no more than
# memory allows.

set -u
cd "$(dirname "$0")/.." || exit 1
OUT=build/vmtest

words() { awk -v kind="$1" '$1 == kind { print $2 }' vmtest/matrix; }

all_cells() {
	local kernel command

	for kernel in $(words kernel); do
		for command in $(words command); do
			echo "$kernel/$command"
		done
	done
}

# result CELL CODE: prints "PASSED FAILED SKIPPED", from the tests' counts and the exit code.
result() {
	local summary=$OUT/${1/\//-}/test-logs/summary passed=0 failed=0 skipped=0

	if [ -s "$summary" ]; then
		read -r passed _ failed _ skipped _ <"$summary"
	elif [ "${1#*/}" != speed ]; then
		failed=1
	fi
	if [ "$2" != 0 ] && [ "$failed" = 0 ]; then
		failed=1
	fi
	echo "$passed $failed $skipped"
}

# run_cell CELL: runs it and adds a line to the file of results.
run_cell() {
	local cell=$1 name=${1/\//-} start=$SECONDS code=0

	echo "==> $cell runs: tail -f $OUT/$name.output"
	if ! flock -n "$OUT/$name.lock" rm -rf "${OUT:?}/$name"; then
		echo "==> $cell: in use by another run.sh"
		return
	fi
	VMTEST_NAME=$name setpriv --pdeathsig TERM vmtest/run.sh "${cell%/*}" "${cell#*/}" \
		</dev/null >"$OUT/$name.output" 2>&1 || code=$?
	echo "==> $cell: exit code $code"
	cat "$OUT/$name.output"
	echo "$cell $(result "$cell" "$code") $(((SECONDS - start + 30) / 60)) $code" >>"$OUT/results"
}

# table: prints a row per kernel and a column per command, in the order of the matrix.
table() {
	awk '
	FNR == NR {
		if ($1 == "kernel") kernels[++k] = $2
		if ($1 == "command") commands[++c] = $2
		next
	}
	{
		split($1, cell, "/"); ran[cell[1]]; ran[cell[2]]
		text = $2 + $3 ? $2 " passed" : "done"
		if ($3) text = $3 " FAILED, " text
		if ($4) text = text ", " $4 " skipped"
		of[$1] = text " (" $5 " min)"
	}
	function row(first,    i, line) {
		line = "| " first " |"
		for (i = 1; i <= c; i++)
			if (commands[i] in ran)
				line = line " " (first == "kernel" ? commands[i] : first == "---" ? "---" : of[first "/" commands[i]]) " |"
		print line
	}
	END {
		row("kernel")
		row("---")
		for (j = 1; j <= k; j++)
			if (kernels[j] in ran)
				row(kernels[j])
	}' vmtest/matrix "$OUT/results"
}

jobs_at_a_time() {
	local cache=${VMTEST_CACHE:-${XDG_CACHE_HOME:-~/.cache}/wgxdp-vmtest} jobs fit

	jobs=$(nproc)
	if [ "${VMTEST_ACCEL:-$(cat "$cache"/accel.* 2>/dev/null)}" = kvm ]; then
		jobs=$(((jobs + 1) / 2))
	fi
	fit=$(awk -v guest="${VMTEST_MEMORY:-4096}" '/^MemAvailable/ {
		print int($2 / 1024 / guest) }' /proc/meminfo)
	((fit > jobs)) || jobs=$fit
	echo $((jobs > 0 ? jobs : 1))
}

# interrupted: ends the shells that run cells. Their run.sh, and with it the guest, ends with them.
# shellcheck disable=SC2317,SC2046 # called by the trap; numbers
interrupted() {
	kill $(jobs -p)
	wait
	exit 130
}

main() {
	local cell jobs cells=("$@")

	[ $# -gt 0 ] || mapfile -t cells < <(all_cells)
	for cell in "${cells[@]}"; do
		if ! all_cells | grep -xF -e "$cell" >/dev/null; then
			echo "vmtest: no cell $cell; there are: $(all_cells | xargs)" >&2
			exit 2
		fi
	done
	mkdir -p "$OUT"
	exec 8>"$OUT/lock"
	if ! flock -n 8; then
		echo "vmtest: another all.sh runs in this directory" >&2
		exit 2
	fi
	rm -f "$OUT/summary"
	: >"$OUT/results"
	jobs=${VMTEST_JOBS:-$(jobs_at_a_time)}
	for cell in "${cells[@]}"; do
		while (($(jobs -rp | wc -l) >= jobs)); do
			wait -n
		done
		run_cell "$cell" 8>&- &
	done
	wait
	echo
	table
	awk -v cells=${#cells[@]} '{ passed += $2; failed += $3; skipped += $4 }
	END {
		failed += cells - NR
		printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
		exit failed > 0
	}' "$OUT/results" | tee "$OUT/summary"
	exit "${PIPESTATUS[0]}"
}

trap interrupted INT TERM HUP
main "$@"
