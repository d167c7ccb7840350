#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 120
# The service has a mount namespace of its own, with copies of the mounts of its own disks: they go
# when the host's go, and take nothing with them when the service ends.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
loop_conf a /srv/a.img
mkdir -p /mnt/a
start_ublkd
mkfs.ext4 -q "$(node a)"

main() { systemctl show -P MainPID ublkd; }
copies() { grep -c /dev/ublkb "/proc/$(main)/mountinfo" || true; }
serves() { # PID OF THE LAST ONE
	m=$(main) && [ "$m" != 0 ] && [ "$m" != "$1" ] && call ListDevices 2> /dev/null | grep -q '"running"'
}
[ "$(readlink "/proc/$(main)/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] || fail 'no namespace of its own'
for end in none kill restart; do
	mount "$(node a)" /mnt/a
	expect 1 "$(copies)" "copies of a mount that is made meanwhile ($end)"
	old=$(main)
	case $end in
	kill) systemctl kill -s KILL --kill-whom=main ublkd ;;
	restart) systemctl restart ublkd ;;
	esac
	[ $end = none ] || wait_for 30 "the device after $end" serves "$old"
	expect 1 "$(copies)" "copies after $end"
	echo "$end" > /mnt/a/file || fail "the mount is gone after $end"
	sync -f /mnt/a
	expect_error DeviceBusy . stop a
	umount /mnt/a
	expect 0 "$(copies)" "copies after $end and umount"
	stop a || fail "the stop after $end and umount: something holds the disk"
	start a
	mount "$(node a)" /mnt/a
	expect "$end" "$(cat /mnt/a/file)" 'what was written'
	umount /mnt/a
done
# An end while it is mounted, and the mount taken away while nobody serves it.
mount "$(node a)" /mnt/a
echo last > /mnt/a/file
old=$(main)
systemctl kill -s KILL --kill-whom=main ublkd
umount /mnt/a
wait_for 30 "the device at last" serves "$old"
stop a || fail 'the last stop: something holds the disk'
e2fsck -fn /srv/a.img > /run/fsck 2>&1 || fail "fsck: $(cat /run/fsck)"
nothing_left
