#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The N-th call of sd-bus fails, once or for ever: fail-nth.py UBLKD-FAILING-BUS POLICY

Whatever fails, the daemon lives, answers each call that it took (or says why not), and is as it was
when the calls succeed again. UBLKD_TEST_LONG tries every call instead of some."""

import mmap
import os
import pathlib
import struct
import sys
import time

import bed
from bed import DEVICE, MANAGER, MANAGER_PATH, NAME, PROPERTIES
from dbus_client import Error, Variant

PROGRAM, POLICY = sys.argv[1], sys.argv[2]
bed.need('dbus-daemon')
if pathlib.Path('/dev/ublk-control').exists():
    bed.skip_all('this machine has the driver: a daemon of the tests would be at its devices')

LONG = 'UBLKD_TEST_LONG' in os.environ
DEVICE_PATH = f'{MANAGER_PATH}/device/a'
# With everything failing nobody may be told; who waits for that waits so long.
PATIENCE = {False: 10, True: 0.2}


class Orders:
    """struct orders of failing-bus.c, in a file that both map."""

    SIZE = 16 + 64 + 64 * 64

    def __init__(self, path):
        path.write_bytes(bytes(self.SIZE))
        with path.open('r+b') as f:
            self.map = mmap.mmap(f.fileno(), self.SIZE)

    def give(self, at, only='', for_ever=False):
        """Counting begins anew."""
        # Which one last: a call may come at any time.
        self.map[0:4] = bytes(4)
        self.map[4:self.SIZE] = struct.pack('=III64s', for_ever, 0, 0,
                                            only.encode()).ljust(self.SIZE - 4, b'\0')
        self.map[0:4] = struct.pack('=I', at)

    def have_failed(self):
        return struct.unpack_from('=I', self.map, 8)[0] > 0

    def count(self):
        return struct.unpack_from('=I', self.map, 12)[0]

    def counts(self):
        """By name"""
        found = [struct.unpack_from('=60sI', self.map, at) for at in range(80, self.SIZE, 64)]
        return {name.rstrip(b'\0').decode(): n for name, n in found if n}


def manager(client, member, signature='', *args, timeout=10):
    return client.call(NAME, MANAGER_PATH, MANAGER, member, signature, *args, timeout=timeout)


def life(for_ever):
    """All that a client may ask. Return: the errors it got"""
    client = BUS.client(["type='signal',sender='org.ublkd1'"])
    values = {'Target': Variant('s', 'null'), 'Size': Variant('t', 1 << 20),
              'Queues': Variant('u', 2), 'CPUAffinity': Variant('s', '0')}
    errors = []
    for call in [
            (MANAGER_PATH, MANAGER, 'AddDevice', 'sa{sv}t', 'a', values, 0),
            (MANAGER_PATH, MANAGER, 'ListDevices'),
            (MANAGER_PATH, PROPERTIES, 'GetAll', 's', MANAGER),
            (DEVICE_PATH, PROPERTIES, 'GetAll', 's', DEVICE),
            (DEVICE_PATH, DEVICE, 'Describe'),
            (MANAGER_PATH, MANAGER, 'Describe'),
            (MANAGER_PATH, MANAGER, 'Reload', 'a{sv}', {}),
            (MANAGER_PATH, MANAGER, 'StartDevice', 'sa{sv}', 'a', {'no-block': Variant('b', True)}),
            (DEVICE_PATH, DEVICE, 'Delete', 'a{sv}', {})]:
        try:
            client.call(NAME, *call, timeout=PATIENCE[for_ever])
        except Error as e:
            errors.append(e)
            assert e.text, call
        except TimeoutError:
            assert for_ever, f'{call[2]} is not answered'
    client.close()
    return errors


def names(client):
    return [d[0] for d in manager(client, 'ListDevices')[0]]


def is_as_before():
    """The calls succeed again."""
    ORDERS.give(0)
    bed.wait_for('the name', BUS.has_name)
    client = BUS.client()
    for name in names(client):
        manager(client, 'DeleteDevice', 'sa{sv}', name, {})
    assert names(client) == []
    client.close()
    assert DAEMON.is_running()


def says_running(client):
    try:
        return client.call(NAME, MANAGER_PATH, PROPERTIES, 'Get', 'ss', MANAGER,
                           'State')[0] == 'running'
    except Error:
        return False


def steady():
    bed.wait_for('the name', BUS.has_name)
    client = BUS.client()
    bed.wait_for('the state', lambda: says_running(client))
    client.close()


def each_call_of_the_start_fails_once():
    DAEMON.stop()
    n = 0
    while True:
        n += 1 if n < 24 or LONG else 29
        ORDERS.give(n)
        DAEMON.start()
        try:
            steady()
            failed = ORDERS.have_failed()
            is_as_before()
        finally:
            assert DAEMON.stop() == 0, f'call {n}'
        if not failed:
            break
    print(f'# {n - 1} calls')
    assert n > 16
    ORDERS.give(0)
    DAEMON.start()
    steady()


def a_start_without_any_bus():
    DAEMON.stop()
    for n in (1, 3, 6, 9, 12, 14, 16):
        ORDERS.give(n, for_ever=True)
        DAEMON.start()
        bed.wait_for('the failure', ORDERS.have_failed)
        time.sleep(0.1)
        assert DAEMON.is_running(), f'from call {n} on'
        if n % 2:
            is_as_before()
        assert DAEMON.stop() == 0, f'from call {n} on'
    ORDERS.give(0)
    DAEMON.start()
    steady()


def each_call_fails_once():
    ORDERS.give(0)
    life(False)
    counts = ORDERS.counts()
    print(f'# {ORDERS.count()} calls of {len(counts)} functions')
    assert len(counts) > 20, counts
    for name, n in counts.items():
        # Of those that are called hundreds of times, some.
        for at in range(1, n + 1, 1 if LONG else 1 + n // 12):
            try:
                ORDERS.give(at, name)
                life(False)
                is_as_before()
            except Exception as e:
                raise AssertionError(f'call {at} of {name}') from e


def all_calls_fail_from_one_on():
    ORDERS.give(0)
    life(False)
    total = ORDERS.count()
    for step in range(12):
        ORDERS.give(1 + step * total // 12, for_ever=True)
        life(True)
        is_as_before()


def nothing_is_lost_by_it():
    ORDERS.give(0)
    errors = life(False)
    # No driver here: no start.
    assert [e.name for e in errors] in ([], ['org.ublkd1.Error.ModuleMissing']), errors
    assert DAEMON.stop() == 0


with bed.Folder() as top:
    ORDERS = Orders(top / 'orders')
    BUS = bed.Bus(top, POLICY)
    BUS.start()
    DAEMON = bed.Daemon(PROGRAM, top, BUS.address)
    DAEMON.environment['UBLKD_TEST_FAIL'] = str(top / 'orders')
    DAEMON.start()
    try:
        steady()
        bed.run_tests([each_call_fails_once, all_calls_fail_from_one_on,
                       each_call_of_the_start_fails_once, a_start_without_any_bus,
                       nothing_is_lost_by_it], log=DAEMON.log)
    finally:
        DAEMON.stop()
        BUS.stop()
