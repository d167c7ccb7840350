#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
#
# icount-guest.sh - the part of `icount` that runs in the closed guest, by busybox sh
#
# Prints lines of words: "cell DEVICE CELL IOS RUNTIME_MS SERVER_NS SERVER_SWITCHES" and
# "memory N_DEVICES PROCESS RSS_KB PSS_KB ANONYMOUS_KB". Anything else is an error, for people.

set -eu
SCALE='' DEVICES='' CELLS='' MEMORY=''
# shellcheck source=/dev/null
. /bench.conf # these four

fail() {
	echo "error: $*"
	[ ! -e /tmp/ublkd.log ] || tail -n 20 /tmp/ublkd.log
	exit 1
}

quiet_queue() { # DISK
	local q=/sys/block/$1/queue

	[ ! -e "$q/scheduler" ] || echo none >"$q/scheduler"
	echo 0 >"$q/iostats"
}

reload() { # MODULE PARAMETER...
	local module=$1

	shift
	rmmod "$module"
	insmod "/modules/$module.ko" "$@"
}

# ---- the daemon

ublkd_pid=''

server_usage() { # on-CPU ns and switches to it, of all of ublkd's threads but the main one
	local task ns _wait turns sum=0 switches=0

	if [ -n "$ublkd_pid" ]; then
		for task in "/proc/$ublkd_pid/task/"*; do
			[ "${task##*/}" != "$ublkd_pid" ] || continue
			read -r ns _wait turns <"$task/schedstat"
			sum=$((sum + ns))
			switches=$((switches + turns))
		done
	fi
	echo "$sum $switches"
}

device_conf() { # NAME TARGET ID LINE...
	local name=$1

	{
		printf '[Device]\nTarget=%s\nId=%s\nSize=256M\n' "$2" "$3"
		printf '[Queue]\nCount=1\nDepth=128\n'
		shift 3
		[ $# = 0 ] || printf '%s\n' "$@"
	} >"/etc/ublkd/devices/$name.conf"
}

start_ublkd() { # LAST_ID: of the device that is started last
	local try

	/usr/libexec/ublkd >/tmp/ublkd.log 2>&1 &
	ublkd_pid=$!
	for try in $(seq 1000); do
		[ ! -b "/dev/ublkb$1" ] || return 0
		[ -e "/proc/$ublkd_pid" ] || break
		sleep 0.1
	done
	fail "ublkd did not make /dev/ublkb$1 ($try tries)"
}

stop_ublkd() {
	kill -TERM "$ublkd_pid"
	wait "$ublkd_pid" || fail "ublkd ended with $?"
	ublkd_pid=''
	rm -f /etc/ublkd/devices/*
}

# ---- one cell

run_fio() { # FILE CELL IOS: milliseconds
	local rw size=4k field=9 depth=${2##*q}

	case $2 in
	rd4k-*) rw=randread ;;
	wr4k-*) rw=randwrite field=50 ;;
	rd256k-*) rw=randread size=256k ;;
	wr256k-*) rw=randwrite size=256k field=50 ;;
	*) fail "no cell is called '$2'" ;;
	esac
	fio --name=bench --filename="$1" --rw="$rw" --bs="$size" --iodepth="$depth" \
		--number_ios="$3" --size=256M --io_size=100G --direct=1 --ioengine=io_uring \
		--norandommap --randrepeat=1 --thread --output-format=terse --terse-version=3 \
		>/tmp/fio 2>&1 || fail "fio: $(cat /tmp/fio)"
	grep '^3;fio' /tmp/fio | cut -d ';' -f "$field"
}

measure() { # DEVICE FILE
	local cell ios ms before after

	for cell in $CELLS; do
		case $cell in
		*4k-*) ios=$((SCALE * 4)) ;;
		*) ios=$((SCALE / 3)) ;;
		esac
		run_fio "$2" "$cell" "$((ios / 4))" >/dev/null # warm-up
		before=$(server_usage)
		ms=$(run_fio "$2" "$cell" "$ios")
		after=$(server_usage)
		echo "cell $1 $cell $ios $ms $((${after% *} - ${before% *})) $((${after#* } - ${before#* }))"
	done
}

# ---- the devices

file=/mnt/file

make_file() {
	[ ! -e "$file" ] || return 0
	reload brd rd_nr=1 rd_size=$((320 * 1024))
	/sbin/mke2fs -q -t ext4 -O '^has_journal' -E nodiscard,lazy_itable_init=0 -b 4096 /dev/ram0
	mkdir -p /mnt
	mount -t ext4 /dev/ram0 /mnt
	echo 0 >/sys/block/ram0/queue/iostats
	dd if=/dev/zero of="$file" bs=1M count=256 conv=fsync 2>/dev/null
}

measure_null_blk() {
	reload null_blk nr_devices=1 gb=1 submit_queues=1 hw_queue_depth=128
	quiet_queue nullb0
	measure "$1" /dev/nullb0
}

measure_file() {
	make_file
	measure "$1" "$file"
}

measure_loop() {
	local disk

	make_file
	disk=$(/usr/sbin/losetup --direct-io=on --find --show "$file")
	[ "$(cat "/sys/block/${disk##*/}/loop/dio")" = 1 ] || fail "loop has no direct I/O"
	quiet_queue "${disk##*/}"
	measure "$1" "$disk"
	/usr/sbin/losetup --detach "$disk"
}

measure_ublkd() { # DEVICE TARGET LINE...
	local device=$1 target=$2

	shift 2
	device_conf bench "$target" 0 "$@"
	start_ublkd 0
	quiet_queue ublkb0
	measure "$device" /dev/ublkb0
	stop_ublkd
}

memory_of() { # N PROCESS PID
	local what kb _rest rss=0 pss=0 anonymous=0

	while read -r what kb _rest; do
		case $what in
		Rss:) rss=$kb ;;
		Pss:) pss=$kb ;;
		Anonymous:) anonymous=$kb ;;
		esac
	done <"/proc/$3/smaps_rollup"
	echo "memory $1 $2 $rss $pss $anonymous"
}

measure_memory() { # N: of idle null devices
	local id

	for id in $(seq 0 $(($1 - 1))); do
		device_conf "null$id" null "$id"
	done
	start_ublkd $(($1 - 1))
	sleep 3
	[ "$(find /dev -name 'ublkb*' | wc -l)" = "$1" ] || fail "not all of $1 devices"
	memory_of "$1" ublkd "$ublkd_pid"
	# shellcheck disable=SC2046 # ends in a blank
	memory_of "$1" guard $(cat "/proc/$ublkd_pid/task/"*/children)
	stop_ublkd
}

mkdir -p /etc/ublkd/devices
printf '[Manager]\nMaxDevices=1000\n' >/etc/ublkd/ublkd.conf
for device in $DEVICES; do
	case $device in
	null_blk) measure_null_blk "$device" ;;
	file) measure_file "$device" ;;
	loop) measure_loop "$device" ;;
	ublkd-null) measure_ublkd "$device" null ;;
	ublkd-loop)
		make_file
		measure_ublkd "$device" loop '[Loop]' "File=$file" DirectIO=yes
		;;
	*) fail "no device is called '$device'" ;;
	esac
done
for n in $MEMORY; do
	measure_memory "$n"
done
