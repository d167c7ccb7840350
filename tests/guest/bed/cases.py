# SPDX-License-Identifier: GPL-2.0-or-later
"""Test cases: executable scripts, each run in a freshly restored guest of its own.

A case may say in its leading comments:
    # timeout: 120           seconds, instead of --timeout
    # kernels: >=6.18        or a list such as "6.12 7.2"; on other kernels it is not counted
    # mem: 512               guest memory in MB
    # install: no            without the --install tree
    # paths: all             data paths it is run in as well: all, null (all, and those of the null
                             target), or names such as "user zero"
    # asked: yes             only when it is named on the command line
    # programs: inc/x.c      C files of its directory that it needs compiled, as /share/cases/inc/x
    # after: inc/y           a program of its directory that goes on on the host when it has passed,
                             in what was /share/out; its output and status count as the case's
    # dmesg-allow: REGEX     kernel messages this case provokes on purpose; may be repeated
In a data path it gets UBLKD_PATH, with which cases/lib.sh sets the defaults of ublkd.conf.
Exit status 0 is a pass, 77 a skip with the last line of output as the reason.
"""

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import cache, run
from .cache import BedError
from .machine import Machine
from .qemu import Qemu
from .rootfs import run_logged

RC_SKIP = 77
RESULTS_KEPT = 5
HEADER = re.compile(r"#\s*(timeout|kernels|mem|install|paths|asked|programs|after|dmesg-allow):"
                    r"\s*(.*\S)\s*$")
# Data paths, and the first kernel with each.
PATHS = {
    "driver": (6, 0), "get-data": (6, 0), "user": (6, 5), "zero": (6, 15), "zero-auto": (6, 16),
    "driver+batch": (7, 0), "zero-auto+batch": (7, 0),
}
NULL_PATHS = {"none": (6, 5), "none+batch": (7, 0)}
PATH_SETS = {"all": [*PATHS], "null": [*PATHS, *NULL_PATHS]}
AUTO = "auto"  # ublkd chooses: the case as it is
# What it chooses for a loop device from which kernel on; cases/data-path.sh makes sure of it.
CHOSEN = {(6, 0): "driver", (6, 16): "zero-auto", (7, 1): "zero-auto+batch"}
OPERATORS = {
    ">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b, "<": lambda a, b: a < b, "": lambda a, b: a[:len(b)] == b,
}


