# SPDX-License-Identifier: MIT
# How wgxdp starts, refuses to start, and ends without leaving anything behind.

load lib

setup() {
	needs_root
	needs_wgxdp
	host_new A
	host_new B
	join A B
}

# attached: makes a tunnel in use, with XDP on A's end of the link.
attached() {
	start_wg wgxdp A
	start_wg wireguard-go B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	has_xdp A toB
}

# by_clsact: makes the tunnel as on a kernel without tcx, so that `tc` can remove the TC programs.
by_clsact() {
	without_tcx
	start_wg wgxdp A
	start_wg wireguard-go B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
}

# traceless HOST [IFNAME]: nothing of wgxdp must be left.
traceless() {
	refute on "$1" ip link show "${2:-wg0}"
	refute on "$1" test -e "$SOCKETS/${2:-wg0}.sock"
	refute on "$1" test -e "$PINS/${2:-wg0}"
	refute has_xdp "$1" toB
	refute on "$1" pgrep -x wgxdp
}

# refuses WORD COMMAND...: the command must fail with one line that has this word.
refuses() {
	local word=$1

	shift
	refute on A timeout $((10 * PATIENCE)) "$@" >"$TMP/out" 2>&1
	cat "$TMP/out"
	[ "$(wc -l <"$TMP/out")" = 1 ]
	grep -qi -- "$word" "$TMP/out"
}

@test "SIGTERM ends it" {
	attached
	on A kill -TERM "$(daemon_pid A)"
	wait_wg A
	traceless A
}

@test "SIGINT ends it" {
	attached
	on A kill -INT "$(daemon_pid A)"
	wait_wg A
	traceless A
}

@test "ip link del ends it" {
	attached
	on A ip link del wg0
	wait_wg A
	traceless A
}

@test "removing its socket ends it" {
	attached
	on A rm "$SOCKETS/wg0.sock"
	wait_wg A
	traceless A
}

@test "it ends under traffic" {
	attached
	on_bg B ping -q -f "$(inner4 A)"
	on_bg A ping -q -f "$(inner4 B)"
	wait_until 5 status_is A '.paths.rx_xdp_packets > 100'
	stop_wg A
	traceless A
}

@test "after kill -9 the NIC passes packets, and a new start cleans up" {
	attached
	kill_wg A
	on A test -e "$SOCKETS/wg0.sock"
	ping_all B 192.0.2.1 10
	ping_all B 2001:db8::1 10

	wg_restart A B
	before=$(paths A)
	ping_all A "$(inner4 B)" 50
	went_by A xdp "$before" 50
	stop_wg A
	traceless A
}

# After a restart, the kernel may be slow to release the old sockets.
@test "a NIC's queue that is still in use is waited for" {
	local host holder

	wg_keys A B
	for host in A B; do
		start_wg wgxdp $host
		on $host wg set wg0 private-key "$TMP/$host.key" listen-port "$PORT"
		wg_up $host
	done
	wg_peer B A
	on A "$BUILD/tests/tools/hold_queue" toB >"$TMP/held" 3>&- &
	holder=$!
	wait_until 5 grep -q held "$TMP/held"
	wg_peer A B endpoint "$(endpoint B 4)"
	wait $holder
	wait_until 15 pings A "$(inner4 B)"
	on_path A af_xdp
}

@test "a start in the background returns when the interface is ready" {
	# With a pipe, because cat does not end if the daemon keeps stdout open.
	on A timeout $((20 * PATIENCE)) "$WGXDP" wg0 2>&1 | cat >"$TMP/out"
	[ "${PIPESTATUS[0]}" = 0 ]
	[ ! -s "$TMP/out" ]
	on A ip link show wg0
	on A wg set wg0 listen-port 4321
	on A test -e "$PINS/wg0/allowed_ips4"
	pid=$(status_of A .pid)
	on A kill -0 "$pid"
	[ "$(on A readlink "/proc/$pid/cwd")" = / ]
	on A kill -TERM "$pid"
	wait_until 10 refute on A kill -0 "$pid"
	traceless A
}

