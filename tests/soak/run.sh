#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/soak/run.sh [SECONDS [SEED]]: runs a tunnel over a link that loses, corrupts, truncates,
# duplicates, delays and reorders (tests/tools/bad_link), with roams, NICs that go down, restarts of
# a daemon and, in long runs, rekeys. `make soak T=600` runs it.
#
# Hosts A and B have the tunnel, L carries their frames. A TCP stream of random bytes goes from A to
# B all the time; each byte must arrive. A round is an event, and then pings, while only the link
# does harm. bad_link counts which messages of the pings it destroyed. So each ping is accounted
# for: each request that was not destroyed was answered, each answer that was not destroyed arrived,
# and none arrived twice. At the end the daemons have as many descriptors and threads, and about as
# much memory, as after the first round.
#
# Prints a line per round and the totals. The exit code is 0 if nothing is missing.

# shellcheck disable=SC2317 # wait_until or an event calls many of the functions

set -eu

# shellcheck source=tests/netns/script.bash
source "$(dirname "$0")/../netns/script.bash"

T=${1:-60}
SEED=${2:-1}
EVENTS=(quiet roam flap_A restart_B flap_B quiet)
PINGS=200
PING_SIZE=500	 # bytes of payload
PING_MESSAGE=560 # the data message that this becomes
CHUNK=20000	 # bytes of the stream, each 100 ms
MEMORY_KB=2048	 # that a daemon may grow by

bad=0
number=0
declare -A sum=([sent]=0 [destroyed]=0 [answered]=0)

wrong() {
	echo "WRONG: $*"
	bad=1
}

# link_to_L HOST: connects the host to L, which has no address there.
link_to_L() {
	local host=$1

	nsenter --target "${HOST_PID[L]}" --net ip link add "to$host" type veth \
		peer name toL netns "${HOST_PID[$host]}"
	on L sysctl -qw "net.ipv6.conf.to$host.disable_ipv6=1"
	on L ip link set "to$host" up
	# Each frame has one packet with its checksum, as on a wire.
	on "$host" ethtool -K toL tx off gso off tso off gro off >/dev/null
	on "$host" ip address add "$(outer4 "$host")/24" dev toL
	on "$host" ip link set toL up
}

set_up_B() {
	start_wg wgxdp B
	on B wg set wg0 private-key "$TMP/B.key" listen-port "$PORT"
	wg_up B
	wg_peer B A endpoint "$(address_of_A):$PORT" persistent-keepalive 1
}

address_of_A() { on A ip -j -4 address show dev toL | jq -r '.[0].addr_info[0].local'; }

start() {
	local host

	for host in A B L; do
		host_new $host
	done
	link_to_L A
	link_to_L B
	# shellcheck disable=SC2016 # expanded by that shell
	on_bg L sh -c 'echo $$ >/run/link.pid; exec "$@"' - \
		"$BUILD/tests/tools/bad_link" toA toB "$SEED" $PING_MESSAGE >"$TMP/link"
	wait_until 10 test -s "$TMP/link"
	wg_keys A B
	start_wg wgxdp A
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	wg_up A
	set_up_B
	wg_peer A B endpoint "$(endpoint B 4)" persistent-keepalive 1
	wait_until 30 pings A "$(inner4 B)"
}

# --- events

quiet() { :; }

roam() {
	local old new

	old=$(address_of_A)
	new=192.0.2.$((100 + number % 100))
	on A ip address add "$new/24" dev toL
	on A ip address del "$old/24" dev toL
	on A ip address replace "$new/24" dev toL
}

flap() {
	on "$1" ip link set toL down
	sleep 0.3
	on "$1" ip link set toL up
}

flap_A() { flap A; }
flap_B() { flap B; }

restart_B() {
	stop_wg B
	set_up_B
}

# --- accounts

lines() { wc -l <"$TMP/link"; }
more_lines_than() { (($(lines) > $1)); }

# link_counts: prints the counts of bad_link as JSON: [from A, from B].
link_counts() {
	local before

	before=$(lines)
	on L kill -USR1 "$(on L cat /run/link.pid)"
	wait_until 5 more_lines_than "$before"
	tail -n 1 "$TMP/link"
}

