#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 240
# programs: inc/ackcheck.c
# kill -9 under load: the kernel keeps the devices, the next ublkd goes on with them, and whoever uses
# them sees a pause, no error, and every write that was acknowledged. $ROUNDS ends.
. "$(dirname "$0")/lib.sh"

bin=$(dirname "$0")/inc
truncate -s 64M /srv/a.img
truncate -s 192M /srv/m.img
loop_conf a /srv/a.img
start_ublkd
systemctl show -P RestartKillSignal ublkd | grep -qx 12 || fail 'restart would stop the devices'
add b 3 Target s loop File s /srv/m.img Queues u 2 # over D-Bus: there is no file of it
mkfs.ext4 -q "$(node b)"
mkdir -p /mnt/b
mount "$(node b)" /mnt/b
"$bin/ackcheck" "$(node a)" 8 16 > /run/ackcheck 2>&1 &
check=$!
(for ((i = 1; ; i++)); do echo "$i" > "/mnt/b/$i" && sync -f /mnt/b && echo "$i" >> /run/synced; done) 2> /run/writer &
writer=$!

main() { systemctl show -P MainPID ublkd; }
serves() { # PID OF THE LAST ONE: another one, and all devices
	m=$(main) && [ "$m" != 0 ] && [ "$m" != "$1" ] &&
		[ "$(call ListDevices 2> /dev/null | grep -o '"running"' | wc -l)" = 2 ]
}
for ((i = 1; i <= ${ROUNDS:-8}; i++)); do
	old=$(main)
	sleep "0.$((RANDOM % 10))"
	begin=$(date +%s%N)
	case $((i % 4)) in
	0) systemctl restart ublkd ;;
	3) systemctl kill -s SEGV --kill-whom=main ublkd ;;
	*) systemctl kill -s KILL --kill-whom=main ublkd ;;
	esac
	systemctl reset-failed ublkd # it would be too often
	wait_for 60 "the devices after end $i" serves "$old"
	echo $((($(date +%s%N) - begin) / 1000000)) >> /run/pauses
	expect 2 "$(ls -d /dev/ublkc[0-9]* | wc -l)" "char devices after end $i"
	all_live $check $writer || fail "a client ended after end $i: $(cat /run/ackcheck /run/writer)"
done
kill $writer
kill -TERM $check
wait $check || fail "ackcheck: $(cat /run/ackcheck)"
cat /run/ackcheck
sort -n /run/pauses | awk '{v[NR]=$1} END {
	print NR " ends; served again after, ms: median " v[int((NR + 1) / 2)] ", 99 % " v[int(NR * 0.99 + 0.99)]}'
expect '' "$(cat /run/writer)" 'errors of the file system'
umount /mnt/b # what is read comes from the disk
mount "$(node b)" /mnt/b
while read -r i; do
	expect "$i" "$(cat "/mnt/b/$i")" "synced file $i of $(wc -l < /run/synced)"
done < /run/synced
expect '' "$(dmesg | grep -E 'I/O error|EXT4-fs (error|warning)' || true)" 'kernel messages'
umount /mnt/b
e2fsck -fn "$(node b)" > /run/fsck 2>&1 || fail "fsck: $(cat /run/fsck)"
expect 2 "$(ls /run/ublkd/state | wc -l)" 'state files'
stop a
stop b
delete b
expect '' "$(ls -A /run/ublkd/state)" 'state files of no device'
nothing_left
