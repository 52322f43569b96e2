# SPDX-License-Identifier: MIT
# The network under the tunnel: MTUs that do not fit, devices that merge packets, an interface that
# goes down and up.

load lib

# set_mtus UNDERLAY TUNNEL
set_mtus() {
	link_mtu "$1"
	on A ip link set wg0 mtu "$2"
	on B ip link set wg0 mtu "$2"
}

@test "a link's MTU is less than the tunnel's packets, by AF_XDP" {
	tunnel wgxdp wgxdp
	set_mtus 1300 1420
	no_trickle A B
	ping_all A "$(inner4 B)" 3 -s 1392 -M "do"
}

# whole_by_xdp: returns true if packets of full size go by AF_XDP both ways.
whole_by_xdp() {
	local before

	before=$(paths A)
	ping_all A "$(inner4 B)" 5 -s 1392 -M "do" && went_by A xdp "$before" 5
}

@test "a link's MTU is raised" {
	host_new A
	host_new B
	join A B
	link_mtu 1300
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	on_path B af_xdp
	link_mtu 1500
	wait_until 10 whole_by_xdp
}

@test "a link's MTU is less than the tunnel's packets, without XDP" {
	WGXDP_ARGS="--nic none" tunnel wgxdp wgxdp
	set_mtus 1300 1420
	no_trickle A B
	no_trickle A B -R
}

@test "a link's MTU is less than the tunnel's packets, IPv6" {
	WGXDP_ARGS="--nic none" tunnel wgxdp wgxdp 6
	set_mtus 1300 1420
	no_trickle A B
}

# large_packets_pass: over a link with an MTU of 9000.
large_packets_pass() {
	local size

	on A ip link set wg0 mtu 8920
	on B ip link set wg0 mtu 8920
	for size in 100 3000 4000 8000; do
		wait_until 10 pings A "$(inner4 B)"
		ping_all A "$(inner4 B)" 5 -s $size -M "do"
	done
}

@test "jumbo frames, larger than a UMEM frame" {
	host_new A
	host_new B
	join A B
	link_mtu 9000
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B
	large_packets_pass
	no_trickle A B
}

# veth refuses an MTU for the other end of a device that has XDP, as drivers do for their own.
@test "a link's MTU is raised beyond a buffer while XDP is attached, and lowered" {
	tunnel wgxdp wgxdp
	on_path A af_xdp
	on_path B af_xdp
	link_mtu 9000
	[ "$(on A cat /sys/class/net/wg0/mtu)" = 1420 ]
	ping_all A "$(inner4 B)" 20
	large_packets_pass
	on_path A af_xdp
	has_xdp B toA
	link_mtu 1500
	wait_until 10 whole_by_xdp
}

@test "a wg0 MTU of 65000: the underlay fragments" {
	tunnel wgxdp wgxdp
	set_mtus 1500 65000
	ping_all A "$(inner4 B)" 5 -s 60000 -M "do"
	ping_all A "$(inner6 B)" 5 -s 60000
}

# A bridge has only generic XDP, and the device under it merges datagrams.
@test "the outer address is on a bridge" {
	host_new A
	host_new B
	join A B
	on B ip link add br0 type bridge
	on B ip address flush dev toA
	on B ip link set toA master br0
	on B ip link set br0 up
	on B ip address add "$(outer4 B)" peer "$(outer4 A)" dev br0
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	no_trickle A B
	no_trickle A B -R
	status_is B '.nics == []'
}

@test "generic XDP on a device that merges datagrams" {
	host_new A
	host_new B
	join A B
	start_wg wgxdp A --nic none
	start_wg wgxdp B --nic toA:skb
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	no_trickle A B
}

listens() { on "$1" ss -Hulpn "sport = :$PORT" | grep -q wgxdp; }

@test "wg0 goes down and up many times: it listens" {
	WGXDP_ARGS="--nic none" tunnel wgxdp wgxdp
	for _ in {1..40}; do
		printf 'link set wg0 down\nlink set wg0 up\n' | on A ip -batch -
		wait_until 5 listens A
		refute grep "cannot listen" "$TMP/A-wg0.log"
	done
	on A ip route replace "$(inner6 B)/128" dev wg0
	wait_until 10 pings A "$(inner4 B)"
}

@test "the port is in use when wg0 comes up: wgxdp takes it when it is free" {
	host_new A
	start_wg wgxdp A
	wg_keys A
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	on_bg A socat -u "UDP4-RECV:$PORT" /dev/null
	wait_until 5 has_udp A
	on A ip link set wg0 up
	wait_until 5 grep -q "cannot listen on UDP port $PORT" "$TMP/A-wg0.log"
	status_is A '(.listening | not) and .listen_error == "Address already in use"'
	on A pkill -x socat
	wait_until 5 listens A
	wait_until 5 grep -q "listening on UDP port $PORT now" "$TMP/A-wg0.log"
	status_is A '.listening and .listen_error == null'
	[ "$(grep -c "cannot listen" "$TMP/A-wg0.log")" = 1 ]
}

