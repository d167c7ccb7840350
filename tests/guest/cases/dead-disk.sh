#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# Whoever has a dead disk open keeps its number, and nothing else: that is told, and when it is closed
# the number is free.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
loop_conf a /srv/a.img
printf '[Device]\nTarget=loop\nId=7\n[Loop]\nFile=/srv/a.img\n' | conf a
start_ublkd
expect /dev/ublkb7 "$(node a)" 'the device with Id=7'
sleep 1000 3< /dev/ublkb7 &
user=$!
stop_force a
expect defined "$(prop a State)" 'state after a forced stop'
nothing_left
logged "ublk device 7 is deleted, and its number is free when its dead disk is closed: open by 'sleep' (pid $user)" ||
	fail "nobody was told"
expect_error DeviceExists 'id 7 is taken' start a
expect failed "$(prop a State)" 'state without a number'
kill "$user"
wait "$user" || true
wait_for 10 'the number to be free' start a
expect /dev/ublkb7 "$(node a)" 'the device with Id=7'
stop a
nothing_left
