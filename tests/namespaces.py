"""Hosts on one machine: network namespaces on a bridge, each with an address and processes of its own. For multi-node tests.

They share kernel, clock and file system. Network, host name and the folder for temporary files are each their own: a link can be cut, a
route can be missing, and a path under TMPDIR means something else on every host.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TEMP = Path("/tmp/s2l-host")
"""TMPDIR of every host: the same path, with each host's own folder behind it. Short, because Unix sockets lie there."""
_BECOME = 'hostname "$1" && mount --bind "$2" "$3" && shift 3 && exec "$@"'

IP = shutil.which("ip") or "/usr/sbin/ip"


def why_not() -> str:
    """Why this machine cannot make namespaces; empty when it can."""
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    if not Path(IP).exists():
        return "there is no `ip` (iproute2)"
    name = f"s2l-try-{secrets.token_hex(3)}"
    tried = subprocess.run([IP, "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"network namespaces cannot be made here: {tried.stderr.strip()}"
    _ip("netns", "del", name)
    return ""


def needs_namespaces() -> None:
    """Skip the test, with the reason, where there can be none."""
    if reason := why_not():
        pytest.skip(reason)


@dataclass
class Host:
    """One namespace.

    Attributes:
        address: its IPv4 address; the only one beside loopback.
        folder: what lies behind TMPDIR there, as this process sees it.
    """

    name: str
    namespace: str
    outer: str
    address: str
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, words: Sequence[str]) -> list[str]:
        """The words as they are run on this host."""
        become = ["unshare", "--uts", "sh", "-c", _BECOME, "sh", self.name, str(self.folder), str(TEMP)]
        return [IP, "netns", "exec", self.namespace, *become, *words]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "S2L_", "MLFLOW_", "AWS_", "TUNE_"))}
        return kept | {"TMPDIR": str(TEMP)} | dict(extra or {})

    def start(self, words: Sequence[str], *, env: Mapping[str, str] | None = None, log: Path | None = None) -> subprocess.Popen[bytes]:
        """A process on this host, ended with it at the latest."""
        with (log or self.folder / "log").open("ab") as file:
            process = subprocess.Popen(
                self.command(words), env=self.environment(env), stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        self.processes.append(process)
        return process

    def run(self, words: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run to the end and give back output and exit code."""
        return subprocess.run(self.command(words), env=self.environment(env), capture_output=True, text=True, timeout=timeout, check=False)

    def python(self, code: str, **given: str) -> subprocess.CompletedProcess[str]:
        """Run Python code on this host."""
        return self.run([sys.executable, "-c", code], env=given)

    def cut(self) -> None:
        """Take the network away: nothing arrives, nothing is told."""
        _ip("link", "set", self.outer, "down")

    def join(self) -> None:
        """Give the network back."""
        _ip("link", "set", self.outer, "up")

    def pids(self) -> list[int]:
        """Every process in the namespace."""
        found = subprocess.run([IP, "netns", "pids", self.namespace], capture_output=True, text=True, check=False).stdout
        return [int(word) for word in found.split()]

    def kill(self) -> None:
        """End all processes of the host at once, as a power cut does."""
        for _ in range(20):
            pids = self.pids()
            if not pids:
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):  # one that was just started is not among the host's yet
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
        self.processes.clear()

    def listening(self) -> list[tuple[str, int, str]]:
        """(address, port, name of the process) of every TCP socket that listens in the namespace."""
        code = (
            "import psutil, json; print(json.dumps([(c.laddr.ip, c.laddr.port, psutil.Process(c.pid).name() if c.pid else '') "
            "for c in psutil.net_connections('tcp') if c.status == 'LISTEN']))"
        )
        return [(ip, port, name) for ip, port, name in json.loads(self.python(code).stdout)]


@contextlib.contextmanager
def network(*names: str) -> Iterator[dict[str, Host]]:
    """Hosts of these names, joined by a bridge that this process reaches too, at the address ending in .254. All is gone at the end."""
    mark = secrets.token_hex(3)
    net = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}"
    bridge = f"br{mark}"
    hosts: dict[str, Host] = {}
    TEMP.mkdir(exist_ok=True)
    _ip("link", "add", bridge, "type", "bridge")
    try:
        _ip("addr", "add", f"{net}.254/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number, name in enumerate(names, 1):
            hosts[name] = _host(name, f"s2l{mark}{number}", f"{net}.{number}", bridge)
        yield dict(hosts)  # a test may take a host out of its own: all are gone at the end
    finally:
        for host in hosts.values():
            host.kill()
            subprocess.run([IP, "netns", "del", host.namespace], capture_output=True, check=False)
            subprocess.run([IP, "link", "del", host.outer], capture_output=True, check=False)
            shutil.rmtree(host.folder, ignore_errors=True)
        _ip("link", "del", bridge)


def bridge_address(hosts: Mapping[str, Host]) -> str:
    """The address at which hosts reach this process."""
    return next(iter(hosts.values())).address.rpartition(".")[0] + ".254"


def _host(name: str, namespace: str, address: str, bridge: str) -> Host:
    outer, inner = f"v{namespace}", f"e{namespace}"
    _ip("netns", "add", namespace)
    _ip("link", "add", outer, "type", "veth", "peer", "name", inner)
    _ip("link", "set", inner, "netns", namespace)
    _ip("link", "set", outer, "master", bridge)
    _ip("link", "set", outer, "up")
    for words in (("addr", "add", f"{address}/24", "dev", inner), ("link", "set", inner, "up"), ("link", "set", "lo", "up")):
        _ip("-n", namespace, *words)
    return Host(name, namespace, outer, address, Path(tempfile.mkdtemp(prefix=f"s2l-{name}-", dir="/tmp")))


def _ip(*words: str) -> None:
    done = subprocess.run([IP, *words], capture_output=True, text=True, check=False)
    assert not done.returncode, f"ip {' '.join(words)}: {done.stderr.strip()}"
