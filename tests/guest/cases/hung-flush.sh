#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 240
# A backing hangs under a flush, which a worker of the kernel is at: an ublkd that is killed then is not
# gone, with all of its devices, until it is answered. The next one waits for that, can be stopped
# meanwhile, and goes on with all devices.
. "$(dirname "$0")/lib.sh"

modprobe brd rd_nr=1 rd_size=65536
echo "0 131072 linear /dev/ram0 0" | dmsetup create hang
mkfs.ext4 -q /dev/mapper/hang
mkdir -p /mnt/h
mount /dev/mapper/hang /mnt/h
dd if=/dev/zero of=/mnt/h/a.img bs=1M count=16 conv=fsync 2> /dev/null
truncate -s 16M /srv/b.img
mkdir -p /run/systemd/system/ublkd.service.d
printf '[Service]\nTimeoutStopSec=2s\n' > /run/systemd/system/ublkd.service.d/soon.conf
systemctl daemon-reload
mkdir -p /etc/ublkd
printf '[Manager]\nStopTimeoutSec=1s\n' > /etc/ublkd/ublkd.conf
start_ublkd
add hung 3 Target s loop File s /mnt/h/a.img DirectIO s no
add fine 2 Target s loop File s /srv/b.img
dev=$(node hung)
node fine > /dev/null
udevadm settle
main() { systemctl show -P MainPID ublkd; }
state_is() { [ "$(prop "$1" State 2> /dev/null)" = "$2" ]; }
requests() { busctl -j call org.ublkd1 "/org/ublkd1/device/$1" org.ublkd1.Device DumpRequests; }
waiting() { [ "$(systemctl show -P StatusText ublkd)" = 'waiting for another ublkd to end' ]; }

old=$(main)
dmsetup suspend --noflush --nolockfs hang
dd if=/dev/urandom of="$dev" bs=4096 count=1 conv=fsync 2> /run/dd.err & # the write gets as far as a page cache
syncing=$!
wait_for 20 'the flush to be under way' eval 'requests hung | grep -qE "flush[^}]*(in-flight|handed-over)"'
systemctl restart --no-block ublkd
wait_for 60 'the next ublkd to wait' waiting
[ "$(main)" != "$old" ] || fail 'there is no next ublkd'
[ -e "/proc/$old" ] || fail 'the old one is gone: nothing is proved'
expect activating "$(systemctl is-active ublkd || true)" 'state while it waits'
logged 'waiting for its end' || fail 'nobody was told'
waiter=$(main)
systemctl stop ublkd # which "fails", for what is left of the old one
[ ! -e "/proc/$waiter" ] || fail 'it cannot be stopped while it waits'
systemctl start --no-block ublkd
wait_for 30 'another one to wait' waiting
sleep 2
waiting || fail 'it does not wait any more'
kill -0 $syncing || fail 'the flush ended'
dmsetup resume hang
wait $syncing || fail 'the flush failed'
wait_for 30 'the device with the flush' state_is hung running
wait_for 30 'the other device' state_is fine running
[ ! -e "/proc/$old" ] || fail 'the old one is still there'
dd if="$dev" of=/dev/null bs=4096 count=8 iflag=direct 2> /dev/null
for d in hung fine; do stop $d; delete $d; done
nothing_left
