#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# PartitionScan=: with no the kernel (7.0 and newer) leaves partitions alone until somebody asks.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/p.img
printf 'label: gpt\n2048,40960,L\n43008,,L\n' | sfdisk -q /srv/p.img
loop_conf on /srv/p.img
start_ublkd
dev=$(node on)
wait_for 10 'the partitions' eval "[ -b ${dev}p2 ]"
delete on

loop_conf off /srv/p.img
sed -i '/^Target=/a PartitionScan=no' /etc/ublkd/devices/off.conf
call Reload 'a{sv}' 0 > /dev/null
wait_for 10 'the device' eval '[ "$(prop off State)" = running ]'
dev=$(node off)
udevadm settle
if feature NO_AUTO_PART_SCAN; then
	# Opened for writing and closed, it is looked at by udev, too.
	dd if=/dev/zero of="$dev" bs=4096 count=1 seek=4000 conv=notrunc 2> /dev/null
	udevadm settle
	expect "$dev" "$(ls "$dev"*)" 'nodes without a scan'
	partx -a "$dev"
	wait_for 10 'the partitions that were asked for' eval "[ -b ${dev}p2 ]"
	if logged 'partitions will be looked for'; then fail 'a warning for nothing'; fi
else
	wait_for 10 'the partitions of an old kernel' eval "[ -b ${dev}p2 ]"
	logged 'NO_AUTO_PART_SCAN, which came with Linux 7.0: ' || fail 'no warning'
fi
# A partition in use keeps the device, however it came to be.
mkfs.ext4 -q "${dev}p1"
mkdir -p /mnt/p
mount "${dev}p1" /mnt/p
expect_error DeviceBusy "mounted on '/mnt/p'" stop off
umount /mnt/p
delete off
nothing_left
