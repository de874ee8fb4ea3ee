"""One grid that runs while things break: its store, its MLflow, its drivers, and what has been seen of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from jobs.errors import S2LError
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.store.open import open_store
from jobs.store.protocol import ObjectStore
from tests.chaos.grid import Undisturbed
from tests.chaos.misbehave import FOLDER
from tests.chaos.zygote import Forked, Zygote
from tests.s2l_process import ROOT, kill_tree, ray_workers

CHECKPOINT_EVERY_S = 0.2
POLL_S, LOOK_EVERY_S = 0.4, 4.0
PATIENCE_S = 900.0
MOST_DRIVERS = 3
"""More at once would only make the machine slow."""


class Broken(AssertionError):
    """A promise was broken; the message says which."""


@dataclass
class Driver:
    """One process of `s2l run`.

    Attributes:
        killed: we did it.
        codes: exit codes that what was done to it since it began explains.
    """

    process: subprocess.Popen[Any] | Forked
    log: Path
    killed: bool = False
    codes: set[int] = field(default_factory=lambda: {0})

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def workers(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return ray_workers(self.process.pid)
        return []


@dataclass
class World:
    """A grid in a folder of its own.

    Attributes:
        store, tracking: as drivers are told; perhaps behind a proxy.
        direct_tracking: the same as we look at it, past any proxy.
        env: what drivers and workers find in their environment; look: what we need to reach the store past any proxy.
        arguments: more words for `s2l run`.
        parts: proxies and servers by name, for faults.
        seen: manifests by name with the sha256 of their bytes, at any moment so far.
        spoiled: manifests that a fault has spoiled: they may go, and come back once with the same digest.
        starts, finds_workers: how a driver is started, and where workers are, when that is elsewhere than here.
        zygote: what drivers are forked from, where they run in one process; one with an environment of its own is not.
        looked: when all that is committed was last read; opened: the store, for looking.
        temp: where drivers keep what they need while they run; short, because Ray's sockets lie there.
    """

    folder: Path
    undisturbed: Undisturbed
    store: str
    tracking: str
    direct_tracking: str = ""
    env: dict[str, str] = field(default_factory=dict)
    look: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    parts: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    spoiled: set[str] = field(default_factory=set)
    drivers: list[Driver] = field(default_factory=list)
    starts: Callable[[list[str], dict[str, str], Path], subprocess.Popen[Any]] | None = None
    finds_workers: Callable[[], list[Any]] | None = None
    zygote: Zygote | None = None
    looked: float = 0.0
    opened: ObjectStore | None = None
    temp: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="cx", dir="/tmp")))

    @property
    def grid(self) -> str:
        return str(self.undisturbed.grid)

    @property
    def total(self) -> int:
        return len(self.undisturbed.digests)

    @property
    def triggers(self) -> Path:
        return self.folder / "triggers"

    # --- the drivers ---

    def environment(self, **more: str) -> dict[str, str]:
        own = ("RAY_", "S2L_", "MLFLOW_", "TUNE_", "AWS_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        given = {"S2L_STORE": self.store, "MLFLOW_TRACKING_URI": self.tracking, "PYTHONPATH": str(ROOT), FOLDER: str(self.triggers)}
        return kept | given | {"TMPDIR": str(self.temp)} | self.env | more

    def start(self, **env: str) -> Driver:
        """Another driver on the grid: the same command each time."""
        log = self.folder / f"driver-{len(self.drivers):02d}.log"
        if self.zygote is not None and not env:
            self.drivers.append(Driver(self.zygote.start(self._command(), self.environment(), self.folder, log), log))
            return self.drivers[-1]
        words = [sys.executable, "-m", "tests.chaos.driver", *self._command()]
        if self.starts is not None:
            process = self.starts(words, self.environment(**env), log)
        else:
            with log.open("w") as file:
                process = subprocess.Popen(
                    words, cwd=self.folder, env=self.environment(**env), stdin=subprocess.DEVNULL, stdout=file, stderr=file, text=True
                )
        driver = Driver(process, log)
        self.drivers.append(driver)
        return driver

    def _command(self) -> list[str]:
        """What every driver is told, and what a person would type; checkpoints so often that kills fall between two of them."""
        return ["run", self.grid, *self.arguments, f"--checkpoint-every={CHECKPOINT_EVERY_S}", "--json"]

    def workers(self) -> list[Any]:
        """The processes that run stages, of all drivers."""
        if self.finds_workers is not None:
            return self.finds_workers()
        return [worker for driver in self.running() for worker in driver.workers()]

    def running(self) -> list[Driver]:
        return [driver for driver in self.drivers if driver.runs]

    def kill(self, driver: Driver) -> None:
        """kill -9, and nothing else: what the driver started must end by itself or is ended here."""
        driver.killed = True
        kill_tree(driver.process)

    def command(self, *words: str, codes: tuple[int, ...] = (0,), **env: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same store and tracking."""
        said = subprocess.run(
            [sys.executable, "-m", "tests.chaos.driver", *words],
            cwd=self.folder,
            env=self.environment(**env),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        with (self.folder / "commands.log").open("a") as log:
            log.write(f"$ s2l {words[0]}\n{said.stdout}\n{said.stderr}\n")
        if said.returncode not in codes:
            raise Broken(
                f"s2l {' '.join(words)} exited {said.returncode}, not one of {codes}:\n{said.stdout[-2000:]}\n{said.stderr[-2000:]}"
            )
        return said

    def tell(self, text: str) -> None:
        """Keep what a command of ours in this process had to say."""
        with (self.folder / "commands.log").open("a") as log:
            log.write(f"{text}\n")

    def marks(self) -> dict[Path, int]:
        """How long each log is just now."""
        return {log: log.stat().st_size for log in self._logs()}

    def told(self, since: Mapping[Path, int] | None = None) -> str:
        """All that a user could read, since then."""
        parts = []
        for log in self._logs():
            with log.open("rb") as file:
                file.seek((since or {}).get(log, 0))
                parts.append(file.read().decode(errors="replace"))
        return "\n".join(parts)

    def _logs(self) -> list[Path]:
        logs = [*(driver.log for driver in self.drivers), self.folder / "commands.log"]
        return [log for log in logs if log.exists()]

    # --- looking ---

    def looking(self, *, look_only: bool = True) -> Ledger:
        """The ledger as it is, past any proxy."""
        if self.opened is None:
            before = dict(os.environ)
            os.environ.update(self.look)
            try:
                self.opened = open_store(self.store)
            finally:
                os.environ.clear()
                os.environ.update(before)
        return Ledger(self.opened, notice=self.tell, look_only=look_only)

    def manifests(self) -> dict[str, str]:
        """Name -> sha256 of the bytes of every manifest there is."""
        ledger, found = self.looking(), {}
        for entry in ledger.store.list(Paths.manifests):
            with contextlib.suppress(S2LError):  # moved while we looked: the next look sees
                found[entry.name] = hashlib.sha256(ledger.store.get(entry.name).data).hexdigest()
        return found

    def observe(self, *, thoroughly: bool = False) -> int:
        """Look at what is committed; returns how much that is. Every few seconds, or when asked, all of it is read.

        Raises:
            Broken: something that was committed is gone, or was made again.
        """
        try:
            if thoroughly or time.monotonic() - self.looked > LOOK_EVERY_S:
                now = self.manifests()
                self.looked = time.monotonic()
                self._compare(now)
                return len(now)
            return sum(1 for _ in self.looking().store.list(Paths.manifests))
        except S2LError:  # the store itself is what is broken just now
            return len(self.seen)

    def _compare(self, now: dict[str, str]) -> None:
        for name, sha in self.seen.items():
            if name not in self.spoiled and now.get(name) != sha:
                raise Broken(f"{name} was committed, and {'has other bytes now' if name in now else 'is gone'}")
        self.seen = self.seen | now

    def explain(self, driver: Driver) -> None:
        """
        Raises:
            Broken: the driver ended with a code that nothing we did explains.
        """
        code = driver.process.poll()
        if code is not None and not (driver.killed or code in driver.codes):
            raise Broken(
                f"a driver ended with {code}; explained are {sorted(driver.codes)}; its log ends:\n{driver.log.read_text()[-3000:]}"
            )


def answer(driver: Driver) -> dict[str, Any]:
    """The JSON document that a driver that ended well printed last."""
    lines = [line for line in driver.log.read_text().splitlines() if line.startswith('{"grid"')]
    if not lines:
        raise Broken(f"a driver ended well and printed no answer: {driver.log.read_text()[-1000:]}")
    return dict(json.loads(lines[-1]))


def pick(rng: random.Random, things: list[Any]) -> Any:
    """One of the things, as the seed says."""
    return things[rng.randrange(len(things))]
