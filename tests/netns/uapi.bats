# SPDX-License-Identifier: MIT
# Administration by wg(8), and the protocol beneath it (wireguard.com/xplatform).

load lib

KEY1=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAUE=
KEY2=AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAkI=
HEX1=0101010101010101010101010101010101010101010101010101010101010141
HEX2=0202020202020202020202020202020202020202020202020202020202020242
# RFC 7748, section 6.1: Alice's private key (clamped) and her public key.
ALICE=cAdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LGo=
ALICE_PUBLIC=hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=
PSK=UFNLUFNLUFNLUFNLUFNLUFNLUFNLUFNLUFNLUFNLUFM=

setup() {
	needs_root
	host_new A
	start_wg wgxdp A
}

wgset() { on A wg set wg0 "$@"; }

# show FIELD: of the interface; show_peer FIELD KEY: of one peer.
show() { on A wg show wg0 "$1"; }
show_peer() { on A wg show wg0 "$1" | awk -F'\t' -v key="$2" '$1 == key { print $2 }'; }

secret() {
	(umask 077 && echo "$1" >"$TMP/secret")
	echo "$TMP/secret"
}

# uapi LINES...: the answer to a request of these lines.
uapi() {
	printf '%s\n' "$@" "" | on A timeout $((5 * PATIENCE)) socat -t 3 - "UNIX-CONNECT:$SOCKETS/wg0.sock"
}

# refused ERRNO LINES...: and nothing has changed.
refused() {
	local errno=$1 before

	shift
	before=$(on A wg showconf wg0)
	[ "$(uapi set=1 "$@")" = "errno=-$errno" ]
	[ "$(on A wg showconf wg0)" = "$before" ]
}

# The protocol's page has it "the corresponding integer from errno.h"; wg(8) takes
# the number of its set to be negative, and says "Unknown error" of another one.
EINVAL=22

@test "a new interface has nothing" {
	[ "$(show private-key)" = "(none)" ]
	[ "$(show public-key)" = "(none)" ]
	[ "$(show fwmark)" = off ]
	[ "$(show peers)" = "" ]
	[ "$(on A wg show interfaces)" = wg0 ]
}

@test "set and show each key of the interface" {
	wgset private-key "$(secret $ALICE)" listen-port 4321 fwmark 0x1234
	[ "$(show private-key)" = $ALICE ]
	[ "$(show public-key)" = $ALICE_PUBLIC ]
	[ "$(show listen-port)" = 4321 ]
	[ "$(show fwmark)" = 0x1234 ]
	wgset private-key /dev/null fwmark 0
	[ "$(show private-key)" = "(none)" ]
	[ "$(show fwmark)" = off ]
}

@test "set and show each key of a peer" {
	wgset peer $KEY1 preshared-key "$(secret $PSK)" endpoint 192.0.2.9:1234 \
		persistent-keepalive 25 allowed-ips 10.1.0.0/16,fd01::/64
	[ "$(show peers)" = $KEY1 ]
	[ "$(show_peer preshared-keys $KEY1)" = $PSK ]
	[ "$(show_peer endpoints $KEY1)" = 192.0.2.9:1234 ]
	[ "$(show_peer persistent-keepalive $KEY1)" = 25 ]
	[ "$(show_peer latest-handshakes $KEY1)" = 0 ]
	[ "$(show_peer allowed-ips $KEY1 | tr ' ' '\n' | sort)" = $'10.1.0.0/16\nfd01::/64' ]
	wgset peer $KEY1 preshared-key /dev/null endpoint '[2001:db8::9]:4567' \
		persistent-keepalive off allowed-ips ""
	[ "$(show_peer preshared-keys $KEY1)" = "(none)" ]
	[ "$(show_peer endpoints $KEY1)" = "[2001:db8::9]:4567" ]
	[ "$(show_peer persistent-keepalive $KEY1)" = off ]
	[ "$(show_peer allowed-ips $KEY1)" = "(none)" ]
	wgset peer $KEY1 remove
	[ "$(show peers)" = "" ]
}

