#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# The guard may die: running devices serve on, and the next command finds another one.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
loop_conf a /srv/a.img
start_ublkd
dev=$(node a)
guard=$(pgrep -f 'ublkd --guard')
# It holds the control node and a socket, no device.
[[ $(ls -l "/proc/$guard/fd") =~ ublkc|ublkb|a\.img ]] && fail "the guard has the device open"
reads() {
	for _ in $(seq 8); do
		dd if="$dev" of=/dev/null bs=64K iflag=direct 2> /dev/null || return 1
	done
}
reads &
reader=$!
kill -9 "$guard"
wait "$reader" || fail "a reader noticed"
another() { g=$(pgrep -f 'ublkd --guard') && [ "$g" != "$guard" ]; }
wait_for 5 'another guard' another
stop a
start a
[ -b "$(node a)" ]
logged 'guard process died' || fail "not logged"
# No zombies of it.
ps -eo stat,comm | grep -E '^Z.*ublkd' && fail "a zombie"
stop a
nothing_left
