#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# A device in use is not stopped, and its user is named; force stops it all the same.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
loop_conf a /srv/a.img
start_ublkd
dev=$(node a)
mkfs.ext4 -q "$dev"
mkdir -p /mnt/a
mount "$dev" /mnt/a
echo before > /mnt/a/file
expect true "$(prop a InUse)" InUse
expect_error DeviceBusy "mounted on '/mnt/a'" stop a
expect_error DeviceBusy "mounted on '/mnt/a'" delete a
expect running "$(prop a State)" 'state after a refused stop'
echo after >> /mnt/a/file
sync -f /mnt/a
umount /mnt/a
expect false "$(prop a InUse)" InUse

mkswap -q "$dev" > /dev/null
swapon "$dev"
expect_error DeviceBusy "in use: " stop a
swapoff "$dev"

printf '0 2048 linear %s 0\n' "$dev" | dmsetup create top
expect_error DeviceBusy "part of dm-" stop a
dmsetup remove top

# A plain opener: seen by the kernel from 7.0 on.
if feature SAFE_STOP_DEV; then
	exec 7< "$dev"
	expect_error DeviceBusy "in use: open" stop a
	exec 7<&-
fi

# The page cache is written back before the device goes.
dd if=/dev/urandom of=/run/data bs=1M count=8 2> /dev/null
dd if=/run/data of="$dev" bs=1M conv=notrunc 2> /dev/null
stop a
cmp -n 8388608 /run/data /srv/a.img || fail "dirty pages were lost by a stop"

start a
dev=$(node a)
mkfs.ext4 -q "$dev"
mount "$dev" /mnt/a
stop_force a
nothing_left_or_mounted() { [ ! -e "$dev" ]; }
wait_for 5 'the disk to go' nothing_left_or_mounted
umount /mnt/a
wait_for 15 'the number to be free' eval '! ls /dev/ublkc[0-9]* 2> /dev/null'
