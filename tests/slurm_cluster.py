"""A real Slurm on this machine: a controller, and a slurmd on each of three hosts of `tests/namespaces.py`.

Everything has names, addresses and folders of its own, and ends by pid. Needs root, iproute2, and Debian's slurm-wlm and munge.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests import namespaces
from tests.namespaces import TEMP, Host, bridge_address, network

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scancel", "scontrol", "sinfo", "nsenter", "unshare")
NODES = ("sn1", "sn2", "sn3")
SILENT_S = 15
"""A node that is silent for so long is down, for Slurm."""
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
# In a mount namespace of its own; `ip netns exec` would hide the cgroups that slurmd asks for.
_BECOME = 'hostname "$1" && mount --bind "$2" /etc/hosts && mount --bind "$3" "$4" && shift 4 && exec "$@"'


def why_not() -> str:
    """Why no Slurm can be started here; empty when one can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"no {', '.join(missing)} here (Debian: slurm-wlm, munge)"
    return namespaces.why_not()


@dataclass
class SlurmCluster:
    """A running Slurm.

    Attributes:
        folder: configuration, logs, spool and state; a short path, since sockets lie in it.
        hosts: sn1, sn2, sn3; the first of a job runs its script.
    """

    folder: Path
    hosts: dict[str, Host]
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """With which Slurm's commands find this cluster."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "RAY_", "S2L_", "MLFLOW_"))}
        return kept | {"PATH": _PATH, "SLURM_CONF": str(self.folder / "slurm.conf")} | dict(extra or {})

    def ask(self, *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """What a command of Slurm says."""
        done = subprocess.run(command, cwd=cwd, env=self.environment(env), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{' '.join(command)} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says."""
        words = self.ask("scontrol", "--oneliner", "show", "job", number).split(" ")
        return dict(word.split("=", 1) for word in words if "=" in word)

    def node_states(self) -> dict[str, str]:
        rows = self.ask("sinfo", "--noheader", "--Node", "--format=%N %t").splitlines()
        return {name: state.strip() for name, state in (row.split(" ", 1) for row in rows)}

    def wait_until_idle(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(AssertionError):
                if self.node_states() == dict.fromkeys(self.hosts, "idle"):
                    return
            assert time.monotonic() < deadline, f"the nodes do not become idle\n{self.logs()}"
            time.sleep(0.5)

    def start_node(self, host: Host) -> None:
        """A slurmd on the host; ended with it at the latest."""
        files = [str(self.folder / "hosts"), str(host.folder), str(TEMP)]
        inside = ["unshare", "--uts", "--mount", "sh", "-c", _BECOME, "sh", host.name, *files, "slurmd", "-D", "-N", host.name]
        host.processes.append(self._start(host.name, ["nsenter", f"--net=/run/netns/{host.namespace}", *inside]))

    def lose(self, name: str) -> None:
        """The link goes down, then everything on the node dies: a power cut, as the others see it."""
        self.hosts[name].cut()
        self.hosts[name].kill()

    def mend(self, name: str) -> None:
        """The lost node is back, as after a boot."""
        self.hosts[name].join()
        self.start_node(self.hosts[name])

    def start_controller(self) -> None:
        """munged and slurmctld on this host, the latter under the name `ctl`."""
        munge = self.folder / "munge"
        files = [f"--{kind}-file={munge}/{kind}" for kind in ("pid", "log", "seed")]
        words = ["munged", "--foreground", "--force", f"--socket={munge}/socket", f"--key-file={munge}/munge.key", *files]
        self.daemons.append(self._start("munged", words))
        deadline = time.monotonic() + 30
        while not (munge / "socket").exists():
            assert time.monotonic() < deadline, f"munged does not come up\n{self.logs()}"
            time.sleep(0.1)
        named = f"hostname ctl && mount --bind {self.folder}/hosts /etc/hosts && exec slurmctld -D"
        self.daemons.append(self._start("slurmctld", ["unshare", "--uts", "--mount", "sh", "-c", named]))

    def _start(self, name: str, words: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.out").open("ab") as log:
            environment = self.environment()
            return subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def logs(self) -> str:
        """The last lines of every log, for a test that failed."""
        tails = {path.name: path.read_text(errors="replace").splitlines()[-15:] for path in self.folder.glob("*.out")}
        return "\n".join(f"== {name}\n" + "\n".join(tail) for name, tail in tails.items())

    def close(self) -> None:
        for daemon in self.daemons:
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.pid, signal.SIGKILL)
            daemon.wait(30)


@contextlib.contextmanager
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A cluster whose nodes are idle; gone with all its jobs at the end."""
    folder = Path(tempfile.mkdtemp(prefix="s2l-slurm-", dir="/tmp"))
    folder.chmod(0o755)  # munged wants its socket to be in reach of all
    try:
        with network(*NODES) as hosts:
            cluster = SlurmCluster(folder, hosts)
            _configure(cluster)
            try:
                cluster.start_controller()
                for host in hosts.values():
                    cluster.start_node(host)
                cluster.wait_until_idle()
                yield cluster
            finally:
                cluster.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _configure(cluster: SlurmCluster) -> None:
    folder, controller = cluster.folder, bridge_address(cluster.hosts)
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o755)
    hosts = ["127.0.0.1 localhost", f"{controller} ctl", *(f"{host.address} {host.name}" for host in cluster.hosts.values())]
    (folder / "hosts").write_text("\n".join(hosts) + "\n")
    key = folder / "munge" / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    nodes = "\n".join(f"NodeName={host.name} NodeAddr={host.address} CPUs=2 State=UNKNOWN" for host in cluster.hosts.values())
    (folder / "slurm.conf").write_text(f"""\
ClusterName=s2l
SlurmctldHost=ctl({controller})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CommunicationParameters=NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout={SILENT_S}
KillWait=20
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""")
