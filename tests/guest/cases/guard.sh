#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# The guard may die: running devices serve on, and the next command finds another one.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
loop_conf a /srv/a.img
start_ublkd
dev=$(node a)
dd if="$dev" of=/dev/null bs=1M iflag=direct 2> /dev/null &
guard=$(pgrep -f 'ublkd --guard')
# It holds the control node and a socket, no device.
ls -l "/proc/$guard/fd" | grep -qE 'ublkc|ublkb|a\.img' && fail "the guard has the device open"
kill -9 "$guard"
wait || fail "a reader noticed"
another() { g=$(pgrep -f 'ublkd --guard') && [ "$g" != "$guard" ]; }
wait_for 5 'another guard' another
stop a
start a
[ -b "$(node a)" ]
journalctl -u ublkd | grep -q 'guard process died' || fail "not logged"
# No zombies of it.
ps -eo stat,comm | grep -E '^Z.*ublkd' && fail "a zombie"
stop a
nothing_left
