#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""org.ublkd1 as a client sees it, from a real daemon on a private bus: daemon.py UBLKD POLICY

The kernel of the host is not needed; where it has no ublk driver, a start must say so."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import bed
from bed import DEVICE, MANAGER, MANAGER_PATH, NAME, PROPERTIES
from dbus_client import Error, Variant

PROGRAM, POLICY = sys.argv[1], sys.argv[2]
bed.need('dbus-daemon', 'busctl')

OBJECT_MANAGER = 'org.freedesktop.DBus.ObjectManager'
LOG_PATH, LOG = '/org/freedesktop/LogControl1', 'org.freedesktop.LogControl1'
INVALID_ARGS = 'org.freedesktop.DBus.Error.InvalidArgs'
if pathlib.Path('/dev/ublk-control').exists():
    bed.skip_all('this machine has the driver: a daemon of the tests would be at its devices')


def ours(name):
    return f'org.ublkd1.Error.{name}'


def manager(client, member, signature='', *args):
    return client.call(NAME, MANAGER_PATH, MANAGER, member, signature, *args)


def get(client, path, interface, name):
    return client.call(NAME, path, PROPERTIES, 'Get', 'ss', interface, name)[0]


def path_of(name):
    """As sd_bus_path_encode()."""
    safe = ''.join(c if c.isalnum() and not (i == 0 and c.isdigit()) else f'_{ord(c):02x}'
                   for i, c in enumerate(name))
    return f'{MANAGER_PATH}/device/{safe}'


def settings(**values):
    """Text where nothing else is said."""
    return {k: v if isinstance(v, Variant) else Variant('s', v) for k, v in values.items()}


def null_settings(**more):
    return settings(Target='null', Size='1G', **more)


def add(client, name, values=None, flags=0):
    return manager(client, 'AddDevice', 'sa{sv}t', name,
                   null_settings() if values is None else values, flags)[0]


def delete(client, name):
    manager(client, 'DeleteDevice', 'sa{sv}', name, {})


def expect(error, call, *args, says=()):
    """@call fails with @error, in one sentence that holds each of @says."""
    try:
        result = call(*args)
    except Error as e:
        assert e.name == error, f'{e} instead of {error} for {args}'
        for text in says:
            assert text in e.text, f'{text!r} is not in {e.text!r}'
        assert e.text and '\n' not in e.text, repr(e.text)
        return e.text
    raise AssertionError(f'{args} returned {result} instead of {error}')


def names(client):
    return [d[0] for d in manager(client, 'ListDevices')[0]]


def wait_property(client, path, interface, name, value):
    bed.wait_for(f'{name} = {value}', lambda: get(client, path, interface, name) == value)


def forget_all():
    """What a test that failed left behind would fail the next."""
    if not DAEMON.is_running():
        DAEMON.start()
        bed.wait_for('the name', BUS.has_name)
    client = BUS.client()
    for name in names(client):
        delete(client, name)
    client.close()


# ---- what works


def it_lists_adds_and_deletes():
    client = BUS.client()
    assert names(client) == []
    assert add(client, 'vm-disk.0') == path_of('vm-disk.0')
    assert add(client, '0a') == path_of('0a')
    assert names(client) == ['0a', 'vm-disk.0']
    name, state, node, size, path = manager(client, 'ListDevices')[0][1]
    assert (name, state, node, path) == ('vm-disk.0', 'defined', '', path_of('vm-disk.0')), path
    assert isinstance(size, int)
    assert manager(client, 'GetDevice', 's', 'vm-disk.0')[0] == path_of('vm-disk.0')
    delete(client, 'vm-disk.0')
    client.call(NAME, path_of('0a'), DEVICE, 'Delete', 'a{sv}', {})
    assert names(client) == []


def settings_of_every_type_are_taken():
    client = BUS.client()
    values = null_settings(Queues=Variant('u', 2), QueueDepth=Variant('q', 64),
                           ReadOnly=Variant('b', True), Description=Variant('s', 'a "b" \\ ü'),
                           Autostart=Variant('b', False), Id=Variant('i', 5))
    values['Size'] = Variant('t', 1 << 31)
    path = add(client, 'typed', values)
    text = get(client, path, DEVICE, 'Settings')
    assert text['Target'] == 'null' and text['Queues'] == '2' and text['QueueDepth'] == '64', text
    assert text['ReadOnly'] == 'yes' and text['Size'] == '2G' and text['Id'] == '5', text
    assert text['Description'] == 'a "b" \\ ü', text
    delete(client, 'typed')


