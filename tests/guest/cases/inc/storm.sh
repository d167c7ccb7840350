# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Eight devices at work while their ublkd ends in all the ways there are, again and again: killed in
# the middle of anything, by a signal in its main thread, in a queue's, in another one, replaced; and
# every other one has a slow medium, so that writes of the dead are still on their way when the next
# one comes. Meanwhile clients define, start, stop and delete other devices. From $SEED.
. "$(dirname "$0")/lib.sh"

bin=$(dirname "$0")/inc
names=(raw shallow buffered disk simulated verify ext4 xfs)
checked=(raw shallow buffered disk simulated)
storm=/run/storm

loop_in_storm() { # NAME FILE [LINE BEFORE [Loop]...]
	local name=$1 file=$2
	shift 2
	{ printf '[Device]\nTarget=loop\nAutostart=yes\n' && printf '%s\n' "$@" '[Loop]' "File=$file"; } \
		> "$storm/etc/ublkd/devices/$name.conf"
}

set_up_media() {
	local f
	modprobe ublk_drv
	modprobe brd rd_nr=2 rd_size=$((640 * 1024))
	mkfs.ext4 -q -O '^has_journal' /dev/ram0
	mkdir -p /mnt/r /mnt/ext4 /mnt/xfs "$storm/etc/ublkd/devices"
	mount /dev/ram0 /mnt/r
	for f in raw shallow buffered simulated verify; do
		dd if=/dev/zero of="/mnt/r/$f.img" bs=1M count=16 conv=fsync 2> /dev/null
	done
	truncate -s 64M /mnt/r/ext4.img
	truncate -s 320M /mnt/r/xfs.img
	truncate -s 16M /srv/{0,1}.img
	loop_in_storm raw /mnt/r/raw.img
	loop_in_storm shallow /mnt/r/shallow.img '[Queue]' Depth=2
	loop_in_storm buffered /mnt/r/buffered.img
	echo 'DirectIO=no' >> "$storm/etc/ublkd/devices/buffered.conf"
	loop_in_storm disk /dev/ram1 '[Queue]' Count=2
	loop_in_storm verify /mnt/r/verify.img
	loop_in_storm ext4 /mnt/r/ext4.img
	loop_in_storm xfs /mnt/r/xfs.img
	printf '[Device]\nTarget=fault\nAutostart=yes\n[Fault]\nFile=/mnt/r/simulated.img\n' \
		> "$storm/etc/ublkd/devices/simulated.conf"
	if [ -n "${UBLKD_PATH-}" ]; then
		cp -r /etc/ublkd/ublkd.conf.d "$storm/etc/ublkd"
	fi
	# systemd's, or it would take the controller away again.
	printf '[Slice]\nIOWriteIOPSMax=/dev/ram0 300\n' > /run/systemd/system/slow.slice
	printf '[Slice]\nIOAccounting=yes\n' > /run/systemd/system/fast.slice
	systemctl mask --runtime --quiet ublkd # or a call starts it
	systemctl daemon-reload
	systemctl start slow.slice fast.slice
	grep -q wiops=300 /sys/fs/cgroup/slow.slice/io.max || fail 'no limit of writes per second'
}

serving() { # all of them
	local out name
	out=$(call ListDevices 2> /dev/null) || return 1
	for name in "${names[@]}"; do
		[[ $out == *"\"$name\" \"running\""* ]] || return 1
	done
}

go() { # CGROUP
	# The unit's options for sanitizers; a signal from outside is none of their business.
	ASAN_OPTIONS=halt_on_error=1:abort_on_error=1:handle_segv=0:handle_abort=0 \
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:abort_on_error=1 \
	bash -c "echo \$\$ > /sys/fs/cgroup/$1.slice/cgroup.procs && exec /usr/libexec/ublkd --config-root $storm" \
		>> $storm/told 2>&1 &
	pid=$!
	wait_for 100 "the devices in '$1'" serving
}