has_udp() { on "$1" ss -Huln "sport = :$PORT" | grep -q .; }

# ---- other devices

# has_kind KIND [ARGUMENTS]: skips the test if the kernel has no such devices.
has_kind() {
	if unshare --net ip link add probe0 type "$@" 2>&1 | grep -q "Unknown device type"; then
		skip "this kernel has no ${1} devices"
	fi
}

# stacked upon|into KIND [ARGUMENTS of ip link add...]: puts the hosts' addresses on a device of
# that kind, which is upon the veth or has the veth as its port.
stacked() {
	host_new A
	host_new B
	join A B
	"$@" A toB
	"$@" B toA
	on A ip address add 192.0.2.1 peer 192.0.2.2 dev upper
	on B ip address add 192.0.2.2 peer 192.0.2.1 dev upper
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	ping_all A "$(inner4 B)" 20 -s 1300
	ping_all B "$(inner6 A)" 20
	no_trickle A B
	no_trickle A B -R
}

# upon KIND... HOST DEVICE
upon() {
	local kind=("${@:1:$#-2}") host=${*: -2:1} dev=${*: -1}

	on "$host" ip address flush dev "$dev"
	on "$host" ip link add link "$dev" name upper type "${kind[@]}"
	on "$host" ip link set upper up
}

# into KIND... HOST DEVICE
into() {
	local kind=("${@:1:$#-2}") host=${*: -2:1} dev=${*: -1}

	on "$host" ip address flush dev "$dev"
	on "$host" ip link set "$dev" down
	on "$host" ip link add name upper type "${kind[@]}"
	on "$host" ip link set "$dev" master upper
	on "$host" ip link set "$dev" up
	on "$host" ip link set upper up
}

@test "over a VLAN" {
	has_kind vlan id 5
	stacked upon vlan id 5
}
@test "over a macvlan" {
	has_kind macvlan
	stacked upon macvlan mode bridge
}
@test "over a bridge at both ends" {
	has_kind bridge
	stacked into bridge
}
@test "over a bond" {
	has_kind bond
	stacked into bond mode active-backup miimon 100
}

# vxlan_on HOST DEVICE: adds a VXLAN, to which the host's addresses move.
vxlan_on() {
	local other=B

	if [ "$1" = B ]; then
		other=A
	fi
	on "$1" ip address flush dev "$2"
	on "$1" ip address add "198.51.100.${HOST_NUM[$1]}/24" dev "$2"
	on "$1" ip link add upper type vxlan id 7 dstport 4789 \
		remote "198.51.100.${HOST_NUM[$other]}"
	on "$1" ip link set upper up
}

@test "over a VXLAN" {
	has_kind vxlan id 7 dstport 4789
	stacked vxlan_on
}

# wireguard-go's TUN device has no link-layer addresses.
@test "over a device that is not Ethernet: inside wireguard-go" {
	MTU=1340 tunnel wireguard-go wireguard-go
	MTU=1340 inner_tunnel A B
	status_is A '.peers[0].path == "udp"' wg1
	ping_all A 10.1.0.2 50 -s 1200
	inner_stream
}

# A and B reach each other through M, where two interfaces make a tunnel over lo. Packets from one
# side enter that side's interface and leave by the other.
@test "over lo: two interfaces of one host" {
	host_new A
	host_new M
	host_new B
	join A M
	join M B
	on A ip route add 192.0.2.3 via 192.0.2.2
	on B ip route add 192.0.2.1 via 192.0.2.2
	start_wg wgxdp M
	IFACE=wg1 start_wg wgxdp M
	wg_keys M B
	on M wg set wg0 private-key "$TMP/M.key" listen-port 51820 peer "${PUBKEY[B]}" \
		endpoint 127.0.0.1:51821 allowed-ips 0.0.0.0/0
	on M wg set wg1 private-key "$TMP/B.key" listen-port 51821 peer "${PUBKEY[M]}" \
		endpoint 127.0.0.1:51820 allowed-ips 0.0.0.0/0
	on M sysctl -qw net.ipv4.ip_forward=1
	on M ip link set wg0 up
	on M ip link set wg1 up
	on M ip rule add iif toA lookup 100
	on M ip route add 192.0.2.3 dev wg0 table 100
	on M ip rule add iif toB lookup 101
	on M ip route add 192.0.2.1 dev wg1 table 101
	wait_until 10 pings A 192.0.2.3
	before=$(wg_field M transfer wg1 | cut -f 1)
	ping_all A 192.0.2.3 50
	ping_all A 192.0.2.3 10 -s 5000
	(($(wg_field M transfer wg1 | cut -f 1) - before > 50 * 116))
	no_trickle A B -c 192.0.2.3
	status_is M '.nics == []' wg0
}