def data_path_settings_are_taken():
    client = BUS.client()
    path = add(client, 'way', null_settings(
        Copy='none', Batch=Variant('b', True), ThreadsPerQueue=Variant('u', 1),
        WriteCache=Variant('b', True), DMAAlignment=Variant('u', 512),
        LogicalBlockSize=Variant('u', 4096), IntegrityMetadataSize=Variant('y', 8)))
    text = get(client, path, DEVICE, 'Settings')
    assert (text['Copy'], text['Batch'], text['WriteCache']) == ('none', 'yes', 'yes'), text
    assert (text['DMAAlignment'], text['IntegrityMetadataSize']) == ('512', '8'), text
    assert text['MaxIOSize'] == '' and text['SharedMemory'] == 'no', text
    assert text['FUA'] == 'auto', text
    delete(client, 'way')


def properties_are_readable():
    client = BUS.client()
    path = add(client, 'props', null_settings(Description='words'))
    everything = client.call(NAME, path, PROPERTIES, 'GetAll', 's', DEVICE)[0]
    assert everything['Name'] == 'props' and everything['State'] == 'defined', everything
    assert everything['Target'] == 'null' and everything['Description'] == 'words', everything
    assert everything['LastError'] == ('', '') and everything['DeviceId'] == -1, everything
    assert everything['BlockDevice'] == '' and everything['InUse'] is False, everything
    assert everything['ReadBytes'] == 0 and everything['InFlight'] == 0, everything
    assert everything['DataPath'] == '' and everything['MaxIOBytes'] == 0, everything
    assert everything['FragmentPath'] == '' and everything['DropInPaths'] == [], everything
    assert everything['SharedMemory'] == [] and everything['SharedOps'] == 0, everything
    assert everything['FallbackOps'] == 0, everything
    assert 'QueueThreads' not in everything  # only when asked for
    assert get(client, path, DEVICE, 'QueueThreads') == []
    whole = client.call(NAME, MANAGER_PATH, PROPERTIES, 'GetAll', 's', MANAGER)[0]
    assert whole['NDevices'] == 1 and whole['NRunning'] == 0 and whole['Version'], whole
    assert sorted(whole['Targets']) == ['fault', 'loop', 'null'], whole
    assert whole['State'] == 'running', whole
    delete(client, 'props')
    assert get(client, MANAGER_PATH, MANAGER, 'NDevices') == 0


def describe_is_json_of_everything():
    client = BUS.client()
    path = add(client, 'json', null_settings(Description='q"\\\t\u00fc'))
    one = json.loads(client.call(NAME, path, DEVICE, 'Describe')[0])
    whole = json.loads(manager(client, 'Describe')[0])
    assert one['Name'] == 'json' and one['Description'] == 'q"\\\t\u00fc', one
    assert one['Settings']['Target'] == 'null' and one['ReadOnly'] is False, one
    assert whole['Devices'] == [one] and whole['NDevices'] == 1, whole
    everything = client.call(NAME, path, PROPERTIES, 'GetAll', 's', DEVICE)[0]
    assert set(everything) < set(one), set(everything) - set(one)
    delete(client, 'json')


def signals_tell_of_new_changed_and_removed():
    client = BUS.client([f"type='signal',sender='{NAME}'"])
    path = add(client, 'sig')
    seen = client.take_signals()
    new = [s for s in seen if s.member == 'DeviceNew']
    added = [s for s in seen if s.member == 'InterfacesAdded']
    assert [s.body for s in new] == [['sig', path]], seen
    assert added[0].path == MANAGER_PATH and added[0].body[0] == path, added
    assert added[0].body[1][DEVICE]['Name'] == 'sig', added
    changed = [s.body[1] for s in seen
               if s.member == 'PropertiesChanged' and s.path == MANAGER_PATH]
    assert {'NDevices': 1} in changed, changed
    delete(client, 'sig')
    seen = client.take_signals()
    removed = [s for s in seen if s.member == 'InterfacesRemoved']
    assert removed[0].body[0] == path and DEVICE in removed[0].body[1], removed
    assert ['sig', path] in [s.body for s in seen if s.member == 'DeviceRemoved'], seen


