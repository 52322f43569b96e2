# SPDX-License-Identifier: MIT
# Ends, kills and restarts of wgxdp, and links and NICs that go down, up or away, all under full
# load: nothing is left behind, ordinary traffic on the NIC is not disturbed, and the tunnel
# recovers without help.
#
# The load is TCP through the tunnel, both ways, and ordinary pings on the NIC, both ways. Others
# may run tests on this machine, so wgxdp's BPF objects are known by their ids, read from the
# daemon's descriptors while it runs.
# bats file_tags=load

load lib

[ -z "${LONG:-}" ] || export BATS_TEST_TIMEOUT=$((300 * PATIENCE))

setup() {
	needs_root
	needs_wgxdp
}

# ---- commands in the background that can be ended

# By "HOST NAME": PID of the shell's child that runs it.
declare -gA RUNNING=()

# begin HOST NAME COMMAND...: runs it in the background; its output is in $TMP/NAME-HOST.
begin() {
	local host=$1 name=$2

	shift 2
	# shellcheck disable=SC2016 # expanded by that shell
	on "$host" sh -c 'echo $$ >"$0"; exec "$@"' "/run/$name.pid" "$@" \
		>"$TMP/$name-$host" 2>&1 3>&- &
	RUNNING["$host $name"]=$!
	wait_until 5 on "$host" test -s "/run/$name.pid"
}

# end HOST NAME [SIGNAL]: ends it, and waits until it has ended.
end() {
	# shellcheck disable=SC2016 # expanded by that shell
	on "$1" sh -c 'kill -"$1" "$(cat "$0")"; rm "$0"' "/run/$2.pid" "${3:-TERM}" || true
	wait "${RUNNING["$1 $2"]}" || true
}

# ---- the load

received_on_wg0() { on "$1" cat /sys/class/net/wg0/statistics/rx_bytes; }

received_more() { (($(received_on_wg0 "$1") >= $2)); }

# flows HOST [SECONDS]: waits until five megabytes have arrived there by the tunnel; fewer on a slow
# machine.
flows() {
	wait_until "${2:-15}" received_more "$1" $(($(received_on_wg0 "$1") + 5000000 / PATIENCE))
}

load_on() {
	begin B server iperf3 -s
	wait_until 5 listening_tcp B 5201
	begin A client iperf3 -c "$(inner4 B)" -P 2 --bidir -t $((300 * PATIENCE))
	flows A
	flows B
}

load_off() {
	end A client KILL
	end B server KILL
}

# ---- ordinary traffic on the NIC

pings_on() {
	begin A pinger ping -n -i 0.01 -W 1 "$(outer4 B)"
	begin B pinger ping -n -i 0.01 -W 1 "$(outer4 A)"
}

pings_off() {
	end A pinger INT
	end B pinger INT
}

# lost HOST: prints how many of its pings were lost, without one that was in flight at the end.
lost() {
	awk -F 'icmp_seq=' '
		/bytes from/ { got++; last = $2 + 0 }
		/packets transmitted/ { sent = $0 + 0 }
		END { print sent ? last - got + (sent - last > 1 ? sent - last : 0) : "all" }
	' "$TMP/pinger-$1"
}

# lost_at_most N: returns true if at most N pings of each direction were lost.
lost_at_most() {
	echo "lost by A: $(lost A), by B: $(lost B)"
	(($(lost A) <= $1 && $(lost B) <= $1))
}

# ---- traces

# note_ids HOST: writes the ids of the BPF objects that its daemon holds to files.
note_ids() {
	# shellcheck disable=SC2016 # expanded by that shell
	on "$1" sh -c 'cat /proc/"$0"/fdinfo/*' "$(daemon_pid "$1")" 2>/dev/null |
		sed -n 's/^\(prog\|map\|link\)_id:[[:space:]]*/\1 /p' >"$TMP/ids.now"
	grep -q '^prog' "$TMP/ids.now"
	grep -q '^map' "$TMP/ids.now"
	cat "$TMP/ids.now" >>"$TMP/ids"
}

existing_ids() {
	local kind

	for kind in prog map link; do
		bpftool -j "$kind" show | jq -r ".[] | \"$kind \\(.id)\""
	done | sort
}

# ids_left: prints which of those ids still exist. The kernel frees BPF objects with a delay.
ids_left() { comm -12 <(sort -u "$TMP/ids") <(existing_ids); }

no_ids_left() { [ -z "$(ids_left)" ]; }

