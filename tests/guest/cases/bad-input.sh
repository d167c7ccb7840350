#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 180
# Everything a user can get wrong: one sentence with the thing and the fix, a stable error name, the
# rest serves on.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/good.img
loop_conf good /srv/good.img
start_ublkd
a() { add x "$@"; }

expect_error BackingUnavailable "'/srv/none': No such file" a 2 Target s loop File s /srv/none
mkdir -p /srv/dir
expect_error BackingUnavailable "'/srv/dir' is a directory" a 2 Target s loop File s /srv/dir
: > /srv/empty
expect_error BackingUnavailable "'/srv/empty' is empty.*truncate" a 2 Target s loop File s /srv/empty
truncate -s 1000 /srv/odd
expect_error InvalidConfiguration "1000 bytes.*not a multiple.*Size=512" a 2 Target s loop File s /srv/odd
truncate -s 1M /srv/immutable
chattr +i /srv/immutable 2> /dev/null &&
	expect_error BackingUnavailable "'/srv/immutable' for reading and writing: " a 2 Target s loop File s /srv/immutable
chattr -i /srv/immutable 2> /dev/null || true
expect_error BackingUnavailable "neither a file nor a disk" a 2 Target s loop File s /dev/null
expect_error BackingInUse "'/srv/good.img' is already served read-write by device 'good'" a 2 Target s loop File s /srv/good.img
expect_error InvalidConfiguration "Offset=.*behind the end" a 3 Target s loop File s /srv/odd Offset t 1048576
expect_error InvalidConfiguration "reaches behind the end" a 3 Target s loop File s /srv/immutable Size t 2097152
expect_error InvalidConfiguration "File=relative: " a 2 Target s loop File s relative
expect_error InvalidConfiguration "File" a 1 Target s loop
expect_error UnknownTarget "nothing_such" a 1 Target s nothing_such
expect_error InvalidConfiguration "did you mean.*File" a 2 Target s loop Fiel s /srv/good.img
expect_error org.freedesktop.DBus.Error.InvalidArgs "Target" a 1 Target d 1.5
expect_error DeviceExists "'good'" add good 1 Target s null
expect_error InvalidName "" add a/b 1 Target s null
expect_error InvalidName "" add .. 1 Target s null
expect_error InvalidName "" add "" 1 Target s null
expect_error InvalidName "" add "$(printf 'x%.0s' $(seq 300))" 1 Target s null
expect_error InvalidName "" add control 1 Target s null
expect_error NoSuchDevice "'nobody'" stop nobody
expect_error org.freedesktop.DBus.Error.InvalidArgs "" call StartDevice s good
expect_error org.freedesktop.DBus.Error.InvalidArgs "mode" call StopDevice 'sa{sv}' good 1 mode s maybe

# A block device that is in use elsewhere is not written behind its user's back.
modprobe brd rd_nr=1 rd_size=16384
mkfs.ext4 -q /dev/ram0
mkdir -p /mnt/e
mount /dev/ram0 /mnt/e
expect_error BackingInUse "'/dev/ram0' is in use" a 2 Target s loop File s /dev/ram0
add ro 3 Target s loop File s /dev/ram0 ReadOnly b true
delete ro
umount /mnt/e
add disk 2 Target s loop File s /dev/ram0
expect_error BackingInUse "'/dev/ram0' is already served read-write by device 'disk'" a 2 Target s loop File s /dev/ram0
delete disk

# Broken files refuse themselves only, with file and line.
mkdir -p /etc/ublkd/devices
printf '[Device]\nTarget=loop\nReadOnyl=yes\n[Loop]\nFile=/srv/odd\n' > /etc/ublkd/devices/typo.conf
printf '[Device]\nTarget=null\n[Queue]\nDepth=9000\nCount=x\n' > /etc/ublkd/devices/range.conf
printf '[Device]\nTarget=null\n' > /etc/ublkd/devices/fine.conf
call Reload 'a{sv}' 0 > /run/reload
grep -q '"fine" "added"' /run/reload || fail "reload said $(cat /run/reload)"
grep -q '"typo" "invalid" "/etc/ublkd/devices/typo.conf:3: \[Device\] ReadOnyl=yes: ' /run/reload || fail "reload said $(cat /run/reload)"
grep -q 'range.conf:4: \[Queue\] Depth=9000: .*range.conf:5: \[Queue\] Count=x: ' /run/reload || fail "reload said $(cat /run/reload)"
wait_for 10 'the good one' eval '[ "$(prop fine State)" = running ]'
if /usr/libexec/ublkd --check /etc/ublkd/devices/*.conf 2> /run/check; then fail "--check finds nothing"; fi
grep -q '^/etc/ublkd/devices/typo.conf:3: ' /run/check || fail "--check said $(cat /run/check)"
systemctl restart ublkd || fail "broken device files stop the daemon"
call ListDevices | grep -q '"good" "running"' || fail "the good device after a restart"
[ -b "$(node good)" ]

# A broken main file: exit 78, and systemd does not try again and again.
printf '[Manager]\nMaxDevices=lots\n' > /etc/ublkd/ublkd.conf
expect_error InvalidConfiguration "ublkd.conf:2: \[Manager\] MaxDevices=lots: " call Reload 'a{sv}' 0
systemctl restart ublkd && fail "started with a broken main file"
expect 78 "$(systemctl show -P ExecMainStatus ublkd)" 'exit status'
expect 0 "$(systemctl show -P NRestarts ublkd)" 'restarts'
