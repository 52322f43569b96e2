# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Hosts for the end-to-end tests and the demo.
#
# Theory of operation: a host is an init process in a new network, mount and PID namespace. The
# mount namespace gives it a /run/wireguard and a bpffs, so that each host can have a wg0. The PID
# namespace ends all processes with their host, daemons in the background, too. A host dies with
# the shell that made it, even if that is killed. Nothing here touches the root namespace's network.
#
# Hosts are numbered from 1 in the order in which they are made. Host N has the addresses 192.0.2.N
# and 2001:db8::N on its links, and 10.0.0.N and fd00::N in its tunnel.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=$REPO/build${SANITIZE:+/${SANITIZE//,/-}}
WGXDP=${WGXDP:-$BUILD/wgxdp}
# The implementation that runs if a test says wgxdp. SUBJECT=wireguard-go checks the tests
# themselves: checks of wgxdp's status pass, and tests of what only wgxdp has are skipped.
SUBJECT=${SUBJECT:-wgxdp}
# The implementation that runs if a test says wireguard-go: wireguard-go or kernel.
PEER=${PEER:-wireguard-go}
# bats sets it to a new directory per test; scripts must set it.
TMP=${BATS_TEST_TMPDIR:-}
PORT=51820
SOCKETS=/run/wireguard
# shellcheck disable=SC2034 # for the tests
PINS=/sys/fs/bpf/wgxdp

declare -gA HOST_PID=() HOST_SHELL=() HOST_NUM=() PUBKEY=()
# By "HOST IFNAME": PID of the shell's child that runs the daemon, and the implementation. The
# kernel's WireGuard has no daemon.
declare -gA DAEMON=() IMPL=()

# Factor for all timeouts: 1 on the project's build machine, more on slower ones.
PATIENCE=${PATIENCE:-1}
export BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-$((90 * PATIENCE))}

refute() { ! "$@"; }

