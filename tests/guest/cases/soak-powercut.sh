#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# asked: yes
# paths: all
# timeout: 7200
# programs: inc/powercut.c inc/replay-log.c
# after: inc/powercut-replay
# The power cut test with more steps and points: more than a thousand.
POWERCUT_STEPS=${POWERCUT_STEPS:-60} POWERCUT_EVERY=${POWERCUT_EVERY:-2}
POWERCUT_EVERY_XFS=${POWERCUT_EVERY_XFS:-15} POWERCUT_SEED=${POWERCUT_SEED:-1} POWERCUT_LOG_MIB=${POWERCUT_LOG_MIB:-256}
POWERCUT_LAYOUTS=${POWERCUT_LAYOUTS:-ext4 file xfs}
. "$(dirname "$0")/inc/powercut.sh"
powercut
