#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
#
# closed-guest.sh - the part of the benches that runs in the closed guest, by busybox sh
#
# /bench.conf sets SCALE (requests per cell, see requests()), and one of these to "yes": PROFILE
# (run the first cell without an end), BURST (look at the servers' memory around the cells),
# KALLSYMS (print them and do nothing else). Each line of /plan is `NAME KIND QUEUES COUNT SETTINGS
# CELLS`: so many disks of a kind, with so many queues; settings and cells are joined by commas
# ("-": none). Prints lines of words:
#
#     cell NAME QUEUES COUNT CELL REQUESTS WHOLE_NS SERVER_NS SERVER_SWITCHES
#     memory NAME MOMENT RSS_KB PSS_KB ANONYMOUS_KB
#     path NAME DATA_PATH
#     skip NAME QUEUES COUNT WHY...
#
# Anything else is an error, for people.

set -eu
SCALE=3000 PROFILE='' BURST='' KALLSYMS=''
# shellcheck source=/dev/null
. /bench.conf

fail() {
	echo "error: $*"
	[ ! -e /tmp/server.log ] || tail -n 20 /tmp/server.log
	exit 1
}

quiet_queue() { # DISK
	local q=/sys/block/${1##*/}/queue

	[ ! -e "$q/scheduler" ] || echo none >"$q/scheduler"
	echo 0 >"$q/iostats"
}

reload() { # MODULE PARAMETER...
	local module=$1

	shift
	rmmod "$module"
	insmod "/modules/$module.ko" "$@"
}

# ---- counting

servers='' # process ids

# A program of its own, since fio starts it: all instructions of the guest but idle ones; those of
# the servers' threads but their main ones; how often these were switched to.
cat >/tmp/count <<'END'
sleep 0.1 # of guest time: the kernel has taken the last job's ring down
whole=0 server=0 switches=0
while read -r name a b c d e f ns rest; do
	case $name in
	cpu*) whole=$((whole + ns)) ;;
	esac
done </proc/schedstat
for pid in $(cat /tmp/servers); do
	for task in "/proc/$pid/task/"*; do
		[ "${task##*/}" != "$pid" ] || continue
		read -r ns rest turns <"$task/schedstat"
		server=$((server + ns))
		switches=$((switches + turns))
	done
done
echo "$whole $server $switches" >>/tmp/counts
END

# ---- cells: [s](rd|wr)SIZE-qDEPTH, s: sequential

requests() { # CELL: how many, of all disks and queues together
	case $1 in
	*64k-*) echo "$((SCALE))" ;;
	*4k-* | *16k-*) echo "$((SCALE * 4))" ;;
	*256k-*) echo "$((SCALE / 3))" ;;
	*) echo "$((SCALE / 8))" ;;
	esac
}

job_number=0

