"""Runs of grids whose shakes are unruly, each in a process of its own: `python tests/unruly_runs.py FOLDER WORKERS [ADDRESS]`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.ledger.failures import Failure
from jobs.ledger.ledger import Ledger
from jobs.store.open import open_store
from tests.s2l_process import ROOT
from tests.unruly.shake import tries

GRID = """\
name: unruly
fixed: {{attacks: [loss], alpha: rank, method: lora, domain: zorvik}}
axes: {{seed: {seeds}}}
retry: {retry}
"""


@dataclass
class Unruly:
    """A folder with a grid, a store and the tries of its shakes."""

    folder: Path

    def prepare(self, plan: dict[int, list[str]], retry: dict[str, Any]) -> None:
        (self.folder / "plan.json").write_text(json.dumps(plan))
        (self.folder / "grid.yaml").write_text(GRID.format(seeds=list(plan), retry=json.dumps(retry)))

    def start(self, workers: int = 2) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "S2L_", "TUNE_"))}
        environment = kept | {"PYTHONPATH": str(ROOT), "UNRULY": str(self.folder), "TMPDIR": str(self.folder)}
        command = [sys.executable, str(Path(__file__)), str(self.folder), str(workers)]
        with self.log.open("a") as log:
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log, text=True)

    def run(self, workers: int = 2) -> dict[str, int]:
        """Counts of trials by state, at the end of a run."""
        process = self.start(workers)
        assert process.wait(400) == 0, self.said()
        return self.counts()

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def said(self) -> str:
        return self.log.read_text()

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.folder / "result.json").read_text())
        return found

    def tries(self, seed: int) -> list[dict[str, Any]]:
        return [one for one in tries(self.folder) if one["seed"] == str(seed)]

    @property
    def ledger(self) -> Ledger:
        return Ledger(open_store(str(self.folder / "store")))

    def failures(self) -> list[Failure]:
        return self.ledger.failures()


def main(folder: Path, workers: int, address: str | None = None) -> None:
    from jobs.execute.options import RunOptions
    from jobs.execute.progress import Terminal
    from jobs.execute.run import run_plan
    from jobs.grid.read import read_grid
    from jobs.plan.expand import expand

    plan, store = expand(read_grid(str(folder / "grid.yaml"))), str(folder / "store")
    options = RunOptions(store, workers, address=address, stages="tests.unruly_stages")
    result = run_plan(plan, Ledger(open_store(store)), options, Terminal(plan.grid), lambda *_: None)
    (folder / "result.json").write_text(json.dumps(result.counts()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
