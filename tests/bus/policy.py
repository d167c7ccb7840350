#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The bus policy, on a private bus of type system: policy.py UBLKD POLICY"""

import subprocess
import sys

import bed
from bed import DEVICE, MANAGER, MANAGER_PATH, NAME, PROPERTIES

PROGRAM, POLICY = sys.argv[1], sys.argv[2]
bed.need('dbus-daemon', 'busctl', 'setpriv')


def busctl(user, *arguments):
    command = ['busctl', f'--address={BUS.address}', '--timeout=20', *arguments]
    if user == 'nobody':
        command = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def is_denied(result):
    return result.returncode != 0 and 'denied' in result.stderr.lower()


CALLS = [
    (MANAGER_PATH, MANAGER, 'ListDevices'),
    (MANAGER_PATH, MANAGER, 'Describe'),
    (MANAGER_PATH, MANAGER, 'Reload', 'a{sv}', '0'),
    (MANAGER_PATH, PROPERTIES, 'GetAll', 's', MANAGER),
    (MANAGER_PATH, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects'),
    (MANAGER_PATH, 'org.freedesktop.DBus.Introspectable', 'Introspect'),
    (MANAGER_PATH, 'org.freedesktop.DBus.Peer', 'Ping'),
    ('/org/freedesktop/LogControl1', PROPERTIES, 'Set', 'ssv', 'org.freedesktop.LogControl1',
     'LogLevel', 's', 'info'),
]


def root_may_call_everything():
    for call in CALLS:
        result = busctl('root', 'call', NAME, *call)
        assert result.returncode == 0, (call, result.stderr)


def nobody_may_call_nothing():
    calls = CALLS + [(MANAGER_PATH + '/device/x', DEVICE, 'Start', 'a{sv}', '0'),
                     (MANAGER_PATH, MANAGER, 'AddDevice', 'sa{sv}t', 'x', '1', 'Target', 's',
                      'null', '0')]
    for call in calls:
        assert is_denied(busctl('nobody', 'call', NAME, *call)), call


def nobody_may_not_own_the_name():
    flags = 2  # replace the owner
    result = busctl('nobody', 'call', 'org.freedesktop.DBus', '/org/freedesktop/DBus',
                    'org.freedesktop.DBus', 'RequestName', 'su', NAME, str(flags))
    assert is_denied(result), result


def nobody_sees_that_the_name_is_owned():
    result = busctl('nobody', 'call', 'org.freedesktop.DBus', '/org/freedesktop/DBus',
                    'org.freedesktop.DBus', 'NameHasOwner', 's', NAME)
    assert result.stdout.strip() == 'b true', result


with bed.Folder() as folder:
    BUS = bed.Bus(folder, POLICY)
    BUS.start()
    daemon = bed.Daemon(PROGRAM, folder, BUS.address)
    daemon.start()
    try:
        bed.wait_for('the name', BUS.has_name)
        bed.run_tests([root_may_call_everything, nobody_may_call_nothing,
                       nobody_may_not_own_the_name, nobody_sees_that_the_name_is_owned])
    finally:
        daemon.stop()
        BUS.stop()