def object_manager_shows_all():
    client = BUS.client()
    path = add(client, 'om')
    objects = client.call(NAME, MANAGER_PATH, OBJECT_MANAGER, 'GetManagedObjects')[0]
    assert objects[path][DEVICE]['Name'] == 'om', objects
    tree = subprocess.run(['busctl', f'--address={BUS.address}', 'tree', '--list', NAME],
                          capture_output=True, text=True, check=True).stdout.split()
    assert path in tree and LOG_PATH in tree, tree
    delete(client, 'om')


def busctl_line_of_the_readme_works():
    client = BUS.client()
    backing = DAEMON.folder / 'disk0.img'
    backing.write_bytes(b'')
    subprocess.run(['busctl', f'--address={BUS.address}', 'call', NAME, MANAGER_PATH, MANAGER,
                    'AddDevice', 'sa{sv}t', 'disk0', '3', 'Target', 's', 'loop', 'File', 's',
                    str(backing), 'Queues', 'u', '1', '0'], check=True, capture_output=True)
    assert get(client, path_of('disk0'), DEVICE, 'Settings')['File'] == str(backing)
    delete(client, 'disk0')


def reload_reports_each_device():
    client = BUS.client([f"type='signal',sender='{NAME}'"])
    folder = DAEMON.folder / 'root/etc/ublkd/devices'
    folder.mkdir(parents=True, exist_ok=True)
    good, bad = folder / 'fromfile.conf', folder / 'bad.conf'
    good.write_text('[Device]\nTarget=null\nSize=1G\n')
    bad.write_text('[Device]\nTarget=null\nSize=1G\n[Queue]\nDepth=99999\n')
    changes = {c[0]: c for c in manager(client, 'Reload', 'a{sv}', {})[0]}
    assert changes['fromfile'][1] == 'added', changes
    assert changes['bad'][1] == 'invalid' and 'bad.conf:5' in changes['bad'][2], changes
    assert get(client, path_of('fromfile'), DEVICE, 'FragmentPath') == str(good)
    usec, failed = get(client, MANAGER_PATH, MANAGER, 'LastReload')
    assert failed == 1 and abs(usec / 1e6 - time.time()) < 60, (usec, failed)
    assert ['fromfile', path_of('fromfile')] in [s.body for s in client.take_signals('DeviceNew')]

    bad.unlink()
    good.write_text('[Device]\nTarget=null\nSize=2G\nDescription=new\n')
    client.take_signals()
    changes = {c[0]: c[1] for c in manager(client, 'Reload', 'a{sv}', {})[0]}
    assert changes['fromfile'] == 'updated', changes
    assert get(client, path_of('fromfile'), DEVICE, 'Description') == 'new'
    told = [s.body[1] for s in client.take_signals('PropertiesChanged')
            if s.path == path_of('fromfile')]
    assert any(c.get('Description') == 'new' for c in told), told

    good.unlink()
    changes = {c[0]: c[1] for c in manager(client, 'Reload', 'a{sv}', {})[0]}
    assert changes['fromfile'] == 'removed' and names(client) == [], changes


def broken_main_file_rejects_the_reload():
    client = BUS.client()
    main = DAEMON.folder / 'root/etc/ublkd/ublkd.conf'
    main.parent.mkdir(parents=True, exist_ok=True)
    main.write_text('[Manager]\nDefaultQueueDepth=0\n')
    try:
        expect(ours('InvalidConfiguration'), manager, client, 'Reload', 'a{sv}', {},
               says=['ublkd.conf:2', 'DefaultQueueDepth'])
    finally:
        main.unlink()
    manager(client, 'Reload', 'a{sv}', {})


def log_control_changes_the_level():
    client = BUS.client()

    def put(name, kind, value):
        client.call(NAME, LOG_PATH, PROPERTIES, 'Set', 'ssv', LOG, name, Variant(kind, value))

    before = get(client, LOG_PATH, LOG, 'LogLevel')
    put('LogLevel', 's', 'debug')
    assert get(client, LOG_PATH, LOG, 'LogLevel') == 'debug'
    expect(INVALID_ARGS, put, 'LogLevel', 's', 'loud', says=['loud'])
    expect(INVALID_ARGS, put, 'LogLevel', 'u', 7)
    assert get(client, LOG_PATH, LOG, 'LogLevel') == 'debug'
    put('LogLevel', 's', before)
    target = get(client, LOG_PATH, LOG, 'LogTarget')
    put('LogTarget', 's', target)
    expect(INVALID_ARGS, put, 'LogTarget', 's', 'kmsg', says=[target])
    assert get(client, LOG_PATH, LOG, 'SyslogIdentifier') == 'ublkd'


