#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# mem: 1536
# timeout: 300
# programs: inc/ackcheck.c
# A slice of soak-storm: everything at once while one ublkd after the other ends. See inc/storm.sh.
. "$(dirname "$0")/inc/storm.sh"
storm "${ROUNDS:-3}" 0
