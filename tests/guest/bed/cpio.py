# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes initramfs archives ("newc" cpio); needs no root, and equal input gives equal bytes."""

import os
import stat
from pathlib import Path


class Archive:
    """An initramfs in the making; add things in any order, parents are made as needed."""

    def __init__(self):
        self._entries: dict[str, tuple[int, bytes, tuple[int, int]]] = {}
        self.node("dev/console", stat.S_IFCHR | 0o600, (5, 1))
        self.node("dev/null", stat.S_IFCHR | 0o666, (1, 3))
        for directory in ("proc", "sys", "tmp", "run"):
            self.directory(directory)

    def _add(self, name: str, mode: int, data: bytes, device=(0, 0)) -> None:
        name = os.path.normpath(name).strip("/")
        parent = os.path.dirname(name)
        if parent and parent not in self._entries:
            self.directory(parent)
        self._entries[name] = (mode, data, device)

    def directory(self, name: str) -> None:
        self._add(name, stat.S_IFDIR | 0o755, b"")

    def node(self, name: str, mode: int, device: tuple[int, int]) -> None:
        self._add(name, mode, b"", device)

    def link(self, name: str, target: str) -> None:
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def data(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self._add(name, stat.S_IFREG | mode, data)

    def file(self, name: str, source: Path) -> None:
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        self.data(name, Path(source).read_bytes(), mode)

    def busybox(self, source: Path, applets: list[str]) -> None:
        self.file("bin/busybox", source)
        for applet in applets:
            self.link(f"bin/{applet}", "busybox")

    def bytes(self) -> bytes:
        out = bytearray()

        def put(number, name, mode, data, device):
            raw = name.encode() + b"\0"
            fields = (number, mode, 0, 0, 2 if stat.S_ISDIR(mode) else 1, 0, len(data), 0, 0,
                      *device, len(raw), 0)
            out.extend(b"070701" + b"".join(b"%08x" % f for f in fields) + raw)
            out.extend(b"\0" * (-len(out) % 4))
            out.extend(data)
            out.extend(b"\0" * (-len(out) % 4))

        # Sorted by depth, then name: a directory precedes what is in it.
        names = sorted(self._entries, key=lambda n: (n.count("/"), n))
        for number, name in enumerate(names, 1):
            put(number, name, *self._entries[name])
        put(0, "TRAILER!!!", 0, b"", (0, 0))
        out.extend(b"\0" * (-len(out) % 512))
        return bytes(out)

    def write(self, path: Path) -> None:
        path.write_bytes(self.bytes())