# ended PID: returns true if the process is gone or a zombie. A zombie stays until its parent waits
# for it; the parent of an orphan is process 1, which may never wait in a container.
ended() { ! grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status" 2>/dev/null; }

# pause MILLISECONDS: sleeps without starting a process.
pause() {
	local seconds

	[ -p "$TMP/never" ] || mkfifo "$TMP/never"
	printf -v seconds '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
	read -rt "$seconds" <>"$TMP/never" || true
}

# wait_until SECONDS COMMAND...: repeats the command until it succeeds; fails after PATIENCE times
# SECONDS. The longer it waits, the less often it runs the command, because that takes CPU time.
wait_until() {
	local ms start=${EPOCHREALTIME/[.,]/} now limit=$(($1 * PATIENCE * 1000))

	shift
	until "$@"; do
		now=${EPOCHREALTIME/[.,]/}
		ms=$(((now - start) / 1000))
		if ((ms > limit)); then
			echo "timed out waiting for: $*" >&2
			return 1
		fi
		pause $((ms < 400 ? 50 : ms > 2400 ? 300 : ms / 8))
	done
}

needs_root() {
	if [ "$(id -u)" != 0 ]; then
		skip "needs root, for network namespaces"
	fi
}

needs_wgxdp() {
	if [ "$SUBJECT" != wgxdp ]; then
		skip "about wgxdp alone"
	fi
}

has_nft() {
	command -v nft >/dev/null || skip "needs nft (Debian package nftables)"
	unshare --net nft add table ip nat || skip "this kernel has no nf_tables"
}

# ---- hosts

host_init() {
	mount -t tmpfs tmpfs /run
	mount -t sysfs sysfs /sys
	mount -t bpf bpf /sys/fs/bpf
	ip link set lo up
	sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
	touch "$1"
	sleep infinity &
	wait
}

host_new() {
	local host=$1 ready=${TMP:?no BATS_TEST_TMPDIR}/$1.ready

	rm -f "$ready" # of an earlier host of that name
	HOST_NUM[$host]=$((${#HOST_NUM[@]} + 1))
	setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child --mount-proc \
		bash -ec "$(declare -f host_init); host_init '$ready'" 2>"$TMP/$1.log" 3>&- &
	HOST_SHELL[$host]=$!
	wait_until 10 test -e "$ready"
	HOST_PID[$host]=$(pgrep -P "${HOST_SHELL[$host]}")
}

host_del() {
	kill -KILL "${HOST_PID[$1]}" 2>/dev/null || true
	wait "${HOST_SHELL[$1]}" 2>/dev/null || true
	unset "HOST_PID[$1]" "HOST_SHELL[$1]"
}

# on HOST COMMAND...: runs it on the host.
on() {
	local pid=${HOST_PID[$1]}

	shift
	nsenter --target "$pid" --net --mount --pid -- "$@"
}

# on_bg HOST COMMAND...: runs it in the background, without descriptor 3, for whose end bats waits.
on_bg() { on "$@" 3>&- & }

outer4() { echo "192.0.2.${HOST_NUM[$1]}"; }
outer6() { echo "2001:db8::${HOST_NUM[$1]}"; }
inner4() { echo "10.0.0.${HOST_NUM[$1]}"; }
inner6() { echo "fd00::${HOST_NUM[$1]}"; }

# join A B: joins two hosts by a veth pair, called toB in A and toA in B.
join() {
	nsenter --target "${HOST_PID[$1]}" --net ip link add "to$2" type veth \
		peer name "to$1" netns "${HOST_PID[$2]}"
	join_end "$1" "$2"
	join_end "$2" "$1"
}

# join_end HOST OTHER: sets up one end, with a route to the other host's address only, so that a
# host can have several links.
join_end() {
	on "$1" ip link set "to$2" up
	on "$1" ip address add "$(outer4 "$1")" peer "$(outer4 "$2")" dev "to$2"
	on "$1" ip address add "$(outer6 "$1")" peer "$(outer6 "$2")" dev "to$2" nodad
}

# lan HOST...: makes these hosts and S, whose bridge joins them all. The end in a host is called lan.
lan() {
	local host

	host_new S
	on S ip link add br0 up type bridge mcast_snooping 0
	for host; do
		host_new "$host"
		nsenter --target "${HOST_PID[S]}" --net ip link add "to$host" type veth \
			peer name lan netns "${HOST_PID[$host]}"
		on S ip link set "to$host" up master br0
		on "$host" ip link set lan up
		on "$host" ip address add "$(outer4 "$host")/24" dev lan
	done
}

# link_mtu MTU: sets the MTU of the link between A and B.
link_mtu() {
	on A ip link set toB mtu "$1"
	on B ip link set toA mtu "$1"
}

# move_wg0 FROM TO: moves wg0 to the other host's network namespace.
move_wg0() { nsenter --target "${HOST_PID[$1]}" --net ip link set wg0 netns "${HOST_PID[$2]}"; }

# move_and_set_up FROM TO: moves A's wg0, and gives it its IPv4 address again.
move_and_set_up() {
	move_wg0 "$1" "$2"
	on "$2" ip address add "$(inner4 A)/24" dev wg0
	on "$2" ip link set wg0 up
}

# ---- daemons

# start_wg wgxdp|wireguard-go|kernel HOST [ARGUMENTS...]: starts a daemon for the interface $IFACE
# or wg0, and waits until it answers.
start_wg() {
	local impl=$1 host=$2 ifname=${IFACE:-wg0} id="$2 ${IFACE:-wg0}"

	shift 2
	case $impl in
	wgxdp) impl=$SUBJECT ;;
	wireguard-go) impl=$PEER ;;
	esac
	IMPL[$id]=$impl
	case $impl in
	kernel)
		on "$host" ip link add "$ifname" type wireguard
		return
		;;
	wgxdp) set -- "$WGXDP" -f "$@" "$ifname" ;;
	wireguard-go) set -- env LOG_LEVEL=error wireguard-go -f "$ifname" ;;
	esac
	# shellcheck disable=SC2016 # expanded by that shell
	on "$host" sh -c 'echo $$ >"$0"; exec "$@"' "/run/$ifname.pid" "$@" \
		>>"$TMP/$host-$ifname.log" 2>&1 3>&- &
	DAEMON[$id]=$!
	wait_until 15 started_or_dead "$id"
	if ! daemon_alive "$id"; then
		echo "$impl on $host ended at once" >&2
		return 1
	fi
}

# without_tcx: makes daemons that are started later take the kernel for one before 6.6, without
# TCX. They have no XDP either.
without_tcx() {
	printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$BUILD/tests/tools/no_tcx" "$WGXDP" >"$TMP/no_tcx"
	chmod +x "$TMP/no_tcx"
	WGXDP=$TMP/no_tcx
}

daemon_alive() { kill -0 "${DAEMON[$1]}" 2>/dev/null; }