fio_jobs() { # CELL REQUESTS QUEUES DISK...: a job for each queue of each disk
	local cell=$1 total=$2 queues=$3 rw size disk cpu wait=stonewall

	shift 3
	case $cell in
	srd*) rw='read' ;;
	swr*) rw='write' ;;
	rd*) rw=randread ;;
	wr*) rw=randwrite ;;
	*) fail "no cell is called '$cell'" ;;
	esac
	size=${cell#s}
	size=${size#??}
	for disk in "$@"; do
		cpu=0
		while [ "$cpu" -lt "$queues" ]; do
			printf '[j%s]\n%s\nfilename=%s\nrw=%s\nbs=%s\niodepth=%s\nnumber_ios=%s\n' \
				"$job_number" "$wait" "$disk" "$rw" "${size%-q*}" "${cell##*q}" \
				"$((total / queues / $#))"
			[ "$queues" = 1 ] || echo "cpus_allowed=$cpu"
			cpu=$((cpu + 1)) job_number=$((job_number + 1)) wait=''
		done
	done
}

count_job() {
	printf '[j%s]\nstonewall\nioengine=null\nrw=read\nbs=4k\nsize=4k\nio_size=4k\n' "$job_number"
	echo 'exec_prerun=sh /tmp/count'
	job_number=$((job_number + 1))
}

run_fio() { # of /tmp/jobs
	: >/tmp/counts
	echo "$servers" >/tmp/servers
	{
		printf '[global]\nioengine=io_uring\ndirect=1\nsize=%s\nio_size=100G\n' "$disk_size"
		printf 'mem=mmap\nnorandommap\nrandrepeat=1\nthread\ndisk_util=0\ngroup_reporting\n'
		cat /tmp/jobs
	} >/tmp/fio.jobs
	(cd /tmp && exec fio --eta=never --output-format=terse --terse-version=3 --output=/tmp/fio \
		/tmp/fio.jobs) >/tmp/fio.log 2>&1 || fail "fio: $(cat /tmp/fio.log /tmp/fio)"
}

# A pass is thrown away; then the cost of a request is the difference of a long and a short run,
# which takes start and end out of it. All in one fio: its own start is as much as a cell.
measure() { # NAME QUEUES COUNT CELLS DISK...
	local name=$1 queues=$2 count=$3 cell cells n a b c

	cells=$(echo "$4" | tr , ' ')
	shift 4
	[ -z "$PROFILE" ] || profile "$cells" "$queues" "$@"
	for cell in $cells; do
		n=$(requests "$cell")
		fio_jobs "$cell" "$((n / 4))" "$queues" "$@"
		count_job
		fio_jobs "$cell" "$((n / 8))" "$queues" "$@"
		count_job
		fio_jobs "$cell" "$n" "$queues" "$@"
		count_job
	done >/tmp/jobs
	run_fio
	for cell in $cells; do
		n=$(requests "$cell")
		if ! read -r a || ! read -r b || ! read -r c; then
			fail "fio did not count: $(cat /tmp/fio)"
		fi
		# shellcheck disable=SC2086 # numbers
		set_difference $a $b $c
		echo "cell $name $queues $count $cell $((n - n / 8)) $difference"
	done </tmp/counts
}

# With several processors, which take turns, a task's time goes on while others execute: only the
# clock counts right, in fio's milliseconds, and there is no server's share.
measure_by_clock() { # as measure()
	local name=$1 queues=$2 count=$3 cell cells n line field

	cells=$(echo "$4" | tr , ' ')
	shift 4
	for cell in $cells; do
		n=$(requests "$cell")
		fio_jobs "$cell" "$((n / 4))" "$queues" "$@"
		fio_jobs "$cell" "$n" "$queues" "$@"
	done >/tmp/jobs
	run_fio
	mv /tmp/fio /tmp/terse
	for cell in $cells; do
		field=9
		case $cell in
		*wr*) field=50 ;;
		esac
		if ! read -r line || ! read -r line; then
			fail 'fio did not count'
		fi
		n=$(requests "$cell")
		echo "cell $name $queues $count $cell $n $(echo "$line" | cut -d ';' -f "$field")000000 0 0"
	done </tmp/terse
}

set_difference() { # B1 B2 B3 M1 M2 M3 A1 A2 A3: $difference = (A - M) - (M - B) of each
	difference="$(($7 - 2 * $4 + $1)) $(($8 - 2 * $5 + $2)) $(($9 - 2 * $6 + $3))"
}

profile() { # CELL QUEUES DISK...: what the host needs to give addresses names; then run on
	local pid

	fio_jobs "$1" 10000 "$2" "$3" >/tmp/jobs
	run_fio
	echo "@@kallsyms"
	grep '\[' /proc/kallsyms
	fio_jobs "$1" 100000000 "$2" "$3" >/tmp/jobs
	run_fio &
	sleep 0.3 # of guest time: fio has started
	echo "@@maps fio"
	cat "/proc/$(pidof fio)/maps"
	for pid in $servers; do
		echo "@@maps server"
		cat "/proc/$pid/maps"
	done
	sleep 0.05
	echo "@@go"
	sleep 1000000
}

# ---- memory