@test "an allowed IP moves to the peer that was given it last" {
	wgset peer $KEY1 allowed-ips 10.1.0.0/16,10.2.0.0/16 peer $KEY2 allowed-ips fd02::/64
	wgset peer $KEY2 allowed-ips 10.2.0.0/16
	[ "$(show_peer allowed-ips $KEY1)" = 10.1.0.0/16 ]
	[ "$(show_peer allowed-ips $KEY2)" = 10.2.0.0/16 ]
}

@test "host bits of an allowed IP do not count" {
	[ "$(uapi set=1 public_key=$HEX1 allowed_ip=10.1.2.3/16 allowed_ip=fd01::1/64)" = "errno=0" ]
	[ "$(show_peer allowed-ips $KEY1 | tr ' ' '\n' | sort)" = $'10.1.0.0/16\nfd01::/64' ]
}

@test "one allowed IP is removed by a minus" {
	needs_wgxdp
	wgset peer $KEY1 allowed-ips 10.1.0.0/16,10.2.0.0/16,fd01::/64 \
		peer $KEY2 allowed-ips 10.3.0.0/16
	[ "$(uapi set=1 public_key=$HEX1 allowed_ip=-10.1.0.0/16 allowed_ip=-fd01::/64)" = "errno=0" ]
	[ "$(show_peer allowed-ips $KEY1)" = 10.2.0.0/16 ]
	# Not there, or another peer's: nothing happens, as the protocol has it.
	[ "$(uapi set=1 public_key=$HEX1 allowed_ip=-10.3.0.0/16 allowed_ip=-10.9.0.0/16)" = "errno=0" ]
	[ "$(show_peer allowed-ips $KEY1)" = 10.2.0.0/16 ]
	[ "$(show_peer allowed-ips $KEY2)" = 10.3.0.0/16 ]
}

@test "remove, update_only and replace_peers" {
	[ "$(uapi set=1 public_key=$HEX1 update_only=true persistent_keepalive_interval=7)" = "errno=0" ]
	[ "$(show peers)" = "" ]
	wgset peer $KEY1 allowed-ips 10.1.0.0/16
	[ "$(uapi set=1 public_key=$HEX1 update_only=true persistent_keepalive_interval=7)" = "errno=0" ]
	[ "$(show_peer persistent-keepalive $KEY1)" = 7 ]
	[ "$(uapi set=1 public_key=$HEX2 remove=true)" = "errno=0" ]
	[ "$(show peers)" = $KEY1 ]
	[ "$(uapi set=1 replace_peers=true public_key=$HEX2)" = "errno=0" ]
	[ "$(show peers)" = $KEY2 ]
}

@test "a peer with our own key is none" {
	wgset private-key "$(secret $ALICE)" peer $KEY1
	wgset peer $ALICE_PUBLIC allowed-ips 10.1.0.0/16
	[ "$(show peers)" = $KEY1 ]
}

@test "the answer to get, line by line" {
	wgset private-key "$(secret $ALICE)" listen-port 4321 fwmark 7
	wgset peer $KEY1 endpoint '[2001:db8::9]:4567' persistent-keepalive 25 \
		allowed-ips 10.1.0.0/16,fd01::/64
	uapi get=1 | sort >"$TMP/got"
	sort >"$TMP/want" <<-EOF

		allowed_ip=10.1.0.0/16
		allowed_ip=fd01::/64
		endpoint=[2001:db8::9]:4567
		errno=0
		fwmark=7
		last_handshake_time_nsec=0
		last_handshake_time_sec=0
		listen_port=4321
		persistent_keepalive_interval=25
		preshared_key=0000000000000000000000000000000000000000000000000000000000000000
		private_key=70076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c6a
		protocol_version=1
		public_key=$HEX1
		rx_bytes=0
		tx_bytes=0
	EOF
	diff "$TMP/want" "$TMP/got"
}

