# SPDX-License-Identifier: GPL-2.0-or-later
"""What the bus tests stand on: TAP, a private system bus with our policy, a daemon on it."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from dbus_client import Client

NAME = 'org.ublkd1'
MANAGER_PATH = '/org/ublkd1'
MANAGER = 'org.ublkd1.Manager'
DEVICE = 'org.ublkd1.Device'
PROPERTIES = 'org.freedesktop.DBus.Properties'

# As the system bus of a distribution, but for where things are.
BUS_CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>{policy}</include>
</busconfig>
'''


def skip_all(why):
    print(f'1..0 # SKIP {why}')
    sys.exit(0)


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            skip_all(f'{program} is not installed')
    if os.getuid() != 0:
        skip_all('needs root: the bus lets only root own the name')


def run_tests(tests, before=lambda: None, log=None):
    """Each is a function; its name, with blanks, says what holds. TAP; exit 1 if one failed.
    @before: called before each; @log: a file whose end is shown if one failed"""
    failed = 0
    print(f'1..{len(tests)}', flush=True)
    for i, test in enumerate(tests, 1):
        name = test.__name__.replace('_', ' ')
        try:
            before()
            test()
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f'not ok {i} - {name}')
            end = log.read_text(errors='replace').splitlines()[-40:] if log else []
            for line in traceback.format_exc().splitlines() + end:
                print(f'# {line}')
        else:
            print(f'ok {i} - {name}')
        sys.stdout.flush()
    sys.exit(1 if failed else 0)


def wait_for(what, condition, timeout=30):
    end = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= end:
            raise TimeoutError(f'{what}: not within {timeout} s')
        time.sleep(0.02)


class Folder:
    """A temporary folder that everybody may enter, gone at exit of the `with`."""

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix='ublkd-bus-')
        self.path = pathlib.Path(self.temporary.name)
        self.path.chmod(0o755)
        return self.path

    def __exit__(self, *_):
        self.temporary.cleanup()


class Bus:
    def __init__(self, folder, policy):
        self.socket = folder / 'bus'
        self.config = folder / 'bus.conf'
        self.config.write_text(BUS_CONFIG.format(socket=self.socket, policy=policy))
        self.address = f'unix:path={self.socket}'
        self.process = None

    def start(self):
        self.process = subprocess.Popen(['dbus-daemon', f'--config-file={self.config}', '--nofork',
                                         '--nosyslog'], stderr=subprocess.DEVNULL)
        wait_for('the bus', self.answers)

    def answers(self):
        try:
            Client(str(self.socket)).close()
        except OSError:
            return False
        return True

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process = None
        self.socket.unlink(missing_ok=True)

    def client(self, rules=()):
        return Client(str(self.socket), rules)

    def has_name(self):
        try:
            client = self.client()
        except OSError:
            return False
        try:
            return client.bus('NameHasOwner', 's', NAME)[0]
        finally:
            client.close()


class Daemon:
    def __init__(self, program, folder, address):
        self.program = program
        self.folder = folder
        self.environment = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=address)
        for name in ('NOTIFY_SOCKET', 'JOURNAL_STREAM'):
            self.environment.pop(name, None)
        self.log = folder / 'log'
        self.process = None

    def arguments(self):
        return [self.program, f'--config-root={self.folder / "root"}',
                f'--runtime-dir={self.folder / "run"}']

    def start(self):
        for name in ('root', 'run'):
            (self.folder / name).mkdir(exist_ok=True)
        self.process = subprocess.Popen(self.arguments(), env=self.environment,
                                        stderr=self.log.open('ab'))

    def is_running(self):
        return self.process.poll() is None

    def stop(self):
        """SIGTERM; Return: what it exited with"""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)
