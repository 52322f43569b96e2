# SPDX-License-Identifier: MIT
# What `make install` puts where, and the systemd unit among it.

load lib

setup() {
	needs_root
	needs_wgxdp
	installed=$TMP/usr
	UNIT=$installed/lib/systemd/system/wgxdp@.service
}

# install_to VARIABLES...: of the binary that is being tested, which is not built anew.
install_to() {
	env -u MAKEFLAGS -u MAKELEVEL make -s -C "$REPO" -o all \
		B="$(dirname "$(realpath "$WGXDP")")" "$@" install
}

# unit_command KEY [UNIT]: as systemd would run it for wg0.
unit_command() {
	sed -n "s/^$1=//p" "${2:-$UNIT}" | sed 's/\$\$/$/g; s/%%/%/g; s/%i/wg0/g'
}

# conf ALLOWED_IPS: wg-quick's keywords in it are not for wg(8).
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

@test "make install puts the program, its man page and its unit under DESTDIR and PREFIX" {
	install_to DESTDIR="$TMP" PREFIX=/opt/wgxdp
	(cd "$TMP" && find opt -type f -printf '%p %m\n' | sort) | tee "$TMP/files"
	diff "$TMP/files" - <<-END
		opt/wgxdp/bin/wgxdp 755
		opt/wgxdp/lib/systemd/system/wgxdp@.service 644
		opt/wgxdp/share/man/man8/wgxdp.8 644
	END
	cmp "$WGXDP" "$TMP/opt/wgxdp/bin/wgxdp"
	start=$(unit_command ExecStart "$TMP/opt/wgxdp/lib/systemd/system/wgxdp@.service")
	[ "$start" = "/opt/wgxdp/bin/wgxdp wg0" ]
}

@test "the man page is without mistakes" {
	if ! command -v groff >/dev/null; then
		skip "no groff here"
	fi
	install_to PREFIX="$installed"
	groff -ww -man -Tutf8 "$installed/share/man/man8/wgxdp.8" >"$TMP/text" 2>"$TMP/out"
	cat "$TMP/out"
	[ ! -s "$TMP/out" ]
	grep -q wgxdp "$TMP/text"
}

# What it does not know it only warns of.
@test "systemd understands the unit" {
	if ! command -v systemd-analyze >/dev/null; then
		skip "no systemd-analyze here"
	fi
	install_to PREFIX="$installed"
	systemd-analyze verify --man=no --recursive-errors=no "$UNIT" 2>&1 | tee "$TMP/out"
	[ "${PIPESTATUS[0]}" = 0 ]
	refute grep -F "$(basename "$UNIT")" "$TMP/out"
}

@test "the unit's commands start, configure and reload the interface" {
	install_to PREFIX="$installed"
	host_new A
	on A mount -t tmpfs tmpfs /etc/wireguard
	wg_keys A B
	conf 10.0.0.2/32
	on A timeout $((20 * PATIENCE)) bash -c "$(unit_command ExecStart)" 3>&-
	on A bash -c "$(unit_command ExecStartPost)"
	[ "$(wg_field A listen-port)" = "$PORT" ]
	[ "$(wg_field A allowed-ips)" = 10.0.0.2/32 ]
	conf 10.0.0.3/32
	on A bash -c "$(unit_command ExecReload)"
	[ "$(wg_field A allowed-ips)" = 10.0.0.3/32 ]
	on A ip link del wg0
	wait_until 10 refute on A pgrep -x wgxdp
}

@test "a reload without a configuration file fails and leaves the peers alone" {
	install_to PREFIX="$installed"
	host_new A
	on A mount -t tmpfs tmpfs /etc/wireguard
	wg_keys A B
	conf 10.0.0.2/32
	on A timeout $((20 * PATIENCE)) bash -c "$(unit_command ExecStart)" 3>&-
	on A bash -c "$(unit_command ExecStartPost)"
	on A rm /etc/wireguard/wg0.conf
	refute on A bash -c "$(unit_command ExecReload)"
	[ "$(wg_field A allowed-ips)" = 10.0.0.2/32 ]
	[ "$(wg_field A listen-port)" = "$PORT" ]
	on A ip link del wg0
	wait_until 10 refute on A pgrep -x wgxdp
}