# ---- what is refused


def bad_names_are_refused():
    client = BUS.client()
    for name in ('', '/', '..', 'a/b', '../x', '.hidden', '-x', 'x' * 49, 'x' * 300, 'a b', 'ü',
                 'control', 'a\n'):
        expect(ours('InvalidName'), add, client, name)
        expect(ours('NoSuchDevice'), manager, client, 'GetDevice', 's', name)
    assert names(client) == []


def a_name_is_used_once():
    client = BUS.client()
    add(client, 'twice')
    expect(ours('DeviceExists'), add, client, 'twice', says=['twice'])
    assert names(client) == ['twice']
    delete(client, 'twice')


def unknown_devices_are_refused():
    client = BUS.client()
    for member in ('StartDevice', 'StopDevice', 'DeleteDevice'):
        expect(ours('NoSuchDevice'), manager, client, member, 'sa{sv}', 'nope', {}, says=['nope'])
    for node in ('ublkb7', '/dev/ublkb7', '/dev/null', '', 'x' * 5000):
        expect(ours('NoSuchDevice'), manager, client, 'GetDeviceByNode', 's', node)
    expect('org.freedesktop.DBus.Error.UnknownObject', client.call, NAME, path_of('nope'), DEVICE,
           'Start', 'a{sv}', {})


def bad_settings_are_refused():
    client = BUS.client()

    def refused(error, says, **values):
        expect(error, add, client, 'bad', settings(**values), says=says)

    invalid = ours('InvalidConfiguration')
    refused(invalid, ['bad', 'Target'], Size='1G')
    refused(ours('UnknownTarget'), ['bad', 'nosuch'], Target='nosuch', Size='1G')
    refused(ours('UnknownTarget'), ['bad'], Target='', Size='1G')
    refused(invalid, ['Colour'], Target='null', Size='1G', Colour='red')
    refused(invalid, ['QueueDepth', '99999'], Target='null', Size='1G', QueueDepth='99999')
    refused(invalid, ['QueueDepth'], Target='null', Size='1G', QueueDepth=Variant('u', 0xffffffff))
    refused(invalid, ['File'], Target='loop')
    refused(invalid, ['File'], Target='loop', File='relative')
    refused(invalid, ['Size'], Target='null', Size='ten')
    # Both in one message.
    refused(invalid, ['QueueDepth', 'File'], Target='loop', QueueDepth='0x')
    refused(invalid, ['QueueDepth', 'Colour'], Target='null', Size='1G', QueueDepth='-1',
            Colour='red')
    assert names(client) == []


def wrong_types_are_refused():
    client = BUS.client()

    def refused(says, **values):
        expect(INVALID_ARGS, add, client, 'bad', null_settings(**values), says=says)

    refused(['QueueDepth'], QueueDepth=Variant('d', 1.5))
    refused(['QueueDepth'], QueueDepth=Variant('i', -1))
    refused(['QueueDepth'], QueueDepth=Variant('x', -(1 << 63)))
    refused(['QueueDepth'], QueueDepth=Variant('b', True))
    refused(['QueueDepth'], QueueDepth=Variant('as', ['1']))
    refused(['ReadOnly'], ReadOnly=Variant('u', 1))
    refused(['Description'], Description=Variant('v', Variant('s', 'x')))
    refused(['Description'], Description=Variant('ay', b'x'))
    refused(['Description'], Description=Variant('a{ss}', {}))
    expect(INVALID_ARGS, add, client, 'bad',
           settings(Target='loop', File=Variant('t', 3)), says=['File'])
    twice = [('Size', Variant('s', '1G')), ('Target', Variant('s', 'null')),
             ('Size', Variant('s', '2G'))]
    expect(INVALID_ARGS, manager, client, 'AddDevice', 'sa{sv}t', 'bad', twice, 0, says=['Size'])
    expect(INVALID_ARGS, add, client, 'bad', settings(**{f'k{i}': '' for i in range(300)}))
    expect(INVALID_ARGS, add, client, 'bad', None, 2, says=['bad'])
    expect(INVALID_ARGS, add, client, 'bad', None, 1 << 63)
    expect(INVALID_ARGS, manager, client, 'AddDevice', 's', 'bad')
    expect(INVALID_ARGS, manager, client, 'AddDevice', 'sa{ss}t', 'bad', {}, 0)
    expect(INVALID_ARGS, manager, client, 'GetDevice', 'u', 1)
    expect('org.freedesktop.DBus.Error.UnknownMethod', manager, client, 'Explode')
    assert names(client) == []


