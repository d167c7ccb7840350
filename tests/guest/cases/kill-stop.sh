#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 180
# kill -9 while STOP_DEV waits in the kernel for a request that does not end: nothing is left, no
# process, no device. (Were the command in the server itself, this would need a reboot.)
. "$(dirname "$0")/lib.sh"

modprobe brd rd_nr=1 rd_size=65536
# Reads of 64 KiB in the middle take 12 s; writes and flushes pass.
dmsetup create slow << TABLE
0 65536 linear /dev/ram0 0
65536 128 delay /dev/ram0 65536 12000 /dev/ram0 65536 0
65664 65408 linear /dev/ram0 65664
TABLE
mkdir -p /etc/systemd/system/ublkd.service.d
printf '[Service]\nRestart=no\n' > /etc/systemd/system/ublkd.service.d/no-restart.conf
systemctl daemon-reload
start_ublkd
add s 2 Target s loop File s /dev/mapper/slow
dev=$(node s)
reads=$(prop s ReadOps)
more_reads() { [ "$(prop s ReadOps)" -gt "$reads" ]; }
dd if="$dev" of=/dev/null bs=4096 skip=8192 count=1 iflag=direct 2> /run/dd.err &
reader=$!
main=$(systemctl show -P MainPID ublkd)
guard=$(pgrep -f 'ublkd --guard')
wait_for 5 'the read to arrive' more_reads
stop_force s > /dev/null 2>&1 &
in_stop() { grep -qE 'del_gendisk|ublk_stop|msleep|freeze|ublk_ctrl|blk_mq' /proc/"$guard"/task/*/stack 2> /dev/null; }
wait_for 5 'STOP_DEV to wait in the guard' in_stop
kill -9 "$main"
gone() { [ ! -e "/proc/$main" ] && [ ! -e "/proc/$guard" ]; }
wait_for 40 'both processes to be gone' gone
wait "$reader" && fail "the read of a dead server succeeded"
wait_for 40 'the disk to go' eval '[ ! -e '"$dev"' ]'
# What the kernel keeps of it, the next ublkd removes.
systemctl reset-failed ublkd
start_ublkd
wait_for 20 'the left-over device to be deleted' eval '! ls /dev/ublkc[0-9]* 2> /dev/null'
nothing_left
