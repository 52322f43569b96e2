#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/fuzz/run.sh DIRECTORY SECONDS: runs the fuzz targets in a directory (make fuzz builds them)
# for so long each, beginning with the inputs in tests/fuzz/corpus and those of earlier runs. Prints
# a line per target: executions, edges of the code that inputs have reached, and whether a fault was
# found. The input that shows a fault is kept in DIRECTORY/found. The exit code is 1 if there is any.

set -u
cd "$(dirname "$0")/../.." || exit 1
directory=$1
seconds=$2
code=0

# statistics LOG: the figures of libFuzzer's last line that has them.
statistics() {
	sed -n 's/^#\([0-9]*\).* cov: \([0-9]*\) .*/\1 \2/p' "$1" | tail -n 1
}

mkdir -p "$directory/found"
printf '%-12s %12s %6s\n' target executions edges
for target in "$directory"/fuzz_*; do
	[[ -x $target && $target != *.* ]] || continue
	name=${target##*/fuzz_}
	log=$directory/$name.log
	mkdir -p "$directory/corpus/$name"
	result=ok
	"$target" -max_total_time="$seconds" -artifact_prefix="$directory/found/$name-" \
		"$directory/corpus/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1 ||
		{ result="FAULT, see $log"; code=1; }
	read -r executions edges < <(statistics "$log")
	printf '%-12s %12s %6s %s\n' "$name" "${executions:--}" "${edges:--}" "$result"
done
exit $code
