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

systemctl start ublkd
dev=$(node lower)
mkfs.ext4 -q "$dev"
mkdir -p /mnt/l
mount "$dev" /mnt/l
SECONDS=0
systemctl stop ublkd || true
[ $SECONDS -ge 3 ] || fail "did not wait for the user"
[ $SECONDS -lt 30 ] || fail "took $SECONDS s"
logged 'by force' || fail "not forced"
expect inactive "$(systemctl is-active ublkd || true)" state
umount /mnt/l
[ ! -e "$dev" ] || fail "the disk is still there"