fail() { # in place of lib.sh's: there is no unit
	{
		echo "FAILED: $*"
		call ListDevices || true
		tail -n 40 $storm/told
	} >&2
	exit 1
}

# A thread of the daemon: of a queue, or any.
choose_thread() { # 'queue' | 'any'; sets $chosen
	local ids
	case $1 in
	queue) # of one device after the other, or it is held for what we do
		victim=$(((victim + 1) % ${#names[@]}))
		read -ra ids <<< "$(prop "${names[victim]}" QueueThreads | sed 's/^[0-9]* //')"
		;;
	any) read -ra ids <<< "$(cd "/proc/$pid/task" && for t in *; do grep -qsx 'ublkd.*' "$t/comm" && echo -n "$t "; done)" ;;
	esac
	[ ${#ids[@]} -gt 0 ] || fail "no thread of '$1'"
	chosen=${ids[RANDOM % ${#ids[@]}]}
}

# In turn, from one that $SEED chooses: a few rounds have seen most of them.
ends=(KILL queue KILL replaced KILL main KILL helper)
end_one() { # sets $how
	how=${ends[(seed + n) % ${#ends[@]}]}
	case $how in
	KILL) kill -KILL $pid ;;
	queue)
		choose_thread queue
		kill -SEGV "$chosen"
		;;
	helper) # gone again it may be
		choose_thread any
		kill -SEGV "$chosen" 2> /dev/null || kill -SEGV $pid
		;;
	main) kill -ABRT $pid ;;
	replaced) kill -USR2 $pid ;;
	esac
	wait $pid 2> /dev/null || true
}

# ---- the users

synced_files() { # ext4 | xfs: numbered, each as synced written down
	local i
	for ((i = 1; ; i++)); do
		echo "$i" > "/mnt/$1/$((i % 500))" && sync -f "/mnt/$1" || break
		echo "$i" > "$storm/synced.$1"
		[ ! -e $storm/end ] || return 0
	done
	return 1
}

verified_io() { # NAME FILE
	local log=$storm/fio.$1
	while [ ! -e $storm/end ]; do
		fio --name="$1" --filename="$2" --ioengine=libaio --direct=1 --randseed=$RANDOM --size=8M --rw=randrw \
			--bsrange=4k-64k --iodepth=4 --io_size=4M --fsync=16 --verify=crc32c --verify_backlog=32 \
			--verify_fatal=1 --output="$log" || return 1
	done
}

one_more() { # of another device
	local n=c$((RANDOM % 4))
	case $((RANDOM % 12)) in
	[0-2]) call AddDevice 'sa{sv}t' $n 2 Target s null Size t $((1 << 24)) $((RANDOM % 2)) ;;
	3) call AddDevice 'sa{sv}t' $n 2 Target s loop File s /srv/$((RANDOM % 2)).img 1 ;;
	4 | 5) start $n ;;
	6) stop $n ;;
	7) stop_force $n ;;
	8) delete $n ;;
	9) call Reload 'a{sv}' 0 ;;
	10) busctl call org.ublkd1 /org/ublkd1/device/raw org.ublkd1.Device DumpRequests ;;
	11)
		busctl call org.ublkd1 /org/ublkd1/device/simulated org.ublkd1.Device SetTargetOptions 'a{sv}' 3 \
			Latency s $((RANDOM % 20))ms LatencyLaw s long-tail Seed s $RANDOM
		;;
	esac
}

others() { # NUMBER
	RANDOM=$((seed * 4 + $1))
	while [ ! -e $storm/end ]; do
		one_more || true
		sleep 0.3
	done >> "$storm/others.$1" 2>&1
}

start_users() {
	local d
	for d in "${checked[@]}"; do
		"$bin/ackcheck" "$(node "$d")" 4 32 3 > "$storm/ack.$d" 2>&1 &
		checks+=($!)
	done
	mkfs.ext4 -q "$(node ext4)"
	mkfs.xfs -q "$(node xfs)"
	for d in ext4 xfs; do
		mount "$(node $d)" /mnt/$d
		synced_files $d 2> "$storm/writer.$d" &
		users+=($!)
		verified_io $d /mnt/$d/verified &
		users+=($!)
	done
	verified_io verify "$(node verify)" &
	users+=($!)
	for d in 0 1; do
		others $d &
		users+=($!)
	done
}

