"""A result that proves spoiled when the run is over and its report is drawn: told, by exit code too, and made again by the next run."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.cli import artifacts
from jobs.cli.main import s2l
from jobs.execute import options
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.plan import Plan
from jobs.store.open import open_store

GRID = "name: nothing\nfixed: {attacks: [loss], alpha: rank}\naxes: {domain: [zorvik, mellune], method: [none, lora]}\n"


def spoil_one(store: Path) -> str:
    """Change a byte of a trial's metrics in the store; the stage's key."""
    ledger = Ledger(open_store(str(store)))
    key = sorted(ledger.committed("metrics"))[0]
    manifest = ledger.manifest("metrics", key)
    assert manifest is not None
    blob = store / Paths.blob(manifest.payload("metrics.json").sha256)
    blob.write_bytes(b"!" + blob.read_bytes()[1:])
    return key


def test_a_result_that_is_spoiled_when_the_report_reads_it_ends_the_run_with_3_and_the_next_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "RunOptions", functools.partial(options.RunOptions, stages="tests.benchmarks.noop_stages"))
    store, grid = tmp_path / "store", tmp_path / "grid.yaml"
    grid.write_text(GRID)
    real, spoiled = artifacts.grid_artifacts, []

    def spoiling(plan: Plan, ledger: Ledger) -> Callable[[], Mapping[str, bytes]]:
        draw = real(plan, ledger)

        def make() -> Mapping[str, bytes]:
            spoiled.append(spoil_one(store))
            return draw()

        return make

    def run(*words: str) -> Result:
        tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
        return CliRunner().invoke(
            s2l, ["run", str(grid), "--local", "--store", str(store), "--tracking", tracking, *words], standalone_mode=False
        )

    monkeypatch.setattr(artifacts, "grid_artifacts", spoiling)
    done = run()
    assert (done.return_value, len(spoiled)) == (3, 1), done.output
    assert "proved spoiled when they were read, to be made again: results of 1 trials" in done.stdout
    assert done.stdout.endswith(f"next: s2l run {grid} --store {store}\n")

    monkeypatch.setattr(artifacts, "grid_artifacts", real)
    again: dict[str, Any] = json.loads(run("--json").stdout)
    assert again["trials"] == {"done": 4, "failed": 0, "blocked": 0}
    assert again["stages"]["ran"] >= 1
    assert spoiled[0] in Ledger(open_store(str(store))).committed("metrics")
    assert run("--json").return_value == 0
