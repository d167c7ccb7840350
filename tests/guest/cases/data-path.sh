#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# Which way the data go: what auto takes on each kernel and from which table, what can be asked for
# instead, and what is said of a way that is not to be had.
. "$(dirname "$0")/lib.sh"

case $KERNEL_RELEASE in
6.1[2-5].*) loop=driver null=none ;;
6.1[6-9].* | 7.0.*) loop=zero-auto null=none ;;
*) loop=zero-auto+batch null=none+batch ;;
esac
truncate -s 64M /srv/a.img /srv/b.img
loop_conf a /srv/a.img
start_ublkd

moves() { # NAME: bytes there and back
	local dev
	dev=$(node "$1")
	dd if=/dev/urandom of=/run/data bs=64K count=16 2> /dev/null
	dd if=/run/data of="$dev" bs=256K oflag=direct 2> /dev/null
	cmp -n 1048576 /run/data /srv/b.img || fail "write to '$1' ($(prop "$1" DataPath))"
	dd if="$dev" bs=256K count=4 iflag=direct 2> /dev/null | cmp - /run/data || fail "read of '$1'"
}

# ---- by itself
expect "$loop" "$(prop a DataPath)" "data path of a loop device on $KERNEL_RELEASE"
add n 1 Target s null
expect "$null" "$(prop n DataPath)" "data path of a null device on $KERNEL_RELEASE"
stop n
expect '' "$(prop n DataPath)" 'data path of a device that does not run'
delete n

explain() { # OPTIONS...: the verdict is the last line
	"$@" /usr/libexec/ublkd --explain a > /run/told || fail "--explain: $(cat /run/told)"
	sed -n 's/^DataPath: //p' /run/told
}
expect "$loop" "$(explain)" '--explain'
table() { # WAY: its line
	sed -n '/^Ways of the data/,$p' /run/told | grep "^  $1 "
}
for way in none+batch none zero-auto+batch zero-auto driver+batch driver zero user get-data; do
	expect 1 "$(table $way | wc -l)" "lines of $way in the table"
done
expect 1 "$(grep -c ' chosen$' /run/told)" 'ways that are chosen'
[[ $(table "$loop") == *' chosen' ]] || fail "not chosen: $loop"
[[ $(table none) == *' the target keeps the data, which would be lost' ]] || fail 'why not none'

# ---- asked for
has() { feature "$1" && echo yes; }
zero=$(has SUPPORT_ZERO_COPY || true) auto=$(has AUTO_BUF_REG || true) batch=$(has BATCH_IO || true)
try() { # HAS COPY BATCH RESULT SENTENCE
	local batch=no
	[ "$3" = no ] || batch=yes
	if [ -n "$1" ]; then
		add b 4 Target s loop File s /srv/b.img Copy s "$2" Batch s "$batch"
		expect "$4" "$(prop b DataPath)" "Copy=$2 Batch=$batch"
		moves b
		delete b
	else
		expect_error KernelUnsupported "$5" \
			add b 4 Target s loop File s /srv/b.img Copy s "$2" Batch s "$batch"
	fi
}
try yes driver no driver ''
try yes user no user ''
try yes get-data no get-data ''
try "$zero" zero no zero 'Copy=zero: the driver has no SUPPORT_ZERO_COPY, which came with Linux 6\.15: set Copy=auto'
try "$auto" zero-auto no zero-auto 'Copy=zero-auto: the driver has no AUTO_BUF_REG, which came with Linux 6\.16: set Copy=auto'
try "$batch" zero-auto yes zero-auto+batch 'Copy=zero-auto with Batch=yes: the driver has no BATCH_IO, which came with Linux 7\.0: set '
try "$batch" driver yes driver+batch 'Copy=driver with Batch=yes: the driver has no BATCH_IO, which came with Linux 7\.0: set '
for copy in user zero get-data none; do
	[ $copy = none ] && target=(loop File s /srv/b.img) || target=(null Size t 1048576)
	[ $copy = none ] && why='Copy=none: the target keeps the data' || why="there is no batch I/O with Copy=$copy"
	[ $copy = none ] && yes=no || yes=yes
	expect_error InvalidConfiguration "$why" add b $((${#target[@]} / 3 + 3)) Target s "${target[@]}" \
		Copy s $copy Batch s "$yes"
done

# ---- how its thread is scheduled
policy() { # of the only queue of 'b'
	local tid
	tid=$(basename "$(dirname "$(grep -lx "ublk$(prop b DeviceId)\.0" /proc/"$(systemctl show -P MainPID ublkd)"/task/*/comm)")")
	chrt -p "$tid" | sed -n 's/.*policy: //p'
}
add b 3 Target s loop File s /srv/b.img Queues u 1
expect SCHED_BATCH "$(policy)" 'policy by default'
delete b
add b 4 Target s loop File s /srv/b.img Queues u 1 CPUSchedulingPolicy s other
expect SCHED_OTHER "$(policy)" 'policy with CPUSchedulingPolicy=other'
delete b

# ---- the daemon's default, which a device overrides
mkdir -p /etc/ublkd/ublkd.conf.d
printf '[Manager]\nDefaultCopy=user\nDefaultBatch=no\n' > /etc/ublkd/ublkd.conf.d/50-copy.conf
expect user "$(explain)" '--explain with DefaultCopy='
call Reload 'a{sv}' 0 > /dev/null
expect "$loop" "$(prop a DataPath)" 'data path of a device that runs'
stop a
start a
expect user "$(prop a DataPath)" 'data path by DefaultCopy='
try yes driver no driver ''
rm /etc/ublkd/ublkd.conf.d/50-copy.conf
if [ -z "$auto" ]; then
	printf '[Manager]\nDefaultCopy=zero-auto\n' > /etc/ublkd/ublkd.conf.d/50-copy.conf
	call Reload 'a{sv}' 0 > /dev/null
	stop a
	expect_error KernelUnsupported 'DefaultCopy=zero-auto: the driver has no AUTO_BUF_REG' start a
	rm /etc/ublkd/ublkd.conf.d/50-copy.conf
fi
call Reload 'a{sv}' 0 > /dev/null

# ---- known to be broken: Linux 7.0, as which we dress up
if [ -n "$batch" ]; then
	export ASAN_OPTIONS=detect_leaks=0 # which cannot be done under strace
	release=$(python3 -c 'print((b"Linux".ljust(130, b"\0") + b"7.0.9\0").hex())')
	as_7_0=(strace -f -o /run/strace -e trace=uname -e "inject=uname:poke_exit=@arg1=$release")
	expect zero-auto "$(explain "${as_7_0[@]}")" '--explain on Linux 7.0'
	[[ $(table zero-auto+batch) == *' Linux 7.0 lacks fixes '* ]] || fail 'why not batch on 7.0'
	# Who insists gets it.
	printf '[Queue]\nBatch=yes\n' >> /etc/ublkd/devices/a.conf
	expect zero-auto+batch "$(explain "${as_7_0[@]}")" '--explain on Linux 7.0 with Batch=yes'
fi
delete a
nothing_left
