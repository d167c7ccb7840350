#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 300
# programs: inc/try-io.c
# Whatever happens to the backing: who uses the device gets the right error for the right sectors and
# never another request's bytes, the others notice nothing, and ublkd serves on.
. "$(dirname "$0")/lib.sh"

try="$(dirname "$0")/inc/try-io"
io() { # EXPECTED[|EXPECTED] WHAT DEVICE [PAGE PAGES BYTE]
	local got wanted=$1
	shift
	if [ $# -gt 2 ]; then
		set -- "$1" "$2" $(($3 * 4096)) $(($4 * 4096)) "$5"
	fi
	got=$("$try" "$@") || true
	[[ "|$wanted|" = *"|$got|"* ]] || fail "$*: '$got' instead of '$wanted'"
}

modprobe brd rd_nr=3 rd_size=65536
start_ublkd
truncate -s 1M /srv/fine.img
add fine 2 Target s loop File s /srv/fine.img
fine=$(node fine)
io ok write "$fine" 0 16 F
others_serve() {
	io ok read "$fine" 0 16 F
	io ok sync "$fine"
	expect 0 "$(prop fine Errors)" 'errors of another device'
}

# One request at a time: the next one has the memory of the one before.
echo "--- bad sectors"
printf '0 2048 linear /dev/ram0 0\n2048 8 error\n2056 63480 linear /dev/ram0 2056\n' | dmsetup create bad
add bad 4 Target s loop File s /dev/mapper/bad DirectIO s yes QueueDepth u 1
dev=$(node bad)
udevadm settle
io ok write "$dev" 240 16 a
io ok write "$dev" 257 16 b
io ok read "$dev" 257 16 b
io EIO read "$dev" 256 1 -
io EIO write "$dev" 256 1 x
io EIO dsync "$dev" 256 1 x
io EIO read "$dev" 250 7 a # into it from the left
io ok read "$dev" 255 1 a
io ok read "$dev" 257 1 b
io ok sync "$dev" # a bad place is one, and no lost write
[ "$(prop bad Errors)" -ge 4 ] || fail "errors are not counted: $(prop bad Errors)"
expect '" "' "$(prop bad LastError)" 'last error'
echo '0 65536 linear /dev/ram0 0' | dmsetup reload bad
dmsetup suspend --nolockfs bad
dmsetup resume bad
io ok write "$dev" 256 1 c
io ok read "$dev" 256 1 c
io ok sync "$dev"
others_serve
delete bad

echo "--- no space"
mkfs.ext4 -q -m 0 /dev/ram1 32M
mkdir -p /mnt/e
mount /dev/ram1 /mnt/e
for direct in yes no; do
	truncate -s 0 /mnt/e/sparse.img
	truncate -s 64M /mnt/e/sparse.img
	add full 4 Target s loop File s /mnt/e/sparse.img DirectIO s $direct QueueDepth u 1
	dev=$(node full)
	io ok write "$dev" 0 16 a
	fallocate -l 64M /mnt/e/filler 2> /dev/null || true
	dd if=/dev/zero of=/mnt/e/filler2 bs=4096 2> /dev/null || true
	io ENOSPC write "$dev" 1024 64 b
	io ok read "$dev" 0 16 a
	io ok write "$dev" 0 16 c # is there already
	io ok read "$dev" 8192 16 0
	rm /mnt/e/filler /mnt/e/filler2
	io ok write "$dev" 1024 64 d
	io ok sync "$dev"
	io ok read "$dev" 1024 64 d
	delete full
done
others_serve

echo "--- the end of the file moves"
truncate -s 16M /mnt/e/f.img
add f 3 Target s loop File s /mnt/e/f.img QueueDepth u 1
dev=$(node f)
io ok write "$dev" 0 64 p
io ok write "$dev" 2040 64 q
truncate -s 8195K /mnt/e/f.img # three quarters of a page are left of what was written last
io ok read "$dev" 0 64 p
io EIO read "$dev" 2049 16 q
io EIO read "$dev" 3000 1 0
io ok read "$dev" 0 64 p
io EIO read "$dev" 2040 64 q # across the end
[ "$(prop f Errors)" -ge 3 ] || fail "errors are not counted: $(prop f Errors)"
truncate -s 16M /mnt/e/f.img
io ok read "$dev" 2049 16 0
io ok write "$dev" 2048 16 r
io ok read "$dev" 2048 16 r

echo "--- a hole"
fallocate -p -o $((16 * 4096)) -l $((16 * 4096)) /mnt/e/f.img
io ok read "$dev" 0 16 p
io ok read "$dev" 16 16 0
io ok read "$dev" 32 32 p

echo "--- another file of that name, and none"
truncate -s 16M /mnt/e/other.img
mv /mnt/e/other.img /mnt/e/f.img
io ok read "$dev" 0 16 p
io ok write "$dev" 0 16 s
io ok sync "$dev"
io ok read "$dev" 0 16 s
expect 0 "$(stat -c %b /mnt/e/f.img)" 'blocks of the file that took the name'
rm /mnt/e/f.img
io ok write "$dev" 0 16 t
io ok sync "$dev"
io ok read "$dev" 0 16 t
io ok read "$dev" 2048 16 r
others_serve

echo "--- unmounted under it"
umount -l /mnt/e
io ok write "$dev" 4000 16 v
io ok sync "$dev"
io ok read "$dev" 4000 16 v
delete f
wait_for 10 'the file system to go' mkfs.ext4 -q -F /dev/ram1 32M
others_serve

echo "--- the file system becomes read-only"
mount -o errors=remount-ro /dev/ram1 /mnt/e
truncate -s 16M /mnt/e/g.img
add g 3 Target s loop File s /mnt/e/g.img QueueDepth u 1
dev=$(node g)
io ok write "$dev" 0 16 p
io ok sync "$dev"
echo test > /sys/fs/ext4/ram1/trigger_fs_error
io EIO write "$dev" 1024 16 u # a place that has no blocks yet
# 6.12 has it shut down, later ones go on reading.
io 'ok|EIO' read "$dev" 0 16 p
io 'ok|EIO' read "$dev" 1024 16 0
[ "$(prop g Errors)" -ge 1 ] || fail "errors are not counted: $(prop g Errors)"
expect running "$(prop g State)" 'state on a read-only file system'
others_serve
stop_force g
delete g
umount /mnt/e

echo "--- a sync that fails"
flaky() { echo "0 65536 flakey /dev/ram2 0 $*"; }
becomes() {
	flaky "$@" | dmsetup reload flaky
	dmsetup suspend --nolockfs --noflush flaky
	dmsetup resume flaky
}
flaky 60 0 | dmsetup create flaky
add lossy 3 Target s loop File s /dev/mapper/flaky DirectIO s no
dev=$(node lossy)
udevadm settle
io ok write "$dev" 0 16 a
io ok sync "$dev"
io ok write "$dev" 0 16 b
becomes 0 60 1 error_writes
io EIO sync "$dev"
becomes 60 0
# The kernel has told of it, and holds the pages for clean now.
io EIO sync "$dev"
io EIO dsync "$dev" 16 1 c
io ok write "$dev" 32 16 d
io ok read "$dev" 32 16 d
io EIO sync "$dev"
is_known() { prop lossy LastError | grep -q WritesLost; }
wait_for 5 'the news of the lost write' is_known
logged 'lossy.*lost writes (fdatasync: Input/output error)' || fail 'not in the log'
grep -q '^SyncError=5$' /run/ublkd/state/lossy || fail 'not in the state file'
others_serve

# Who comes after a crash knows of it.
pid=$(systemctl show -P MainPID ublkd)
systemctl kill -s KILL --kill-whom=main ublkd
serves() { [ "$(systemctl show -P MainPID ublkd)" != "$pid" ] && [ "$(prop lossy State 2> /dev/null)" = running ]; }
wait_for 30 'recovery' serves
io EIO sync "$dev"
io EIO dsync "$dev" 16 1 c
io ok read "$dev" 32 16 d
is_known || fail "after recovery LastError is $(prop lossy LastError)"

expect_error WritesLost 'force' stop lossy
io EIO sync "$dev"
stop_force lossy
start lossy
dev=$(node lossy)
udevadm settle
expect '" "' "$(prop lossy LastError)" 'last error after a new start'
io ok dsync "$dev" 0 16 e
io ok sync "$dev"
io ok read "$dev" 0 16 e
others_serve
