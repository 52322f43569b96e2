# SPDX-License-Identifier: MIT
# Packets that come in fragments are the kernel's, and so are its firewall's, whose conntrack does
# not see what goes by AF_XDP: it must know the flow all the same, or large packets are lost.
# bats file_tags=waiting

load lib

CONNTRACK_SECONDS=14 # Linux: 30 and 120. A flow is probed after 12 s at the latest.

# behind_router: A and C, clients of B, with R between, whose link to B has an MTU of 1280.
behind_router() {
	local host

	for host in A B C R; do
		host_new $host
	done
	for host in A B C; do
		join $host R
		on $host ip route add default via "$(outer4 R)" dev toR
	done
	on R sysctl -qw net.ipv4.ip_forward=1
	on R ip link set toB mtu 1280
	on B ip link set toR mtu 1280
	for host in A B C; do
		start_wg wgxdp $host
	done
}

conntrack_forgets() { # HOST
	on "$1" sysctl -qw net.netfilter.nf_conntrack_udp_timeout=$CONNTRACK_SECONDS \
		net.netfilter.nf_conntrack_udp_timeout_stream=$CONNTRACK_SECONDS
}

stateful_firewall() { # HOST
	on "$1" nft -f - <<-'NFT'
		table inet fw {
			counter refused { }
			chain in {
				type filter hook input priority 0; policy drop;
				iifname { lo, wg0 } accept
				ct state established,related accept
				meta l4proto icmpv6 accept
				counter name refused
			}
		}
	NFT
	conntrack_forgets "$1"
}

# wg_quick_rules HOST: as wg-quick(8) has them for allowed IPs of 0.0.0.0/0. The kernel lets in what
# comes from the endpoint if conntrack knows its mark, since rp_filter wants wg0 otherwise.
wg_quick_rules() {
	on "$1" sysctl -qw net.ipv4.conf.all.src_valid_mark=1 net.ipv4.conf.all.rp_filter=1
	on "$1" nft -f - <<-'NFT'
		table ip wg-quick-wg0 {
			chain premangle {
				type filter hook prerouting priority mangle;
				meta l4proto udp meta mark set ct mark
			}
			chain postmangle {
				type filter hook postrouting priority mangle;
				meta l4proto udp meta mark 51820 ct mark set meta mark
			}
		}
	NFT
	on "$1" wg set wg0 fwmark 51820
	on "$1" ip route add default dev wg0 table 51820
	on "$1" ip rule add not fwmark 51820 table 51820
	on "$1" ip rule add table main suppress_prefixlength 0
	conntrack_forgets "$1"
}

# client HOST
client() {
	wg_keys "$1"
	on "$1" wg set wg0 private-key "$TMP/$1.key" listen-port "$PORT"
	wg_up "$1"
	wg_peer B "$1"
	on "$1" wg set wg0 peer "${PUBKEY[B]}" allowed-ips 0.0.0.0/0 endpoint "$(endpoint B 4)"
}

# large_pass HOST: five of five pings with answers in fragments.
large_pass() {
	before=$(paths "$1")
	ping_all "$1" "$(inner4 B)" 5 -s 1392
	paths "$1" | jq -e --argjson before "$before" '.rx_udp_packets >= $before.rx_udp_packets + 5'
}

@test "packets in fragments pass a stateful firewall and wg-quick's rp_filter after a time of AF_XDP alone" {
	needs_wgxdp
	has_nft
	behind_router
	wg_keys B
	on B wg set wg0 private-key "$TMP/B.key" listen-port "$PORT"
	wg_up B
	client A
	client C
	stateful_firewall A
	wg_quick_rules C
	for host in A C; do
		wait_until 10 pings $host "$(inner4 B)"
		on_path $host af_xdp
		large_pass $host
	done
	before_a=$(paths A)
	before_c=$(paths C)
	pids=()
	for host in A C; do
		on_bg $host ping -q -n -i 0.2 -w $((CONNTRACK_SECONDS + 4)) "$(inner4 B)" >/dev/null
		pids+=($!)
	done
	wait "${pids[@]}"
	went_by A xdp "$before_a" 50
	went_by C xdp "$before_c" 50
	large_pass A
	large_pass C
	on A nft list counter inet fw refused | grep -q 'packets 0 '
}