@test "a name in use is refused" {
	on A ip link add wg0 type veth peer name other
	refuses wg0 "$WGXDP" wg0
	on A ip link show wg0
	refuses wg0 "$WGXDP" -f wg0
	on A ip link del wg0
	traceless A
}

@test "a second start is refused, and does not harm the first" {
	attached
	refuses wg0 "$WGXDP" wg0
	refuses wg0 "$WGXDP" -f wg0
	ping_all A "$(inner4 B)" 20
	on A wg show wg0 >/dev/null
	on A test -e "$PINS/wg0/allowed_ips4"
	has_xdp A toB
}

@test "a device that is not there is refused" {
	refuses nosuch0 "$WGXDP" --nic nosuch0 wg0
	refuses nosuch0 "$WGXDP" -f --nic nosuch0 wg0
	refuses nosuch0 env WGXDP_NIC=nosuch0 "$WGXDP" wg0
	# toB is attached before nosuch0 fails.
	refute on A timeout $((10 * PATIENCE)) "$WGXDP" --nic toB --nic nosuch0 wg0
	traceless A
}

@test "a mode that the device cannot do is refused" {
	refuses zero-copy "$WGXDP" --nic toB:zc wg0
	traceless A
}

@test "without a capability that it needs: one line that names it" {
	local cap

	for cap in net_admin net_raw bpf perfmon; do
		refuses "CAP_$cap" setpriv --bounding-set=-$cap,-sys_admin \
			--inh-caps=-$cap,-sys_admin "$WGXDP" -f wg0
	done
	cp "$WGXDP" "$TMP/wgxdp"
	chmod 755 "$TMP/wgxdp" "$TMP"
	refuses CAP_NET_ADMIN setpriv --reuid 65534 --regid 65534 --clear-groups \
		"$TMP/wgxdp" -f wg0
	traceless A
}

