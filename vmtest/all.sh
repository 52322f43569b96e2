#!/bin/bash
# SPDX-License-Identifier: MIT
#
# vmtest/all.sh [KERNEL/COMMAND...]: runs cells of vmtest/matrix, or all, then prints a
# table of them and, last, how many tests passed, failed and were skipped. A cell that
# fails without a failed test counts as one. What a cell said is in
# build/vmtest/KERNEL-COMMAND/output. JOBS cells run at a time: by default one a CPU, since
# an emulated guest keeps one busy.

set -u
cd "$(dirname "$0")/.." || exit 1
OUT=build/vmtest
JOBS=${JOBS:-$(nproc)}

words() { awk -v kind="$1" '$1 == kind { print $2 }' vmtest/matrix; }

all_cells() {
	local kernel command

	for kernel in $(words kernel); do
		for command in $(words command); do
			echo "$kernel/$command"
		done
	done
}

# result CELL CODE: "PASSED FAILED SKIPPED", of what the tests said and of the code.
result() {
	local summary=$OUT/${1/\//-}/test-logs/summary counts="0 0 0"

	if [ -e "$summary" ]; then
		counts=$(tr -dc '0-9 \n' <"$summary" | xargs)
	fi
	# shellcheck disable=SC2086 # three words
	set -- "$2" $counts
	if [ "$1" != 0 ] && [ "$3" = 0 ]; then
		set -- "$1" "$2" 1 "$4"
	fi
	echo "$2 $3 $4"
}

# run_cell CELL: its line of results goes to the file of them.
run_cell() {
	local cell=$1 name=${1/\//-} start=$SECONDS code=0

	NAME=$name vmtest/run.sh "${cell%/*}" "${cell#*/}" </dev/null >"$OUT/$name.output" 2>&1 ||
		code=$?
	mv "$OUT/$name.output" "$OUT/$name/output"
	echo "==> $cell: exit code $code"
	cat "$OUT/$name/output"
	echo "$cell $(result "$cell" "$code") $(((SECONDS - start + 30) / 60)) $code" >>"$OUT/results"
}

# A row a kernel, a column a command, as in the matrix: "passed, skipped (minutes)".
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

# Commands in the background do not hear of an interrupt.
interrupted() {
	trap "" TERM
	kill 0
	exit 130
}

main() {
	local cell

	[ $# -gt 0 ] || mapfile -t cells < <(all_cells)
	[ $# = 0 ] || cells=("$@")
	mkdir -p "$OUT"
	: >"$OUT/results"
	# Kernels are fetched one at a time.
	for cell in "${cells[@]}"; do
		vmtest/fetch.sh "${cell%/*}" >/dev/null || exit
	done
	for cell in "${cells[@]}"; do
		while (($(jobs -rp | wc -l) >= JOBS)); do
			wait -n
		done
		run_cell "$cell" &
	done
	wait
	echo
	table
	awk '{ passed += $2; failed += $3; skipped += $4 }
	END {
		printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
		exit failed > 0
	}' "$OUT/results" | tee "$OUT/summary"
	exit "${PIPESTATUS[0]}"
}

trap interrupted INT TERM
main "$@"
