# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses in the closed guest to function names: kernel, modules, and programs by their ELF."""

import bisect
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bed import cache, icount, kernel as kernels

from .closed import MEMORY_MB, make_initrd

TEXT_TYPES = "tTwWiI"


@dataclass(frozen=True)
class Function:
    """A name and where it is from: "vmlinux", a module, "fio:libc.so.6", "server:ublkd"."""

    name: str
    where: str


def kernel_text(kernel: kernels.Kernel, ublkd: Path) -> str:
    """/proc/kallsyms of the kernel proper, which is where it is on every boot (nokaslr)."""
    def build(tmp: Path) -> None:
        make_initrd(kernel, tmp / "initrd", ublkd, "KALLSYMS=yes\n", "")
        status, text = icount.run(kernel, tmp / "initrd", MEMORY_MB, 600)
        (tmp / "initrd").unlink()
        if status != 0:
            raise cache.BedError(f"{text[-500:]}\nkallsyms: the guest ended with {status}")
        (tmp / "kallsyms").write_text(text, encoding="utf-8")

    directory = cache.built(f"kallsyms/{kernel.directory.name}", build)
    return (directory / "kallsyms").read_text(encoding="utf-8")


def _nm(path: Path) -> list[tuple[int, int, str]]:
    """(address, size, name) of an ELF's functions; of a stripped one's exported ones."""
    for option in ([], ["-D"]):
        r = subprocess.run(["nm", "-S", "--defined-only", *option, path], capture_output=True,
                           text=True, check=False)
        rows = [line.split() for line in r.stdout.splitlines()]
        found = [(int(w[0], 16), int(w[1], 16), w[3].partition("@")[0]) for w in rows
                 if len(w) == 4 and w[2] in TEXT_TYPES]
        if found:
            return found
    return []


class Symbols:
    """All that is known by name, and which user addresses are whose."""

    def __init__(self):
        self._begin: list[int] = []
        self._entries: list[tuple[int, int, Function]] = []  # begin, end, who
        self._user: list[tuple[int, int, str]] = []
        self._cache: dict[int, Function] = {}

    def add_kernel(self, text: str) -> None:
        for line in text.splitlines():
            words = line.split()
            if len(words) in (3, 4) and re.fullmatch("[0-9a-f]{16}", words[0]):
                where = words[3].strip("[]") if len(words) == 4 else "vmlinux"
                if words[1] in TEXT_TYPES:
                    begin = int(words[0], 16)
                    self._entries.append((begin, 1 << 64, Function(words[2], where)))

    def add_process(self, who: str, maps: str, host_path) -> None:
        """A process by its /proc/PID/maps; host_path(path in guest) is the same file here."""
        first: dict[str, int] = {}
        for line in maps.splitlines():
            words = line.split()
            if len(words) != 6:
                continue
            low, high = (int(n, 16) for n in words[0].split("-"))
            base = first.setdefault(words[5], low)
            if "x" not in words[1]:
                continue
            self._user.append((low, high, who))
            where = f"{who}:{os.path.basename(words[5])}"
            self._entries.append((low, high, Function("(static)", where)))
            path = host_path(words[5]) if words[5].startswith("/") else None
            for address, size, name in _nm(path) if path else []:
                begin = base + address
                self._entries.append((begin, begin + size, Function(name, where)))
                # What follows the function and is in none.
                self._entries.append((begin + size, high, Function("(static)", where)))

    def finish(self) -> None:
        # At one address, what ends last is found first: the filler, then the aliases.
        self._entries.sort(key=lambda e: (e[0], e[2].name != "(static)", -e[1]))
        self._begin = [e[0] for e in self._entries]

    def owner(self, address: int) -> str | None:
        for low, high, who in self._user:
            if low <= address < high:
                return who
        return None

    def function(self, address: int) -> Function:
        if address not in self._cache:
            i = bisect.bisect_right(self._begin, address) - 1
            known = i >= 0 and address < self._entries[i][1]
            self._cache[address] = self._entries[i][2] if known else Function("?", "?")
        return self._cache[address]

    def address(self, name: str) -> int:
        return next(e[0] for e in self._entries if e[2].name == name)

    def is_entry(self, address: int) -> bool:
        """Whether a function of the kernel or a program begins here."""
        i = bisect.bisect_left(self._begin, address)
        return i < len(self._begin) and self._begin[i] == address


