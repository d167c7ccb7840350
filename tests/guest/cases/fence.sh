#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 300
# programs: inc/ackcheck.c
# Writes of a killed ublkd that are still on their way to the medium: the next one does not serve before
# they have arrived, or they would undo what it has acknowledged since. Every other ublkd writes slowly
# (its cgroup may do so few writes per second), the ones between at full speed.
. "$(dirname "$0")/lib.sh"

bin=$(dirname "$0")/inc
modprobe ublk_drv
modprobe brd rd_nr=1 rd_size=$((256 * 1024))
mkfs.ext4 -q -O '^has_journal' /dev/ram0
mkdir -p /mnt/r /run/fence/etc/ublkd/devices
mount /dev/ram0 /mnt/r
dd if=/dev/zero of=/mnt/r/a.img bs=1M count=16 conv=fsync 2> /dev/null
printf '[Device]\nTarget=loop\nId=0\nAutostart=yes\n[Loop]\nFile=/mnt/r/a.img\n' > /run/fence/etc/ublkd/devices/a.conf
if [ -n "${UBLKD_PATH-}" ]; then
	cp -r /etc/ublkd/ublkd.conf.d /run/fence/etc/ublkd
fi
# systemd's, or it would take the controller away again.
printf '[Slice]\nIOWriteIOPSMax=/dev/ram0 2\n' > /run/systemd/system/slow.slice
printf '[Slice]\nIOAccounting=yes\n' > /run/systemd/system/fast.slice
systemctl daemon-reload
systemctl start slow.slice fast.slice
grep -q wiops=2 /sys/fs/cgroup/slow.slice/io.max || fail 'no limit of writes per second'

systemctl mask --runtime --quiet ublkd # or a call starts it
go() { # CGROUP
	bash -c "echo \$\$ > /sys/fs/cgroup/$1.slice/cgroup.procs; exec /usr/libexec/ublkd --config-root /run/fence" \
		>> /run/told 2>&1 &
	pid=$!
	wait_for 100 "the device in '$1' ($(tail -n 3 /run/told))" eval 'call ListDevices 2> /dev/null | grep -q "\"running\""'
}
go slow
"$bin/ackcheck" "$(node a)" 24 4 > /run/ackcheck 2>&1 &
check=$!
waited=0
for ((i = 1; i <= 4; i++)); do
	# Long enough at full speed for what came late to arrive after all.
	if [ $((i % 2)) = 1 ]; then sleep 4; else sleep 12; fi
	kill -KILL $pid
	wait $pid || true
	begin=$(date +%s%N)
	if [ $((i % 2)) = 1 ]; then go fast; else go slow; fi
	ms=$((($(date +%s%N) - begin) / 1000000))
	echo "end $i: served again after $ms ms"
	[ $((i % 2)) = 0 ] || [ $ms -le $waited ] || waited=$ms
	kill -0 $check || fail "ackcheck ended: $(cat /run/ackcheck)"
done
kill -TERM $check
wait $check || fail "$(cat /run/ackcheck /run/told)"
cat /run/ackcheck
# Were nothing on its way at the kill, this would prove nothing.
[ $waited -ge 3000 ] || fail "no ublkd had to wait for the writes of the one before it: $waited ms at most"
kill -TERM $pid
wait $pid
nothing_left
