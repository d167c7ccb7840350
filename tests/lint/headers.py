#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every header compiles alone; the public one also as C11 and as C++17.

headers.py alone|public COMPILER...
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCE = Path(os.environ["UBLKD_SOURCE_DIR"])
BUILD = Path(os.environ["UBLKD_BUILD_DIR"])
PUBLIC = "ublkd/target.h"
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-unused-function"]
FLAGS = [f"-I{SOURCE}/src", f"-I{SOURCE}/src/include", f"-I{BUILD}", f"-I{BUILD}/src"]


def pkg_config():
    p = subprocess.run(["pkg-config", "--cflags", "liburing", "libsystemd", "inih"],
                       capture_output=True, text=True, check=False)
    return p.stdout.split()


def compiles(command, header, *flags):
    """What the compiler says about a file that holds nothing but the include, twice."""
    include = f"#include <{header}>\n"
    p = subprocess.run([*command, *flags, *FLAGS, "-fsyntax-only", "-"], text=True,
                       input=include * 2 + "int alone(void);\n", capture_output=True, check=False)
    said = p.stdout + p.stderr
    return f"{header} ({' '.join(flags[:3])}):\n{said}" if p.returncode or said else None


def alone(compiler):
    extra = pkg_config()
    headers = sorted((SOURCE / "src").rglob("*.h"))
    names = [h.relative_to(SOURCE / "src").as_posix() for h in headers]

    def one(name):
        name = name.removeprefix("include/")
        return compiles(compiler, name, "-xc", "-std=gnu17", "-D_GNU_SOURCE", *WARNINGS, *extra)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return len(names), [r for r in pool.map(one, names) if r]


def public(compiler):
    cxx = next((c for c in ("g++", "clang++") if shutil.which(c)), None)
    if not cxx:
        print("there is no C++ compiler")
        sys.exit(77)
    strict = [*WARNINGS, "-Wpedantic", "-Wshadow", "-Wundef"]
    tries = [
        compiles(compiler, PUBLIC, "-xc", "-std=c11", *strict),
        compiles(compiler, PUBLIC, "-xc", "-std=gnu17", *strict, "-Wstrict-prototypes"),
        compiles([cxx], PUBLIC, "-xc++", "-std=c++17", *strict),
    ]
    return len(tries), [r for r in tries if r]


def main():
    what, *compiler = sys.argv[1:]
    # Meson may hand over a wrapper such as ccache in front; it does no harm.
    n, problems = {"alone": alone, "public": public}[what](compiler)
    print("\n".join(problems) or f"{n} compilations")
    return 1 if problems or not n else 0


if __name__ == "__main__":
    sys.exit(main())
