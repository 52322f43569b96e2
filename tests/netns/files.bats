# SPDX-License-Identifier: MIT
# In directories where other users may create files, wgxdp does not follow, remove, believe or wait
# for what they created.

load lib

PRECIOUS=/sys/fs/bpf/precious # root's pins that are not wgxdp's

# Makes bpffs and /run writable for all, as bpffs is by default.
setup() {
	needs_root
	needs_wgxdp
	host_new A
	on A umount /sys/fs/bpf
	on A mount -t bpf bpf /sys/fs/bpf -o mode=1777
	on A chmod 1777 /run
}

as_nobody() {
	on A setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs "$@"
}

# precious [DIRECTORY]: makes two pins there, one with the name of a map of wgxdp's.
precious() {
	local dir=${1:-$PRECIOUS}

	on A mkdir -p "$dir"
	on A bpftool map create "$dir/config" type array key 4 value 4 entries 1 name config
	on A bpftool map create "$dir/savings" type array key 4 value 4 entries 1 name savings
}

all_there() { on A test -e "$PRECIOUS/config" -a -e "$PRECIOUS/savings"; }

# refuses ERE...: a start must fail with one line that matches each of these.
refuses() {
	local word code=0

	on A timeout $((15 * PATIENCE)) "$WGXDP" -f wg0 >"$TMP/out" 2>&1 || code=$?
	cat "$TMP/out"
	[ "$code" = 1 ]
	[ "$(wc -l <"$TMP/out")" = 1 ]
	for word; do
		grep -qE -- "$word" "$TMP/out"
	done
	refute on A ip link show wg0
}

# starts: a start must work, after the remedy that the line of `refuses` names.
starts() {
	start_wg wgxdp A
	on A test -e "$PINS/wg0/config"
	stop_wg A
	refute on A test -e "$PINS/wg0"
}

@test "pins: a user's symbolic link in the place of wgxdp" {
	precious
	precious "$PRECIOUS/wg0"
	as_nobody ln -s "$PRECIOUS" "$PINS"
	refuses "$PINS is not wgxdp's but a symbolic link of user 65534" "rm -r $PINS"
	all_there
	on A test -e "$PRECIOUS/wg0/config" -a -e "$PRECIOUS/wg0/savings"
	on A rm -r "$PINS"
	all_there
	starts
}

@test "pins: a user's directory wgxdp with a link to root's files in it" {
	precious
	as_nobody mkdir "$PINS"
	as_nobody ln -s "$PRECIOUS" "$PINS/wg0"
	refuses "$PINS is not wgxdp's but a directory of user 65534" "rm -r $PINS"
	all_there
	on A rm -r "$PINS"
	starts
}

@test "pins: a link in the place of wgxdp/wg0, in a directory that others could write to" {
	precious
	on A mkdir -m 1777 "$PINS"
	as_nobody ln -s "$PRECIOUS" "$PINS/wg0"
	refuses "$PINS is not wgxdp's but a directory of user 0, mode 1777"
	all_there
	on A chmod 700 "$PINS"
	refuses "$PINS/wg0 is not wgxdp's but a symbolic link of user 65534" "rm -r $PINS/wg0"
	all_there
	on A rm -r "$PINS/wg0"
	starts
}

# Without a check of the owner, wgxdp would wait for the lock and then report a running wgxdp.
@test "pins: a user's directory wgxdp/wg0 with its lock held" {
	on A mkdir -m 1777 "$PINS"
	as_nobody mkdir "$PINS/wg0"
	as_nobody flock "$PINS/wg0" -c "touch $TMP/held; exec sleep 60" 3>&- &
	chmod 777 "$TMP"
	wait_until 5 refute on A flock -n "$PINS/wg0" true
	on A chmod 700 "$PINS"
	refuses "$PINS/wg0 is not wgxdp's but a directory of user 65534" "rm -r $PINS/wg0"
	on A rm -r "$PINS/wg0"
	starts
}

