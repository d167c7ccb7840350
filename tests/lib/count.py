#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Count the cases of a `meson test` run: count.py TESTLOG.JSON

A TAP test counts by its cases, any other as one. Prints what failed, with its output, and why
something was skipped; the last line is `N passed, N failed, N skipped`.
"""

import json
import re
import sys

TAP_PLAN = re.compile(r"^1\.\.(\d+)(?:\s+# SKIP\b\s*(.*))?$", re.M | re.I)
TAP_CASE = re.compile(r"^(not )?ok\b(.*)$", re.M)
TAP_SKIP = re.compile(r"#\s*skip\S*\s*(.*)$", re.I)
TAP_TODO = re.compile(r"#\s*todo\b", re.I)
RC_SKIP = 77
LINES_SHOWN = 120


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def count_tap(entry, plan, skips):
    """(passed, failed, skipped) of one TAP test."""
    out = entry.get("stdout", "")
    if plan[1] == "0":
        skips.append((entry["name"], plan[2] or "no reason given"))
        return 0, 0, 1
    passed = failed = skipped = 0
    for bad, rest in TAP_CASE.findall(out):
        skip = TAP_SKIP.search(rest)
        if skip:
            skipped += 1
            skips.append((f"{entry['name']}:{rest[:skip.start()].rstrip()}", skip[1]))
        elif bad and not TAP_TODO.search(rest):
            failed += 1
        else:
            passed += 1
    return passed, failed, skipped


def count(entry, skips):
    """(passed, failed, skipped) of one test; what is not OK has at least one failure."""
    out = entry.get("stdout", "")
    plan = TAP_PLAN.search(out)
    good = entry["result"] in ("OK", "SKIP", "EXPECTEDFAIL")
    if plan:
        passed, failed, skipped = count_tap(entry, plan, skips)
    elif entry["result"] == "SKIP" or entry.get("returncode") == RC_SKIP:
        skips.append((entry["name"], last_line(out + entry.get("stderr", ""))))
        return 0, 0, 1
    else:
        passed, failed, skipped = int(good), 0, 0
    if not good and failed == 0:
        failed = 1
    return passed, failed, skipped


def show_failure(entry):
    print(f"--- {entry['name']}: {entry['result']} (exit status {entry.get('returncode')})")
    text = entry.get("stdout", "") + entry.get("stderr", "")
    lines = text.splitlines()
    if len(lines) > LINES_SHOWN:
        print(f"    ... {len(lines) - LINES_SHOWN} lines before, all in meson-logs/testlog.txt")
    for line in lines[-LINES_SHOWN:]:
        print(f"    {line}")


def main(path):
    total = [0, 0, 0]
    skips = []
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            entry = json.loads(line)
            entry["name"] = entry["name"].split(" / ")[-1]  # without project and suite
            counts = count(entry, skips)
            total = [a + b for a, b in zip(total, counts)]
            if counts[1]:
                show_failure(entry)
    for name, reason in skips:
        print(f"SKIP {name}: {reason}")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: count.py TESTLOG.JSON")
    sys.exit(main(sys.argv[1]))