memory_now() { # NAME MOMENT: of the servers
	local pid what kb rest rss=0 pss=0 anonymous=0

	for pid in $servers; do
		while read -r what kb rest; do
			case $what in
			Rss:) rss=$((rss + kb)) ;;
			Pss:) pss=$((pss + kb)) ;;
			Anonymous:) anonymous=$((anonymous + kb)) ;;
			esac
		done <"/proc/$pid/smaps_rollup"
	done
	: "$rest"
	echo "memory $1 $2 $rss $pss $anonymous"
}

measure_burst() { # NAME QUEUES COUNT CELLS DISK...
	local name=$1 queues=$2 cell cells

	cells=$(echo "$4" | tr , ' ')
	shift 4
	for cell in $cells; do
		fio_jobs "$cell" 1024 "$queues" "$@"
	done >/tmp/jobs
	memory_now "$name" before
	run_fio
	memory_now "$name" after
	sleep 12 # of guest time: twice what ublkd waits before it gives memory back
	memory_now "$name" later
}

# ---- the disks. Each start_KIND sets $disks and $servers, or returns 1 with $why

file=/mnt/file
disks='' why='' path='' disk_size=256M

make_files() { # COUNT: sets $files to one of 256 MB, or so many of 32
	local i

	if [ ! -d "${file%/*}" ]; then
		reload brd rd_nr=1 rd_size=$((640 * 1024))
		/sbin/mke2fs -q -t ext4 -O '^has_journal' -E nodiscard,lazy_itable_init=0 -b 4096 /dev/ram0
		mkdir "${file%/*}"
		mount -t ext4 /dev/ram0 "${file%/*}"
		echo 0 >/sys/block/ram0/queue/iostats
	fi
	files=$file disk_size=256M
	if [ "$1" -gt 1 ]; then
		files='' disk_size=32M
		for i in $(seq "$1"); do
			files="$files $file$i"
		done
	fi
	for i in $files; do
		[ -e "$i" ] || dd if=/dev/zero of="$i" bs=1M count="${disk_size%M}" conv=fsync 2>/dev/null
	done
}

wait_for_disks() { # PROCESS DISK...: 1 if they do not come
	local process=$1 disk

	shift
	for disk in "$@"; do
		for _ in $(seq 300); do
			[ ! -b "$disk" ] || continue 2
			[ -z "$process" ] || [ -e "/proc/$process" ] || break
			sleep 0.1
		done
		return 1
	done
}

numbered() { # PREFIX COUNT
	local i=0

	while [ "$i" -lt "$2" ]; do
		echo "$1$i"
		i=$((i + 1))
	done
}

start_null_blk() { # QUEUES COUNT SETTINGS
	disk_size=256M
	reload null_blk nr_devices="$2" gb=1 submit_queues="$1" hw_queue_depth=128
	disks=$(numbered /dev/nullb "$2")
}

start_file() {
	make_files "$2"
	disks=$files
}