@test "pins: a user's directory that root may not open, without capabilities as under the unit" {
	as_nobody mkdir -m 700 "$PINS"
	refute on A timeout $((15 * PATIENCE)) setpriv \
		--bounding-set=-dac_override,-dac_read_search "$WGXDP" -f wg0 >"$TMP/out" 2>&1
	cat "$TMP/out"
	grep -q "$PINS is not wgxdp's but a directory of user 65534" "$TMP/out"
}

@test "pins: files that are not wgxdp's stay and are logged; those of a dead process are removed" {
	start_wg wgxdp A
	on A kill -KILL "$(daemon_pid A)"
	wait_wg A || [ $? = 137 ]
	on A test -e "$PINS/wg0/drops"
	on A bpftool map create "$PINS/wg0/savings" type array key 4 value 4 entries 1 name s
	start_wg wgxdp A
	grep "holds files that are not ours, and stay: savings" "$TMP/A-wg0.log"
	[ "$(on A bpftool -j map show pinned "$PINS/wg0/config" | jq .max_entries)" = 1 ]
	stop_wg A
	[ "$(on A ls "$PINS/wg0")" = savings ]
	start_wg wgxdp A
	stop_wg A
	[ "$(on A ls "$PINS/wg0")" = savings ]
}

@test "pins: directories that others could read become root's alone" {
	on A mkdir -m 755 "$PINS" "$PINS/wg0"
	start_wg wgxdp A
	[ "$(on A stat -c %a "$PINS")" = 700 ]
	[ "$(on A stat -c %a "$PINS/wg0")" = 700 ]
	refute as_nobody ls "$PINS"
}

@test "pins: a bpffs in which others may rename files is refused" {
	on A chmod 777 /sys/fs/bpf
	refuses "chmod 0700 /sys/fs/bpf"
	on A chmod 1777 /sys/fs/bpf
	on A chown nobody /sys/fs/bpf
	refuses "belongs to user 65534" "chown root /sys/fs/bpf"
	on A chown root /sys/fs/bpf
	on A chmod 700 /sys/fs/bpf
	starts
}

@test "pins: a bpffs that is not mounted is mounted for root alone" {
	on A umount /sys/fs/bpf
	starts
	[ "$(on A stat -f -c %T /sys/fs/bpf)" = bpf_fs ]
	[ "$(on A stat -c %a /sys/fs/bpf)" = 1700 ] # the kernel adds the sticky bit
}

@test "socket: a user's symbolic link in the place of its directory" {
	on A mkdir /run/elsewhere
	as_nobody ln -s /run/elsewhere "$SOCKETS"
	refuses "/var/run/wireguard is not a directory"
	[ -z "$(on A ls /run/elsewhere)" ]
	on A rm "$SOCKETS"
	starts
}

@test "socket: a directory of a user, or that users may write to" {
	as_nobody mkdir "$SOCKETS"
	refuses "/var/run/wireguard belongs to user 65534" "chown root /var/run/wireguard"
	on A chown root "$SOCKETS"
	on A chmod 1777 "$SOCKETS"
	refuses "may write to /var/run/wireguard" "chmod go-w"
	on A chmod go-w "$SOCKETS"
	starts
}

@test "status does not connect to a socket that another user made" {
	as_nobody mkdir "$SOCKETS"
	as_nobody timeout $((30 * PATIENCE)) socat "UNIX-LISTEN:$SOCKETS/wg0.sock,fork" \
		SYSTEM:'echo "{ \\\"interface\\\": \\\"lies\\\" }"; echo' 3>&- &
	wait_until 5 on A test -S "$SOCKETS/wg0.sock"
	as_nobody ln -s wg0.sock "$SOCKETS/"$'\e[2J.sock'
	for args in "status wg0" status "status wg0 --json"; do
		# shellcheck disable=SC2086 # words on purpose
		refute on A timeout $((20 * PATIENCE)) "$WGXDP" $args >"$TMP/out" 2>"$TMP/err"
		cat "$TMP/out" "$TMP/err"
		[ ! -s "$TMP/out" ]
		refute grep -q $'\e' "$TMP/err"
		grep -q "wgxdp: no wgxdp answers for wg0: its socket belongs to another user" "$TMP/err"
	done
}
