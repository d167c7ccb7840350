#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 240
# No ublkd comes back, and the last one's requests wait for a backing that hangs: their device is given
# up when they end, and left and named if they do not.
. "$(dirname "$0")/lib.sh"

modprobe brd rd_nr=1 rd_size=65536
echo "0 131072 linear /dev/ram0 0" | dmsetup create hang
mkdir -p /etc/systemd/system/ublkd.service.d
printf '[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=1h\n' > /etc/systemd/system/ublkd.service.d/limit.conf
systemctl daemon-reload
said() { grep -q -- "$1" <<< "$(journalctl -u ublkd-abandon --no-pager)"; }
gives_up() { [ "$(systemctl show -P SubState ublkd-abandon)" = start ]; }
ended() { [ "$(systemctl show -P SubState ublkd-abandon)" = "$1" ]; }
hang_and_die() { # sets $reader
	systemctl reset-failed ublkd 2> /dev/null || true
	start_ublkd
	[ "$(prop hung State 2> /dev/null)" = running ] || add hung 2 Target s loop File s /dev/mapper/hang
	dev=$(node hung)
	udevadm settle
	dmsetup suspend --noflush --nolockfs hang
	dd if="$dev" of=/dev/null bs=4096 skip=1000 count=1 iflag=direct 2> /run/dd.err &
	reader=$!
	wait_for 20 'the read to be under way' eval \
		'busctl -j call org.ublkd1 /org/ublkd1/device/hung org.ublkd1.Device DumpRequests | grep -qE "4096000,[^}]*(in-flight|handed-over)"'
	systemctl kill -s KILL --kill-whom=main ublkd
	wait_for 30 'it to be given up' gives_up
}

hang_and_die
sleep 3
gives_up || fail 'it does not wait for the requests of the last one'
dmsetup resume hang
wait_for 20 'the device to be given up' said 'hung: nobody serves ublk device .: /dev/ublkb. is taken away'
wait_for 20 'the end of it' ended dead
expect success "$(systemctl show -P Result ublkd-abandon)" result
wait $reader || true
expect '' "$(ls -d /dev/ublkc[0-9]* 2> /dev/null || true)" 'char devices'

hang_and_die
wait_for 60 'the word of it' said 'cannot be taken away (its backing does not answer its last requests)'
wait_for 20 'the end of it' ended failed
dmsetup resume hang
systemctl start ublkd-abandon || fail 'not given up even now'
wait $reader || true
expect '' "$(ls -d /dev/ublkc[0-9]* 2> /dev/null || true)" 'char devices, in the end'
