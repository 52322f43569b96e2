# SPDX-License-Identifier: MIT
# The maps under /sys/fs/bpf/wgxdp/wg0, as bpftool(8) shows them.

load lib

setup() {
	needs_root
	needs_wgxdp
	tunnel wgxdp wireguard-go
}

# dump MAP: prints it as [{key: {...}, value: {...}}, ...] with field names.
dump() { on A bpftool -j map dump pinned "$PINS/wg0/$1" | jq 'map(.formatted // .)'; }

# prefixes4, prefixes6: print the tries as lines "PREFIX SLOT".
prefixes4() {
	dump allowed_ips4 | jq -r '.[] |
		"\(.key.addr | map(tostring) | join("."))/\(.key.prefixlen) \(.value.peer)"'
}

prefixes6() {
	dump allowed_ips6 | jq -r '.[] | "\(.key.addr | @json) \(.key.prefixlen) \(.value.peer)"' |
		python3 -c '
import ipaddress, json, sys
for line in sys.stdin:
    addr, prefixlen, slot = line.rsplit(maxsplit=2)
    print(f"{ipaddress.IPv6Address(bytes(json.loads(addr)))}/{prefixlen} {slot}")'
}

# expected: prints what wg shows as such lines, with the peers' slots from status.
expected() {
	local key prefixes prefix slot

	on A wg show wg0 allowed-ips | while IFS=$'\t' read -r key prefixes; do
		slot=$(status_of A ".peers[] | select(.public_key == \"$key\") | .slot")
		for prefix in $prefixes; do
			echo "$prefix $slot"
		done
	done | sort
}

maps_agree() { diff <(expected) <({ prefixes4; prefixes6; } | sort); }

@test "the tries hold the prefixes that wg shows, also after changes" {
	[ "$(prefixes4)" = "10.0.0.2/32 $(status_of A .peers[0].slot)" ]
	[ "$(prefixes6)" = "fd00::2/128 $(status_of A .peers[0].slot)" ]
	maps_agree
	wg_keys X Y
	on A wg set wg0 peer "${PUBKEY[X]}" allowed-ips 10.0.0.0/8,10.1.0.0/16,0.0.0.0/0,::/0
	on A wg set wg0 peer "${PUBKEY[Y]}" allowed-ips 10.1.2.0/24,fd00:1::/32,fd00::/16
	[ "$(prefixes4 | wc -l)" = 5 ]
	[ "$(prefixes6 | wc -l)" = 4 ]
	maps_agree
	on A wg set wg0 peer "${PUBKEY[Y]}" allowed-ips 10.1.0.0/16,::/0
	[ "$(prefixes4 | wc -l)" = 4 ]
	[ "$(prefixes6 | wc -l)" = 2 ]
	maps_agree
	on A wg set wg0 peer "${PUBKEY[X]}" remove
	[ "$(prefixes4 | wc -l)" = 2 ]
	maps_agree
	ping_all A "$(inner4 B)" 5
}

@test "sessions: the receiver index leads to the peer" {
	slot=$(status_of A .peers[0].slot)
	dump sessions | jq -e --argjson slot "$slot" \
		'length >= 1 and all(.value.peer == $slot)'
	on A wg set wg0 peer "${PUBKEY[B]}" remove
	[ "$(dump sessions | jq length)" = 0 ]
}

# friends PREFIX...: returns true if the map has these sources, in this order. A PREFIX is a JSON list
# of 8 bytes.
friends() {
	local want

	want=$(IFS=, && echo "[$*]")
	dump friends | jq -e --argjson want "$want" 'map(.key.prefix) | sort == $want'
}

@test "friends: the sources of the peers' endpoints, one each" {
	local b="[192,0,2,2,0,0,0,0]" moved="[192,0,2,77,0,0,0,0]" net="[32,1,13,184,0,0,0,0]"

	friends "$b"
	# A second peer behind the same address, and one elsewhere in the /64 of a third.
	wg_keys X Y Z
	on A wg set wg0 peer "${PUBKEY[X]}" endpoint 192.0.2.2:9
	friends "$b"
	on A wg set wg0 peer "${PUBKEY[Y]}" endpoint "[2001:db8::5]:9" \
		peer "${PUBKEY[Z]}" endpoint "[2001:db8::6]:9"
	friends "$net" "$b"
	# A new address replaces the old one, unless another peer is there.
	on A wg set wg0 peer "${PUBKEY[X]}" endpoint 192.0.2.77:9
	friends "$net" "$b" "$moved"
	on A wg set wg0 peer "${PUBKEY[B]}" remove
	friends "$net" "$moved"
	on A wg set wg0 peer "${PUBKEY[X]}" remove peer "${PUBKEY[Y]}" remove
	friends "$net"
	on A wg set wg0 peer "${PUBKEY[Z]}" remove
	friends
	# An initiation from a new address makes that one a friend.
	wg_peer A B
	on B wg set wg0 peer "${PUBKEY[A]}" remove
	wg_peer B A endpoint "$(endpoint A 4)"
	wait_until 10 pings B "$(inner4 A)"
	friends "$b"
}

# peer_stat FIELD: prints the only peer's counter, summed over all CPUs.
peer_stat() {
	dump peer_stats | jq --arg field "$1" \
		'[.[] | .values // [.value] | .[] | (.value // .)[$field]] | add'
}

@test "peer_stats: inner packets and bytes, each way" {
	on_path A af_xdp
	to=$(peer_stat to_peer_packets)
	to_bytes=$(peer_stat to_peer_bytes)
	from=$(peer_stat from_peer_packets)
	from_bytes=$(peer_stat from_peer_bytes)
	nic=$(peer_stat nic_packets)
	ping_all A "$(inner4 B)" 50 -s 972
	[ $(($(peer_stat to_peer_packets) - to)) = 50 ]
	[ $(($(peer_stat to_peer_bytes) - to_bytes)) = 50000 ]
	[ $(($(peer_stat from_peer_packets) - from)) = 50 ]
	[ $(($(peer_stat from_peer_bytes) - from_bytes)) = 50000 ]
	[ $(($(peer_stat nic_packets) - nic)) -ge 50 ]
}

@test "drops: each reason has its name" {
	on A ip route add 10.9.9.0/24 dev wg0
	on A bash -c 'for _ in 1 2 3 4 5; do echo >/dev/udp/10.9.9.9/9; done' || true
	dump drops >"$TMP/drops"
	on A bpftool map dump pinned "$PINS/wg0/drops" | tee "$TMP/text"
	for reason in bad_type egress_no_peer ingress_bad_source replay bad_cookie; do
		grep -q "\"$reason\"" "$TMP/text"
	done
	[ "$(jq '[.. | .egress_no_peer? // empty] | add' "$TMP/drops")" = 5 ]
}

@test "worker_stats: the workers' counters" {
	dump worker_stats | jq -e '[.[].value.rx_xdp_packets] | add >= 1'
	dump worker_stats | jq -e '.[0].value.drops | has("replay")'
}

@test "pins are root's alone" {
	[ "$(on A stat -c %a "$PINS/wg0")" = 700 ]
	[ "$(on A stat -c %U "$PINS/wg0")" = root ]
}