write_conf() {
	cat >"$TMP/wg.conf" <<-EOF
		[Interface]
		PrivateKey = $ALICE
		ListenPort = 4321
		FwMark = 0x7

		[Peer]
		PublicKey = $KEY1
		PresharedKey = $PSK
		AllowedIPs = 10.1.0.0/16
		Endpoint = 192.0.2.9:1234
		PersistentKeepalive = 25
	EOF
}

@test "setconf, and showconf gives it back" {
	wgset peer $KEY2
	write_conf
	on A wg setconf wg0 "$TMP/wg.conf"
	[ "$(show peers)" = $KEY1 ]
	diff <(grep -v '^$' "$TMP/wg.conf" | sort) \
		<(on A wg showconf wg0 | grep -v '^$' | sed s/0x00000007/0x7/ | sort)
}

@test "addconf adds" {
	wgset peer $KEY2 allowed-ips 10.2.0.0/16
	write_conf
	on A wg addconf wg0 "$TMP/wg.conf"
	[ "$(show peers | sort)" = "$(printf '%s\n' $KEY1 $KEY2 | sort)" ]
	[ "$(show_peer allowed-ips $KEY2)" = 10.2.0.0/16 ]
}

@test "syncconf removes what is not in the file, and keeps what is" {
	wgset peer $KEY2 allowed-ips 10.2.0.0/16 peer $KEY1 allowed-ips 10.5.0.0/16
	write_conf
	on A wg syncconf wg0 "$TMP/wg.conf"
	[ "$(show peers)" = $KEY1 ]
	[ "$(show_peer allowed-ips $KEY1)" = 10.1.0.0/16 ]
	[ "$(show_peer persistent-keepalive $KEY1)" = 25 ]
}

@test "syncconf does not disturb a session" {
	host_new B
	join A B
	start_wg wireguard-go B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	latest=$(wg_field A latest-handshakes)
	on A wg showconf wg0 >"$TMP/same.conf"
	on A wg syncconf wg0 "$TMP/same.conf"
	ping_all A "$(inner4 B)" 20
	[ "$(wg_field A latest-handshakes)" = "$latest" ]
}

@test "dump" {
	wgset private-key "$(secret $ALICE)" listen-port 4321
	wgset peer $KEY1 endpoint 192.0.2.9:1234 allowed-ips 10.1.0.0/16 persistent-keepalive 5
	[ "$(on A wg show wg0 dump)" = "$(printf '%s\t%s\t4321\toff\n%s\t(none)\t%s\t%s\t0\t0\t0\t5' \
		$ALICE $ALICE_PUBLIC $KEY1 192.0.2.9:1234 10.1.0.0/16)" ]
	[ "$(on A wg show all dump | wc -l)" = 2 ]
}

@test "wg show to read" {
	wgset private-key "$(secret $ALICE)" listen-port 4321 peer $KEY1 \
		endpoint 192.0.2.9:1234 allowed-ips 10.1.0.0/16 persistent-keepalive 5
	on A wg show | tee "$TMP/show"
	grep -qx "interface: wg0" "$TMP/show"
	grep -qx "  public key: $ALICE_PUBLIC" "$TMP/show"
	grep -qx "  listening port: 4321" "$TMP/show"
	grep -qx "peer: $KEY1" "$TMP/show"
	grep -qx "  endpoint: 192.0.2.9:1234" "$TMP/show"
	grep -qx "  allowed ips: 10.1.0.0/16" "$TMP/show"
	grep -qx "  persistent keepalive: every 5 seconds" "$TMP/show"
}