# inner_tunnel A B: makes wg1, 10.1.0.0/24, whose endpoints are reached by wg0.
inner_tunnel() {
	local host

	for host; do
		IFACE=wg1 start_wg wgxdp "$host"
		on "$host" wg set wg1 private-key "$TMP/$host.key" listen-port 51821
		on "$host" ip address add "10.1.0.${HOST_NUM[$host]}/24" dev wg1
	done
	on "$1" wg set wg1 peer "${PUBKEY[$2]}" allowed-ips 10.1.0.0/24 \
		endpoint "$(inner4 "$2"):51821"
	on "$2" wg set wg1 peer "${PUBKEY[$1]}" allowed-ips 10.1.0.0/24
	on "$1" ip link set wg1 mtu "$MTU" up
	on "$2" ip link set wg1 mtu "$MTU" up
	wait_until 10 pings "$1" 10.1.0.2
}

inner_stream() { no_trickle A B -c 10.1.0.2; }

inside() {
	tunnel wgxdp wgxdp
	inner_tunnel A B
	on_path A af_xdp
	ping_all A 10.1.0.2 50 -s 1200
	inner_stream
	status_is A '.nics == []' wg1
}

@test "WireGuard inside WireGuard" { MTU=1340 inside; }
@test "WireGuard inside WireGuard, which fragments it" { MTU=1420 inside; }

# fragments_in IP|IP6
fragments_in() {
	on B cat /proc/net/snmp /proc/net/snmp6 | awk -v p="$1" '
		$1 == "Ip:" && p == "IP" && !n { n = split($0, name); next }
		$1 == "Ip:" && p == "IP" {
			for (i = 1; i <= n; i++)
				if (name[i] == "ReasmOKs")
					print $i
		}
		$1 == "Ip6ReasmOKs" && p == "IP6" { print $2 }'
}

# fragments 4|6 IP|IP6 PREFIX METRIC: A sends fragments, B does not. B has XDP on its NIC.
fragments() {
	local before

	tunnel wgxdp wgxdp "$1"
	on_path B af_xdp
	on A ip route replace "$3" dev toB metric "$4" mtu 1300
	before=$(fragments_in "$2")
	ping_all A "$(inner4 B)" 50 -s 1392 -M "do"
	# The first packets may leave before wgxdp knows the new MTU.
	(($(fragments_in "$2") - before >= 40))
	no_trickle A B
}

@test "fragments are received, IPv4" { fragments 4 IP 192.0.2.2/32 0; }
@test "fragments are received, IPv6" { fragments 6 IP6 2001:db8::2/128 256; }

@test "a wg0 MTU of 65000: the underlay fragments, IPv6" {
	tunnel wgxdp wgxdp 6
	set_mtus 1500 65000
	ping_all A "$(inner4 B)" 5 -s 60000 -M "do"
	no_trickle A B
}

# sleeps: prints how often the daemon's threads have gone to sleep.
# shellcheck disable=SC2016 # awk's
sleeps() {
	on A sh -c "cat /proc/$(daemon_pid A)/task/*/status" |
		awk '/^voluntary_ctxt_switches/ { n += $2 } END { print n }'
}

@test "a NIC that goes down with packets to send does not keep waking threads" {
	local sender before

	tunnel wgxdp wgxdp
	on_path A af_xdp
	on A timeout 2 sh -c 'exec socat -u OPEN:/dev/zero "UDP4-SENDTO:$0:9"' "$(inner4 B)" 3>&- &
	sender=$!
	sleep 0.5 # while it sends
	on A ip link set toB down
	wait $sender || true
	before=$(sleeps)
	sleep 1 # this second is measured
	[ $(($(sleeps) - before)) -lt 100 ]
	on A ip link set toB up
	on A ip route replace "$(outer4 B)" dev toB
	wait_until 20 pings A "$(inner4 B)"
}

# full_size: pings with packets of wg0's MTU.
full_size() { ping_all A "$(inner4 B)" 5 -s 1392 -M "do"; }

# IPv6 routers do not fragment, and the kernel sends no event when it learns or forgets a path's
# MTU.
@test "a link beyond a router has a smaller MTU, IPv6" {
	host_new A
	host_new R
	host_new B
	join A R
	join R B
	on R sysctl -qw net.ipv6.conf.all.forwarding=1
	on R ip link set toB mtu 1400
	on B ip link set toR mtu 1400
	on A ip route add "$(outer6 B)" via "$(outer6 R)" dev toR
	on B ip route add "$(outer6 A)" via "$(outer6 R)" dev toR
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B 6
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	wait_until 5 full_size
	on A ip -6 route flush cache
	on A wg set wg0 fwmark 1 # resolves paths again
	wait_until 5 full_size
	on_path A af_xdp
}

@test "a link's IPv6 MTU is smaller than its MTU" {
	local before

	host_new A
	host_new B
	join A B
	on A sysctl -qw net.ipv6.conf.toB.mtu=1400
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B 6
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	before=$(paths A)
	full_size
	# In fragments, which only the kernel makes. (B's link is unchanged. Linux 6.1 resets that
	# MTU to the link's when the other end gets an XDP program.)
	# shellcheck disable=SC2016 # variables of jq
	paths A | jq -e --argjson before "$before" '
		.tx_udp_packets - $before.tx_udp_packets >= 5 and .tx_xdp_packets == $before.tx_xdp_packets'
}