# world HOST: prints all that a daemon could leave behind there.
world() {
	# shellcheck disable=SC2016 # no variables of ours
	on "$1" sh -c '
		ip -o link | cut -d " " -f 2
		ip -o address
		ip -d link | grep xdp
		tc qdisc show
		ip rule; ip -6 rule
		find /sys/fs/bpf/wgxdp /run/wireguard -mindepth 1
		wc -l /proc/net/unix /proc/net/udp /proc/net/udp6 /proc/net/raw \
			/proc/net/raw6 /proc/net/netlink /proc/net/packet
		ps -e -o comm=' 2>/dev/null | sort
}

same_world() {
	world "$1" >"$TMP/world.now"
	cmp -s "$TMP/world" "$TMP/world.now"
}

# nothing_left HOST: nothing may be there that was not there when $TMP/world was written.
nothing_left() {
	if ! wait_until 10 same_world "$1"; then
		diff "$TMP/world" "$TMP/world.now"
		return 1
	fi
	if ! wait_until 10 no_ids_left; then
		ids_left
		return 1
	fi
}

# namespace_goes: A's namespace, and with it the veth, must be freed, so nothing may refer to it.
namespace_goes() {
	on A ss -K -t -a >/dev/null # orphaned TCP sockets that still send
	host_del A
	wait_until 10 toA_gone
}

toA_gone() { refute on B ip link show toA >/dev/null 2>&1; }

# shellcheck disable=SC2016 # expanded by that shell
descriptors() { on A sh -c 'ls "/proc/$0/fd" | wc -l' "$(daemon_pid A)"; }

# note_use: notes the resources that A's daemon uses now.
note_use() {
	note_ids A
	sort -u "$TMP/ids.now" >"$TMP/ids.then"
	fds=$(descriptors)
	kb=$(rss_kb A)
}

same_descriptors() { [ "$(descriptors)" = "$fds" ]; }

# no_more_use: A's daemon must have the same BPF objects, as many links and as many descriptors.
no_more_use() {
	if ! wait_until 5 same_descriptors; then
		on A ls -l "/proc/$(daemon_pid A)/fd"
		return 1
	fi
	echo "descriptors: $fds; resident: $kb kB, then $(rss_kb A) kB"
	note_ids A
	diff <(grep -v link "$TMP/ids.then") <(sort -u "$TMP/ids.now" | grep -v link)
	[ "$(grep -c link "$TMP/ids.then")" = "$(sort -u "$TMP/ids.now" | grep -c link)" ]
	# TCP may fill more buffers now than then; a leak would be more than that after many rounds.
	memory_at_most $(($(rss_kb A) - kb)) 2048
}

# ---- rounds: start, configure, load, end

# configure [ARGUMENTS of wg set...]: configures A as wg_setup did.
configure() {
	on A wg set wg0 private-key "$TMP/A.key" listen-port "$PORT"
	wg_up A
	wg_peer A B endpoint "$(endpoint B 4)" "$@"
}

end_by() {
	case $1 in
	SIGTERM) stop_wg A ;;
	kill)
		on A kill -KILL "$(daemon_pid A)"
		wait_wg A || true
		;;
	del)
		on A ip link del wg0
		wait_wg A
		;;
	esac
}

# round N HOW: runs a round; N counts from 1.
round() {
	start_wg wgxdp A "${args[@]}"
	# A new daemon must not keep the BPF objects of a killed one.
	[ "$1" = 1 ] || wait_until 10 no_ids_left
	if [ "$1" = 1 ]; then
		wg_setup A B
	else
		configure
	fi
	load_on
	[ -n "${args[*]}" ] || on_path A af_xdp
	note_ids A
	# Shows that ids_left finds ids.
	refute no_ids_left
	end_by "$2"
	load_off
}

# start_and_stop: a start removes what a killed daemon left behind.
start_and_stop() {
	start_wg wgxdp A "${args[@]}"
	stop_wg A
}

# rounds HOW ROUNDS MAX_LOST [ARGUMENTS of wgxdp]: runs rounds and checks that nothing is left. A
# veth may drop the packets in its ring when XDP is detached. (In 180 changes with a ping each 3 ms
# it did not.) Without XDP no ping may be lost.
rounds() {
	local i

	read -ra args <<<"${4:-}"
	host_new A
	host_new B
	join A B
	start_wg wgxdp B "${args[@]}"
	world A >"$TMP/world"
	pings_on
	for ((i = 1; i <= $2; i++)); do
		round "$i" "$1"
	done
	[ "$1" != kill ] || start_and_stop
	pings_off
	nothing_left A
	lost_at_most "$3"
	namespace_goes
}

