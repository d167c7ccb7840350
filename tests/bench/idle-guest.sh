#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# idle-guest.sh DEVICES - the part of `memory` that runs in a guest with systemd: many idle devices
#
# Prints lines of words: "idle DEVICES PROCESS PSS_KB"; "mapping KB NAME", of the daemon with all
# devices; "switched N THREAD", context switches within the ten seconds; and those of bus-time.
set -euo pipefail

here=$(dirname "$0")
count=$1

pids() { # daemon and guard
	local main

	main=$(systemctl show -P MainPID ublkd)
	echo "$main" "$(cat "/proc/$main/task/"*/children)"
}

devices() {
	find /dev -maxdepth 1 -name 'ublkb*' | wc -l
}

switches() { # of each thread of daemon and guard: PID.TID NAME N
	local pid

	for pid in $(pids); do
		awk -v pid="$pid" '/^Name:/ { name = $2 } /^Pid:/ { id = $2 } /ctxt_switches/ { n[id] += $2 }
			/^nonvoluntary/ { print pid "." id, name, n[id] }' "/proc/$pid/task/"*/status
	done
}

switches_within() { # SECONDS
	switches >/run/before
	sleep "$1"
	switches >/run/after
	awk 'NR == FNR { n[$1] = $3; next } $3 != n[$1] { print "switched", $3 - n[$1], $2 }' \
		/run/before /run/after
}

mappings() {
	awk '/^[0-9a-f]+-/ { name = NF > 5 ? $6 : "anonymous" } /^Pss:/ { kb[name] += $2 }
		END { for (name in kb) print "mapping", kb[name], name }' "/proc/$1/smaps"
}

start_devices() { # N
	local i

	systemctl stop ublkd
	mkdir -p /etc/ublkd/devices
	rm -f /etc/ublkd/devices/*
	printf '[Manager]\nMaxDevices=2000\n' >/etc/ublkd/ublkd.conf
	for ((i = 0; i < $1; i++)); do
		printf '[Device]\nTarget=null\nSize=256M\n[Queue]\nCount=1\nDepth=128\n' \
			>"/etc/ublkd/devices/n$i.conf"
	done
	systemctl start ublkd
	for ((i = 0; i < 600; i++)); do
		[ "$(devices)" != "$1" ] || break
		sleep 0.5
	done
	if [ "$(devices)" != "$1" ]; then
		echo "$(devices) of $1 devices came"
		journalctl -u ublkd --no-pager | tail -n 20
		exit 1
	fi
	udevadm settle --timeout=300
	sleep 5
}

show_memory() { # N
	local pid process=ublkd

	for pid in $(pids); do
		echo "idle $1 $process $(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup")"
		process=guard
	done
}

start_devices 1
show_memory 1
SECONDS=0
start_devices "$count"
echo "started $count devices in $SECONDS s" >&2
show_memory "$count"
mappings "$(pids | cut -d ' ' -f 1)"
switches_within 10
for call in 'ping /org/ublkd1 org.freedesktop.DBus.Peer Ping' \
	'list /org/ublkd1 org.ublkd1.Manager ListDevices' \
	'status /org/ublkd1/device/n0 org.ublkd1.Device Describe' \
	'properties /org/ublkd1/device/n0 org.freedesktop.DBus.Properties GetAll org.ublkd1.Device' \
	'everything /org/ublkd1 org.ublkd1.Manager Describe'; do
	# shellcheck disable=SC2086 # words
	"$here/bus-time" $call
done
