#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# Discard frees blocks, write-zeroes makes zeroes, and only where they were asked to.
. "$(dirname "$0")/lib.sh"

modprobe brd rd_nr=1 rd_size=262144
mkfs.ext4 -q /dev/ram0
mkdir -p /mnt/e
mount /dev/ram0 /mnt/e
truncate -s 64M /mnt/e/a.img
start_ublkd
add a 2 Target s loop File s /mnt/e/a.img
dev=$(node a)

used() { du -k /mnt/e/a.img | cut -f1; }
head -c 32M /dev/zero | tr '\0' '\252' > /run/ones
fill() { dd if=/run/ones of="$dev" bs=1M oflag=direct 2> /dev/null; }
zeroes() { cmp -n "$2" -i "$1:0" "$dev" /dev/zero; }
ones() { cmp -n "$2" -i "$1:0" "$dev" /run/ones; }

fill
[ "$(used)" -ge 32768 ] || fail "not allocated: $(used) KiB"
blkdiscard -o 8M -l 16M "$dev"
[ "$(used)" -le $((16384 + 512)) ] || fail "discard did not free: $(used) KiB used"
zeroes 8388608 16777216 || fail "discarded range"
ones 0 8388608 || fail "damage in front of the discarded range"
ones 25165824 8388608 || fail "damage behind the discarded range"
[ "$(prop a DiscardOps)" -ge 1 ] || fail "no discard arrived"

fill
blkdiscard -z -o 4M -l 8M "$dev"
zeroes 4194304 8388608 || fail "zeroed range"
ones 0 4194304 || fail "damage in front of the zeroed range"
ones 12582912 8388608 || fail "damage behind the zeroed range"
[ "$(prop a WriteZeroesOps)" -ge 1 ] || fail "no write-zeroes arrived"
# blkdiscard -z forbids unmapping: the blocks stay.
[ "$(used)" -ge 32768 ] || fail "write-zeroes without unmap freed blocks: $(used) KiB"
# fallocate -p allows it.
fallocate -p -o 16M -l 8M "$dev"
zeroes 16777216 8388608 || fail "punched range"
[ "$(used)" -le $((24576 + 512)) ] || fail "write-zeroes with unmap did not free: $(used) KiB"
stop a

# A block device below: discard and zeroes get there.
modprobe null_blk nr_devices=0
mkdir /sys/kernel/config/nullb/nullb0
echo 1 > /sys/kernel/config/nullb/nullb0/memory_backed
echo 1 > /sys/kernel/config/nullb/nullb0/discard
echo 64 > /sys/kernel/config/nullb/nullb0/size
echo 1 > /sys/kernel/config/nullb/nullb0/power
disk=/dev/$(null_blk_disk)
add b 2 Target s loop File s "$disk"
dev=$(node b)
fill
blkdiscard -o 8M -l 8M "$dev"
[ "$(awk '{print $12}' "/sys/block/$(basename "$disk")/stat")" -ge 1 ] || fail "no discard reached $disk"
zeroes 8388608 8388608 || fail "discard on the disk"
ones 16777216 8388608 || fail "damage behind"
blkdiscard -z -o 16M -l 4M "$dev"
zeroes 16777216 4194304 || fail "zeroes on the disk"
ones 20971520 4194304 || fail "damage behind the zeroes"
