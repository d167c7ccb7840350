#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# kill -9 under a mounted file system, with writes under way: nothing hangs, the mount can be taken
# away, the next ublkd serves the same file, and what was synced is in it.
. "$(dirname "$0")/lib.sh"

truncate -s 128M /srv/a.img
printf '[Device]\nTarget=loop\nRecovery=no\n[Loop]\nFile=/srv/a.img\n' | conf a
start_ublkd
dev=$(node a)
mkfs.ext4 -q "$dev"
mkdir -p /mnt/a
mount "$dev" /mnt/a
head -c 4M /dev/urandom > /run/data
cp /run/data /mnt/a/synced
sync -f /mnt/a
dd if=/dev/zero of=/mnt/a/busy bs=64K count=800 2> /dev/null &
main=$(systemctl show -P MainPID ublkd)
systemctl kill -s KILL --kill-whom=main ublkd
restarted() { m=$(systemctl show -P MainPID ublkd) && [ "$m" != 0 ] && [ "$m" != "$main" ]; }
wait_for 20 'another ublkd' restarted
SECONDS=0
wait_for 20 'the device' eval "call ListDevices 2> /dev/null | grep -q '\"a\" \"running\"'"
[ $SECONDS -le 10 ] || fail "the start waited $SECONDS s for the dead disk"
wait || true
umount /mnt/a || umount -l /mnt/a
wait_for 20 'the dead device to go' eval '[ "$(ls -d /dev/ublkc[0-9]* | wc -l)" = 1 ]'
e2fsck -fy "$(node a)" > /run/fsck 2>&1 || [ $? -le 2 ] || fail "fsck: $(cat /run/fsck)"
mount "$(node a)" /mnt/a
cmp /run/data /mnt/a/synced || fail "synced data is lost"
umount /mnt/a
stop a
nothing_left
