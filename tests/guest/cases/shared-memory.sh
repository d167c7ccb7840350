#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=7.1
# programs: inc/hand-over.c
# timeout: 600
# mem: 768
# SHMEM_ZC: requests whose pages are in memory that a client shares are served from there, with the
# right data, beside ordinary ones; memory comes and goes under I/O; what cannot be shared is refused.
. "$(dirname "$0")/lib.sh"

hand_over=$(dirname "$0")/inc/hand-over
M=1048576

device() { # NAME METHOD SIGNATURE ARGS...
	busctl --timeout=60 call org.ublkd1 "/org/ublkd1/device/$1" org.ublkd1.Device "${@:2}"
}

remove() { device "$1" RemoveSharedMemory u "$2"; }

# refused ERROR REGEX ARGS...: hand-over says so
refused() { expect_error "$1" "$2" "$hand_over" "${@:3}"; }

# share NAME BYTES [OPTION...]: its number is in $index, $memory is a path of it as long as $client lives
share() {
	: > /run/share
	"$hand_over" "$@" > /run/share &
	client=$!
	wait_for 20 "memory for $1" eval "[ -s /run/share ] || ! kill -0 $client 2> /dev/null"
	read -r index memory < /run/share || fail "no memory for $*"
}

# io NAME MEM RW ARGS...: fio with its buffers in MEM, verified
io() {
	local out
	out=/run/fio.$1.$BASHPID
	fio --name="$1" --filename="$(node "$1")" --mem="$2" --rw="$3" --direct=1 --ioengine=io_uring \
		--iodepth=8 --verify=crc32c --verify_fatal=1 --output="$out" "${@:4}" ||
		{ cat "$out"; fail "fio $*"; }
}

# end_fio NAME PID: enough of it; nothing was wrong till then
end_fio() {
	kill -INT "$2"
	wait "$2" || [ $? = 128 ] || { cat "/run/fio.$1"; fail "fio $1 ended with an error"; }
	grep -q 'err= 0' "/run/fio.$1" || { cat "/run/fio.$1"; fail "errors of fio $1"; }
}

shared() { prop "$1" SharedOps; }

# more BEFORE NAME: requests were served from shared memory since
more() { [ "$(shared "$2")" -gt "$1" ] || fail "$2: no request in shared memory ($1 before)"; }
same() { expect "$1" "$(shared "$2")" "SharedOps of $2"; }

# Data both ways, each end of them looked at without the memory, too.
check_data() { # NAME MEM BACKING
	local before
	before=$(shared "$1")
	io "$1" "$2" randwrite --bsrange=4k-256k --size=8M --randseed=3 --do_verify=0
	more "$before" "$1"
	before=$(shared "$1")
	io "$1" malloc randwrite --bsrange=4k-256k --size=8M --randseed=3 --verify_only
	same "$before" "$1"
	io "$1" malloc randwrite --bsrange=4k-256k --size=8M --offset=16M --randseed=4 --do_verify=0
	same "$before" "$1"
	io "$1" "$2" randwrite --bsrange=4k-256k --size=8M --offset=16M --randseed=4 --verify_only
	more "$before" "$1"
	[ -z "$3" ] || cmp "$(node "$1")" "$3"
	expect 0 "$(prop "$1" Errors)" "errors of $1"
}

modprobe brd rd_nr=1 rd_size=131072
mkfs.ext4 -q /dev/ram0
mkdir -p /mnt/e
mount /dev/ram0 /mnt/e
truncate -s 64M /mnt/e/a.img /dev/shm/b.img
start_ublkd
feature SHMEM_ZC || skip "the driver has no SHMEM_ZC"

add d 4 Target s loop File s /mnt/e/a.img SharedMemory s yes Queues u 2
grep -q '+shared-memory$' <<< "$(prop d DataPath)" || fail "DataPath: $(prop d DataPath)"

# ---- what is refused
refused InvalidMemory 'F_SEAL_SHRINK' d $((4 * M)) unsealed
refused InvalidMemory 'F_SEAL_SHRINK' d $((4 * M)) file=/dev/shm/pool
refused InvalidMemory 'no memory' d $((4 * M)) file=/mnt/e/pool
refused InvalidMemory '0 bytes' d 0
refused InvalidMemory '5000 bytes.*multiple' d 5000
refused InvalidMemory 'larger than 4G' d $((4096 * M + 4096))
expect_error NoSuchMemory 'number 0' remove d 0
expect_error NoSuchMemory 'number 4294967295' remove d 4294967295
add plain 2 Target s null Size t $M
refused InvalidConfiguration 'SharedMemory=' plain $M
delete plain
expect 0 "$(prop d SharedMemory)" 'nothing is shared'

# ---- data
share d $((16 * M))
expect 0 "$index" 'the first number'
expect '1 0 16777216 false' "$(prop d SharedMemory)" SharedMemory
check_data d "mmapshared:$memory" /mnt/e/a.img
first=$memory
# The guard has let go of its mapping, and of the descriptor.
guard=$(pgrep -f 'ublkd --guard')
! grep memfd:pool "/proc/$guard/maps" || fail 'the guard keeps the memory mapped'
! ls -l "/proc/$guard/fd" | grep memfd:pool || fail "the guard keeps the memory's descriptor"

