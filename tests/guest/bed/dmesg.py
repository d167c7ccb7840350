# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds the kernel messages that no test may cause."""

import re

BAD = re.compile("|".join((
    r"^WARNING: ", r"^WARN", r"\bBUG: ", r"kernel BUG at", r"\bOops\b", r"^UBSAN: ", r"KASAN: ",
    r"KFENCE: ", r"KCSAN: ", r"KMSAN: ", r"Kernel panic",
    r"general protection", r"\bGPF\b", r"segfault at", r"^traps: ", r"trap invalid opcode",
    r"INFO: task .* blocked for more than", r"blocked in I/O wait for more than",
    r"\brcu\b.*\b(stall|self-detected|kthread starved)", r"soft lockup", r"hard LOCKUP",
    r"workqueue lockup", r"scheduling while atomic", r"sleeping function called from invalid",
    r"refcount_t: ", r"possible (recursive|circular) locking", r"bad (page|unlock balance)",
    r"cannot create duplicate filename", r"kobject_add_internal failed",
    r"list_(add|del) corruption", r"Unable to handle kernel",
    r"unregister_netdevice: waiting", r"page allocation failure",
    r"detected stalls",
)))

# What kernels say of themselves without our doing: (versions, message).
# A version is a prefix of the release's numbers; () is every kernel.
NOISE = (
    ((7, 2, 13), r"UBSAN: array-index-out-of-bounds in .*io_uring/rsrc\.c"),
)


def messages(records: str) -> list[str]:
    """Texts of /dev/kmsg records, continuation lines and key-value lines left out."""
    out = []
    for line in records.splitlines():
        if line.startswith(" "):
            continue
        head, sep, text = line.partition(";")
        out.append(text if sep and "," in head else line)
    return out


def bad_lines(records: str, version: tuple[int, ...], allow: list[str] | None = None) -> list[str]:
    """The messages that make a run fail, in order."""
    known = [r for v, r in NOISE if version[:len(v)] == v] + list(allow or [])
    return [text for text in messages(records)
            if BAD.search(text) and not any(re.search(k, text) for k in known)]
