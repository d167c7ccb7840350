# SPDX-License-Identifier: GPL-2.0-or-later
"""Test cases: executable scripts, each run in a freshly restored guest of its own.

A case may say in its leading comments:
    # timeout: 120           seconds, instead of --timeout
    # kernels: >=6.18        or a list such as "6.12 7.2"; on other kernels it is not counted
    # mem: 512               guest memory in MB
    # install: no            without the --install tree
    # dmesg-allow: REGEX     kernel messages this case provokes on purpose; may be repeated
Exit status 0 is a pass, 77 a skip with the last line of output as the reason.
"""

import os
import re
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from . import cache, run
from .cache import BedError
from .machine import Machine
from .qemu import Qemu

RC_SKIP = 77
RESULTS_KEPT = 5
HEADER = re.compile(r"#\s*(timeout|kernels|mem|install|dmesg-allow):\s*(.*\S)\s*$")
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
    allow: list[str] = field(default_factory=list)

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
            found = [p for p in sorted(path.glob("*.sh")) if os.access(p, os.X_OK)]
        elif os.access(path, os.X_OK):
            found = [path]
        else:
            raise BedError(f"{given}: no such directory or executable case")
        out += [read_case(p) for p in found]
    return out


class Runner:
    """Runs cases with up to `jobs` guests at a time and prints one line for each."""

    def __init__(self, series: str, *, tree: Path | None, timeout_s: float, memory_mb: int,
                 cpus: int | None, env: dict[str, str]):
        self.series = series
        self.tree = tree
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb
        self.cpus = cpus
        self.env = env
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
        (share / "out").mkdir()

    def _keep(self, case: Case, out: Path) -> None:
        """What a case has left in /share/out is kept beside its log."""
        if any(out.iterdir()):
            shutil.copytree(out, self.logs / f"{case.name}.out", symlinks=True)

    def _one(self, case: Case) -> Result:
        output = bytearray()
        begin = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="ublkd-share-") as share:
                self._share(case, Path(share))
                out = run.run(
                    self._machine(case.memory_mb or self.memory_mb),
                    [f"/share/cases/{case.path.name}"], lambda kind, data: output.extend(data),
                    share=Path(share), tree=self.tree if case.install else None,
                    timeout_s=case.timeout_s or self.timeout_s, env=self.env, allow=case.allow)
                self._keep(case, Path(share) / "out")
            status, notes = out.status, out.notes
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
        log = self.logs / f"{result.case.name}.log"
        log.write_text(result.output, encoding="utf-8")
        tail = f"({result.seconds:.1f} s)" if result.verdict == "PASS" else result.reason
        sep = " " if result.verdict == "PASS" else ": "
        with self._lock:
            print(f"{result.verdict} {result.case.name}{sep}{tail}", flush=True)

    def run(self, cases: list[Case], jobs: int) -> int:
        """Run the cases; return 0 if none failed, else 1."""
        names = [c.name for c in cases]
        for case in cases:
            if names.count(case.name) > 1:
                raise BedError(f"two cases are called {case.name}")
        cases = [c for c in cases if c.wants(self.machine.kernel.version)]
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
            print(f"\n--- {r.case.name} (log: {self.logs / (r.case.name + '.log')})")
            print("".join(f"    {line}\n" for line in r.output.splitlines()), end="")
        skipped = sum(r.verdict == "SKIP" for r in results)
        passed = len(results) - len(failed) - skipped
        if failed:
            print()
        print(f"{passed} passed, {len(failed)} failed, {skipped} skipped", flush=True)
        return 1 if failed else 0
