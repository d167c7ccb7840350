#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# kill -9: systemd starts ublkd again, it removes what the dead one left and serves again.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
printf '[Device]\nTarget=loop\nRecovery=no\n[Loop]\nFile=/srv/a.img\n' | conf a
start_ublkd
for i in 1 2 3; do
	main=$(systemctl show -P MainPID ublkd)
	systemctl kill -s KILL --kill-whom=main ublkd
	restarted() { m=$(systemctl show -P MainPID ublkd) && [ "$m" != 0 ] && [ "$m" != "$main" ]; }
	wait_for 20 "restart $i" restarted
	wait_for 20 "the device after kill $i" eval "call ListDevices 2> /dev/null | grep -q '\"a\" \"running\"'"
	cmp -n 1048576 "$(node a)" /srv/a.img
	expect 1 "$(ls -d /dev/ublkc[0-9]* | wc -l)" "char devices after kill $i"
done
logged 'left by an ublkd that died' || fail "not logged"
stop a
nothing_left
