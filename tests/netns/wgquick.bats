# SPDX-License-Identifier: MIT
# wg-quick(8) with wgxdp as its userspace implementation, on A; B runs wgxdp as usual.

load lib

FAR4=198.51.100.2 # an address of B that A reaches only by its default route
FAR6=2001:db8:f::2

setup() {
	needs_root
	needs_wgxdp
	host_new A
	host_new B
	join A B
	needs_userspace_wg
	mkdir "$TMP/bin" "$TMP/etc"
	ln -s "$WGXDP" "$TMP/bin/wgxdp"
	CONF=$TMP/etc/wg0.conf
	wg_keys A B
}

# needs_userspace_wg: skips the test if the kernel has WireGuard, because wg-quick uses that.
needs_userspace_wg() {
	if on A ip link add wg-probe type wireguard 2>/dev/null; then
		skip "this kernel has WireGuard, which wg-quick prefers"
	fi
}

quick() {
	# shellcheck disable=SC2086 # words on purpose
	on A env PATH="$TMP/bin:$PATH" WG_QUICK_USERSPACE_IMPLEMENTATION=wgxdp \
		${QUICK_ENV:-} wg-quick "$@" 3>&-
}

up() { quick up "$CONF"; }
down() { quick down "$CONF"; }

peer_B() {
	start_wg wgxdp B
	on B wg set wg0 private-key "$TMP/B.key" listen-port "$PORT"
	wg_up B
	wg_peer B A
}

# conf [LINES OF INTERFACE...] -- [LINES OF PEER...]: writes A's wg0.conf.
conf() {
	{
		echo "[Interface]"
		echo "PrivateKey = $(<"$TMP/A.key")"
		while [ "$1" != -- ]; do
			echo "$1"
			shift
		done
		shift
		printf '%s\n' "" "[Peer]" "PublicKey = ${PUBKEY[B]}" "$@"
	} >"$CONF"
	chmod 600 "$CONF"
}

# nothing_left: returns true if the interface, the daemon and all that it made are gone.
nothing_left() {
	refute on A ip link show wg0 2>/dev/null &&
		refute on A pgrep -x wgxdp >/dev/null &&
		refute on A test -e "$SOCKETS/wg0.sock" -o -e "$PINS/wg0" &&
		refute has_xdp A toB
}

# routing: prints what wg-quick changes on the host: rules, routes and firewall.
routing() {
	on A ip -4 rule
	on A ip -6 rule
	# Multicast and link-local routes come and go with devices.
	on A ip -4 route show table all
	on A ip -6 route show table all | grep -v -e '^multicast' -e '^fe80' -e '^ff00'
	on A nft list tables
}

route_dev() { on A ip route get "$1" | grep -q "dev $2 "; }

@test "up and down: addresses, routes, MTU, hooks" {
	peer_B
	conf "Address = 10.0.0.1/24, fd00::1/64" "Address = 10.7.0.1/32" "MTU = 1380" \
		"PreUp = echo pre-up %i >>$TMP/hooks; test ! -e /sys/class/net/%i" \
		"PostUp = ip route show dev %i | grep 10.20 >/dev/null; echo post-up %i >>$TMP/hooks" \
		"PreDown = wg show %i peers >/dev/null; echo pre-down %i >>$TMP/hooks" \
		"PostDown = echo post-down %i >>$TMP/hooks; test ! -e /sys/class/net/%i" \
		-- "AllowedIPs = 10.0.0.2/32, fd00::2/128, 10.20.0.0/16" \
		"AllowedIPs = 10.30.1.0/24, fd30::/48" "Endpoint = $(endpoint B 4)"
	routing >"$TMP/before"
	up

	[ "$(on A wg show wg0 public-key)" = "${PUBKEY[A]}" ]
	[ "$(on A cat /sys/class/net/wg0/mtu)" = 1380 ]
	on A ip -j address show dev wg0 | jq -e '[.[0].addr_info[] | "\(.local)/\(.prefixlen)"]
		| contains(["10.0.0.1/24", "10.7.0.1/32", "fd00::1/64"])'
	for dest in 10.0.0.2 fd00::2 10.20.3.4 10.30.1.9 fd30::7; do
		route_dev $dest wg0
	done
	refute route_dev 10.30.2.9 wg0 2>/dev/null
	wait_until 10 pings A "$(inner4 B)"
	status_of A '.peers[0].path == "af_xdp" and .nics[0].name == "toB"'
	ping_all A "$(inner4 B)" 50
	ping_all B "$(inner6 A)" 50 -s 1332 -M "do"

	down
	wait_until 10 nothing_left
	diff "$TMP/before" <(routing)
	[ "$(cat "$TMP/hooks")" = $'pre-up wg0\npost-up wg0\npre-down wg0\npost-down wg0' ]
}

