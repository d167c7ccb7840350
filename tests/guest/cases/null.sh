#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: null
# A null device: every kind of request is answered, at any depth and size, while others come and go.
. "$(dirname "$0")/lib.sh"

start_ublkd
add n 5 Target s null Size t 1073741824 Queues u 2 QueueDepth u 64 WriteCache b true
dev=$(node n)
for size in 512 4k 64k 1M; do
	fio --name=n --filename="$dev" --rw=randrw --bs=$size --iodepth=96 --numjobs=2 --ioengine=io_uring --direct=1 \
		--size=1G --number_ios=600 --fsync=64 --output=/run/fio || { cat /run/fio; fail "requests of $size"; }
done
fio --name=n --filename="$dev" --rw=randtrim --bs=64k --iodepth=16 --ioengine=io_uring --direct=1 --size=1G \
	--number_ios=200 --output=/run/fio || { cat /run/fio; fail discards; }
blkdiscard -z -l 64M "$dev"
for count in ReadOps WriteOps DiscardOps WriteZeroesOps FlushOps; do
	[ "$(prop n $count)" -ge 1 ] || fail "$count is $(prop n $count)"
done
expect 0 "$(prop n Errors)" errors

# Forced down under load.
fio --name=n --filename="$dev" --rw=randrw --bs=4k --iodepth=64 --ioengine=io_uring --direct=1 --size=1G --time_based \
	--runtime=60 --output=/run/fio > /dev/null 2>&1 &
load=$!
reads=$(prop n ReadOps)
more_reads() { [ "$(prop n ReadOps)" -gt $((reads + 100)) ]; }
wait_for 20 'the load' more_reads
stop_force n
wait $load && fail 'the load got no error'
start n
dd if="$(node n)" of=/dev/null bs=1M count=8 iflag=direct 2> /dev/null
delete n
nothing_left
