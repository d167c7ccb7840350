#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Includes go down the layers, never up: bus -> device -> target -> ublk -> uring -> util.

main.c sees all, targets see only <ublkd/target.h>, their own parts and the system, and each foreign
library is known only where the table says.
"""

import os
import re
import sys
from pathlib import Path

LAYERS = ["util", "uring", "ublk", "target", "device", "bus"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
GENERATED = {"version.h": None, "targets/target-list.h": "target"}  # who may: None is everybody
OTHERS = {"main.c", "ctl"}  # outside of the layers, may see all of them

# Header of a foreign library: the places below src that may include it.
FOREIGN = {
    "systemd/sd-bus.h": ("bus/", "ctl/", "main.c"),
    "systemd/sd-event.h": ("bus/", "ctl/", "device/", "main.c"),
    "systemd/sd-journal.h": ("ctl/",),
    "systemd/sd-daemon.h": ("main.c", "device/", "ctl/"),
    "systemd/sd-id128.h": ("bus/", "device/", "main.c", "ctl/"),
    "liburing.h": ("uring/", "ublk/", "target/", "targets/"),
    "pthread.h": ("util/", "uring/", "ublk/", "device/", "target/"),
    "linux/ublk_cmd.h": (),  # ublk/abi.h is our own statement of it
}
ONE_FILE = {"ini.h"}


def why_not(name, quote, header, here):
    """A sentence why src/`name` may not include `header`, or None."""
    if quote == "<" and not header.startswith("ublkd/"):
        if header in FOREIGN and not name.startswith(FOREIGN[header]):
            return f"<{header}> belongs to {' '.join(FOREIGN[header]) or 'nobody'}"
        return None
    if header == "ublkd/target.h":
        if here in ("util", "uring"):
            return "the target contract is above this layer"
        return None if quote == "<" else "write <ublkd/target.h>"
    if here == "include":
        return "the public header stands on the system alone"
    if here == "targets":
        own = name.rpartition("/")[2].partition(".")[0].partition("-")[0]
        if re.fullmatch(rf"targets/{re.escape(own)}(-[a-z-]+)?\.h", header):
            return None
        return "a target sees only <ublkd/target.h>, its own headers and the system's"
    if header in GENERATED:
        return None if GENERATED[header] in (None, here) else f"only {GENERATED[header]}/ may"
    if "/" not in header:
        return "name the folder too"
    if here in OTHERS:
        return None
    there = header.split("/")[0]
    if there not in LAYERS:
        return f"{there}/ is no layer"
    if LAYERS.index(there) > LAYERS.index(here):
        return f"{there}/ is above {here}/"
    return None


def main():
    src = Path(os.environ["UBLKD_SOURCE_DIR"]) / "src"
    problems, users = [], {}
    files = sorted(p for p in src.rglob("*.[ch]"))
    for path in files:
        name = path.relative_to(src).as_posix()
        here = name.split("/")[0]
        if here not in LAYERS and here not in OTHERS | {"targets", "include"}:
            problems.append(f"src/{name}: {here} is no layer; tell tests/lint/check-layers.py")
            continue
        text = path.read_text(encoding="utf-8")
        for m in INCLUDE.finditer(text):
            line = text.count("\n", 0, m.start(1)) + 1
            why = why_not(name, m[1], m[2], here)
            if why:
                problems.append(f"src/{name}:{line}: {m[2]}: {why}")
            if m[2] in ONE_FILE:
                users.setdefault(m[2], []).append(name)
    for header, names in users.items():
        if len(names) > 1:
            problems.append(f"{header} is included by {' and '.join(names)}, not by one file")
    print("\n".join(problems) or f"{len(files)} files")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
