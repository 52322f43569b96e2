# SPDX-License-Identifier: MIT
# The files that `make install` installs, and the systemd unit.

load lib

setup() {
	needs_root
	needs_wgxdp
	installed=$TMP/usr
	UNIT=$installed/lib/systemd/system/wgxdp@.service
}

# install_to VARIABLES...: installs the binary that is tested, without building it.
install_to() {
	env -u MAKEFLAGS -u MAKELEVEL make -s -C "$REPO" -o all \
		B="$(dirname "$(realpath "$WGXDP")")" "$@" install
}

# unit_command KEY [UNIT]: prints the command as systemd would run it for wg0.
unit_command() {
	sed -n "s/^$1=//p" "${2:-$UNIT}" | sed 's/\$\$/$/g; s/%%/%/g; s/%i/wg0/g'
}

# conf ALLOWED_IPS: writes A's wg0.conf, with keywords that only wg-quick understands.
conf() {
	on A tee /etc/wireguard/wg0.conf >/dev/null <<-END
		[Interface]
		PrivateKey = $(<"$TMP/A.key")
		ListenPort = $PORT
		Address = 10.0.0.1/24
		PostUp = false

		[Peer]
		PublicKey = ${PUBKEY[B]}
		AllowedIPs = $1
	END
	on A chmod 600 /etc/wireguard/wg0.conf
}

@test "make install puts the program, its documents and its unit under DESTDIR and PREFIX" {
	local docs=opt/wgxdp/share/doc/wgxdp

	install_to DESTDIR="$TMP" PREFIX=/opt/wgxdp
	(cd "$TMP" && find opt -type f -printf '%p %m\n' | sort) | tee "$TMP/files"
	diff "$TMP/files" - <<-END
		opt/wgxdp/bin/wgxdp 755
		opt/wgxdp/lib/systemd/system/wgxdp@.service 644
		opt/wgxdp/lib/wgxdp/wgxdp-down 755
		opt/wgxdp/lib/wgxdp/wgxdp-setconf 755
		$(cd "$REPO" && find README.md CHANGELOG.md LICENSE docs -type f \( -name '*.md' -o \
			-name '*.svg' -o -name LICENSE \) -printf "$docs/%p 644\n" | sort)
		opt/wgxdp/share/man/man8/wgxdp.8 644
	END
	cmp "$WGXDP" "$TMP/opt/wgxdp/bin/wgxdp"
	start=$(unit_command ExecStart "$TMP/opt/wgxdp/lib/systemd/system/wgxdp@.service")
	[ "$start" = "/opt/wgxdp/bin/wgxdp wg0" ]
	start=$(unit_command ExecStartPost "$TMP/opt/wgxdp/lib/systemd/system/wgxdp@.service")
	[ "$start" = "/opt/wgxdp/lib/wgxdp/wgxdp-setconf setconf wg0" ]
}

@test "make uninstall removes what make install put there, and nothing else" {
	install_to DESTDIR="$TMP" PREFIX=/opt/wgxdp
	touch "$TMP/opt/wgxdp/bin/other"
	env -u MAKEFLAGS -u MAKELEVEL make -s -C "$REPO" DESTDIR="$TMP" PREFIX=/opt/wgxdp uninstall
	(cd "$TMP" && find opt -type f) | tee "$TMP/files"
	[ "$(<"$TMP/files")" = opt/wgxdp/bin/other ]
}

@test "the man page has no mistakes" {
	if ! command -v groff >/dev/null; then
		skip "no groff here"
	fi
	install_to PREFIX="$installed"
	groff -ww -man -Tutf8 "$installed/share/man/man8/wgxdp.8" >"$TMP/text" 2>"$TMP/out"
	cat "$TMP/out"
	[ ! -s "$TMP/out" ]
	grep -q wgxdp "$TMP/text"
}

@test "the program is hardened: position-independent, RELRO, stack protector, fortified calls" {
	readelf -Wh "$WGXDP" | grep -q 'Type: *DYN'
	readelf -Wl "$WGXDP" >"$TMP/segments"
	grep -q GNU_RELRO "$TMP/segments"
	grep GNU_STACK "$TMP/segments" | grep -q ' RW '
	refute grep -q ' RWE ' "$TMP/segments"
	readelf -Wd "$WGXDP" | grep -q BIND_NOW
	readelf -W --dyn-syms "$WGXDP" >"$TMP/symbols"
	grep -q __stack_chk_fail "$TMP/symbols"
	grep -q __memcpy_chk "$TMP/symbols"
}