# with_few_capabilities COMMAND...: runs it with the capabilities that the unit gives.
with_few_capabilities() {
	local few

	few=$(sed -n 's/^CapabilityBoundingSet=//p' "$UNIT")
	few=${few,,}
	few=${few//cap_/}
	few=${few// /,+}

	setpriv --bounding-set=-all,+"$few" --inh-caps=-all,+"$few" "$@"
}

@test "a tunnel works with only the capabilities that wgxdp needs" {
	export -f with_few_capabilities
	export UNIT=$REPO/daemon/wgxdp@.service
	on A bash -c 'with_few_capabilities "$0" --nic toB wg0' "$WGXDP" 3>&-
	start_wg wireguard-go B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	status_is A '.peers[0].path == "af_xdp"'
	on A wg set wg0 listen-port 443
	wait_until 10 pings A "$(inner4 B)"
	on A ip link del wg0
	wait_until 5 refute on A pgrep -x wgxdp
	traceless A
}

@test "if memory runs out, most other processes go before the unit's daemon, but it is not exempt" {
	local score

	score=$(sed -n 's/^OOMScoreAdjust=//p' "$REPO/daemon/wgxdp@.service")
	((score < 0 && score > -1000))
}

@test "--nic on the command line takes the place of WGXDP_NIC" {
	on A env WGXDP_NIC=nosuch0 "$WGXDP" --nic none wg0 3>&-
	refute has_xdp A toB
	on A ip link del wg0
	wait_until 5 refute on A pgrep -x wgxdp
}

# They hold the TC programs, without which nothing passes.
@test "a qdisc or filter of wg0 that is removed is put back" {
	by_clsact
	for what in "qdisc del dev wg0 clsact" "filter del dev wg0 egress" \
		"filter del dev wg0 ingress" "qdisc replace dev wg0 clsact" \
		"qdisc add dev wg0 root pfifo" "qdisc del dev wg0 root"; do
		# shellcheck disable=SC2086 # words on purpose
		on A tc $what
		wait_until 2 pings A "$(inner4 B)"
		ping_all A "$(inner4 B)" 10
	done
	[ "$(grep -c "put back" "$TMP/A-wg0.log")" = 3 ]
}

@test "signals: QUIT ends it well, HUP, USR1 and USR2 do nothing" {
	start_wg wgxdp A
	for signal in HUP USR1 USR2; do
		on A kill -$signal "$(daemon_pid A)"
		answering_uapi A wg0
	done
	on A kill -QUIT "$(daemon_pid A)"
	wait_wg A
	traceless A
}

# The kernel removes the TC programs before the interface.
@test "if wg0 is deleted or moved, wgxdp logs no error" {
	host_new C
	for _ in {1..5}; do
		LOG_LEVEL=error start_wg wgxdp A
		on A ip link set wg0 up
		on A ip link del wg0
		wait_wg A
		LOG_LEVEL=error start_wg wgxdp A
		on A ip link del wg0
		wait_wg A
		LOG_LEVEL=error start_wg wgxdp A
		move_wg0 A C
		on C ip link set wg0 up
		wait_until 5 status_is A .up
		on C ip link del wg0
		wait_wg A
	done
	cat "$TMP/A-wg0.log"
	[ ! -s "$TMP/A-wg0.log" ]
}

@test "--version, and wireguard-go's environment variables" {
	[[ $(on A "$WGXDP" --version) =~ ^wgxdp\ [0-9.]+$ ]]
	on_bg A env WG_PROCESS_FOREGROUND=1 "$WGXDP" wg0 2>>"$TMP/A-wg0.log"
	wait_until 10 answering_uapi A wg0
	[ "$(on A pgrep -c -x wgxdp)" = 1 ] # it did not go to the background
	on A ip link del wg0
	for level in error silent; do
		run on A env LOG_LEVEL=$level "$WGXDP" -f wg0 --nic nothere
		[ "$status" = 1 ]
		[ $level = silent ] || [[ $output =~ nothere ]]
		[ $level = error ] || [ "$output" = "" ]
	done
}

@test "the limit of open files is raised to the hard limit" {
	# shellcheck disable=SC2016 # that shell's
	on_bg A sh -c 'ulimit -Sn 300; exec "$0" -f wg0' "$WGXDP" 2>>"$TMP/A-wg0.log"
	wait_until 10 status_is A .pid
	on A cat "/proc/$(status_of A .pid)/limits" | awk '/^Max open files/ { print $4, $5 }' |
		tee "$TMP/limits"
	[ "$(cut -d ' ' -f 1 "$TMP/limits")" = "$(ulimit -Hn)" ]
}

# umem_kb: prints the KB of one queue's UMEM, which is the largest anonymous locked mapping.
umem_kb() {
	on A awk '/^[0-9a-f]+-/ { anonymous = NF == 5 }
		/^Locked:/ && anonymous && $2 > most { most = $2 }
		END { print most }' "/proc/$(daemon_pid A)/smaps"
}

@test "AF_XDP takes 8 MiB per queue, or what --frames says" {
	start_wg wgxdp A --nic toB
	[ "$(umem_kb)" = 8192 ]
	stop_wg A
	start_wg wgxdp A --nic toB --frames 1024
	[ "$(umem_kb)" = 2048 ]
	stop_wg A
	for n in 1000 512 131072 x ""; do
		refuses frames "$WGXDP" --frames "$n" wg0
	done
}

@test "a wrong command line is refused" {
	local args

	for args in "" "--nosuch wg0" "wg0 wg1" "--workers 0 wg0" "--workers x wg0" \
		"--nic toB:nonsense wg0" "a-name-that-is-too-long" "a/b" ".."; do
		# shellcheck disable=SC2086 # words on purpose
		refute on A timeout $((10 * PATIENCE)) "$WGXDP" $args >"$TMP/out" 2>&1
		[ "$(wc -l <"$TMP/out")" -ge 1 ]
	done
	traceless A
}

@test "a wrong command line: one line that says what is wrong" {
	refuses "name of the interface is missing" "$WGXDP"
	refuses "--nosuch: no such option" "$WGXDP" --nosuch wg0
	refuses "-x: no such option" "$WGXDP" -xf wg0
	refuses "--foreground=1: takes no value" "$WGXDP" --foreground=1 wg0
	refuses "--workers: wants a value" "$WGXDP" wg0 --workers
	refuses "wg1: not wanted after" "$WGXDP" wg0 wg1
	refuses "--jsn: no such option" "$WGXDP" status --jsn
	refuses "wg1: one interface at most" "$WGXDP" status wg0 wg1
	refuses "a/b: not a name" "$WGXDP" a/b
	refuses "toB:filtre: want .*:filter" "$WGXDP" --nic toB:filtre wg0
	refuses "none: cannot be combined" "$WGXDP" --nic toB:filter --nic none wg0
	refuses "toB:filter: this NIC was named already" "$WGXDP" --nic toB:zc --nic toB:filter wg0
	traceless A
}

@test "words like start, stop and up are not taken for interface names" {
	local word

	for word in start stop restart up down show; do
		refuses "$word: neither a command nor taken" "$WGXDP" $word
		refuses "$word: neither a command nor taken" "$WGXDP" $word wg0
		refute on A ip link show dev $word
	done
	refuses "wgxdp status .IFNAME" "$WGXDP" -f status
	on A "$WGXDP" help | grep -q "^usage: "
	[[ $(on A "$WGXDP" version) =~ ^wgxdp\ [0-9.]+$ ]]
	refute on A pgrep -x wgxdp
}

@test "--nic none beside another --nic is refused" {
	refuses "none: cannot be combined" "$WGXDP" --nic toB --nic none wg0
	refuses "none: cannot be combined" "$WGXDP" --nic none --nic toB wg0
	refuses "none: cannot be combined" "$WGXDP" --nic none --nic auto wg0
	refuses "none: cannot be combined" env WGXDP_NIC=toB,none "$WGXDP" wg0
	traceless A
}

@test "a start with the name of a NIC does not advise to delete the NIC" {
	refuses "toB: there is a network device of that name" "$WGXDP" toB
	refute grep "ip link del" "$TMP/out"
	on A ip link show toB
}

@test "status of an interface that is not there" {
	refuses wg7 "$WGXDP" status wg7
	[ "$(on A "$WGXDP" status wg7 2>/dev/null)" = "" ]
}

@test "status to read, and as JSON" {
	attached
	on A "$WGXDP" status | tee "$TMP/status"
	grep -q wg0 "$TMP/status"
	grep -q toB "$TMP/status"
	grep -q native "$TMP/status"
	grep -q "${PUBKEY[B]}" "$TMP/status"
	status_is A '.interface == "wg0" and .listen_port == 51820 and (.aead | length > 0)'
	status_is A ".public_key == \"${PUBKEY[A]}\""
	status_is A '.version and .up and .listening and .fwmark == 0 and .uptime < 600'
	status_is A '.nics | length == 1 and (.[0] | .name == "toB" and .xdp == "native" and
		.af_xdp == "copy" and .queues >= 1 and .ifindex > 0)'
	status_is A ".peers | length == 1 and (.[0] | .public_key == \"${PUBKEY[B]}\" and
		.endpoint == \"192.0.2.2:51820\" and .nic == \"toB\" and .allowed_ips == 2 and
		.latest_handshake > 1600000000)"
	# shellcheck disable=SC2016
	[ "$(status_of A .peers[0].rx_bytes)" -ge 148 ]
}

