# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian kernels for the guest: find the newest of a series, verify, unpack, make bootable.

Result directory: release, vmlinux (ELF, booted by PVH), modules/ (only what the bed uses,
decompressed, with modules.dep), modules.erofs (the same, mounted at /lib/modules), initrd.
An ABI is never pinned: old ones vanish from the archive. A series that has vanished is a Skip.
"""

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

from . import apt, cache, cpio, modules
from .cache import BedError, Skip
from .rootfs import HERE, run_logged

SERIES = ("6.1", "6.12", "6.18", "7.2", "newest")
BUSYBOX = Path("/bin/busybox")
INITRD_APPLETS = "sh mount umount insmod cat echo sleep mkdir poweroff switch_root".split()
LAYOUT = 1  # part of the key; raise it when the contents of the result directory change


class Kernel:
    """A bootable kernel in the cache."""

    def __init__(self, directory: Path, series: str):
        self.directory = cache.used(directory)
        self.release = (directory / "release").read_text().strip()
        self.series = ".".join(self.release.split(".")[:2])
        self.asked = series
        self.vmlinux = directory / "vmlinux"
        self.initrd = directory / "initrd"
        self.modules_image = directory / "modules.erofs"
        self.modules = directory / "modules/lib/modules" / self.release

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(int(n) for n in re.match(r"[\d.]+", self.release)[0].strip(".").split("."))


def _number(release: str) -> list[int]:
    """What releases are ordered by: 6.12.115+deb13.1-amd64 is [6, 12, 115, 13, 1]."""
    return [int(n) for n in re.findall(r"\d+", release.removesuffix("-amd64"))]


def _candidates(a: apt.PrivateApt, series: str) -> list[tuple[str, list[str]]]:
    """(release, packages) of a series, newest first, of those whose modules are listed too."""
    names = set(a.names())
    version = r"\d+\.\d+" if series == "newest" else re.escape(series)
    pattern = re.compile(rf"linux-(image|binary)-({version}\.\d+[^-]*(?:-\d+)?-amd64)")
    found: dict[str, list[str]] = {}
    for name in names:
        m = pattern.fullmatch(name)
        if not m:
            continue
        release = m[2]
        if f"linux-binary-{release}" not in names:
            found[release] = [f"linux-image-{release}"]
        elif f"linux-modules-{release}" in names:
            # linux-base-RELEASE holds the list of built-in modules.
            split = [f"linux-{part}-{release}" for part in ("binary", "modules", "base")]
            found[release] = [p for p in split if p in names]
    return [(r, found[r]) for r in sorted(found, key=_number, reverse=True)]


def _resolve(a: apt.PrivateApt, series: str) -> tuple[str, list[Path]]:
    """The newest release of a series whose packages can be had, and their verified files."""
    reason = "the archive has no such kernel, or not its modules"
    for release, packages in _candidates(a, series)[:4]:
        versions = [a.version(p) for p in packages]
        if None in versions:
            reason = f"{release}: listed without a version"
            continue
        try:
            with cache.step(f"fetching and checking kernel {release}"):
                return release, [a.deb(p, v) for p, v in zip(packages, versions)]
        except apt.Gone as e:
            reason = f"{release}: {e}"
            cache.say(reason)
    raise Skip(f"kernel {series}: {reason}")


def extract_vmlinux(bzimage: bytes) -> bytes:
    """The ELF image inside a bzImage, found by the fields of its setup header."""
    if bzimage[0x202:0x206] != b"HdrS":
        raise BedError("not a bzImage")
    setup_sectors = bzimage[0x1f1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    begin = (setup_sectors + 1) * 512 + offset
    payload = bzimage[begin:begin + length]
    for magic, tool, trailer in ((b"\xfd7zXZ", "xz", 4), (b"\x28\xb5\x2f\xfd", "zstd", 4),
                                 (b"\x1f\x8b", "gzip", 0)):
        if payload.startswith(magic):
            data = payload[:len(payload) - trailer]
            image = subprocess.run([tool, "-qdc"], input=data, capture_output=True,
                                   check=True).stdout
            break
    else:
        raise BedError(f"bzImage payload of unknown compression ({payload[:4].hex()})")
    if not image.startswith(b"\x7fELF"):
        raise BedError("bzImage payload is not an ELF image")
    return image


def make_initrd(tree: Path, out: Path) -> None:
    """The initramfs that mounts the guest's disks and starts systemd."""
    archive = cpio.Archive()
    archive.busybox(BUSYBOX, INITRD_APPLETS)
    archive.data("init", (HERE / "initrd/init").read_bytes(), 0o755)
    order = modules.load_order(tree, modules.BOOT)
    for path in order:
        archive.file(f"modules/{path.name}", path)
    archive.data("modules/order", "".join(f"{p.stem}\n" for p in order).encode())
    archive.write(out)


def _unpack(release: str, debs: list[Path], tmp: Path) -> None:
    log = tmp / "build.log"
    full = tmp / "unpacked"
    for deb in debs:
        run_logged(["dpkg-deb", "-x", deb, full], log)
    source = next((d for d in (full / "usr/lib/modules" / release, full / "lib/modules" / release)
                   if (d / "kernel").is_dir()), None)
    image = next((p for p in (full / f"boot/vmlinuz-{release}", *full.rglob("vmlinuz*"))
                  if p.is_file()), None)
    if not source or not image:
        raise BedError(f"kernel {release}: no image or no modules in {[d.name for d in debs]}")
    (tmp / "vmlinux").write_bytes(extract_vmlinux(image.read_bytes()))
    target = tmp / "modules/lib/modules" / release
    target.mkdir(parents=True)
    modules.keep(source, target)
    run_logged(["depmod", "-b", tmp / "modules", release], log)
    run_logged(["mkfs.erofs", "-d0", "-T0", tmp / "modules.erofs", target.parent], log)
    make_initrd(target, tmp / "initrd")
    (tmp / "release").write_text(release + "\n")
    shutil.rmtree(full)


def _key(debs: list[str]) -> str:
    here = Path(__file__).resolve().parent
    return cache.digest(LAYOUT, *debs, here / "kernel.py", here / "modules.py", here / "cpio.py",
                        HERE / "initrd/init", BUSYBOX)


def _remembered(series: str) -> Path | None:
    """The directory built for a series earlier, if the bed's own sources are still the same."""
    note = cache.root() / "kernels" / f"{series}.json"
    try:
        seen = json.loads(note.read_text())
        path = cache.root() / "kernels" / f"{seen['release']}-{_key(seen['debs'])}"
    except (OSError, ValueError, KeyError):
        return None
    return path if path.is_dir() else None


def get(series: str, refresh: bool = False) -> Kernel:
    """Return a kernel of a series, fetched and made bootable if need be.

    With `refresh`, the archive is asked for a newer one; otherwise what is there is used.
    """
    if series != "newest" and not re.fullmatch(r"\d+\.\d+", series):
        raise BedError(f"kernel series '{series}': expected e.g. 6.12, or 'newest'")
    path = _remembered(series)
    if path and not refresh:
        return Kernel(path, series)
    with cache.lock("apt"):
        a = apt.ready()
        release, debs = _resolve(a, series)
        sums = [cache.file_sha256(d) for d in debs]

        def build(tmp: Path) -> None:
            with cache.step(f"unpacking kernel {release}"):
                _unpack(release, debs, tmp)

        path = cache.built(f"kernels/{release}-{_key(sums)}", build)
        note = {"release": release, "debs": sums}
        (cache.root() / "kernels" / f"{series}.json").write_text(json.dumps(note))
    return Kernel(path, series)
