"""Running the real `s2l` command in a process of its own, and looking at what it leaves. For tests that kill, race and compare."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]

CHAOS_GRID = """\
name: chaos
fixed: {model: tiny, data: tiny-faces, sp_size: 8, sp_steps: 4, steps: 6, batch: 4, lr: 1.0e-2, alpha: rank, bootstrap: 100, attacks: [pia]}
axes:
  domain: [DOMAIN_A, DOMAIN_B]
  method: [none, lora+dreambooth]
  rank: [1, 2]
  seed: [0]
when:
  rank: {method: lora+dreambooth}
"""


def chaos_grid(folder: Path) -> Path:
    """A small grid with every kind of stage: 2 domains x (un-shaken, LoRA at two ranks)."""
    from s2l_core.faces import IDENTITIES

    path = folder / "chaos.yaml"
    path.write_text(CHAOS_GRID.replace("DOMAIN_A", IDENTITIES[0]).replace("DOMAIN_B", IDENTITIES[1]))
    return path


@dataclass
class Home:
    """A folder with a store and an MLflow database of its own."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def tracking(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-c", "from jobs.cli import main; main()", *args]

    def environment(self) -> dict[str, str]:
        found = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "S2L_", "MLFLOW_", "TUNE_"))}
        return found | {"S2L_STORE": str(self.store), "MLFLOW_TRACKING_URI": self.tracking, "PYTHONPATH": str(ROOT)}

    def run(self, *args: str, check: Sequence[int] = (0,), timeout: float = 1800) -> subprocess.CompletedProcess[str]:
        """Run to the end; fails the test with the output when the exit code is not one of `check`."""
        done = subprocess.run(
            self.command(*args), cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode in check, f"s2l {' '.join(args)} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *args: str, check: Sequence[int] = (0,)) -> Any:
        return json.loads(self.run(*args, "--json", check=check).stdout)

    def start(self, *args: str) -> subprocess.Popen[str]:
        with (self.folder / f"log-{time.monotonic_ns()}").open("w") as log:
            return subprocess.Popen(self.command(*args), cwd=self.folder, env=self.environment(), stdout=log, stderr=log, text=True)

    def results(self, grid: str) -> bytes:
        return self.run("results", grid, "--format", "json").stdout.encode()

    def manifests(self) -> dict[str, str]:
        """Path -> sha256 of every manifest."""
        return {
            str(path.relative_to(self.store)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (self.store / "manifests").rglob("*.json")
        }


def wait_for(condition: Callable[[], bool], what: str, timeout: float = 240, process: subprocess.Popen[str] | None = None) -> bool:
    """True when the condition came; False when the process ended first."""
    deadline = time.monotonic() + timeout
    while not condition():
        if process is not None and process.poll() is not None:
            return False
        assert time.monotonic() < deadline, f"{what} did not come within {timeout} s"
        time.sleep(0.05)
    return True


def ray_workers(driver: int) -> list[psutil.Process]:
    """The Ray worker processes that run units for a driver."""
    found = []
    for child in psutil.Process(driver).children(recursive=True):
        try:
            if any(word.startswith("ray::") and "Trainable" in word for word in child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def kill_tree(process: subprocess.Popen[str]) -> None:
    """SIGKILL a driver alone; what it started ends by itself or is ended here, by pid."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    _, alive = psutil.wait_procs(children, timeout=15)
    for child in alive:
        child.kill()
    psutil.wait_procs(alive, timeout=10)