# ping_round EVENT: pings from A to B, and compares the answers with what the link destroyed.
ping_round() {
	local before after sent answered account

	before=$(link_counts)
	on A ping -n -q -c $PINGS -i 0.01 -W 1 -s $PING_SIZE -Q 2 "$(inner4 B)" >"$TMP/ping" || true
	sleep 0.2 # until delayed messages have arrived
	after=$(link_counts)
	sent=$(sed -n 's/^\([0-9]*\) packets transmitted.*/\1/p' "$TMP/ping")
	answered=$(sed -n 's/.*transmitted, \([0-9]*\) received.*/\1/p' "$TMP/ping")
	! grep -q duplicates "$TMP/ping" || wrong "an answer came twice: $(grep received "$TMP/ping")"
	account=$(jq -n --argjson a "$before" --argjson b "$after" '
		[0, 1] | map([$b[.].marked - $a[.].marked, $b[.].destroyed - $a[.].destroyed]) |
		flatten | map(tostring) | join(" ")' -r)
	read -r requests requests_destroyed answers answers_destroyed <<<"$account"
	printf '%4d s %-10s %s requests, %s destroyed; %s answers, %s destroyed; %s received\n' \
		$SECONDS "$1" "$sent" "$requests_destroyed" "$answers" "$answers_destroyed" "$answered"
	((requests == sent)) || wrong "$sent pings, but $requests requests on the link"
	((answers == requests - requests_destroyed)) || wrong "requests were not answered"
	((answered == answers - answers_destroyed)) || wrong "answers did not arrive"
	((sum[sent] += sent, sum[answered] += answered)) || true
	((sum[destroyed] += requests_destroyed + answers_destroyed)) || true
}

# resources HOST: prints the daemon's descriptors, threads and memory in KB.
resources() {
	local pid

	pid=$(daemon_pid "$1")
	# shellcheck disable=SC2016 # expanded by that shell
	on "$1" sh -c 'echo "$(ls "/proc/$1/fd" | wc -l) $(ls "/proc/$1/task" | wc -l)"' - "$pid" |
		tr '\n' ' '
	rss_kb "$1"
}

# same_resources HOST BEFORE: returns true if descriptors and threads are the same, and memory has
# not grown by more than MEMORY_KB.
same_resources() {
	local fds threads kb now

	now=$(resources "$1")
	read -r fds threads kb <<<"$now"
	[ "$fds $threads" = "${2% *}" ] && memory_at_most "$kb" $((${2##* } + MEMORY_KB))
}

check_resources() {
	wait_until 15 same_resources "$1" "$2" || wrong "$1: descriptors, threads, KB: $2 became $(resources "$1")"
	echo "$1: descriptors, threads, KB: $2 at the beginning, $(resources "$1") at the end"
}

# --- the stream

start_stream() {
	on B socat -u "TCP4-LISTEN:9000,reuseaddr" "CREATE:$TMP/received" 3>&- &
	RECEIVER=$!
	wait_until 5 listening_tcp B 9000
	(
		while [ ! -e "$TMP/enough" ]; do
			head -c $CHUNK /dev/urandom
			sleep 0.1
		done | tee "$TMP/sent" | on A socat -u - "TCP4:$(inner4 B):9000"
	) 3>&- &
	SENDER=$!
}

stream_over() { ended "$RECEIVER" && ended "$SENDER"; }

end_stream() {
	touch "$TMP/enough"
	wait_until 120 stream_over || wrong "the stream did not end"
	echo "TCP: $(stat -c %s "$TMP/sent") bytes sent, $(stat -c %s "$TMP/received") received"
	cmp "$TMP/sent" "$TMP/received" || wrong "the stream changed"
}

round() {
	local event=${EVENTS[number % ${#EVENTS[@]}]}

	number=$((number + 1))
	$event
	wait_until 40 pings A "$(inner4 B)" || wrong "no ping after $event"
	ping_round "$event"
}

start
start_stream
end=$((SECONDS + T))
round
before_A=$(resources A)
before_B=$(resources B)
first=$(wg_field A latest-handshakes)
while ((SECONDS < end)); do
	round
done
end_stream
check_resources A "$before_A"
check_resources B "$before_B"
echo "link, from A and from B: $(link_counts)"
echo "handshakes: the first at $first, the last at $(wg_field A latest-handshakes)"
echo "A drops: $(status_of A '.drops | tostring')"
echo "B drops: $(status_of B '.drops | tostring')"
stop_all || wrong "a daemon did not end well"
on L kill "$(on L cat /run/link.pid)"
echo "$number rounds, seed $SEED: ${sum[sent]} pings sent, ${sum[destroyed]} destroyed by the link," \
	"${sum[answered]} answered, $((sum[sent] - sum[destroyed] - sum[answered])) missing"
exit $bad
