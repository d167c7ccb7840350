#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.15
# paths: zero zero-auto zero-auto+batch
# timeout: 240
# The kernel cannot register the pages of some requests: they are copied, no error, said once. The
# way to make it fail: put something else into their slots of the queue's table of buffers.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
start_ublkd
add a 4 Target s loop File s /srv/a.img QueueDepth u 16 MaxIOSize t 131072
dev=$(node a)
main=$(systemctl show -P MainPID ublkd)
[[ $(prop a DataPath) == zero* ]] || fail "in $(prop a DataPath)"
udevadm settle

slots() { # take | free
	local tid
	tid=$(basename "$(dirname "$(grep -l '^ublk[0-9]*\.0$' /proc/"$main"/task/*/comm)")")
	python3 "$(dirname "$0")/inc/slots.py" "$1" "$tid" 0 8
}
check() {
	fio --name=verify --filename="$dev" --rw=randrw --bsrange=512-128k --blockalign=512 --iodepth=16 --ioengine=io_uring \
		--direct=1 --size=32M --io_size=16M --verify=crc32c --verify_fatal=1 --verify_backlog=32 --randseed="$1" \
		--output=/run/fio || { cat /run/fio; fail "verify $2"; }
	expect 0 "$(prop a Errors)" "errors $2"
}
said() { journalctl -u ublkd --no-pager | grep -c 'could not register the pages' || true; }

check 1 'before'
expect 0 "$(said)" 'messages before'
slots take
check 2 'with half of the slots taken'
expect 1 "$(said)" 'messages'
slots free
check 3 'with all slots free again'
expect 1 "$(said)" 'messages after all'
# A forced stop with requests that were copied under way.
slots take
fio --name=load --filename="$dev" --rw=randrw --bs=64k --iodepth=16 --ioengine=io_uring --direct=1 --time_based --runtime=60 \
	--size=48M --output=/run/fio > /dev/null 2>&1 &
load=$!
ops=$(prop a ReadOps)
more_reads() { [ "$(prop a ReadOps)" -ge $((ops + 50)) ]; }
wait_for 20 'the load' more_reads
stop_force a
wait $load && fail 'the load got no error'
start a
dev=$(node a)
check 4 'after a new start'
delete a
nothing_left
