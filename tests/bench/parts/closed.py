# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the program, boots the closed guest with a plan, and reads what it printed."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bed import cache, icount, kernel as kernels

from . import HERE, SOURCE
from .plan import Line

MODULES = ["ublk_drv", "null_blk", "loop", "brd", "ext4"]
PROGRAMS = ["/usr/bin/fio", "/sbin/mke2fs", "/usr/sbin/losetup"]
MEMORY_MB = 1536


class BenchError(Exception):
    """Could not be measured; the text says why."""


@dataclass(frozen=True)
class Key:
    """Where a figure belongs."""

    name: str
    queues: int
    count: int
    cell: str


@dataclass(frozen=True)
class Cost:
    """Guest instructions per request: of the whole guest, of the server; switches to the server."""

    whole: float
    server: float
    switches: float


@dataclass
class Result:
    """What one boot gave."""

    cpus: int = 1
    costs: dict[Key, Cost] = field(default_factory=dict)
    skips: list[str] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)  # contender to its data path
    memory: list[list[str]] = field(default_factory=list)  # NAME MOMENT RSS PSS ANONYMOUS
    text: str = ""


def guest_version(path: str) -> str:
    """What a program of the guest's root file system says to --version."""
    r = subprocess.run(["chroot", icount.guest_tree(), path, "--version"], capture_output=True,
                       text=True, check=False)
    return r.stdout.strip() or "unknown"


def build(directory: Path) -> Path:
    """A release build of the source tree; its log is shown only if it fails."""
    log = directory / "bench.log"
    directory.mkdir(parents=True, exist_ok=True)
    again = ["--reconfigure"] if (directory / "build.ninja").exists() else []
    commands = [["meson", "setup", *again, "--buildtype=release", "--prefix=/usr", directory,
                 SOURCE], ["ninja", "-C", directory, "src/ublkd"]]
    with open(log, "wb") as f:
        for argv in commands:
            if subprocess.run(argv, stdout=f, stderr=f, check=False).returncode != 0:
                raise BenchError(f"{log.read_text()}\nthe build failed")
    return directory / "src/ublkd"


def program_options(parser) -> None:
    """The options that all benches have."""
    parser.add_argument("--build", type=Path, metavar="DIR", default=SOURCE / "build-bench",
                        help="of the release build (build-bench)")
    parser.add_argument("--program", type=Path, metavar="UBLKD",
                        help="measure this one, build nothing")
    parser.add_argument("--kernel", default="7.2", metavar="SERIES")


def program(a) -> Path:
    if a.program and not a.program.is_file():
        raise BenchError(f"{a.program}: no such file")
    return (a.program or build(a.build)).resolve()


def make_initrd(kernel: kernels.Kernel, out: Path, ublkd: Path, conf: str, plan: str,
                peers: Path | None = None) -> None:
    """The closed guest's only file system."""
    with tempfile.TemporaryDirectory(prefix="ublkd-bench-") as tmp:
        (Path(tmp) / "conf").write_text(conf, encoding="ascii")
        (Path(tmp) / "plan").write_text(plan, encoding="ascii")
        binaries = sorted(p for p in peers.iterdir() if p.is_file()) if peers else []
        icount.build_initrd(
            kernel, out, HERE / "closed-guest.sh", programs=[str(ublkd), *map(str, binaries)],
            guest_programs=PROGRAMS, wanted=MODULES,
            files=[f"{tmp}/conf:/bench.conf", f"{tmp}/plan:/plan", f"{ublkd}:/usr/libexec/ublkd",
                   *(f"{p}:/peers/{p.name}" for p in binaries)])


def read(text: str, cpus: int = 1) -> Result:
    result = Result(cpus, text=text)
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        words = rest.split()
        if kind == "cell" and len(words) == 8:
            n, whole, server, switches = map(int, words[4:])
            key = Key(words[0], int(words[1]), int(words[2]), words[3])
            result.costs[key] = Cost(whole / n, server / n, switches / n)
        elif kind == "skip":
            result.skips.append(rest)
        elif kind == "memory":
            result.memory.append(words)
        elif kind == "path":
            result.paths[words[0]] = words[1]
        else:
            print(line, file=sys.stderr)
    return result


def boot(kernel: kernels.Kernel, ublkd: Path, plan: list[Line], *, scale: int, cpus: int = 1,
         peers: Path | None = None, burst: bool = False, timeout_s: float = 3600) -> Result:
    """One boot of the closed guest with a plan."""
    with tempfile.TemporaryDirectory(prefix="ublkd-bench-") as tmp:
        initrd = Path(tmp) / "initrd"
        make_initrd(kernel, initrd, ublkd, f"SCALE={scale} BURST={'yes' if burst else ''}\n",
                    "".join(line.text() + "\n" for line in plan), peers)
        status, text = icount.run(kernel, initrd, MEMORY_MB, timeout_s, cpus)
    if status != 0:
        raise BenchError(f"{text}\nthe guest ended with {status}")
    return read(text, cpus)


def main(function) -> int:
    """Run a bench's main; what can go wrong is a sentence, not a stack."""
    try:
        return function()
    except cache.Skip as e:
        print(e)
        return 77
    except (BenchError, cache.BedError) as e:
        print(f"{Path(sys.argv[0]).name}: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
