# SPDX-License-Identifier: GPL-2.0-or-later
"""Every instruction that the closed guest executes, from a mark in its output on.

QEMU is told by its monitor to translate single instructions and to log each execution; the log goes
into a pipe and is counted on the way, nothing is stored. The guest's clock counts instructions, so
it does not notice. Instructions belong to whoever's user code ran last before or next after the
switch of tasks: a stretch between two switches without any user code counts as "other".
"""

import fcntl
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from bed import icount, kernel as kernels

from .closed import MEMORY_MB, BenchError

EXECUTED = re.compile(rb"\[[0-9a-f]+/([0-9a-f]{16})/")
F_SETPIPE_SZ = 1031
PIPE_BYTES = 1 << 20
KERNEL_HALF = b"ffff"


class TracedGuest:
    """A closed guest with a monitor and a pipe for the trace; a context manager."""

    def __init__(self, kernel: kernels.Kernel, initrd: Path):
        self._directory = tempfile.TemporaryDirectory(prefix="ublkd-trace-")
        work = Path(self._directory.name)
        self._console = work / "console"
        os.mkfifo(work / "trace")
        self.trace = os.open(work / "trace", os.O_RDWR | os.O_CLOEXEC)
        fcntl.fcntl(self.trace, F_SETPIPE_SZ, PIPE_BYTES)
        ours, theirs = socket.socketpair()
        argv = [*icount.command(kernel, initrd, MEMORY_MB, self._console),
                "-chardev", f"socket,id=qmp,fd={theirs.fileno()}",
                "-mon", "chardev=qmp,mode=control", "-D", str(work / "trace")]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                         pass_fds=(theirs.fileno(),))
        theirs.close()
        self._monitor = ours.makefile("rw", encoding="utf-8")
        ours.close()
        self._monitor.readline()
        self._execute("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._monitor.close()
        os.close(self.trace)
        self._directory.cleanup()

    def _execute(self, name: str, **arguments):
        self._monitor.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self._monitor.flush()
        for line in self._monitor:
            reply = json.loads(line)
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise BenchError(f"QEMU: {name}: {reply['error']['desc']}")
        raise BenchError("QEMU ended")

    def _text(self) -> str:
        data = self._console.read_bytes() if self._console.exists() else b""
        return data.decode(errors="replace").replace("\r", "")

    def wait_for(self, mark: str, timeout_s: float) -> str:
        """The console up to a line."""
        deadline = time.monotonic() + timeout_s
        while True:
            text = self._text()
            begin, found, _ = text.partition(f"\n{mark}\n")
            if found:
                return begin
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise BenchError("\n".join(text.splitlines()[-20:])
                                 + f"\nthe guest did not get as far as {mark}")
            time.sleep(0.1)

    def start(self) -> None:
        for line in ("singlestep on", "log exec,nochain"):
            answer = self._execute("human-monitor-command", **{"command-line": line})
            if answer:
                raise BenchError(f"QEMU: {line}: {answer.strip()}")


class Stretches:
    """Adds up executed addresses by whose they are, a stretch between two switches at a time."""

    def __init__(self, switch: int, owner_of):
        self.counts = {"fio": Counter(), "server": Counter(), "other": Counter()}
        self.total = 0
        self._switch = b"%016x" % switch
        self._owner_of = owner_of
        self._owners: dict[bytes, str | None] = {}
        self._now = Counter()
        self._begun = False

    def _owner(self, address: bytes) -> str | None:
        if address not in self._owners:
            user = not address.startswith(KERNEL_HALF)
            self._owners[address] = self._owner_of(int(address, 16)) if user else None
        return self._owners[address]

    def _end_stretch(self) -> None:
        if self._begun:  # the first one was under way
            who = next((o for o in map(self._owner, self._now) if o), "other")
            self.counts[who].update(self._now)
            self.total += sum(self._now.values())
        self._begun = True
        self._now = Counter()

    def add(self, addresses: list[bytes]) -> None:
        begin = 0
        try:
            while True:
                end = addresses.index(self._switch, begin)
                self._now.update(addresses[begin:end])
                self._end_stretch()
                self._now[self._switch] += 1
                begin = end + 1
        except ValueError:
            self._now.update(addresses[begin:])


def count(guest: TracedGuest, stretches: Stretches, wanted: int) -> None:
    """Read the trace until so many instructions have been seen, and two stretches at least."""
    rest = b""
    guest.start()
    while stretches.total < wanted:
        data = os.read(guest.trace, PIPE_BYTES)
        data, newline, rest = (rest + data).rpartition(b"\n")
        stretches.add(EXECUTED.findall(data + newline))
