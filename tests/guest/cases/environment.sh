#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 180
# The broker dies, the journal stops reading, the runtime directory is full or read-only: I/O goes on,
# and so does the daemon.
. "$(dirname "$0")/lib.sh"

truncate -s 16M /srv/a.img /srv/b.img /srv/c.img
loop_conf a /srv/a.img
# Of its own, since what has a file open for writing does not become read-only.
mkdir -p /run/ublkd
mkdir -m 700 /run/ublkd/state
mount -t tmpfs -o size=64k,mode=700 tmpfs /run/ublkd/state
start_ublkd
main=$(systemctl show -P MainPID ublkd)
: > /run/beats
dev=$(node a)
(while dd if=/dev/zero of="$dev" bs=4K count=20 oflag=dsync,direct; do echo >> /run/beats; done) 2> /run/writer &
writer=$!
beats() { wc -l < /run/beats; }
beats_on() { # WHAT: some more I/O from now on
	local n
	n=$(beats)
	wait_for 20 "I/O, $1" eval "[ \"\$(beats)\" -ge $((n + 5)) ]"
}
named() { call ListDevices > /run/devices 2>&1; }
beats_on 'at first'

for i in 1 2 3; do
	systemctl kill -s KILL dbus
	beats_on 'without a broker'
	wait_for 20 "the name, after the broker died ($i)" named
done

# 3000 messages, and nobody who reads them: the answer comes all the same.
{ printf '[Device]\nTarget=null\n'; for ((i = 0; i < 3000; i++)); do echo "NoSuchKey$i=1"; done; } | conf bad
systemctl kill -s STOP systemd-journald
trap 'systemctl kill -s CONT systemd-journald' EXIT
for i in 1 2; do
	call Reload 'a{sv}' 0 > /run/reload || { systemctl kill -s CONT systemd-journald; fail "Reload $i: $(cat /run/reload)"; }
done
beats_on 'while the journal is stopped'
systemctl kill -s CONT systemd-journald
trap - EXIT
rm /etc/ublkd/devices/bad.conf
told() { call Reload 'a{sv}' 0 > /dev/null && systemctl service-log-level ublkd debug && logged 'messages before this one are lost'; }
wait_for 30 'the number of lost messages' told
systemctl service-log-level ublkd info

# Full: what is there is served on, and recovered; what is new is served as long as this ublkd lives.
dd if=/dev/zero of=/run/ublkd/state/.full bs=4K 2> /dev/null || true
add b 2 Target s loop File s /srv/b.img
logged 'b: cannot write its state file' || fail 'not said that b ends with ublkd'
beats_on 'with no room for state'
mount -o remount,ro /run/ublkd/state
add c 2 Target s loop File s /srv/c.img
logged 'c: cannot write its state file (Read-only' || fail 'not said that c ends with ublkd'
dd if=/dev/zero of="$(node c)" bs=4K count=1 oflag=direct 2> /dev/null
beats_on 'with state that cannot be written'
stop c
delete c
expect "$main" "$(systemctl show -P MainPID ublkd)" 'the process'

systemctl kill -s KILL --kill-whom=main ublkd
again() { m=$(systemctl show -P MainPID ublkd) && [ "$m" != 0 ] && [ "$m" != "$main" ] && named && grep -q '"a" "[^"]*" "running"\|"a" "running"' /run/devices; }
wait_for 30 'another ublkd' again
beats_on 'after a kill'
grep -q '"b"' /run/devices && fail 'b came back, from where?'
kill $writer
wait $writer || true
mount -o remount,rw /run/ublkd/state
grep -v records /run/writer | grep -v copied && fail 'an error of I/O'
rm /run/ublkd/state/.full
stop a
nothing_left
