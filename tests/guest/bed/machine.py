# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest ready for commands: restored from a snapshot if at all possible, else booted.

Two levels of snapshot: "base" is the booted system; "install" is a base guest into which a tree
was installed. Both are directories with `ram` and `state`, keyed by all that went into them.
"""

import contextlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from . import accel, cache, dmesg, kernel as kernels, qemu, rootfs
from .agent import GuestGone, GuestSilent
from .cache import BedError
from .qemu import Hardware, Qemu, QemuError

BOOT_S = 300
INSTALL_S = 120
INSTALLS_KEPT = 3
INSTALL_TAR = ".bed-install.tar"
SNAPSHOT_LAYOUT = 1

BROKEN = (GuestGone, GuestSilent, QemuError, OSError)

INSTALL_SCRIPT = """
set -e
tar -x --no-same-owner --keep-directory-symlink -C / -f /share/%s
ldconfig
systemd-sysusers
systemctl daemon-reload
systemd-tmpfiles --create >/dev/null 2>&1 || true
udevadm control --reload
busctl --quiet call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
sync
""" % INSTALL_TAR


def _collect(out: bytearray):
    return lambda kind, data: out.extend(data)


def _must(guest: Qemu, script: str, timeout_s: float, what: str) -> str:
    """Run a script in a guest that is being prepared; it has to succeed."""
    out = bytearray()
    status = guest.agent.run(["sh", "-c", script], timeout_s, _collect(out))
    text = out.decode(errors="replace").strip()
    if status != 0:
        raise BedError(f"{what} failed in the guest ({status}):\n{text}")
    return text


class Machine:
    """A kind of guest: kernel series, memory; makes running guests."""

    def __init__(self, series: str, memory_mb: int = 1024, cpus: int | None = None):
        self.kernel = kernels.get(series)
        root = rootfs.get()
        self.hardware = Hardware(
            accel=accel.choose(self.kernel), vmlinux=self.kernel.vmlinux,
            initrd=self.kernel.initrd, root_image=root / "root.erofs",
            modules_image=self.kernel.modules_image, memory_mb=memory_mb,
            cpus=cpus or qemu.default_cpus())
        self.key = cache.digest(SNAPSHOT_LAYOUT, qemu.version(), self.hardware.accel,
                                *self.hardware.arguments())
        self._can_save = True
        self._trees: dict[Path, str] = {}
        self.name = f"{self.kernel.release} {memory_mb} MB"

    # -- making snapshots

    def _wait_booted(self, guest: Qemu) -> None:
        guest.agent.wait_hello(BOOT_S)
        out = bytearray()
        guest.agent.run(["systemctl", "is-system-running", "--wait"], BOOT_S, _collect(out))
        state = out.decode().strip()
        if state != "running":
            failed = _must(guest, "systemctl --failed --no-legend; systemctl list-jobs", 60,
                           "systemctl")
            raise BedError(f"guest {self.name} came up '{state}', not 'running':\n{failed}")
        self._check_messages(guest, "boot")

    def _check_messages(self, guest: Qemu, when: str) -> None:
        """Say, and do no more about, bad kernel messages that no test has caused."""
        for line in dmesg.bad_lines(guest.agent.dmesg(), self.kernel.version):
            cache.say(f"{self.name}: kernel message at {when}: {line}")

    def _build_base(self, tmp: Path) -> None:
        with cache.step(f"booting {self.name} for its snapshot"):
            share = tmp / "share"
            share.mkdir()
            guest = Qemu(self.hardware, tmp, share, tmp / "ram", keep_memory=True)
            try:
                self._wait_booted(guest)
                guest.save(tmp / "state")
            except (GuestGone, GuestSilent) as e:
                tail = "\n  ".join([guest.log(), *guest.console_tail(25)])
                raise BedError(f"guest {self.name} did not come up ({type(e).__name__}):\n"
                               f"  {tail}") from e
            finally:
                guest.kill()

    def base(self) -> Path:
        """The snapshot of the booted system."""
        path = cache.built(f"snapshots/{self.kernel.release}/{self.key}", self._build_base)
        return cache.used(path)

    def _build_install(self, tree: Path, tmp: Path) -> None:
        with cache.step(f"installing {tree} into {self.name} for its snapshot"):
            base = self.base()
            share = tmp / "share"
            share.mkdir()
            subprocess.run(["cp", "--sparse=always", base / "ram", tmp / "ram"], check=True)
            guest = Qemu(self.hardware, tmp, share, tmp / "ram", keep_memory=True, incoming=True)
            try:
                guest.load(base / "state")
                guest.agent.resume()
                guest.agent.mount("share", "/share")
                self._apply(guest, tree, share)
                guest.agent.umount("/share")
                self._check_messages(guest, "install")
                guest.save(tmp / "state")
            except (GuestGone, GuestSilent) as e:
                tail = "\n  ".join([guest.log(), *guest.console_tail(25)])
                raise BedError(f"installing {tree}: guest {self.name} broke down "
                               f"({type(e).__name__}):\n  {tail}") from e
            finally:
                guest.kill()

    def _apply(self, guest: Qemu, tree: Path, share: Path) -> None:
        """Unpack a tree over the guest's root; the share is mounted."""
        def as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            return info

        tar = share / INSTALL_TAR
        try:
            with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT) as t:
                t.add(tree, arcname=".", filter=as_root)
            _must(guest, INSTALL_SCRIPT, INSTALL_S, f"installing {tree}")
        finally:
            tar.unlink(missing_ok=True)

    def installed(self, tree: Path) -> Path:
        """The snapshot of the booted system with a tree installed.

        The tree is read once; that it changes while this object lives is not noticed.
        """
        if tree not in self._trees:
            self._trees[tree] = cache.digest(INSTALL_SCRIPT, cache.tree_digest(tree))
        directory = cache.root() / "installs" / self.key
        path = directory / self._trees[tree]
        if not path.is_dir():
            cache.built(str(path.relative_to(cache.root())),
                        lambda tmp: self._build_install(tree, tmp))
            with cache.lock("installs"):
                cache.keep_newest(directory, INSTALLS_KEPT, spare=path)
        return cache.used(path)

    # -- running guests

    def _restore(self, snapshot: Path, work: Path, share: Path) -> Qemu:
        with cache.lock("installs", shared=True):
            guest = Qemu(self.hardware, work, share, snapshot / "ram", incoming=True)
            try:
                guest.load(snapshot / "state")
                guest.agent.resume()
                guest.agent.mount("share", "/share")
            except BaseException:
                guest.kill()
                raise
        return guest

    def _cold(self, work: Path, share: Path, tree: Path | None) -> Qemu:
        guest = Qemu(self.hardware, work, share)
        try:
            self._wait_booted(guest)
            guest.agent.mount("share", "/share")
            if tree:
                self._apply(guest, tree, share)
                self._check_messages(guest, "install")
        except (GuestGone, GuestSilent) as e:
            tail = "\n  ".join([guest.log(), *guest.console_tail(25)])
            guest.kill()
            raise BedError(f"guest {self.name} did not come up ({type(e).__name__}):\n"
                           f"  {tail}") from e
        except BaseException:
            guest.kill()
            raise
        return guest

    def _snapshot(self, tree: Path | None) -> Path | None:
        """The snapshot to start from, or None where snapshots cannot be made."""
        if not self._can_save:
            return None
        try:
            return self.installed(tree) if tree else self.base()
        except (QemuError, OSError) as e:
            cache.say(f"no snapshot of {self.name} ({e}); booting each guest instead")
            self._can_save = False
            return None

    @contextlib.contextmanager
    def guest(self, share: Path, tree: Path | None = None):
        """A running guest with the share at /share; killed at the end."""
        work = Path(tempfile.mkdtemp(prefix="ublkd-guest-"))
        guest = None
        try:
            snapshot = self._snapshot(tree)
            if snapshot:
                try:
                    guest = self._restore(snapshot, work, share)
                except BROKEN as e:
                    cache.say(f"restoring {self.name} failed ({type(e).__name__}: {e}); booting")
            if not guest:
                guest = self._cold(work, share, tree)
            yield guest
        finally:
            if guest:
                guest.kill()
            shutil.rmtree(work, ignore_errors=True)
