"""A real Slurm of three nodes on this machine: a controller, and one slurmd in each of three network namespaces joined by a bridge.

Everything has names, ports and folders of its own, and `close` ends all of it by pid. Needs root, iproute2, and Debian's slurm-wlm and munge.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scancel", "scontrol", "sinfo", "ip", "nsenter", "unshare")
_SBIN = "/usr/sbin:/sbin"


def why_not() -> str:
    """Why no Slurm can be started here; empty when one can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:{_SBIN}") is None]
    if missing:
        return f"no {', '.join(missing)} here (Debian: slurm-wlm, munge, iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"s2lprobe{secrets.token_hex(2)}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False, env=_path())
    if made.returncode:
        return f"ip netns add: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", probe], check=True, env=_path())
    return ""


def _path() -> dict[str, str]:
    return os.environ | {"PATH": f"{os.environ['PATH']}:{_SBIN}"}


@dataclass
class Node:
    """A node of the cluster: a network namespace with a host name of its own and a slurmd."""

    name: str
    namespace: str
    link: str
    address: str
    slurmd: subprocess.Popen[bytes] | None = None

    def pids(self) -> list[int]:
        """Every process in the namespace: slurmd, its job steps, Ray."""
        found = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False, env=_path())
        return [int(word) for word in found.stdout.split()]

    def lose(self) -> None:
        """The link goes down, then everything on the node dies: a power cut, as the others see it."""
        subprocess.run(["ip", "link", "set", self.link, "down"], check=True, env=_path())
        _end(self.pids())
        if self.slurmd is not None:
            self.slurmd.wait(30)