# ---- writes only
share d $((16 * M)) read-only
expect 1 "$index" 'the second number'
before=$(shared d)
io d "mmapshared:$memory" write --bs=64k --size=8M --do_verify=0
more "$before" d
before=$(shared d)
io d "mmapshared:$memory" write --bs=64k --size=8M --verify_only
same "$before" d
remove d 1

# ---- under I/O: it goes, it comes again; ordinary requests beside all the time
fio --name=beside --filename="$(node d)" --offset=32M --size=32M --rw=randrw --bs=16k --direct=1 \
	--ioengine=io_uring --iodepth=8 --verify=crc32c --verify_fatal=1 --verify_backlog=64 \
	--time_based --runtime=600 --output=/run/fio.beside &
beside=$!
fio --name=in --filename="$(node d)" --size=32M --rw=randrw --bs=16k --direct=1 --mem="mmapshared:$first" \
	--ioengine=io_uring --iodepth=8 --verify=crc32c --verify_fatal=1 --verify_backlog=64 \
	--time_based --runtime=600 --output=/run/fio.in &
in=$!
before=$(shared d)
wait_for 10 'requests in the memory' eval "[ \"\$(shared d)\" -gt $before ]"
remove d 0
before=$(shared d)
ops=$(prop d ReadOps)
wait_for 10 'requests without it' eval "[ \"\$(prop d ReadOps)\" -gt $((ops + 50)) ]"
same "$before" d
all_live "$in" "$beside" || fail 'the I/O ended early'
for _ in 1 2 3; do
	share d $((4 * M))
	remove d "$index"
done
end_fio in "$in"
end_fio beside "$beside"
expect 0 "$(prop d Errors)" 'errors'
expect 0 "$(prop d SharedMemory)" 'nothing is shared any more'

# ---- as many as there may be; the numbers of those that went are given again
for i in 0 1 2 3 4 5 6 7; do
	share d $M
	expect "$i" "$index" 'number'
done
refused org.freedesktop.DBus.Error.LimitsExceeded 'remove one' d $M
remove d 3
share d $M
expect 3 "$index" 'a number that is free again'
# The other way round, and then the device as a whole.
remove d 7
stop d
expect_error DeviceNotRunning 'is defined' remove d 0
nothing_left
start d
expect 0 "$(prop d SharedMemory)" 'a new start shares nothing'
delete d

# ---- a file, huge pages, other ways of the data
truncate -s 16M /dev/shm/pool
for copy in driver user zero zero-auto; do
	add f 4 Target s loop File s /mnt/e/a.img SharedMemory s /dev/shm/pool Copy s $copy
	expect '1 0 16777216 false' "$(prop f SharedMemory)" SharedMemory
	check_data f mmapshared:/dev/shm/pool /mnt/e/a.img
	delete f
done
add f 5 Target s loop File s /dev/shm/b.img SharedMemory s /dev/shm/pool Copy s driver Batch s yes
check_data f mmapshared:/dev/shm/pool /dev/shm/b.img
delete f

expect_error BackingUnavailable '/dev/shm/none.*No such file' \
	add x 3 Target s null Size t $M SharedMemory s /dev/shm/none
expect_error InvalidMemory '/mnt/e/pool.*no memory' \
	add x 3 Target s null Size t $M SharedMemory s /mnt/e/pool
truncate -s 5000 /dev/shm/odd
expect_error InvalidMemory '/dev/shm/odd.*5000 bytes' \
	add x 3 Target s null Size t $M SharedMemory s /dev/shm/odd
nothing_left

echo 16 > /proc/sys/vm/nr_hugepages
mkdir -p /mnt/huge
mount -t hugetlbfs none /mnt/huge
fallocate -l 16M /mnt/huge/pool
add h 3 Target s loop File s /mnt/e/a.img SharedMemory s /mnt/huge/pool
check_data h mmaphuge:/mnt/huge/pool /mnt/e/a.img
share h $((4 * M)) huge
expect 1 "$index" 'number of a huge memfd'
before=$(shared h)
io h "mmaphuge:$memory" write --bs=256k --size=8M --do_verify=1
more "$before" h
delete h
nothing_left

# ---- it stays when the client has gone, and goes with the device, also by force and under I/O
add k 3 Target s loop File s /mnt/e/a.img SharedMemory s yes
share k $((8 * M))
fio --name=k --filename="$(node k)" --size=32M --rw=randrw --bs=16k --direct=1 --mem="mmapshared:$memory" \
	--ioengine=io_uring --iodepth=8 --time_based --runtime=60 --output=/run/fio.k &
wait_for 10 'requests in the memory' eval '[ "$(shared k)" -gt 0 ]'
kill "$client"
expect '1 0 8388608 false' "$(prop k SharedMemory)" 'the memory of a client that has gone'
stop_force k
nothing_left
delete k
