#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 240
# programs: inc/ackcheck.c
# systemctl restart with twenty devices at work, and state files as an older and a newer ublkd write
# them: their users see a pause. $ROUNDS restarts.
. "$(dirname "$0")/lib.sh"

bin=$(dirname "$0")/inc
state=/run/ublkd/state
rounds=${ROUNDS:-6}
mkdir -p /srv/d
start_ublkd
for ((i = 1; i <= 20; i++)); do
	truncate -s 8M "/srv/d/$i.img"
	# Two whose target could not bear a request twice.
	[ "$i" -gt 2 ] && recovery=auto || recovery=requeue
	add "d$i" 4 Target s loop File s "/srv/d/$i.img" Recovery s "$recovery" Queues u 1
done
truncate -s 8M /srv/d/no.img
add no 3 Target s loop File s /srv/d/no.img Recovery s no
users=()
for ((i = 1; i <= 20; i++)); do
	# Those of the first two have always something under way.
	[ "$i" -gt 2 ] && how='1 8 20' || how='4 8'
	# shellcheck disable=SC2086
	"$bin/ackcheck" "$(node "d$i")" $how > "/run/ack.$i" 2>&1 &
	users+=($!)
done

main() { systemctl show -P MainPID ublkd; }
serves() { # PID OF THE LAST ONE
	m=$(main) && [ "$m" != 0 ] && [ "$m" != "$1" ] &&
		[ "$(call ListDevices 2> /dev/null | grep -o '"running"' | wc -l)" = 20 ]
}
all_users() { # WHEN
	all_live "${users[@]}" || fail "a client ended $1: $(cat /run/ack.*)"
}
# Without QUIESCE_DEV what the server has of a device that must not see it twice is failed.
if ! feature QUIESCE; then
	for d in d1 d2; do # a signal before they have begun would kill them
		wait_for 60 "requests on '$d'" eval \
			'read -ra stat < "/sys/block/$(basename "$(node $d)")/stat" && [ "${stat[4]}" -gt 0 ]'
	done
	kill -TERM "${users[@]:0:2}"
	all_succeed "${users[@]:0:2}" || fail "$(cat /run/ack.1 /run/ack.2)"
	users=("${users[@]:2}")
fi
for ((n = 1; n <= rounds; n++)); do
	old=$(main)
	case $((n % 3)) in
	0) ;;
	1) # newer, and this one may read it
		sed -i 's/^Version=.*/Version=7/; /^ReadableFrom=/a Hue=blue' $state/d*
		;;
	2) # older: it did not know of all settings
		sed -i '/^Recovery=auto/d; /^CPUSchedulingPolicy=/d' $state/d*
		;;
	esac
	begin=$SECONDS
	systemctl restart ublkd
	systemctl reset-failed ublkd
	wait_for 60 "the devices after restart $n" serves "$old"
	all_users "after restart $n"
	echo "restart $n: served again $((SECONDS - begin)) s after it began"
done
logged "recovered /dev/ublkb" || fail 'nothing was recovered'

# One that this ublkd may not read: the device is left as it is, and its users wait.
sed -i 's/^ReadableFrom=.*/ReadableFrom=999/' $state/d3
old=$(main)
systemctl restart ublkd
serves_others() { [ "$(call ListDevices 2> /dev/null | grep -o '"running"' | wc -l)" = 19 ]; }
wait_for 60 'the others' serves_others
logged "d3: its state file cannot be used (written by a newer" || fail 'nothing is said of the state file that cannot be read'
[ -e $state/d3 ] || fail 'the state file that cannot be read is gone'
all_users 'although its device is held'
sed -i 's/^ReadableFrom=.*/ReadableFrom=1/' $state/d3
old=$(main)
systemctl restart ublkd
wait_for 60 'all devices again' serves "$old"

kill -TERM "${users[@]}"
all_succeed "${users[@]}" || fail "$(cat /run/ack.*)"
sort -t' ' -k1n /run/ack.* | tail -3
sed 's/.*longest \([0-9]*\) ms/\1/' /run/ack.* | sort -n | awk '{v[NR]=$1} END {
	print "longest wait of a client, ms: median " v[int((NR + 1) / 2)] ", most " v[NR]}'
expect '' "$(dmesg | grep -E 'I/O error' || true)" 'kernel messages'
[ ! -e $state/no ] || fail 'the device that does not survive has a state file'
expect 20 "$(find /dev -name 'ublkc[0-9]*' | wc -l)" 'char devices'
for ((i = 1; i <= 20; i++)); do
	stop "d$i"
done
systemctl stop ublkd
nothing_left
