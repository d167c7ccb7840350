#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# paths: all
# timeout: 240
# mkfs, mount, copy a real tree, compare, unmount, check: xfs on a loop device.
. "$(dirname "$0")/inc/filesystem.sh"
check_filesystem xfs
