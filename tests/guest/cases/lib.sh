# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Sourced by every case: `. "$(dirname "$0")/lib.sh"`. A case runs as root in a guest of its own and
# passes if it exits 0; 77 is a skip whose last line says why.
set -euo pipefail

MANAGER=(org.ublkd1 /org/ublkd1 org.ublkd1.Manager)

# In a data path that is asked for (# paths:) it is the default of all devices, and node() checks
# that they are in it; a case that checked none of its devices has not tested it.
if [ -n "${UBLKD_PATH-}" ]; then
	mkdir -p /etc/ublkd/ublkd.conf.d
	batch=no
	case $UBLKD_PATH in *+batch) batch=yes ;; esac
	printf '[Manager]\nDefaultCopy=%s\nDefaultBatch=%s\n' "${UBLKD_PATH%+batch}" "$batch" \
		> /etc/ublkd/ublkd.conf.d/00-path.conf
	trap 'end_in_path $?' EXIT
fi

end_in_path() { # STATUS
	if [ "$1" = 0 ] && [ ! -s /run/in-path ]; then
		fail "no device was looked at, whether it is in $UBLKD_PATH"
	elif [ "$1" = 0 ] && [ -s /run/off-path ]; then
		fail "not in $UBLKD_PATH: $(cat /run/off-path)"
	fi
}

fail() {
	# Not to stdout, which may be a variable of the caller's.
	{
		echo "FAILED: $*"
		journalctl -u ublkd -u ublkd-abandon --no-pager -o short-monotonic | tail -30
	} >&2
	exit 1
}

skip() {
	echo "$*"
	exit 77
}

# conf NAME <<EOF: the device's file
conf() {
	mkdir -p /etc/ublkd/devices
	cat > "/etc/ublkd/devices/$1.conf"
}

# loop_conf NAME FILE [LINE...]: a loop device; lines go behind [Loop] File=
loop_conf() {
	local name=$1 file=$2
	shift 2
	{ printf '[Device]\nTarget=loop\n[Loop]\nFile=%s\n' "$file"; [ $# = 0 ] || printf '%s\n' "$@"; } | conf "$name"
}

start_ublkd() {
	systemctl start ublkd || fail "ublkd does not start"
}

# call METHOD SIGNATURE ARGS...
call() {
	busctl --timeout=100 call "${MANAGER[@]}" "$@"
}

add() { # NAME N KEY TYPE VALUE...: define and start
	local name=$1
	shift
	call AddDevice 'sa{sv}t' "$name" "$@" 1 > /dev/null
}

start() { call StartDevice 'sa{sv}' "$1" 0; }
stop() { call StopDevice 'sa{sv}' "$1" 0; }
stop_force() { call StopDevice 'sa{sv}' "$1" 1 mode s force; }
delete() { call DeleteDevice 'sa{sv}' "$1" 0; }

# prop NAME PROPERTY: its bare value
prop() {
	busctl get-property org.ublkd1 "/org/ublkd1/device/$1" org.ublkd1.Device "$2" | sed 's/^[a-z()]* //; s/^"\(.*\)"$/\1/'
}

# expect_path NAME: the device is in the data path that the case is run in
expect_path() {
	local p
	[ -n "${UBLKD_PATH-}" ] || return 0
	p=$(prop "$1" DataPath)
	if [ "$p" = "$UBLKD_PATH" ]; then
		echo "$1" >> /run/in-path
	else
		echo "'$1' in $p" >> /run/off-path
		fail "device '$1' is in the data path '$p', not in $UBLKD_PATH"
	fi
}

# node NAME: its block device, which must be one: a write to a missing one makes a file
node() {
	local n
	expect_path "$1"
	n=$(prop "$1" BlockDevice)
	[ -b "$n" ] || fail "device '$1' has no block device ('$n')"
	echo "$n"
}

all_live() { # PID...
	local p
	for p in "$@"; do
		kill -0 "$p" 2> /dev/null || return 1
	done
}

all_succeed() { # PID...: each has ended, or ends, with 0
	local p
	for p in "$@"; do
		wait "$p" || return 1
	done
}

expect() { # WANTED GOT WHAT
	[ "$1" = "$2" ] || fail "$3: expected '$1', got '$2'"
}

# wait_for SECONDS WHAT COMMAND...: until it succeeds
wait_for() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "waited in vain for: $what"
		sleep 0.1
	done
}

# Error names, which busctl does not print: a monitor writes them down.
watch_errors() {
	dbus-monitor --system "type='error'" > /run/errors 2>&1 &
	wait_for 10 'the monitor' grep -q . /run/errors
}

# expect_error NAME REGEX COMMAND...: the call fails with org.ublkd1.Error.NAME (or a full name) and a
# message that matches
expect_error() {
	local name=$1 regex=$2 out lines
	shift 2
	[[ $name == *.* ]] || name=org.ublkd1.Error.$name
	[ -e /run/errors ] || watch_errors
	lines=$(wc -l < /run/errors)
	if out=$("$@" 2>&1); then
		fail "'$*' succeeded, expected $name"
	fi
	grep -qE -- "$regex" <<< "$out" || fail "'$*' said '$out', expected something like '$regex'"
	wait_for 5 "error name $name of '$*' ($(tail -n 3 /run/errors))" \
		eval "tail -n +$((lines + 1)) /run/errors | grep -q 'error_name=$name '"
	echo "ok: $name: $out"
}

nothing_left() {
	local left
	left=$(ls -d /dev/ublkb* /dev/ublkc[0-9]* /sys/class/ublk-char/* 2> /dev/null || true)
	[ -z "$left" ] || fail "left in the kernel: $left"
}

# logged WORDS: the journal of the service has them
logged() {
	grep -qi -- "$1" <<< "$(journalctl -u ublkd --no-pager)"
}

feature() { # NAME: the kernel's driver has it
	busctl get-property "${MANAGER[@]}" KernelFeatures | grep -q "\"$1\""
}

null_blk_disk() { # the one there is
	local disks=(/sys/block/nullb*)
	basename "${disks[0]}"
}
