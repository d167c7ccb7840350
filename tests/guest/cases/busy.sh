#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 240
# A device in use is not stopped, and all who use it are named; force stops it all the same.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
loop_conf a /srv/a.img
start_ublkd
dev=$(node a)
mkfs.ext4 -q "$dev"
mkdir -p "/mnt/a b" /mnt/a /mnt/own
mount "$dev" "/mnt/a b"
echo before > "/mnt/a b/file"
expect true "$(prop a InUse)" InUse
expect_error DeviceBusy "mounted on '/mnt/a b'; close" stop a
expect_error DeviceBusy "mounted on '/mnt/a b'" delete a
expect running "$(prop a State)" 'state after a refused stop'
echo after >> "/mnt/a b/file"
sync -f "/mnt/a b"
umount "/mnt/a b"
expect false "$(prop a InUse)" InUse

# A mount that nobody sees but its own mount namespace.
mkfifo /run/end
unshare --mount --propagation private sh -c "mount $dev /mnt/own; read -r end < /run/end" &
own=$!
wait_for 10 'the mount of its own' grep -q /mnt/own "/proc/$own/mountinfo"
expect_error DeviceBusy "mounted on '/mnt/own' in the mount namespace of 'sh' \\(pid $own\\)" stop a
echo end > /run/end
wait "$own"

mkswap -q "$dev" > /dev/null
swapon "$dev"
expect_error DeviceBusy "in use: swap on $dev; close" stop a
swapoff "$dev"

# All at once: disks on it, which have names of their own, a kernel loop device, a process.
map() { # NAME START UUID
	printf '0 2048 linear %s %s\n' "$dev" "$2" | dmsetup create "$1" --uuid "$3"
}
map top 0 test-1
map vg-lv 2048 LVM-1
map secret 4096 CRYPT-LUKS2-1
loop=$(losetup --find --show "$dev")
sleep 1000 3< "$dev" &
one=$!
expect_error DeviceBusy 'is in use: ' stop a > /run/refusal
names() { # WORDS
	grep -q -- "$1" /run/refusal || fail "no '$1' in: $(cat /run/refusal)"
}
names "part of the device-mapper disk 'top' (dm-"
names "part of the logical volume 'vg-lv' (dm-"
names "part of the LUKS volume 'secret' (dm-"
names "backing of $loop"
names "open by 'sleep' (pid $one)"
losetup --detach "$loop"
dmsetup remove top vg-lv secret

# Those who merely have it, or a part of it, open: the claim on the disk ends with the refusal.
echo '1M,8M' | sfdisk -q "$dev"
udevadm settle
wait_for 10 'the partition' test -b "${dev}p1"
setpriv --reuid 1000 sleep 1000 3< "${dev}p1" &
two=$!
expect_error DeviceBusy "in use: open by 'sleep' .* open by 'sleep'" stop a
kill "$one"
wait "$one" || true
expect_error DeviceBusy "in use: open by 'sleep' \\(pid $two\\); close" stop a
kill "$two"
wait "$two" || true
mount -o ro "$dev" /mnt/a 2> /run/mount.err || true
if grep -qi busy /run/mount.err; then fail "the disk is claimed after a refused stop"; fi

# The page cache is written back before the device goes.
dd if=/dev/urandom of=/run/data bs=1M count=8 2> /dev/null
dd if=/run/data of="$dev" bs=1M conv=notrunc 2> /dev/null
stop a
cmp -n 8388608 /run/data /srv/a.img || fail "dirty pages were lost by a stop"

start a
dev=$(node a)
mkfs.ext4 -q "$dev"
mount "$dev" /mnt/a
stop_force a
[ ! -e "$dev" ] || fail "the disk is still there"
umount /mnt/a
nothing_left
