# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
. "$(dirname "$0")/lib.sh"

check_filesystem() { # ext4 | xfs
	local dev tree=/usr/share
	truncate -s 512M /srv/fs.img
	loop_conf fs /srv/fs.img
	start_ublkd
	dev=$(node fs)
	"mkfs.$1" -q "$dev"
	mkdir -p /mnt/fs
	mount "$dev" /mnt/fs
	cp -a "$tree" /mnt/fs/tree
	sync -f /mnt/fs
	umount /mnt/fs
	# Not from the page cache: the device and the file are read anew.
	stop fs
	echo 3 > /proc/sys/vm/drop_caches
	start fs
	dev=$(node fs)
	mount -o ro "$dev" /mnt/fs
	diff -r --no-dereference "$tree" /mnt/fs/tree
	echo "$(find /mnt/fs/tree -type f | wc -l) files, $(du -sm /mnt/fs/tree | cut -f1) MiB are the same"
	umount /mnt/fs
	expect 0 "$(prop fs Errors)" errors
	stop fs
	# The image by itself, without ublkd.
	case $1 in
	ext4) e2fsck -fn /srv/fs.img ;;
	xfs) xfs_repair -n -f /srv/fs.img > /dev/null 2>&1 ;;
	esac || fail "the file system in the image is damaged"
}