# answering_uapi HOST IFNAME: returns true if a daemon answers. Neither the socket's file nor a
# connection is proof: a dead daemon leaves the file, and a new one accepts before it is ready.
answering_uapi() {
	printf 'get=1\n\n' |
		on "$1" socat -t 5 - "UNIX-CONNECT:$SOCKETS/$2.sock" 2>/dev/null |
		grep -q '^errno=0$'
}

started_or_dead() {
	# shellcheck disable=SC2086 # two words on purpose
	! daemon_alive "$1" || answering_uapi $1
}

# daemon_pid HOST [IFNAME]: prints the daemon's PID in the host's PID namespace.
daemon_pid() { on "$1" cat "/run/${2:-wg0}.pid"; }

daemon_dead() { ! daemon_alive "$1"; }

# wait_wg HOST [IFNAME]: waits until the daemon has ended, and returns its exit code.
wait_wg() {
	local id="$1 ${2:-wg0}" pid

	pid=${DAEMON[$id]}
	wait_until 10 daemon_dead "$id" || return 255
	unset "DAEMON[$id]"
	wait "$pid"
}

stop_wg() {
	if [ "${IMPL["$1 ${2:-wg0}"]}" = kernel ]; then
		on "$1" ip link del "${2:-wg0}"
		return
	fi
	on "$1" kill -TERM "$(daemon_pid "$@")"
	wait_wg "$@"
}

# kill_wg HOST [IFNAME]: kills the daemon, so that it cannot clean up.
kill_wg() {
	on "$1" kill -KILL "$(daemon_pid "$@")"
	refute wait_wg "$@"
}

# ---- tunnels

# wg_keys HOST...: makes a key pair per host, in $TMP/HOST.key and PUBKEY[HOST].
wg_keys() {
	local host

	for host; do
		(umask 077 && wg genkey >"$TMP/$host.key")
		PUBKEY[$host]=$(wg pubkey <"$TMP/$host.key")
	done
}

# wg_up HOST: gives wg0 its addresses and sets it up.
wg_up() {
	on "$1" ip address add "$(inner4 "$1")/24" dev wg0
	on "$1" ip address add "$(inner6 "$1")/64" dev wg0 nodad
	on "$1" ip link set wg0 mtu 1420 up
}

# wg_peer HOST PEER [ARGUMENTS of wg set...]: adds the host PEER as a peer.
wg_peer() {
	local host=$1 peer=$2

	shift 2
	on "$host" wg set wg0 peer "${PUBKEY[$peer]}" \
		allowed-ips "$(inner4 "$peer")/32,$(inner6 "$peer")/128" "$@"
}

# endpoint HOST 4|6: prints its address and port as wg set takes them.
endpoint() {
	case $2 in
	4) echo "$(outer4 "$1"):$PORT" ;;
	6) echo "[$(outer6 "$1")]:$PORT" ;;
	esac
}

# wg_setup A B [4|6 [psk]]: gives two running daemons keys, peers and addresses. Only A gets an
# endpoint, so A sends first.
wg_setup() {
	local a=$1 b=$2 psk=()

	wg_keys "$a" "$b"
	if [ "${4:-}" = psk ]; then
		(umask 077 && wg genpsk >"$TMP/psk")
		psk=(preshared-key "$TMP/psk")
	fi
	on "$a" wg set wg0 private-key "$TMP/$a.key" listen-port "$PORT"
	on "$b" wg set wg0 private-key "$TMP/$b.key" listen-port "$PORT"
	wg_up "$a"
	wg_up "$b"
	wg_peer "$b" "$a" "${psk[@]}"
	wg_peer "$a" "$b" "${psk[@]}" endpoint "$(endpoint "$b" "${3:-4}")"
}

# wg_restart HOST PEER: starts wgxdp after its end, configures it as before, and waits until it
# reaches the peer by AF_XDP.
wg_restart() {
	start_wg wgxdp "$1"
	on "$1" wg set wg0 private-key "$TMP/$1.key" listen-port "$PORT"
	wg_up "$1"
	wg_peer "$1" "$2" endpoint "$(endpoint "$2" 4)"
	wait_until 10 pings "$1" "$(inner4 "$2")"
	on_path "$1" af_xdp
}

