"""A whole run with real services in one folder, in which all that is written stays and every secret is known; and a search through it."""

from __future__ import annotations

import base64
import itertools
import json
import os
import secrets as random
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from jobs.store.key import new_key
from s2l_core.faces import IDENTITIES
from tests.namespaces import Host, network, why_not
from tests.packet_watch import Watch, watched
from tests.s2l_process import ROOT
from tests.services_world import SMALL_GRID, ServicesHome, read, services_home

GRID = f"""\
name: planted
fixed: {{model: tiny, data: tiny-faces, sp_size: 8, sp_steps: 4, steps: 4, batch: 4, alpha: rank, bootstrap: 100, attacks: [pia], seed: 0}}
axes: {{domain: [{IDENTITIES[0]}], method: [none, lora+dreambooth], rank: [1, 2]}}
when: {{rank: {{method: lora+dreambooth}}}}
"""
SMALL = SMALL_GRID.replace("DOMAIN", IDENTITIES[1])
_KEEP = """\
import os, shutil, tempfile, uuid

def keep(path, *_, **__):  # what a process removes is looked at too
    kept = os.path.join(os.environ["KEPT"], uuid.uuid4().hex)
    if os.path.isdir(path):
        os.rename(path, kept)

shutil.rmtree = keep
_mkdtemp = tempfile.mkdtemp
tempfile.mkdtemp = lambda suffix=None, prefix=None, dir=None: _mkdtemp(suffix, prefix, os.environ["TMPDIR"] if dir == "/tmp" else dir)
"""
_TELLING = (
    "import functools, jobs.execute.options as found; "
    "found.RunOptions = functools.partial(found.RunOptions, stages='tests.telling_stages'); from jobs.cli import main; main()"
)
_OBJECTS = """\
import pathlib, sys
from jobs.store.open import open_store
store = open_store(sys.argv[1])
for prefix in sys.argv[3:]:
    for entry in store.list(prefix):
        path = pathlib.Path(sys.argv[2]) / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(entry.name).data)
"""
TOLD = ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "RAY_AUTH_TOKEN", "HF_TOKEN", "PGPASSWORD", "AWS_SESSION_TOKEN")


def forms(secret: str) -> list[bytes]:
    """The secret as it stands, in an address, in hexadecimal digits, and in base64 at any place of a longer text."""
    raw = secret.encode()
    shifted = [base64.b64encode(b" " * shift + raw) for shift in range(3)]
    middles = [text[4 if shift else 0 :].rstrip(b"=")[:-1] for shift, text in enumerate(shifted)]
    return list(dict.fromkeys([raw, quote(secret, safe="").encode(), raw.hex().encode(), *middles]))


def found_in(folder: Path, secrets: Mapping[str, str], allowed: Sequence[Path] = ()) -> set[tuple[str, str]]:
    """(file, secret's name) wherever a file of the folder, at any depth, holds one."""
    wanted = [(name, form) for name, secret in secrets.items() for form in forms(secret)]
    found = set()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or path in allowed:
            continue
        data = path.read_bytes()
        found |= {(str(path.relative_to(folder)), name) for name, form in wanted if form in data}
    return found


