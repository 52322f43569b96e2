# SPDX-License-Identifier: MIT
# The test vectors of the handshake, with which the unit tests compare the daemon, are also the
# results of independent implementations. The test is here, although it needs no network, because it
# runs a script in Debian's Python.

load lib

unit=$BATS_TEST_DIRNAME/../unit

@test "an independent Noise implementation has the same handshakes, macs, cookies and keys" {
	"$unit"/noise_dissononce.py >"$TMP/out" || { cat "$TMP/out"; false; }
	[ "$(grep -c ': same, ' "$TMP/out")" = 11 ]

	# The script finds a wrong byte.
	cp "$unit"/{noise_dissononce.py,transcript.h,test_noise.c,test_cookie.c} "$TMP"
	sed -i '/plain_response/,/};/ s/0x3a, 0x55/0x3a, 0x54/' "$TMP/test_noise.c"
	run "$TMP/noise_dissononce.py"
	[ "$status" = 1 ]
	[ "$(grep -c DIFFERS <<<"$output")" = 1 ]
}
