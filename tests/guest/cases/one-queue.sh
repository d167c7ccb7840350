#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 240
# programs: inc/ackcheck.c
# The ring of one queue fails, or its thread is held up: that device is recovered by the same daemon,
# or waits; nobody gets an error, and the users of the other devices do not notice.
. "$(dirname "$0")/lib.sh"

bin=$(dirname "$0")/inc
names=(a b c d)
start_ublkd
users=()
for d in "${names[@]}"; do
	truncate -s 16M "/srv/$d.img"
	add "$d" 3 Target s loop File s "/srv/$d.img" Queues u 2
	"$bin/ackcheck" "$(node "$d")" 2 16 20 > "/run/ack.$d" 2>&1 &
	users+=($!)
done
main=$(systemctl show -P MainPID ublkd)
threads() { prop "$1" QueueThreads | sed 's/^[0-9]* //'; }
requests() { # DEVICE: what its disk has completed
	local stat
	read -ra stat < "/sys/block/$(basename "$(node "$1")")/stat"
	echo $((stat[0] + stat[4]))
}
whole() {
	expect "$main" "$(systemctl show -P MainPID ublkd)" "the daemon, $1"
	all_live "${users[@]}" || fail "a client ended, $1: $(tail -n 3 /run/ack.*)"
}

# Each queue once: its ring refuses the next turn.
for ((i = 0; i < 2; i++)); do
	read -ra tids <<< "$(threads a)"
	expect 2 ${#tids[@]} "threads of 'a'"
	strace -qq -o /dev/null -p "${tids[i]}" -e inject=io_uring_enter:error=EFAULT:when=1 &
	tracer=$!
	wait_for 30 "queue $i of 'a' to fail" eval '! kill -0 ${tids[i]} 2> /dev/null'
	kill $tracer 2> /dev/null || true
	wait $tracer 2> /dev/null || true
	wait_for 30 "'a' to be recovered" eval '[ "$(prop a State)" = running ]'
	before=$(requests a)
	wait_for 30 "requests on 'a'" eval '[ "$(requests a)" -gt $((before + 20)) ]'
	whole "after queue $i of 'a' failed"
	logged 'a: recovered /dev/ublkb' || fail 'the device was not recovered'
	expect $((i + 1)) "$(journalctl -u ublkd --no-pager | grep -c 'a: recovered /dev/ublkb')" 'recoveries'
done

# The thread is away for 6 s: the others go on.
read -ra tids <<< "$(threads b)"
declare -A before
for d in "${names[@]}"; do before[$d]=$(requests "$d"); done
strace -qq -o /dev/null -p "${tids[0]}" -e inject=io_uring_enter:delay_enter=6000000:when=1 &
tracer=$!
sleep 5
for d in a c d; do
	[ "$(requests "$d")" -gt $((before[$d] + 50)) ] || fail "'$d' waited for the queue of 'b': $(requests "$d") after ${before[$d]}"
done
sleep 2
kill $tracer 2> /dev/null || true
wait $tracer 2> /dev/null || true
before[b]=$(requests b)
wait_for 30 "requests on 'b'" eval '[ "$(requests b)" -gt $((before[b] + 20)) ]'
whole 'after a thread was away'

kill -TERM "${users[@]}"
all_succeed "${users[@]}" || fail "$(tail -n 3 /run/ack.*)"
tail -qn 1 /run/ack.*
# Of those who had nothing to do with it none waited as long as the one that did.
for d in c d; do
	[ "$(sed -n 's/.*longest \([0-9]*\) ms/\1/p' "/run/ack.$d")" -lt 4000 ] || fail "a client of '$d' waited: $(cat "/run/ack.$d")"
done
[ "$(sed -n 's/.*longest \([0-9]*\) ms/\1/p' /run/ack.b)" -ge 5000 ] || fail "nobody waited for the queue of 'b'"
for d in "${names[@]}"; do stop "$d"; delete "$d"; done
nothing_left
