#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# What the disk shows of every setting, what comes from the backing, and which way the data go.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
start_ublkd

q() { cat "/sys/block/$(basename "$(node "$1")")/queue/$2"; }
shown() { # NAME ATTRIBUTE WANTED [ATTRIBUTE WANTED]...
	local name=$1
	shift
	while [ $# != 0 ]; do
		expect "$2" "$(q "$name" "$1")" "$name: $1"
		shift 2
	done
}

# ---- what is fixed
add fixed 17 Target s null Size t 1073741824 LogicalBlockSize t 4096 PhysicalBlockSize t 16384 \
	MinimumIOSize t 65536 OptimalIOSize t 1048576 ChunkSize t 131072 MaxIOSize t 262144 \
	VirtBoundary t 4096 WriteCache b true DiscardGranularity t 65536 DiscardMax t 1048576 \
	WriteZeroesMax t 524288 Rotational b true PartitionScan b true Copy s driver Batch b false
shown fixed logical_block_size 4096 physical_block_size 16384 minimum_io_size 65536 \
	optimal_io_size 1048576 chunk_sectors 256 max_hw_sectors_kb 256 virt_boundary_mask 4095 \
	write_cache 'write back' fua 1 discard_granularity 65536 discard_max_hw_bytes 1048576 \
	write_zeroes_max_bytes 524288 rotational 1
expect driver "$(prop fixed DataPath)" DataPath
dd if="$(node fixed)" of=/dev/null bs=1M count=4 iflag=direct 2> /dev/null
blkdiscard -o 0 -l 64M "$(node fixed)"
blkdiscard -z -o 0 -l 64M "$(node fixed)"
delete fixed

add off 6 Target s null Discard b false WriteZeroes b false WriteCache b false Copy s driver Batch s no
shown off discard_max_hw_bytes 0 write_zeroes_max_bytes 0 write_cache 'write through' fua 0
delete off
expect_error InvalidConfiguration 'FUA=yes: the device has no write cache: set FUA=auto' \
	add x 2 Target s null FUA b true
expect_error InvalidConfiguration 'MaxSegmentSize=64K: cannot be limited' \
	add x 3 Target s null VirtBoundary t 4096 MaxSegmentSize t 65536

# ---- the memory of requests: from Linux 6.15 on
add shape 7 Target s null MaxSegments u 33 MaxSegmentSize t 65536 SegmentBoundary t 1048576 \
	DMAAlignment t 1024 Copy s driver Batch s no
if feature SUPPORT_ZERO_COPY; then
	shown shape max_segments 33 max_segment_size 65536 dma_alignment 1023
else
	logged 'DMAAlignment= and the segment limits have no effect' || fail 'no warning'
fi
dd if="$(node shape)" of=/dev/null bs=1M count=4 iflag=direct 2> /dev/null
delete shape

# ---- the partition scan
add scan 4 Target s null PartitionScan b false Copy s driver Batch s no
feature NO_AUTO_PART_SCAN || logged 'partitions will be looked for all the same' || fail 'no warning'
delete scan

# ---- metadata
if feature INTEGRITY; then
	add meta 5 Target s null LogicalBlockSize t 4096 IntegrityMetadataSize u 16 \
		IntegrityProtectionInterval t 512 IntegrityTagSize u 4
	i=/sys/block/$(basename "$(node meta)")/integrity
	expect 512 "$(cat "$i/protection_interval_bytes")" interval
	expect 4 "$(cat "$i/tag_size")" 'tag size'
	delete meta
else
	expect_error KernelUnsupported 'the driver has no INTEGRITY' \
		add x 2 Target s null IntegrityMetadataSize u 8
fi
expect_error InvalidConfiguration "target 'loop' serves no metadata" \
	add x 3 Target s loop File s /srv/a.img IntegrityMetadataSize u 8

# ---- what comes from the backing
modprobe null_blk nr_devices=1 gb=1 bs=4096 discard=1 memory_backed=1 max_sectors=64
disk=$(null_blk_disk)
b=/sys/block/$disk/queue
add disk 4 Target s loop File s "/dev/$disk" Copy s driver Batch s no
shown disk logical_block_size 4096 max_hw_sectors_kb "$(cat "$b/max_sectors_kb")" \
	discard_granularity "$(cat "$b/discard_granularity")"
if feature SUPPORT_ZERO_COPY; then
	mask=$(cat "$b/dma_alignment")
	shown disk max_segments "$(cat "$b/max_segments")" dma_alignment $((mask < 3 ? 3 : mask))
fi
dd if=/dev/urandom of="$(node disk)" bs=1M count=4 oflag=direct 2> /dev/null
delete disk

# Of a disk with limits of all kinds, and each of them other in a file.
modprobe scsi_debug dev_size_mb=32 sector_size=512 physblk_exp=3 opt_blks=128 opt_xferlen_exp=3 lbpu=1 lbpws=1 \
	unmap_granularity=16 unmap_alignment=8 unmap_max_blocks=4096 write_same_length=2048
udevadm settle
below() { ls -d /sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/* 2> /dev/null; }
wait_for 10 'the disk of scsi_debug' eval '[ -n "$(below)" ]'
disk=$(basename "$(below)")
b=/sys/block/$disk/queue
derived=(logical_block_size physical_block_size minimum_io_size optimal_io_size discard_granularity rotational)
feature SUPPORT_ZERO_COPY && derived+=(max_segments)
loop_conf all "/dev/$disk"
call Reload 'a{sv}' 0 > /dev/null
is_running() { [ "$(prop "$1" State)" = running ]; }
wait_for 10 'the device' is_running all
for attribute in "${derived[@]}"; do
	shown all "$attribute" "$(cat "$b/$attribute")"
done
expect "$(cat "/sys/block/$disk/discard_alignment")" \
	"$(cat "/sys/block/$(basename "$(node all)")/discard_alignment")" 'all: discard_alignment'
[ "$(q all discard_max_hw_bytes)" -gt 0 ] || fail 'all: no discards'
stop all
cat >> /etc/ublkd/devices/all.conf << 'END'
[Queue]
MaxIOSize=64K
MaxSegments=17
Count=2
Depth=33
Copy=driver
END
sed -i '/^Target=/a LogicalBlockSize=4K\nPhysicalBlockSize=8K\nMinimumIOSize=16K\nOptimalIOSize=256K\nRotational=no\nWriteCache=no\nDiscard=no\nReadOnly=yes' \
	/etc/ublkd/devices/all.conf
call Reload 'a{sv}' 0 > /dev/null
start all
shown all logical_block_size 4096 physical_block_size 8192 minimum_io_size 16384 optimal_io_size 262144 rotational 0 \
	write_cache 'write through' fua 0 discard_max_hw_bytes 0 max_hw_sectors_kb 64 nr_requests 33
! feature SUPPORT_ZERO_COPY || shown all max_segments 17
expect 2 "$(ls "/sys/block/$(basename "$(node all)")/mq" | wc -l)" 'all: queues'
expect 1 "$(blockdev --getro "$(node all)")" 'all: read-only'
delete all
rm /etc/ublkd/devices/all.conf

# ---- ways of the data
expect_error InvalidConfiguration 'Copy=none: the target keeps the data' \
	add x 3 Target s loop File s /srv/a.img Copy s none
feature AUTO_BUF_REG || expect_error KernelUnsupported 'Copy=zero-auto: the driver has no AUTO_BUF_REG' \
	add x 3 Target s loop File s /srv/a.img Copy s zero-auto
feature BATCH_IO || expect_error KernelUnsupported 'Batch=yes: the driver has no BATCH_IO' \
	add x 2 Target s null Batch b true
loop_conf told /srv/a.img
/usr/libexec/ublkd --explain told > /run/told || fail "--explain: $(cat /run/told)"
grep -q '^  zero-auto ' /run/told || fail 'no table'
# What it says is what becomes of it.
call Reload 'a{sv}' 0 > /dev/null
wait_for 10 'the device' is_running told
expect "$(sed -n 's/^DataPath: //p' /run/told)" "$(prop told DataPath)" DataPath
delete told
nothing_left
