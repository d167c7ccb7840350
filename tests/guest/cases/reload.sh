#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# Reload: never touches what runs; drop-ins and masks; orphans go when they stop.
. "$(dirname "$0")/lib.sh"

truncate -s 32M /srv/a.img /srv/b.img
loop_conf a /srv/a.img
loop_conf b /srv/b.img
start_ublkd
reload() { call Reload 'a{sv}' 0; }
reload | grep -q '"a" "unchanged" "" "b" "unchanged"' || fail "unchanged"

mkdir -p /etc/ublkd/devices/a.conf.d
printf '[Queue]\nDepth=32\n' > /etc/ublkd/devices/a.conf.d/50-depth.conf
rm /etc/ublkd/devices/b.conf
out=$(reload)
grep -q '"a" "pending-restart"' <<< "$out" || fail "$out"
grep -q '"b" "orphaned"' <<< "$out" || fail "$out"
expect true "$(prop a NeedsRestart)" NeedsRestart
expect 128 "$(prop a QueueDepth)" 'depth while it runs'
cmp -n 1048576 "$(node a)" /srv/a.img
[ -b "$(node b)" ]
stop a
start a
expect 32 "$(prop a QueueDepth)" 'depth after the restart'
expect false "$(prop a NeedsRestart)" NeedsRestart
stop b
expect_error NoSuchDevice "'b'" start b

# A masked drop-in counts no more; the file in /run loses against the one in /etc.
ln -sf /dev/null /etc/ublkd/devices/a.conf.d/50-depth.conf
mkdir -p /run/ublkd/devices
printf '[Device]\nTarget=null\n' > /run/ublkd/devices/a.conf
printf '[Device]\nTarget=null\nAutostart=no\n' > /run/ublkd/devices/r.conf
out=$(reload)
grep -q '"a" "pending-restart"' <<< "$out" || fail "$out"
grep -q '"r" "added"' <<< "$out" || fail "$out"
expect defined "$(prop r State)" 'Autostart=no'
expect loop "$(prop a Target)" target
