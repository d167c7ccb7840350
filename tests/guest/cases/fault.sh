#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernels: >=6.12
# timeout: 300
# A disk that fails on purpose does so as it is told, over D-Bus, while it runs.
. "$(dirname "$0")/lib.sh"

M=1048576

# set_options NAME N KEY TYPE VALUE...
set_options() {
	local name=$1
	shift
	busctl --timeout=100 call org.ublkd1 "/org/ublkd1/device/$name" org.ublkd1.Device SetTargetOptions 'a{sv}' "$@"
}

setting() { # NAME KEY
	busctl --json=short get-property org.ublkd1 "/org/ublkd1/device/$1" org.ublkd1.Device Settings |
		grep -o "\"$2\":\"[^\"]*\"" | cut -d '"' -f 4
}

# Blocks of one letter each; every process more costs a guest a quarter of a second.
for c in a b c d e h l s 1 2 4 5; do
	head -c 16384 /dev/zero | tr '\0' $c > "/run/blocks-$c"
done

put() { # DEVICE BLOCK LETTER COUNT: blocks of 4 KiB, past the page cache
	dd if="/run/blocks-$3" of="$1" bs=4096 seek="$2" count="$4" oflag=direct conv=notrunc status=none
}

get() { # DEVICE BLOCK: the first letter of it, "0" if there is none
	local c
	dd if="$1" of=/run/block bs=4096 skip="$2" count=1 iflag=direct status=none 2> /run/dd.err || return 1
	IFS= read -r -N 1 c < /run/block || c=0
	echo "$c"
}

refused() { # WHAT COMMAND...
	local what=$1
	shift
	if "$@" 2> /run/refused; then fail "$what succeeded"; fi
}

start_ublkd
add f 4 Target s fault Size t $((64 * M)) VolatileCache b true PhysicalBlockSize t 4096
dev=$(node f)
udevadm settle
sys=/sys/block/$(basename "$dev")/queue
expect 'write back' "$(< "$sys/write_cache")" 'the cache'
expect 1 "$(< "$sys/fua")" FUA
expect 4096 "$(< "$sys/physical_block_size")" 'physical block size'
[ "$(< "$sys/discard_max_bytes")" -gt 0 ] || fail "no discards"

add k 8 Target s fault Size t $((16 * M)) LogicalBlockSize t 4096 Rotational b true WriteCache b false \
	Discard b false WriteZeroes b false ReadOnly b true
other=$(node k)
other_sys=/sys/block/$(basename "$other")/queue
expect 4096 "$(< "$other_sys/logical_block_size")" 'logical block size'
expect 1 "$(< "$other_sys/rotational")" rotational
expect 'write through' "$(< "$other_sys/write_cache")" 'no cache'
expect 0 "$(< "$other_sys/discard_max_bytes")" 'no discards'
expect 1 "$(< "$other_sys/../ro")" 'read only'
expect 0 "$(get "$other" 3)" 'a read of it'
delete k

# Errors: a range, then the n-th. Only writes, so that nobody else's reads are counted.
put "$dev" 0 a 4
put "$dev" 4 a 4
put "$dev" 8 a 1
set_options f 3 ErrorOf s write ErrorAt t 16384 ErrorLength t 4096
put "$dev" 3 b 1
put "$dev" 5 b 1
refused 'a write to the range' put "$dev" 4 b 1
grep -q 'Input/output error' /run/refused || fail "said $(cat /run/refused)"
refused 'a write over the range' put "$dev" 3 b 4
expect a "$(get "$dev" 4)" 'block 4'
set_options f 3 ErrorLength s '' ErrorNth u 3 Error s ENOSPC
put "$dev" 0 c 1
put "$dev" 0 d 1
refused 'the third write' put "$dev" 0 e 1
grep -q 'No space left' /run/refused || fail "said $(cat /run/refused)"
put "$dev" 1 e 1
expect d "$(get "$dev" 0)" 'block 0'
set_options f 1 ErrorNth u 0

# By chance, the same again from the same seed. dd goes on behind an error, and says where it was.
# Reading, it wakes nobody who would read as well.
udevadm settle
pattern() { # SEED
	set_options f 4 Seed u "$1" ErrorsPerMillion u 400000 ErrorOf s read Error s EIO
	dd if="$dev" of=/dev/null bs=4096 count=40 iflag=direct conv=noerror 2>&1 | grep '+0 records in'
	set_options f 1 ErrorsPerMillion u 0
}
first=$(pattern 5)
expect "$first" "$(pattern 5)" 'the same seed'
[ "$first" != "$(pattern 6)" ] || fail "another seed, and the same errors: $first"
errors=$(($(wc -l <<< "$first") - 1))
if [ $errors -le 4 ] || [ $errors -ge 28 ]; then fail "$errors errors of 40: $first"; fi

