# SPDX-License-Identifier: MIT
# A few seconds of `make soak`: what the bad link does not destroy arrives once.

# bats file_tags=load

load lib

setup_file() { export BATS_TEST_TIMEOUT=$((180 * PATIENCE)); }

@test "over a link that loses, corrupts, truncates, duplicates and reorders, nothing else is lost" {
	needs_wgxdp
	"$REPO/tests/soak/run.sh" 5 >"$TMP/account" || { cat "$TMP/account"; false; }
	grep -q ' 0 missing$' "$TMP/account"
}