@test "the default MTU is the route's less 80" {
	on A ip link set toB mtu 1460
	conf "Address = 10.0.0.1/24" -- "AllowedIPs = 10.0.0.2/32" "Endpoint = $(endpoint B 6)"
	up
	[ "$(on A cat /sys/class/net/wg0/mtu)" = 1380 ]
}

@test "a second up is refused, and does not harm the first" {
	peer_B
	conf "Address = 10.0.0.1/24" -- "AllowedIPs = 10.0.0.2/32" "Endpoint = $(endpoint B 4)"
	up
	wait_until 10 pings A "$(inner4 B)"
	refute up
	ping_all A "$(inner4 B)" 20
	down
	wait_until 10 nothing_left
	up
	wait_until 10 pings A "$(inner4 B)"
}

@test "down and up again at once, as a restart does" {
	peer_B
	conf "Address = 10.0.0.1/24" -- "AllowedIPs = 10.0.0.2/32" "Endpoint = $(endpoint B 4)"
	up
	wait_until 10 pings A "$(inner4 B)"
	for _ in $(seq 10); do
		down
		up
	done
	wait_until 10 pings A "$(inner4 B)"
	wait_until 10 status_is A '.peers[0].path == "af_xdp"'
	wait_until 10 one_daemon
}

one_daemon() { [ "$(on A pgrep -c -x wgxdp)" = 1 ]; }

@test "a configuration that fails leaves nothing behind" {
	conf "Address = 10.0.0.1/24" -- "AllowedIPs = 10.0.0.2/99" "Endpoint = $(endpoint B 4)"
	refute up
	wait_until 10 nothing_left
	conf "Address = 10.0.0.1/24" "PostUp = false" -- "AllowedIPs = 10.0.0.2/32"
	refute up
	wait_until 10 nothing_left
}

@test "a port in use fails, as with the kernel's WireGuard, and leaves nothing behind" {
	conf "Address = 10.0.0.1/24" "ListenPort = $PORT" -- "AllowedIPs = 10.0.0.2/32"
	on_bg A socat -u "UDP4-RECV:$PORT" OPEN:/dev/null
	wait_until 5 listening_udp A "$PORT"
	refute up 2>"$TMP/err"
	cat "$TMP/err"
	grep -q "Address already in use" "$TMP/err"
	wait_until 10 nothing_left
	on A pkill -x socat
	wait_until 5 refute listening_udp A "$PORT"
	up
}

@test "Table = off adds no route, Table = N adds routes to table N" {
	conf "Address = 10.7.0.1/32" "Table = off" -- "AllowedIPs = 0.0.0.0/0, fd30::/48"
	routing | grep -v '^ff' >"$TMP/before"
	up
	on A ip -4 route show table all dev wg0 | refute grep -v '^local 10.7.0.1'
	on A ip -6 route show table all dev wg0 | refute grep 'fd30:'
	[ "$(wg_field A fwmark)" = off ]
	down
	wait_until 10 nothing_left

	conf "Address = 10.7.0.1/32" "Table = 1234" -- "AllowedIPs = 0.0.0.0/0, fd30::/48"
	up
	[[ $(on A ip -4 route show table 1234) == "default dev wg0"* ]]
	[[ $(on A ip -6 route show table 1234) == "fd30::/48 dev wg0"* ]]
	refute route_dev 8.8.8.8 wg0 2>/dev/null
	[ "$(wg_field A fwmark)" = off ]
	down
	wait_until 10 nothing_left
}

@test "WGXDP_NIC reaches the daemon" {
	peer_B
	conf "Address = 10.0.0.1/24" -- "AllowedIPs = 10.0.0.2/32" "Endpoint = $(endpoint B 4)"
	QUICK_ENV=WGXDP_NIC=none up
	wait_until 10 pings A "$(inner4 B)"
	refute has_xdp A toB
	status_of A '.peers[0].path == "udp"'
}

