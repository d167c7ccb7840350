#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 240
# A request that its backing does not answer is told of once, and shown; so are those that were under
# way when ublkd was killed. A device that brings ublkd down again and again is not served any more,
# and the others are.
. "$(dirname "$0")/lib.sh"

ublkd=$(systemctl show -P ExecStart ublkd | sed -n 's/.*path=\([^ ;]*\).*/\1/p')
modprobe brd rd_nr=1 rd_size=65536
echo "0 131072 linear /dev/ram0 0" | dmsetup create hang
truncate -s 16M /srv/b.img
start_ublkd
add hung 3 Target s loop File s /dev/mapper/hang StallSec s 1s
add fine 2 Target s loop File s /srv/b.img
dev=$(node hung)
node fine > /dev/null
udevadm settle
dd if="$dev" of=/dev/null bs=64K count=40 iflag=direct 2> /dev/null # more than its first records
requests() { busctl -j call org.ublkd1 "/org/ublkd1/device/$1" org.ublkd1.Device DumpRequests; }
grep -q 'op[^,]*read[^,]*,[^,]*offset[^,]*:2555904,[^,]*bytes[^,]*:65536,' <<< "$(requests hung)" || fail "no read of what was read"
! logged '4096000 is not answered' || fail "a stall that is none"

dmsetup suspend --noflush --nolockfs hang
dd if="$dev" of=/dev/null bs=4096 skip=1000 count=1 iflag=direct 2> /run/dd.err &
reader=$!
wait_for 30 'the stall' logged 'a read of 4096 bytes at 4096000 is not answered'
wait_for 5 'the file' test -e /run/ublkd/flight/hung.stall
expect 600 "$(stat -c %a /run/ublkd/flight/hung.stall)" 'mode'
grep -qE '4096000,[^}]*(in-flight|handed-over)' <<< "$(requests hung)" || fail "not under way: $(requests hung | tail -c 500)"
grep -qE '"offset":4096000,.*"(in-flight|handed-over)"' /run/ublkd/flight/hung.stall || fail 'not in the file'
dd if="$(node fine)" of=/dev/null bs=4096 count=8 iflag=direct 2> /dev/null
sleep 3 # more than twice StallSec=
expect 1 "$(journalctl -u ublkd --no-pager | grep -c '4096000 is not answered')" 'stalls told of'

# Killed: the next one says what was under way, and waits for it.
main() { systemctl show -P MainPID ublkd; }
another() { local m; m=$(main) && [ "$m" != 0 ] && [ "$m" != "$1" ]; }
state_is() { [ "$(prop "$1" State 2> /dev/null)" = "$2" ]; }
old=$(main)
systemctl kill -s KILL --kill-whom=main ublkd
wait_for 30 'the next ublkd' another "$old"
wait_for 30 'the other device' state_is fine running
"$ublkd" --show-requests /run/ublkd/flight/crash | grep -E '"hung".*:4096000,.*"(in-flight|handed-over)"' ||
	fail "not in the crash: $("$ublkd" --show-requests /run/ublkd/flight/crash | tail -n 3)"
dmsetup resume hang
wait "$reader" || fail "the read failed: $(cat /run/dd.err)"
wait_for 30 'the device' state_is hung running
! logged 'brought ublkd down' || fail "a kill is nobody's fault"

# As if the target had crashed.
for ((i = 1; i <= 3; i++)); do
	old=$(main)
	threads=$(prop hung QueueThreads)
	kill -SEGV "${threads##* }"
	systemctl reset-failed ublkd
	wait_for 30 "the ublkd after death $i" another "$old"
	wait_for 30 "the other device after death $i" state_is fine running
	[ $i = 3 ] || wait_for 30 "the device after death $i" state_is hung running
done
wait_for 30 'it to be held' state_is hung failed
logged 'at work for this device' || fail 'nobody is blamed'
expect 1 "$(journalctl -u ublkd --no-pager | grep -c "'hung' has brought ublkd down 3 times")" 'lines about it'
[ ! -e "$dev" ] || fail 'there is a disk of it'
dd if="$(node fine)" of=/dev/null bs=4096 count=8 iflag=direct 2> /dev/null || fail 'the other device'
start hung
dd if="$(node hung)" of=/dev/null bs=4096 count=8 iflag=direct 2> /dev/null || fail 'it does not serve again'
stop hung
stop fine
systemctl stop ublkd
[ ! -e /run/ublkd/flight/requests ] || fail 'the record is left'
nothing_left
