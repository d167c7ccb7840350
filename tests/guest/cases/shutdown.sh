#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 180
# SIGTERM stops devices that stand on each other in the right order; what stays in use is forced when
# its time is up; nothing is left.
. "$(dirname "$0")/lib.sh"

mkdir -p /etc/ublkd
printf '[Manager]\nStopTimeoutSec=4s\n' > /etc/ublkd/ublkd.conf
truncate -s 128M /srv/lower.img
loop_conf lower /srv/lower.img
start_ublkd
dev=$(node lower)
# The upper device's backing is the lower device.
add upper 3 Target s loop File s "$dev" DirectIO s yes
dd if=/dev/urandom of=/run/data bs=1M count=4 2> /dev/null
dd if=/run/data of="$(node upper)" bs=1M 2> /dev/null
systemctl stop ublkd
nothing_left
cmp -n 4194304 /run/data /srv/lower.img || fail "the page cache of the upper device was lost"
if logged 'by force'; then fail "force was used"; fi

# In use when only the service stops: left to the kernel, and its user waits for the next ublkd.
systemctl start ublkd
dev=$(node lower)
mkfs.ext4 -q "$dev"
mkdir -p /mnt/l
mount "$dev" /mnt/l
systemctl stop ublkd
logged 'left to the kernel' || fail 'not left to the kernel'
if logged 'by force'; then fail 'force was used'; fi
expect inactive "$(systemctl is-active ublkd || true)" state
(cp /run/data /mnt/l/data && sync -f /mnt/l/data && echo ok > /run/waited) 2>&1 &
writer=$!
sleep 1
kill -0 $writer || fail "the writer did not wait: $(cat /run/waited)"
systemctl start ublkd
wait $writer || fail 'the write failed'
cmp /run/data /mnt/l/data
umount /mnt/l
e2fsck -fn "$dev" > /run/fsck 2>&1 || fail "fsck: $(cat /run/fsck)"
stop lower

# What the kernel does not keep is forced when its time is up.
loop_conf lower /srv/lower.img
sed -i 's/^Target=loop/&\nRecovery=no/' /etc/ublkd/devices/lower.conf
call Reload 'a{sv}' 0
start lower
dev=$(node lower)
mount "$dev" /mnt/l
systemctl stop ublkd || true
logged 'by force' || fail "not forced"
expect inactive "$(systemctl is-active ublkd || true)" state
umount /mnt/l
[ ! -e "$dev" ] || fail "the disk is still there"

# When the whole system goes down it must not wait for anybody.
sed -i '/^Recovery=no/d' /etc/ublkd/devices/lower.conf
systemctl start ublkd
dev=$(node lower)
mount "$dev" /mnt/l
before=$(journalctl -u ublkd --no-pager | grep -c 'by force')
printf '[Unit]\nDefaultDependencies=no\nConflicts=shutdown.target\nBefore=shutdown.target\n[Service]\nExecStart=sleep infinity\nExecStop=sleep 100\n' \
	> /run/systemd/system/blocker.service
systemctl daemon-reload
systemctl start blocker
# Nor unmounted, as long as this is there.
(cd /mnt/l && exec sleep infinity) &
systemctl --no-block poweroff
forced_again() { [ "$(journalctl -u ublkd --no-pager | grep -c 'by force')" -gt "$before" ]; }
wait_for 60 'force' forced_again
kill %1