start_loop() {
	local f disk

	make_files "$2"
	disks=''
	for f in $files; do
		disk=$(/usr/sbin/losetup --direct-io=on --find --show "$f")
		[ "$(cat "/sys/block/${disk##*/}/loop/dio")" = 1 ] || fail "loop has no direct I/O"
		disks="$disks $disk"
	done
}

stop_loop() {
	/usr/sbin/losetup --detach-all
}

start_ublkd() { # TARGET QUEUES COUNT SETTINGS
	local target=$1 i=0 f

	make_files "$3"
	for f in $files; do
		{
			printf '[Device]\nTarget=%s\nId=%s\n' "$target" "$i"
			[ "$target" != null ] || printf 'Size=%s\n' "$disk_size"
			printf '[Queue]\nCount=%s\nDepth=128\n' "$2"
			[ "$4" = - ] || echo "$4" | tr , '\n'
			[ "$target" != loop ] || printf '[Loop]\nFile=%s\nDirectIO=yes\n' "$f"
		} >"/etc/ublkd/devices/bench$i.conf"
		i=$((i + 1))
	done
	/usr/libexec/ublkd >/tmp/server.log 2>&1 &
	servers=$!
	disks=$(numbered /dev/ublkb "$3")
	# shellcheck disable=SC2086 # a list
	if wait_for_disks "$servers" $disks; then
		path=$(/usr/libexec/ublkd --explain bench0 2>/dev/null | sed -n 's/^DataPath: //p')
		return
	fi
	why=$(grep -v -e '^$' /tmp/server.log | tail -n 1)
	stop_ublkd
	return 1
}

stop_ublkd() {
	kill -TERM "$servers"
	wait "$servers" || fail "ublkd ended with $?"
	rm -f /etc/ublkd/devices/*
}

start_ublkd_null() {
	start_ublkd null "$@"
}

start_ublkd_loop() {
	start_ublkd loop "$@"
}

# A peer's device is an `add` that leaves a daemon behind. OPTIONS come from SETTINGS.
start_peer() { # PROGRAM TARGET FILE_OPTION QUEUES COUNT OPTIONS
	local program=$1 target=$2 option=$3 queues=$4 options='' f id=0

	make_files "$5"
	[ "$6" = - ] || options=$(echo "$6" | tr , ' ')
	for f in $files; do
		[ "$target" != null ] || f='' option=''
		# shellcheck disable=SC2086 # lists
		"/peers/$program" add -t "$target" -n "$id" -q "$queues" -d 128 $options $option $f \
			>>/tmp/server.log 2>&1 </dev/null || :
		id=$((id + 1))
	done
	disks=$(numbered /dev/ublkb "$5")
	# shellcheck disable=SC2086 # lists
	if wait_for_disks '' $disks; then
		servers=$(peer_processes)
		return
	fi
	why=$(tail -n 1 /tmp/server.log)
	return 1
}

peer_processes() { # those that have a device open
	local fd pid

	for fd in /proc/[0-9]*/fd/*; do
		case $(readlink "$fd" || :) in
		/dev/ublkc*)
			pid=${fd#/proc/}
			echo "${pid%%/*}"
			;;
		esac
	done | sort -u | tr '\n' ' '
}

stop_peer() { # PROGRAM
	"/peers/$1" del -a >>/tmp/server.log 2>&1 </dev/null || fail "$1 del failed"
}

start_kublk_null() {
	start_peer kublk null '' "$@"
}

start_kublk_loop() {
	start_peer kublk loop '' "$@"
}

start_ublksrv_null() {
	start_peer ublk null '' "$@"
}

start_ublksrv_loop() {
	start_peer ublk loop -f "$@"
}

stop() { # KIND
	case $1 in
	loop) stop_loop ;;
	ublkd-*) stop_ublkd ;;
	kublk-*) stop_peer kublk ;;
	ublksrv-*) stop_peer ublk ;;
	esac
	servers=''
}

one_line() { # NAME KIND QUEUES COUNT SETTINGS CELLS
	local disk measure

	servers='' path=''
	: >/tmp/server.log
	if ! "start_$(echo "$2" | tr - _)" "$3" "$4" "$5"; then
		echo "skip $1 $3 $4 ${why:-no reason given}"
		return
	fi
	for disk in $disks; do
		[ ! -b "$disk" ] || quiet_queue "$disk"
	done
	sync
	measure=measure
	[ "$(nproc)" = 1 ] || measure=measure_by_clock
	[ -z "$BURST" ] || measure=measure_burst
	sleep 10 # of guest time: what the set-up left to do is done
	# shellcheck disable=SC2086 # a list
	"$measure" "$1" "$3" "$4" "$6" $disks
	[ -z "$path" ] || echo "path $1 $path"
	stop "$2"
}

if [ -n "$KALLSYMS" ]; then
	grep -v '\[' /proc/kallsyms
	exit
fi
# What kind of pages fio's buffers happen to get would shift the large cells by 5 %.
echo never >/sys/kernel/mm/transparent_hugepage/enabled
mkdir -p /etc/ublkd/devices
printf '[Manager]\nMaxDevices=1000\n' >/etc/ublkd/ublkd.conf
while read -r name kind queues count settings cells <&3; do
	one_line "$name" "$kind" "$queues" "$count" "$settings" "$cells"
done 3</plan
