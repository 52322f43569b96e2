# SPDX-License-Identifier: MIT
# Steps of the wall clock do no harm: timers use another clock, and the timestamps of initiations
# never go back. Debian's faketime gives the daemon on A a wall clock that tests can set; to imitate
# a suspend, they set its other clocks, too.
# bats file_tags=waiting

load lib

FAKETIME=$(echo /usr/lib/*/faketime/libfaketimeMT.so.1)
YEARS=$((10 * 365 * 86400))

setup() {
	needs_root
	needs_wgxdp
	if [ ! -e "$FAKETIME" ]; then
		skip "needs libfaketime (Debian package faketime)"
	fi
}

# set_clock +SECONDS|-SECONDS|TIME: sets the clock off by so much, or to a time.
set_clock() {
	echo "$1" >"$TMP/clock.new"
	mv "$TMP/clock.new" "$TMP/clock"
}

# sanitizers: prints the libraries of sanitizers, which must be first in LD_PRELOAD.
sanitizers() { ldd "$WGXDP" | grep -o '/[^ ]*/lib[a-z]*san\.so[^ ]*' | tr '\n' ':'; }

# start_with_clock wall|all HOST [ARGUMENTS...]: starts wgxdp; set_clock then sets its wall clock,
# or all its clocks. libfaketime names its shared memory by PID, so each host needs another
# /dev/shm.
start_with_clock() {
	local wall_only=1 host=$2

	if [ "$1" = all ]; then
		wall_only=0
	fi
	shift 2
	set_clock +0
	on "$host" mount -t tmpfs tmpfs /dev/shm
	cat >"$TMP/wgxdp" <<-EOF
		#!/bin/sh
		export LD_PRELOAD="$(sanitizers)$FAKETIME" FAKETIME_TIMESTAMP_FILE=$TMP/clock
		export FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=$wall_only TZ=UTC
		exec $WGXDP "\$@"
	EOF
	chmod +x "$TMP/wgxdp"
	WGXDP=$TMP/wgxdp start_wg wgxdp "$host" "$@"
}

# clock_tunnel IMPL_B [ARGUMENTS...]: makes a tunnel; A has a clock that can be set.
clock_tunnel() {
	local impl=$1

	shift
	host_new A
	host_new B
	join A B
	start_with_clock wall A "$@"
	start_wg "$impl" B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	[ "$(age)" -le 10 ]
}

# age: prints the seconds since A's latest handshake, by this machine's clock.
age() { echo $(($(date +%s) - $(wg_field A latest-handshakes))); }

# age_about SECONDS: A's latest handshake must be so old, which shows that the daemon uses the clock
# that was set.
age_about() {
	local age

	age=$(age)
	echo "handshake: $age s ago"
	((age >= $1 - 2 && age <= $1 + 60))
}

# handshakes_anew: makes A, but not B, forget its sessions, and waits for a new handshake. If B
# refuses an initiation for its timestamp, it refuses the next ones, too.
handshakes_anew() {
	on A ip link set wg0 down
	on A ip link set wg0 up
	wait_until 10 pings A "$(inner4 B)"
}

# sane_status: the ages that status and wg show print must make sense by this machine's clock.
sane_status() {
	on A "$WGXDP" status wg0 >"$TMP/status"
	on A wg show wg0 >>"$TMP/status"
	cat "$TMP/status"
	grep -q "^    latest handshake" "$TMP/status"
	refute grep -E 'ago.*-[0-9]|handshake:? -|[0-9]{11} s ago' "$TMP/status"
}

clock_steps() {
	local step seconds

	clock_tunnel "$@"
	for step in -3600 +3600 -$YEARS +0; do
		set_clock "$step"
		handshakes_anew
		age_about $((-step))
		sane_status
		wait_until 3 pings B "$(inner4 A)"
	done
	set_clock "1970-01-01 00:00:05"
	handshakes_anew
	seconds=$(wg_field A latest-handshakes)
	((seconds >= 5 && seconds < 100))
	sane_status
	if is_wgxdp B; then
		[ "$(drops B replayed_initiation)" = 0 ]
	fi
}

@test "the wall clock is set: handshakes with wgxdp" { clock_steps wgxdp; }
@test "the wall clock is set: handshakes with wireguard-go" { clock_steps wireguard-go; }

# told COUNT TEXT: COUNT lines of A's log must have the text.
told() { [ "$(grep -c "$2" "$TMP/A-wg0.log")" = "$1" ]; }

@test "steps of the wall clock are logged once each, unless the clock had not been set" {
	clock_tunnel wgxdp
	stop_wg A
	rm "$TMP/A-wg0.log"
	start_with_clock wall A
	set_clock "1970-01-01 00:00:05"
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	wg_up A
	wg_peer A B endpoint "$(endpoint B 4)"
	refute pings A "$(inner4 B)"
	set_clock +0
	wait_until 12 pings A "$(inner4 B)"
	told 0 "wall clock"

	set_clock -3600
	handshakes_anew
	handshakes_anew
	told 1 "wall clock was set back by 3[56][0-9]* s: .* [0-9]* s ahead"
	set_clock +$YEARS
	handshakes_anew
	handshakes_anew
	told 1 "wall clock was set forward by 3650 days: peers remember"
	# B has seen timestamps of that time, and must accept A after the clock is corrected.
	set_clock +0
	handshakes_anew
	handshakes_anew
	told 1 "wall clock was set back by 3650 days"
	told 3 "wall clock"
	[ "$(drops B replayed_initiation)" -le 3 ] # while it was 1970
}

@test "the wall clock is set back, and the peer removed and added again" {
	clock_tunnel wgxdp
	set_clock -3600
	on A wg set wg0 peer "${PUBKEY[B]}" remove
	wg_peer A B endpoint "$(endpoint B 4)"
	wait_until 10 pings A "$(inner4 B)"
	age_about 3600
	[ "$(drops B replayed_initiation)" = 0 ]
}

@test "a clock that was wrong at the start is corrected" {
	clock_tunnel wgxdp
	stop_wg A
	start_with_clock wall A
	set_clock "1970-01-01 00:00:05"
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	wg_up A
	wg_peer A B endpoint "$(endpoint B 4)"
	refute pings A "$(inner4 B)"
	wait_until 5 drops_at_least B replayed_initiation 1
	set_clock +0
	wait_until 12 pings A "$(inner4 B)"
	age_about 0
}

# replies: prints the echo replies that the kernel counts. ping(8) may not wait for the last ones.
replies() { on A nstat -asz IcmpInEchoReps | awk '/^IcmpInEchoReps/ { print $2 }'; }
has_replies() { (($(replies) >= $1)); }

# steps_under_traffic [ARGUMENTS...]: sets the clock several times, which must cause no handshake.
steps_under_traffic() {
	local first step pinger before

	clock_tunnel wgxdp "$@"
	first=$(wg_field A latest-handshakes)
	before=$(replies)
	on A ping -q -n -i 0.01 -c 900 -W 2 "$(inner4 B)" >"$TMP/A.ping" 3>&- &
	pinger=$!
	for step in -3600 +3600 -$YEARS +$YEARS "1970-01-01 00:00:05" +0; do
		set_clock "$step"
		sleep 1
		[ "$(wg_field A latest-handshakes)" = "$first" ]
	done
	wait $pinger
	cat "$TMP/A.ping"
	wait_until 3 has_replies $((before + 900))
	[ "$(wg_field A latest-handshakes)" = "$first" ]
	[ "$(wg_field B latest-handshakes)" -le $((first + 2)) ]
}

@test "the wall clock is set under traffic, AF_XDP" { steps_under_traffic; }
@test "the wall clock is set under traffic, UDP sockets" { steps_under_traffic --nic none; }

received() { wg_field "$1" transfer | cut -f 1; }
received_since() { (($(received "$1") > $2)); }

# If timers used the wall clock, a keepalive would be due at once, or only after an hour.
@test "the wall clock is set, and keepalives go on" {
	local step before messages

	clock_tunnel wgxdp
	on A wg set wg0 peer "${PUBKEY[B]}" persistent-keepalive 2
	for step in +3600 -3600; do
		set_clock $step
		before=$(received B)
		sleep 9
		messages=$((($(received B) - before) / 32))
		echo "$step: $messages keepalives in 9 s"
		((messages >= 2 && messages <= 6))
	done
}

# After a suspend of both hosts, neither uses a session that the other may have deleted, and the
# first packet begins a new one.
@test "a session that expired during a suspend is not used" {
	host_new A
	host_new B
	join A B
	start_with_clock all A
	start_with_clock all B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	before=$(wg_field B latest-handshakes)
	set_clock +200
	on A ping -q -n -c 1 -W 4 "$(inner4 B)"
	(($(wg_field B latest-handshakes) >= before + 200))
	refute status_is A .drops.key_expired
	refute status_is B .drops.key_expired
}
