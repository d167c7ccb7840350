#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# asked: yes
# paths: all
# mem: 2048
# timeout: 14400
# For SOAK_MINUTES (30): verified reads, writes, discards and flushes of all sizes on several devices
# at once, and file systems, while devices come and go. At the end there is the same daemon, with no
# more memory and descriptors than after the first round.
. "$(dirname "$0")/lib.sh"

minutes=${SOAK_MINUTES:-30}
modprobe brd rd_nr=3 rd_size=131072
mkfs.ext4 -q /dev/ram0
mkdir -p /mnt/e /mnt/ext4 /mnt/xfs
mount /dev/ram0 /mnt/e
truncate -s 48M /mnt/e/direct.img /mnt/e/buffered.img /dev/shm/tmpfs.img
truncate -s 400M /dev/shm/ext4.img /dev/shm/xfs.img
start_ublkd
main=$(systemctl show -P MainPID ublkd)
cpus=$(nproc)

add null 3 Target s null Size t 1073741824 Queues u "$cpus"
add direct 4 Target s loop File s /mnt/e/direct.img DirectIO s yes QueueDepth u 32
add buffered 4 Target s loop File s /mnt/e/buffered.img DirectIO s no Queues u $((cpus < 2 ? 1 : 2))
add tmpfs 3 Target s loop File s /dev/shm/tmpfs.img QueueDepth u 7
add disk 5 Target s loop File s /dev/ram1 Queues u "$cpus" LogicalBlockSize t 4096 MaxIOSize t 1048576
add small 4 Target s loop File s /dev/ram2 QueueDepth u 64 MaxIOSize t 65536
add ext4 2 Target s loop File s /dev/shm/ext4.img
add xfs 3 Target s loop File s /dev/shm/xfs.img Queues u $((cpus < 2 ? 1 : 2))
devices=(direct buffered tmpfs disk small)
for name in null "${devices[@]}" ext4 xfs; do
	node "$name" > /dev/null
	echo "$name: $(prop "$name" DataPath), $(prop "$name" Queues) x $(prop "$name" QueueDepth)"
done
mkfs.ext4 -q "$(node ext4)"
mkfs.xfs -q "$(node xfs)"

run_fio() { # NAME OPTIONS...
	local name=$1 log=/run/fio.$1
	shift
	fio --name="$name" --filename="$(node "$name")" --ioengine=io_uring --direct=1 --randseed=$RANDOM --size=40M \
		--verify_fatal=1 --output="$log" "$@" || { cat "$log"; fail "verify on $name: $*"; }
}
depth() { echo $((1 << RANDOM % 8)); }
exercise() { # NAME
	local bs=512
	[ "$1" = disk ] && bs=4k
	run_fio "$1" --rw=randrw --bsrange=$bs-512k --blockalign=$bs --iodepth="$(depth)" --io_size=24M --fsync=64 \
		--verify=crc32c --verify_backlog=$((RANDOM % 100 + 4))
	run_fio "$1" --rw=randtrimwrite --bs=4k --iodepth="$(depth)" --io_size=4M --verify=crc32c
	run_fio "$1" --rw=write --bs=1M --iodepth="$(depth)" --verify=md5 --end_fsync=1
}
load_null() {
	run_fio null --rw=randrw --bsrange=512-512k --blockalign=512 --iodepth="$(depth)" --io_size=256M
	blkdiscard "$(node null)"
}
copy_tree() { # ext4 | xfs
	mount "$(node "$1")" "/mnt/$1"
	rm -rf "/mnt/$1/tree"
	cp -a /usr/share/bash-completion "/mnt/$1/tree"
	fstrim "/mnt/$1"
	umount "/mnt/$1"
	stop "$1"
	start "$1"
	mount "$(node "$1")" "/mnt/$1"
	diff -r --no-dereference /usr/share/bash-completion "/mnt/$1/tree" || fail "the tree on $1 differs"
	umount "/mnt/$1"
}
descriptors() { ls "/proc/$main/fd" | wc -l; }
anonymous() { awk '/^Anonymous:/ {print $2}' "/proc/$main/smaps_rollup"; }

end=$((SECONDS + minutes * 60)) round=0 fds=0 memory=0
while [ $SECONDS -lt $end ]; do
	round=$((round + 1))
	jobs=()
	for name in "${devices[@]}"; do
		exercise "$name" &
		jobs+=($!)
	done
	load_null &
	jobs+=($!)
	for name in ext4 xfs; do
		copy_tree $name &
		jobs+=($!)
	done
	for job in "${jobs[@]}"; do
		wait "$job" || fail "round $round"
	done
	# One of them goes, and comes again.
	name=${devices[RANDOM % ${#devices[@]}]}
	stop "$name"
	start "$name"
	sleep 6 # buffers are given back
	[ $round -gt 1 ] || { fds=$(descriptors) memory=$(anonymous); }
	echo "round $round, $SECONDS s: $(descriptors) descriptors, $(anonymous) KiB"
	expect "$main" "$(systemctl show -P MainPID ublkd)" 'the daemon'
	for name in null "${devices[@]}" ext4 xfs; do
		expect 0 "$(prop "$name" Errors)" "errors of $name"
	done
done
expect "$fds" "$(descriptors)" 'descriptors'
# The address sanitizer keeps what was freed.
[ "${UBLKD_SANITIZED-}" = 1 ] || [ "$(anonymous)" -le $((memory + memory / 4 + 2048)) ] || fail "memory: from $memory to $(anonymous) KiB"
for name in null "${devices[@]}" ext4 xfs; do
	delete "$name"
done
nothing_left
systemctl stop ublkd
if journalctl -u ublkd --no-pager | grep -E 'ERROR: AddressSanitizer|runtime error|core-dump'; then fail 'sanitizer'; fi
e2fsck -fn /dev/shm/ext4.img || fail 'the ext4 image'
xfs_repair -n -f /dev/shm/xfs.img > /dev/null 2>&1 || fail 'the xfs image'
echo "$round rounds in $minutes minutes"
