# SPDX-License-Identifier: MIT
# Zero-copy AF_XDP, on NICs whose driver has it.

load lib

# 100 MB take long in an emulated machine.
export BATS_TEST_TIMEOUT=$((200 * PATIENCE))

setup() { needs_root; }

teardown() {
	if [ "${BATS_TEST_COMPLETED:-}" != 1 ]; then
		show_nics
	fi
	cleanup
}

# show_nics: prints which counters of NICs and interrupts grow within a second.
show_nics() {
	count_nics >"$TMP/nics"
	sleep 1
	echo "--- NICs and interrupts, a second later"
	count_nics | diff "$TMP/nics" -
}

count_nics() {
	local host

	for host in "${!HOST_PID[@]}"; do
		# shellcheck disable=SC2016 # that shell's
		on "$host" sh -c 'for dev in $(ls /sys/class/net); do ethtool -S $dev; done' 2>&1 |
			sed "s/^/$host/"
	done
	grep virtio /proc/interrupts
}

# By driver: the first kernel with zero-copy each way.
declare -gA SINCE=([virtio_net]=6.13 [igb]=6.14)

has_zerocopy() { kernel_at_least "${SINCE[$1]}"; }

needs_zerocopy() {
	local driver

	driver=$(driver_of "$1")
	needs_pair "$1"
	has_zerocopy "$driver" ||
		skip "$driver has zero-copy since ${SINCE[$driver]}, this is $(uname -r)"
}

# zc_tunnel PAIR IMPL_B [:MODE]: makes a tunnel between A and B, joined by these two NICs. With
# ":zc", requires zero-copy on the command line.
zc_tunnel() {
	local host

	host_new A
	host_new B
	join_by_nics "$1" A B
	start_wg wgxdp A ${3:+--nic "toB$3"}
	case $2 in
	wgxdp) start_wg wgxdp B ${3:+--nic "toA$3"} ;;
	*) start_wg "$2" B ;;
	esac
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	for host in A B; do
		on_path $host af_xdp
		if is_wgxdp $host; then
			is_zerocopy $host
		fi
	done
}

is_zerocopy() {
	status_is "$1" '.nics[0] | .xdp == "native" and .af_xdp == "zero-copy"'
	on "$1" "$WGXDP" status wg0 | grep -q 'XDP native, AF_XDP zero-copy'
}

# transfer FROM TO BYTES: sends a file, which must arrive unchanged and only by AF_XDP.
transfer() {
	local before_from before_to

	before_from=$(paths "$1")
	before_to=$(paths "$2")
	send_file "$@"
	went_by "$1" xdp "$before_from" $(($3 / 1500 / 50))
	went_by "$2" xdp "$before_to" $(($3 / 1500 / 50))
}

# sent_is_received PAIR: returns true if each end has received what the other has sent. (QEMU's igb
# loses packets while its ring is full, at most 1 in 100.)
sent_is_received() {
	local least=100

	[ "$1" != igb ] || least=99
	paste <(on A wg show wg0 transfer) <(on B wg show wg0 transfer) | awk -v least=$least '
		function agree(sent, received) { return received <= sent && received * 100 >= sent * least }
		{ good = agree($3, $5) && agree($6, $2) }
		END { exit !good }'
}

LARGE=100000000

both_zerocopy() {
	zc_tunnel "$1" wgxdp :zc
	ping_all A "$(inner4 B)" 50
	ping_all B "$(inner6 A)" 50 -s 1300
	transfer A B "$2"
	transfer B A "$2"
	is_zerocopy A
	is_zerocopy B
	wait_until 5 sent_is_received "$1"
}

@test "virtio_net: 100 MB each way, zero-copy required at both ends" {
	needs_zerocopy virtio
	both_zerocopy virtio $LARGE
}

@test "virtio_net with spare queues: they receive, and the kernel does not crash" {
	needs_zerocopy spare
	both_zerocopy spare 10000000
	status_is A '.nics[0].xdp_queues >= 1'
	on A "$WGXDP" status wg0 | grep -q 'queue(s) and [0-9]* that only receive'
	# The peer's ports spread packets over all queues, those that XDP added included. Nothing
	# is received by the UDP socket. (The first answer after a move is sent by it.)
	before=$(status_of A .paths.rx_udp_packets)
	for port in {20001..20016}; do
		on B wg set wg0 listen-port "$port"
		wait_until 5 pings B "$(inner4 A)"
		ping_all B "$(inner4 A)" 5
	done
	[ "$(status_of A .paths.rx_udp_packets)" = "$before" ]
	queue_packets | jq -se --argjson own "$(status_of A '.nics[0].queues')" \
		'debug | .[$own:] | add > 0'
	killed_and_again A
	stop_wg A
	stop_wg B
	start_again A --nic toB:zc
	start_again B --nic toA:zc
	wait_until 10 pings B "$(inner4 A)"
	is_zerocopy A
}

