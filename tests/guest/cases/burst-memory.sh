#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 240
# What a burst of large requests made of the daemon's memory goes back to the system, and never with
# a request's data in it: verified reads and writes while buffers come and go.
. "$(dirname "$0")/lib.sh"

modprobe brd rd_nr=1 rd_size=262144
start_ublkd
main=$(systemctl show -P MainPID ublkd)

anonymous() { awk '/^Anonymous:/ {print $2}' "/proc/$main/smaps_rollup"; }
falls() { [ "$(anonymous)" -lt 6656 ]; }
burst() { # NAME: 512 KiB x 128; sets peak
	local load
	fio --name=burst --filename="$(node "$1")" --rw=randrw --bs=512k --iodepth=128 --ioengine=io_uring --direct=1 \
		--size=128M --output=/run/fio.burst &
	load=$!
	peak=0
	while kill -0 $load 2> /dev/null; do
		now=$(anonymous)
		peak=$((now > peak ? now : peak))
		sleep 0.2
	done
	wait $load || { cat /run/fio.burst; fail "burst on '$1'"; }
}
checked() { # NAME: bursts with pauses in which buffers are given back, each verified
	fio --name=verify --filename="$(node "$1")" --rw=randrw --bsrange=4k-512k --iodepth=64 --ioengine=io_uring \
		--direct=1 --size=64M --time_based --runtime=24 --thinktime=6s --thinktime_blocks=96 --verify=crc32c \
		--verify_fatal=1 --verify_backlog=96 --randseed=3 --output=/run/fio.verify \
		|| { cat /run/fio.verify; fail "verify on '$1' ($(prop "$1" DataPath))"; }
	expect 0 "$(prop "$1" Errors)" "errors of '$1'"
}

for copy in driver auto; do
	add null 3 Target s null Size t 1073741824 Copy s $copy
	add disk 3 Target s loop File s /dev/ram0 Copy s $copy
	[ "${UBLKD_SANITIZED-}" = 1 ] || falls || fail "$(anonymous) KiB before the burst"
	for name in null disk; do
		burst $name
		began=$SECONDS
		echo "$name ($(prop $name DataPath)): up to $peak KiB"
		if [[ $(prop $name DataPath) == driver* ]] && [ $peak -lt 32768 ]; then fail "the burst took $peak KiB only: no test"; fi
		[ "${UBLKD_SANITIZED-}" = 1 ] || wait_for 15 "memory to fall back (it is at $(anonymous) KiB)" falls
		echo "$name: $(anonymous) KiB after $((SECONDS - began)) s"
	done
	checked disk
	delete disk
	delete null
done
