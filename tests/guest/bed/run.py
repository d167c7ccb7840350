# SPDX-License-Identifier: GPL-2.0-or-later
"""One command in one fresh guest, and what came of it."""

import os
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from . import dmesg
from .agent import TIMED_OUT, GuestGone, GuestSilent
from .machine import Machine

RC_DMESG = 99
RC_TIMEOUT = 124
RC_GONE = 125


@dataclass
class Outcome:
    """Result of a run. `notes` are lines for the user: kernel messages, the console's end."""

    status: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


def _blocked_tasks(agent) -> list[str]:
    """After a time-out: where the tasks in uninterruptible sleep hang."""
    try:
        agent.sysrq("w")
        return [f"sysrq-w: {line}" for line in dmesg.messages(agent.dmesg())]
    except (GuestGone, GuestSilent, OSError):
        return []


def run(machine: Machine, argv: list[str], output, *, share: Path | None = None,
        tree: Path | None = None, timeout_s: float = 120, env: dict[str, str] | None = None,
        allow: list[str] | None = None) -> Outcome:
    """Run a command; output(kind, bytes) is called with its output as it comes.

    The time-out is multiplied by UBLKD_TEST_SLOW, for hosts that are slow or busy.
    """
    timeout_s *= float(os.environ.get("UBLKD_TEST_SLOW", "1"))
    variables = {"KERNEL_SERIES": machine.kernel.series,
                 "KERNEL_RELEASE": machine.kernel.release, **(env or {})}
    full = ["env", *(f"{k}={v}" for k, v in variables.items()), *argv]
    out = Outcome()
    own_share = nullcontext(share) if share else tempfile.TemporaryDirectory(prefix="ublkd-share-")
    with own_share as where, machine.guest(Path(where).resolve(), tree) as guest:
        begin = time.monotonic()
        try:
            status = guest.agent.run(full, timeout_s, output)
            if status == TIMED_OUT:
                out.status = RC_TIMEOUT
            else:
                out.status = status if status < 256 else 128 + status - 256
            out.seconds = time.monotonic() - begin
            bad = dmesg.bad_lines(guest.agent.dmesg(), machine.kernel.version, allow)
            out.notes += [f"kernel message: {line}" for line in bad]
            if out.status == RC_TIMEOUT:
                out.notes.append(f"time-out after {timeout_s:g} s")
                out.notes += _blocked_tasks(guest.agent)
            elif bad and out.status in (0, 77):
                out.status = RC_DMESG
        except GuestSilent:
            out.status = RC_TIMEOUT
            out.seconds = time.monotonic() - begin
            out.notes.append("the guest does not answer any more")
            out.notes += [f"console: {line}" for line in guest.console_tail()]
        except GuestGone:
            out.status = RC_GONE
            out.seconds = time.monotonic() - begin
            guest.wait(5)
            out.notes.append("the guest has ended (panic, power-off, or QEMU died)")
            out.notes += [f"qemu: {line}" for line in guest.log().splitlines()]
            out.notes += [f"console: {line}" for line in guest.console_tail()]
    return out
