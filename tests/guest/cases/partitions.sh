#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# Partitions in the image are there after the start, and count as use when mounted.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/p.img
printf 'label: dos\n2048,40960,L\n43008,,L\n' | sfdisk -q /srv/p.img
loop_conf p /srv/p.img
start_ublkd
dev=$(node p)
wait_for 10 'the partitions' eval "[ -b ${dev}p2 ]"
mkfs.ext4 -q "${dev}p1"
mkdir -p /mnt/p
mount "${dev}p1" /mnt/p
expect_error DeviceBusy "mounted on '/mnt/p'" stop p
umount /mnt/p
stop p
nothing_left
