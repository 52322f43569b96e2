# SPDX-License-Identifier: MIT
# The end of a session: a rekey must occur in 130 seconds of traffic (REKEY_AFTER_TIME, 120 s).

# bats file_tags=waiting

load lib

# keep_pinging FROM TO: pings in the background for 135 s, or with the kernel's tick a little
# longer; output in $TMP/FROM.ping.
keep_pinging() {
	on "$1" ping -q -n -i 0.02 -c 6750 -W 2 "$(inner4 "$2")" >"$TMP/$1.ping" 3>&- &
}

all_answered() {
	cat "$TMP/$1.ping"
	grep -q "^6750 packets transmitted, 6750 received" "$TMP/$1.ping"
}

# All tunnels and both directions run at the same time, because each takes two minutes.
setup_file() { export BATS_TEST_TIMEOUT=$((150 + 90 * PATIENCE)); }

# wireguard-go is the responder for C, and the initiator for E.
@test "rekey under traffic, no packet lost: with wgxdp and with wireguard-go" {
	for host in A B C D E F; do
		host_new $host
	done
	join A B
	join C D
	join E F
	start_wg wgxdp A
	start_wg wgxdp B
	start_wg wgxdp C
	start_wg wireguard-go D
	start_wg wgxdp E
	start_wg wireguard-go F
	wg_setup A B
	wg_setup D C
	wg_setup E F
	wait_until 10 pings A "$(inner4 B)"
	wait_until 10 pings D "$(inner4 C)"
	wait_until 10 pings E "$(inner4 F)"
	first_a=$(wg_field A latest-handshakes)
	first_c=$(wg_field C latest-handshakes)
	first_e=$(wg_field E latest-handshakes)

	pids=()
	for pair in "A B" "B A" "C D" "D C" "E F" "F E"; do
		# shellcheck disable=SC2086 # two words on purpose
		keep_pinging $pair
		pids+=($!)
	done
	wait "${pids[@]}"
	for host in A B C D E F; do
		all_answered $host
	done

	(($(wg_field A latest-handshakes) >= first_a + 119))
	(($(wg_field C latest-handshakes) >= first_c + 119))
	(($(wg_field E latest-handshakes) >= first_e + 119))
	[ "$(wg_field A latest-handshakes)" -le "$(date +%s)" ]
}