# systemd only warns of keys that it does not know.
@test "systemd understands the unit" {
	if ! command -v systemd-analyze >/dev/null; then
		skip "no systemd-analyze here"
	fi
	install_to PREFIX="$installed"
	systemd-analyze verify --man=no --recursive-errors=no "$UNIT" 2>&1 | tee "$TMP/out"
	[ "${PIPESTATUS[0]}" = 0 ]
	refute grep -F "$(basename "$UNIT")" "$TMP/out"
}

# docs/design.md says what keeps it from being lower.
@test "the unit's exposure, as systemd-analyze security rates it, is at most 2.4 of 10" {
	if ! systemd-analyze security --help 2>/dev/null | grep -q -e --offline; then
		skip "no systemd-analyze here that rates files"
	fi
	install_to PREFIX="$installed"
	systemd-analyze security --offline=yes --no-pager --threshold=24 "$UNIT" >"$TMP/out" || {
		cat "$TMP/out"
		return 1
	}
	sed 's/^NoNewPrivileges=yes$//; s/^PrivateDevices=yes$//; s/^RestrictNamespaces=yes$//' \
		"$UNIT" >"$TMP/wgxdp@.service"
	refute systemd-analyze security --offline=yes --no-pager --threshold=24 \
		"$TMP/wgxdp@.service" >/dev/null
}

# unit_does KEY: runs the unit's command, in a limited time, with its output in $TMP/unit.log.
# A daemon that it starts must not hold bats' descriptor 3.
unit_does() {
	on A timeout $((20 * PATIENCE)) bash -c "$(unit_command "$1")" >>"$TMP/unit.log" \
		2>&1 3>&-
}

# installed_with_configuration: in A, which has no daemon yet.
installed_with_configuration() {
	install_to PREFIX="$installed"
	host_new A
	on A mount -t tmpfs tmpfs /etc/wireguard
	wg_keys A B
	conf 10.0.0.2/32
}

interface_ends() {
	on A ip link del wg0
	wait_until 10 refute on A pgrep -x wgxdp
}

@test "the unit's commands start, configure and reload the interface" {
	installed_with_configuration
	unit_does ExecStart
	unit_does ExecStartPost
	[ "$(wg_field A listen-port)" = "$PORT" ]
	[ "$(wg_field A allowed-ips)" = 10.0.0.2/32 ]
	conf 10.0.0.3/32
	unit_does ExecReload
	[ "$(wg_field A allowed-ips)" = 10.0.0.3/32 ]
	interface_ends
}

@test "the unit's start fails if the port is in use" {
	installed_with_configuration
	on_bg A socat -u "UDP4-RECV:$PORT" OPEN:/dev/null
	wait_until 5 listening_udp A "$PORT"
	unit_does ExecStart
	refute unit_does ExecStartPost
	grep -q "Address already in use" "$TMP/unit.log"
	interface_ends
}

@test "a reload without a configuration file fails and leaves the peers alone" {
	installed_with_configuration
	unit_does ExecStart
	unit_does ExecStartPost
	on A rm /etc/wireguard/wg0.conf
	refute unit_does ExecReload
	[ "$(wg_field A allowed-ips)" = 10.0.0.2/32 ]
	[ "$(wg_field A listen-port)" = "$PORT" ]
	interface_ends
}

# ---- endpoints that are names

# names_scene: makes A, started by the unit's commands, with an empty /etc/hosts and no DNS, and the
# peers B and C, which do not know A's endpoint.
names_scene() {
	local host

	install_to PREFIX="$installed"
	for host in A B C; do
		host_new $host
	done
	wg_keys A B C
	for host in B C; do
		join A $host
		start_wg wireguard-go $host
		on $host wg set wg0 private-key "$TMP/$host.key" listen-port "$PORT"
		wg_up $host
		wg_peer $host A
	done
	on A mount -t tmpfs tmpfs /etc/wireguard
	: >"$TMP/hosts"
	: >"$TMP/resolv.conf"
	on A mount --bind "$TMP/hosts" /etc/hosts
	on A mount --bind "$TMP/resolv.conf" /etc/resolv.conf
	unit_does ExecStart
}

# conf_names ENDPOINT_OF_C: writes A's wg0.conf with odd case and spaces.
conf_names() {
	on A tee /etc/wireguard/wg0.conf >/dev/null <<-END
		[Interface]
		PrivateKey = $(<"$TMP/A.key")
		ListenPort = $PORT

		[peer]
		 endpoint=$1 # by name
		PublicKey = ${PUBKEY[C]}
		AllowedIPs = $(inner4 C)/32
		[Peer]
		PublicKey = ${PUBKEY[B]}
		AllowedIPs = $(inner4 B)/32
		Endpoint = $(endpoint B 4)
	END
	on A chmod 600 /etc/wireguard/wg0.conf
}