all_well() {
	all_live "${checks[@]}" "${users[@]}" ||
		fail "a user ended after end $n ($how): $(tail -qn 2 $storm/{ack,writer,fio}.* $storm/told)"
}

# ---- the end

look_at_it_all() {
	local d last i
	touch $storm/end
	all_succeed "${users[@]}" || fail "a user failed: $(tail -qn 3 $storm/{writer,fio}.*)"
	echo "$SECONDS s: file systems and fio have ended"
	kill -TERM "${checks[@]}"
	all_succeed "${checks[@]}" || fail "$(tail -n 3 $storm/ack.*)"
	tail -qn 1 $storm/ack.*
	for d in ext4 xfs; do
		umount /mnt/$d # what is read comes from the disk
		mount "$(node $d)" /mnt/$d
		last=$(cat $storm/synced.$d)
		for ((i = last; i > 0 && i > last - 500; i--)); do
			expect $i "$(cat "/mnt/$d/$((i % 500))")" "synced file of $d"
		done
		echo "$d: $last files written and synced"
		umount /mnt/$d
	done
	e2fsck -fn "$(node ext4)" > $storm/fsck 2>&1 || fail "e2fsck: $(cat $storm/fsck)"
	xfs_repair -n "$(node xfs)" > $storm/fsck 2>&1 || fail "xfs_repair: $(cat $storm/fsck)"
	expect '' "$(dmesg | grep -E 'I/O error|EXT4-fs (error|warning)|XFS.*(error|corrupt|shut)' || true)" 'kernel messages'
	grep -q 'recovered /dev/ublkb' $storm/told || fail 'nothing was recovered'
	if grep -E 'AddressSanitizer|runtime error:' $storm/told; then fail 'sanitizer'; fi
	for d in $(call ListDevices | grep -oE '"c[0-9]"' | tr -d '"'); do
		stop_force "$d" > /dev/null 2>&1 || true
		delete "$d"
	done
	kill -TERM $pid
	wait $pid || fail "the last one ended with $?: $(tail -n 3 $storm/told)"
	nothing_left
	expect '' "$(ls -A /run/ublkd/state)" 'state files'
	expect '' "$(pgrep -x 'ublkd.*' || true)" 'processes'
	umount /mnt/r
	wait_for 10 'the driver to be of no use to anybody' modprobe -r ublk_drv
}

# storm ROUNDS MINUTES: so many ends, and for so long, whichever is later
storm() {
	local end=$((SECONDS + $2 * 60)) began
	seed=${SEED:-$RANDOM}
	echo "ROUNDS=$1 MINUTES=$2 SEED=$seed"
	RANDOM=$seed
	victim=0 checks=() users=() how= n=0
	set_up_media
	go fast
	start_users
	while [ $n -lt "$1" ] || [ $SECONDS -lt $end ]; do
		n=$((n + 1))
		sleep "$((RANDOM % 3)).$((RANDOM % 10))"
		began=$(date +%s%N)
		end_one
		if [ $((n % 2)) = 1 ]; then go slow; else go fast; fi
		echo "$((($(date +%s%N) - began) / 1000000)) $how" >> $storm/pauses
		echo "end $n, at $SECONDS s: $(tail -n 1 $storm/pauses)"
		all_well
	done
	echo "$SECONDS s: the last one serves"
	sort -n $storm/pauses | awk '{v[NR]=$1} END {
		print NR " ends; all served again after, ms: median " v[int((NR + 1) / 2)] ", 99 % " v[int(NR * 0.99 + 0.99)] ", most " v[NR]}'
	sed 's/^[0-9]* //' $storm/pauses | sort | uniq -c
	look_at_it_all
}