@dataclass
class Case:
    """One script and what its header says."""

    path: Path
    name: str
    timeout_s: float | None = None
    kernels: str = ""
    memory_mb: int | None = None
    install: bool = True
    paths: list[str] = field(default_factory=list)
    asked: bool = False
    programs: list[str] = field(default_factory=list)
    after: str = ""
    data_path: str = AUTO
    allow: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Its name for people."""
        return self.name if self.data_path == AUTO else f"{self.name} [{self.data_path}]"

    @property
    def file_name(self) -> str:
        """Its name for files."""
        return self.name if self.data_path == AUTO else f"{self.name}.{self.data_path}"

    def in_paths(self, asked: list[str], version: tuple[int, ...]) -> list["Case"]:
        """The case in each data path that is asked for, that it is for and that the kernel has.

        'all' are all of them; 'others' leaves out the one that the case has in 'auto' anyway.
        """
        have = [p for p in self.paths if version[:2] >= (PATHS | NULL_PATHS)[p]]
        chosen = [p for v, p in CHOSEN.items() if version[:2] >= v][-1]
        if "all" in asked or "others" in asked:
            asked = [p for p in asked if p == AUTO] + \
                [p for p in have if p != chosen or "all" in asked]
        return [replace(self, data_path=p) for p in asked if p == AUTO or p in have]

    def wants(self, version: tuple[int, ...]) -> bool:
        """Whether the case is for a kernel: all `>=`-like words hold, or one plain one does."""
        bounds, plain = [], []
        for word in self.kernels.split():
            m = re.fullmatch(r"(>=|<=|>|<|)(\d+(?:\.\d+)*)", word)
            if not m:
                raise BedError(f"{self.path}: '# kernels: {self.kernels}': '{word}' not understood")
            number = tuple(int(n) for n in m[2].split("."))
            holds = OPERATORS[m[1]](version[:len(number)], number)
            (bounds if m[1] else plain).append(holds)
        return all(bounds) and (not plain or any(plain))


@dataclass
class Result:
    """PASS, FAIL or SKIP of one case."""

    case: Case
    verdict: str
    seconds: float
    output: str
    reason: str = ""


def data_paths(words: str) -> list[str]:
    """Names of data paths out of names and sets of them."""
    out: list[str] = []
    for word in words.split():
        if word not in PATH_SETS and word not in PATHS | NULL_PATHS:
            raise ValueError(f"there is no data path '{word}': "
                             f"{' '.join((*PATH_SETS, *PATHS, *NULL_PATHS))}")
        out += [p for p in PATH_SETS.get(word, [word]) if p not in out]
    return out


def read_case(path: Path) -> Case:
    """A case with its header parsed; the header ends at the first line that is not a comment."""
    case = Case(path, path.stem)
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                break
            m = HEADER.match(line)
            if not m:
                continue
            key, value = m[1], m[2]
            try:
                if key == "timeout":
                    case.timeout_s = float(value)
                elif key == "kernels":
                    case.kernels = value
                elif key == "mem":
                    case.memory_mb = int(value)
                elif key == "install":
                    case.install = value not in ("no", "false", "0")
                elif key == "asked":
                    case.asked = value == "yes"
                elif key == "programs":
                    case.programs = value.split()
                elif key == "after":
                    case.after = value
                elif key == "paths":
                    case.paths = data_paths(value)
                else:
                    re.compile(value)
                    case.allow.append(value)
            except (ValueError, re.error) as e:
                raise BedError(f"{path}: '{line.strip()}': {e}") from e
    return case


def collect(paths: list[str]) -> list[Case]:
    """Cases of directories (executable *.sh, by name) and of single files."""
    out = []
    for given in paths:
        path = Path(given).resolve()
        if path.is_dir():
            found = [read_case(p) for p in sorted(path.glob("*.sh")) if os.access(p, os.X_OK)]
            out += [c for c in found if not c.asked]
        elif os.access(path, os.X_OK):
            out.append(read_case(path))
        else:
            raise BedError(f"{given}: no such directory or executable case")
    return out


class Runner:
    """Runs cases with up to `jobs` guests at a time and prints one line for each."""

    def __init__(self, series: str, *, tree: Path | None, timeout_s: float, memory_mb: int,
                 cpus: int | None, env: dict[str, str], paths: list[str]):
        self.series = series
        self.tree = tree
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb
        self.cpus = cpus
        self.env = env
        self.paths = paths
        self._machines: dict[int, Machine] = {}
        self._lock = threading.Lock()
        self.machine = self._machine(memory_mb)
        self.logs = self._results_directory()

    def _machine(self, memory_mb: int) -> Machine:
        if memory_mb not in self._machines:
            self._machines[memory_mb] = Machine(self.series, memory_mb, self.cpus)
        return self._machines[memory_mb]

    def _results_directory(self) -> Path:
        top = cache.root() / "results"
        top.mkdir(exist_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        path = Path(tempfile.mkdtemp(prefix=f"{stamp}-{self.series}-", dir=top))
        cache.keep_newest(top, RESULTS_KEPT, spare=path)
        return path

    def _prepare(self, cases: list[Case]) -> None:
        """Make all snapshots first, so that no case's time holds one."""
        for case in cases:
            machine = self._machine(case.memory_mb or self.memory_mb)
            if self.tree and case.install:
                machine.installed(self.tree)
            else:
                machine.base()

    def _share(self, case: Case, share: Path) -> None:
        """The whole directory of the case becomes /share/cases; /share/out is for results."""
        shutil.copytree(case.path.parent, share / "cases", symlinks=True)
        for name in case.programs:
            source = share / "cases" / name
            run_logged(["gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-static", "-o",
                        source.with_suffix(""), source], share / "compile.log")
        (share / "out").mkdir()

    def _after(self, case: Case, share: Path, timeout_s: float, output: bytearray) -> int:
        """The part of a case that is for the host; its exit status."""
        timeout_s *= float(os.environ.get("UBLKD_TEST_SLOW", "1"))
        # timeout(1) ends what the program has started, too.
        done = subprocess.run(["timeout", "-k", "5", str(timeout_s), share / "cases" / case.after],
                              cwd=share / "out", check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output.extend(done.stdout)
        if done.returncode == run.RC_TIMEOUT:
            output.extend(f"time-out after {timeout_s:g} s on the host\n".encode())
        return done.returncode

    def _keep(self, case: Case, out: Path) -> None:
        """What a case has left in /share/out is kept beside its log."""
        if any(out.iterdir()):
            self.logs.mkdir(exist_ok=True)
            shutil.copytree(out, self.logs / f"{case.file_name}.out", symlinks=True)

    def _one(self, case: Case) -> Result:
        output = bytearray()
        begin = time.monotonic()
        timeout_s = case.timeout_s or self.timeout_s
        env = self.env if case.data_path == AUTO else {**self.env, "UBLKD_PATH": case.data_path}
        try:
            with tempfile.TemporaryDirectory(prefix="ublkd-share-") as share:
                self._share(case, Path(share))
                out = run.run(
                    self._machine(case.memory_mb or self.memory_mb),
                    [f"/share/cases/{case.path.name}"], lambda kind, data: output.extend(data),
                    share=Path(share), tree=self.tree if case.install else None,
                    timeout_s=timeout_s, env=env, allow=case.allow)
                status, notes = out.status, out.notes
                if status == 0 and case.after:
                    status = self._after(case, Path(share), timeout_s, output)
                self._keep(case, Path(share) / "out")
        except (BedError, OSError) as e:
            status, notes = 1, [f"test bed: {e}"]
        text = output.decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit status {status}"
        if status not in (0, RC_SKIP) and notes:
            reason = next((n for n in notes if "Kernel panic" in n), notes[0])
        text += "".join(f"{note}\n" for note in notes)
        text += f"exit status {status}\n"
        verdict = {0: "PASS", RC_SKIP: "SKIP"}.get(status, "FAIL")
        return Result(case, verdict, time.monotonic() - begin, text, reason)

    def _report(self, result: Result) -> None:
        self.logs.mkdir(exist_ok=True)  # many later runs may have removed it
        log = self.logs / f"{result.case.file_name}.log"
        log.write_text(result.output, encoding="utf-8")
        tail = f"({result.seconds:.1f} s)" if result.verdict == "PASS" else result.reason
        sep = " " if result.verdict == "PASS" else ": "
        with self._lock:
            print(f"{result.verdict} {result.case.label}{sep}{tail}", flush=True)

    def run(self, cases: list[Case], jobs: int) -> int:
        """Run the cases; return 0 if none failed, else 1."""
        names = [c.name for c in cases]
        for case in cases:
            if names.count(case.name) > 1:
                raise BedError(f"two cases are called {case.name}")
        version = self.machine.kernel.version
        cases = [one for c in cases if c.wants(version) for one in c.in_paths(self.paths, version)]
        self._prepare(cases)

        def one(case: Case) -> Result:
            result = self._one(case)
            self._report(result)
            return result

        with ThreadPoolExecutor(jobs) as pool:
            try:
                results = list(pool.map(one, cases))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                Qemu.end_all()
                raise
        failed = [r for r in results if r.verdict == "FAIL"]
        for r in failed:
            print(f"\n--- {r.case.label} (log: {self.logs / (r.case.file_name + '.log')})")
            print("".join(f"    {line}\n" for line in r.output.splitlines()), end="")
        skipped = sum(r.verdict == "SKIP" for r in results)
        passed = len(results) - len(failed) - skipped
        if failed:
            print()
        print(f"{passed} passed, {len(failed)} failed, {skipped} skipped", flush=True)
        return 1 if failed else 0
