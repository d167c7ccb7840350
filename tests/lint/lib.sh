# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# lib - what the checks of this directory share; sourced. A check runs in the source directory and
# is told by meson where source and build are. Status 77 is a skip, its last line the reason.

set -euo pipefail

: "${UBLKD_SOURCE_DIR:?run by meson test, or set it}"
: "${UBLKD_BUILD_DIR:?run by meson test, or set it}"
cd "$UBLKD_SOURCE_DIR"

jobs=$(nproc)
export jobs

skip() {
	echo "$*"
	exit 77
}

need() {
	command -v "$1" >/dev/null || skip "$1 is not installed"
}

# Names of our files, NUL between: of those below the given paths, what the find(1) test picks.
files() {
	local where=$1
	shift
	# Not quoted: several paths, none with blanks.
	# shellcheck disable=SC2086
	find $where -type d \( -name .git -o -path './build*' -o -name __pycache__ \) -prune -o \
		-type f "$@" -print0 | sort -z
}

c_files() {
	files "src tests" -name '*.[ch]'
}
