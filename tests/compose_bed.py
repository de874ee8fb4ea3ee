"""docker/compose.yaml without containers: each service on a host of its own, by the command, environment and health check it has there.

What differs: no image (commands come from docker/start and this environment's bin folder), folders in place of volumes, no limits.
PostgreSQL's image makes its database at the first start; here initdb does, with the same settings.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.namespaces import Host, network

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "docker/compose.yaml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
_NAMED = 'mount --bind "$1" /etc/hosts && cd "$2" && shift 2 && exec "$@"'


def compose() -> dict[str, Any]:
    """The file as it is, its variables not yet filled in."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def variables(text: str) -> dict[str, str]:
    """Variable -> `-` when the file has a default for it, `?` when it must be given, empty when neither is said."""
    return {name: kind for name, kind, _ in _VARIABLE.findall(text)}


def filled(value: Any, given: dict[str, str]) -> Any:
    """The value as compose fills variables in; a required one that is missing is a KeyError with compose's message."""
    if isinstance(value, dict):
        return {key: filled(inner, given) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, given) for inner in value]
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        name, kind, rest = match[1], match[2], match[3]
        if given.get(name):
            return given[name]
        if kind == "?":
            raise KeyError(f"{name}: {rest}")
        return rest or ""

    return _VARIABLE.sub(one, value)


def read_env(path: Path) -> dict[str, str]:
    """What an env file gives."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if line and not line.startswith("#"))


def make_env(path: Path) -> dict[str, str]:
    """The credentials that docker/make-env.sh makes."""
    subprocess.run([str(ROOT / "docker/make-env.sh"), str(path)], check=True, capture_output=True)
    return read_env(path)


@dataclass
class Bed:
    """The running services.

    Attributes:
        folder: a short path; `data-NAME` stands for a service's volume.
    """

    folder: Path
    hosts: dict[str, Host]
    services: dict[str, Any]
    environments: dict[str, dict[str, str]] = field(default_factory=dict)

    def start(self, host: str, service: str, words: list[str] | None = None) -> None:
        """A service on a host; `words` in place of its command."""
        process = self.hosts[host].start(
            self._inside(host, words or self.services[service]["command"]), env=self.environment(host, service)
        )
        self.environments[host] = self.environment(host, service)
        assert process.poll() is None

    def environment(self, host: str, service: str) -> dict[str, str]:
        """Compose's environment of the service, with the host's folder in place of /data."""
        path = f"{ROOT}/docker/start:{Path(sys.executable).parent}:/usr/lib/postgresql/15/bin:{os.environ['PATH']}:/usr/sbin"
        stated = {
            name: str(value).replace("/data", str(self.data(host)), 1) for name, value in self.services[service]["environment"].items()
        }
        return {"TMPDIR": "/tmp/s2l-host", "PATH": path, "PYTHONPATH": str(ROOT), "PGHOST": str(self.data("postgres"))} | stated

    def data(self, host: str) -> Path:
        folder = self.folder / f"data-{host}"
        folder.mkdir(exist_ok=True, mode=0o755)
        return folder

    def execute(self, host: str, *words: str, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
        """What `docker compose exec HOST WORDS` does."""
        return self.hosts[host].run(self._inside(host, list(words)), env=self.environments[host], timeout=timeout)

    def wait_until_healthy(self, host: str, service: str, seconds: float = 300) -> None:
        """Until the service's own health check passes."""
        test = self.services[service]["healthcheck"]["test"]
        words = test[1:] if test[0] == "CMD" else ["sh", "-c", test[1]]
        deadline = time.monotonic() + seconds
        while (done := self.execute(host, *words)).returncode:
            log = (self.hosts[host].folder / "log").read_text(errors="replace")
            assert time.monotonic() < deadline, f"{service} is not healthy: {done.stdout}{done.stderr}\n{log[-3000:]}"
            time.sleep(1)

    def _inside(self, host: str, words: list[str]) -> list[str]:
        return ["sh", "-c", _NAMED, "sh", str(self.folder / "hosts"), str(self.data(host)), *words]

    def make_database(self) -> list[str]:
        """What PostgreSQL's image does at its first start; returns the words that start the server as its own user."""
        data, environment = self.data("postgres"), self.environment("postgres", "postgres")
        user, password = environment["POSTGRES_USER"], environment["POSTGRES_PASSWORD"]
        (self.folder / "password").write_text(password)
        for path in (data, self.folder / "password"):
            shutil.chown(path, "postgres")
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        first = [*become, "initdb", "--pgdata", f"{data}/pg", "--username", user, "--pwfile", str(self.folder / "password")]
        subprocess.run([*first, *environment["POSTGRES_INITDB_ARGS"].split()], env=environment, cwd=data, check=True, capture_output=True)
        (self.folder / "password").unlink()
        with (data / "pg/pg_hba.conf").open("a") as file:
            file.write("host all all all scram-sha-256\n")
        command = self.services["postgres"]["command"]
        made = [*become, "postgres", "--single", "-D", f"{data}/pg", "postgres"]
        subprocess.run(
            made, input=f"CREATE DATABASE {environment['POSTGRES_DB']}\n", text=True, env=environment, check=True, capture_output=True
        )
        return [*become, *command, "-c", "listen_addresses=*", "-c", f"unix_socket_directories={data}", "-D", f"{data}/pg"]


@contextlib.contextmanager
def bed(workers: int) -> Iterator[Bed]:
    """Hosts named as compose names its services, `worker1` and so on, that know each other's names. Nothing is started yet."""
    folder = Path(tempfile.mkdtemp(prefix="s2l-bed-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        with network("head", "mlflow", "postgres", "seaweedfs", *(f"worker{number}" for number in range(1, workers + 1))) as hosts:
            names = ["127.0.0.1 localhost", *(f"{host.address} {name}" for name, host in hosts.items())]
            (folder / "hosts").write_text("\n".join(names) + "\n")
            yield Bed(folder, hosts, filled(compose()["services"], make_env(folder / "env")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