def bad_options_are_refused():
    client = BUS.client()
    add(client, 'opts')

    def refused(member, says, **options):
        expect(INVALID_ARGS, manager, client, member, 'sa{sv}', 'opts', settings(**options),
               says=says)

    refused('StartDevice', ['mode'], mode='safe')
    refused('StartDevice', ['colour'], colour='red')
    refused('StopDevice', ['rough'], mode='rough')
    refused('StopDevice', ['mode'], mode=Variant('u', 1))
    refused('DeleteDevice', ['wait-udev'], **{'wait-udev': Variant('b', True)})
    refused('StopDevice', ['timeout-usec'], **{'timeout-usec': Variant('i', 1)})
    refused('StopDevice', ['no-block'], **{'no-block': 'yes'})
    expect(INVALID_ARGS, manager, client, 'Reload', 'a{sv}', settings(x='y'), says=['x'])
    expect(ours('DeviceNotRunning'), manager, client, 'StopDevice', 'sa{sv}', 'opts',
           settings(mode='force'), says=['opts'])
    delete(client, 'opts')


def options_of_running_targets_only_are_set():
    client = BUS.client()
    path = add(client, 'live', settings(Target='fault', Size='1M'))
    plain = add(client, 'plain')

    def call(where, options, signature='a{sv}'):
        return client.call(NAME, where, DEVICE, 'SetTargetOptions', signature, options)

    expect(ours('DeviceNotRunning'), call, path, settings(Stuck=Variant('b', True)),
           says=['live', 'defined'])
    expect(ours('InvalidConfiguration'), call, plain, settings(Size='1M'), says=['plain', 'null'])
    expect(INVALID_ARGS, call, path, settings(Latency=Variant('b', True)), says=['Latency'])
    twice = [('Seed', Variant('u', 1)), ('Seed', Variant('u', 2))]
    expect(INVALID_ARGS, call, path, twice, says=['Seed'])
    expect(INVALID_ARGS, call, path, {'Stuck': 'yes'}, 'a{ss}')
    assert get(client, path, DEVICE, 'Settings')['Stuck'] == 'no'
    delete(client, 'live')
    delete(client, 'plain')


def memory_is_shared_with_running_devices_only():
    client = BUS.client()
    path = add(client, 'memory', null_settings(SharedMemory=Variant('b', True)))
    assert get(client, path, DEVICE, 'Settings')['SharedMemory'] == 'yes'
    memory = os.memfd_create('memory')
    os.truncate(memory, 1 << 20)

    def call(member, signature, *args):
        return client.call(NAME, path, DEVICE, member, signature, *args)

    for read_only in (False, True):
        expect(ours('DeviceNotRunning'), call, 'AddSharedMemory', 'hb', memory, read_only,
               says=['memory', 'defined'])
    expect(ours('DeviceNotRunning'), call, 'RemoveSharedMemory', 'u', 0, says=['memory'])
    expect(INVALID_ARGS, call, 'AddSharedMemory', 'ub', 0, False)
    expect(INVALID_ARGS, call, 'AddSharedMemory', 'h', memory)
    expect(INVALID_ARGS, call, 'RemoveSharedMemory', 'i', 0)
    os.close(memory)
    expect(ours('InvalidConfiguration'), add, client, 'bad',
           null_settings(SharedMemory='relative'), says=['SharedMemory', 'an absolute path'])
    # What was sent has not piled up in the daemon.
    held = [os.readlink(f) for f in pathlib.Path(f'/proc/{DAEMON.process.pid}/fd').iterdir()]
    assert not [f for f in held if 'memfd' in f], held
    delete(client, 'memory')


def start_without_the_driver_names_the_fix():
    client = BUS.client()
    path = add(client, 'start')
    for options in ({}, {'no-block': Variant('b', True), 'timeout-usec': Variant('t', 1 << 63)},
                    {'wait-udev': Variant('b', False)}):
        expect(ours('ModuleMissing'), manager, client, 'StartDevice', 'sa{sv}', 'start', options,
               says=['start', 'modprobe ublk_drv'])
    expect(ours('ModuleMissing'), client.call, NAME, path, DEVICE, 'Start', 'a{sv}', {},
           says=['modprobe ublk_drv'])
    assert 'modprobe ublk_drv' in get(client, MANAGER_PATH, MANAGER, 'KernelProblem')
    delete(client, 'start')


