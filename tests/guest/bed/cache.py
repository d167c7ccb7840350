# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache directory: keys, locks, and directories that are complete or absent.

Invariants:
1. A directory that `built` returns was renamed into place after its builder returned; a half-built
   one has another name (`.tmp-...`) and is removed by the next builder.
2. Whoever builds or removes below a name holds the lock of that name.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path


class BedError(Exception):
    """Something the user can read and act upon; ends the command with status 1."""


class Skip(Exception):
    """This host or mirror cannot provide what was asked for; ends the command with status 77."""


def root() -> Path:
    """The cache directory, created on first use."""
    given = os.environ.get("UBLKD_TEST_CACHE")
    if given:
        path = Path(given)
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        path = Path(base) / "ublkd-tests"
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def say(text: str) -> None:
    """One plain progress line, on stderr so that it never mixes with a command's result."""
    print(f"guest: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(text: str):
    """Announce a long step and how many seconds it took."""
    say(f"{text} ...")
    begin = time.monotonic()
    yield
    say(f"{text}: done in {time.monotonic() - begin:.1f} s")


def digest(*parts) -> str:
    """A short key over strings, bytes and the contents of Paths, in the order given."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            data = part.read_bytes()
        elif isinstance(part, bytes):
            data = part
        else:
            data = str(part).encode()
        h.update(len(data).to_bytes(8, "little"))
        h.update(data)
    return h.hexdigest()[:16]


def file_sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def tree_digest(top: Path) -> str:
    """A key over names, modes, link targets and contents below a directory."""
    h = hashlib.sha256()
    for directory, dirs, files in os.walk(top):
        dirs.sort()
        for name in sorted(files + [d for d in dirs if os.path.islink(os.path.join(directory, d))]):
            path = os.path.join(directory, name)
            st = os.lstat(path)
            h.update(f"{os.path.relpath(path, top)}\0{st.st_mode:o}\0".encode())
            if os.path.islink(path):
                h.update(os.readlink(path).encode())
            elif os.path.isfile(path):
                h.update(file_sha256(Path(path)).encode())
    return h.hexdigest()[:16]


@contextlib.contextmanager
def lock(name: str, shared: bool = False):
    """Hold the cache's lock of this name; other processes wait, and say so if it takes long."""
    directory = root() / "locks"
    directory.mkdir(exist_ok=True)
    with open(directory / name.replace("/", "_"), "w", encoding="ascii") as f:
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        for _ in range(40):
            try:
                fcntl.flock(f, mode | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
        else:
            say(f"waiting for another user of {name}")
            fcntl.flock(f, mode)
        yield


def built(name: str, build) -> Path:
    """Return the directory root()/name, made by build(tmpdir) unless it is there already.

    build fills the directory it is given; an exception from it leaves nothing behind.
    """
    path = root() / name
    if path.is_dir():
        return path
    with lock(name):
        if path.is_dir():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp = path.parent / f".tmp-{path.name}"
        if tmp.exists():
            shutil.rmtree(tmp)
        tmp.mkdir()
        try:
            build(tmp)
            tmp.rename(path)
        except BaseException:
            shutil.rmtree(tmp, ignore_errors=True)
            raise
    return path


def keep_newest(directory: Path, count: int, spare: Path | None = None) -> None:
    """Remove all but the `count` most recently used children; never `spare`.

    A guest that has a removed snapshot's files open keeps them until it ends.
    """
    children = [c for c in directory.iterdir() if c.is_dir() and not c.name.startswith(".")]
    children.sort(key=lambda c: c.stat().st_mtime, reverse=True)
    for child in children[count:]:
        if child != spare:
            shutil.rmtree(child, ignore_errors=True)


def used(path: Path) -> Path:
    """Note that a directory is in use, for `expire`."""
    with contextlib.suppress(OSError):
        os.utime(path)
    return path


def expire(directories: list[str], days: float) -> None:
    """Remove what nobody has used for some days below each of these directories."""
    limit = time.time() - days * 86400
    for name in directories:
        for child in root().glob(name):
            if child.is_dir() and child.stat().st_mtime < limit:
                say(f"removing {child.relative_to(root())}, unused for {days:g} days")
                shutil.rmtree(child, ignore_errors=True)
