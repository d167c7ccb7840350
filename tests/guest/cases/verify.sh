#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 240
# fio with verify: random block sizes, mixed reads, writes and trims, on every kind of backing.
. "$(dirname "$0")/lib.sh"

# In one of many data paths, less.
[ -n "${UBLKD_PATH-}" ] && amount=16M || amount=32M

check() { # NAME
	local dev
	dev=$(node "$1")
	fio --name="$1" --filename="$dev" --rw=randrw --rwmixread=40 --bsrange=512-256k --blockalign=512 \
		--iodepth=16 --ioengine=io_uring --direct=1 --size=48M --io_size="$amount" --verify=crc32c \
		--verify_fatal=1 --verify_backlog=64 --randseed=7 --group_reporting --output=/run/fio."$1" \
		|| { cat /run/fio."$1"; fail "verify on $1"; }
	fio --name="$1" --filename="$dev" --rw=randtrimwrite --bs=4k --iodepth=8 --ioengine=io_uring \
		--direct=1 --size=16M --verify=crc32c --verify_fatal=1 --randseed=8 \
		--output=/run/fio."$1" || { cat /run/fio."$1"; fail "trim verify on $1"; }
	expect 0 "$(prop "$1" Errors)" "errors of $1"
	echo "$1: $(prop "$1" ReadOps) reads, $(prop "$1" WriteOps) writes, $(prop "$1" DiscardOps) discards"
	stop "$1"
}

modprobe brd rd_nr=2 rd_size=131072
mkfs.ext4 -q /dev/ram0
mkdir -p /mnt/e
mount /dev/ram0 /mnt/e
truncate -s 64M /mnt/e/direct.img /mnt/e/buffered.img /dev/shm/tmpfs.img
start_ublkd

add direct 5 Target s loop File s /mnt/e/direct.img DirectIO s yes Queues u 2 QueueDepth u 32
check direct
add buffered 3 Target s loop File s /mnt/e/buffered.img DirectIO s no
check buffered
add tmpfs 2 Target s loop File s /dev/shm/tmpfs.img
check tmpfs
add disk 3 Target s loop File s /dev/ram1 MaxIOSize t 65536
check disk
