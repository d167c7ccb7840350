#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 240
# A hundred devices: all come up at once, all go, nothing leaks.
. "$(dirname "$0")/lib.sh"

mkdir -p /etc/ublkd/devices
printf '[Manager]\nMaxDevices=101\n' > /etc/ublkd/ublkd.conf
for i in $(seq 100); do
	printf "[Device]\nTarget=null\n" > "/etc/ublkd/devices/n$i.conf"
done
SECONDS=0
start_ublkd
main=$(systemctl show -P MainPID ublkd)
expect 100 "$(ls -d /dev/ublkb* | wc -l)" devices
echo "100 devices up after $SECONDS s, PSS $(awk '/^Pss:/ {print $2}' "/proc/$main/smaps_rollup") KiB"
udevadm settle
fds=$(ls "/proc/$main/fd" | wc -l)
add one 1 Target s null
expect_error org.freedesktop.DBus.Error.LimitsExceeded "MaxDevices" add two 1 Target s null
delete one
expect "$fds" "$(ls "/proc/$main/fd" | wc -l)" 'descriptors after one came and went'
SECONDS=0
systemctl stop ublkd
echo "100 devices down after $SECONDS s"
nothing_left
rmmod ublk_drv || fail "something holds the driver"
