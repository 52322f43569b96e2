# SPDX-License-Identifier: MIT
# A peer that is out of reach for longer than a session lives, then is back: nobody does
# anything about it but the two daemons. An hour of it with LONG=1, or OUTAGE_SECONDS,
# more than the 180 that a session lives.

# bats file_tags=waiting

load lib

OUTAGE_SECONDS=${OUTAGE_SECONDS:-${LONG:+3600}}
OUTAGE_SECONDS=${OUTAGE_SECONDS:-190}
# From the way being there again to an answer: REKEY_TIMEOUT and its jitter, a
# neighbour to find, a slow machine.
BACK_SECONDS=9
# An idle peer has sent its last keepalive 10 s after the last packet.
QUIET_SECONDS=15

setup_file() { export BATS_TEST_TIMEOUT=$((OUTAGE_SECONDS + 150 * PATIENCE)); }

setup() {
	needs_root
	needs_wgxdp
	if ! unshare --net nft add table netdev t; then
		skip "needs nft(8) and nf_tables, to count and to drop"
	fi
}

# ---- the way between: a bridge for each pair in host M, a port for each host

plug() {
	nsenter --target "${HOST_PID[$1]}" --net ip link add "to$2" type veth \
		peer name "$1" netns "${HOST_PID[M]}"
	on M ip link set "$1" master "br$3" up
	on M nft -f - <<-EOF
		table netdev $1 {
			counter initiations { }
			counter messages { }
			chain in {
				type filter hook ingress device "$1" priority 0
				udp dport $PORT @th,64,8 1 counter name initiations
				udp dport $PORT counter name messages
			}
		}
	EOF
}

# pair A B: two hosts, joined by M.
pair() {
	host_new "$1"
	host_new "$2"
	on M ip link add "br$1" type bridge
	on M ip link set "br$1" up
	plug "$1" "$2" "$1"
	plug "$2" "$1" "$1"
	join_end "$1" "$2"
	join_end "$2" "$1"
}

# sent HOST COUNTER: by that host, lost or not.
sent() { on M nft -j list counter netdev "$1" "$2" | jq '.nftables[].counter.packets? // empty'; }

# filtered A B: the neighbour answers, WireGuard does not.
filtered() {
	on M nft add rule netdev "$1" in udp dport "$PORT" drop
	on M nft add rule netdev "$2" in udp dport "$PORT" drop
}

filtered_ends() {
	local host

	for host; do
		on M nft -a list chain netdev "$host" in | awk '/ drop / { print $NF }' |
			while read -r handle; do
				on M nft delete rule netdev "$host" in handle "$handle"
			done
	done
}

# unplugged A B: the neighbour is silent too; A sees no more of it than that.
unplugged() { on M ip link set "$2" down; }
unplugged_ends() { on M ip link set "$2" up; }

# no_carrier A B: A knows.
no_carrier() { on M ip link set "$1" down; }
no_carrier_ends() { on M ip link set "$1" up; }

# ---- what is looked at

# Large ones: an hour of them in memory would be seen.
keep_pinging() {
	on "$1" ping -n -D -O -i 1 -s 1300 "$(inner4 "$2")" >"$TMP/$1.ping" 2>&1 3>&- &
	PINGERS+=($!)
}

# The time of the first answer after TIME, in ms; nothing if there was none.
answered_after() { # HOST TIME
	awk -F '[][]' -v after="$2" '/bytes from/ && $2 > after {
		printf "%.0f", $2 * 1000; exit }' "$TMP/$1.ping"
}

has_answer() { [ "$(answered_after "$1" "$2")" ]; }

# The same of a handshake, in whole seconds.
has_handshake() { (($(wg_field "$1" latest-handshakes) >= ${2%.*})); }

# shellcheck disable=SC2016 # that shell's
open_files() { on "$1" sh -c 'ls "/proc/$0/fd" | wc -l' "$(daemon_pid "$1")"; }
has_files() { (($(open_files "$1") <= $2)); }