# Bad blocks heal when written.
set_options f 2 BadAt t $((20 * 4096)) BadLength t 8192
refused 'a read of a bad block' get "$dev" 20
refused 'a read of the other' get "$dev" 21
get "$dev" 22 > /dev/null || fail "the block behind"
put "$dev" 20 h 1
expect h "$(get "$dev" 20)" 'the healed block'
refused 'a read of the other still' get "$dev" 21
put "$dev" 21 h 1
expect h "$(get "$dev" 21)" 'the other healed block'

# Slow, and not any more. Only a lower bound: a busy machine takes longer.
took_ms() {
	local begin
	begin=$(date +%s%N)
	"$@"
	echo $((($(date +%s%N) - begin) / 1000000))
}
set_options f 2 Latency s 1500ms LatencyOf s write
ms=$(took_ms put "$dev" 0 l 1)
[ "$ms" -ge 1500 ] || fail "a latency of 1500 ms took $ms ms"
set_options f 1 Latency s 0
set_options f 1 Bandwidth t $((4 * M))
ms=$(took_ms dd if="$dev" of=/dev/null bs=1M count=6 iflag=direct status=none)
[ "$ms" -ge 1500 ] || fail "6 MiB at 4 MiB/s took $ms ms"
set_options f 1 Bandwidth s ''
expect 0s "$(setting f Latency)" 'the setting on the bus'

# Stuck, and released.
set_options f 2 Stuck b true StuckOf s write
expect yes "$(setting f Stuck)" 'the setting on the bus'
put "$dev" 8 s 1 &
writer=$!
held() { [ "$(prop f InFlight)" -ge 1 ]; }
wait_for 10 'the write to arrive' held
expect a "$(get "$dev" 8)" 'a read beside a stuck write'
[ -e /proc/$writer ] || fail "the write did not wait"
set_options f 1 Stuck b false
wait $writer || fail "the released write failed"
expect s "$(get "$dev" 8)" 'the released write'

# The power goes: what is flushed stays, the rest is gone.
put "$dev" 30 1 3
sync "$dev"
put "$dev" 30 2 2
put "$dev" 60 4 1
expect 2 "$(get "$dev" 30)" 'before the cut'
set_options f 1 PowerCut s all
refused 'a read without power' get "$dev" 30
refused 'a write without power' put "$dev" 30 5 1
set_options f 1 PowerCut s no
expect 1 "$(get "$dev" 30)" 'flushed, then overwritten'
expect 1 "$(get "$dev" 31)" 'flushed, then overwritten'
expect 1 "$(get "$dev" 32)" flushed
expect 0 "$(get "$dev" 60)" 'never flushed'

# What cannot be changed is refused; a stop forgets what was.
expect_error InvalidConfiguration 'VolatileCache=no: cannot change' set_options f 1 VolatileCache b false
set_options f 1 Error s ENODATA
stop f
expect EIO "$(setting f Error)" 'after a stop'
expect_error DeviceNotRunning "'f' is defined" set_options f 1 Error s EIO
delete f

# A server that dies in the middle of a write; the device on a file goes on with the next one, which
# does not die: that was no setting of the definition.
truncate -s 16M /srv/f.img
conf g <<< $'[Device]\nTarget=fault\n[Fault]\nFile=/srv/f.img'
call Reload 'a{sv}' 0 > /dev/null
wait_for 20 'the device' eval '[ "$(prop g State)" = running ]'
dev=$(node g)
udevadm settle
put "$dev" 0 a 4
pid=$(systemctl show -P MainPID ublkd)
set_options g 2 Die s in-write DieAfter u 3
put "$dev" 0 b 2
put "$dev" 2 b 2 || fail "the write that killed the server failed"
wait_for 60 'the next ublkd' eval '[ "$(prop g State 2> /dev/null)" = running ]'
[ "$pid" != "$(systemctl show -P MainPID ublkd)" ] || fail "ublkd did not die"
for i in 0 1 2 3; do
	expect b "$(get "$dev" $i)" "block $i after the death"
done
expect no "$(setting g Die)" 'after the death'
stop g
nothing_left
