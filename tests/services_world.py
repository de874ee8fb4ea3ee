"""A folder with real services in it, the `s2l` command that uses them, and what listens where."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil

from cluster.services import together
from cluster.services.process import members
from tests.s2l_process import Home

MAKE_A_KEY = "/messaging_pb.SeaweedS3IamCache/PutIdentity"
"""What SeaweedFS's gRPC port beside S3 does for whoever it answers to."""

SMALL_GRID = """\
name: small
fixed: {model: tiny, data: tiny-faces, attacks: [pia], bootstrap: 100, method: none, seed: 0}
axes: {domain: [DOMAIN]}
"""


class ServicesHome(Home):
    """A home whose commands run with a services folder's environment file, as after `source`."""

    sourced: str = ""

    @property
    def services(self) -> Path:
        return self.folder / "services"

    def environment(self) -> dict[str, str]:
        found = {name: value for name, value in super().environment().items() if not name.startswith("AWS_")}
        if not self.sourced:
            return found
        for name in ("S2L_STORE", "MLFLOW_TRACKING_URI"):
            found.pop(name)
        return found | read(self.services / self.sourced)

    def up(self, *args: str) -> dict[str, dict[str, Any]]:
        """`s2l up`; its services by name."""
        return {service["name"]: service for service in self.json("up", "--folder", str(self.services), *args)["services"]}

    def down(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json("down", "--folder", str(self.services))
        return found

    def grid(self) -> str:
        from s2l_core.faces import IDENTITIES

        path = self.folder / "small.yaml"
        path.write_text(SMALL_GRID.replace("DOMAIN", IDENTITIES[0]))
        return str(path)


Kind = TypeVar("Kind", bound=ServicesHome)


def read(file: Path) -> dict[str, str]:
    """The variables that a shell has when it sourced the file."""
    done = subprocess.run(["env", "-i", "bash", "-c", f"source {file}; env -0"], capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    return {name: value for name, value in found.items() if name not in ("PWD", "SHLVL", "_")}


@contextmanager
def services_home(kind: type[Kind] = ServicesHome, **places: Any) -> Iterator[Kind]:  # type: ignore[assignment]
    """A home that the user `postgres` can pass through; all that was started there is gone afterwards, however the test ended.

    Args:
        places: where its folder is made, as for `tempfile.mkdtemp`.
    """
    folder = Path(tempfile.mkdtemp(**{"prefix": "s2l-up-"} | places))
    folder.chmod(0o711)
    home = kind(folder)
    try:
        yield home
    finally:
        for _, server, _ in together._all(home.services) if home.services.is_dir() else ():
            for pid in members(server.pid) if server.is_running() else ():  # each leads a group of its own
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def processes_of(pids: list[int]) -> list[psutil.Process]:
    """Those processes and all that they started."""
    found = []
    for pid in pids:
        process = psutil.Process(pid)
        found += [process, *process.children(recursive=True)]
    return found


def listening(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """(address, port) of all that listen there; IPv4 in IPv6 as IPv4."""
    found = set()
    for process in processes:
        try:
            connections = process.net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        found |= {(c.laddr.ip.removeprefix("::ffff:"), c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def own_address() -> str | None:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # names the route; nothing is sent
            address: str = probe.getsockname()[0]
        except OSError:
            return None
    return None if address.startswith("127.") else address


def unasked(host: str, port: int, method: str) -> str:
    """The status of a gRPC call without credentials."""
    import grpc

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            channel.unary_unary(method)(b"", timeout=20)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"
