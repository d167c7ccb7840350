#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A flush reaches the backing before it is answered, FUA writes are durable, others do not pay.
. "$(dirname "$0")/lib.sh"

modprobe null_blk nr_devices=0
mkdir /sys/kernel/config/nullb/nullb0
for set in memory_backed=1 size=64 cache_size=16 power=1; do
	echo "${set#*=}" > "/sys/kernel/config/nullb/nullb0/${set%=*}"
done
disk=$(null_blk_disk)
expect 'write back' "$(cat "/sys/block/$disk/queue/write_cache")" 'cache of the disk below'
start_ublkd
add f 3 Target s loop File s "/dev/$disk" DirectIO s yes
dev=$(node f)
q=/sys/block/$(basename "$dev")/queue
expect 'write back' "$(cat "$q/write_cache")" 'advertised cache'
expect 1 "$(cat "$q/fua")" 'advertised FUA'

flushes() { awk '{print $16}' "/sys/block/$disk/stat"; }
written() { awk '{print $7}' "/sys/block/$disk/stat"; }

before=$(flushes)
dd if=/dev/urandom of="$dev" bs=4096 count=50 oflag=direct 2> /dev/null
expect "$before" "$(flushes)" 'flushes after plain writes'

for i in 1 2 3 4 5; do
	sectors=$(written)
	before=$(flushes)
	# Buffered, then fsync: data first, then a flush.
	dd if=/dev/urandom of="$dev" bs=4096 seek=$((i * 16)) count=4 conv=fsync,notrunc 2> /dev/null
	[ "$(written)" -ge $((sectors + 32)) ] || fail "fsync returned before the data was written"
	[ "$(flushes)" -gt "$before" ] || fail "fsync returned without a flush below"
done
[ "$(prop f FlushOps)" -ge 5 ] || fail "FlushOps is $(prop f FlushOps)"

# O_DSYNC on a disk with FUA: no flush request above, the write itself is durable below.
before=$(flushes) above=$(prop f FlushOps)
dd if=/dev/urandom of="$dev" bs=4096 count=8 oflag=direct,dsync 2> /dev/null
expect "$above" "$(prop f FlushOps)" 'flushes sent to us for FUA writes'
[ "$(flushes)" -ge $((before + 8)) ] || [ "$(cat "/sys/block/$disk/queue/fua")" = 1 ] || fail "FUA writes were not made durable"