@test "SIGTERM under load leaves nothing behind and stops nobody, AF_XDP" {
	rounds SIGTERM 5 2
}

@test "kill -9 under load and a new start leave nothing behind and stop nobody, AF_XDP" {
	rounds kill 5 2
}

@test "ip link del under load leaves nothing behind and stops nobody, AF_XDP" {
	rounds del 5 2
}

@test "SIGTERM under load leaves nothing behind and stops nobody, UDP sockets" {
	rounds SIGTERM 2 0 "--nic none"
}

@test "kill -9 under load and a new start leave nothing behind and stop nobody, UDP sockets" {
	rounds kill 2 0 "--nic none"
}

@test "ip link del under load leaves nothing behind and stops nobody, UDP sockets" {
	rounds del 2 0 "--nic none"
}

# ---- down and up

# answers: returns true if B answers a ping within 0.2 s, or PATIENCE seconds on an emulated
# machine: at its 30 Mbit/s, TCP's packets in flight take seconds.
answers() {
	on A ping -q -n -c 1 -W "$( ((PATIENCE == 1)) && echo 0.2 || echo "$PATIENCE")" \
		"$(inner4 B)" >/dev/null
}

# back_within SECONDS: a ping must be answered within this time; then megabytes must flow both ways.
back_within() {
	wait_until "$1" answers
	flows A
	flows B
}

wg0_down_and_up() {
	on A ip link set wg0 down
	on A ip link set wg0 up
	back_within 3
}

# times N COMMAND...: runs it N times.
times() {
	local i

	for ((i = 0; i < $1; i++)); do
		"${@:2}"
	done
}

# flaps COMMAND [ARGUMENTS of wgxdp]: runs it a few times to warm up, and then many times, after
# which no more resources may be in use.
flaps() {
	WGXDP_ARGS=${2:-} tunnel wgxdp wgxdp
	load_on
	[ -n "${2:-}" ] || on_path A af_xdp
	times 3 "$1"
	note_use
	pings_on
	times 20 "$1"
	pings_off
	no_more_use
	load_off
}

@test "wg0 down and up under load, AF_XDP: nothing grows, traffic is back at once" {
	flaps wg0_down_and_up
	lost_at_most 0
}

@test "wg0 down and up under load, UDP sockets: nothing grows, traffic is back at once" {
	flaps wg0_down_and_up "--nic none"
	lost_at_most 0
}

# ---- the NIC

# nic_down_and_up: the kernel removes the IPv6 addresses and routes, which these tests do not need.
nic_down_and_up() {
	on A ip link set toB down
	on A ip link set toB up
	back_within 3
}

@test "the NIC down and up under load: nothing grows, traffic is back" {
	flaps nic_down_and_up
}

detached() { status_is A '.nics == []'; }

# new_nic: replaces the veth by a new one, which has another index.
new_nic() {
	on A ip link del toB
	wait_until 5 detached
	join A B
	back_within 5
}

@test "the NIC is removed under load: nothing grows, traffic is back with the next NIC" {
	WGXDP_ARGS="" tunnel wgxdp wgxdp
	load_on
	times 2 new_nic
	on_path A af_xdp
	note_use
	times 3 new_nic
	on_path A af_xdp
	no_more_use
	load_off
}

@test "the NIC is removed under load, and wg0 then ends with nothing left" {
	host_new A
	host_new B
	join A B
	world A | grep -v toB >"$TMP/world"
	start_wg wgxdp A
	start_wg wgxdp B
	wg_setup A B
	load_on
	on_path A af_xdp
	note_ids A
	on B ip link del toA
	stop_wg A
	load_off
	nothing_left A
}

# ---- restarts

# restart_a HOW [ARGUMENTS of wg set...]: restarts A with the same configuration.
restart_a() {
	end_by "$1"
	start_wg wgxdp A "${args[@]}"
	configure "${@:2}"
}

# back_after_restart IMPL_B [ARGUMENTS of wgxdp]: after restarts of A, its very first packet must be
# answered, within a second.
back_after_restart() {
	local how

	read -ra args <<<"${2:-}"
	WGXDP_ARGS=${2:-} tunnel wgxdp "$1"
	for how in SIGTERM kill SIGTERM kill; do
		load_on
		restart_a "$how"
		pings A "$(inner4 B)"
		flows A
		flows B
		load_off
	done
}

