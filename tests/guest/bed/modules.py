# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel modules: which ones the bed keeps, what they depend on, in which order to load them."""

import re
import subprocess
from pathlib import Path

# What a guest may want; a name the kernel does not have (or has built in) is passed over.
WANTED = """
    virtio_pci virtio_blk virtio_console virtio_rng 9p 9pnet_virtio erofs overlay autofs4 fuse
    ublk_drv loop null_blk brd nbd scsi_debug sd_mod sg zram
    dm-mod dm-flakey dm-delay dm-log-writes dm-snapshot dm-thin-pool dm-crypt dm-integrity
    dm-verity dm-dust dm-zero dm-zoned linear raid0 raid1
    ext4 xfs btrfs f2fs vfat squashfs isofs crc32c_generic crc32c_intel crc32_generic libcrc32c
    crc-t10dif crct10dif_common crct10dif_generic crc64-rocksoft crc64-rocksoft_generic crc16
    nls_ascii nls_cp437 nls_iso8859-1 nls_utf8 mq-deadline kyber-iosched bfq configfs
    dm-mirror dm-raid sha256_generic sha256_ssse3 xts ecb cbc aes_generic algif_skcipher
""".split()

# What the initramfs of the systemd guest loads; dependencies are added.
BOOT = "virtio_pci virtio_blk virtio_console erofs overlay 9p 9pnet_virtio autofs4".split()


def plain(name: str) -> str:
    """The kernel's name of a module: dashes and underscores are the same."""
    return name.replace("-", "_")


def _of_file(path: Path) -> str:
    return plain(path.name.split(".ko", 1)[0])


def find(tree: Path) -> dict[str, Path]:
    """All modules below a directory, by name."""
    return {_of_file(p): p for p in tree.rglob("*.ko*")}


def read(path: Path) -> bytes:
    """The module's ELF image, decompressed."""
    tool = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}.get(path.suffix)
    if not tool:
        return path.read_bytes()
    return subprocess.run([tool, "-qdc", str(path)], capture_output=True, check=True).stdout


def dependencies(image: bytes) -> list[str]:
    """Names of the modules a module needs, hard and soft, from its .modinfo strings."""
    out = []
    for m in re.finditer(rb"(?:^|\0)depends=([^\0]*)(?=\0)", image):
        out += [n for n in m[1].decode().split(",") if n]
    for m in re.finditer(rb"\0softdep=([^\0]*)(?=\0)", image):
        out += [n for n in m[1].decode().split() if not n.endswith(":")]
    return [plain(n) for n in out]


def keep(source: Path, target: Path) -> None:
    """Copy the wanted modules and their dependencies, decompressed, keeping the directories."""
    have = find(source)
    todo = [plain(n) for n in WANTED]
    done = set()
    while todo:
        name = todo.pop()
        if name in done or name not in have:
            continue
        done.add(name)
        image = read(have[name])
        todo += dependencies(image)
        relative = have[name].relative_to(source)
        out = target / relative.parent / (relative.name.split(".ko", 1)[0] + ".ko")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(image)
    for extra in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (source / extra).exists():
            (target / extra).write_bytes((source / extra).read_bytes())


def _aliases(have: dict[str, Path]) -> dict[str, str]:
    """Names that stand for a module, e.g. crc32c for crc32c_generic."""
    out: dict[str, str] = {}
    for name in sorted(have):
        for m in re.finditer(rb"\0alias=(\w[\w-]*)(?=\0)", have[name].read_bytes()):
            out.setdefault(plain(m[1].decode()), name)
    return out


def load_order(tree: Path, names: list[str]) -> list[Path]:
    """Files of the named modules below `tree` in an order that insmod can follow.

    Names that are not there are passed over: in some kernels they are built in.
    """
    have = find(tree)
    aliases = _aliases(have)
    out: list[Path] = []

    def visit(name: str, above: tuple = ()) -> None:
        name = name if name in have else aliases.get(name, name)
        if name not in have or have[name] in out or name in above:
            return
        for need in dependencies(have[name].read_bytes()):
            visit(need, (*above, name))
        out.append(have[name])

    for name in names:
        visit(plain(name))
    return out
