#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# Errors of the backing reach the reader as what they are, and nobody else.
. "$(dirname "$0")/lib.sh"

modprobe brd rd_nr=2 rd_size=65536
start_ublkd

# 4 KiB that cannot be read or written, at 1 MiB.
printf '0 2048 linear /dev/ram0 0\n2048 8 error\n2056 63480 linear /dev/ram0 2056\n' | dmsetup create bad
add eio 3 Target s loop File s /dev/mapper/bad DirectIO s yes
dev=$(node eio)
out=$(dd if="$dev" of=/dev/null bs=4096 skip=256 count=1 iflag=direct 2>&1) && fail "read of a bad sector succeeds"
grep -q 'Input/output error' <<< "$out" || fail "said $out"
dd if=/dev/zero of="$dev" bs=4096 seek=256 count=1 oflag=direct 2> /dev/null && fail "write of a bad sector succeeds"
dd if="$dev" of=/dev/null bs=4096 skip=255 count=1 iflag=direct 2> /dev/null || fail "the sector before"
dd if="$dev" of=/dev/null bs=4096 skip=257 count=1 iflag=direct 2> /dev/null || fail "the sector behind"
[ "$(prop eio Errors)" -ge 2 ] || fail "not counted"
stop eio

# A sparse file on a full file system.
mkfs.ext4 -q -m 0 /dev/ram1 32M
mkdir -p /mnt/e
mount /dev/ram1 /mnt/e
truncate -s 64M /mnt/e/sparse.img
for direct in yes no; do
	add full 3 Target s loop File s /mnt/e/sparse.img DirectIO s $direct
	dev=$(node full)
	out=$(dd if=/dev/zero of="$dev" bs=1M count=60 oflag=direct 2>&1) && fail "written to a full disk"
	grep -q 'No space left' <<< "$out" || fail "DirectIO=$direct said $out"
	delete full
	truncate -s 0 /mnt/e/sparse.img
	truncate -s 64M /mnt/e/sparse.img
done

# A file that got shorter while it was served: EIO, not old memory.
truncate -s 16M /srv/short.img
add short 2 Target s loop File s /srv/short.img
dev=$(node short)
truncate -s 8M /srv/short.img
dd if="$dev" of=/dev/null bs=4096 skip=3000 count=1 iflag=direct 2> /dev/null && fail "read behind the end succeeds"
dd if="$dev" of=/dev/null bs=4096 skip=100 count=1 iflag=direct 2> /dev/null || fail "read before the end"
