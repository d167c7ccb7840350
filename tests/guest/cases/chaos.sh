#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 600
# Eight clients define, start, stop and delete the same few devices, and kill the daemon, all at once
# and at random: $OPS times, from $SEED. In the end the kernel and the daemon agree that there is nothing.
. "$(dirname "$0")/lib.sh"

ops=${OPS:-200}
seed=${SEED:-$RANDOM}
echo "OPS=$ops SEED=$seed"
mkdir -p /run/systemd/system/ublkd.service.d /run/chaos
printf '[Unit]\nStartLimitIntervalSec=0\n' > /run/systemd/system/ublkd.service.d/often.conf
systemctl daemon-reload
start_ublkd
for i in 0 1 2; do
	truncate -s 16M "/srv/$i.img"
done

one_more() { # at random, from $RANDOM
	local n=$((RANDOM % 6)) image=$((RANDOM % 3)) what=$((RANDOM % 24))
	case $what in
	[0-5]) call AddDevice 'sa{sv}t' "d$n" 2 Target s null Size t $((1 << 24)) $((RANDOM % 2)) ;;
	[6-8]) call AddDevice 'sa{sv}t' "d$n" 2 Target s loop File s "/srv/$image.img" 1 ;;
	9 | 1[0-3]) start "d$n" ;;
	1[4-6]) stop "d$n" ;;
	17) stop_force "d$n" ;;
	18 | 19) delete "d$n" ;;
	20) call ListDevices ;;
	21) timeout 5 dd if="/dev/ublkb$n" of=/dev/null bs=4k count=16 iflag=direct ;;
	22) call Reload 'a{sv}' 0 ;;
	23)
		[ $((RANDOM % 3)) = 0 ] || return 0
		echo . >> /run/chaos/kills
		systemctl kill -s KILL --kill-whom=main ublkd
		;;
	esac
}
client() { # NUMBER
	RANDOM=$((seed * 8 + $1))
	for ((k = 0; k < ops / 8; k++)); do
		one_more
	done > "/run/chaos/$1" 2>&1 || true
	echo "$1" >> /run/chaos/done
}
touch /run/chaos/kills /run/chaos/done
for c in {0..7}; do
	(set +e; client "$c") &
done
wait
expect 8 "$(wc -l < /run/chaos/done)" 'clients that came to their end'
echo "$(wc -l < /run/chaos/kills) kills; answers:"
sed "s/'d[0-9]'/D/g; s/ublk[bc][0-9]*/ublkN/g; s/[0-9][0-9]*/N/g" /run/chaos/[0-7] | sort | uniq -c | sort -rn | head -20

call ListDevices > /dev/null # whoever it takes to start it
wait_for 60 'ublkd' eval '[ "$(systemctl is-active ublkd)" = active ]'
expect '' "$(journalctl -u ublkd --no-pager | grep -E 'status=(6|11|31|7)/|core-dump|dumped' || true)" \
	'deaths that were not ours'
names() { call ListDevices | grep -o '"d[0-9]"' | tr -d '"' | sort; }
expect "$(find /dev -name "ublkc[0-9]*" | wc -l)" \
	"$(call ListDevices | grep -oE '"(running|quiesced|stopping|starting)"' | wc -l)" \
	'what the kernel has, and what the daemon says'
for d in $(names); do
	case $(prop "$d" State) in
	running | quiesced) stop_force "$d" ;;
	esac
	delete "$d"
done
expect '' "$(names)" 'devices of the daemon'
nothing_left
expect '' "$(ls -A /run/ublkd/state)" 'state files'
systemctl stop ublkd
wait_for 10 'the driver to be of no use to anybody' modprobe -r ublk_drv
