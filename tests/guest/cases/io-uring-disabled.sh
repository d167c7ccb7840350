#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# io_uring forbidden by sysctl: said so, and better when it is allowed again.
. "$(dirname "$0")/lib.sh"

truncate -s 64M /srv/a.img
loop_conf a /srv/a.img
sysctl -qw kernel.io_uring_disabled=2
start_ublkd
expect_error KernelUnsupported "kernel.io_uring_disabled" start a
sysctl -qw kernel.io_uring_disabled=0
systemctl restart ublkd
[ -b "$(node a)" ] || fail "not picked up"
