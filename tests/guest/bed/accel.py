# SPDX-License-Identifier: GPL-2.0-or-later
"""Which accelerator works here: KVM if a stock kernel boots under it in time, else TCG.

That /dev/kvm exists proves nothing, so a kernel is booted once per boot of the host.
"""

import os
import subprocess
import tempfile
from pathlib import Path

from . import cache, cpio, qemu
from .cache import BedError
from .kernel import BUSYBOX, Kernel

PROBE_S = 10
MARK = "bed-accel-probe-ok"
INIT = f"#!/bin/sh\n/bin/true && echo {MARK}\npoweroff -f\n"


def _boots(kernel: Kernel, accel: str) -> bool:
    archive = cpio.Archive()
    archive.busybox(BUSYBOX, ["sh", "true", "echo", "poweroff"])
    archive.data("init", INIT.encode(), 0o755)
    with tempfile.TemporaryDirectory(prefix="ublkd-probe-") as tmp:
        initrd = Path(tmp) / "initrd"
        archive.write(initrd)
        argv = ["setpriv", "--pdeathsig", "KILL", qemu.BINARY, "-nodefaults", "-no-user-config",
                "-display", "none", "-no-reboot", "-M", "pc,graphics=off", "-accel", accel,
                "-cpu", "host", "-m", "256", "-serial", "stdio", "-kernel", str(kernel.vmlinux),
                "-initrd", str(initrd), "-append", "console=ttyS0 panic=-1 quiet"]
        with open(Path(tmp) / "out", "w+b") as out:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=subprocess.DEVNULL, start_new_session=True)
            try:
                process.wait(PROBE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    cache.say("the KVM probe does not even die; left behind")
            out.seek(0)
            return MARK.encode() in out.read()


def choose(kernel: Kernel) -> str:
    """Return "kvm" or "tcg"; UBLKD_TEST_ACCEL decides if it is set."""
    forced = os.environ.get("UBLKD_TEST_ACCEL")
    if forced:
        if forced not in ("kvm", "tcg"):
            raise BedError(f"UBLKD_TEST_ACCEL is '{forced}', expected kvm or tcg")
        return forced
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    note = cache.root() / "accel" / boot
    with cache.lock("accel"):
        if not note.exists():
            note.parent.mkdir(exist_ok=True)
            with cache.step(f"probing KVM (at most {PROBE_S} s, once per boot of this host)"):
                result = "kvm" if _boots(kernel, "kvm") else "tcg"
            for old in note.parent.iterdir():
                old.unlink()
            note.write_text(result)
            cache.say(f"accelerator: {result}")
        return note.read_text()