def host_path(ublkd: Path, peers: Path | None):
    """A function from a path in the closed guest to the same file here."""
    tree = icount.guest_tree()

    def find(path: str) -> Path | None:
        if os.path.basename(path) == "ublkd":
            return ublkd
        if path.startswith("/peers/") and peers:
            return peers / os.path.basename(path)
        r = subprocess.run(["chroot", str(tree), "readlink", "-f", path], capture_output=True,
                           text=True, check=False)
        inside = Path(f"{tree}{r.stdout.strip()}")
        # The host's programs came with the host's libraries, which went in last.
        outside = Path(path)
        return outside if outside.exists() else inside if inside.exists() else None

    return find


# ---- groups, by the first that fits

GROUPS = [(group, re.compile(pattern)) for group, pattern in [
    ("fio user", r"^fio:"),
    ("server user", r"^server:"),
    ("ublk driver", r"^ublk_drv |\bublk_"),
    ("backing disk", r"^(brd|null_blk|loop) "),
    ("copy", r" (memcpy|memset|memmove|rep_movs|rep_stos|copy_user|_?copy_(from|to)|clear_page|"
             r"copy_page|memcpy_orig|memset_orig|__memcpy|bio_copy|copy_folio)"),
    ("io_uring", r" (__)?(se_sys_|x64_sys_|do_sys_)?io_(?!schedule)|io_uring|io_wq|^vmlinux "
                 r"(__io_|import_ubuf|blkdev_uring)"),
    ("block layer", r" (__)?(blk|bio|sbitmap|bdev|I_BDEV|submit_bio|rq_|wbt|elv|disk_|part_|"
                    r"bvec|kthread_(associate_)?blk|cgroup_get_e_css|update_io_ticks|"
                    r"blkcg|blkg|prandom)|_rq_qos"),
    ("file system", r"^(ext4|jbd2|mbcache) | (__)?(iomap|filemap|file_|folio|xas_|xa_|touch_atime|"
                    r"atime|current_time|ktime_get_coarse|kiocb|vfs_|rw_verify|mark_|"
                    r"generic_file|inode|down_read|up_read|percpu_counter|dax|writeback)"),
    ("pages", r" (__)?(gup|try_grab|pin_user|unpin|iov_iter|_?pte|__pte|pmd|mod_node|"
              r"extract_user|pvec|get_user_pages|follow|import_|kmalloc|kmem|kfree|__kmalloc|"
              r"slab|memcg|___slab|mempool|alloc|__alloc|free_|lru)"),
    ("security", r" (selinux|security|avc|bpf_lsm|apparmor|cap_)"),
    ("entry", r" (entry|do_syscall|x64_sys_call|syscall|exit_to_user|switch_fpu|restore_fpregs|"
              r"fpregs|save_fpregs|asm_|sysvec|irqentry|error_entry|common_interrupt|"
              r"x86_task_fpu)"),
    ("scheduler", r" (__)?(psi|schedule|sched|update_(curr|load|rq|se|cfs|dl)|_update_load|"
                  r"enqueue|dequeue|pick|set_next|put_prev|wake|try_to_wake|ttwu|requeue|"
                  r"vruntime|avg_vruntime|entity|place|hrtick|hrtimer|dl_server|propagate|"
                  r"record_times|_task_rq|task_|switch|native_load_tls|finish_task|cr4_|"
                  r"native_(sched|write_msr)|choose_new_asid|load_new_mm|rb_|_rb_|cpuacct|"
                  r"select_task|resched|migrate_disable|clear_delayed|prepare_to|"
                  r"finish_wait|autoremove|default_wake|___task|__switch|update_load|"
                  r"reweight|check_preempt|kick|worker|process_one|queue_work|_queue_work|"
                  r"insert_work|pwq|move_linked|wq_|kthread|assign_work|activate|"
                  r"rcu_note|ktime_get|min_vruntime)"),
    ("locks", r" (_raw|__raw|rcu|_rcu|__rcu|mutex|fget|fput|__list|_?_?local_bh|percpu_ref|"
              r"refcount|__radix|__wake|down|up)"),
]]


def group(f: Function) -> str:
    text = f"{f.where} {f.name}"
    return next((name for name, pattern in GROUPS if pattern.search(text)), "other")