# tunnel IMPL_A IMPL_B [4|6 [psk]]: makes hosts A and B with a tunnel, and waits for a first answer
# to a ping. WGXDP_ARGS are arguments for the daemons.
tunnel() {
	host_new A
	host_new B
	join A B
	read -ra args <<<"${WGXDP_ARGS:-}"
	start_wg "$1" A "${args[@]}"
	start_wg "$2" B "${args[@]}"
	wg_setup A B "${@:3}"
	wait_until 10 pings A "$(inner4 B)"
}

pings() { on "$1" ping -q -n -c 1 -W 1 "$2" >/dev/null; }

# ping_all HOST ADDRESS COUNT [ARGUMENTS...]: sends COUNT pings; returns true if each was answered.
# After a first answer, ping(8) does not wait for late ones, even with -W. With a deadline it goes
# on until it has COUNT answers, which must be those to the first COUNT pings. It sends more than
# COUNT only if an answer takes longer than the interval of 10 ms.
ping_all() {
	local host=$1 addr=$2 count=$3 interval

	shift 3
	printf -v interval "%d.%02d" $((PATIENCE / 100)) $((PATIENCE % 100))
	on "$host" ping -n -c "$count" -w $(((5 + count / 20) * PATIENCE)) -i "$interval" "$@" "$addr" \
		>"$TMP/ping" || true
	tail -n 3 "$TMP/ping"
	sed -n 's/.*bytes from .*icmp_seq=\([0-9]*\) .*/\1/p' "$TMP/ping" | sort -nu |
		head -n "$count" >"$TMP/answered"
	cmp "$TMP/answered" <(seq "$count")
}

# sent_by_ping: prints how many pings were sent, from the output in $TMP/ping.
sent_by_ping() { sed -n 's/^\([0-9]*\) packets transmitted.*/\1/p' "$TMP/ping"; }

listening_tcp() { on "$1" ss -Htln "sport = :$2" | grep -q .; }
listening_udp() { on "$1" ss -Huln "sport = :$2" | grep -q .; }

# send_file FROM TO BYTES [ADDRESS]: sends random bytes by TCP to ADDRESS, by default the IPv4
# address of TO in the tunnel. Returns true if they arrived unchanged.
send_file() {
	local addr=${4:-$(inner4 "$2")} receiver seconds=$((60 * PATIENCE + $3 / 500000))

	case $addr in
	*:*) addr="[$addr]" ;;
	esac
	head -c "$3" /dev/urandom >"$TMP/file"
	on "$2" timeout $seconds socat -u "TCP6-LISTEN:9000,reuseaddr,ipv6only=0" \
		"CREATE:$TMP/file.got" 3>&- &
	receiver=$!
	wait_until 5 listening_tcp "$2" 9000
	on "$1" timeout $seconds socat -u "OPEN:$TMP/file" "TCP:$addr:9000" || return
	wait $receiver
	cmp "$TMP/file" "$TMP/file.got"
}

# iperf FROM TO ARGUMENTS...: runs iperf3 for 2 s; the client's JSON is then in $TMP/iperf.
iperf() {
	local from=$1 to=$2 server

	shift 2
	on "$to" timeout $((60 * PATIENCE)) iperf3 -s -1 >/dev/null 3>&- &
	server=$!
	wait_until 5 listening_tcp "$to" 5201
	on "$from" timeout $((60 * PATIENCE)) iperf3 -J -t 2 -c "$(inner4 "$to")" "$@" >"$TMP/iperf"
	wait "$server"
}

iperf_is() { jq -e "$1" "$TMP/iperf" || { jq .end "$TMP/iperf" && false; }; }

# no_trickle FROM TO ARGUMENTS...: returns true if TCP moves more than 20 Mbit/s, or less on a slow
# machine. It finds stalls, and is not a benchmark.
no_trickle() {
	iperf "$@"
	iperf_is ".end.sum_received.bits_per_second > 20e6 / $PATIENCE / $PATIENCE"
}

# wg_field HOST SUBCOMMAND [IFNAME]: prints `wg show IFNAME SUBCOMMAND`; for per-peer subcommands
# the value of the only peer.
wg_field() { on "$1" wg show "${3:-wg0}" "$2" | cut -f 2-; }

# ---- status of wgxdp

is_wgxdp() { [ "${IMPL["$1 ${2:-wg0}"]}" = wgxdp ]; }

# rss_kb HOST: prints the resident memory of the daemon there, in KB.
# shellcheck disable=SC2016 # awk's
rss_kb() { on "$1" awk '/^VmRSS:/ { print $2 }' "/proc/$(daemon_pid "$1")/status"; }

