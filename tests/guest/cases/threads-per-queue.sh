#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: driver get-data user zero zero-auto
# timeout: 240
# Several threads that share the requests of a queue: their names, verified data, a stop under load.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
start_ublkd
if ! feature PER_IO_DAEMON; then
	expect_error KernelUnsupported 'ThreadsPerQueue=2: the driver has no PER_IO_DAEMON, which came with Linux 6\.16: set ThreadsPerQueue=1' \
		add a 3 Target s loop File s /srv/a.img ThreadsPerQueue u 2
	if [ -n "${UBLKD_PATH-}" ]; then # the same in every path
		add a 2 Target s loop File s /srv/a.img
		node a
	fi
	exit 0
fi
expect_error InvalidConfiguration 'ThreadsPerQueue=' \
	add x 4 Target s loop File s /srv/a.img ThreadsPerQueue u 2 Batch s yes

threads() { # ID: names of the threads of a device
	cat "/proc/$(systemctl show -P MainPID ublkd)"/task/*/comm | grep "^ublk$1\." | sort | tr '\n' ' '
}

for shape in '1 2 2' '2 4 16' '1 4 3'; do
	read -r queues n depth <<< "$shape"
	add a 6 Target s loop File s /srv/a.img Id s 7 Queues u "$queues" QueueDepth u "$depth" ThreadsPerQueue u "$n"
	dev=$(node a)
	[[ $(prop a DataPath) != *batch* ]] || fail "in $(prop a DataPath)"
	# No more threads than requests.
	per=$((n < depth ? n : depth)) wanted=
	for ((q = 0; q < queues; q++)); do
		for ((t = 0; t < per; t++)); do wanted+="ublk7.$q.$t "; done
	done
	expect "$wanted" "$(threads 7)" 'threads'
	fio --name=verify --filename="$dev" --rw=randrw --bsrange=512-128k --blockalign=512 --iodepth=24 --numjobs=2 \
		--offset_increment=24M --size=24M --io_size=6M --ioengine=io_uring --direct=1 --verify=crc32c \
		--verify_fatal=1 --verify_backlog=32 --randseed=5 --output=/run/fio || { cat /run/fio; fail "verify with $shape"; }
	expect 0 "$(prop a Errors)" errors
	delete a
	expect '' "$(threads 7)" 'threads after all'
	nothing_left
done

# Taken down with requests in every thread.
add a 5 Target s loop File s /srv/a.img Id s 7 QueueDepth u 16 ThreadsPerQueue u 4
fio --name=load --filename="$(node a)" --rw=randrw --bs=64k --iodepth=16 --ioengine=io_uring --direct=1 --time_based \
	--runtime=60 --size=48M --output=/run/fio > /dev/null 2>&1 &
load=$!
wait_for 20 'the load' eval '[ "$(prop a ReadOps)" -ge 50 ]'
stop_force a
wait $load && fail 'the load got no error'
expect '' "$(threads 7)" 'threads after a forced stop'
delete a
nothing_left
