# SPDX-License-Identifier: GPL-2.0-or-later
"""The `guest` command line."""

import argparse
import fnmatch
import os
import signal
import sys
import tempfile
from pathlib import Path

from . import cache, cases, icount, kernel, rootfs, run
from .agent import OUT
from .cache import BedError, Skip
from .machine import Machine

EXPIRING = ["kernels/*", "root/*", "root-tree/*", "snapshots/*/*", "installs/*/*"]
EXPIRE_DAYS = 14


def _write_through(kind: int, data: bytes) -> None:
    stream = sys.stdout if kind == OUT else sys.stderr
    stream.buffer.write(data)
    stream.buffer.flush()


def _environment(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise BedError(f"--env {pair}: expected NAME=VALUE")
    return dict(p.split("=", 1) for p in pairs)


def _data_paths(given: list[str]) -> list[str]:
    for name in given:
        if name not in ("all", "others", cases.AUTO):
            try:
                cases.data_paths(name)
            except ValueError as e:
                raise BedError(f"--path {name}: {e}") from e
    return given or [cases.AUTO]


def _flat(lists: list[list[str]]) -> list[str]:
    return [x for one in lists for x in one]


def _directory(option: str, path: str | None) -> Path | None:
    if path is None:
        return None
    if not os.path.isdir(path):
        raise BedError(f"{option} {path}: not a directory")
    return Path(path).resolve()


def cmd_run(a) -> int:
    argv = a.command[1:] if a.command[:1] == ["--"] else a.command
    if not argv:
        raise BedError("run: no command given")
    if len(argv) == 1 and any(c in argv[0] for c in " \t\n;|&<>$"):
        argv = ["sh", "-c", argv[0]]
    machine = Machine(a.kernel, a.mem, a.cpus)
    out = run.run(machine, argv, _write_through, share=_directory("--share", a.share),
                  tree=_directory("--install", a.install), timeout_s=a.timeout,
                  env=_environment(a.env), allow=a.dmesg_allow)
    for line in out.notes:
        cache.say(line)
    return out.status


def cmd_cases(a) -> int:
    found = cases.collect(a.paths)
    if a.filter:
        found = [c for c in found if fnmatch.fnmatch(c.name, a.filter) or a.filter in c.name]
    if not found:
        raise BedError("cases: none found")
    runner = cases.Runner(a.kernel, tree=_directory("--install", a.install),
                          timeout_s=a.timeout, memory_mb=a.mem, cpus=a.cpus,
                          env=_environment(a.env), paths=_data_paths(a.path))
    return runner.run(found, a.jobs)


def cmd_prepare(a) -> int:
    status = 0
    cache.expire(EXPIRING, EXPIRE_DAYS)
    rootfs.get()
    for series in a.series:
        try:
            kernel.get(series, refresh=True)
            Machine(series, a.mem, a.cpus).base()
        except Skip as e:
            cache.say(str(e))
            status = 77
    return status


def cmd_icount(a) -> int:
    if not os.path.isfile(a.script):
        raise BedError(f"--script {a.script}: no such file")
    k = kernel.get(a.kernel)
    with tempfile.TemporaryDirectory(prefix="ublkd-icount-") as tmp:
        initrd = Path(tmp) / "initrd"
        icount.build_initrd(k, initrd, Path(a.script), programs=_flat(a.bin),
                            guest_programs=_flat(a.guest_bin), files=_flat(a.file),
                            wanted=_flat(a.module))
        status, text = icount.run(k, initrd, a.mem, a.timeout, a.cpus)
    sys.stdout.write(text)
    return status


def cmd_fetch_kernel(a) -> int:
    print(kernel.get(a.series, refresh=True).directory)
    return 0


def cmd_mkroot(_a) -> int:
    print(rootfs.get())
    return 0


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="guest", description="throw-away QEMU guests for the tests")
    sub = p.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def command(name, function, help_text):
        s = sub.add_parser(name, help=help_text, description=help_text)
        s.set_defaults(function=function)
        return s

    def machine_options(s):
        s.add_argument("--mem", type=int, default=1024, metavar="MB", help="memory (1024)")
        s.add_argument("--cpus", type=int, metavar="N", help="virtual CPUs (at most 2)")

    s = command("run", cmd_run, "run one command in a fresh guest, exit with its status")
    s.add_argument("--kernel", required=True, metavar="SERIES", help="e.g. 7.2, or newest")
    s.add_argument("--share", metavar="DIR", help="mounted read-write at /share")
    s.add_argument("--install", metavar="TREE", help="unpacked over the guest's root first")
    s.add_argument("--timeout", type=float, default=120, metavar="S", help="seconds (120)")
    s.add_argument("--env", action="append", default=[], metavar="K=V")
    s.add_argument("--dmesg-allow", action="append", default=[], metavar="REGEX")
    machine_options(s)
    s.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND...")

    s = command("cases", cmd_cases, "run case scripts, each in a fresh guest")
    s.add_argument("--kernel", required=True, metavar="SERIES")
    s.add_argument("--install", metavar="TREE")
    s.add_argument("--jobs", type=int, default=1, metavar="N", help="guests at a time (1)")
    s.add_argument("--filter", metavar="PATTERN", help="only cases whose name has or matches it")
    s.add_argument("--path", action="append", default=[], metavar="P",
                   help="cases in this data path; 'auto' (auto): as ublkd chooses; 'all': in "
                        "each; 'others': in each but what auto is; may be repeated")
    s.add_argument("--timeout", type=float, default=120, metavar="S", help="per case (120)")
    s.add_argument("--env", action="append", default=[], metavar="K=V")
    machine_options(s)
    s.add_argument("paths", nargs="+", metavar="DIR_OR_FILE")

    s = command("prepare", cmd_prepare, "build kernels, root file system and snapshots")
    s.add_argument("series", nargs="+", metavar="SERIES")
    machine_options(s)

    s = command("icount", cmd_icount, "run a script in the closed, bit-exact guest")
    s.add_argument("--kernel", required=True, metavar="SERIES")
    s.add_argument("--script", required=True, metavar="FILE", help="run by busybox sh")
    for option, meta, text in (
            ("--bin", "PATH", "host programs, put in with their libraries"),
            ("--guest-bin", "PATH", "the same, from the guest's root file system (e.g. fio)"),
            ("--file", "SRC:DST", "further files"), ("--module", "NAME", "kernel modules")):
        s.add_argument(option, action="append", nargs="+", default=[], metavar=meta, help=text)
    s.add_argument("--mem", type=int, default=1024, metavar="MB")
    s.add_argument("--cpus", type=int, default=1, metavar="N", help="they take turns (1)")
    s.add_argument("--timeout", type=float, default=600, metavar="S")

    s = command("fetch-kernel", cmd_fetch_kernel, "fetch a kernel, print its directory")
    s.add_argument("series", metavar="SERIES")

    command("mkroot", cmd_mkroot, "build the root file system, print its directory")
    return p


def main(argv: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    a = _parser().parse_args(argv)
    try:
        return a.function(a)
    except Skip as e:
        cache.say(str(e))
        return 77
    except BedError as e:
        cache.say(f"error: {e}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