@dataclass
class SecurityHome(ServicesHome):
    """Attributes:
    planted: secrets that commands get beside those of the services.
    left: variables of the services that commands do not get.
    """

    planted: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    host: Host | None = None
    code: str = ""
    count: Iterator[int] = field(default_factory=itertools.count)

    def command(self, *args: str) -> list[str]:
        words = super().command(*args)
        words = [*words[:2], self.code, *args] if self.code else words
        return self.host.command(words) if self.host else words

    def environment(self) -> dict[str, str]:
        found = {name: value for name, value in super().environment().items() if name not in self.left}
        own = {"HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "t"), "XDG_CACHE_HOME": str(self.folder / "home" / "cache")}
        return (
            found
            | own
            | {"PYTHONPATH": f"{self.folder / 'site'}:{ROOT}", "TELL": " ".join(TOLD), "KEPT": str(self.folder / "kept")}
            | self.planted
        )

    def run(self, *args: str, check: Sequence[int] = (0,), timeout: float = 1800) -> subprocess.CompletedProcess[str]:
        done = super().run(*args, check=check, timeout=timeout)
        (self.folder / "said" / f"{next(self.count)}-{args[0]}").write_text(done.stdout + done.stderr)
        return done

    def credential_files(self) -> set[Path]:
        """Where the services keep what they are asked for; nothing else may hold a secret."""
        names = ("env", "env.readonly", "s3/server.json", "s3/s3.json", "mlflow/mlflow-server.json", "ray/ray-head.json")
        return {self.services / name for name in names}


@dataclass
class Ran:
    """What a whole run left.

    Attributes:
        told: (process, secret's name) where a command line held one.
        watch: what left the namespace; None where there could be none.
    """

    home: SecurityHome
    secrets: dict[str, str]
    told: set[tuple[str, str]]
    watch: Watch | None


@contextmanager
def whole_run() -> Iterator[Ran]:
    """Services with credentials, a run on a private Ray with a stage that tells its secrets, one on their Ray head, an encrypted one, and
    every command that looks."""
    with ExitStack() as stack:
        host = watch = None
        if not why_not():
            host = stack.enter_context(network("lab"))["lab"]
            watch = stack.enter_context(watched(host))
        home = stack.enter_context(services_home(SecurityHome, prefix="s2l-", dir="/tmp"))
        home.host = host
        for name in ("t", "home", "site", "said", "kept"):
            (home.folder / name).mkdir()
        (home.folder / "site" / "sitecustomize.py").write_text(_KEEP)
        (home.folder / "planted.yaml").write_text(GRID)
        (home.folder / "small.yaml").write_text(SMALL)
        home.planted = {"HF_TOKEN": f"hf_{random.token_urlsafe(24)}", "PGPASSWORD": random.token_urlsafe(24)}
        home.up("--auth")
        home.sourced = "env"
        secrets = home.planted | _of_services(home) | {"RAY_AUTH_TOKEN of the private Ray": random.token_hex(32)}
        lines = stack.enter_context(_command_lines(secrets))
        _on_private_ray(home, secrets["RAY_AUTH_TOKEN of the private Ray"])
        home.run("run", "small.yaml")
        _look(home)
        secrets["S2L_ENCRYPTION_KEY"] = _encrypted(home)
        home.down()
        yield Ran(home, secrets, lines, watch)


def _of_services(home: SecurityHome) -> dict[str, str]:
    names = ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "RAY_AUTH_TOKEN")
    everything, reader = read(home.services / "env"), read(home.services / "env.readonly")
    found = {name: everything[name] for name in names} | {f"{name} of readers": reader[name] for name in names[:2]}
    return found | {"the key of keys": json.loads((home.services / "s3" / "server.json").read_text())["kek"]}


def _on_private_ray(home: SecurityHome, token: str) -> None:
    home.left = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE")
    home.planted["RAY_AUTH_TOKEN"], home.code = token, _TELLING
    home.run("run", "planted.yaml", "--workers", "1", check=(3,))
    home.left, home.code = (), ""
    del home.planted["RAY_AUTH_TOKEN"]


def _look(home: SecurityHome) -> None:
    grid = "planted.yaml"
    home.run("sync", grid, check=(0, 3))
    home.run("report", grid, "-o", str(home.folder / "report.html"))
    for words in (("results", grid, "--format", "csv"), ("status", grid), ("plan", grid)):
        home.run(*words, check=(0, 3))
    prefixes = ("manifests/", "failures/", "grids/", "leases/", "progress/", "quarantine/", "runs/", "blobs/", "dropped/")
    words = ["-c", _OBJECTS, read(home.services / "env")["S2L_STORE"], str(home.folder / "objects"), *prefixes]
    python = home.command()[-3:][0]
    whole = [python, *words]
    subprocess.run(home.host.command(whole) if home.host else whole, env=home.environment(), check=True, timeout=600)


def _encrypted(home: SecurityHome) -> str:
    key = new_key()
    home.planted |= {"S2L_ENCRYPTION_KEY": key, "S2L_STORE": str(home.folder / "hidden")}
    home.run("run", "small.yaml", "--local", "--no-tracking")
    return key


@contextmanager
def _command_lines(secrets: Mapping[str, str]) -> Iterator[set[tuple[str, str]]]:
    """Every half second, what any command line of this machine tells."""
    found: set[tuple[str, str]] = set()
    ended = threading.Event()
    wanted = {name: secret.encode() for name, secret in secrets.items()}

    def look() -> None:
        while not ended.wait(0.5):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                except OSError:
                    continue
                found.update((line[:60].decode(errors="replace"), name) for name, secret in wanted.items() if secret in line)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join(10)


def wait_until_seen(watch: Watch, wanted: set[str], seconds: float = 30) -> set[str]:
    """Those of the wanted lines that the watch did not see in time."""
    deadline = time.monotonic() + seconds
    while wanted - watch.seen and time.monotonic() < deadline:
        time.sleep(0.2)
    return wanted - watch.seen