endpoint_is() { # PEER ENDPOINT
	on A wg show wg0 endpoints | grep -qxF "${PUBKEY[$1]}"$'\t'"$2"
}

followers() { on A pgrep -fc wgxdp-setconf; }

@test "a peer whose endpoint's name does not resolve does not delay other peers, and is set later" {
	names_scene
	conf_names "C.test:$PORT"
	unit_does ExecStartPost
	wg_up A
	wait_until 3 pings A "$(inner4 B)"
	endpoint_is C "(none)"
	refute pings A "$(inner4 C)"
	[ "$(on A wg show wg0 allowed-ips | wc -l)" = 2 ]
	[ "$(grep -c "endpoint C.test:$PORT of peer ${PUBKEY[C]} cannot be set yet" "$TMP/unit.log")" = 1 ]

	echo "$(outer4 C) C.test" >"$TMP/hosts"
	wait_until 20 endpoint_is C "$(endpoint C 4)"
	wait_until 10 pings A "$(inner4 C)"
	ping_all A "$(inner4 B)" 5
	cat "$TMP/unit.log"
	[ "$(wc -l <"$TMP/unit.log")" = 2 ] # one for the failure, one for the success
	wait_until 5 refute followers
}

@test "a DNS server that never answers delays neither the start nor other peers" {
	local start

	names_scene
	echo "nameserver $(outer4 B)" >"$TMP/resolv.conf"
	on_bg B socat -u UDP-RECV:53 "CREATE:$TMP/queries"
	wait_until 5 listening_udp B 53
	conf_names "C.test:$PORT"
	start=$SECONDS
	unit_does ExecStartPost
	((SECONDS - start <= 8 * PATIENCE))
	wg_up A
	wait_until 3 pings A "$(inner4 B)"
	wait_until 5 grep -qa test "$TMP/queries"
	endpoint_is C "(none)"
}

@test "a name that resolves is set when the command returns, IPv6 and in brackets, too" {
	names_scene
	echo "$(outer6 C) C.test" >"$TMP/hosts"
	conf_names "c.TEST:$PORT"
	unit_does ExecStartPost
	endpoint_is C "$(endpoint C 6)"
	endpoint_is B "$(endpoint B 4)"
	wg_up A
	wait_until 5 pings A "$(inner4 C)"
	on A wg set wg0 peer "${PUBKEY[C]}" endpoint "$(endpoint C 4)"
	conf_names "[C.test]:$PORT"
	unit_does ExecReload
	endpoint_is C "$(endpoint C 6)"
	# An address needs no look-up.
	conf_names "$(endpoint C 6)"
	unit_does ExecReload
	endpoint_is C "$(endpoint C 6)"
	[ ! -s "$TMP/unit.log" ]
	refute followers
}

@test "a reload keeps the endpoint of a peer whose name does not resolve now" {
	local before

	names_scene
	conf_names "C.test:$PORT"
	unit_does ExecStartPost
	wg_up A
	on C wg set wg0 peer "${PUBKEY[A]}" endpoint "$(endpoint A 4)"
	wait_until 10 pings C "$(inner4 A)" # C begins, so A learns its endpoint without its name
	endpoint_is C "$(endpoint C 4)"
	wait_until 20 refute followers
	before=$(on A wg show wg0 latest-handshakes)
	for _ in 1 2 3; do
		unit_does ExecReload
	done
	endpoint_is C "$(endpoint C 4)"
	ping_all A "$(inner4 C)" 5
	[ "$(on A wg show wg0 latest-handshakes)" = "$before" ]
	# A new run ends the look-ups of the earlier ones.
	only_one() { [ "$(followers)" = 1 ]; }
	wait_until 20 only_one
}

@test "a peer that is removed while its name is looked up does not come back" {
	names_scene
	conf_names "C.test:$PORT"
	unit_does ExecStartPost
	on A wg set wg0 peer "${PUBKEY[C]}" remove
	echo "$(outer4 C) C.test" >"$TMP/hosts"
	wait_until 20 refute followers
	[ "$(on A wg show wg0 peers)" = "${PUBKEY[B]}" ]
	unit_does ExecReload
	endpoint_is C "$(endpoint C 4)"
	conf_names "C.invalid:$PORT"
	unit_does ExecReload
	on A ip link del wg0
	wait_until 20 refute followers
}

@test "a configuration that wg(8) refuses is refused, and nothing is set" {
	names_scene
	conf_names "C.test"
	refute unit_does ExecStartPost
	[ -z "$(on A wg show wg0 peers)" ]
	refute on A "$installed/lib/wgxdp/wgxdp-setconf" addconf wg0
	refute on A "$installed/lib/wgxdp/wgxdp-setconf" setconf
}