@dataclass
class SlurmCluster:
    """A running Slurm.

    Attributes:
        folder: configuration, logs, spool, state.
        nodes: sn1, sn2, sn3; the first runs the batch scripts.
    """

    folder: Path
    nodes: list[Node] = field(default_factory=list)
    _daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _bridge: str = ""

    def environment(self) -> dict[str, str]:
        """With which Slurm's commands find this cluster; what the caller's environment says of Slurm is left out."""
        kept = {name: value for name, value in _path().items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return kept | {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(command)} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def sbatch(self, *words: str, cwd: Path, extra: dict[str, str]) -> str:
        """The number of a job that was submitted."""
        command = ["sbatch", "--parsable", *words]
        done = subprocess.run(
            command, env=self.environment() | extra, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says."""
        words = self.ask("scontrol", "--oneliner", "show", "job", number).split(" ")
        return dict(word.split("=", 1) for word in words if "=" in word)

    def node_states(self) -> dict[str, str]:
        rows = self.ask("sinfo", "--noheader", "--Node", "--format=%N %t").splitlines()
        return {name: state.strip() for name, state in (row.split(" ", 1) for row in rows)}

    def add_node(self, number: int) -> Node:
        """A namespace `sn<number>` on the bridge, with a slurmd."""
        tag = self._bridge.removeprefix("s2l")
        node = Node(f"sn{number}", f"s2l{tag}n{number}", f"s2l{tag}v{number}", _address(tag, 10 + number))
        self.nodes.append(node)
        inner = f"s2l{tag}e{number}"
        _ip("netns", "add", node.namespace)
        _ip("link", "add", node.link, "type", "veth", "peer", "name", inner)
        _ip("link", "set", node.link, "master", self._bridge, "up")
        _ip("link", "set", inner, "netns", node.namespace)
        _ip("-n", node.namespace, "address", "add", f"{node.address}/24", "dev", inner)
        for device in (inner, "lo"):
            _ip("-n", node.namespace, "link", "set", device, "up")
        return node

    def start_slurmd(self, node: Node) -> None:
        script = f"hostname {node.name} && mount --bind {self.folder}/hosts /etc/hosts && exec slurmd -D -N {node.name}"
        with (self.folder / f"{node.name}.out").open("ab") as log:
            node.slurmd = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{node.namespace}", "unshare", "--uts", "--mount", "bash", "-c", script],
                env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(AssertionError):
                states = self.node_states()
                if len(states) == len(self.nodes) and set(states.values()) == {"idle"}:
                    return
            assert time.monotonic() < deadline, f"the nodes do not come up: {self.logs()}"
            time.sleep(0.3)

    def logs(self) -> str:
        """The last lines of every log, for a test that failed."""
        found = [*self.folder.glob("*.log"), *self.folder.glob("*.out")]
        return "\n".join(f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:]) for path in found)

    def close(self) -> None:
        """End every process, in the namespaces too, and remove namespaces and bridge."""
        daemons = [daemon.pid for daemon in self._daemons] + [node.slurmd.pid for node in self.nodes if node.slurmd is not None]
        inside = [pid for node in self.nodes for pid in node.pids()]
        _end([*daemons, *inside])
        for daemon in [*self._daemons, *(node.slurmd for node in self.nodes if node.slurmd is not None)]:
            daemon.wait(30)
        for node in self.nodes:
            _ip("netns", "delete", node.namespace)
        _ip("link", "delete", self._bridge)


@contextlib.contextmanager
def slurm_cluster(folder: Path, *, nodes: int = 3) -> Iterator[SlurmCluster]:
    """A cluster whose nodes are idle; gone with all its jobs at the end.

    Args:
        folder: a short path (sockets lie in it) below which nothing else is.
    """
    tag = secrets.token_hex(2)
    cluster = SlurmCluster(folder, _bridge=f"s2l{tag}")
    _ip("link", "add", cluster._bridge, "type", "bridge")
    try:
        _ip("address", "add", f"{_address(tag, 1)}/24", "dev", cluster._bridge)
        _ip("link", "set", cluster._bridge, "up")
        for number in range(1, nodes + 1):
            cluster.add_node(number)
        _configure(cluster, _address(tag, 1))
        _start_controller(cluster)
        for node in cluster.nodes:
            cluster.start_slurmd(node)
        cluster.wait_until_ready()
        yield cluster
    finally:
        cluster.close()


def _address(tag: str, last: int) -> str:
    """An address of a private network that is drawn by the tag."""
    drawn = int(tag, 16)
    return f"10.{64 + drawn // 256 % 64}.{drawn % 256}.{last}"


def _configure(cluster: SlurmCluster, controller: str) -> None:
    folder = cluster.folder
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o755)
    hosts = ["127.0.0.1 localhost", f"{controller} ctl", *(f"{node.address} {node.name}" for node in cluster.nodes)]
    (folder / "hosts").write_text("\n".join(hosts) + "\n")
    key = folder / "munge" / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    described = [f"NodeName={node.name} NodeAddr={node.address} CPUs=2 RealMemory=4000 State=UNKNOWN" for node in cluster.nodes]
    settings = {
        "ClusterName": "s2l",
        "SlurmctldHost": f"ctl({controller})",
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge/socket",
        "CommunicationParameters": "NoCtldInAddrAny",
        "StateSaveLocation": f"{folder}/state",
        "SlurmdSpoolDir": f"{folder}/spool/%n",
        "SlurmctldPidFile": f"{folder}/slurmctld.pid",
        "SlurmdPidFile": f"{folder}/slurmd-%n.pid",
        "SlurmctldLogFile": f"{folder}/slurmctld.log",
        "SlurmdLogFile": f"{folder}/slurmd-%n.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SlurmdParameters": "config_overrides",
        "MpiDefault": "none",
        "JobAcctGatherType": "jobacct_gather/none",
        "ReturnToService": "2",
        "SlurmdTimeout": "15",  # a node that is silent for so long is down
        "KillWait": "20",
        "BatchStartTimeout": "60",
        "MessageTimeout": "20",
        "PartitionName": "all Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
    }
    lines = [f"{name}={value}" for name, value in settings.items()]
    (folder / "slurm.conf").write_text("\n".join([*lines[:-1], *described, lines[-1]]) + "\n")


def _start_controller(cluster: SlurmCluster) -> None:
    """munged and slurmctld, on the host itself; the controller with a host name of its own."""
    munge = cluster.folder / "munge"
    files = [f"--{kind}-file={munge}/{kind}" for kind in ("pid", "log", "seed")]
    cluster._daemons.append(
        _daemon(cluster, "munged", ["munged", "--foreground", "--force", f"--socket={munge}/socket", f"--key-file={munge}/munge.key", *files])
    )
    deadline = time.monotonic() + 30
    while not (munge / "socket").exists():
        assert time.monotonic() < deadline, f"munged does not come up: {cluster.logs()}"
        time.sleep(0.1)
    cluster._daemons.append(_daemon(cluster, "slurmctld", ["unshare", "--uts", "bash", "-c", "hostname ctl && exec slurmctld -D"]))


def _daemon(cluster: SlurmCluster, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    with (cluster.folder / f"{name}.out").open("ab") as log:
        return subprocess.Popen(
            command, env=cluster.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, env=_path())


def _end(pids: list[int]) -> None:
    """SIGKILL for these processes, and wait until they are gone."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(found, timeout=20)