# start_again HOST ARGUMENTS...: starts wgxdp with the saved configuration.
start_again() {
	start_wg wgxdp "$@"
	on "$1" wg setconf wg0 "$TMP/$1.conf"
	wg_up "$1"
}

killed_and_again() {
	on A wg showconf wg0 >"$TMP/A.conf"
	on B wg showconf wg0 >"$TMP/B.conf"
	on A kill -KILL "$(daemon_pid A)"
	wait_wg A || [ $? = 137 ]
	start_again A --nic toB:zc
	wait_until 10 pings A "$(inner4 B)"
}

@test "igb: 100 MB each way, zero-copy required at both ends" {
	needs_zerocopy igb
	both_zerocopy igb $LARGE
}

with_kernel() {
	needs_wireguard
	zc_tunnel "$1" kernel
	ping_all A "$(inner4 B)" 50
	transfer A B 10000000
	transfer B A 10000000
	wait_until 5 sent_is_received "$1"
}

@test "virtio_net: zero-copy by default, to the kernel's WireGuard" {
	needs_zerocopy virtio
	with_kernel virtio
}

@test "igb: zero-copy by default, to the kernel's WireGuard" {
	needs_zerocopy igb
	with_kernel igb
}

# ---- several queues

# queue_packets: prints how many packets XDP has redirected from each queue of A's NIC, as the
# driver counts them. (The counters have another name in Linux 6.1.)
queue_packets() {
	on A ethtool -S toB | sed -n 's/^ *rx\(_queue_\)\?[0-9]*_xdp_redirects: //p'
}

# worker_packets: prints how many packets each worker has received by AF_XDP.
worker_packets() {
	on A bpftool -j map dump pinned "$PINS/wg0/worker_stats" |
		jq -c '[.[].formatted.value | .rx_xdp_packets]'
}

@test "virtio_net: peers are spread over queues and workers" {
	local mode=zc

	needs_pair virtio
	needs_wireguard
	has_zerocopy virtio_net || mode=copy
	host_new A
	host_new B
	join_by_nics virtio A B
	start_wg wgxdp A --nic toB:$mode --workers 2
	status_is A '.nics[0].queues >= 2 and .workers == 2'
	wg_keys A
	# shellcheck disable=SC2153 # lib sets PORT
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	wg_up A
	for n in {1..16}; do
		(umask 077 && wg genkey >"$TMP/B$n.key")
		on B ip link add "wg$n" type wireguard
		on B wg set "wg$n" private-key "$TMP/B$n.key" listen-port $((20000 + n)) \
			peer "${PUBKEY[A]}" endpoint "$(endpoint A 4)" allowed-ips "10.2.0.$n/32"
		on B ip address add "10.1.0.$n/32" dev "wg$n"
		on B ip link set "wg$n" up
		on B ip route add "10.2.0.$n/32" dev "wg$n"
		on A wg set wg0 peer "$(wg pubkey <"$TMP/B$n.key")" allowed-ips "10.1.0.$n/32"
		on A ip address add "10.2.0.$n/32" dev wg0
		on A ip route add "10.1.0.$n/32" dev wg0
	done
	for n in {1..16}; do
		wait_until 10 pings_from B "10.1.0.$n" "10.2.0.$n"
		ping_all B "10.2.0.$n" 10 -I "10.1.0.$n"
	done
	worker_packets
	status_of A '.paths.rx_xdp_packets >= 160'
	# At least two workers and two queues have received packets.
	worker_packets | jq -e 'map(select(. >= 10)) | length >= 2'
	queue_packets | jq -se 'debug | map(select(. >= 10)) | length >= 2'
	if [ $mode = zc ]; then
		is_zerocopy A
	fi
}

pings_from() { on "$1" ping -q -n -c 1 -W 1 -I "$2" "$3" >/dev/null; }

# ---- without zero-copy

refused() {
	refute on A timeout $((20 * PATIENCE)) "$WGXDP" -f --nic "$1" wg0 2>"$TMP/refusal"
	cat "$TMP/refusal"
	grep -q "zero-copy needs a driver that has it: use :copy, or no suffix" "$TMP/refusal"
	[ "$(wc -l <"$TMP/refusal")" = 1 ]
	refute on A ip link show wg0
	refute has_xdp A "${1%:*}"
}

@test "veth: zero-copy is refused, in one line that says what to do" {
	host_new A
	host_new B
	join A B
	refused toB:zc
}

@test "virtio_net of an older kernel: zero-copy is refused, the default is copy mode" {
	needs_pair virtio
	if has_zerocopy virtio_net; then
		skip "virtio_net of $(uname -r) has zero-copy"
	fi
	host_new A
	host_new B
	join_by_nics virtio A B
	refused toB:zc
	start_wg wgxdp A --nic toB
	start_wg wgxdp B
	wg_setup A B
	wait_until 10 pings A "$(inner4 B)"
	on_path A af_xdp
	on_path B af_xdp
	status_is A '.nics[0].af_xdp == "copy"'
	status_is B '.nics[0].af_xdp == "copy"'
	transfer A B 10000000
	transfer B A 10000000
}
