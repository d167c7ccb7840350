#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 300
# programs: inc/powercut.c inc/replay-log.c
# after: inc/powercut-replay
# What was acknowledged as durable is there after a power cut: files, SQLite in WAL and DELETE mode, on
# ext4 and xfs, on a block device and on a file. See inc/powercut.sh; soak-powercut is the long one.
POWERCUT_STEPS=${POWERCUT_STEPS:-16} POWERCUT_EVERY=${POWERCUT_EVERY:-13}
POWERCUT_EVERY_XFS=${POWERCUT_EVERY_XFS:-67} POWERCUT_SEED=${POWERCUT_SEED:-1} POWERCUT_LOG_MIB=${POWERCUT_LOG_MIB:-32}
POWERCUT_LAYOUTS=${POWERCUT_LAYOUTS:-ext4 file xfs}
. "$(dirname "$0")/inc/powercut.sh"
powercut