# Clock ticks, 100 a second, that its daemon has used.
ticks() {
	local stat

	stat=$(on "$1" cat "/proc/$(daemon_pid "$1")/stat")
	# shellcheck disable=SC2086 # words on purpose
	set -- ${stat##*) }
	echo $((${12} + ${13}))
}

remember() {
	local host

	SINCE=$SECONDS
	for host; do
		RSS[$host]=$(rss_kb "$host")
		FILES[$host]=$(open_files "$host")
		TICKS[$host]=$(ticks "$host")
		INITIATIONS[$host]=$(sent "$host" initiations)
		ALL[$host]=$(sent "$host" messages)
	done
}

# stayed_small HOST...: no more of anything than before, but for the initiations that
# the whitepaper allows, and next to no work.
stayed_small() {
	local host rss used tried passed=$((SECONDS - SINCE))

	for host; do
		rss=$(($(rss_kb "$host") - RSS[$host]))
		used=$(($(ticks "$host") - TICKS[$host]))
		tried=$(($(sent "$host" initiations) - INITIATIONS[$host]))
		echo "$host: RSS $rss kB more, $used ticks, $tried initiations"
		memory_at_most "$rss" 1023
		((used < passed * 2))
		((tried <= passed / 5 + 2))
	done
}

# kept_trying SECONDS HOST...: about every five seconds, after at most so many, to the end.
kept_trying() {
	local host least=$(((OUTAGE_SECONDS - $1) / 7))

	shift
	for host; do
		(($(sent "$host" initiations) - INITIATIONS[$host] >= least))
	done
}

# restart HOST PEER: it has forgotten all, and says nothing.
restart() {
	on "$1" kill -KILL "$(daemon_pid "$1")"
	wait_wg "$1" || [ $? = 137 ]
	start_wg wgxdp "$1"
	on "$1" wg set wg0 private-key "$TMP/$1.key" listen-port "$PORT"
	wg_up "$1"
	wg_peer "$1" "$2"
}

# ---- the test

@test "a peer is out of reach for long, and back within seconds" {
	declare -A RSS=() FILES=() TICKS=() INITIATIONS=() ALL=()
	PINGERS=()
	host_new M
	for names in "A B" "C D" "E F" "G H" "I J" "K L"; do
		# shellcheck disable=SC2086 # two words on purpose
		pair $names
	done
	for host in A B C G H I J K L; do
		start_wg wgxdp $host
	done
	start_wg wireguard-go D
	start_wg wgxdp E --nic none
	start_wg wgxdp F --nic none

	# I and J have nothing to say; G and H, K and L but keepalives.
	wg_setup I J
	wait_until 10 pings I "$(inner4 J)"
	wg_setup K L
	wait_until 10 pings K "$(inner4 L)"
	quiet=$((SECONDS + QUIET_SECONDS))
	for names in "A B" "C D" "E F" "G H"; do
		# shellcheck disable=SC2086 # two words on purpose
		wg_setup $names
		wait_until 10 pings "${names% *}" "$(inner4 "${names#* }")"
	done
	on G wg set wg0 peer "${PUBKEY[H]}" persistent-keepalive 10
	for host in A B C G H I J; do
		on_path $host af_xdp
	done
	for names in "A B" "B A" "C D" "D C" "E F" "F E"; do
		# shellcheck disable=SC2086 # two words on purpose
		keep_pinging $names
	done
	sleep $((quiet > SECONDS ? quiet - SECONDS : 0))
	for host in A B C D E F; do
		has_answer $host 0
	done

	remember A B C E F G H I J
	filtered A B
	unplugged C D
	no_carrier E F
	filtered G H
	unplugged I J
	restarted=${EPOCHREALTIME%.*}
	restart K L
	on L wg set wg0 peer "${PUBKEY[K]}" persistent-keepalive 5
	sleep "$OUTAGE_SECONDS"
	last=$EPOCHREALTIME
	stayed_small A B C E F G H I J
	# Silence after data is noticed in 15 s; after keepalives, only that the session ends.
	# (The others' wait for a neighbour, or find no carrier.)
	kept_trying 30 A B
	kept_trying 130 G
	[ "$(sent I messages)" = "${ALL[I]}" ]
	[ "$(sent J messages)" = "${ALL[J]}" ]
	for host in A B C D E F; do
		refute has_answer $host $((${last%.*} - 5))
	done
	[ $((${last%.*} - $(wg_field G latest-handshakes))) -ge "$OUTAGE_SECONDS" ]
	# Keepalives are no data, and wait for no answer: L finds out when its session ends.
	shaken=$(on L wg show wg0 latest-handshakes | cut -f 2)
	echo "K's restart found out after $((shaken - restarted)) s"
	((shaken - restarted > 100))
	[ "$(wg_field K latest-handshakes)" != 0 ]

	back=$EPOCHREALTIME
	filtered_ends A B
	unplugged_ends C D
	no_carrier_ends E F
	filtered_ends G H
	unplugged_ends I J
	for host in A B C D E F; do
		wait_until $((2 * BACK_SECONDS)) has_answer $host "$back"
		ms=$(($(answered_after $host "$back") - ${back/./} / 1000))
		echo "$host: answered $ms ms after"
		((ms <= BACK_SECONDS * 1000))
	done
	wait_until $BACK_SECONDS has_handshake G "$back"
	# G has sent keepalives only, which nobody answers: its path is by AF_XDP when data came so.
	on G ping -q -n -c 2 -W 3 "$(inner4 H)"
	on I ping -q -n -c 1 -W 3 "$(inner4 J)"
	for host in A B C G H I J; do
		on_path $host af_xdp
	done
	for names in "A B" "C D" "E F" "G H" "I J" "K L"; do
		wait_until 3 pings "${names% *}" "$(inner4 "${names#* }")"
		wait_until 3 pings "${names#* }" "$(inner4 "${names% *}")"
	done
	stayed_small A B C E F G H I J
	for host in A B C E F G H I J; do
		wait_until 10 has_files $host "${FILES[$host]}"
	done
	kill "${PINGERS[@]}"
}