# memory_at_most AMOUNT LIMIT: returns true if AMOUNT is at most LIMIT, or if a sanitizer adds its
# memory to the daemon's.
memory_at_most() { [ -n "${SANITIZE:-}" ] || (($1 <= $2)); }

# status_of HOST JQ_EXPRESSION [IFNAME]: prints a value of wgxdp's status; fails if it is null or
# false.
status_of() {
	local json

	# Not in a pipe, because jq succeeds on empty input.
	json=$(on "$1" "$WGXDP" status "${3:-wg0}" --json) && jq -er "$2" <<<"$json"
}

# status_is HOST JQ_CONDITION [IFNAME]: returns true if the condition holds for wgxdp's status.
status_is() { status_of "$@" >/dev/null; }

# drops HOST REASON: prints the drops for that reason; 0 if status does not list it.
drops() { status_of "$1" ".drops.$2 // 0"; }

drops_at_least() { (($(drops "$1" "$2") >= $3)); }

# paths HOST: a snapshot for went_by.
paths() {
	if is_wgxdp "$1"; then
		status_of "$1" .paths
	fi
}

# on_path HOST af_xdp|udp: waits until the only peer has this path.
on_path() {
	if is_wgxdp "$1"; then
		wait_until 10 status_is "$1" ".peers[0].path == \"$2\""
	fi
}

# went_by HOST xdp|udp BEFORE PACKETS: returns true if, since the snapshot BEFORE, at least PACKETS
# transport messages went each way by this path, and hardly any by the other.
went_by() {
	local other=udp

	is_wgxdp "$1" || return 0
	if [ "$2" = udp ]; then
		other=xdp
	fi
	# shellcheck disable=SC2016 # variables of jq
	paths "$1" | jq -e --argjson before "$3" --argjson n "$4" \
		--arg way "$2" --arg other "$other" '
		. as $after
		| def grown($way): ["rx", "tx"] | map("\(.)_\($way)_packets")
			| map($after[.] - $before[.]);
		{by: grown($way), other: grown($other)} | debug
		| (.by | min) >= $n and (.other | max) <= 2 + $n / 100'
}

# has_xdp HOST DEVICE: returns true if an XDP program is attached to the device.
has_xdp() { on "$1" ip -d -j link show "$2" | jq -e '.[0].xdp != null' >/dev/null; }

# ---- many peers

# storm_hosts: makes A, which has a key, and F, where tests/tools/storm plays all peers, with the
# addresses 198.18.0.0/16.
storm_hosts() {
	host_new A
	host_new F
	join A F
	on F ip route add local 198.18.0.0/16 dev lo
	on A ip route add 198.18.0.0/16 via "$(outer4 F)"
	wg_keys A
}

# with_session HOST: prints how many of its peers have had a handshake.
with_session() {
	on "$1" wg show wg0 latest-handshakes | awk '$2 { n++ } END { print n + 0 }'
}

# ---- the end of a test

show_logs() {
	local log

	for log in "$TMP"/*.log; do
		if [ -s "$log" ]; then
			echo "--- $(basename "$log")"
			tail -n 20 "$log"
		fi
	done
}

# show_status: prints the status of each wgxdp that still answers.
show_status() {
	local id host ifname

	for id in "${!DAEMON[@]}"; do
		read -r host ifname <<<"$id"
		if is_wgxdp "$host" "$ifname"; then
			echo "--- wgxdp status of $id"
			on "$host" timeout 10 "$WGXDP" status "$ifname" --json | head -c 2000
			echo
		fi
	done
}

# stop_all: ends all daemons; fails if one had crashed or does not end cleanly.
stop_all() {
	local id host ifname bad=0

	for id in "${!DAEMON[@]}"; do
		read -r host ifname <<<"$id"
		if ! daemon_alive "$id"; then
			echo "$id: the daemon died in the test"
			bad=1
		elif ! stop_wg "$host" "$ifname"; then
			echo "$id: no clean end"
			bad=1
		fi
	done
	return $bad
}

cleanup() {
	local host bad=0

	if [ "${BATS_TEST_COMPLETED:-}" != 1 ]; then
		show_status
	fi
	stop_all || bad=1
	if [ $bad != 0 ] || [ "${BATS_TEST_COMPLETED:-}" != 1 ]; then
		show_logs
	fi
	for host in "${!HOST_PID[@]}"; do
		host_del "$host"
	done
	return $bad
}

setup() { needs_root; }

teardown() { cleanup; }
