"""PostgreSQL from the system's packages, for MLflow with many writers: loopback, one database, a generated password.

It refuses to run as root, so that root starts it as the user `postgres` (or `nobody`).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.services.ports import check_free, free_ports
from cluster.services.process import command_line, log_tail, send, starts_or_runs, wait_until_gone, write_private

_STATE = "postgres.json"
_START_S, _STOP_S = 120.0, 60.0
_NAME = "mlflow"
"""Of the user and of the database."""


@dataclass(frozen=True)
class Postgres:
    """A server that was started in a folder.

    Attributes:
        folder: holds the data in `data`, and files with the password that only their owner can read.
    """

    folder: str
    pid: int
    port: int
    password: str

    @property
    def uri(self) -> str:
        """A URI for SQLAlchemy, with the password in it: for environments, never for command lines."""
        return f"postgresql+psycopg2://{_NAME}:{self.password}@127.0.0.1:{self.port}/{_NAME}"

    def is_running(self) -> bool:
        """True while our process lives; a stranger that got its number does not count."""
        return f"{self.folder}/data" in command_line(self.pid)

    def is_healthy(self) -> bool:
        """True when the database answers to the password."""
        return self.is_running() and _answers(self, _NAME)


def start(folder: Path, *, port: int | None = None) -> Postgres:
    """A healthy server in the folder: the one that runs there, or a new one.

    Raises:
        FileNotFoundError: PostgreSQL is not installed.
        PermissionError: we are root, and the user it is to run as cannot reach the folder.
        PortTakenError: somebody else listens on its port.
        RuntimeError: it does not come up; the message ends with its log's last lines.
    """
    folder = Path(os.path.abspath(folder))
    server = find(folder)
    if server is None or not server.is_running():
        server = _launch(folder, server, port)
    deadline = time.monotonic() + _START_S
    while not _answers(server, "postgres"):
        if not starts_or_runs(server.pid, server.is_running) or time.monotonic() > deadline:
            stop(server, at_once=True)
            raise RuntimeError(f"PostgreSQL in {folder} does not come up; its log ends with:\n{log_tail(folder / 'postgres.log')}")
        time.sleep(0.1)
    if not _answers(server, _NAME):
        _make_database(server)
    return server


def find(folder: Path) -> Postgres | None:
    """The server that was started in the folder last, running or not."""
    try:
        return Postgres(**json.loads((folder / _STATE).read_text()))
    except FileNotFoundError:
        return None


def stop(server: Postgres, *, at_once: bool = False) -> None:
    """Stop it and wait until it is gone: open transactions are rolled back; `at_once` as a crash would (what it committed is kept)."""
    send(server.pid, signal.SIGQUIT if at_once else signal.SIGINT, server.is_running)
    if not wait_until_gone(server.pid, server.is_running, _STOP_S):
        send(server.pid, signal.SIGKILL, server.is_running)
        wait_until_gone(server.pid, server.is_running, _STOP_S)


def _launch(folder: Path, before: Postgres | None, port: int | None) -> Postgres:
    user = _user()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _open_the_way(folder, user)
    port = port or (before.port if before else free_ports(1)[0])
    check_free(port, "PostgreSQL", choose="--postgres-port")
    password = before.password if before else secrets.token_urlsafe(24)
    if not (folder / "data" / "PG_VERSION").exists():
        _make_cluster(folder, password, user)
    settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "logging_collector=off"]
    command = [_program("postgres"), "-D", f"{folder}/data", "-p", str(port), *(word for line in settings for word in ("-c", line))]
    with os.fdopen(os.open(folder / "postgres.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True, env=_bare(), **_as(user)
        )
    process.returncode = 0  # it outlives this object, and is found again by its folder
    server = Postgres(str(folder), process.pid, port, password)
    write_private(folder / _STATE, json.dumps(asdict(server)))
    return server


def _make_cluster(folder: Path, password: str, user: pwd.struct_passwd | None) -> None:
    """Files of a new database server, whose only user needs the password."""
    shutil.rmtree(folder / "data", ignore_errors=True)  # of an initdb that was killed
    (folder / "data").mkdir(mode=0o700)
    secret = folder / "password"
    write_private(secret, password + "\n")
    try:
        if user is not None:
            os.chown(folder / "data", user.pw_uid, user.pw_gid)
            os.chown(secret, user.pw_uid, user.pw_gid)
        command = [_program("initdb"), "-D", f"{folder}/data", "-U", _NAME, f"--pwfile={secret}", "--auth=scram-sha-256", "-E", "UTF8"]
        done = subprocess.run(
            [*command, "--locale=C.UTF-8"], capture_output=True, text=True, cwd="/", check=False, env=_bare(), **_as(user)
        )
    finally:
        secret.unlink(missing_ok=True)
    if done.returncode:
        raise RuntimeError(f"initdb failed in {folder}: {(done.stderr or done.stdout).strip()[-500:]}")


def _make_database(server: Postgres) -> None:
    import psycopg2

    connection = psycopg2.connect(_words(server, "postgres"))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {_NAME}")
    finally:
        connection.close()


def _answers(server: Postgres, database: str) -> bool:
    import psycopg2

    try:
        psycopg2.connect(_words(server, database)).close()
    except psycopg2.OperationalError:
        return False
    return True


def _words(server: Postgres, database: str) -> str:
    return f"host=127.0.0.1 port={server.port} user={_NAME} password={server.password} dbname={database} connect_timeout=5"


def _program(name: str) -> str:
    """The newest of that name; Debian keeps them out of PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3].partition(".")[0]))
    found = str(versions[-1]) if versions else shutil.which(name)
    if not found:
        raise FileNotFoundError(
            f"PostgreSQL is not installed (no {name}): apt-get install postgresql brings it; or leave --postgres out, for SQLite"
        )
    return found


def _user() -> pwd.struct_passwd | None:
    """Whom to run it as; None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL does not run as root, and this machine has no user postgres or nobody to run it as")


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _open_the_way(folder: Path, user: pwd.struct_passwd | None) -> None:
    """Let that user pass through our two folders (not list them: credentials beside are 0600 files), and see that it can pass those above.

    Raises:
        PermissionError: it cannot.
    """
    if user is None:
        return
    for ours in (folder, folder.parent):
        ours.chmod(ours.stat().st_mode | 0o011)
    probe = subprocess.run(["/bin/sh", "-c", 'cd "$0"', str(folder)], cwd="/", capture_output=True, check=False, **_as(user))
    if probe.returncode:
        raise PermissionError(
            f"PostgreSQL does not run as root, and the user {user.pw_name} cannot reach {folder}: a folder above it is closed; "
            "name an open one with --folder (such as /srv/s2l), or run s2l up as another user"
        )


def _bare() -> dict[str, str]:
    """No PG* variable of the caller's may change what is made here."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"}