@test "save writes the current settings" {
	conf "Address = 10.0.0.1/24" "ListenPort = 4321" "PostUp = true" \
		-- "AllowedIPs = 10.0.0.2/32" "Endpoint = $(endpoint B 4)"
	up
	on A wg set wg0 listen-port 4322 peer "${PUBKEY[B]}" persistent-keepalive 21 \
		allowed-ips 10.0.0.2/32,fd00::2/128
	on A ip address add 10.0.1.1/24 dev wg0
	grep -q 'ListenPort = 4321' "$CONF"
	quick save "$CONF"
	cat "$CONF"
	for line in "ListenPort = 4322" "PersistentKeepalive = 21" "PostUp = true" \
		"AllowedIPs = 10.0.0.2/32, fd00::2/128" "Address = 10.0.0.1/24" \
		"Address = 10.0.1.1/24" "PrivateKey = $(<"$TMP/A.key")" \
		"PublicKey = ${PUBKEY[B]}" "Endpoint = $(endpoint B 4)"; do
		grep -qxF "$line" "$CONF"
	done
	[ "$(stat -c %a "$CONF")" = 600 ]
}

@test "SaveConfig saves at down, and the next up restores the settings" {
	peer_B
	conf "Address = 10.0.0.1/24" "SaveConfig = true" -- "AllowedIPs = 10.9.0.0/16"
	up
	wg_peer A B endpoint "$(endpoint B 4)"
	down
	wait_until 10 nothing_left
	up
	wait_until 10 pings A "$(inner4 B)"
	on A wg show wg0 dump >"$TMP/dump"
	down
	wait_until 10 nothing_left
	grep -qxF "SaveConfig = true" "$CONF"
	[ "$(grep -c . "$TMP/dump")" = 2 ]
}

@test "strip leaves only the settings for wg(8)" {
	conf "Address = 10.0.0.1/24" "MTU = 1380" "Table = off" "PostUp = true" "DNS = 192.0.2.9" \
		"ListenPort = 4321" -- "AllowedIPs = 10.0.0.2/32"
	start_wg wgxdp A
	quick strip "$CONF" >"$TMP/stripped"
	refute grep -e Address -e MTU -e Table -e PostUp -e DNS "$TMP/stripped"
	on A wg syncconf wg0 "$TMP/stripped"
	[ "$(wg_field A listen-port)" = 4321 ]
	[ "$(on A wg show wg0 peers)" = "${PUBKEY[B]}" ]
}

# ---- default routes

# behind_B: makes C behind B; B is A's default route, and C has a route back into the tunnel. A
# reaches the endpoint only by its default route, so outer packets without the mark would go into
# the tunnel.
behind_B() {
	host_new C
	join B C
	peer_B
	on B sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	on B ip address add "$FAR4/32" dev lo
	on B ip address add "$FAR6/128" dev lo nodad
	on A ip -4 route add default via "$(outer4 B)" dev toB
	on A ip -6 route add default via "$(outer6 B)" dev toB
	on C ip -4 route add default via "$(outer4 B)" dev toB
	on C ip -6 route add default via "$(outer6 B)" dev toB
}

# reaches_C ADDRESS: A must reach a host behind the peer by wg0 and AF_XDP.
reaches_C() {
	local address=$1 before

	route_dev "$address" wg0
	wait_until 10 pings A "$address"
	wait_until 10 status_is A '.peers[0].path == "af_xdp"'
	before=$(paths A)
	ping_all A "$address" 50 -s 1000
	went_by A xdp "$before" 50

	on_bg C timeout $((20 * PATIENCE)) iperf3 -s -1 -p 9000 >"$TMP/iperf-server.log" 2>&1
	wait_until 5 listening_tcp C 9000
	before=$(paths A)
	on A timeout $((20 * PATIENCE)) iperf3 -c "$address" -p 9000 -n 20M -J >"$TMP/iperf.json"
	# Not sum_sent, because some of it may be in flight when the receiver stops counting.
	jq -e '.end.sum_received.bytes > 10000000' "$TMP/iperf.json"
	went_by A xdp "$before" 1000
}

@test "a default-route tunnel, IPv4: fwmark, policy routing, AF_XDP" {
	behind_B
	conf "Address = 10.0.0.1/24" -- "AllowedIPs = 0.0.0.0/0" "Endpoint = $FAR4:$PORT"
	routing >"$TMP/before"
	up
	[ "$(on A wg show wg0 fwmark)" = 0xca6c ]
	on A ip -4 rule | grep -q "not from all fwmark 0xca6c lookup 51820"
	on A nft list tables | grep -qx "table ip wg-quick-wg0"
	reaches_C "$(outer4 C)"
	# That table drops packets to the tunnel's address from outside.
	refute on B ping -q -c 1 -W 1 -I toA "$(inner4 A)"
	down
	wait_until 10 nothing_left
	diff "$TMP/before" <(routing)
}

