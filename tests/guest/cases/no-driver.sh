#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A kernel without the driver (Debian's 6.1), or whose driver is loaded later.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
loop_conf a /srv/a.img
systemctl mask -q --runtime modprobe@ublk_drv.service
rmmod ublk_drv 2> /dev/null || true
start_ublkd
expect failed "$(prop a State)" state
prop a LastError | grep -q ModuleMissing || fail "LastError: $(prop a LastError)"
expect_error ModuleMissing "modprobe ublk_drv" start a
systemctl show -P StatusText ublkd | grep -q 'modprobe ublk_drv' || fail "status text"
if modprobe ublk_drv 2> /dev/null; then
	# The service's device policy was made without the driver's number.
	systemctl restart ublkd
	[ -b "$(node a)" ] || fail "not picked up"
fi
