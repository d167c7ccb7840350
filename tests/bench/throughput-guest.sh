#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# throughput-guest.sh DIR - the part of `throughput` that runs where the disks are, as root
#
# Needs a kernel of its own with ublk_drv, loop and brd, and fio and losetup. DIR has `settings`
# (shell variables: ROUNDS, MS_EACH, CELLS, CONTENDERS, UBLKD, PEERS, FILE_MB) and gets what it
# prints, in `output`: "sample ROUND CELL CONTENDER IOPS". As first process of the kernel it mounts
# what it needs, and powers off at the end. All disks are up at once; within a round, every
# contender has its turn in a cell before the next cell begins.
set -euo pipefail

dir=$1
ROUNDS='' MS_EACH='' CELLS='' CONTENDERS='' UBLKD='' PEERS='' FILE_MB=''

declare -A disks=()
next_id=0
ublkd_pid=''

fail() {
	echo "error: $*" >&2
	tail -n 20 /run/bench/*.log >&2 || true
	exit 1
}

first_process() {
	export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
	mount -t proc proc /proc
	mount -t sysfs sys /sys
	[ -c /dev/null ] || mount -t devtmpfs dev /dev
	mount -t tmpfs tmpfs /run
	mount -t tmpfs tmpfs /tmp
	mount -t tmpfs tmpfs /mnt
	mkdir -p /mnt/dir
	mount -t hostfs none /mnt/dir -o "$dir"
	dir=/mnt/dir
}

make_files() {
	local contender

	mkdir -p /mnt/bench /run/bench/etc/ublkd/devices
	[ -b /dev/ram0 ] || modprobe brd rd_nr=1 rd_size=$((1024 * 1024))
	[ -e /dev/ublk-control ] || modprobe ublk_drv
	mke2fs -q -t ext4 -O '^has_journal' -E nodiscard,lazy_itable_init=0 -b 4096 /dev/ram0
	mount -t ext4 /dev/ram0 /mnt/bench
	for contender in $CONTENDERS; do
		dd if=/dev/zero of="/mnt/bench/$contender" bs=1M count="$FILE_MB" conv=fsync 2>/dev/null
	done
}

wait_for() { # DISK
	local i

	for ((i = 0; i < 200; i++)); do
		[ ! -b "$1" ] || return 0
		sleep 0.1
	done
	fail "there is no $1"
}

quiet_queue() { # DISK
	local q=/sys/block/${1##*/}/queue

	[ ! -e "$q/scheduler" ] || echo none >"$q/scheduler"
	echo 0 >"$q/iostats"
}

# A contender is loop, or ublkd[:COPY[+batch]], or kublk-loop:MODE, ublksrv-loop:MODE.
configure_ublkd() { # CONTENDER
	local mode=${1#ublkd} settings=''

	mode=${mode#:}
	if [ -n "$mode" ]; then
		settings="Copy=${mode%+batch}"
		case $mode in
		*+batch) settings+=$'\nBatch=yes' ;;
		*) settings+=$'\nBatch=no' ;;
		esac
	fi
	{
		printf '[Device]\nTarget=loop\nId=%s\n' "$next_id"
		printf '[Queue]\nCount=1\nDepth=128\n%s\n' "$settings"
		printf '[Loop]\nFile=%s\nDirectIO=yes\n' "/mnt/bench/$1"
	} >"/run/bench/etc/ublkd/devices/d$next_id.conf"
	disks[$1]=/dev/ublkb$next_id
	next_id=$((next_id + 1))
}

start_peer() { # CONTENDER
	local program=kublk option='' options=()

	case $1 in
	ublksrv-*) program=ublk option=-f ;;
	esac
	case $1 in
	*batch*) options+=(-b) ;;
	esac
	case $1 in
	kublk-*azc) options+=(--auto_zc) ;;
	*zc) options+=(-z) ;;
	esac
	"$PEERS/$program" add -t loop -n "$next_id" -q 1 -d 128 "${options[@]}" $option \
		"/mnt/bench/$1" >"/run/bench/peer$next_id.log" 2>&1 </dev/null || true
	disks[$1]=/dev/ublkb$next_id
	wait_for "${disks[$1]}"
	next_id=$((next_id + 1))
}

start_all() {
	local contender

	for contender in $CONTENDERS; do
		case $contender in
		loop) disks[loop]=$(losetup --direct-io=on --find --show /mnt/bench/loop) ;;
		ublkd*) configure_ublkd "$contender" ;;
		*) start_peer "$contender" ;;
		esac
	done
	"$UBLKD" --config-root /run/bench >/run/bench/ublkd.log 2>&1 &
	ublkd_pid=$!
	for contender in $CONTENDERS; do
		wait_for "${disks[$contender]}"
		quiet_queue "${disks[$contender]}"
	done
}

iops() { # CELL DISK MS
	local cell=${1#s} rw field=8

	case $1 in
	srd*) rw='read' ;;
	swr*) rw='write' field=49 ;;
	rd*) rw='randread' ;;
	*) rw='randwrite' field=49 ;;
	esac
	cell=${cell#??}
	taskset -c 0 fio --name=bench --filename="$2" --rw="$rw" --bs="${cell%-q*}" \
		--iodepth="${cell##*q}" --iodepth_batch_submit=16 --size="${FILE_MB}M" --io_size=100G \
		--direct=1 --ioengine=io_uring --norandommap --thread --mem=mmap --time_based \
		--runtime="$3ms" --ramp_time=300ms --disk_util=0 --eta=never --output-format=terse \
		--terse-version=3 2>/run/bench/fio.log | grep '^3;' | cut -d ';' -f "$field"
}

measure() {
	local round cell contender

	for cell in $CELLS; do
		for contender in $CONTENDERS; do
			iops "$cell" "${disks[$contender]}" 300 >/dev/null
		done
	done
	for ((round = 1; round <= ROUNDS; round++)); do
		for cell in $CELLS; do
			for contender in $CONTENDERS; do
				echo "sample $round $cell $contender" \
					"$(iops "$cell" "${disks[$contender]}" "$MS_EACH")"
			done
		done
	done
}

all() {
	# shellcheck source=/dev/null
	. "$dir/settings"
	make_files
	start_all
	measure
}

if [ $$ = 1 ]; then
	first_process
	(all) >"$dir/output" 2>"$dir/errors" || echo "error: ended with $?" >>"$dir/errors"
	sync
	echo o >/proc/sysrq-trigger
	sleep 10
else
	all
	kill -TERM "$ublkd_pid"
fi
