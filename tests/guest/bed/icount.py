# SPDX-License-Identifier: GPL-2.0-or-later
"""The closed guest: one virtual nanosecond per instruction, and the same run every time.

An initramfs is all there is: no disk, no share, no agent, one CPU, a clock and a seed of its own.
What the guest measures is instructions, not time; a sleep costs nothing and time-outs fire early,
so this is for performance regressions only, never for functional tests.
"""

import os
import subprocess
import tempfile
from pathlib import Path

from . import cache, cpio, kernel as kernels, modules, qemu, rootfs
from .cache import BedError
from .rootfs import HERE

BEGIN, END = "@@bed-begin", "@@bed-end "


def libraries(binary: str, chroot: Path | None = None) -> list[str]:
    """Paths of the shared libraries and the loader of a program, as ldd tells."""
    argv = [*(["chroot", str(chroot)] if chroot else []), "ldd", binary]
    r = subprocess.run(argv, capture_output=True, text=True, check=False)
    if "not a dynamic executable" in r.stdout + r.stderr or "statically linked" in r.stdout:
        return []
    out = []
    for line in r.stdout.splitlines():
        if "not found" in line:
            raise BedError(f"{binary}: {line.strip()}")
        out += [word for word in line.split() if word.startswith("/")][-1:]
    if r.returncode != 0 or not out:
        raise BedError(f"ldd {binary}: {r.stderr.strip()}")
    return out


def guest_tree() -> Path:
    """The guest's root file system unpacked, to take programs from."""
    root = rootfs.get()

    def build(tmp: Path) -> None:
        rootfs.run_logged(["fsck.erofs", f"--extract={tmp / 'tree'}", root / "root.erofs"],
                          tmp / "build.log")

    return cache.used(cache.built(f"root-tree/{root.name}", build)) / "tree"


def _add_program(archive: cpio.Archive, path: str, tree: Path | None) -> None:
    """A program and its libraries, each at its own path; links on the way become files."""
    for name in [path, *libraries(path, tree)]:
        source = Path(f"{tree or ''}{name}")
        if tree:
            source = Path(subprocess.run(["chroot", str(tree), "readlink", "-f", name],
                                         capture_output=True, text=True, check=True)
                          .stdout.strip())
            source = Path(f"{tree}{source}")
        archive.file(name, source)


def build_initrd(kernel: kernels.Kernel, out: Path, script: Path, *, programs: list[str],
                 guest_programs: list[str], files: list[str], wanted: list[str]) -> None:
    archive = cpio.Archive()
    applets = subprocess.run([str(kernels.BUSYBOX), "--list"], capture_output=True, text=True,
                             check=True).stdout.split()
    archive.busybox(kernels.BUSYBOX, [a for a in applets if a != "busybox"])
    for path in guest_programs:
        _add_program(archive, path, guest_tree())
    for path in programs:
        _add_program(archive, os.path.abspath(path), None)
    for pair in files:
        source, sep, target = pair.partition(":")
        if not sep or not os.path.isfile(source):
            raise BedError(f"--file {pair}: expected FILE:PATH_IN_GUEST")
        archive.file(target, Path(source))
    order = modules.load_order(kernel.modules, wanted)
    have = {p.stem.replace("-", "_") for p in order}
    builtin = (kernel.modules / "modules.builtin").read_text()
    for name in wanted:
        if modules.plain(name) not in have and f"/{name}.ko" not in builtin:
            raise BedError(f"--module {name}: kernel {kernel.release} does not have it")
    for path in order:
        archive.file(f"modules/{path.name}", path)
    archive.data("modules/order", "".join(f"{p.stem}\n" for p in order).encode())
    archive.data("script", script.read_bytes(), 0o755)
    archive.data("init", (HERE / "initrd/icount-init").read_bytes(), 0o755)
    archive.write(out)


def command(kernel: kernels.Kernel, initrd: Path, memory_mb: int, console: Path,
            cpus: int = 1) -> list[str]:
    """QEMU's command line. With several CPUs these take turns: instructions add up."""
    return [
        "setpriv", "--pdeathsig", "KILL", qemu.BINARY,
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-M", "pc,graphics=off", "-accel", "tcg,thread=single", "-icount",
        "shift=0,sleep=off", "-cpu", "Nehalem", "-smp", str(cpus), "-m", str(memory_mb),
        "-rtc", "base=2026-01-01,clock=vm", "-seed", "1",
        "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console",
        "-kernel", str(kernel.vmlinux), "-initrd", str(initrd),
        "-append", qemu.KERNEL_ARGS,
    ]


def run(kernel: kernels.Kernel, initrd: Path, memory_mb: int, timeout_s: float,
        cpus: int = 1) -> tuple[int, str]:
    """Boot the closed guest; return the script's status and the console between the marks."""
    with tempfile.TemporaryDirectory(prefix="ublkd-icount-") as tmp:
        console = Path(tmp) / "console"
        argv = command(kernel, initrd, memory_mb, console, cpus)
        with open(Path(tmp) / "log", "w+", encoding="utf-8") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                process.wait(timeout_s)
                ended = True
            except subprocess.TimeoutExpired:
                ended = False
            finally:
                process.kill()
                process.wait()
            log.seek(0)
            errors = log.read().strip()
        text = ""
        if console.exists():
            text = console.read_bytes().decode(errors="replace").replace("\r", "")
    before, begun, rest = text.partition(BEGIN + "\n")
    body, finished, status = rest.partition(END)
    if not ended:
        return 124, (body if begun else before) + f"\ntime-out after {timeout_s:g} s\n"
    if not finished:
        return 125, f"{errors}\n{rest if begun else before}"
    return int(status.split()[0]), body
