# SPDX-License-Identifier: MIT
# Another XDP program on the NIC, in libxdp's dispatcher.

load lib

OBJECT=$BUILD/tests/tools/neighbour.bpf.o

setup() {
	needs_root
	needs_wgxdp
	command -v xdp-loader >/dev/null || skip "needs xdp-loader (Debian package xdp-tools)"
	host_new A
	host_new B
	join A B
}

# neighbour HOST DEVICE [SECTION]: loads a program that counts packets, as an administrator would.
neighbour() {
	on "$1" xdp-loader load -m native -s "${3:-xdp}" "$2" "$OBJECT" >"$TMP/loader" 2>&1
	if ! in_dispatcher "$1" "$2" neighbour; then
		skip "this kernel does not load BPF extensions, which libxdp's dispatcher needs"
	fi
}

# programs HOST DEVICE: prints the programs in the device's dispatcher, as "ID NAME".
programs() { on "$1" xdp-loader status "$2" | awk '$1 == "=>" { print $4, $3 }'; }

# in_dispatcher HOST DEVICE NAME [COUNT]: returns true if COUNT (1) programs there have this name.
in_dispatcher() { [ "$(programs "$1" "$2" | grep -c " $3")" = "${4:-1}" ]; }

# unload HOST DEVICE NAME: removes the program from the dispatcher.
unload() { on "$1" xdp-loader unload -i "$(programs "$1" "$2" | awk -v name="$3" '$2 ~ name { print $1 }')" "$2"; }

# seen HOST: prints what the counting program that was loaded last has counted. Maps of earlier ones
# may still exist.
seen() {
	local id

	id=$(on "$1" bpftool -j map | jq 'map(select(.name == "neighbour_seen").id) | max')
	on "$1" bpftool -j map lookup id "$id" key 0 0 0 0 | jq .formatted.value
}

# start_tunnel: makes a wgxdp tunnel between the two hosts.
start_tunnel() {
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
}

# passes_by_xdp: A's XDP program and the counting one before it both see the packets of the tunnel.
passes_by_xdp() {
	local before counted

	before=$(paths A)
	counted=$(seen A)
	ping_all A "$(inner4 B)" 50
	went_by A xdp "$before" 50
	(($(seen A) >= counted + 50))
}

@test "another XDP program is loaded before wgxdp, and while it runs" {
	neighbour A toB
	start_tunnel
	in_dispatcher A toB wg_nic
	status_is A '.nics[0].xdp == "native"'
	passes_by_xdp
	unload A toB neighbour
	in_dispatcher A toB neighbour 0
	before=$(paths A)
	ping_all A "$(inner4 B)" 50
	went_by A xdp "$before" 50
	neighbour A toB
	passes_by_xdp
	stop_wg A
	in_dispatcher A toB wg_nic 0
	in_dispatcher A toB neighbour
}

@test "another XDP program on a NIC with the filter only" {
	neighbour A toB
	start_wg wgxdp A --nic toB:filter
	start_wg wgxdp B --nic none
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	in_dispatcher A toB wg_nic
	status_is A '.nics[0].filter_only'
	before=$(paths A)
	counted=$(seen A)
	ping_all A "$(inner4 B)" 50
	went_by A udp "$before" 50
	(($(seen A) >= counted + 50))
	stop_wg A
	in_dispatcher A toB wg_nic 0
	in_dispatcher A toB neighbour
}

# libxdp would refuse a program that does not take such frames, if the dispatcher did.
@test "another XDP program that takes frames in several buffers" {
	neighbour A toB xdp.frags
	start_tunnel
	in_dispatcher A toB wg_nic
	passes_by_xdp
}

@test "a killed wgxdp leaves a program in the dispatcher, and the next start replaces it" {
	neighbour A toB
	start_tunnel
	kill_wg A
	in_dispatcher A toB wg_nic
	ping_all A "$(outer4 B)" 5
	wg_restart A B
	in_dispatcher A toB wg_nic
	passes_by_xdp
	# If the leftover is alone in the dispatcher, wgxdp removes both and attaches alone.
	unload A toB neighbour
	kill_wg A
	wg_restart A B
	on A ip -d -j link show toB | jq -e '.[0].xdp.prog.name | startswith("wg_nic")'
}

@test "somebody removes the dispatcher: wgxdp attaches alone" {
	neighbour A toB
	start_tunnel
	on A xdp-loader unload -a toB
	wait_until 10 grep -q "somebody detached the XDP program" "$TMP/A-wg0.log"
	wait_until 10 has_xdp A toB
	on_path A af_xdp
	ping_all A "$(inner4 B)" 20
}

@test "two interfaces of wgxdp and another program on one NIC" {
	neighbour A toB
	start_tunnel
	IFACE=wg1 start_wg wgxdp A
	(umask 077 && wg genkey >"$TMP/wg1.key")
	on A wg set wg1 private-key "$TMP/wg1.key" listen-port 51821 \
		peer "${PUBKEY[B]}" allowed-ips 10.0.1.2/32 endpoint "$(endpoint B 4)"
	on B wg set wg0 peer "$(wg pubkey <"$TMP/wg1.key")" allowed-ips 10.0.1.1/32
	on A ip address add 10.0.1.1/24 dev wg1
	on A ip link set wg1 mtu 1420 up
	on B ip address add 10.0.1.2/24 dev wg0
	wait_until 10 pings A 10.0.1.2
	status_is A '.refused[0].why | test("\\(xdp_dispatcher\\) of wg0;")' wg1
	kill_wg A
	wait_until 10 status_is A '.peers[0].path == "af_xdp"' wg1
	ping_all A 10.0.1.2 20
}
