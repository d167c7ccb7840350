#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# asked: yes
# paths: all
# mem: 1536
# timeout: 14400
# programs: inc/ackcheck.c
# Everything at once, while one ublkd after the other ends: $ROUNDS of them (100), or for
# $SOAK_MINUTES. See inc/storm.sh.
. "$(dirname "$0")/inc/storm.sh"
if [ -n "${SOAK_MINUTES-}" ]; then
	storm 1 "$SOAK_MINUTES"
else
	storm "${ROUNDS:-100}" 0
fi
