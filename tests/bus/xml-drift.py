#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed interface files say what the program says: xml-drift.py UBLKD DBUS-FOLDER"""

import difflib
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ET

from bed import run_tests

PROGRAM, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])


def canonical(text):
    """One line per element with its place and attributes sorted: order and white space are free."""
    lines = []

    def walk(element, place):
        attributes = ' '.join(f'{k}={v}' for k, v in sorted(element.attrib.items()))
        here = f'{place}/{element.tag}[{attributes}]'
        lines.append(here)
        # The order of the arguments counts, that of everything else does not.
        for i, child in enumerate(element.findall('arg')):
            walk(child, f'{here}/{i}')
        for child in element:
            if child.tag != 'arg':
                walk(child, here)

    walk(ET.fromstring(text), '')
    return sorted(lines)


def introspect(path):
    return subprocess.run([PROGRAM, f'--bus-introspect={path}'], capture_output=True, text=True,
                          check=False)


def compare(path, name):
    said = introspect(path)
    assert said.returncode == 0, said.stderr
    installed = (FOLDER / name).read_text()
    diff = list(difflib.unified_diff(canonical(installed), canonical(said.stdout), name, path,
                                     lineterm='', n=0))
    assert not diff, '\n'.join(diff)


def manager_interface_is_as_installed():
    compare('/org/ublkd1', 'org.ublkd1.Manager.xml')


def device_interface_is_as_installed():
    compare('/org/ublkd1/device/x', 'org.ublkd1.Device.xml')


def log_control_can_be_introspected():
    said = introspect('/org/freedesktop/LogControl1')
    assert said.returncode == 0 and 'LogLevel' in said.stdout, said


def unknown_path_is_refused():
    for path in ('/org', '/org/ublkd1/device', '/org/ublkd2', 'x', ''):
        said = introspect(path)
        assert said.returncode != 0 and not said.stdout, (path, said)


run_tests([manager_interface_is_as_installed, device_interface_is_as_installed,
           log_control_can_be_introspected, unknown_path_is_refused])
