#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Take or free slots of the registered buffers of another thread's ring.

slots.py take|free TID FIRST COUNT

A ring with one issuer takes registrations from that thread only, so the thread is stopped and made
to do the system call itself. It must be idle, in io_uring_enter().
"""

import ctypes
import os
import signal
import struct
import sys

PTRACE_PEEK, PTRACE_POKE, PTRACE_STEP, PTRACE_GETREGS, PTRACE_SETREGS = 1, 4, 9, 12, 13
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
SYS_IO_URING_REGISTER, REGISTER_BUFFERS_UPDATE = 427, 16
EEXIST = 17  # the ring is another thread's
REGS = [*"r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
        "fs_base gs_base ds es fs gs".split()]

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, tid, addr, data):
    ctypes.set_errno(0)
    r = libc.ptrace(request, tid, addr, data)
    if ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace {request}: {os.strerror(ctypes.get_errno())}")
    return r


def get_regs(tid):
    buf = (ctypes.c_ulonglong * len(REGS))()
    ptrace(PTRACE_GETREGS, tid, None, ctypes.addressof(buf))
    return dict(zip(REGS, buf))


def set_regs(tid, regs):
    buf = (ctypes.c_ulonglong * len(REGS))(*(regs[r] for r in REGS))
    ptrace(PTRACE_SETREGS, tid, None, ctypes.addressof(buf))


def poke(tid, addr, data):
    for i in range(0, len(data), 8):
        ptrace(PTRACE_POKE, tid, addr + i, struct.unpack_from("<q", data, i)[0])


def system_call(tid, regs, number, *args):
    """The thread stands behind the `syscall` that was interrupted: it does it once more."""
    now = dict(regs, rax=number, orig_rax=2**64 - 1, rip=regs["rip"] - 2)
    now.update(zip(("rdi", "rsi", "rdx", "r10"), args))
    set_regs(tid, now)
    ptrace(PTRACE_STEP, tid, None, None)
    _, status = os.waitpid(tid, 0x40000000)  # __WALL
    assert os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP, hex(status)
    r = get_regs(tid)["rax"]
    return r - 2**64 if r >= 2**63 else r


def main(what, tid, first, count):
    fds = f"/proc/{tid}/fd"
    rings = [int(fd) for fd in os.listdir(fds)
             if os.readlink(f"{fds}/{fd}") == "anon_inode:[io_uring]"]
    ptrace(PTRACE_ATTACH, tid, None, None)
    os.waitpid(tid, 0x40000000)
    regs = get_regs(tid)
    try:
        assert ptrace(PTRACE_PEEK, tid, regs["rip"] - 2, None) & 0xffff == 0x050f, "not in a system call"
        memory = (regs["rsp"] - 8192) & ~4095
        taken = (memory, 4096) if what == "take" else (0, 0)
        poke(tid, memory, struct.pack("<IIQQII", first, 0, memory + 64, 0, count, 0) + bytes(32)
             + struct.pack("<QQ", *taken) * count)
        for ring in rings:
            r = system_call(tid, regs, SYS_IO_URING_REGISTER, ring, REGISTER_BUFFERS_UPDATE,
                            memory, 32)
            if r != -EEXIST:
                break
    finally:
        set_regs(tid, regs)
        ptrace(PTRACE_DETACH, tid, None, None)
    print(f"{what} slots {first} to {first + count - 1} of ring {ring}: {r}")
    return 0 if r == count else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
