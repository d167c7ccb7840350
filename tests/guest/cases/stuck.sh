#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 300
# A backing that hangs holds up its device, and nothing else; force gives its users EIO; when the
# backing comes back the rest of the device goes.
. "$(dirname "$0")/lib.sh"

modprobe brd rd_nr=1 rd_size=65536
echo "0 131072 linear /dev/ram0 0" | dmsetup create hang
truncate -s 64M /srv/b.img
start_ublkd
add hung 2 Target s loop File s /dev/mapper/hang
add fine 2 Target s loop File s /srv/b.img
dev=$(node hung)
udevadm settle
dmsetup suspend --noflush --nolockfs hang
reads=$(prop hung ReadOps)
more_reads() { [ "$(prop hung ReadOps)" -gt "$reads" ]; }
dd if="$dev" of=/dev/null bs=4096 skip=100 count=1 iflag=direct 2> /run/dd.err &
reader=$!
wait_for 5 'the read to arrive' more_reads

# stuck_after MODE: the stop is given up waiting for, and says what it waits for
stuck_after() {
	expect_error DeviceStuck "device 'hung' is stuck: after .* step '.*' still waits for .*'/dev/mapper/hang'" \
		call StopDevice 'sa{sv}' hung 2 mode s "$1" timeout-usec t "$2"
	expect stuck "$(prop hung State)" 'state while the backing hangs'
	prop hung LastError | grep -q 'DeviceStuck" "device .*hung.* is stuck' || fail "LastError: $(prop hung LastError)"
}

# A safe stop of an open disk is refused; of another it waits.
expect_error DeviceBusy "open by 'dd' \\(pid $reader\\)" stop hung
# All the while everything else works, at once.
timeout 5 dd if="$(node fine)" of=/dev/null bs=1M count=8 iflag=direct 2> /dev/null || fail "another device hangs"
stop fine
start fine
call ListDevices | grep -q '"fine" "running"' || fail "the bus"

stuck_after force 7000000
expect_error DeviceStuck "is stuck" start hung
expect_error DeviceStuck "is stuck" stop hung
logged 'stop is forced, and after .* do not end (1 in flight)' || fail "force said nothing"
got_eio() {
	if wait "$reader"; then fail "the read succeeded"; fi
	grep -q 'Input/output error' /run/dd.err || fail "the reader got: $(cat /run/dd.err)"
}
# With zero copy the backing works on the reader's own memory: nobody can tell it that this is over.
if [[ $(prop hung DataPath) == zero* ]]; then
	[ -e "/proc/$reader" ] || fail "the read ended while its memory was in use"
else
	got_eio
	wait_for 5 'the disk to go' eval "[ ! -e $dev ]"
fi
timeout 5 dd if="$(node fine)" of=/dev/null bs=1M count=8 iflag=direct 2> /dev/null || fail "another device hangs"

dmsetup resume hang
[[ $(prop hung DataPath) != zero* ]] || got_eio
wait_for 10 'the rest of the device to go' eval '[ "$(prop hung State)" = defined ]'
start hung
timeout 5 dd if="$(node hung)" of=/dev/null bs=1M count=8 iflag=direct 2> /dev/null || fail "the device after all"

# The service's own stop does not wait for it either: not for StopTimeoutSec=, which is a minute. With
# zero copy a command of the guard's is left in the kernel, and systemd waits TimeoutStopSec= for it.
dmsetup suspend --noflush --nolockfs hang
reads=$(prop hung ReadOps)
dd if="$(node hung)" of=/dev/null bs=4096 skip=100 count=1 iflag=direct 2> /run/dd.err &
wait_for 5 'the read to arrive' more_reads
stuck_after force 7000000
SECONDS=0
systemctl stop ublkd || true
[ $SECONDS -lt 55 ] || fail "the service took $SECONDS s to stop"
dmsetup resume hang
wait "$!" || true
wait_for 20 'all processes to end' eval '! pgrep ublkd'
# What the kernel keeps of it, the next ublkd removes.
systemctl reset-failed ublkd || true
start_ublkd
wait_for 20 'the left-over device to be deleted' eval '! ls /dev/ublkc[0-9]* 2> /dev/null'
nothing_left