@test "a default-route tunnel, IPv6 by IPv6" {
	behind_B
	conf "Address = fd00::1/64" -- "AllowedIPs = ::/0" "Endpoint = [$FAR6]:$PORT"
	routing >"$TMP/before"
	up
	on A ip -6 rule | grep -q "not from all fwmark 0xca6c lookup 51820"
	on A nft list tables | grep -qx "table ip6 wg-quick-wg0"
	reaches_C "$(outer6 C)"
	down
	wait_until 10 nothing_left
	diff "$TMP/before" <(routing)
}

wgxdp_down() { on A env PATH="$TMP/bin:$PATH" "$REPO/daemon/wgxdp-down" "$@" 3>&-; }

crash() {
	on A pkill -KILL -x wgxdp
	wait_until 10 refute on A ip link show wg0 2>/dev/null
}

@test "after a crash, wgxdp-down undoes what wg-quick did, with its hooks" {
	for mark in "FwMark = 0x77" "# none"; do
		: >"$TMP/hooks"
		conf "Address = 10.0.0.1/24" "SaveConfig = true" "$mark" \
			"PostUp = echo up %i >>$TMP/hooks" "PreDown = echo pre >>$TMP/hooks" \
			"PostDown = echo down %i >>$TMP/hooks" \
			-- "AllowedIPs = 0.0.0.0/0, ::/0" "Endpoint = $(endpoint B 4)"
		cp "$CONF" "$TMP/conf"
		routing >"$TMP/before"
		up
		crash
		refute down
		refute diff -q "$TMP/before" <(routing)
		wgxdp_down "$CONF"
		wait_until 10 nothing_left
		diff "$TMP/before" <(routing)
		cmp "$CONF" "$TMP/conf"
		[ "$(tr '\n' ' ' <"$TMP/hooks")" = "up wg0 pre down wg0 " ]
	done
}

@test "wgxdp-down: a hook that fails, a clean stop, an interface that is up" {
	conf "Address = 10.0.0.1/24" "PreDown = false" "PostDown = echo down >>$TMP/hooks" \
		-- "AllowedIPs = 0.0.0.0/0" "Endpoint = $(endpoint B 4)"
	routing >"$TMP/before"
	up
	crash
	SERVICE_RESULT=success EXIT_CODE=exited wgxdp_down "$CONF" after-stop
	SERVICE_RESULT=exit-code wgxdp_down "$CONF" after-stop
	refute diff -q "$TMP/before" <(routing)
	SERVICE_RESULT=signal EXIT_CODE=killed wgxdp_down "$CONF" after-stop
	wait_until 10 nothing_left
	diff "$TMP/before" <(routing)

	conf "Address = 10.0.0.1/24" "PostDown = echo down >>$TMP/hooks" \
		-- "AllowedIPs = 0.0.0.0/0" "Endpoint = $(endpoint B 4)"
	up
	SERVICE_RESULT=signal EXIT_CODE=killed wgxdp_down "$CONF" after-stop
	on A ip link show wg0
	wgxdp_down "$CONF"
	wait_until 10 nothing_left
	diff "$TMP/before" <(routing)
	[ "$(<"$TMP/hooks")" = down ]
}

@test "default routes of both families, with a fwmark of one's own" {
	behind_B
	conf "Address = 10.0.0.1/24, fd00::1/64" "FwMark = 0x77" \
		-- "AllowedIPs = 0.0.0.0/0, ::/0" "Endpoint = $FAR4:$PORT"
	routing >"$TMP/before"
	up
	[ "$(on A wg show wg0 fwmark)" = 0x77 ]
	on A ip -4 rule | grep -q "not from all fwmark 0x77 lookup 119"
	reaches_C "$(outer4 C)"
	reaches_C "$(outer6 C)"

	# Without the mark the endpoint is routed into the tunnel: no packet leaves, and none loops.
	on A wg set wg0 fwmark 0
	refute pings A "$(outer4 C)"
	on A wg set wg0 fwmark 0x77
	wait_until 10 pings A "$(outer4 C)"
	down
	wait_until 10 nothing_left
	diff "$TMP/before" <(routing)
}
