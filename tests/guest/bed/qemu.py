# SPDX-License-Identifier: GPL-2.0-or-later
"""One QEMU process: its command line, its sockets, QMP, and saving and loading of its state.

The guest's memory is a file. To save, it is mapped shared, so that the migration stream need not
hold it (x-ignore-shared); to load, it is mapped private, so that one file serves many guests.
"""

import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .agent import Agent

BINARY = "qemu-system-x86_64"

# mitigations=off and the like make the guest's system calls cheaper than a production host's:
# this set is part of what any number measured here means.
KERNEL_ARGS = (
    "console=ttyS0 panic=-1 quiet mitigations=off nokaslr nopti tsc=reliable no_timer_check "
    "cryptomgr.notests random.trust_cpu=on apparmor=0 audit=0 raid=noautodetect log_buf_len=4M "
    "printk.devkmsg=on sysctl.kernel.hung_task_timeout_secs=60 "
    "sysctl.kernel.hung_task_warnings=-1 rcupdate.rcu_cpu_stall_timeout=120"
)
SYSTEMD_ARGS = ("systemd.show_status=0 systemd.getty_auto=no systemd.log_target=journal "
                "systemd.firstboot=no systemd.machine_id=00112233445566778899aabbccddeeff")


class QemuError(Exception):
    """QEMU refused or failed."""


@dataclass
class Hardware:
    """What the guest is made of; two guests with equal Hardware can load each other's state."""

    accel: str
    vmlinux: Path
    initrd: Path
    root_image: Path
    modules_image: Path
    memory_mb: int
    cpus: int

    def arguments(self) -> list[str]:
        drives = []
        for serial, path in (("root", self.root_image), ("mods", self.modules_image)):
            drives += ["-drive", f"if=none,id={serial},format=raw,readonly=on,file={path}",
                       "-device", f"virtio-blk-pci,drive={serial},serial={serial}"]
        cpu = "host,migratable=on" if self.accel == "kvm" else "Nehalem"
        accel = "kvm" if self.accel == "kvm" else "tcg,thread=multi"
        return [
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-accel", accel, "-cpu", cpu, "-smp", str(self.cpus), "-m", str(self.memory_mb),
            "-kernel", str(self.vmlinux), "-initrd", str(self.initrd),
            "-append", f"{KERNEL_ARGS} {SYSTEMD_ARGS}",
            *drives,
            "-device", "virtio-serial-pci",
            "-device", "virtserialport,chardev=ctl,name=org.ublkd.ctl",
            "-device", "virtio-9p-pci,fsdev=share,mount_tag=share",
        ]


class Qemu:
    """A running QEMU. `work` is a directory of this run's own (console.log, qemu.log)."""

    _alive: set["Qemu"] = set()

    def __init__(self, hardware: Hardware, work: Path, share: Path, memory: Path | None = None,
                 keep_memory: bool = False, incoming: bool = False):
        self.work = work
        self.console = work / "console.log"
        ram = (f"memory-backend-file,id=ram,size={hardware.memory_mb}M,mem-path={memory},"
               f"share={'on' if keep_memory else 'off'}" if memory else
               f"memory-backend-ram,id=ram,size={hardware.memory_mb}M")
        agent_ours, agent_theirs = socket.socketpair()
        qmp_ours, qmp_theirs = socket.socketpair()
        fds = (agent_theirs.fileno(), qmp_theirs.fileno())
        argv = [
            "setpriv", "--pdeathsig", "KILL", BINARY, *hardware.arguments(),
            "-object", ram, "-M", "pc,graphics=off,memory-backend=ram",
            "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console",
            "-chardev", f"socket,id=ctl,fd={fds[0]}",
            "-chardev", f"socket,id=qmp,fd={fds[1]}", "-mon", "chardev=qmp,mode=control",
            "-fsdev", f"local,id=share,path={share},security_model=none,multidevs=remap",
        ]
        if incoming:
            argv += ["-incoming", "defer"]
        with open(work / "qemu.log", "wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log,
                                             stderr=log, pass_fds=fds, start_new_session=True)
        Qemu._alive.add(self)
        agent_theirs.close()
        qmp_theirs.close()
        self.agent = Agent(agent_ours)
        self._qmp = qmp_ours
        self._qmp_file = None

    def log(self) -> str:
        return (self.work / "qemu.log").read_text(errors="replace").strip()

    def console_tail(self, lines: int = 60) -> list[str]:
        try:
            text = self.console.read_bytes().decode(errors="replace").replace("\r", "")
        except OSError:
            return []
        return text.splitlines()[-lines:]

    def _command(self, name: str, **arguments):
        """One QMP command; events are passed over."""
        try:
            if not self._qmp_file:
                self._qmp.settimeout(60)
                self._qmp_file = self._qmp.makefile("rw", encoding="utf-8")
                self._qmp_file.readline()
                self._command("qmp_capabilities")
            self._qmp_file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
            self._qmp_file.flush()
            while True:
                line = self._qmp_file.readline()
                if not line:
                    raise QemuError(f"{name}: QEMU ended: {self.log()}")
                reply = json.loads(line)
                if "error" in reply:
                    raise QemuError(f"{name}: {reply['error']['desc']}")
                if "return" in reply:
                    return reply["return"]
        except OSError as e:
            raise QemuError(f"{name}: {e}: {self.log()}") from e

    def _migrate(self, command: str, uri: str, timeout_s: float = 60) -> None:
        self._command("migrate-set-capabilities",
                      capabilities=[{"capability": "x-ignore-shared", "state": True}])
        if command == "migrate":
            self._command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self._command(command, uri=uri)
        deadline = time.monotonic() + timeout_s
        while True:
            info = self._command("query-migrate")
            status = info.get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise QemuError(f"{command}: {info.get('error-desc', status)} {self.log()}")
            if time.monotonic() > deadline:
                raise QemuError(f"{command}: still {status} after {timeout_s} s")
            time.sleep(0.01)

    def save(self, state: Path) -> None:
        """Stop the guest and write everything but its memory to a file."""
        self._command("stop")
        self._migrate("migrate", f"exec:cat > {state}")

    def load(self, state: Path) -> None:
        """Load what `save` wrote and let the guest run."""
        self._migrate("migrate-incoming", f"exec:cat {state}")
        self._command("cont")

    def kill(self) -> None:
        """End the process, whatever it does; harmless when it has ended."""
        Qemu._alive.discard(self)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.agent.close()
        if self._qmp_file:
            self._qmp_file.close()
        self._qmp.close()

    @classmethod
    def end_all(cls) -> None:
        """End every guest of this program; whoever waits for one sees it gone."""
        for guest in list(cls._alive):
            guest._process.kill()

    def wait(self, timeout_s: float) -> bool:
        """Wait for QEMU to end by itself."""
        try:
            self._process.wait(timeout_s)
            return True
        except subprocess.TimeoutExpired:
            return False


def version() -> str:
    return subprocess.run([BINARY, "--version"], capture_output=True, text=True,
                          check=True).stdout.splitlines()[0]


def default_cpus() -> int:
    return min(2, os.cpu_count() or 1)
