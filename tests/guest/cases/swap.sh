#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 240
# programs: inc/pressure.c
# Swap on one of our devices, with ublkd killed while a process of which most is swapped out goes on: what was swapped out comes
# back as it was, and ublkd needs nothing of it. The backing is zram, for which the test's pages cost
# nothing: a file would be in memory itself, here.
. "$(dirname "$0")/lib.sh"

bin=$(dirname "$0")/inc
modprobe zram num_devices=1 || skip 'no zram'
echo 512M > /sys/block/zram0/disksize
start_ublkd
add s 2 Target s loop File s /dev/zram0
swap=$(node s)
mkswap "$swap" > /dev/null
swapon "$swap"

main() { systemctl show -P MainPID ublkd; }
guard() { pgrep -f 'ublkd --guard'; }
# PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE, of every thread; and nothing of them can be swapped out.
apart() {
	local pid stat name line
	for pid in $(main) $(guard); do
		for stat in "/proc/$pid/task/"*/stat; do
			# Workers of a ring come and go.
			name=$(cat "${stat%stat}comm" 2> /dev/null) || continue
			line=$(sed 's/.*) //' "$stat" 2> /dev/null) || continue
			read -r -a fields <<< "$line"
			[ $((fields[6] & 0x180000)) = $((0x180000)) ] || fail "'$name' waits for I/O when it asks for memory"
		done
		grep -q '^VmSwap:[[:space:]]*0 kB' "/proc/$pid/status" || fail "$name is swapped out"
	done
	grep -q '^VmLck:[[:space:]]*[1-9]' "/proc/$(main)/status" || fail 'ublkd does not lock its memory'
}
serves() { # PID OF THE LAST ONE
	m=$(main) && [ "$m" != 0 ] && [ "$m" != "$1" ] && call ListDevices 2> /dev/null | grep -q '"running"'
}
apart
expect 0 "$(cat "/sys/fs/cgroup$(systemctl show -P ControlGroup ublkd)/memory.swap.max")" 'swap for ublkd and its guard'

# Beyond all that fits, in a limit, before the first kill.
mkdir /sys/fs/cgroup/pressure
echo +memory > /sys/fs/cgroup/cgroup.subtree_control
echo 12M > /sys/fs/cgroup/pressure/memory.max
(echo $BASHPID > /sys/fs/cgroup/pressure/cgroup.procs && exec "$bin/pressure" 40) > /run/touched 2>&1 &
pressure=$!
touched() { [ "$(wc -l < /run/touched)" -gt "$1" ] || ! kill -0 $pressure; }
wait_for 120 'all of the memory to be touched' touched 20
for i in 1 2; do
	old=$(main)
	systemctl kill -s KILL --kill-whom=main ublkd
	wait_for 90 "the device after kill $i" serves "$old"
	wait_for 90 "memory to be touched after kill $i" touched $(($(wc -l < /run/touched) + 2))
done
[ "$(awk '/^SwapTotal/ { t = $2 } /^SwapFree/ { print t - $2 }' /proc/meminfo)" -gt 8000 ] || fail 'nothing was swapped out'
kill -TERM $pressure
wait $pressure || fail "pressure: $(tail -n 3 /run/touched)"
apart
expect '' "$(dmesg | grep -iE 'killed process|I/O error|(read|write)-error' || true)" 'kernel messages'
swapoff "$swap"
stop s
delete s
nothing_left
