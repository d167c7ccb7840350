#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
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

# FUA: the block trace of both disks says that a FUA write is answered above only after it was
# durable below, by FUA or by a flush; and that a plain write is not made durable.
trace=/sys/kernel/tracing
mountpoint -q $trace || mount -t tracefs none $trace
numbers() { tr : , < "/sys/block/$1/dev"; }
echo 1 > $trace/events/block/block_rq_issue/enable
echo 1 > $trace/events/block/block_rq_complete/enable
dd if=/dev/urandom of="$dev" bs=4096 count=8 seek=512 oflag=direct 2> /dev/null
dd if=/dev/urandom of="$dev" bs=4096 count=8 seek=1024 oflag=direct,dsync 2> /dev/null
echo 0 > $trace/events/enable
awk -v above="$(numbers "$(basename "$dev")")" -v below="$(numbers "$disk")" '
	# ... block_rq_complete: DEV RWBS () SECTOR + COUNT ...
	match($0, /block_rq_(issue|complete): .*/) {
		n = split(substr($0, RSTART), f, " ")
		for (plus = 1; plus <= n && f[plus] != "+"; plus++);
		what = f[1]; dev = f[2]; rwbs = f[3]; sector = f[plus - 1]
		fua = rwbs ~ /WF/; flush = rwbs ~ /^F/
		if (dev == above && what ~ /issue/ && fua) { asked[sector] = NR; delete durable[sector] }
		if (dev == below && what ~ /complete/ && fua) durable[sector] = 1
		if (dev == below && what ~ /complete/ && flush) flushed = NR
		if (dev == below && what ~ /issue/ && rwbs ~ /W/ && !fua && sector >= 4096 && sector < 4160) plain++
		if (dev == below && what ~ /issue/ && fua && sector >= 4096 && sector < 4160) paid++
		if (dev == above && what ~ /complete/ && fua) {
			answered++
			if (!(sector in durable) && !(flushed > asked[sector])) early++
		}
	}
	END { printf "%d FUA writes answered, %d too early; %d plain writes, %d made durable\n", answered, early, plain, paid
	      exit !(answered >= 8 && early == 0 && plain >= 8 && paid == 0) }
' $trace/trace || { grep -E 'block_rq' $trace/trace | tail -60; fail "FUA"; }
