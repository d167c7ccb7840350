#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A table of line coverage: coverage.py 0|1 GCOVR-JSON...; one report for each suite."""

import json
import sys
from pathlib import Path


def read(path):
    """{file: {line: was it run}} of the lines that could be run."""
    out = {}
    for entry in json.loads(Path(path).read_text(encoding="utf-8"))["files"]:
        lines = out.setdefault(entry["file"], {})
        for line in entry["lines"]:
            if not line.get("gcovr/noncode"):
                number = line["line_number"]
                lines[number] = lines.get(number, False) or line["count"] > 0
    return out


def merge(reports):
    out = {}
    for report in reports:
        for name, lines in report.items():
            known = out.setdefault(name, {})
            for number, ran in lines.items():
                known[number] = known.get(number, False) or ran
    return out


def folder(name):
    parts = name.split("/")
    return parts[1] if len(parts) > 2 else name


def percent(report, wanted, key):
    lines = [ran for name, found in report.items() if key(name) == wanted
             for ran in found.values()]
    return f"{100 * sum(lines) / len(lines):.1f} %" if lines else "-"


def table(columns, key):
    names = sorted({key(n) for n in columns["all"]})
    print(f"{'':30}{'lines':>8}" + "".join(f"{c:>10}" for c in columns))
    for name in names:
        n = sum(len(f) for file, f in columns["all"].items() if key(file) == name)
        cells = "".join(f"{percent(r, name, key):>10}" for r in columns.values())
        print(f"{name:30}{n:8}{cells}")
    print()


def ranges(numbers):
    out = []
    for n in numbers:
        if out and n == out[-1][1] + 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in out)


def main(uncovered, paths):
    columns = {Path(p).stem.removeprefix("coverage-"): read(p) for p in paths}
    columns["all"] = merge(columns.values())
    table(columns, lambda name: name.removeprefix("src/"))
    table(columns, folder)
    if uncovered:
        for name, lines in sorted(columns["all"].items()):
            missing = ranges(sorted(n for n, ran in lines.items() if not ran))
            if missing:
                print(f"{name}: {missing}")


if __name__ == "__main__":
    main(sys.argv[1] == "1", sys.argv[2:])
