# SPDX-License-Identifier: GPL-2.0-or-later
"""A private apt: other Debian suites, from the host's own mirror, without touching the host.

State, lists, archives and sources live in the cache directory. The mirror is whatever the host's
apt sources name for the main archive and for security; the host's apt.conf.d (proxies, methods)
stays in force; signatures are checked against the Debian archive keyring.
"""

import glob
import re
import subprocess
import time
from pathlib import Path

from . import cache
from .cache import BedError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CODENAMES = ("bookworm", "trixie", "forky", "sid", "bullseye")
SUITES = ("bookworm", "bookworm-updates", "trixie", "trixie-updates", "trixie-backports", "sid")
SECURITY_SUITES = ("bookworm-security", "trixie-security")
MAX_AGE_S = 12 * 3600


class Gone(BedError):
    """A package that the lists name and the archive does not have (any more)."""


def _deb822_entries(text: str):
    """Yield (uris, suites) of each enabled stanza of a .sources file."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(lines)):
        fields, name = {}, None
        for line in stanza.splitlines():
            if line[:1] in " \t" and name:
                fields[name] += " " + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        if "deb" in fields.get("types", "").split():
            yield fields.get("uris", "").split(), fields.get("suites", "").split()


def _one_line_entries(text: str):
    """Yield (uris, suites) of each `deb [options] URI suite components` line."""
    for line in text.splitlines():
        line = line.split("#", 1)[0]
        m = re.match(r"\s*deb\s+(?:\[[^]]*\]\s*)?(\S+)\s+(\S+)", line)
        if m:
            yield [m[1]], [m[2]]


def host_entries(etc: str = "/etc/apt"):
    """Yield (uris, suites) of all apt sources of the host."""
    names = glob.glob(f"{etc}/sources.list") + sorted(glob.glob(f"{etc}/sources.list.d/*"))
    for name in names:
        if name.endswith(".sources"):
            yield from _deb822_entries(Path(name).read_text(encoding="utf-8"))
        elif name.endswith(".list"):
            yield from _one_line_entries(Path(name).read_text(encoding="utf-8"))


def mirrors(etc: str = "/etc/apt") -> tuple[str, str]:
    """Return the URIs of the main and of the security archive, as the host uses them."""
    main = security = None
    for uris, suites in host_entries(etc):
        plain = {s.rstrip("/") for s in suites}
        if not main and plain.intersection(CODENAMES + ("stable", "oldstable")):
            main = uris[0]
        if not security and any(re.fullmatch(r"[a-z]+(-security|/updates)", s) for s in plain):
            security = uris[0]
    if not main:
        raise BedError("no Debian archive found in the apt sources of this host (/etc/apt)")
    return main, security or main.rstrip("/") + "-security"


class PrivateApt:
    """apt with the bed's own sources; create with `ready()`."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.archives = directory / "debs"

    def _options(self) -> list[str]:
        d = self.directory
        return [
            "-o", f"Dir::State={d}/state",
            "-o", f"Dir::State::status={d}/status",
            "-o", f"Dir::Cache={d}/cache",
            # Container images switch these off, and then every call parses all lists again.
            "-o", "Dir::Cache::pkgcache=pkgcache.bin",
            "-o", "Dir::Cache::srcpkgcache=srcpkgcache.bin",
            "-o", f"Dir::Etc::sourcelist={d}/bed.sources",
            "-o", "Dir::Etc::sourceparts=-",
            "-o", "Dir::Etc::preferences=-",
            "-o", "Dir::Etc::preferencesparts=-",
            "-o", "APT::Architecture=amd64",
            "-o", "APT::Architectures::=amd64",
            "-o", "APT::Get::List-Cleanup=1",
            "-o", "APT::Sandbox::User=root",
            "-o", "Acquire::Languages=none",
            "-o", "Acquire::Retries=2",
            "-o", "APT::Get::AllowUnauthenticated=0",
            "-o", "Acquire::AllowInsecureRepositories=0",
        ]

    def run(self, tool: str, *args: str, cwd: Path | None = None) -> str:
        """Run apt-get or apt-cache; return its stdout, or raise BedError with its last words."""
        r = subprocess.run([tool, *self._options(), *args], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, cwd=cwd, check=False)
        if r.returncode != 0:
            raise BedError(f"{tool} {' '.join(args)}: {r.stderr.strip()[-600:]}")
        return r.stdout

    def sources(self) -> str:
        main, security = mirrors()
        out = []
        for uri, suites in ((main, SUITES), (security, SECURITY_SUITES)):
            out.append(f"Types: deb\nURIs: {uri}\nSuites: {' '.join(suites)}\n"
                       f"Components: main\nArchitectures: amd64\nSigned-By: {KEYRING}\n")
        return "\n".join(out)

    def update(self) -> None:
        """Fetch the package lists unless they are recent and of the same mirror."""
        stamp = self.directory / "updated"
        sources = self.directory / "bed.sources"
        wanted = self.sources()
        fresh = (stamp.exists() and sources.exists() and sources.read_text() == wanted
                 and time.time() - stamp.stat().st_mtime < MAX_AGE_S)
        if fresh:
            return
        for sub in ("state/lists/partial", "cache/archives/partial", "debs"):
            (self.directory / sub).mkdir(parents=True, exist_ok=True)
        (self.directory / "status").touch()
        sources.write_text(wanted)
        with cache.step("updating the private package lists"):
            try:
                self.run("apt-get", "-q", "update", "--error-on=any")
            except BedError:
                time.sleep(5)
                self.run("apt-get", "-q", "update", "--error-on=any")
        stamp.touch()

    def names(self) -> list[str]:
        return self.run("apt-cache", "pkgnames").split()

    def version(self, package: str) -> str | None:
        """The newest version of a package that some suite offers."""
        for line in self.run("apt-cache", "madison", package).splitlines():
            fields = [f.strip() for f in line.split("|")]
            if len(fields) == 3 and fields[0] == package:
                return fields[1]
        return None

    def show(self, package: str, version: str) -> dict[str, str]:
        """The control fields of one package version."""
        fields = {}
        for line in self.run("apt-cache", "show", f"{package}={version}").splitlines():
            if not line.strip():
                break
            if line[0] not in " \t" and ":" in line:
                name, value = line.split(":", 1)
                fields.setdefault(name, value.strip())
        return fields

    def deb(self, package: str, version: str) -> Path:
        """Return the path of a verified .deb, downloading it if need be.

        The checksum of a deb that was in the cache already is compared with the signed lists too;
        one that differs is refused, not silently replaced.
        """
        wanted = self.show(package, version).get("SHA256")
        if not wanted:
            raise BedError(f"{package} {version}: the package lists give no SHA256")
        name = f"{package}_{version.replace(':', '%3a')}_"
        have = [p for p in self.archives.iterdir() if p.name.startswith(name)]
        if not have:
            try:
                self.run("apt-get", "-q", "download", f"{package}={version}", cwd=self.archives)
            except BedError as e:
                raise Gone(f"cannot download {package} {version}: {e}") from e
            have = [p for p in self.archives.iterdir() if p.name.startswith(name)]
        if len(have) != 1:
            raise BedError(f"{package} {version}: apt left {len(have)} files")
        actual = cache.file_sha256(have[0])
        if actual != wanted:
            raise BedError(f"{have[0].name}: SHA256 is {actual}, the archive says {wanted}; "
                           f"refusing to unpack it (remove {have[0]} to download it again)")
        return have[0]


def host_network_options() -> str:
    """The host's apt proxy and transport settings, as text of an apt.conf file."""
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True,
                          check=True).stdout
    return "".join(line + "\n" for line in dump.splitlines()
                   if re.match(r'Acquire::(https?|Retries)\b.*"[^"]+";$', line))


def ready() -> PrivateApt:
    """The private apt with recent package lists. The caller holds lock("apt")."""
    directory = cache.root() / "apt"
    directory.mkdir(exist_ok=True)
    apt = PrivateApt(directory)
    apt.update()
    return apt
