# SPDX-License-Identifier: MIT
# tests/run, which runs the tests and counts them: nothing that is broken may look as if it passed.

# shellcheck disable=SC2016 # the test files expand it
load lib

setup() {
	mkdir -p "$TMP/repo/tests/netns"
	cp "$REPO/tests/run" "$TMP/repo/tests"
	unset FILTER LONG TEST_TIMEOUT SANITIZE
	export PEER=wireguard-go
}

# file NAME: writes a test file from stdin. "TEST" becomes "@test", which bats would find here.
file() { sed 's/^TEST /@test /' >"$TMP/repo/tests/netns/$1.bats"; }

# fresh COMMAND...: replaces the shell by the command, without the variables of the bats that runs
# this file.
fresh() {
	local name without=()

	for name in $(compgen -e BATS_); do
		without+=(-u "$name")
	done
	exec env "${without[@]}" "$@" 3>&-
}

# expect CODE LAST_LINE [FILE...]: runs tests/run, which must exit and end its output so.
expect() {
	run fresh "$TMP/repo/tests/run" "${@:3}"
	echo "$output"
	[ "$status" = "$1" ]
	[ "${lines[-1]}" = "$2" ]
}

@test "tests/run counts passed, failed and skipped tests, and prints which failed and why" {
	file good <<<'TEST "is good" { true; }'
	expect 0 "1 passed, 0 failed, 0 skipped" netns
	file mixed <<-'END'
		TEST "is good, too" { true; }
		TEST "meets wireguard-go" { skip "no reason"; }
		TEST "is bad" { echo "the reason why"; false; }
	END
	expect 1 "2 passed, 1 failed, 1 skipped" netns
	[[ $output == *"FAIL netns/mixed.bats: is bad"*"the reason why"* ]]
	[[ $output == *"SKIP netns/mixed.bats: meets wireguard-go (no reason)"* ]]
}

@test "tests/run: a file that ends early, does not end or has no test is broken" {
	printf '#!/bin/sh\necho 1..2\necho "ok 1 one"\n' >"$TMP/repo/early"
	chmod +x "$TMP/repo/early"
	expect 1 "1 passed, 1 failed, 0 skipped" early
	[[ $output == *"BROKEN early: ended after 1 of 2 tests"* ]]
	file endless <<<$'# bats file_tags=load\nTEST "one" { sleep 60; }'
	TEST_TIMEOUT=1 expect 1 "0 passed, 1 failed, 0 skipped" tests/netns/endless.bats
	[[ $output == *"BROKEN netns/endless.bats: ran out of time"* ]]
	file empty </dev/null
	expect 1 "0 passed, 1 failed, 0 skipped" tests/netns/empty.bats
}

