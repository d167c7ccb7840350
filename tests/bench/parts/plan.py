# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured: contenders (a kind of disk with settings), cells, queues, disks."""

from dataclasses import dataclass
from pathlib import Path

# A cell is [s](rd|wr)SIZE-qDEPTH: read or write, s for sequential.
ISSUE_CELLS = ["rd4k-q1", "rd4k-q32", "rd4k-q128", "wr4k-q1", "wr4k-q32",
               "srd256k-q8", "swr256k-q8", "srd1m-q4"]
ALL_CELLS = ["rd4k-q1", "rd4k-q32", "rd4k-q128", "wr4k-q1", "wr4k-q32", "wr4k-q128",
             "srd4k-q8", "srd16k-q8", "srd64k-q8", "srd256k-q8", "srd1m-q8", "srd1m-q4",
             "swr4k-q8", "swr16k-q8", "swr64k-q8", "swr256k-q8", "swr1m-q8", "swr1m-q4"]
NULL_CELLS = ["rd4k-q1", "rd4k-q32", "rd4k-q128", "wr4k-q32", "srd256k-q8"]
SPREAD_CELLS = ["rd4k-q32"]  # with several queues or disks

MODES = ["driver", "get-data", "user", "zero", "zero-auto"]
BATCH_MODES = ["driver", "zero-auto"]  # those that it goes with
BASE = {"loop": "loop", "null": "null_blk"}  # of a group of contenders


@dataclass(frozen=True)
class Contender:
    """A kind of disk with settings; `group` says whom it is compared with."""

    name: str
    kind: str
    settings: str = "-"

    @property
    def group(self) -> str:
        return "null" if "null" in self.kind else "loop"

    @property
    def ours(self) -> bool:
        return self.kind.startswith("ublkd-")

    @property
    def peer(self) -> bool:
        return self.kind.startswith(("kublk-", "ublksrv-"))


@dataclass(frozen=True)
class Line:
    """One disk set-up with its cells: a line of the guest's plan."""

    contender: Contender
    queues: int
    count: int
    cells: tuple[str, ...]

    def text(self) -> str:
        c = self.contender
        return (f"{c.name} {c.kind} {self.queues} {self.count} {c.settings} "
                f"{','.join(self.cells)}")


KERNEL_OWN = [Contender("null_blk", "null_blk"), Contender("file", "file"),
              Contender("loop", "loop")]
AUTO = [Contender("ublkd-null", "ublkd-null"), Contender("ublkd-loop", "ublkd-loop")]


def by_hand(kind: str = "ublkd-loop") -> list[Contender]:
    """Every transfer mode asked for by name, without and with batch."""
    out = []
    for mode in MODES:
        for batch in ("no", "yes") if mode in BATCH_MODES else ("no",):
            suffix = "+batch" if batch == "yes" else ""
            out.append(Contender(f"{kind}:{mode}{suffix}", kind, f"Copy={mode},Batch={batch}"))
    return out


def null_by_hand() -> list[Contender]:
    return [Contender("ublkd-null:none", "ublkd-null", "Copy=none,Batch=no"),
            Contender("ublkd-null:driver", "ublkd-null", "Copy=driver,Batch=no"),
            Contender("ublkd-null:none+batch", "ublkd-null", "Copy=none,Batch=yes")]


# Options of the peers' `add`, best ones last; the first is their default.
KUBLK = {"copy": "-", "zc": "-z", "azc": "--auto_zc", "batch": "--batch",
         "batch+azc": "--batch,--auto_zc"}
UBLKSRV = {"copy": "-", "zc": "-z", "batch": "-b", "batch+zc": "-b,-z"}


def peers(directory: Path | None, everything: bool) -> list[Contender]:
    """Contenders whose programs are in a directory: kublk; ublk with ublk.null and ublk.loop."""
    if not directory:
        return []
    out = []
    if (directory / "kublk").exists():
        for target in ("null", "loop"):
            names = KUBLK if everything else (["copy"] if target == "null" else
                                              ["azc", "batch+azc"])
            out += [Contender(f"kublk-{target}:{n}", f"kublk-{target}", KUBLK[n]) for n in names]
    for target in ("null", "loop"):
        if (directory / "ublk").exists() and (directory / f"ublk.{target}").exists():
            names = UBLKSRV if everything else (["copy"] if target == "null" else
                                                ["zc", "batch+zc"])
            out += [Contender(f"ublksrv-{target}:{n}", f"ublksrv-{target}", UBLKSRV[n])
                    for n in names]
    return out


def lines(contenders: list[Contender], cells: list[str] | None, everything: bool) -> list[Line]:
    """The plan of the boot with one CPU: all cells of each, then eight disks at once."""
    out = []
    for c in contenders:
        mine = cells or (NULL_CELLS if c.group == "null" else
                         ALL_CELLS if everything else ISSUE_CELLS)
        out.append(Line(c, 1, 1, tuple(mine)))
    if everything:
        out += [Line(c, 1, 8, tuple(SPREAD_CELLS)) for c in contenders]
    return out


def queue_lines(contenders: list[Contender]) -> list[Line]:
    """The plan of the boot with four CPUs. A file and the kernel's loop have no queues to set."""
    return [Line(c, n, 1, tuple(SPREAD_CELLS)) for c in contenders for n in (1, 2, 4)]