@test "status tells by which path packets arrive" {
	attached
	wait_until 10 pings A "$(inner4 B)"
	wait_until 10 status_is A '.peers[0] | .rx_path == "af_xdp" and .rx_nic == "toB"'
	on A "$WGXDP" status | grep -q 'arrive by af_xdp toB'
	on A "$WGXDP" release wg0 toB
	status_is A '.peers[0] | .rx_path == "udp" and .rx_nic == null'
	on A "$WGXDP" status | grep -q 'arrive by udp'
}

@test "a NIC is removed, and added again" {
	attached
	on B ip link del toA
	join A B
	start=$(status_of A .pid)
	wait_until 15 pings A "$(inner4 B)"
	[ "$(status_of A .pid)" = "$start" ]
	on_path A af_xdp
	before=$(paths A)
	ping_all A "$(inner4 B)" 20
	went_by A xdp "$before" 20
}

@test "down and up again" {
	attached
	on A ip link set wg0 down
	refute on B ping -q -c 3 -i 0.1 -W 1 "$(inner4 A)"
	on A ip link set wg0 up
	wait_until 10 pings A "$(inner4 B)"
	ping_all A "$(inner4 B)" 20
}

# move_away: moves wg0 into C's namespace, with A's addresses.
move_away() {
	host_new C
	move_and_set_up A C
}

