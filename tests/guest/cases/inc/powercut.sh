# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The power cut test: a disk of which every write is logged when it is durable (dm-log-writes), under
# ublkd; above, a file system and on it three programs that sync and commit at once and mark the log with
# what was acknowledged. The log is then replayed up to each flush, and what was acknowledged must be
# there. A flush or FUA that ublkd forgets, or acknowledges early, is missing in the log at the mark.
#
# POWERCUT_STEPS   of each program                POWERCUT_EVERY   check every N-th point, and each mark (host)
# POWERCUT_SEED    what a torn flush leaves       POWERCUT_EVERY_XFS   the same for xfs (in the guest)
# POWERCUT_LOG_MIB for the log of each disk       POWERCUT_LAYOUTS     which of ext4 file xfs
. "$(dirname "$0")/lib.sh"

# Programs start faster from here than from the host's file system.
inc=/run/powercut
mkdir $inc
cp "$(dirname "$0")"/inc/{powercut,powercut-point,replay-log} $inc
size=$((64 << 20))
log=/dev/ram0
modprobe brd rd_nr=1 rd_size=$((POWERCUT_LOG_MIB << 10))
# It takes its time: what is acknowledged early is not yet in the log.
modprobe null_blk nr_devices=0
mkdir /sys/kernel/config/nullb/nullb0
for set in memory_backed=1 size=$((size >> 20)) cache_size=16 discard=1 irqmode=2 completion_nsec=20000000 power=1; do
	echo "${set#*=}" > "/sys/kernel/config/nullb/nullb0/${set%=*}"
done
disk=/dev/$(null_blk_disk)
mkdir -p /mnt/lower /mnt/upper
start_ublkd

logged_disk() { # NAME
	blkdiscard -f "$disk" 2> /dev/null
	blkdiscard -z -l 4096 $log
	dmsetup create "$1" --table "0 $(blockdev --getsz "$disk") log-writes $disk $log"
	dmsetup mknodes "$1"
}

make_databases() { # DIRECTORY
	local mode
	for mode in wal delete; do
		sqlite3 "$1/$mode.db" <<-END > /dev/null
			PRAGMA synchronous=OFF;
			PRAGMA journal_mode=$mode;
			CREATE TABLE t(id INTEGER PRIMARY KEY, step INTEGER, body TEXT);
			CREATE TABLE s(n INTEGER);
			INSERT INTO s VALUES(0);
		END
	done
}

# work_on LOG DEVICE TYPE: the programs, at the same time, on a new file system on a device
work_on() {
	local jobs=() job options=(-F)
	[ "$3" = ext4 ] || options=(-f --unsupported)
	"mkfs.$3" -q "${options[@]}" "$2"
	mount "$2" /mnt/upper
	mkdir -p /mnt/upper/work/files
	make_databases /mnt/upper/work
	sync -f /mnt/upper
	dmsetup message "$1" 0 mark begin
	"$inc/powercut" files "$1" /mnt/upper/work/files "$POWERCUT_STEPS" &
	jobs+=($!)
	"$inc/powercut" sql "$1" wal /mnt/upper/work/wal.db "$POWERCUT_STEPS" &
	jobs+=($!)
	"$inc/powercut" sql "$1" delete /mnt/upper/work/delete.db "$POWERCUT_STEPS" &
	jobs+=($!)
	for job in "${jobs[@]}"; do
		wait "$job" || fail "a program on $3"
	done
	dmsetup message "$1" 0 mark end
	umount /mnt/upper
}

after_work() { # NAME
	expect 0 "$(prop "$1" Errors)" "errors of $1"
	delete "$1"
	if mountpoint -q /mnt/lower; then umount /mnt/lower; fi
	dmsetup remove --retry "$1"
}

log_is_whole() { # it tells all that is on the disk
	truncate -s $size /run/powercut/whole
	"$inc/replay-log" $log /run/powercut/whole
	cmp /run/powercut/whole "$disk" || fail "the replayed log is not what is on the disk"
	rm /run/powercut/whole
}

keep_log() { # LAYOUT: for the replay on the host
	cp --sparse=always $log "/share/out/$1.log"
}

try_ext4() { # a disk
	logged_disk ext4
	add ext4 2 Target s loop File s /dev/mapper/ext4
	work_on ext4 "$(node ext4)" ext4
	after_work ext4
	keep_log ext4
}

try_file() { # an ext4 file system on a file on ext4
	logged_disk file
	mkfs.ext4 -q /dev/mapper/file
	mount /dev/mapper/file /mnt/lower
	truncate -s $((size * 3 / 4)) /mnt/lower/upper.img
	sync -f /mnt/lower
	add file 2 Target s loop File s /mnt/lower/upper.img
	work_on file "$(node file)" ext4
	after_work file
	keep_log file
}

try_xfs() { # a disk
	logged_disk xfs
	add xfs 2 Target s loop File s /dev/mapper/xfs
	work_on xfs "$(node xfs)" xfs
	after_work xfs
	truncate -s $size /run/powercut/image
	"$inc/replay-log" -n "$POWERCUT_EVERY_XFS" -s "$POWERCUT_SEED" $log /run/powercut/image begin end \
		"$inc/powercut-point" xfs || fail "the replay of xfs"
	log_is_whole
}

powercut() {
	local layout
	for layout in $POWERCUT_LAYOUTS; do
		"try_$layout"
		echo "$layout: $SECONDS s"
	done
	systemctl stop ublkd
	nothing_left
	printf 'POWERCUT_SIZE=%s\nPOWERCUT_EVERY=%s\nPOWERCUT_SEED=%s\n' $size "$POWERCUT_EVERY" "$POWERCUT_SEED" \
		> /share/out/powercut.env
}