@test "after a restart under load wireguard-go answers the first packet" {
	back_after_restart wireguard-go
}

# The restarted side could not decrypt an answer that uses the old session.
@test "after a restart under load the first packet is answered, AF_XDP" {
	back_after_restart wgxdp
}

@test "after a restart under load the first packet is answered, UDP sockets" {
	back_after_restart wgxdp "--nic none"
}

@test "after a restart a persistent keepalive restores the tunnel without other packets" {
	local how

	args=()
	tunnel wgxdp wgxdp
	for how in SIGTERM kill; do
		begin B seeker ping -n -i 0.1 "$(inner4 A)"
		restart_a "$how" persistent-keepalive 25
		wait_until 2 pings B "$(inner4 A)"
		end B seeker INT
	done
}

# ---- restarts of hosts that then send nothing

# A and D (wgxdp; SIGTERM, kill -9) and E (wireguard-go; kill -9) are restarted. B (wgxdp) and C
# (wireguard-go) send to all of them without a pause.
RESTARTED=(A D E)
SENDERS=(B C)

# link_all: makes links, keys and daemons. Restarted hosts have endpoints of the senders, but the
# senders have none.
link_all() {
	local host sender

	for host in "${RESTARTED[@]}" "${SENDERS[@]}"; do
		host_new "$host"
		wg_keys "$host"
	done
	for host in "${RESTARTED[@]}"; do
		for sender in "${SENDERS[@]}"; do
			join "$host" "$sender"
		done
	done
}

impl_of() {
	case $1 in
	C | E) echo wireguard-go ;;
	*) echo wgxdp ;;
	esac
}

# start_host HOST PEERS...: starts and configures a daemon.
start_host() {
	local host=$1 peer

	start_wg "$(impl_of "$host")" "$host"
	on "$host" wg set wg0 private-key "$TMP/$host.key" listen-port "$PORT"
	wg_up "$host"
	for peer in "${@:2}"; do
		if [[ " ${RESTARTED[*]} " = *" $host "* ]]; then
			wg_peer "$host" "$peer" endpoint "$(endpoint "$peer" 4)"
		else
			wg_peer "$host" "$peer"
		fi
	done
}

kill_host() {
	on "$1" kill "-$2" "$(daemon_pid "$1")"
	wait_wg "$1" || true
}

# each_pair COMMAND...: runs it with each sender and restarted host as last arguments.
each_pair() {
	local host sender

	for host in "${RESTARTED[@]}"; do
		for sender in "${SENDERS[@]}"; do
			"$@" "$sender" "$host"
		done
	done
}

# answers_to SENDER HOST: waits for an answer to a ping from HOST, which has the endpoint.
answers_to() { wait_until 10 pings "$2" "$(inner4 "$1")"; }

send_to() { begin "$1" "to$2" ping -n -D -i 0.05 "$(inner4 "$2")"; }

# silence SENDER HOST: prints the longest time between two answers, in ms.
silence() {
	sed -n 's/^\[\([0-9]*\)\.\([0-9]\{3\}\).*bytes from.*/\1\2/p' "$TMP/to$2-$1" | awk '
		NR > 1 && $1 - last > most { most = $1 - last }
		{ last = $1 }
		END { print most + 0 }'
}

was_silent() { (($(silence "$1" "$2") >= 10000)); }

# found_again SENDER HOST: the restarted host sends nothing, so the sender must begin a new
# handshake after 15 seconds without an answer. That one, or the next one five seconds later, must
# be answered. (A slow machine may lose more.)
found_again() {
	wait_until $((restarted + 21 - SECONDS)) was_silent "$1" "$2" || true
	echo "$1 to $2: no answer for $(silence "$1" "$2") ms"
	was_silent "$1" "$2"
	(($(silence "$1" "$2") <= 15000 + 6000 * PATIENCE))
}

@test "a host that is restarted and sends nothing: its peers renew their sessions" {
	local host restarted

	link_all
	for host in "${SENDERS[@]}"; do
		start_host "$host" "${RESTARTED[@]}"
	done
	for host in "${RESTARTED[@]}"; do
		start_host "$host" "${SENDERS[@]}"
	done
	each_pair answers_to
	each_pair send_to
	restarted=$SECONDS
	kill_host A TERM
	kill_host D KILL
	kill_host E KILL
	for host in "${RESTARTED[@]}"; do
		start_host "$host" "${SENDERS[@]}"
	done
	each_pair found_again
}