in_echos() { on "$1" nstat -asz IcmpInEchos | awk '/^IcmpInEchos/ { print $2 }'; }

# no_spoofing: a spoofed source must be dropped after a move of wg0.
no_spoofing() {
	move_away
	on B ip address add 10.0.0.99/32 dev wg0
	refute on B ping -q -c 10 -i 0.05 -W 1 -I 10.0.0.99 "$(inner4 A)"
	[ "$(in_echos C)" = 0 ]
}

@test "wg0 in another network namespace lets no spoofed packet in" {
	attached
	no_spoofing
}

# The move removes the filters of clsact; nothing may pass without the programs.
@test "wg0 in another network namespace lets no spoofed packet in: without tcx" {
	by_clsact
	no_spoofing
}

@test "wg0 in another network namespace still uses the sockets in the first one" {
	attached
	move_away
	wait_until 15 pings C "$(inner4 B)"
	ping_all C "$(inner4 B)" 20
	ping_all B "$(inner4 A)" 20
}

@test "a qdisc of wg0 that is removed in another network namespace is put back" {
	by_clsact
	move_away
	wait_until 15 pings C "$(inner4 B)"
	on C tc qdisc del dev wg0 clsact
	wait_until 10 pings C "$(inner4 B)"
	ping_all C "$(inner4 B)" 20
}

# move_back: moves wg0 back to A, with its addresses.
move_back() {
	move_wg0 C A
	wg_up A
}

@test "wg0 comes back from another network namespace" {
	attached
	move_away
	wait_until 15 pings C "$(inner4 B)"
	move_back
	wait_until 15 pings A "$(inner4 B)"
	ping_all A "$(inner4 B)" 20
	ping_all B "$(inner6 A)" 20
	on B ip address add 10.0.0.99/32 dev wg0
	refute on B ping -q -c 10 -i 0.05 -W 1 -I 10.0.0.99 "$(inner4 A)"
}

@test "down and up again in another network namespace" {
	attached
	move_away
	wait_until 15 pings C "$(inner4 B)"
	on C ip link set wg0 down
	wait_until 5 status_is A '.peers[0].path == "none"'
	on C ip link set wg0 up
	wait_until 15 pings C "$(inner4 B)"
}

@test "the namespace that wg0 is in is deleted" {
	attached
	move_away
	wait_until 15 pings C "$(inner4 B)"
	host_del C
	wait_wg A
	traceless A
}

@test "wg0 is deleted in another network namespace" {
	attached
	move_away
	on C ip link del wg0
	wait_wg A
	traceless A
}

@test "wg-quick up and down" {
	if on A ip link add probe type wireguard 2>/dev/null; then
		skip "wg-quick would use this kernel's own WireGuard"
	fi
	start_wg wireguard-go B
	wg_keys A B
	on B wg set wg0 private-key "$TMP/B.key" listen-port "$PORT"
	wg_up B
	wg_peer B A
	(umask 077 && cat >"$TMP/wg0.conf") <<-EOF
		[Interface]
		PrivateKey = $(cat "$TMP/A.key")
		Address = 10.0.0.1/24, fd00::1/64
		[Peer]
		PublicKey = ${PUBKEY[B]}
		AllowedIPs = 10.0.0.2/32, fd00::2/128
		Endpoint = 192.0.2.2:$PORT
	EOF
	on A env WG_QUICK_USERSPACE_IMPLEMENTATION="$WGXDP" WGXDP_NIC=toB \
		wg-quick up "$TMP/wg0.conf"
	wait_until 10 pings A "$(inner4 B)"
	ping_all A "$(inner6 B)" 20
	status_is A '.nics[0].name == "toB"'
	on A wg-quick down "$TMP/wg0.conf"
	wait_until 10 traceless A
}