@test "a bad configuration is refused, and the old one stays" {
	wgset private-key "$(secret $ALICE)" listen-port 4321 peer $KEY1 \
		endpoint 192.0.2.9:1234 allowed-ips 10.1.0.0/16
	refused $EINVAL private_key=77076d
	refused $EINVAL private_key=zz076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a
	refused $EINVAL listen_port=65536
	refused $EINVAL listen_port=-1
	refused $EINVAL fwmark=none
	refused $EINVAL replace_peers=false
	refused $EINVAL nonsense=1
	refused $EINVAL endpoint=192.0.2.1:1
	refused $EINVAL public_key=01
	refused $EINVAL public_key=$HEX1 allowed_ip=10.0.0.0/33
	refused $EINVAL public_key=$HEX1 allowed_ip=fd00::/129
	refused $EINVAL public_key=$HEX1 allowed_ip=10.0.0/8
	refused $EINVAL public_key=$HEX1 endpoint=192.0.2.1
	refused $EINVAL public_key=$HEX1 endpoint=192.0.2.1:0x50
	refused $EINVAL public_key=$HEX1 endpoint=localhost:80
	refused $EINVAL public_key=$HEX1 persistent_keepalive_interval=70000
	refused $EINVAL public_key=$HEX1 listen_port=1
}

@test "of a request with a bad line, the good lines do not count either" {
	needs_wgxdp
	wgset listen-port 4321
	refused $EINVAL listen_port=1234 public_key=$HEX2 nonsense=1
	refused $EINVAL replace_peers=true public_key=$HEX2 allowed_ip=10.1.0.0/99
}

@test "a request without the blank line at its end is refused, not applied" {
	needs_wgxdp
	wgset listen-port 4321
	answer=$(printf 'set=1\nlisten_port=1234\n' |
		on A socat -t 5 - "UNIX-CONNECT:$SOCKETS/wg0.sock")
	[ "$answer" = "errno=-$EINVAL" ]
	[ "$(show listen-port)" = 4321 ]
}

@test "another version of the protocol is refused" {
	needs_wgxdp
	answer=$(uapi set=1 public_key=$HEX2 protocol_version=2)
	[[ $answer == errno=-* ]]
	[ "$(show peers)" = "" ]
}

@test "a port in use is refused, and the old one stays" {
	on A ip link set wg0 up
	wgset listen-port 4321
	on_bg A socat -u UDP6-RECV:4322 OPEN:/dev/null
	wait_until 5 on A sh -c 'ss -Hluan "sport = :4322" | grep -q .'
	refute wgset listen-port 4322 2>"$TMP/err"
	cat "$TMP/err"
	grep -q "Address already in use" "$TMP/err"
	if is_wgxdp A; then
		[ "$(show listen-port)" = 4321 ]
	fi
}

@test "a socket that speaks nonsense, or says nothing, harms nobody" {
	head -c 300000 /dev/urandom >"$TMP/junk"
	on A timeout 5 socat -u "OPEN:$TMP/junk" "UNIX-CONNECT:$SOCKETS/wg0.sock" || true
	on A timeout 5 socat -u SYSTEM:'yes private_key= | head -c 3000000' \
		"UNIX-CONNECT:$SOCKETS/wg0.sock" || true
	for _ in $(seq 20); do
		on_bg A timeout 5 socat -u SYSTEM:'sleep 5' "UNIX-CONNECT:$SOCKETS/wg0.sock"
	done
	wgset listen-port 4321
	[ "$(show listen-port)" = 4321 ]
}

@test "5000 peers are set, shown and removed" {
	needs_wgxdp
	{
		echo "[Interface]"
		python3 - <<-'PY'
			import base64
			for n in range(5000):
			    key = base64.b64encode(n.to_bytes(31, "big") + b"\x42").decode()
			    print(f"[Peer]\nPublicKey = {key}\nAllowedIPs = 10.{n >> 8}.{n & 255}.0/24, fd00:{n:x}::/64")
		PY
	} >"$TMP/many.conf"
	on A wg setconf wg0 "$TMP/many.conf"
	[ "$(show peers | wc -l)" = 5000 ]
	[ "$(on A wg show wg0 allowed-ips | grep -c 'fd00:')" = 5000 ]
	printf '[Interface]\n' >"$TMP/none.conf"
	on A wg setconf wg0 "$TMP/none.conf"
	[ "$(show peers)" = "" ]
}
