# SPDX-License-Identifier: MIT
# The directions between the folders of daemon/: the compiler enforces them, tests/tools/layers.py
# (make layers) prints them. Needs neither root nor a network.

load lib

setup() {
	cd "$REPO" || return 1
}

# in_make ARGUMENTS...: runs make without the variables of a make that runs these tests.
in_make() { env -u MAKEFLAGS -u MAKELEVEL make -s --no-print-directory "$@"; }

# read_table: sets `folders`, and may[FOLDER] to the folders that it may include, from the Makefile.
read_table() {
	local folder others

	declare -gA may=()
	folders=()
	while IFS=: read -r folder others; do
		folders+=("$folder")
		may[$folder]=$others
	done < <(in_make print-table)
	[ ${#folders[@]} -ge 12 ]
	[ "$(wc -w <<<"${may[*]}")" -gt 35 ]
}

# compile COMMAND HEADER...: compiles a file with these includes, by the COMMAND for another file.
compile() {
	printf '#include "%s"\n' "${@:2}" >"$TMP/probe.c"
	eval "${1% -c *} -Wno-error -fsyntax-only $TMP/probe.c" 2>"$TMP/said"
}

a_header_of() {
	local headers=("daemon/$1"/*.h)

	echo "${headers[0]##*/}"
}

@test "the table has one direction: each folder may include lower ones only" {
	local -A height=([base]=0 [packet]=1 [protocol]=1 [aead]=1 [kernel]=1 [wire]=2 [wg0]=2
		[peer]=3 [uapi]=4 [workers]=4 [control]=5 [main]=6)
	local folder other

	read_table
	for folder in "${folders[@]}"; do
		for other in ${may[$folder]}; do
			echo "$folder may include $other"
			[ "${height[$folder]}" -gt "${height[$other]}" ]
		done
	done
	for other in daemon/*/; do
		echo "$other is in the table"
		[[ " ${folders[*]} " = *" $(basename "$other") "* ]]
	done
}

@test "an include of a folder that may be included compiles, and none of another" {
	local folder other command commands allowed forbidden=0

	read_table
	mapfile -t commands < <(in_make print-compile \
		FILES="$(printf 'daemon/%s/probe.c ' "${folders[@]}" | sed 's|main/probe|main|')")
	may[main]=${folders[*]} # by way of control's headers: the test below holds main.c's row
	for folder in "${folders[@]}"; do
		command=${commands[0]}
		commands=("${commands[@]:1}")
		allowed=()
		for other in "${folders[@]}"; do
			if [ "$other" = main ]; then
				continue
			elif [[ " $folder ${may[$folder]} " = *" $other "* ]]; then
				allowed+=("$(a_header_of "$other")")
			else
				echo "$folder includes $(a_header_of "$other") of $other"
				refute compile "$command" "$(a_header_of "$other")"
				grep -q "fatal error: $(a_header_of "$other"): No such file" "$TMP/said"
				forbidden=$((forbidden + 1))
			fi
		done
		echo "$folder includes ${allowed[*]}"
		compile "$command" "${allowed[@]}" || { cat "$TMP/said" && false; }
	done
	echo "$forbidden forbidden"
	[ "$forbidden" -gt 40 ]
}

# Of what is built: WGXDP is in the directory of the objects.
@test "layers: the daemon itself has no upward arrow, no circle and no include by a path" {
	local objects table

	objects="$(dirname "$WGXDP")/daemon"
	[ -d "$objects" ] || skip "no objects beside $WGXDP"
	mapfile -t table < <(in_make print-table)
	run tests/tools/layers.py daemon "$objects" "${table[@]}"
	echo "$output"
	[ "$status" = 0 ]
	grep -q '^workers *> peer wire wg0 ' <<<"$output"
	grep -q '^no upward arrow, no circle$' <<<"$output"
}

# tree: makes a daemon of two folders: "high" may include "low". In each, two.c uses one.c.
tree() {
	local folder

	mkdir -p "$TMP/daemon/low" "$TMP/daemon/high" "$TMP/objects/low" "$TMP/objects/high"
	for folder in low high; do
		echo "int ${folder}_one(void);" >"$TMP/daemon/$folder/${folder}_one.h"
		echo "int ${folder}_two(void);" >"$TMP/daemon/$folder/${folder}_two.h"
		printf '#include "%s"\n' "${folder}_one.h" low_one.h >"$TMP/daemon/$folder/${folder}_two.c"
		printf '#include "%s"\n' "${folder}_one.h" >"$TMP/daemon/$folder/${folder}_one.c"
		echo "int ${folder}_two(void) { return ${folder}_one(); }" >>"$TMP/daemon/$folder/${folder}_two.c"
		echo "int ${folder}_one(void) { return 1; }" >>"$TMP/daemon/$folder/${folder}_one.c"
	done
}

# layers CODE: compiles that tree and runs layers.py, which must exit with CODE.
layers() {
	local source object

	for source in "$TMP"/daemon/*/*.c; do
		object=${source/daemon/objects}
		"${CC:-gcc}" -iquote "$TMP/daemon/low" -iquote "$TMP/daemon/high" -c \
			-o "${object%.c}.o" "$source"
	done
	run tests/tools/layers.py "$TMP/daemon" "$TMP/objects" "${table[@]}"
	echo "$output"
	[ "$status" = "$1" ]
}

table=("high: low" "low:")

@test "layers: a tree without upward arrow and circle" {
	tree
	layers 0
	grep -q '^high *> low$' <<<"$output"
	grep -q '^    low_two.c > low_one.c low_one.h$' <<<"$output"
	grep -q '^no upward arrow, no circle$' <<<"$output"
}

@test "layers: an upward arrow by an include" {
	tree
	echo '#include "high_one.h"' >>"$TMP/daemon/low/low_one.h"
	layers 1
	grep -q "^upward arrow: low/low_one.h > high/high_one.h .*low_one.h:2" <<<"$output"
}

@test "layers: an upward arrow by a declaration outside the header" {
	tree
	echo 'int high_one(void); int low_up(void) { return high_one(); }' >>"$TMP/daemon/low/low_two.c"
	layers 1
	grep -q '^upward arrow: low/low_two.c > high/high_one.c (high_one())' <<<"$output"
}

@test "layers: an include by a path, which the compiler would follow" {
	tree
	echo '#include "../high/high_one.h"' >>"$TMP/daemon/low/low_one.c"
	layers 1
	grep -q 'low_one.c:3: an include by path' <<<"$output"
}

@test "layers: a circle by includes" {
	tree
	sed -i '1i #pragma once' "$TMP"/daemon/low/*.h
	echo '#include "low_two.h"' >>"$TMP/daemon/low/low_one.h"
	echo '#include "low_one.h"' >>"$TMP/daemon/low/low_two.h"
	layers 1
	grep -q '^circle in low: low_one.h > low_two.h > low_one.h$' <<<"$output"
}

@test "layers: a circle by a declaration outside the header" {
	tree
	echo 'int low_two(void); int low_round(void) { return low_two(); }' >>"$TMP/daemon/low/low_one.c"
	layers 1
	grep -q '^circle in low: low_one.c > low_two.c > low_one.c$' <<<"$output"
	grep -q 'low_one.c > low_two.c: low_two()' <<<"$output"
}

@test "layers: a circle in the table" {
	local table=("high: low" "low: high")

	tree
	layers 1
	grep -q '^circle in the table: high > low > high$' <<<"$output"
}
