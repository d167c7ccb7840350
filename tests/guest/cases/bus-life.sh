#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# add, start, stop, delete over the bus alone; what it says on the way; nothing left behind.
. "$(dirname "$0")/lib.sh"

start_ublkd
truncate -s 64M /srv/a.img
busctl monitor org.ublkd1 > /run/monitor 2>&1 &
wait_for 10 'the monitor' eval 'call ListDevices > /dev/null && [ -s /run/monitor ]'

call AddDevice 'sa{sv}t' d 3 Target s loop File s /srv/a.img Queues u 2 0
expect defined "$(prop d State)" state
nothing_left
start d
expect running "$(prop d State)" state
expect 67108864 "$(prop d Size)" size
expect 2 "$(prop d Queues)" queues
expect 67108864 "$(blockdev --getsize64 "$(node d)")" 'size of the disk'
expect "o \"/org/ublkd1/device/d\"" "$(call GetDeviceByNode s "$(node d)")" 'GetDeviceByNode'
expect 2 "$(ls "/sys/block/$(basename "$(node d)")/mq" | wc -l)" 'hardware queues'
dd if=/dev/urandom of="$(node d)" bs=64K count=16 oflag=direct 2> /dev/null
[ "$(prop d WriteBytes)" -ge 1048576 ] || fail "WriteBytes"
cmp -n 1048576 "$(node d)" /srv/a.img
expect_error DeviceRunning "is running" start d
stop d
nothing_left
expect defined "$(prop d State)" state
expect_error DeviceNotRunning "is not running" stop d
# Again and again: the kernel's object is a new one each time.
for _ in 1 2 3 4 5; do
	start d
	[ -b "$(node d)" ]
	stop d
done
# Not waited for, and waited for by somebody who has gone.
call StartDevice 'sa{sv}' d 1 no-block b true
wait_for 10 'the start' eval '[ "$(prop d State)" = running ]'
timeout 0.05 busctl call "${MANAGER[@]}" StopDevice 'sa{sv}' d 0 || true
call StopDevice 'sa{sv}' d 0 2> /dev/null || true
wait_for 10 'the stop' eval '[ "$(prop d State)" = defined ]'
delete d
expect_error NoSuchDevice "'d'" start d

# Deleting a running device stops it; adding with start leaves nothing if it fails.
add n 2 Target s null Size t 1073741824
delete n
nothing_left
expect_error BackingUnavailable "/srv/none" add x 2 Target s loop File s /srv/none
expect_error NoSuchDevice "'x'" call GetDevice s x
nothing_left
for word in InterfacesAdded InterfacesRemoved DeviceNew DeviceRemoved PropertiesChanged OperationFinished; do
	wait_for 5 "signal $word" grep -q "$word" /run/monitor
done
