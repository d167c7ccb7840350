#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 240
# programs: inc/ackcheck.c inc/spin.c
# A daemon that is stopped, and one whose main loop does not come round, is replaced; whoever uses its
# devices sees a pause.
. "$(dirname "$0")/lib.sh"

bin=$(dirname "$0")/inc
truncate -s 64M /srv/a.img
loop_conf a /srv/a.img
grep -qx WatchdogSec=30s <<< "$(systemctl cat ublkd)" || fail 'not as it is shipped'
mkdir -p /etc/systemd/system/ublkd.service.d
printf '[Service]\nWatchdogSec=20s\n' > /etc/systemd/system/ublkd.service.d/watchdog.conf
systemctl daemon-reload
start_ublkd
"$bin/ackcheck" "$(node a)" 8 16 > /run/ackcheck 2>&1 &
check=$!

main() { systemctl show -P MainPID ublkd; }
serves() { # PID OF THE LAST ONE: another one, and the device
	m=$(main) && [ "$m" != 0 ] && [ "$m" != "$1" ] && call ListDevices 2> /dev/null | grep -q '"running"'
}
for how in stop spin; do
	old=$(main)
	case $how in
	stop) kill -STOP "$old" ;;
	spin) "$bin/spin" "$old" ;;
	esac
	wait_for 90 "another ublkd after $how" serves "$old"
	[ ! -e "/proc/$old" ] || fail "the old one is still there after $how"
	expect 1 "$(ls -d /dev/ublkc[0-9]* | wc -l)" "char devices after $how"
done
[ "$(journalctl -u ublkd --no-pager | grep -c 'Watchdog timeout')" -ge 2 ] || fail 'it was not the watchdog'
kill -TERM $check
wait $check || fail "ackcheck: $(cat /run/ackcheck)"
cat /run/ackcheck
stop a
nothing_left
