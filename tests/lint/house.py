#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""House rules that a search finds. house.py calls|words|places|length|docs

calls   functions that must not be used
words   notes to oneself, C++ comments in C, missing SPDX line, white space
places  names of hosts and paths of somebody's machine
length  files of at most 800 lines (unit tests 1500), functions of at most 100
docs    every function that a header of src declares has a doc comment; it names the function, or
        the first of a row of functions
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(os.environ["UBLKD_SOURCE_DIR"]).resolve()
FILE_LINES_MAX = 800
UNIT_TEST_LINES_MAX = 1500  # a flat list of cases
FUNCTION_LINES_MAX = 100
NOT_OURS = {"COPYING"}

# What must not be called in src, where it may be all the same, and what to do instead.
CALLS = [
    (r"dup2?", (), "fcntl(F_DUPFD_CLOEXEC) or dup3(O_CLOEXEC)"),
    (r"_?[eE]xit|quick_exit", ("src/main.c", "src/ublk/guard.c"), "return an error"),
    (r"abort", (), "assert(), or return an error"),
    (r"sprintf|vsprintf|strcpy|strcat|gets|stpcpy", (), "snprintf()"),
    (r"strncpy|strncat", (), "snprintf() or memcpy()"),
    (r"atoi|atol|atoll|atof|strtok", (), "util/parse.h"),
    (r"alloca|strdupa", (), "malloc() with _cleanup_free_"),
    (r"system|popen|sleep|usleep", (), "a timer, posix_spawn()"),
    (r"fork|vfork", ("src/ublk/guard.c", "src/main.c"), "threads, posix_spawn()"),
]

# Hosts of specifications and formats, which nobody downloads from.
HOSTS = {"www.freedesktop.org", "www.gnu.org", "fsf.org", "spdx.org", "docs.kernel.org",
         "www.kernel.org", "www.w3.org", "example.org", "example.com"}
URL = re.compile(r"\b(?:https?|ftp|git|ssh)://([A-Za-z0-9.-]+)")
REGISTRY = re.compile(r"\b(?:(?:deb|ftp|security|snapshot|archive)\.(?:debian|ubuntu)\.\w+|"
                      r"pypi\.\w+|files\.pythonhosted\.\w+|registry\.npmjs\.\w+|"
                      r"(?:docker|ghcr|quay)\.io|[\w.-]*(?:artifactory|nexus|mirror)[\w-]*\.\w[\w.]+)\b", re.I)
HOME = re.compile(r"(?<![\w.$}*-])/(?:work|root|home/\w+|Users/\w+|builds|github)/\w[\w./-]*")
ADDRESS = re.compile(r"\b(?:10|172|192)\.\d{1,3}\.\d{1,3}\.\d{1,3}\b")

# In brackets, so that this file does not find itself.
NOTES = re.compile(r"\b([T]ODO|[F]IXME|[X]XX|[H]ACK)\b")


# Samples of what users write, right and wrong.
AS_THEY_ARE = ("tests/config/",)


def text_files(*below):
    """(relative name, text) of our text files."""
    for top in below or (".",):
        for folder, folders, names in os.walk((ROOT / top).resolve()):
            skipped = {".git", "__pycache__"}
            if Path(folder) == ROOT:
                skipped |= {d for d in folders if d.startswith("build")}
            folders[:] = sorted(set(folders) - skipped)
            for name in sorted(names):
                path = Path(folder) / name
                if path.is_symlink() or name in NOT_OURS or name.endswith(".pyc"):
                    continue
                data = path.read_bytes()
                if b"\0" not in data:
                    yield path.relative_to(ROOT).as_posix(), data.decode(errors="replace")