@test "tests/run: a test program that is not built is named in one line, and nothing runs" {
	mkdir -p "$TMP/repo/tests/unit" "$TMP/repo/build/tests/unit"
	touch "$TMP"/repo/tests/unit/test_{a,b}.c
	printf '#!/bin/sh\ntouch ran\necho 1..1\necho "ok 1 one"\n' >"$TMP/repo/build/tests/unit/test_a"
	chmod +x "$TMP/repo/build/tests/unit/test_a"
	expect 1 "no build/tests/unit/test_b: run \`make all tests\` first" unit
	[ ${#lines[@]} = 1 ]
	[ ! -e "$TMP/repo/ran" ]
	SANITIZE=thread expect 1 \
		"no build/thread/tests/unit/test_a: run \`make SANITIZE=thread all tests\` first" unit
	rm "$TMP/repo/tests/unit/test_b.c"
	expect 0 "1 passed, 0 failed, 0 skipped" unit
}

# Each of the two tests waits for the other.
@test "tests/run: a file tagged waiting runs beside one tagged load, and both are counted" {
	export MEET=$TMP
	file load <<-'END'
		# bats file_tags=load
		TEST "load" { touch "$MEET/a"; timeout 10 sh -c 'until [ -e "$MEET/b" ]; do sleep 0.1; done'; }
	END
	file waiting <<-'END'
		# bats file_tags=waiting
		TEST "waiting" { touch "$MEET/b"; timeout 10 sh -c 'until [ -e "$MEET/a" ]; do sleep 0.1; done'; }
		TEST "waiting in vain" { false; }
	END
	PATIENCE=1 expect 1 "2 passed, 1 failed, 0 skipped" netns
	[[ $output == *"1 passed, 0 failed, 0 skipped: netns/load.bats"* ]]
	[[ $output == *"FAIL netns/waiting.bats: waiting in vain"* ]]
	[ -z "$(ls "$TMP"/repo/build/test-logs/*.[0-9]*)" ]
}

@test "tests/run: files without a tag run last, two at a time; on a slow machine one at a time" {
	local name

	export RUNNING=$TMP/running
	for name in a b c load; do
		file $name <<-END
			$([ $name != load ] || echo "# bats file_tags=load")
			TEST "$name" { echo 1 >>"\$RUNNING"; sleep 1; echo -1 >>"\$RUNNING"; }
		END
	done
	PATIENCE=1 expect 0 "4 passed, 0 failed, 0 skipped" netns
	awk '{ now += $1; if (now > most) most = now } NR == 2 && now { exit 1 } END { exit most != 2 }' \
		"$RUNNING"
	rm "$RUNNING"
	PATIENCE=2 expect 0 "4 passed, 0 failed, 0 skipped" netns
	awk '{ now += $1 } now > 1 { exit 1 }' "$RUNNING"
}

@test "tests/run prints the names of failed tests just before the counts" {
	file bad <<<$'TEST "is bad" { false; }\nTEST "is good" { true; }'
	file waiting <<<$'# bats file_tags=waiting\nTEST "is late" { false; }'
	printf '#!/bin/sh\necho 1..2\necho "ok 1 one"\n' >"$TMP/repo/early"
	chmod +x "$TMP/repo/early"
	PATIENCE=1 expect 1 "2 passed, 3 failed, 0 skipped" netns early
	[ "$(tail -n 5 <<<"$output" | head -n 4)" = "failed:
  early: ended after 1 of 2 tests
  netns/bad.bats: is bad
  netns/waiting.bats: is late" ]
	[ "$(sed -n 1p "$TMP/repo/build/test-logs/summary")" = "2 passed, 3 failed, 0 skipped" ]
	grep -A 1 "  netns/bad.bats: is bad" "$TMP/repo/build/test-logs/summary" | grep "    # "
	rm "$TMP/repo/early" "$TMP"/repo/tests/netns/*.bats
	file good <<<'TEST "is good" { true; }'
	expect 0 "1 passed, 0 failed, 0 skipped" netns
	[[ $output != *failed:* ]]
	[ -z "$(ls "$TMP"/repo/build/test-logs/*.[0-9]*)" ]
}

@test "tests/run: if interrupted, it leaves no test running" {
	file endless <<<$'# bats file_tags=load\nTEST "one" { echo $$ >"$PIDS/endless"; sleep 60; }'
	file waiting <<<$'# bats file_tags=waiting\nTEST "two" { echo $$ >"$PIDS/waiting"; sleep 60; }'
	export PIDS=$TMP
	PATIENCE=1 fresh "$TMP/repo/tests/run" netns &
	wait_until 10 test -s "$TMP/endless"
	wait_until 10 test -s "$TMP/waiting"
	kill $!
	wait $! || [ $? = 130 ]
	wait_until 10 ended "$(cat "$TMP/endless")"
	wait_until 10 ended "$(cat "$TMP/waiting")"
	[ -z "$(ls "$TMP"/repo/build/test-logs/*.[0-9]*)" ]
}

@test "ended: a zombie counts as ended" {
	bash -c 'sleep 0.1 & echo $! >"$0"; exec sleep 60' "$TMP/pid" 3>&- &
	wait_until 10 test -s "$TMP/pid"
	wait_until 10 ended "$(cat "$TMP/pid")"
	grep '^State:.*Z' "/proc/$(cat "$TMP/pid")/status"
	refute ended $!
	kill $!
}
