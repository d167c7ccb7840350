# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of agent.c: frames over a connected socket."""

import errno
import os
import socket
import struct
import time

HEADER = struct.Struct("<III")
RUN, RESUME, MOUNT, UMOUNT, DMESG, SYSRQ = range(1, 7)
HELLO, OUT, ERR, EXIT = range(64, 68)

TIMED_OUT = -1


class GuestGone(Exception):
    """The guest powered off, panicked, or QEMU died: the channel has ended."""


class GuestSilent(Exception):
    """The guest did not answer in time."""


class Agent:
    """Talks to one guest; not thread-safe."""

    def __init__(self, sock: socket.socket):
        self._sock = sock
        self._buffer = bytearray()
        self._job = int.from_bytes(os.urandom(3), "little")  # differs from the saved guest's

    def close(self) -> None:
        self._sock.close()

    def _frame(self, deadline: float | None):
        """The next frame as (job, type, payload)."""
        while True:
            if len(self._buffer) >= HEADER.size:
                length, job, kind = HEADER.unpack_from(self._buffer)
                end = HEADER.size + length
                if len(self._buffer) >= end:
                    payload = bytes(self._buffer[HEADER.size:end])
                    del self._buffer[:end]
                    return job, kind, payload
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise GuestSilent
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(1 << 18)
            except TimeoutError:
                raise GuestSilent from None
            except ConnectionError:
                raise GuestGone from None
            if not data:
                raise GuestGone
            self._buffer += data

    def wait_hello(self, timeout_s: float) -> None:
        """Wait until the agent of a booting guest has started."""
        deadline = time.monotonic() + timeout_s
        while self._frame(deadline)[1] != HELLO:
            pass

    def _call(self, kind: int, payload: bytes, timeout_s: float | None, output=None) -> int:
        self._job += 1
        job = self._job
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            self._sock.settimeout(30)
            self._sock.sendall(HEADER.pack(len(payload), job, kind) + payload)
        except TimeoutError:
            raise GuestSilent from None
        except OSError:
            raise GuestGone from None
        while True:
            got, kind, payload = self._frame(deadline)
            if got != job:
                continue
            if kind == EXIT:
                return struct.unpack("<i", payload)[0]
            if output:
                output(kind, payload)

    def run(self, argv: list[str], timeout_s: float | None, output) -> int:
        """Run a command; output(OUT or ERR, bytes) is called as it comes.

        Return 0..255, 256 + signal, or TIMED_OUT. The guest keeps the time-out; if it cannot even
        do that, GuestSilent is raised 15 s later.
        """
        millis = 0 if timeout_s is None else max(1, int(timeout_s * 1000))
        payload = struct.pack("<I", millis) + b"".join(os.fsencode(a) + b"\0" for a in argv)
        r = self._call(RUN, payload, None if timeout_s is None else timeout_s + 15, output)
        if r <= -1000:
            raise OSError(-r - 1000, f"guest cannot start {argv[0]}: {os.strerror(-r - 1000)}")
        return r

    def _builtin(self, kind: int, payload: bytes, what: str, output=None,
                 timeout_s: float = 30) -> None:
        r = self._call(kind, payload, timeout_s, output)
        if r < 0:
            raise OSError(-r - 1000, f"guest cannot {what}: {errno.errorcode.get(-r - 1000)}")

    def resume(self) -> None:
        """Give a restored guest the host's time and randomness of its own."""
        self._builtin(RESUME, struct.pack("<q", time.time_ns()) + os.urandom(64), "set its clock")

    def mount(self, tag: str, where: str) -> None:
        self._builtin(MOUNT, tag.encode() + b"\0" + where.encode() + b"\0", f"mount {where}")

    def umount(self, where: str) -> None:
        self._builtin(UMOUNT, where.encode() + b"\0", f"unmount {where}")

    def sysrq(self, letter: str) -> None:
        self._builtin(SYSRQ, letter.encode(), f"do sysrq {letter}")

    def dmesg(self) -> str:
        """Kernel messages since the last call, in /dev/kmsg's record format."""
        out = bytearray()
        self._builtin(DMESG, b"", "read its kernel messages",
                      lambda kind, data: out.extend(data))
        return out.decode(errors="replace")