NO_LINE_COMMENT = re.compile(
    r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
LINE_COMMENT = re.compile(r"//[^\n]*")


def blank(m):
    return re.sub(r"[^\n]", " ", m[0])


def code_of(text):
    """C without comments and strings; every line keeps its number."""
    return LINE_COMMENT.sub(blank, NO_LINE_COMMENT.sub(blank, text))


def number(text, position):
    return text.count("\n", 0, position) + 1


def calls():
    for name, text in text_files("src"):
        if not name.endswith((".c", ".h")):
            continue
        code = code_of(text)
        for pattern, where, instead in CALLS:
            if name in where:
                continue
            for m in re.finditer(rf"(?<![\w.>])(?:{pattern})\s*\(", code):
                yield f"{name}:{number(code, m.start())}: {m[0]}): use {instead}"


def words():
    for name, text in text_files():
        if name.startswith(AS_THEY_ARE):
            continue
        is_c = name.endswith((".c", ".h"))
        lines = text.split("\n")
        if is_c:
            for m in re.finditer(r"//", NO_LINE_COMMENT.sub(blank, text)):
                if m.start() > 0:  # the kernel has its SPDX lines so
                    yield f"{name}:{number(text, m.start())}: // comment"
        if is_c and "SPDX-License-Identifier:" not in lines[0]:
            yield f"{name}:1: no SPDX line"
        elif lines[0].startswith("#!") and "SPDX-License-Identifier:" not in "".join(lines[1:2]):
            yield f"{name}:2: no SPDX line"
        for i, line in enumerate(lines, 1):
            m = NOTES.search(line)
            if m:
                yield f"{name}:{i}: {m[0]}: do it, or write an issue"
            if line != line.rstrip() and not name.endswith(".md"):
                yield f"{name}:{i}: blanks at the end of the line"
        if text and not text.endswith("\n"):
            yield f"{name}:{len(lines)}: no newline at the end"


def places():
    for name, text in text_files():
        for i, line in enumerate(text.split("\n"), 1):
            for m in URL.finditer(line):
                if m[1].lower() not in HOSTS:
                    yield f"{name}:{i}: host {m[1]}"
            if name == "tests/lint/house.py":
                continue
            for pattern, what in ((REGISTRY, "registry"), (HOME, "path"), (ADDRESS, "address")):
                for m in pattern.finditer(line):
                    yield f"{name}:{i}: {what} {m[0]}"


def length():
    for name, text in text_files():
        lines = text.split("\n")
        most = UNIT_TEST_LINES_MAX if name.startswith("tests/unit/") else FILE_LINES_MAX
        if len(lines) - 1 > most:
            yield f"{name}: {len(lines) - 1} lines, at most {most}"
        if not name.endswith((".c", ".h")):
            continue
        begin = None
        for i, line in enumerate(lines, 1):
            if line == "{":
                begin = i
            elif line == "}" and begin:
                if i - begin - 1 > FUNCTION_LINES_MAX:
                    yield f"{name}:{begin}: function of {i - begin - 1} lines, " \
                          f"at most {FUNCTION_LINES_MAX}"
                begin = None


PROTOTYPE = re.compile(
    r"^(?!static\b|typedef\b|struct \w+ \{|union\b|enum \w+ \{|return\b|#|\s|DEFINE_|extern \"C\")"
    r"[A-Za-z_][^;{}()=]*?\b(\w+)\((?!\*)[^;{}]*\)[^;{}()]*(?:__attribute__\s*\(\(.*?\)\))?\s*;",
    re.M | re.S)
DOC = re.compile(r"/\*\*.*?\*/", re.S)
# What these do is the same everywhere, and said in the house style.
SAY_IT_ALL = re.compile(r"\w+_(?:free|done|release|unref)$")


def docs():
    for name, text in text_files("src"):
        if not name.endswith(".h"):
            continue
        plain = re.sub(r"^#(?:[^\n]*\\\n)*[^\n]*", blank, code_of(text), flags=re.M)
        ends = [(m.end(), m[0]) for m in DOC.finditer(text)]
        reach = -1  # one comment is for all functions in a row; an empty line ends it
        for m in PROTOTYPE.finditer(plain):
            before = [(end, doc) for end, doc in ends if end <= m.start()]
            gap = plain[max(before[-1][0], reach) if before else 0:m.start()]
            near = before and not re.search(r"\n[ \t]*\n", gap)
            first = near and before[-1][0] > reach
            if near:
                reach = m.end()
            if SAY_IT_ALL.match(m[1]):
                continue
            if not near:
                yield f"{name}:{number(text, m.start())}: {m[1]} has no doc comment"
            elif first and not re.search(rf"\b{m[1]}\b", before[-1][1]):
                yield f"{name}:{number(text, m.start())}: the doc comment does not name {m[1]}"


def main():
    check = {"calls": calls, "words": words, "places": places, "length": length, "docs": docs}
    problems = list(check[sys.argv[1]]())
    print("\n".join(problems) or "nothing found")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
