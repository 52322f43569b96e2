#!/bin/bash
# SPDX-License-Identifier: MIT
#
# vmtest/all.sh [KERNEL/COMMAND...]: runs cells of vmtest/matrix, or all, one after the
# other, then prints a table of them and, last, how many tests passed, failed and were
# skipped. A cell that fails without a failed test counts as one. What a cell said is in
# build/vmtest/KERNEL-COMMAND/output.

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
	local cell=$1 name=${1/\//-} start=$SECONDS code

	echo "==> $cell"
	mkdir -p "$OUT"
	NAME=$name vmtest/run.sh "${cell%/*}" "${cell#*/}" </dev/null 2>&1 | tee "$OUT/$name.output"
	code=${PIPESTATUS[0]}
	mv "$OUT/$name.output" "$OUT/$name/output" 2>/dev/null
	echo "$cell $(result "$cell" "$code") $(((SECONDS - start + 30) / 60)) $code" >>"$OUT/results"
}

# A row a kernel, a column a command: "passed (skipped), minutes".
table() {
	awk '
	{
		split($1, cell, "/")
		if (!(cell[1] in kernel)) { kernel[cell[1]]; kernels[++k] = cell[1] }
		if (!(cell[2] in command)) { command[cell[2]]; commands[++c] = cell[2] }
		text = $2 + $3 ? $2 " passed" : "done"
		if ($3) text = $3 " FAILED, " text
		if ($4) text = text ", " $4 " skipped"
		of[$1] = text " (" $5 " min)"
	}
	END {
		line = "| kernel |"; rule = "|---|"
		for (i = 1; i <= c; i++) { line = line " " commands[i] " |"; rule = rule "---|" }
		print line; print rule
		for (j = 1; j <= k; j++) {
			line = "| " kernels[j] " |"
			for (i = 1; i <= c; i++) line = line " " of[kernels[j] "/" commands[i]] " |"
			print line
		}
	}' "$OUT/results"
}

main() {
	local cell

	[ $# -gt 0 ] || mapfile -t cells < <(all_cells)
	[ $# = 0 ] || cells=("$@")
	mkdir -p "$OUT"
	: >"$OUT/results"
	for cell in "${cells[@]}"; do
		run_cell "$cell"
	done
	echo
	table
	awk '{ passed += $2; failed += $3; skipped += $4 }
	END {
		printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
		exit failed > 0
	}' "$OUT/results" | tee "$OUT/summary"
	exit "${PIPESTATUS[0]}"
}

main "$@"
