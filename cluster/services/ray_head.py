"""A Ray head on this machine, with dashboard and job server: it asks for a token, and is one process that ends with all its parts."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import stat
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from cluster.ray_node import LONGEST_TEMP
from cluster.services.ports import check_free, free_ports, is_free, is_loopback
from cluster.services.process import (
    command_line,
    end_all,
    log_tail,
    members,
    open_files,
    send,
    spawn,
    starts_or_runs,
    wait_until_gone,
    working_folder,
    write_private,
)

_STATE = "ray-head.json"
_OBJECTS = 200 * 1024 * 1024
"""Bytes of shared memory for Ray's objects; S2L's are small."""
_START_S, _STOP_S = 240.0, 30.0
_TRIES, _TOO_SLOW = 3, "timed out during startup"
"""Ray gives its own parts 30 s, whatever else the machine has to do."""
_SHORT = "s2l-ray-"
"""Begins the name of a private folder in /tmp. Ray's own lies in it, since Ray opens that to everybody."""
_OURS = ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH", "RAY_API_SERVER_ADDRESS")


@dataclass(frozen=True)
class RayHead:
    """A head that was started in a folder.

    Attributes:
        pid: of `ray start --block`: when it ends, so do the head's parts, and when one of them dies, it ends.
        temp: Ray's own folder of sockets and logs.
        ports: (GCS, dashboard and job server, dashboard agent, Ray client).
        given: what the environment of its workers holds, as a fingerprint.
    """

    folder: str
    pid: int
    host: str
    ports: tuple[int, int, int, int]
    token: str
    temp: str
    given: str = ""

    @property
    def address(self) -> str:
        return f"{self.host}:{self.ports[0]}"

    @property
    def dashboard(self) -> str:
        """The address of the dashboard and of the job server."""
        return f"http://{self.host}:{self.ports[1]}"

    def environment(self) -> dict[str, str]:
        """Ray's variables with which a driver, a job or another node joins."""
        return {
            "RAY_ADDRESS": self.address,
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
        }

    def is_running(self) -> bool:
        """True while our process lives; a stranger that got its number does not count."""
        return f"--temp-dir={self.temp}" in command_line(self.pid)

    def is_healthy(self) -> bool:
        """True when the job server answers to the token, and the head's own node can take work."""
        request = urllib.request.Request(f"{self.dashboard}/nodes?view=summary", headers={"Authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                nodes = json.load(answer)["data"]["summary"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return self.is_running() and any(node["raylet"].get("state") == "ALIVE" for node in nodes)


def start(
    folder: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    dashboard_port: int | None = None,
    environment: Mapping[str, str] | None = None,
    cpus: int | None = None,
) -> RayHead:
    """A healthy head in the folder: the one that runs there, or a new one at the old address with the old token.

    Args:
        host: the address under which the other nodes reach it; by default as at the last start, else 127.0.0.1 and no other node.
        environment: variables for its workers on top of this process's own, such as the store's credentials.
        cpus: how many it offers; by default all.

    Raises:
        PortTakenError: somebody else listens on its port or on the dashboard's.
        RuntimeError: it does not come up; the message ends with its log's last lines.
    """
    folder = Path(os.path.abspath(folder))
    launch = partial(_launch, folder, host=host, port=port, dashboard_port=dashboard_port, environment=environment or {}, cpus=cpus)
    before = find(folder)
    if before is not None and before.is_running() and _comes_up(before):
        return before  # and one that ends instead has lost a part, such as its raylet, a moment ago
    for tries_left in reversed(range(_TRIES)):
        head = launch(before)
        if _comes_up(head):
            return head
        stop(head, at_once=True)
        why = log_tail(folder / "ray-head.log")
        if not tries_left or _TOO_SLOW not in why:
            raise RuntimeError(f"the Ray head in {folder} does not come up; its log ends with:\n{why}")
        before = head
    raise AssertionError("unreachable")


def _comes_up(head: RayHead) -> bool:
    """Wait until it is healthy; False when it ends first, or takes too long."""
    deadline = time.monotonic() + _START_S
    while not head.is_healthy():
        if not starts_or_runs(head.pid, head.is_running) or time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def find(folder: Path) -> RayHead | None:
    """The head that was started in the folder last, running or not."""
    try:
        state = json.loads((folder / _STATE).read_text())
    except FileNotFoundError:
        return None
    return RayHead(**state | {"ports": tuple(state["ports"])})


def stop(head: RayHead, *, at_once: bool = False) -> None:
    """Stop it with its parts and wait until they are gone; `at_once` as a crash would. Never `ray stop`: that ends every Ray there is."""
    send(head.pid, signal.SIGKILL if at_once else signal.SIGTERM, head.is_running)
    if not wait_until_gone(head.pid, head.is_running, _STOP_S):
        send(head.pid, signal.SIGKILL, head.is_running)
        wait_until_gone(head.pid, head.is_running, _STOP_S)
    end_all(partial(_left, head), signal.SIGKILL, _STOP_S)
    if not at_once and not head.temp.startswith(head.folder):
        outer = Path(head.temp).parent
        for folder in (outer,) if outer.name.startswith(_SHORT) else (head.temp, f"{head.temp}-before"):
            shutil.rmtree(folder, ignore_errors=True)


def fingerprint(environment: Mapping[str, str]) -> str:
    """Says whether two heads' workers were given the same, without saying what."""
    import hashlib

    return hashlib.sha256(json.dumps(sorted(environment.items())).encode()).hexdigest()[:16]


def _left(head: RayHead) -> list[int]:
    """What is left of its process group when its leader is gone. After a reboot the group may be another's, another Ray's too."""
    if head.is_running():
        return []
    return [pid for pid in members(head.pid) if _is_part(head, pid)]


def _is_part(head: RayHead, pid: int) -> bool:
    """True for what was started in our folder, and for what keeps a file of our Ray open, as all of its processes do their logs.

    A worker is known by nothing else: its title replaces its command line and its environment, and its unit's folder ours.
    """
    return working_folder(pid) == head.folder or any(file.startswith(f"{head.temp}/") for file in open_files(pid))


def _launch(
    folder: Path,
    before: RayHead | None,
    *,
    host: str | None,
    port: int | None,
    dashboard_port: int | None,
    environment: Mapping[str, str],
    cpus: int | None,
) -> RayHead:
    host = host or (before.host if before else "127.0.0.1")
    if before is not None:
        stop(before, at_once=True)  # where it hangs, and where its leader is gone and a part is left that keeps its ports
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ports = _ports(before, host, port, dashboard_port)
    head = RayHead(
        folder=str(folder),
        pid=0,
        host=host,
        ports=ports,
        token=before.token if before else secrets.token_hex(32),
        temp=_temp(folder, before),
        given=fingerprint(environment),
    )
    shutil.rmtree(f"{head.temp}-before", ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.rename(head.temp, f"{head.temp}-before")  # its logs may say why it died
    Path(head.temp).mkdir(mode=0o700)
    pid = spawn(_command(head, cpus), folder, folder / "ray-head.log", _environment(head, environment))
    started = RayHead(**asdict(head) | {"pid": pid, "ports": ports})
    write_private(folder / _STATE, json.dumps(asdict(started)))
    return started


def _temp(folder: Path, before: RayHead | None) -> str:
    """A folder in ours, or where its path is too long for Unix sockets, one in a private folder in /tmp."""
    ours = folder / "ray"
    if len(str(ours)) <= LONGEST_TEMP:
        return str(ours)
    if before is not None and _is_private(Path(before.temp).parent):
        return before.temp
    return f"{tempfile.mkdtemp(dir='/tmp', prefix=_SHORT)}/r"


def _is_private(folder: Path) -> bool:
    """False also for one that was ours until a reboot emptied /tmp, and that somebody else made since."""
    with contextlib.suppress(OSError):
        found = folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return False


def _ports(before: RayHead | None, host: str, port: int | None, dashboard_port: int | None) -> tuple[int, int, int, int]:
    """The first two are known to others, and never change by themselves."""
    known = before.ports if before else (None, None, None, None)
    gcs, dashboard = port or known[0], dashboard_port or known[1]
    if gcs is not None:
        check_free(gcs, "the Ray head", host=host, choose="--ray-port")
    if dashboard is not None:
        check_free(dashboard, "Ray's dashboard and job server", host=host, choose="--dashboard-port")
    fresh = free_ports(4, avoid=(gcs, dashboard))
    agent, client = (known[i] if known[i] and is_free(known[i] or 0, host) else fresh[i] for i in (2, 3))
    return gcs or fresh[0], dashboard or fresh[1], agent or fresh[2], client or fresh[3]


def _command(head: RayHead, cpus: int | None) -> list[str]:
    gcs, dashboard, agent, client = head.ports
    return [
        sys.executable,
        "-m",
        "cluster.ray_silence",
        "start",
        "--head",
        "--block",
        f"--node-ip-address={head.host}",
        f"--port={gcs}",
        "--include-dashboard=true",
        f"--dashboard-host={head.host}",
        f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}",
        f"--ray-client-server-port={client}",
        "--min-worker-port=0",  # the system's choice, as for the rest: Ray's own range may hold the ports above
        "--max-worker-port=0",
        f"--temp-dir={head.temp}",
        f"--object-store-memory={_OBJECTS}",
        "--disable-usage-stats",
        *([f"--num-cpus={cpus}"] if cpus else []),
    ]


def _environment(head: RayHead, given: Mapping[str, str]) -> dict[str, str]:
    """Metrics are off unless Ray's own variables ask for them: their ports know no token, and are open wherever the head is."""
    found = {name: value for name, value in os.environ.items() if name not in _OURS} | dict(given)
    found |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": head.token}
    found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found.get('PATH', os.defpath)}"  # the `python` of detached runs has s2l
    for name, value in {
        "RAY_enable_metrics_collection": "0",
        "AUTOSCALER_METRIC_PORT": "-1",
        "DASHBOARD_METRIC_PORT": "-1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }.items():
        found.setdefault(name, value)
    if is_loopback(head.host):
        found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's own switch for "this machine only"
    return found
