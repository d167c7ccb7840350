# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's root file system: a Debian bookworm tree as one erofs image, read-only.

One image serves all kernels (modules come on a disk of their own) and all guests at once (each
has a tmpfs overlay). Result directory: root.erofs, agent.
"""

import subprocess
import time
from pathlib import Path

from . import apt, cache
from .cache import BedError

HERE = Path(__file__).resolve().parent.parent
SUITE = "bookworm"


def run_logged(argv: list, log: Path, **kwargs) -> None:
    """Run a tool with its output in a file; BedError with the last lines if it fails."""
    with open(log, "ab") as f:
        r = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                           check=False, **kwargs)
    if r.returncode != 0:
        tail = log.read_text(errors="replace").splitlines()[-15:]
        raise BedError(f"{argv[0]} failed ({r.returncode}):\n  " + "\n  ".join(tail))


def build_agent(out: Path) -> None:
    run_logged(["gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-static", "-o", out,
                HERE / "agent.c"], out.parent / "build.log")


def packages() -> list[str]:
    lines = (HERE / "root/packages").read_text(encoding="ascii").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _mmdebstrap(tmp: Path, tree: Path) -> None:
    main, security = apt.mirrors()
    conf = tmp / "apt.conf"
    conf.write_text(apt.host_network_options() + 'APT::Install-Recommends "false";\n')
    signed = f"[signed-by={apt.KEYRING} arch=amd64]"
    argv = ["mmdebstrap", "--variant=minbase", "--architectures=amd64",
            f"--include={','.join(packages())}",
            f"--aptopt={conf}",
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            f"--customize-hook={HERE / 'root/customize'} \"$1\" {tmp / 'agent'}",
            SUITE, tree,
            f"deb {signed} {main} {SUITE} main",
            f"deb {signed} {main} {SUITE}-updates main",
            f"deb {signed} {security} {SUITE}-security main"]
    for last in (False, True):
        try:
            run_logged(argv, tmp / "build.log")
            return
        except BedError as e:
            if last:
                raise
            cache.say(f"{str(e).splitlines()[0]} trying again")
            subprocess.run(["rm", "-rf", "--one-file-system", str(tree)], check=True)
            time.sleep(5)


def _build(tmp: Path) -> None:
    with cache.step("building the guest's root file system (about a minute)"):
        build_agent(tmp / "agent")
        tree = tmp / "tree"
        _mmdebstrap(tmp, tree)
        run_logged(["mkfs.erofs", "-d0", "-T0", tmp / "root.erofs", tree], tmp / "build.log")
        subprocess.run(["rm", "-rf", "--one-file-system", str(tree)], check=True)


def get() -> Path:
    """Return the directory with root.erofs and agent, built if need be."""
    key = cache.digest(*packages(), HERE / "root/customize", HERE / "agent.c",
                       Path(__file__).read_bytes())
    return cache.used(cache.built(f"root/{key}", _build))
