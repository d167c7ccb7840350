#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# The service: enable, activation over the bus while enabled only, reload, a second daemon, stop.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
loop_conf a /srv/a.img

# Not enabled: nobody can start it by calling its name.
call ListDevices 2> /dev/null && fail "the bus started a disabled service"
systemctl enable ublkd 2> /dev/null
systemctl daemon-reload
busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig
call ListDevices > /dev/null || fail "activation over the bus"
wait_for 20 'the device' eval "call ListDevices | grep -q '\"a\" \"running\"'"
expect active "$(systemctl is-active ublkd)" state
systemctl show -P StatusText ublkd | grep -q '1 running' || fail "status text"
[ -b "$(node a)" ] || fail "no node"

out=$(/usr/libexec/ublkd 2>&1) && fail "a second daemon starts"
grep -q 'another ublkd is running' <<< "$out" || fail "second daemon said: $out"

truncate -s 32M /srv/b.img
loop_conf b /srv/b.img
systemctl reload ublkd
wait_for 10 'the reloaded device' eval "call ListDevices | grep -q '\"b\" \"running\"'"
truncate -s 32M /srv/c.img
loop_conf c /srv/c.img
systemctl kill -s HUP --kill-whom=main ublkd
wait_for 10 'reload at SIGHUP' eval "call ListDevices | grep -q '\"c\" \"running\"'"

systemctl service-log-level ublkd debug
expect debug "$(systemctl service-log-level ublkd)" 'log level'

guard=$(pgrep -f 'ublkd --guard')
systemctl stop ublkd
expect inactive "$(systemctl is-active ublkd || true)" 'state after stop'
[ ! -e "/proc/$guard" ] || fail "the guard outlived the daemon"
nothing_left
if logged 'main process exited, code=killed'; then fail "had to be killed"; fi
