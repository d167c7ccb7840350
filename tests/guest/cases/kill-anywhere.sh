#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 600
# The daemon is killed at its N-th system call in the middle of a start, a stop, a deletion, a reload,
# a restart, a recovery: afterwards each device is served, or cleanly absent and can be started. N goes
# up in steps of $STEP until the operation ends before it.
. "$(dirname "$0")/lib.sh"

step=${STEP:-23}
truncate -s 16M /srv/a.img /srv/b.img
loop_conf a /srv/a.img
loop_conf b /srv/b.img
mkdir -p /run/systemd/system/ublkd.service.d
cat > /run/systemd/system/ublkd.service.d/trace.conf <<'E2'
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=
ExecStart=/run/ublkd-traced
NotifyAccess=all
SystemCallFilter=
E2
# The next ublkd is killed at its N-th call if /run/fatal holds N.
cat > /run/ublkd-traced <<'E2'
#!/bin/bash
n=$(cat /run/fatal 2> /dev/null) && rm /run/fatal &&
	exec strace -f -qq -o /dev/null -e 'inject=!io_uring_enter,futex:signal=KILL:when='"$n" /usr/libexec/ublkd
exec /usr/libexec/ublkd
E2
chmod +x /run/ublkd-traced
systemctl daemon-reload
start_ublkd

main() { systemctl show -P MainPID ublkd; }
# That "strace" is the main process is of no interest to whoever waits for another one.
is_up() { [ "$(main)" != 0 ] && [ "$(systemctl is-active ublkd)" = active ] && call ListDevices > /dev/null 2>&1; }
state() { prop "$1" State; }
settled() { case "$(state a) $(state b)" in *ing\ * | *ing) [[ "$(state a) $(state b)" =~ ^(running|defined|failed)\ (running|defined|failed)$ ]] ;; esac; }

check() { # AFTER
	local d
	wait_for 60 "ublkd after $1" is_up
	wait_for 60 "the devices after $1 ($(state a) $(state b))" settled
	for d in a b; do
		[ "$(state $d)" = running ] || start $d || fail "device '$d' after $1"
		dd if="$(node $d)" of=/dev/null bs=4k count=4 iflag=direct 2> /dev/null || fail "reading '$d' after $1"
	done
	expect 2 "$(ls -d /sys/class/ublk-char/* | wc -l)" "ublk devices after $1"
	expect 'a b' "$(cd /run/ublkd/state && echo *)" "state files after $1"
	expect 1 "$(pgrep -cx ublkd)" "processes after $1 ($(pgrep -ax ublkd))"
}

kills() { journalctl -u ublkd --no-pager | grep -c 'code=killed, status=9' || true; }
traced_or_dead() { ! kill -0 "$1" 2> /dev/null || grep -q "^TracerPid:.*[1-9]" "/proc/$1/status" 2> /dev/null; }

# kill_in WHAT STEP COMMAND...: once for each N
kill_in() {
	local what=$1 step=$2 n pid tracer before killed=0
	shift 2
	for ((n = 1 + RANDOM % ((step + 2) / 3); ; n += step)); do
		pid=$(pgrep -ox ublkd)
		before=$(kills)
		strace -f -qq -o /dev/null -e 'inject=!io_uring_enter,futex:signal=KILL:when='"$n" -p "$pid" &
		tracer=$!
		# Killed it may be before the operation, at what it does by itself.
		wait_for 20 'strace' traced_or_dead "$pid"
		"$@" > /dev/null 2>&1 || true
		kill -INT $tracer 2> /dev/null || true
		wait $tracer || true
		check "$what, call $n"
		[ "$(kills)" -gt "$before" ] || break # it came to its end before
		killed=$((killed + 1))
	done
	[ $killed -ge 1 ] || fail "$what: never killed"
	echo "$what: $n calls, killed at each ${step}th"
}
restart_a() { stop a; start a; }
kill_in 'stop and start' "$step" restart_a
kill_in 'reload' "$step" call Reload 'a{sv}' 0
# Few calls: the kernel does the work.
kill_in 'restart' $((step < 4 ? step : 4)) systemctl restart ublkd

for ((n = 40 + RANDOM % step; ; n += 4 * step)); do
	pid=$(pgrep -ox ublkd)
	echo "$n" > /run/fatal
	kill -KILL "$pid"
	wait_for 30 'the next ublkd to be under way' eval '[ ! -e /run/fatal ]'
	wait_for 60 "ublkd after recovery, call $n" is_up
	[ "$(ps -o comm= -p "$(main)")" = strace ] && break
	check "recovery, call $n"
	killed=$((${killed:-0} + 1))
done
[ "${killed:-0}" -ge 1 ] || fail 'recovery: never killed'
echo "start and recovery: $n calls, killed at each $((4 * step))th"
systemctl restart ublkd
check 'the end'
stop a
stop b
systemctl stop ublkd
nothing_left
