# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# report - headings, results of suites, the table at the end; sourced by tests/run.

rows=()
total_passed=0
total_failed=0
total_skipped=0

heading() {
	printf '\n== %s\n' "$*"
}

# add_result SUITE PASSED FAILED SKIPPED SECONDS
add_result() {
	rows+=("$(printf '%-28s %7d %7d %7d %8d' "$@")")
	total_passed=$((total_passed + $2))
	total_failed=$((total_failed + $3))
	total_skipped=$((total_skipped + $4))
}

# add_counts SUITE SECONDS LINE: from a line `N passed, N failed, N skipped`; 1 if it is no such line
add_counts() {
	if [[ $3 =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
		add_result "$1" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}" "$2"
	else
		return 1
	fi
}

# add_failure SUITE SECONDS WHY...
add_failure() {
	echo "FAIL $1: ${*:3}"
	add_result "$1" 0 1 0 "$2"
}

# add_skip SUITE REASON...
add_skip() {
	echo "SKIP $1: ${*:2}"
	add_result "$1" 0 0 1 0
}

# The table and the sum; 1 if anything failed, or nothing was run.
print_report() {
	heading "results after $((SECONDS / 60)) min $((SECONDS % 60)) s"
	printf '%-28s %7s %7s %7s %8s\n' suite passed failed skipped seconds
	[ ${#rows[@]} -eq 0 ] || printf '%s\n' "${rows[@]}"
	echo
	echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
	[ "$total_failed" -eq 0 ] && [ $((total_passed + total_skipped)) -gt 0 ]
}

# show_end FILE: the end of a log, indented
show_end() {
	tail -n 60 "$1" | sed 's/^/    /'
}
