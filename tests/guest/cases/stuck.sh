#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 180
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

# A safe stop waits, and says what for when the caller's time is up.
if ! feature SAFE_STOP_DEV; then
	expect_error Timeout "still stopping" call StopDevice 'sa{sv}' hung 1 timeout-usec t 2000000
fi
# All the while everything else works, at once.
timeout 5 dd if="$(node fine)" of=/dev/null bs=1M count=8 iflag=direct 2> /dev/null || fail "another device hangs"
stop fine
start fine
call ListDevices | grep -q '"fine" "running"' || fail "the bus"

expect_error Timeout "still stopping" call StopDevice 'sa{sv}' hung 2 mode s force timeout-usec t 6000000
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
expect stopping "$(prop hung State)" 'state while the backing hangs'
expect_error OperationInProgress "stopping" start hung
timeout 5 dd if="$(node fine)" of=/dev/null bs=1M count=8 iflag=direct 2> /dev/null || fail "another device hangs"

dmsetup resume hang
[[ $(prop hung DataPath) != zero* ]] || got_eio
wait_for 10 'the rest of the device to go' eval '[ "$(prop hung State)" = defined ]'
start hung
timeout 5 dd if="$(node hung)" of=/dev/null bs=1M count=8 iflag=direct 2> /dev/null || fail "the device after all"
stop hung
stop fine
nothing_left
