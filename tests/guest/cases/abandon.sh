#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 180
# No ublkd comes back: what waits for it fails, or goes on waiting, as Abandon= says; one that is
# started by hand afterwards serves anew. And what is not to be given up is not.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img /srv/b.img /srv/m.img
loop_conf a /srv/a.img
loop_conf m /srv/m.img
unit=/etc/systemd/system/ublkd.service.d
mkdir -p $unit /mnt/m
printf '[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=1h\n' > $unit/limit.conf # not 5 a minute
systemctl daemon-reload
start_ublkd
add b 2 Target s loop File s /srv/b.img
disk_a=$(node a)
mkfs.ext4 -q "$(node m)"
mount "$(node m)" /mnt/m

said() { grep -q -- "$1" <<< "$(journalctl -u ublkd-abandon --no-pager)"; }
char_devices() { ls -d /dev/ublkc[0-9]* 2> /dev/null | wc -l; }
end_ublkd() { # so that it is not started again
	systemctl kill -s KILL --kill-whom=main ublkd
	wait_for 20 'systemd to give up' ended
}
ended() { [ "$(systemctl is-failed ublkd)" = failed ]; }

# A living ublkd is in the way of it.
systemctl start ublkd-abandon && fail 'gives up what is served'
said 'another ublkd is running' || fail 'does not say why not'
expect 3 "$(char_devices)" 'char devices'

# wait: nothing is touched, and an ublkd that is started goes on with it.
printf '[Manager]\nAbandon=wait\n' > /run/wait.conf
mkdir -p /etc/ublkd/ublkd.conf.d
cp /run/wait.conf /etc/ublkd/ublkd.conf.d/wait.conf
end_ublkd
dd if=/dev/zero of="$disk_a" bs=4K count=1 oflag=direct 2> /run/dd.err &
writer=$!
wait_for 20 'the word of it' said 'a: nobody serves ublk device .: its I/O waits until ublkd is started (Abandon=wait)'
expect 3 "$(char_devices)" 'char devices that wait'
kill -0 $writer || fail "I/O did not wait: $(cat /run/dd.err)"
rm /etc/ublkd/ublkd.conf.d/wait.conf
# Numbers of processes are used again: the dead server's is somebody else's now.
mapfile -t states < <(sed -n 's/^Cookie=//p' /run/ublkd/state/*)
pid=$((0x${states[0]} >> 18 & 0x3fffff))
for ((i = 0; i < 100; i++)); do
	echo $((pid - 1)) > /proc/sys/kernel/ns_last_pid
	sleep 1000 &
	[ $! = $pid ] && break
	kill $!
done
expect $pid $! 'the number of another process'
systemctl reset-failed ublkd
start_ublkd
wait $writer || fail "I/O that waited failed: $(cat /run/dd.err)"
wait_for 20 'the devices' eval "[ \"\$(call ListDevices | grep -o '\"running\"' | wc -l)\" = 3 ]"
kill %%

# A restart too often is no failure, and a mistake in the configuration will be mended.
systemctl restart ublkd 2> /dev/null && fail 'systemd does not give up'
wait_for 20 'the word of restarts' said 'restarted too often, and has not failed'
echo 'MaxDevices=many' | cat /run/wait.conf - > /etc/ublkd/ublkd.conf
systemctl reset-failed ublkd
systemctl start ublkd 2> /dev/null && fail 'starts with a broken configuration'
wait_for 20 'the word of the mistake' said 'until ublkd is started (its configuration is broken)'
expect 3 "$(char_devices)" 'char devices, with a broken configuration'
rm /etc/ublkd/ublkd.conf
systemctl reset-failed ublkd
start_ublkd
stop_force b
delete b

# fail: those who wait get errors, the daemon started by hand begins anew.
disk_a=$(node a)
echo lost > /mnt/m/file
end_ublkd
(dd if=/dev/zero of="$disk_a" bs=4K count=1 oflag=direct && echo written) > /run/dd 2>&1 &
(sync -f /mnt/m && echo synced) > /run/sync 2>&1 &
wait_for 30 'device a to be given up' said 'a: nobody serves ublk device .: /dev/ublkb. is taken away'
wait_for 30 'device m to be given up' said 'm: nobody serves ublk device .: /dev/ublkb. is taken away'
wait || true
grep -q written /run/dd && fail "$(cat /run/dd)"
grep -q synced /run/sync && fail 'a sync succeeded'
wait_for 20 'the end of it' eval '[ "$(systemctl show -P SubState ublkd-abandon)" = dead ]'
expect success "$(systemctl show -P Result ublkd-abandon)" result
expect 0 "$(char_devices)" 'char devices that are given up'
umount -l /mnt/m
systemctl reset-failed ublkd
start_ublkd
wait_for 20 'the devices' eval "[ \"\$(call ListDevices | grep -o '\"running\"' | wc -l)\" = 2 ]"
e2fsck -fy "$(node m)" > /run/fsck 2>&1 || [ $? -le 2 ] || fail "fsck: $(cat /run/fsck)"
systemctl stop ublkd
expect inactive "$(systemctl is-active ublkd || true)" 'state after stop'
wait_for 20 'the last of them' eval '! ls /dev/ublkc[0-9]* 2> /dev/null'
nothing_left