def a_failed_add_leaves_nothing_behind():
    client = BUS.client([f"type='signal',sender='{NAME}'"])
    expect(ours('ModuleMissing'), add, client, 'gone', None, 1, says=['gone', 'modprobe'])
    assert names(client) == []
    expect(ours('NoSuchDevice'), manager, client, 'GetDevice', 's', 'gone')
    seen = [s.member for s in client.take_signals()]
    assert seen.count('DeviceNew') == seen.count('DeviceRemoved'), seen


# ---- connection life


def the_name_comes_back_with_the_bus():
    client = BUS.client()
    add(client, 'kept')
    client.close()
    for _ in range(3):
        BUS.stop()
        BUS.start()
        bed.wait_for('the name', BUS.has_name)
    assert DAEMON.is_running()
    client = BUS.client()
    assert names(client) == ['kept']
    delete(client, 'kept')


def another_owner_of_the_name_is_waited_for():
    with bed.Folder() as folder:
        bus = bed.Bus(folder, POLICY)
        bus.start()
        other = bus.client()
        assert other.bus('RequestName', 'su', NAME, 4)[0] == 1
        daemon = bed.Daemon(PROGRAM, folder, bus.address)
        daemon.start()
        try:
            bed.wait_for('a complaint', lambda: NAME in daemon.log.read_text())
            time.sleep(2)  # long enough for a second try, that must say nothing
            said = [line for line in daemon.log.read_text().splitlines() if NAME in line]
            assert len(said) == 1, said
            other.bus('ReleaseName', 's', NAME)
            bed.wait_for('the name', bus.has_name)
        finally:
            assert daemon.stop() == 0
            bus.stop()


def a_bus_that_comes_later_is_found():
    with bed.Folder() as folder:
        bus = bed.Bus(folder, POLICY)
        # A socket without a listener is refused, not missing: both must be got over.
        for refusing in (False, True):
            if refusing:
                stale = socket.socket(socket.AF_UNIX)
                stale.bind(str(bus.socket))
                stale.close()
            daemon = bed.Daemon(PROGRAM, folder, bus.address)
            daemon.start()
            try:
                time.sleep(0.3)
                assert daemon.is_running()
                bus.socket.unlink(missing_ok=True)
                bus.start()
                bed.wait_for('the name', bus.has_name)
                client = bus.client()
                assert names(client) == []
                client.close()
            finally:
                assert daemon.stop() == 0
                bus.stop()


def a_second_daemon_is_refused():
    second = subprocess.run(DAEMON.arguments(), env=DAEMON.environment, capture_output=True,
                            text=True, timeout=60, check=False)
    assert second.returncode not in (0, -6, -11), second
    assert len(second.stderr.strip().splitlines()) == 1, second
    assert DAEMON.is_running() and BUS.has_name()


def sigterm_ends_it_cleanly():
    assert DAEMON.stop() == 0, DAEMON.log.read_text()
    bed.wait_for('the name to go', lambda: not BUS.has_name())


with bed.Folder() as top:
    BUS = bed.Bus(top, POLICY)
    BUS.start()
    DAEMON = bed.Daemon(PROGRAM, top, BUS.address)
    DAEMON.start()
    try:
        bed.wait_for('the name', BUS.has_name)
        wait_property(BUS.client(), MANAGER_PATH, MANAGER, 'State', 'running')
        bed.run_tests([
            it_lists_adds_and_deletes, settings_of_every_type_are_taken,
            data_path_settings_are_taken, properties_are_readable,
            describe_is_json_of_everything, signals_tell_of_new_changed_and_removed,
            object_manager_shows_all, busctl_line_of_the_readme_works, reload_reports_each_device,
            broken_main_file_rejects_the_reload, log_control_changes_the_level,
            bad_names_are_refused, a_name_is_used_once, unknown_devices_are_refused,
            bad_settings_are_refused, wrong_types_are_refused, bad_options_are_refused,
            options_of_running_targets_only_are_set, memory_is_shared_with_running_devices_only,
            start_without_the_driver_names_the_fix, a_failed_add_leaves_nothing_behind,
            the_name_comes_back_with_the_bus, another_owner_of_the_name_is_waited_for,
            a_bus_that_comes_later_is_found, a_second_daemon_is_refused, sigterm_ends_it_cleanly,
        ], before=forget_all, log=DAEMON.log)
    finally:
        DAEMON.stop()
        BUS.stop()
