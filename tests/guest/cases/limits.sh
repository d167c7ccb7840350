#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# Numbers out of range, and what the driver would cut without a word.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
start_ublkd
a() { add x "$@"; }
expect_error InvalidConfiguration 'Queues=0: ' a 2 Target s null Queues u 0
expect_error InvalidConfiguration 'Queues=5000: ' a 2 Target s null Queues u 5000
expect_error InvalidConfiguration 'queues are too many for this machine: set \[Queue\] Count= to at most [0-9]' \
	a 2 Target s null Queues u 4000
expect_error InvalidConfiguration 'QueueDepth=0: ' a 2 Target s null QueueDepth u 0
expect_error InvalidConfiguration 'QueueDepth=4097: ' a 2 Target s null QueueDepth u 4097
expect_error InvalidConfiguration 'LogicalBlockSize=300: ' a 2 Target s null LogicalBlockSize t 300
expect_error InvalidConfiguration 'LogicalBlockSize=8192: |LogicalBlockSize=8K: ' a 2 Target s null LogicalBlockSize t 8192
expect_error InvalidConfiguration 'MaxIOSize=5000: ' a 2 Target s null MaxIOSize t 5000
expect_error InvalidConfiguration 'Size=1000: ' a 2 Target s null Size t 1000
expect_error InvalidConfiguration 'Id=9999999: ' a 2 Target s null Id s 9999999
nothing_left
expect 'a(sssto) 0' "$(call ListDevices)" devices

# What works at the edge.
add big 4 Target s null QueueDepth u 4096 MaxIOSize t 4096 Size t 1099511627776
dd if="$(node big)" of=/dev/null bs=1M count=4 iflag=direct 2> /dev/null
delete big
add wide 4 Target s loop File s /srv/a.img MaxIOSize t 4194304 LogicalBlockSize t 4096
expect 4096 "$(blockdev --getss "$(node wide)")" 'logical block size'
dd if="$(node wide)" of=/dev/null bs=4M count=4 iflag=direct 2> /dev/null
delete wide
add fixed 2 Target s null Id s 17
expect /dev/ublkb17 "$(node fixed)" 'the wanted id'
expect_error DeviceExists "id 17" add other 2 Target s null Id s 17
expect 'a(sssto) 1' "$(call ListDevices | cut -d' ' -f1-2)" devices
delete fixed
add ro 4 Target s loop File s /srv/a.img ReadOnly b true Rotational s yes
expect 1 "$(blockdev --getro "$(node ro)")" read-only
expect 1 "$(cat "/sys/block/$(basename "$(node ro)")/queue/rotational")" rotational
dd if=/dev/zero of="$(node ro)" bs=4096 count=1 oflag=direct 2> /dev/null && fail "written to a read-only device"
# Two readers of one file are fine, a writer beside them is not.
add ro2 3 Target s loop File s /srv/a.img ReadOnly b true
expect_error BackingInUse "served read-only by device 'ro" add rw 2 Target s loop File s /srv/a.img
delete ro
delete ro2
# Parts of one file that do not overlap.
add lo 3 Target s loop File s /srv/a.img Size t 33554432
add hi 3 Target s loop File s /srv/a.img Offset t 33554432
printf 'hello' > /run/h
truncate -s 4096 /run/h
dd if=/run/h of="$(node hi)" bs=4096 oflag=direct 2> /dev/null
cmp -n 4096 -i 0:33554432 /run/h /srv/a.img || fail "Offset="
expect_error BackingInUse "served read-write by device '(lo|hi)'" add mid 4 Target s loop File s /srv/a.img Offset t 16777216 Size t 33554432
delete lo
delete hi
nothing_left
